"""The segmenter: any picture in, a mask of the whole picture out."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import CLASSES, ROAD, SKY, WALL, write_tiny_bundle

from seg_perception.core.errors import BundleError, ImageError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.semantic import SemanticSegmenter

onnx = pytest.importorskip('onnx')
ENGINES = ('cpu', 'openvino')


def segmenter(folder, **options):
    return SemanticSegmenter(Bundle.load(folder), **options)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('models') / 'tiny')


def street(height=720, width=1280):
    """Sky above, road below, a wall on the right of the road: RGB."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, :, 2] = 200
    image[height // 2 :, : width // 2, 1] = 150
    image[height // 2 :, width // 2 :, 0] = 100
    return image


def check_street(result):
    rows, columns = result.labels.shape
    assert (result.labels[: rows // 2 - 1] == SKY).all()
    assert (result.labels[rows // 2 + 1 :, : columns // 2 - 1] == ROAD).all()
    assert (result.labels[rows // 2 + 1 :, columns // 2 + 1 :] == WALL).all()
    assert result.confidence[rows // 4, columns // 4] == 200
    assert result.confidence[-1, 0] == 150
    assert result.confidence[-1, -1] == 100


@pytest.mark.parametrize('provider', ENGINES)
@pytest.mark.parametrize('size', [(720, 1280), (90, 160), (45, 80), (101, 333)])
def test_mask_covers_the_picture(tiny, provider, size):
    model = segmenter(tiny, provider=provider)
    assert model.provider == provider
    result = model.segment(street(*size), 'rgb')
    assert result.image_size == (size[1], size[0])
    assert result.size == (160, 90)
    check_street(result)
    assert set(model.last_timing) == {'convert', 'network', 'post'}
    assert all(ms >= 0 for ms in model.last_timing.values())


@pytest.mark.parametrize('wanted', ['rgb', 'bgr'])
@pytest.mark.parametrize('given', ['rgb', 'bgr'])
def test_colour_orders(tmp_path, wanted, given):
    """A network that wants BGR sees the channels swapped: red and blue trade classes."""
    spec = {'name': 'image', 'color': wanted, 'size': [90, 160]}
    model = segmenter(write_tiny_bundle(tmp_path / 'a', changes={'input': spec}))
    image = street()
    pixels = image if given == 'rgb' else np.ascontiguousarray(image[..., ::-1])
    labels = model.segment(pixels, given).labels
    assert labels[0, 0] == (SKY if wanted == 'rgb' else WALL)
    assert labels[-1, 0] == ROAD


def test_views_with_padded_rows_and_other_strides(tiny):
    model = segmenter(tiny)
    padded = np.zeros((720, 1300, 3), np.uint8)
    padded[:, :1280] = street()
    for view in (padded[:, :1280], street()[::1, ::-1][:, ::-1], street(1440, 2560)[::2, ::2]):
        before = view.copy()
        check_street(model.segment(view, 'rgb'))
        assert np.array_equal(view, before), 'the picture is not written to'
    same = np.zeros((90, 200, 3), np.uint8)
    same[:, :160] = street(90, 160)
    check_street(model.segment(same[:, :160], 'rgb'))


def test_results_are_independent(tiny):
    model = segmenter(tiny, provider='openvino')
    first = model.segment(street())
    model.segment(np.zeros((720, 1280, 3), np.uint8))
    check_street(first)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((90, 160), np.uint8),
        np.zeros((90, 160, 4), np.uint8),
        np.zeros((90, 160, 3), np.float32),
        np.zeros((0, 160, 3), np.uint8),
    ],
)
def test_pictures_that_are_none(tiny, image):
    with pytest.raises(ImageError, match='a picture must be uint8'):
        segmenter(tiny).segment(image)


def test_unknown_colour(tiny):
    with pytest.raises(ImageError, match="got 'hsv'"):
        segmenter(tiny).segment(street(), 'hsv')


def deployed(folder, nodes, outputs, *, size=(None, None), constants=(), changes=None):
    """A bundle around a graph of one's own: image -> labels, confidence."""
    import hashlib

    from onnx import TensorProto, helper, numpy_helper

    write_tiny_bundle(folder, changes=changes)
    made = [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs]
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, [1, *size, 3])
    weights = [numpy_helper.from_array(array, name) for name, array in constants]
    graph = helper.make_graph(nodes, 'g', [image], made, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])
    model.ir_version = 8
    data = model.SerializeToString()
    (folder / 'model.onnx').write_bytes(data)
    path = folder / 'model.yaml'
    text = path.read_text().splitlines()
    text = [line for line in text if not line.startswith('sha256')]
    path.write_text('\n'.join([*text, f'sha256: {hashlib.sha256(data).hexdigest()}']))
    return folder


def red_is_the_label(confidence_step=1, rank=3):
    """Nodes: the red channel is the label, the green one (subsampled) the confidence."""
    from onnx import helper

    squeeze = ['axis3'] if rank == 3 else ['axis3_only']
    return [
        helper.make_node('Slice', ['image', 'zero', 'one', 'three'], ['red']),
        helper.make_node('Squeeze', ['red', *squeeze], ['labels'])
        if rank == 3
        else helper.make_node('Identity', ['red'], ['labels']),
        helper.make_node('Slice', ['image', 'one', 'two', 'three'], ['green']),
        helper.make_node('Squeeze', ['green', 'axis3'], ['full']),
        helper.make_node('Slice', ['full', 'zeros', 'ends', 'sides', 'steps'], ['confidence']),
    ], [
        ('zero', np.array([0])),
        ('one', np.array([1])),
        ('two', np.array([2])),
        ('three', np.array([3])),
        ('axis3', np.array([3])),
        ('zeros', np.array([0, 0])),
        ('ends', np.array([10**6, 10**6])),
        ('sides', np.array([1, 2])),
        ('steps', np.array([confidence_step] * 2)),
    ]


DYNAMIC = {'name': 'image', 'color': 'rgb', 'size': None, 'multiple': 32, 'default_size': [64, 96]}
UINT8, INT64 = 2, 7


@pytest.fixture
def red_bundle(tmp_path):
    nodes, constants = red_is_the_label(confidence_step=4)
    outputs = [('labels', UINT8, [1, None, None]), ('confidence', UINT8, [1, None, None])]
    return deployed(
        tmp_path / 'red', nodes, outputs, constants=constants, changes={'input': DYNAMIC}
    )


@pytest.mark.parametrize('provider', ENGINES)
def test_ids_without_a_class_are_unlabelled_and_sure_of_nothing(red_bundle, provider):
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 1] = 180
    image[:16, :, 0] = 1
    image[16:32, :, 0] = 3
    image[32:, :, 0] = 255
    result = segmenter(red_bundle, provider=provider).segment(image)
    assert result.labels[:, 0].tolist() == [1] * 16 + [255] * 48
    assert (result.confidence[:16] == 180).all()
    assert (result.confidence[16:] == 0).all()


def test_coarse_confidence_is_spread_over_the_mask(red_bundle):
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 1] = np.linspace(0, 240, 96).astype(np.uint8)
    result = segmenter(red_bundle).segment(image)
    assert result.confidence.shape == (64, 96)
    rise = result.confidence[5].astype(int)
    assert (np.diff(rise) >= 0).all()
    assert np.abs(rise - image[5, :, 1]).max() <= 12, 'within four pixels of the ramp'


@pytest.mark.parametrize(
    ('picture', 'expected'),
    [((96, 64), (96, 64)), ((1280, 720), (96, 64)), ((720, 1280), (64, 96)), ((64, 64), (64, 64))],
)
def test_dynamic_networks_take_the_pictures_shape(red_bundle, picture, expected):
    model = segmenter(red_bundle)
    assert model.network_size(*picture) == expected
    assert model.segment(np.zeros((picture[1], picture[0], 3), np.uint8)).size == expected


@pytest.mark.parametrize('picture', [(100_000, 1), (1, 100_000), (20_000, 3)])
def test_absurdly_long_pictures_cost_no_more_than_others(red_bundle, picture):
    width, height = segmenter(red_bundle).network_size(*picture)
    assert width * height <= 2 * 96 * 64


def test_input_size(red_bundle, tiny):
    model = segmenter(red_bundle, input_size=(100, 200))
    assert model.network_size(1280, 720) == (192, 96), 'rounded to what the network takes'
    with pytest.raises(BundleError, match=r'runs at 90x160 .height x width. only'):
        segmenter(tiny, input_size=(180, 320))
    assert segmenter(tiny, input_size=(90, 160)).network_size(1280, 720) == (160, 90)
    with pytest.raises(BundleError, match='input_size must be'):
        segmenter(red_bundle, input_size=(0, 100))


def test_other_scales_share_the_loaded_network(red_bundle, tiny):
    model = segmenter(red_bundle, input_size=(64, 96))
    half, double = model.at_scale(0.5), model.at_scale(2)
    assert half.session is double.session is model.session
    picture = np.ones((100, 100, 3), np.uint8)
    for scaled, size in ((half, (64, 32)), (double, (192, 128)), (double.at_scale(0.5), (96, 64))):
        result = scaled.segment(picture)
        assert scaled.network_size(100, 100) == result.size == size
        assert result.image_size == (100, 100)
    assert model.segment(picture).size == (96, 64), 'the first one is as it was'
    assert segmenter(red_bundle).at_scale(2).network_size(1280, 720) == (224, 128)
    with pytest.raises(BundleError, match=r'90x160 .height x width. only'):
        segmenter(tiny).at_scale(2)


def test_sizes_that_change_midstream(red_bundle):
    model = segmenter(red_bundle, provider='openvino')
    for i in range(16):
        width = 64 * (1 + i % 8)
        result = model.segment(np.ones((64, width, 3), np.uint8))
        assert (result.labels == 1).all()
    assert len(model.session._requests) <= 6, 'compiled networks are not hoarded'


@pytest.mark.parametrize('provider', ENGINES)
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'input': {**DYNAMIC, 'name': 'pixels'}}, "one input 'pixels', it has: image: uint8"),
        ({'output': {'labels': 'mask'}}, "no output 'mask', it has: labels: uint8"),
        ({'input': {**DYNAMIC, 'size': [32, 32], 'default_size': [32, 32]}}, r'\[1, 32, 32, 3\]'),
        ({'task': 'instance'}, "lacks 'boxes'"),
    ],
)
def test_tensors_that_are_not_as_described(tmp_path, provider, changes, message):
    folder = write_tiny_bundle(tmp_path / 'a', changes=changes)
    with pytest.raises(BundleError, match=message):
        segmenter(folder, provider=provider)


