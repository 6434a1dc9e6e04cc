"""int8, fp16 and fixed sizes: what is written computes in them, and is refused where it is off."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

import onnx  # noqa: E402

from seg_perception.core.errors import ExportError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.runtime.bundle import Bundle  # noqa: E402
from seg_perception.runtime.semantic import SemanticSegmenter  # noqa: E402
from seg_perception.zoo import bundle, export  # noqa: E402
from seg_perception.zoo.export import Form  # noqa: E402
from seg_perception.zoo.quantize import quantize  # noqa: E402
from seg_perception.zoo.registry import architecture, build  # noqa: E402

NAME = 'unet2015_bilinear'
OPTIONS = {'width': 8}
CAMVID = LabelSet.named('camvid')
SIZE = (64, 96)


def picture(seed, size=SIZE):
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(blobs, size[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def model():
    """A small U-Net with the statistics of real activations and scores far apart."""
    entry = architecture(NAME)
    torch.manual_seed(2)
    network = build(NAME, len(CAMVID), **OPTIONS)
    pixels = np.stack([(picture(seed) / 255 - entry.mean) / entry.std for seed in range(4)])
    pixels = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(pixels)
        network.eval()
        network.head.bias -= network(pixels).mean((0, 2, 3))
        network.head.weight *= 20
    return network


def agreement_with(model):
    """Score a predictor by the share of pixels where it says what torch says."""
    exact = export._torch_predictor(model, architecture(NAME))
    seen = [picture(seed) for seed in range(20, 24)]
    return lambda predict: float(np.mean([predict(p) == exact(p) for p in seen]))


def make(model, **form):
    pictures = [picture(seed, form.get('size') or SIZE) for seed in (10, 11)]
    return export.export(model, NAME, CAMVID.names, pictures, OPTIONS, Form(**form))


@pytest.fixture(scope='module')
def int8(model, tmp_path_factory):
    calibration = [picture(seed) for seed in range(30, 42)]
    made = make(
        model,
        precision='int8',
        calibration=calibration,
        keep_float=['*/encoder.0/*'],
        # Labels of a random network hang on little: the limit itself is tested below.
        score=lambda predict: 0.5,
    )
    return made, write(tmp_path_factory.mktemp('int8') / 'tiny', made)


def write(folder, made):
    return bundle.write(
        folder,
        made,
        labels='camvid',
        default_size=SIZE,
        licence={'code': 'Apache-2.0', 'weights': 'test', 'data': 'none'},
        source='a test',
    )


def types(payload):
    graph = onnx.load_from_string(payload).graph
    return {item.name: item.data_type for item in graph.initializer}, graph.node


def test_int8_lies_between_the_ends_only(int8):
    made, written = int8
    kinds, nodes = types(made.model)
    names = [node.op_type for node in nodes]
    weights = [node.input[1] for node in nodes if node.op_type == 'Conv']
    floats = [name for name in weights if name in kinds]
    assert len(floats) == 3, 'the two convolutions asked for and the one that makes the logits'
    assert names.count('QuantizeLinear') > 10
    by_output = {name: node for node in nodes for name in node.output}
    post = [node for node in nodes if node.op_type in ('TopK', 'ReduceMax')]
    assert len(post) == 2
    assert all(by_output[node.input[0]].op_type == 'Conv' for node in post)
    assert Bundle.load(written.root).precision == 'int8'
    assert 2 * sum(kind == onnx.TensorProto.INT8 for kind in kinds.values()) > len(weights)


@pytest.mark.parametrize('engine', ['cpu', 'openvino'])
def test_int8_runs_on_both_engines_at_any_size(model, int8, engine):
    if engine == 'openvino':
        pytest.importorskip('openvino')
    segmenter = SemanticSegmenter(int8[1], engine, threads=1)
    exact = export._torch_predictor(model, architecture(NAME))
    for size in (SIZE, (96, 64)):
        seen = picture(50, size)
        found = segmenter.segment(seen)
        assert found.labels.shape == found.confidence.shape == size
        assert len(np.unique(found.labels)) > 2
        assert np.mean(found.labels == exact(seen)) > 0.8


def test_int8_is_scored_on_the_other_engine_too(int8):
    pytest.importorskip('openvino')
    seen = []

    def score(predict):
        seen.append(predict(picture(0)).shape)
        return 0.4

    bundle.check_engines(int8[1], picture(0), score, 0.4)
    assert seen == [SIZE]
    with pytest.raises(ExportError, match=r'on openvino the mean IoU is 40\.00, 41\.00'):
        bundle.check_engines(int8[1], picture(0), score, 0.41)


def test_int8_that_loses_too_much_is_refused(model):
    scores = iter((0.70, 0.685))
    with pytest.raises(ExportError, match=r'70\.00 to 68\.50, by 1\.50 points'):
        make(
            model,
            precision='int8',
            calibration=[picture(seed) for seed in range(30, 38)],
            score=lambda predict: next(scores),
        )


def test_int8_is_scored_on_torch_and_on_the_graph(model):
    made = make(
        model,
        precision='int8',
        calibration=[picture(seed) for seed in range(30, 38)],
        score=lambda predict: 0.3 + 0.001 * agreement_with(model)(predict),
    )
    before, after = made.miou
    assert before == pytest.approx(0.301)
    assert 0.3 < after < before
    assert 0 < made.difference < 0.3


@pytest.mark.parametrize(
    ('form', 'message'),
    [
        ({'precision': 'int8'}, 'labelled pictures'),
        ({'precision': 'int4'}, 'known: fp32, fp16, int8'),
        ({'keep_float': ['x']}, 'only int8'),
    ],
)
def test_forms_that_make_no_sense(form, message):
    with pytest.raises(ExportError, match=message):
        Form(**form)


def test_calibration_that_cannot_be_used(model):
    enough = [picture(seed) for seed in range(8)]
    int8 = {'precision': 'int8', 'score': lambda predict: 1.0}
    with pytest.raises(ExportError, match='3 pictures to calibrate'):
        make(model, **int8, calibration=enough[:3])
    with pytest.raises(ExportError, match="no node of the network is called 'nosuch'"):
        make(model, **int8, calibration=enough, keep_float=['nosuch'])


def test_attention_is_not_quantised():
    node = onnx.helper.make_node('Softmax', ['a'], ['b'], 'attention')
    tensors = [onnx.helper.make_tensor_value_info(name, 1, [1, 3]) for name in 'ab']
    graph = onnx.helper.make_graph([node], 'g', tensors[:1], tensors[1:])
    with pytest.raises(ExportError, match=r'int8 is for convolutional networks.*Softmax'):
        quantize(onnx.helper.make_model(graph), ('a', 'b'), [picture(0)] * 8, 'segformer_b0')


def test_fp16_halves_the_weights_and_keeps_the_labels(model, tmp_path):
    whole, half = make(model), make(model, precision='fp16')
    assert half.difference <= export.MAX_DIFFERENCE
    assert len(half.model) < 0.7 * len(whole.model)
    kinds, _ = types(half.model)
    assert onnx.TensorProto.FLOAT16 in kinds.values()
    written = write(tmp_path / 'half', half)
    assert Bundle.load(written.root).precision == 'fp16'
    found = SemanticSegmenter(written, 'cpu', threads=1).segment(picture(60))
    expected = SemanticSegmenter(write(tmp_path / 'whole', whole), 'cpu').segment(picture(60))
    assert np.mean(found.labels != expected.labels) < 0.005
    off = np.abs(found.confidence.astype(int) - expected.confidence)
    assert off.mean() < 1.5
    assert np.percentile(off, 99) <= 12


def test_a_fixed_size(model, tmp_path):
    made = make(model, size=(48, 80))
    written = write(tmp_path / 'fixed', made)
    assert written.input.size == written.input.default_size == (48, 80)
    assert [
        d.dim_value
        for d in onnx.load_from_string(made.model).graph.input[0].type.tensor_type.shape.dim
    ] == [1, 48, 80, 3]
    assert SemanticSegmenter(written, 'cpu').segment(picture(1, (90, 100))).labels.shape == (
        48,
        80,
    )
    with pytest.raises(ExportError, match='multiples of 16'):
        make(model, size=(40, 80))
