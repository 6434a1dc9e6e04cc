import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('torchvision', reason='see requirements/train.txt')

import onnx  # noqa: E402
from tiny_maskrcnn import NAME, OPTIONS, pictures, seeing_network, tensor  # noqa: E402
from torchvision.models.detection.roi_heads import paste_masks_in_image  # noqa: E402

from seg_perception.core.errors import ExportError, ModelError, ProviderError  # noqa: E402
from seg_perception.core.instances import id_image, paste  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.runtime.instance import InstanceSegmenter  # noqa: E402
from seg_perception.zoo import bundle, export_instance  # noqa: E402
from seg_perception.zoo.instance_segmenter import TorchInstanceSegmenter  # noqa: E402
from seg_perception.zoo.registry import build  # noqa: E402

STREET = LabelSet.named('street_objects')
#: The last two are of sizes whose scale is no round number in float32.
SIZES = ((120, 160), (100, 75), (147, 49))


@pytest.fixture(scope='module')
def network():
    return seeing_network(len(STREET))


@pytest.fixture(scope='module')
def exported(network):
    return export_instance.export_instances(
        network, NAME, STREET.names, pictures((120, 160)), OPTIONS
    )


def write(folder, exported):
    return bundle.write(
        folder,
        exported,
        labels='street_objects',
        default_size=(120, 160),
        licence={'code': 'Apache-2.0', 'weights': 'test', 'data': 'none'},
        source='a test',
        check=lambda made: bundle.check_instance_engines(made, pictures((90, 130))[0]),
    )


@pytest.fixture(scope='module')
def written(exported, tmp_path_factory):
    return write(tmp_path_factory.mktemp('models') / 'mine', exported)


@pytest.fixture(scope='module', params=['cpu', 'openvino'])
def finder(request, written):
    if request.param == 'openvino':
        pytest.importorskip('openvino')
    return InstanceSegmenter(written, request.param, threads=1, precision='fp32')


def pairing(boxes, labels, wanted_boxes, wanted_labels):
    """Return for each wanted box the nearest of its class, each taken once."""
    apart = np.abs(boxes[None] - wanted_boxes[:, None]).max(2)
    apart[wanted_labels[:, None] != labels[None]] = np.inf
    nearest = apart.argmin(1)
    assert len(set(nearest.tolist())) == len(nearest)
    return nearest


@pytest.mark.parametrize('size', SIZES)
def test_the_bundle_finds_what_torchvision_finds(finder, network, size):
    picture = pictures((60, 80), size)[1]
    with torch.inference_mode():
        expected = network([tensor(picture)])[0]
    found = finder.segment(picture)
    assert len(found) == len(expected['boxes']) >= 5
    assert len(set(found.labels.tolist())) > 1, 'one class would compare little'
    assert len(found) < 100, 'so that none was cut off, which rounding may decide'
    expected = {key: value.numpy() for key, value in expected.items()}
    # Among equal scores the order is free.
    found = found.take(
        pairing(found.boxes, found.labels, expected['boxes'], expected['labels'] - 1)
    )
    assert np.array_equal(found.labels, expected['labels'] - 1)
    assert np.abs(found.boxes - expected['boxes']).max() <= 0.01
    assert np.abs(found.scores - expected['scores']).max() <= 1e-4
    wrong = total = 0
    for region, mask in zip(paste(found), expected['masks'][:, 0] > 0.5, strict=True):
        full = np.zeros(size, bool)
        region.of(full)[...] = region.mask
        wrong += int((full != mask).sum())
        total += mask.size
    assert total
    assert wrong <= 1e-3 * total


def with_class_bias(payload, label, change):
    """Return the graph with another bias of a class; 0 is background."""
    graph = onnx.load_from_string(payload)
    bias = next(i for i in graph.graph.initializer if i.name.endswith('cls_score.bias'))
    values = onnx.numpy_helper.to_array(bias).copy()
    values[label] += change
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return graph.SerializeToString()


def test_a_picture_without_objects(exported, tmp_path):
    """The graph must run on when nothing is left for its last layers."""
    nothing = dataclasses.replace(exported, model=with_class_bias(exported.model, 0, 100.0))
    written = write(tmp_path / 'nothing', nothing)
    for provider in ('cpu', 'openvino'):
        try:
            finder = InstanceSegmenter(written, provider, threads=1)
        except ProviderError:
            continue
        assert len(finder.segment(pictures((120, 160))[0])) == 0, provider


def test_torch_as_a_segmenter_is_the_same_network(finder, network):
    picture = pictures((60, 80), (120, 160))[1]
    found, by_torch = (
        one.segment(np.ascontiguousarray(picture[..., ::-1]), 'bgr')
        for one in (finder, TorchInstanceSegmenter(network, NAME, STREET))
    )
    assert by_torch.image_size == (160, 120)
    assert by_torch.boxes == pytest.approx(found.boxes, abs=0.01)
    pasted = [id_image(one, paste(one)) for one in (found, by_torch)]
    assert np.mean(pasted[0] != pasted[1]) < 1e-3


def test_a_graph_that_differs_is_refused(exported, network, monkeypatch):
    broken = with_class_bias(exported.model, 3, 0.5)
    monkeypatch.setattr(export_instance, '_to_onnx', lambda *_: broken)
    with pytest.raises(ExportError, match='detections on 1 pictures differ'):
        export_instance.export_instances(network, NAME, STREET.names, pictures((96, 96)), OPTIONS)


def test_what_cannot_be_exported(network):
    with pytest.raises(ExportError, match='no picture'):
        export_instance.export_instances(network, NAME, STREET.names, [], OPTIONS)
    with pytest.raises(ExportError, match='finds no instances'):
        export_instance.deploy(network, 'fastscnn', 6)
    with pytest.raises(ModelError, match='finds no instances'):
        TorchInstanceSegmenter(build('fastscnn', 6), 'fastscnn', STREET)


def test_sizes_are_those_of_python(network):
    """In float32, or with a reciprocal, one in a few dozen would be a pixel off."""
    deployed = export_instance.DeployedMaskRcnn(network)
    for height in range(40, 400, 7):
        for width in range(50, 400, 11):
            low, high = min(height, width), max(height, width)
            scale = min(OPTIONS['min_size'] / low, OPTIONS['max_size'] / high)
            size = deployed._size(torch.empty(3, height, width)).tolist()
            assert size == [int(height * scale), int(width * scale)], (height, width)


def test_pairing_by_class_box_score_and_mask():
    box = np.array([[10, 10, 30, 40]], np.float32)
    mask = np.ones((1, 28, 28), np.float32)
    found = {'boxes': box, 'labels': np.array([2]), 'scores': np.array([0.5]), 'masks': mask}
    boxes = torch.from_numpy(box)
    region = paste_masks_in_image(torch.from_numpy(mask)[:, None], boxes, (60, 60))
    expected = {
        'boxes': boxes,
        'labels': torch.tensor([3]),
        'scores': torch.tensor([0.5]),
        'masks': region,
    }
    compare = export_instance.compare
    assert compare(found, expected, (60, 60)) == (0, 0)
    assert compare({**found, 'labels': np.array([1])}, expected, (60, 60)) == (1, 1)
    assert compare({**found, 'boxes': box + 0.1}, expected, (60, 60)) == (1, 1)
    assert compare({**found, 'scores': np.array([0.51])}, expected, (60, 60)) == (1, 1)
    half = mask.copy()
    half[:, :14] = 0
    assert compare({**found, 'masks': half}, expected, (60, 60)) == (1, 1)