@pytest.mark.parametrize('provider', ENGINES)
def test_labels_of_another_type(tmp_path, provider):
    from onnx import helper

    nodes, constants = red_is_the_label()
    nodes[1].output[0] = 'bytes'
    nodes.append(helper.make_node('Cast', ['bytes'], ['labels'], to=INT64))
    outputs = [('labels', INT64, [1, None, None]), ('confidence', UINT8, [1, None, None])]
    folder = deployed(
        tmp_path / 'a', nodes, outputs, constants=constants, changes={'input': DYNAMIC}
    )
    with pytest.raises(BundleError, match=r'labels: int64.*models import'):
        segmenter(folder, provider=provider)


@pytest.mark.parametrize('provider', ENGINES)
def test_labels_of_another_rank(tmp_path, provider):
    nodes, constants = red_is_the_label(rank=4)
    outputs = [('labels', UINT8, [1, None, None, 1]), ('confidence', UINT8, [1, None, None])]
    folder = deployed(
        tmp_path / 'a', nodes, outputs, constants=constants, changes={'input': DYNAMIC}
    )
    with pytest.raises(BundleError, match=r'labels: uint8 \[1, .*the bundle needs'):
        segmenter(folder, provider=provider)


@pytest.mark.parametrize('provider', ENGINES)
def test_rank_that_only_the_run_shows(tmp_path, provider):
    """The graph declares no shape; what it gives is checked at the first frame."""
    nodes, constants = red_is_the_label(rank=4)
    outputs = [('labels', UINT8, None), ('confidence', UINT8, None)]
    folder = deployed(
        tmp_path / 'a', nodes, outputs, constants=constants, changes={'input': DYNAMIC}
    )
    with pytest.raises(BundleError, match='labels'):
        segmenter(folder, provider=provider).warm_up(96, 64)


