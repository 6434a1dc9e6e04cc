import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from seg_perception.core.errors import BundleError, ExportError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.runtime.bundle import Bundle  # noqa: E402
from seg_perception.runtime.semantic import SemanticSegmenter  # noqa: E402
from seg_perception.zoo import bundle, export  # noqa: E402
from seg_perception.zoo.registry import architecture, build  # noqa: E402

NAME = 'deeplabv3plus_mobilenetv2'
CAMVID = LabelSet.named('camvid')


def pictures(*sizes):
    """Coloured blobs: something that a network sees as more than noise."""
    blobs = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return [cv2.resize(blobs, size[::-1], interpolation=cv2.INTER_CUBIC) for size in sizes]


def tensor(picture):
    entry = architecture(NAME)
    scaled = (picture / 255 - entry.mean) / entry.std
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]


@pytest.fixture(scope='module')
def model():
    """Random weights, but statistics of real activations and a mask of several classes."""
    torch.manual_seed(1)
    network = build(NAME, 11)
    network.train()
    pixels = torch.cat([tensor(picture) for picture in pictures((96, 128), (96, 128))])
    with torch.no_grad():
        for _ in range(8):
            network(pixels)
        head = network.eval().segmentation_head[0]
        head.bias -= network(pixels).mean((0, 2, 3))
        scale = 3 / network(pixels).std()
        head.weight *= scale
        head.bias *= scale
    return network


@pytest.fixture(scope='module')
def exported(model):
    return export.export(model, NAME, CAMVID.names, pictures((96, 128), (64, 80)))


def test_the_graph_agrees_with_torch_at_several_sizes(model, exported):
    session = onnxruntime.InferenceSession(exported.model, providers=['CPUExecutionProvider'])
    for picture in pictures((96, 128), (64, 64), (112, 48)):
        labels, confidence = session.run(None, {'image': picture[None]})
        pixels = tensor(picture)
        with torch.inference_mode():
            logits = model(pixels)
            low = model.segmentation_head[0](model.decoder(model.encoder(pixels)))
        assert labels.dtype == confidence.dtype == np.uint8
        assert labels.shape == (1, *picture.shape[:2])
        assert confidence.shape == (1, *(side // 4 for side in picture.shape[:2]))
        assert len(np.unique(labels)) > 2, 'a constant mask would compare nothing'
        assert np.mean(labels != logits.argmax(1).numpy()) < 0.005
        probability = 255 * low.softmax(1).amax(1).numpy()
        assert np.abs(confidence - probability).max() < 1.5


def test_several_pictures_at_once_get_the_labels_of_each_alone(exported, tmp_path):
    written = write(tmp_path / 'mine', exported)
    segmenter = SemanticSegmenter(Bundle.load(written.root), 'cpu')
    assert segmenter.takes_several
    several = [
        (one, 'rgb') for one in (*pictures((120, 180), (64, 96)), np.zeros((64, 96, 3), 'u1'))
    ]
    for (image, color), together in zip(several, segmenter.segment_batch(several), strict=True):
        alone = segmenter.segment(image, color)
        assert np.mean(alone.labels != together.labels) < 0.005


def test_a_graph_that_mixes_pictures_is_refused(model, monkeypatch):
    deploy = export.deploy

    class Mixing(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, image):
            labels, confidence = self.network(image)
            return labels[:1].expand_as(labels), confidence

    monkeypatch.setattr(export, 'deploy', lambda *args: Mixing(deploy(*args)))
    with pytest.raises(ExportError, match='two pictures at once'):
        export.export(model, NAME, CAMVID.names, pictures((96, 128)))


def test_the_graph_names_its_classes(exported):
    graph = onnx.load_from_string(exported.model)
    found = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(found['seg_perception.classes']) == list(CAMVID.names)
    assert exported.difference <= export.MAX_DIFFERENCE
    assert exported.pictures == 2


def test_a_graph_that_differs_is_refused(model, monkeypatch):
    deploy = export.deploy

    def broken(*args):
        network = deploy(*args)
        network.mean += 60  # as if the normalisation had been forgotten
        return network

    monkeypatch.setattr(export, 'deploy', broken)
    with pytest.raises(ExportError, match='% of the pixels'):
        export.export(model, NAME, CAMVID.names, pictures((96, 128)))


def test_nothing_to_compare_on(model):
    with pytest.raises(ExportError, match='no picture'):
        export.export(model, NAME, CAMVID.names, [])


def write(folder, exported, **changes):
    arguments = {
        'labels': 'camvid',
        'default_size': (64, 96),
        'licence': {'code': 'Apache-2.0', 'weights': 'test', 'data': 'none'},
        'source': 'a test',
        **changes,
    }
    return bundle.write(folder, exported, **arguments)


def test_the_bundle_runs_in_the_runtime(exported, tmp_path):
    written = write(tmp_path / 'mine', exported)
    segmenter = SemanticSegmenter(Bundle.load(written.root), 'cpu')
    result = segmenter.segment(pictures((120, 180))[0])
    assert result.labels.shape == result.confidence.shape == (64, 96)
    assert segmenter.labels.names == CAMVID.names


def test_overwriting_keeps_the_card_and_needs_to_be_asked_for(exported, tmp_path):
    folder = tmp_path / 'mine'
    write(folder, exported)
    (folder / 'README.md').write_text('the card')
    with pytest.raises(BundleError, match='overwrite'):
        write(folder, exported)
    write(folder, exported, overwrite=True)
    assert (folder / 'README.md').read_text() == 'the card'
    assert [path.name for path in tmp_path.iterdir()] == ['mine'], 'nothing half-written is left'
