"""Calibration, grid and label messages, against the real message classes."""

import json
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError, GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.ros import messages, optional

K = [500.0, 0, 319.5, 0, 510, 239.5, 0, 0, 1]
P = [480.0, 0, 320.5, -24, 0, 490, 238.5, 0, 0, 0, 1, 0]
D = [-0.2, 0.05, 0.001, -0.001, 0.0]
STAMP = Time(sec=12, nanosec=345)


def camera_info(**fields):
    content = {
        'header': Header(stamp=STAMP, frame_id='cam_optical'),
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': D,
        'k': K,
        'r': np.eye(3).ravel().tolist(),
        'p': P,
    }
    return CameraInfo(**(content | fields))


def test_camera_info_becomes_a_model_and_back():
    model = messages.camera_model(camera_info())
    assert (model.width, model.height) == (640, 480)
    np.testing.assert_array_equal(model.K.ravel(), K)
    np.testing.assert_array_equal(model.P.ravel(), P)
    back = messages.camera_info_message(model, Header(frame_id='cam_optical'))
    back = deserialize_message(serialize_message(back), CameraInfo)
    assert back.distortion_model == 'plumb_bob'
    assert messages.camera_model(back) == model


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'k': [0.0] * 9}, 'uncalibrated'),
        ({'k': [float('nan'), *K[1:]]}, 'NaN'),
        ({'p': [float('inf'), *P[1:]]}, 'infinity'),
        ({'width': 0}, 'region|0x480'),
        ({'height': 0, 'width': 0}, '0x0'),
        ({'distortion_model': 'thin_prism'}, 'thin_prism'),
        ({'d': [0.1, 0.2]}, '2'),
        ({'roi': RegionOfInterest(x_offset=600, width=100, height=10)}, 'region of interest'),
        ({'binning_x': 1000}, '0x480|scale'),
    ],
)
def test_unusable_calibrations_are_refused(changes, says):
    with pytest.raises(CameraModelError, match=says):
        messages.camera_model(camera_info(**changes))


def test_calibration_of_another_size_is_refused():
    with pytest.raises(CameraModelError, match='640x480 pixels, the image has 1280x720'):
        messages.camera_model(camera_info(), image_size=(1280, 720))
    assert messages.camera_model(camera_info(), image_size=(640, 480)).width == 640


def project(model, point):
    uv, valid = model.project(np.array([point]))
    assert valid.all()
    return uv[0]


POINT = (0.3, -0.2, 4.0)


def test_region_of_interest_moves_the_picture():
    whole = messages.camera_model(camera_info())
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=300)
    part = messages.camera_model(camera_info(roi=roi))
    assert (part.width, part.height) == (400, 300)
    np.testing.assert_allclose(project(part, POINT), project(whole, POINT) - (100, 60))
    np.testing.assert_allclose(part.P[:2, 2], np.array(P).reshape(3, 4)[:2, 2] - (100, 60))


def test_binning_shrinks_the_picture_about_its_edges():
    whole = messages.camera_model(camera_info())
    binned = messages.camera_model(camera_info(binning_x=2, binning_y=4), image_size=(320, 120))
    expected = (project(whole, POINT) + 0.5) / (2, 4) - 0.5
    np.testing.assert_allclose(project(binned, POINT), expected)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'binning_x': 2, 'binning_y': 2},
        {'roi': RegionOfInterest(x_offset=100, y_offset=60, width=400, height=300)},
        {
            'binning_x': 2,
            'binning_y': 2,
            'roi': RegionOfInterest(x_offset=100, y_offset=60, width=400, height=300),
        },
    ],
)
def test_scaled_camera_info_says_the_same_as_the_scaled_model(changes):
    info = camera_info(**changes)
    scaled = messages.scaled_camera_info(info, 256, 144)
    assert (scaled.width, scaled.height) == (256, 144)
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)
    assert scaled.roi == RegionOfInterest()
    assert scaled.header == info.header
    np.testing.assert_array_equal(scaled.d, D)
    expected = messages.camera_model(info).scaled(256, 144)
    actual = messages.camera_model(scaled)
    np.testing.assert_allclose(actual.K, expected.K)
    np.testing.assert_allclose(actual.P, expected.P)
    np.testing.assert_allclose(project(actual, POINT), project(expected, POINT))