@pytest.mark.parametrize('provider', ENGINES)
def test_label_set_that_the_graph_was_not_made_for(tmp_path, provider):
    classes = [*CLASSES, {**CLASSES[0], 'id': 3, 'name': 'fourth'}]
    changes = {'labels': {'name': 'four', 'classes': classes}, 'classes': 4}
    folder = write_tiny_bundle(tmp_path / 'a', changes=changes)
    with pytest.raises(BundleError, match="made for 3 classes, the label set 'four'"):
        segmenter(folder, provider=provider)


def test_altered_file_is_not_loaded(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'a')
    with (folder / 'model.onnx').open('ab') as file:
        file.write(b'more')
    with pytest.raises(BundleError, match='altered'):
        segmenter(folder)


def test_bundle_of_another_task(tmp_path):
    outputs = {key: key for key in ('boxes', 'labels', 'scores', 'masks')}
    changes = {'task': 'instance', 'output': outputs}
    folder = write_tiny_bundle(tmp_path / 'a', changes=changes)
    with pytest.raises(BundleError, match="task 'instance', not semantic"):
        segmenter(folder)


def test_no_confidence_output(tmp_path):
    changes = {'output': {'labels': 'labels', 'confidence': None}}
    result = segmenter(write_tiny_bundle(tmp_path / 'a', changes=changes)).segment(street())
    assert (result.confidence == 255).all()


