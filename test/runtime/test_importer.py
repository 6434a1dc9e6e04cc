"""Importing: any layout, type, opset and output of a third-party network gives one graph."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, load, save
from tiny_networks import GAIN, write_network

from seg_perception.core.errors import BundleError, LabelSetError
from seg_perception.core.labels import LabelSet, Role
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.importer import (
    ImportOptions,
    Origin,
    import_semantic,
    labels_of_names,
    probe_image,
)
from seg_perception.runtime.semantic import SemanticSegmenter

ENGINES = ('cpu', 'openvino')
RGB = labels_of_names(['red', 'green', 'blue'], ['green'])
TWO = labels_of_names(['red', 'green'], ['green'])
UNIT = {'scale': 1 / 255}
SIZE = (48, 64)


@pytest.fixture
def bring(tmp_path):
    """Write a network, import it, and return the bundle."""

    def run(labels=RGB, options=None, origin=None, name='new', **network):
        path = write_network(tmp_path / 'network.onnx', **network)
        options = ImportOptions(**{**UNIT, 'default_size': SIZE, **(options or {})})
        return import_semantic(
            path, name, tmp_path / 'models', labels=labels, options=options, origin=origin
        )

    return run


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def check_brightest(bundle, *, gain=GAIN, stride=1, classes=3):
    """The mask is the brightest channel's number and the confidence its softmax."""
    image = cv2.GaussianBlur(probe_image(*SIZE), (0, 0), 3)
    scores = gain * image[..., :classes] / 255.0
    sure = np.sort(scores, axis=2)
    sure = sure[..., -1] - sure[..., -2] > 0.05  # float16 and rounding decide the others
    expected = 255 * softmax(scores).max(axis=2)
    for provider in ENGINES:
        segmenter = SemanticSegmenter(bundle, provider, precision='fp32', input_size=None)
        result = segmenter.segment(image)
        assert result.size == SIZE[::-1]
        if stride == 1:
            assert np.array_equal(result.labels[sure], scores.argmax(axis=2)[sure])
        else:
            assert np.mean(result.labels == scores.argmax(axis=2)) > 0.8
        difference = result.confidence.astype(float) - expected
        assert np.abs(difference).mean() < (12 if stride == 1 else 20), 'confidence'


@pytest.mark.parametrize(
    'network',
    [
        {},
        {'size': SIZE},
        {'layout': 'nhwc'},
        {'layout': 'nhwc', 'size': SIZE},
        {'dtype': TensorProto.FLOAT16},
        {'opset': 11},
        {'opset': 13},
        {'opset': 18},
        {'opset': 21},
        {'opset': 11, 'weights_are_inputs': True},
        {'external': True},
        {'extra_output': True, 'options': {'output_name': 'y'}},
        {'input_name': 'image', 'output_name': 'labels'},
        {'input_name': 'confidence', 'output_name': 'image'},
        {'size': (48, 'w'), 'options': {'size': SIZE}},
        {'kind': 'softmax', 'options': {'output_kind': 'softmax'}},
        {'kind': 'softmax', 'opset': 11, 'options': {'output_kind': 'softmax'}},
        {'kind': 'softmax', 'layout': 'nhwc', 'options': {'output_kind': 'softmax'}},
        {'options': {'size': SIZE}},
        {'options': {'confidence_stride': 1}},
    ],
    ids=str,
)
def test_networks_of_every_making(bring, network):
    bundle = bring(**network)
    assert bundle == Bundle.load(bundle.root)
    assert bundle.input.name == 'image'
    check_brightest(bundle)


@pytest.mark.parametrize('stride', [4, 8])
def test_coarse_logits_are_interpolated(bring, stride):
    bundle = bring(stride=stride, options={'multiple': stride})
    check_brightest(bundle, stride=stride)