def test_scaled_camera_info_leaves_its_input_alone_and_uncalibrated_uncalibrated():
    info = camera_info()
    messages.scaled_camera_info(info, 10, 10)
    assert info.width == 640
    np.testing.assert_array_equal(info.k, K)
    raw = messages.scaled_camera_info(camera_info(k=[0.0] * 9, p=[0.0] * 12), 320, 240)
    assert (raw.width, raw.height) == (320, 240)
    assert not raw.k.any()
    assert not raw.p.any()
    with pytest.raises(CameraModelError, match='cannot scale'):
        messages.scaled_camera_info(camera_info(width=0), 320, 240)


def test_occupancy_grid_layout():
    spec = GridSpec(resolution=0.5, x_min=-1.0, x_max=2.0, y_min=3.0, y_max=5.0)
    cells = np.arange(-1, 23, dtype=np.int8).reshape(spec.height, spec.width)
    grid = messages.occupancy_grid(cells, spec, 'base_link', STAMP)
    assert isinstance(grid.data, array)
    assert grid.data.typecode == 'b'
    assert (grid.info.width, grid.info.height) == (6, 4)
    assert grid.info.resolution == 0.5
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-1.0, 3.0)
    assert grid.info.origin.orientation.w == 1.0
    assert grid.header == messages.header(STAMP, 'base_link')
    # The cell of x in [0, 0.5), y in [3.5, 4) is ix = 2, iy = 1.
    assert grid.data[1 * grid.info.width + 2] == cells[1, 2]
    over_the_wire = deserialize_message(serialize_message(grid), type(grid))
    assert list(over_the_wire.data) == cells.ravel().tolist()


@pytest.mark.parametrize('cells', [np.zeros((6, 4), np.int8), np.zeros((4, 6), np.uint8)])
def test_cells_that_do_not_fit_are_refused(cells):
    spec = GridSpec(resolution=0.5, x_min=-1.0, x_max=2.0, y_min=3.0, y_max=5.0)
    with pytest.raises(GroundError, match=r'int8 \[4, 6\]'):
        messages.occupancy_grid(cells, spec, 'base_link', STAMP)


def test_label_info_json_tells_all_of_the_label_set():
    labels = LabelSet.named('camvid').with_roles(['pavement:drivable:30'])
    content = json.loads(messages.label_info_json(labels, 0.4).data)
    assert content['label_set'] == 'camvid'
    assert content['threshold'] == 0.4
    assert content['unlabelled'] == 255
    assert [item['class_name'] for item in content['class_map']] == list(labels.names)
    pavement = content['class_map'][labels.index('pavement')]
    assert (pavement['role'], pavement['cost']) == ('drivable', 30)


def test_label_info_where_vision_msgs_is_installed(monkeypatch):
    types = SimpleNamespace(LabelInfo=SimpleNamespace, VisionClass=SimpleNamespace)
    monkeypatch.setattr(optional, 'vision_msgs', SimpleNamespace(msg=types))
    labels = LabelSet.named('cityscapes')
    info = messages.label_info(labels, Header(frame_id='cam'), 0.25)
    assert info.header.frame_id == 'cam'
    assert info.threshold == 0.25
    assert [(c.class_id, c.class_name) for c in info.class_map] == list(enumerate(labels.names))


def test_label_info_without_vision_msgs(monkeypatch):
    monkeypatch.setattr(optional, 'vision_msgs', None)
    assert messages.label_info(LabelSet.named('camvid'), Header()) is None


def test_a_part_that_is_there_but_broken_is_told_from_one_that_is_not(tmp_path, monkeypatch):
    (tmp_path / 'half_installed.py').write_text('import no_such_library_of_mine\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert optional._import('half_installed') is None
    assert 'no_such_library_of_mine' in optional.broken.pop('half_installed')
    assert optional._import('not_installed_at_all') is None
    assert 'not_installed_at_all' not in optional.broken


@pytest.mark.parametrize('nanoseconds', [0, 1, 1_700_000_000_123_456_789])
def test_stamps(nanoseconds):
    assert messages.stamp_ns(messages.stamp_from_ns(nanoseconds)) == nanoseconds


def test_camera_model_of_a_stereo_pair_keeps_its_baseline_in_p():
    info = camera_info()
    assert messages.camera_model(info).P[0, 3] == -24
    assert messages.scaled_camera_info(info, 320, 240).p[3] == -12
    assert isinstance(messages.camera_model(info), CameraModel)