# --- several pictures at once -----------------------------------------------------------------


def views():
    """Pictures of one network size, in both colour orders."""
    mirrored = np.ascontiguousarray(street()[:, ::-1])
    return [(street(), 'rgb'), (mirrored, 'rgb'), (street(1080, 1920)[..., ::-1], 'bgr')]


@pytest.mark.parametrize('provider', ENGINES)
def test_several_pictures_give_what_each_gives_alone(tmp_path, provider):
    model = segmenter(write_tiny_bundle(tmp_path / 'a', pictures=None), provider=provider)
    assert model.takes_several
    assert not model.batches, 'a processor hardly gains'
    alone = [model.segment(*picture) for picture in views()]
    together = model.segment_batch(views())
    assert set(model.last_timing) == {'convert', 'network', 'post'}
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.confidence, other.confidence)
        assert one.image_size == other.image_size
    check_street(together[2])


def test_pictures_of_several_shapes_keep_their_order(tmp_path):
    spec = {'name': 'image', 'color': 'rgb', 'size': None, 'default_size': [60, 80]}
    folder = write_tiny_bundle(
        tmp_path / 'a', size=('h', 'w'), pictures=None, changes={'input': spec}
    )
    model = segmenter(folder)
    pictures = [(street(*size), 'rgb') for size in ((480, 640), (640, 480), (960, 1280))]
    results = model.segment_batch(pictures)
    assert [result.image_size for result in results] == [(640, 480), (480, 640), (1280, 960)]
    assert [result.size for result in results] == [(80, 60), (60, 80), (80, 60)]
    for result in results:
        check_street(result)
    model.warm_up_batches(640, 480, 3)


def test_a_network_of_one_picture_says_so(tiny):
    model = segmenter(tiny)
    assert not model.takes_several
    with pytest.raises(BundleError, match=r'it was given uint8 \[3, 90, 160, 3\]'):
        model.segment_batch(views())


def test_a_bad_picture_among_several(tmp_path):
    model = segmenter(write_tiny_bundle(tmp_path / 'a', pictures=None))
    with pytest.raises(ImageError, match='float32'):
        model.segment_batch([*views(), (street().astype(np.float32), 'rgb')])