def test_label_stride_makes_a_coarser_mask(bring):
    bundle = bring(stride=4, options={'multiple': 4, 'label_stride': 2})
    for provider in ENGINES:
        result = SemanticSegmenter(bundle, provider).segment(probe_image(*SIZE))
        assert result.size == (SIZE[1] // 2, SIZE[0] // 2)


def test_grids_that_meet_at_the_corners(bring):
    """Sizes of 16 n + 1: each coarse pixel lies on a fine one, where the logits are unchanged."""
    from seg_perception.runtime.session import open_session

    options = {'multiple': 16, 'offset': 1, 'default_size': (49, 65), 'confidence_stride': 16}
    aligned = bring(stride=16, options=options)
    apart = bring(stride=16, options={**options, 'align_corners': False}, name='apart')
    modes = []
    for bundle in (aligned, apart):
        nodes = load(bundle.model_path).graph.node
        (resize,) = (node for node in nodes if node.op_type == 'Resize')
        modes += [a.s for a in resize.attribute if a.name == 'coordinate_transformation_mode']
    assert modes == [b'align_corners', b'half_pixel']
    image = cv2.GaussianBlur(probe_image(49, 65), (0, 0), 4)
    for provider in ENGINES:
        session = open_session(aligned.model_path, provider, precision='fp32')
        labels = session.run({'image': image[None]})['labels'][0]
        assert labels.shape == (49, 65)
        # The pooled network gives 3 x 4 logits; their corners are the mask's corners.
        blocks = image[:48, :64].reshape(3, 16, 4, 16, 3).mean(axis=(1, 3)).argmax(axis=2)
        assert labels[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [
            blocks[0, 0],
            blocks[0, -1],
            blocks[-1, 0],
            blocks[-1, -1],
        ]


@pytest.mark.parametrize(
    ('normal', 'undone'),
    [
        ({'scale': 1 / 127.5, 'mean': (1.0,)}, 2.0),
        ({'scale': 1.0, 'mean': (127.5,), 'std': (127.5,)}, 2.0),
        ({'scale': 1 / 255, 'mean': (0.5, 0.5, 0.5), 'std': (0.25, 0.25, 0.25)}, 4.0),
    ],
)
def test_normalisation(bring, normal, undone):
    check_brightest(bring(options=normal), gain=GAIN * undone)


def test_normalisation_per_channel(bring):
    """Mean and std differ per channel: a swapped pair would move the border."""
    bundle = bring(options={'mean': (0.6, 0.2, 0.0), 'std': (0.5, 1.0, 2.0)})
    image = probe_image(*SIZE)
    scores = GAIN * (image / 255 - np.array([0.6, 0.2, 0.0])) / np.array([0.5, 1.0, 2.0])
    labels = SemanticSegmenter(bundle).segment(image).labels
    assert np.mean(labels == scores.argmax(axis=2)) > 0.995


def test_bgr_network(bring):
    bundle = bring(options={'color': 'bgr'})
    image = probe_image(*SIZE)
    segmenter = SemanticSegmenter(bundle)
    swapped = np.ascontiguousarray(image[..., ::-1])
    assert np.array_equal(segmenter.segment(image, 'bgr').labels, image.argmax(axis=2))
    assert np.array_equal(segmenter.segment(swapped, 'rgb').labels, image.argmax(axis=2))


def test_uint8_network(bring):
    bundle = bring(dtype=TensorProto.UINT8, options={'scale': 1.0}, bias=(0, 0, 0))
    image = probe_image(*SIZE)
    assert np.array_equal(SemanticSegmenter(bundle).segment(image).labels, image.argmax(axis=2))
    with pytest.raises(BundleError, match='takes uint8 pixels as they are'):
        bring(dtype=TensorProto.UINT8, name='other')


@pytest.mark.parametrize('kind', ['logits', 'softmax'])
@pytest.mark.parametrize('stride', [1, 4])
def test_two_classes(bring, kind, stride):
    bundle = bring(
        TWO,
        {'output_kind': kind, 'multiple': stride},
        kind=kind,
        classes=2,
        stride=stride,
    )
    check_brightest(bundle, classes=2, stride=stride)


def test_one_channel_is_the_second_class(bring):
    """A logit of red minus green: sure of class 1 ('green' here) where red is brighter."""
    bundle = bring(TWO, classes=1, bias=(0.0,))
    image = probe_image(*SIZE)
    logit = GAIN * (image[..., 0].astype(float) - image[..., 1]) / 255
    result = SemanticSegmenter(bundle, 'cpu').segment(image)
    sure = np.abs(logit) > 1e-3
    assert np.array_equal(result.labels[sure], (logit > 0)[sure])
    expected = 255 / (1 + np.exp(-np.abs(logit[2::4, 2::4])))
    assert np.abs(result.confidence[2::4, 2::4] - expected).mean() < 12


@pytest.mark.parametrize('shape', ['hw', 'nhw', 'nchw', 'nhwc'])
@pytest.mark.parametrize('stride', [1, 4])
def test_class_ids(bring, shape, stride):
    options = {'output_kind': 'labels', 'size': SIZE, 'align_corners': False}
    bundle = bring(RGB, options, kind='ids', ids_shape=shape, stride=stride)
    image = cv2.resize(probe_image(12, 16), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    for provider in ENGINES:
        result = SemanticSegmenter(bundle, provider).segment(image)
        assert np.array_equal(result.labels, image.argmax(axis=2))
        assert (result.confidence == 255).all()


def test_ids_without_a_class_are_unlabelled(bring):
    """Class ids beyond the label set must not wrap round to a drivable one."""
    options = {'output_kind': 'labels', 'size': SIZE}
    bundle = bring(TWO, options, kind='ids', classes=260, bias=[0.0] * 259 + [4.0])
    image = probe_image(*SIZE)
    best = GAIN * image.max(axis=2) / 255
    for provider in ENGINES:
        labels = SemanticSegmenter(bundle, provider).segment(image).labels
        assert set(np.unique(labels)) <= {0, 1, 255}
        assert (labels[best < 3.9] == 255).all()


def test_selected_channels(bring):
    bundle = bring(TWO, {'channels': (2, 1)})
    image = probe_image(*SIZE)
    labels = SemanticSegmenter(bundle).segment(image).labels
    assert np.array_equal(labels, image[..., [2, 1]].argmax(axis=2))


def test_description_and_metadata(bring):
    origin = Origin({'weights': 'MIT'}, source='https://example.org/net', architecture='1x1')
    bundle = bring(origin=origin)
    assert bundle.licence == {'code': 'unknown', 'weights': 'MIT', 'data': 'unknown'}
    assert (bundle.source, bundle.architecture) == ('https://example.org/net', '1x1')
    assert bundle.labels == RGB
    metadata = {item.key: item.value for item in load(bundle.model_path).metadata_props}
    assert json.loads(metadata['seg_perception.classes']) == ['red', 'green', 'blue']
    names = {name for node in load(bundle.model_path).graph.node for name in node.output}
    assert metadata['seg_perception.network_input'] in names
    assert metadata['seg_perception.network_output'] in names


@pytest.mark.parametrize('provider', ENGINES)
def test_swapped_classes_are_noticed(bring, provider):
    bundle = bring()
    path = bundle.root / 'model.yaml'
    text = path.read_text()
    for old, new in (('red', '?'), ('green', 'red'), ('?', 'green')):
        text = text.replace(f'name: {old}\n', f'name: {new}\n')
    path.write_text(text)
    with pytest.raises(BundleError, match=r"channel 0 was made for the class 'red'.*'green'"):
        SemanticSegmenter(Bundle.load(bundle.root), provider)


def test_the_rest_of_the_network_is_left_out(bring):
    bundle = bring(extra_output=True, options={'output_name': 'y'})
    assert 'other' not in [n for node in load(bundle.model_path).graph.node for n in node.output]


def test_named_label_set_is_kept_by_name(bring):
    labels = LabelSet.named('camvid')
    bundle = bring('camvid', classes=11)
    assert 'labels: camvid\n' in (bundle.root / 'model.yaml').read_text()
    assert bundle.labels == labels


@pytest.mark.parametrize(
    ('network', 'options', 'message'),
    [
        ({'classes': 4}, {}, 'has 4 channels, the label set 3'),
        ({'classes': 4, 'layout': 'nhwc'}, {}, 'has 4 channels, the label set 3'),
        ({}, {'channels': (0, 1)}, '2 channels are selected, the label set has 3'),
        ({}, {'channels': (0, 1, 7)}, 'channel 7 is asked for'),
        ({}, {'channels': (1, 1, 2)}, 'different indices'),
        ({}, {'output_kind': 'softmax'}, 'no probabilities'),
        ({'kind': 'softmax'}, {}, 'these are probabilities'),
        ({'kind': 'ids'}, {}, 'output-kind labels'),
        ({}, {'output_kind': 'labels'}, 'class ids must be'),
        ({}, {'output_kind': 'probs'}, 'output kind must be one of'),
        ({}, {'input_name': 'pixels'}, "no input 'pixels'; it has: x"),
        ({}, {'output_name': 'z'}, "no output 'z'; it has: y"),
        ({'extra_output': True}, {}, 'say which to take'),
        ({'extra_input': True}, {}, 'must have one input, the image; it has: x, second'),
        ({'dtype': TensorProto.INT32}, {}, 'is INT32; it must be float or uint8'),
        ({'size': SIZE}, {'size': (96, 64)}, 'takes 48x64 .height x width. only'),
        ({'size': (48, 'w')}, {}, 'fixes one side'),
        ({'layout': 'nhwc'}, {'layout': 'nchw'}, 'does not fit layout nchw'),
        ({'size': SIZE, 'opset': 7, 'kind': 'softmax'}, {'std': (0.0,)}, 'must not be 0'),
        ({}, {'mean': (1.0, 2.0)}, 'mean must be one number or three'),
        ({}, {'multiple': 0}, 'multiple must be a whole number'),
        ({}, {'multiple': 32}, 'side 48 is not a multiple of 32'),
        ({'bias': (np.nan, 0, 0)}, {}, 'NaN or infinity'),
    ],
    ids=str,
)
def test_what_cannot_be_imported(bring, tmp_path, network, options, message):
    with pytest.raises(BundleError, match=message):
        bring(options=options, **network)
    models = tmp_path / 'models'
    assert not models.exists() or list(models.iterdir()) == [], 'nothing is left behind'


@pytest.mark.parametrize('damage', ['missing', 'truncated', 'text', 'empty', 'no weights file'])
def test_files_that_are_damaged(tmp_path, damage):
    path = write_network(tmp_path / 'network.onnx', external=damage == 'no weights file')
    data = path.read_bytes()
    contents = {'truncated': data[: len(data) // 2], 'text': b'no onnx' * 30, 'empty': b''}
    if damage == 'missing':
        path.unlink()
    elif damage == 'no weights file':
        (tmp_path / 'weights.bin').unlink()
    else:
        path.write_bytes(contents[damage])
    with pytest.raises(BundleError, match=r'network\.onnx'):
        import_semantic(path, 'new', tmp_path / 'models', labels=RGB)
    assert not (tmp_path / 'models').exists()


def test_network_that_needs_a_multiple(tmp_path):
    """An encoder and decoder that meet at an addition: odd sides do not add up."""
    path = write_network(tmp_path / 'network.onnx')
    model = load(path)
    nodes = list(model.graph.node)
    last = nodes.pop()
    pooled = helper.make_node(
        'MaxPool', [last.input[0]], ['pooled'], kernel_shape=[32, 32], strides=[32, 32]
    )
    scales = helper.make_node('Constant', [], ['s'], value_floats=[1.0, 1.0, 32.0, 32.0])
    grown = helper.make_node('Resize', ['pooled', '', 's'], ['grown'], mode='nearest')
    added = helper.make_node('Add', ['grown', last.input[0]], ['y'])
    del model.graph.node[:]
    model.graph.node.extend([*nodes, pooled, scales, grown, added])
    save(model, path)
    out = tmp_path / 'models'
    with pytest.raises(BundleError, match=r'does not run at 360x640 .*--multiple'):
        import_semantic(path, 'new', out, labels=RGB, options=ImportOptions(**UNIT))
    options = ImportOptions(**UNIT, multiple=32)
    bundle = import_semantic(path, 'new', out, labels=RGB, options=options)
    assert bundle.input.default_size == (352, 640)


@pytest.mark.parametrize('name', ['', '../a', 'a/b', '.hidden'])
def test_names_that_name_no_folder(tmp_path, name):
    path = write_network(tmp_path / 'network.onnx')
    with pytest.raises(BundleError, match='cannot name a folder'):
        import_semantic(path, name, tmp_path / 'models', labels=RGB)


def test_an_existing_bundle_is_kept(bring, tmp_path):
    first = bring()
    with pytest.raises(BundleError, match='is there already'):
        bring(classes=3, bias=(1, 0, 0))
    assert Bundle.load(first.root) == first


def test_labels_of_names():
    labels = labels_of_names(['sky', 'road', 'car'], ['road'], ['sky'])
    assert [item.role for item in labels.classes] == [Role.IGNORE, Role.DRIVABLE, Role.OBSTACLE]
    assert [item.cost for item in labels.classes] == [0, 0, 100]
    assert len({item.color for item in labels.classes}) == 3
    with pytest.raises(LabelSetError, match="no class 'raod'"):
        labels_of_names(['sky', 'road'], ['raod'])
