"""Declared, read, guarded and documented: parameters on a real node and over its services."""

import dataclasses
import re

import numpy as np
import pytest
import yaml
from helpers import spin_until
from hypothesis import given
from hypothesis import strategies as st
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter

from seg_perception.core.errors import ParameterError
from seg_perception.core.resources import share_dir
from seg_perception.ros.parameter_scheme import (
    fields_by_ros_name,
    info_of,
)
from seg_perception.ros.parameters import (
    ImageSourceParameters,
    SegmentationParameters,
    declare,
    make_validator,
    read,
    render_yaml,
)

BOTH = pytest.mark.parametrize('cls', [SegmentationParameters, ImageSourceParameters])


@pytest.fixture
def with_arguments(make_node):
    """Return a function that declares SegmentationParameters under `--ros-args -p ...`."""

    def make(*settings, cls=SegmentationParameters):
        arguments = ['--ros-args', *(word for s in settings for word in ('-p', s))]
        node = make_node('parameters_test', cli_args=arguments)
        return node, declare(node, cls)

    return make


@pytest.fixture
def guarded(with_arguments):
    """A node whose changes are checked; `configured` is a list: empty = unconfigured."""
    node, _ = with_arguments()
    configured = []
    node.add_on_set_parameters_callback(
        make_validator(node, SegmentationParameters, lambda: bool(configured))
    )
    return node, configured


def set_parameter(node, name, value):
    return node.set_parameters([Parameter(name, value=value)])[0]


@BOTH
def test_defaults_survive_the_way_through_a_node(with_arguments, cls):
    node, values = with_arguments(cls=cls)
    assert values == cls()
    assert read(node, cls) == cls()


def test_dotted_names_types_and_ranges_reach_the_descriptors(with_arguments):
    node, _ = with_arguments()
    resolution = node.describe_parameter('grid.resolution')
    assert resolution.type == ParameterType.PARAMETER_DOUBLE
    assert resolution.floating_point_range[0].from_value == 0.01
    assert 'm' in resolution.additional_constraints
    assert not resolution.read_only
    assert node.describe_parameter('threads').integer_range[0].to_value == 64
    assert node.describe_parameter('input_size').type == ParameterType.PARAMETER_INTEGER_ARRAY
    assert 'openvino' in node.describe_parameter('provider').additional_constraints
    assert node.describe_parameter('camera_pose.pitch').description


def test_values_from_the_command_line(with_arguments):
    _, p = with_arguments(
        'grid.resolution:=0.2',
        'camera_pose.height:=2',  # a whole number for a decimal one
        'input_size:=[256, 512]',
        "class_roles:=['sidewalk:drivable', 'terrain:ignore:0']",
        'provider:=cpu',
    )
    assert p.grid_resolution == 0.2
    assert p.camera_pose_height == 2.0
    assert p.input_size == (256, 512)
    assert p.network_size == (256, 512)
    assert p.class_roles == ('sidewalk:drivable', 'terrain:ignore:0')
    assert p.provider == 'cpu'


@pytest.mark.parametrize('empty', ['[]', '[0, 0]'])
def test_an_empty_input_size_is_the_model_s_own(with_arguments, empty):
    node, p = with_arguments(f'input_size:={empty}')
    assert p.network_size is None
    assert list(node.get_parameter('input_size').value) == [0, 0]


@pytest.mark.parametrize('empty', ['[]', "['']"])
def test_empty_class_roles(with_arguments, empty):
    _, p = with_arguments(f'class_roles:={empty}')
    assert p.class_roles == ()


@pytest.mark.parametrize(
    ('setting', 'says'),
    [
        ('grid.resolution:=0.0', 'grid.resolution'),
        ('grid.resolution:=fine', "'grid.resolution' must be a number"),
        ('threads:=1.5', "'threads' must be a whole number"),
        ('lazy:=1', "'lazy' must be true or false"),
        ('provider:=tpu', "'provider' is 'tpu'; it must be one of auto, tensorrt"),
        ('grid.x_min:=50.0', r"'grid.x_min' \(50\) must be below 'grid.x_max' \(40\)"),
        ('grid.resolution:=0.01', "'grid.*above the limit"),
        ('grid.x_max:=40.05', 'whole number of cells'),
        ('input_size:=[512]', r"'input_size' is \[512\]; it must be \[height, width\]"),
        ('input_size:=[8, 512]', 'at least 32'),
        ('input_size:=[512.0, 512.0]', 'each is a whole number'),
        ("class_roles:=['sidewalk']", "'sidewalk'; write '<class>:<role>'"),
        ("class_roles:=['sidewalk:walkable']", 'role one of drivable'),
        ("class_roles:=['sidewalk:drivable:200']", 'cost 0..100'),
        ("model:=''", "'model' is empty"),
        ('grid.frame_id:=/base_link', 'leading slash'),
        ('free_share:=0.1', 'free_share'),
        ('stale_after:=.nan', 'stale_after'),
        ('camera_pose.pitch:=.inf', 'camera_pose.pitch'),
        ('odometry.source:=gps', "'odometry.source' is 'gps'; it must be one of auto, tf, topic"),
        ('odometry.frame_id:=/odom', 'leading slash'),
        ('fusion.decay_free:=0.0', 'fusion.decay_free'),
        ('grid.publish_in:=map', 'one of auto, odom, base'),
        ('grid.slope_pitch:=1.5', 'grid.slope_pitch'),
        ('quality.max_saturated:=1.5', 'quality.max_saturated'),
        ('scan.angle_min:=2.0', r"'scan.angle_min' \(2\) must be below 'scan.angle_max'"),
        ("cameras:=['front', 'front']", "'front' twice"),
        ("cameras:=['front left']", 'topics are named by it'),
        ("cameras:=['1st']", 'a letter, then letters'),
        ("camera_poses:=['left:0,0,1,0,0,0']", "names 'left', which is not one of 'cameras'"),
        ("camera_poses:=['left:0,0,1']", 'x,y,height,roll,pitch,yaw'),
        ("camera_poses:=['left:0,0,-1,0,0,0']", 'height above 0'),
        ("camera_poses:=['left:0,0,.nan,0,0,0']", 'height above 0'),
    ],
)
def test_wrong_values_at_start_name_the_parameter(with_arguments, setting, says):
    with pytest.raises(ParameterError, match=says):
        with_arguments(setting)


def test_live_changes_are_read_back(guarded):
    node, configured = guarded
    configured.append(True)
    assert set_parameter(node, 'min_confidence', 0.7).successful
    assert set_parameter(node, 'camera_pose.height', 2).successful  # an int is taken
    assert set_parameter(node, 'class_roles', ['sidewalk:drivable:30']).successful
    p = read(node, SegmentationParameters)
    assert (p.min_confidence, p.camera_pose_height) == (0.7, 2.0)
    assert p.class_roles == ('sidewalk:drivable:30',)
    assert set_parameter(node, 'class_roles', []).successful
    assert read(node, SegmentationParameters).class_roles == ()


@pytest.mark.parametrize(
    ('name', 'value', 'says'),
    [
        ('min_confidence', 1.5, 'min_confidence'),
        ('min_confidence', float('nan'), 'min_confidence'),
        ('min_confidence', 'high', 'min_confidence|type'),
        ('mask_size', 'huge', "'mask_size' is 'huge'; it must be one of model, image"),
        ('grid.x_max', -1.0, "must be below 'grid.x_max'"),
        ('grid.resolution', 0.013, 'whole number of cells'),
        ('class_roles', ['road:asphalt'], 'role one of'),
    ],
)
def test_wrong_changes_are_refused_and_leave_all_as_it_was(guarded, name, value, says):
    node, _ = guarded
    result = set_parameter(node, name, value)
    assert not result.successful
    assert re.search(says, result.reason), result.reason
    assert read(node, SegmentationParameters) == SegmentationParameters()


def test_what_is_read_at_configure_can_be_set_only_before(guarded):
    node, configured = guarded
    assert set_parameter(node, 'model', 'other').successful
    configured.append(True)
    refused = set_parameter(node, 'model', 'third')
    assert not refused.successful
    assert refused.reason.startswith("'model' is read when the node is configured")
    assert 'ros2 lifecycle set /parameters_test cleanup' in refused.reason
    assert set_parameter(node, 'model', 'other').successful  # no change
    assert read(node, SegmentationParameters).model == 'other'
    configured.clear()
    assert set_parameter(node, 'model', 'third').successful


def test_a_plain_node_is_told_to_start_again(make_node):
    node = make_node('source')
    declare(node, ImageSourceParameters)
    node.add_on_set_parameters_callback(make_validator(node, ImageSourceParameters, lambda: True))
    result = set_parameter(node, 'rate', 5.0)
    assert 'start it again' in result.reason
    assert 'read at start' in node.describe_parameter('rate').additional_constraints


def test_two_edges_move_together_in_one_request(guarded):
    node, _ = guarded
    result = node.set_parameters_atomically(
        [Parameter('grid.x_min', value=50.0), Parameter('grid.x_max', value=70.0)]
    )
    assert result.successful, result.reason
    assert read(node, SegmentationParameters).grid_spec.width == 200


def test_the_node_s_own_check_and_other_parameters(make_node):
    node = make_node('checked')
    declare(node, SegmentationParameters)
    node.declare_parameter('someone_elses', 3)

    def check(p):
        if p.overlay_alpha > 0.9:
            raise ParameterError('too opaque for me')

    node.add_on_set_parameters_callback(make_validator(node, SegmentationParameters, check=check))
    assert set_parameter(node, 'overlay_alpha', 0.95).reason == 'too opaque for me'
    assert set_parameter(node, 'overlay_alpha', 0.85).successful
    assert set_parameter(node, 'someone_elses', 4).successful


def test_over_the_service(guarded, make_node):
    node, _ = guarded
    client_node = make_node('client')
    client = client_node.create_client(
        SetParametersAtomically, '/parameters_test/set_parameters_atomically'
    )
    assert spin_until([node, client_node], client.service_is_ready)
    bad = [Parameter('provider', value='tpu').to_parameter_msg()]
    future = client.call_async(SetParametersAtomically.Request(parameters=bad))
    assert spin_until([node, client_node], future.done)
    assert 'must be one of' in future.result().result.reason
    whole = [Parameter('stale_after', value=2).to_parameter_msg()]
    future = client.call_async(SetParametersAtomically.Request(parameters=whole))
    assert spin_until([node, client_node], future.done)
    assert future.result().result.successful
    assert read(node, SegmentationParameters).stale_after == 2.0


# ---------------------------------------------------------------------- documentation


@BOTH
def test_every_parameter_is_described(cls):
    for name, field in fields_by_ros_name(cls).items():
        info = info_of(field)
        assert len(info.description) > 10, name
        assert info.description.endswith(('.', '...')), name
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert info.low is not None, name
            assert info.high is not None, name
        if isinstance(field.default, tuple):
            assert info.empty, name
    assert len(fields_by_ros_name(cls)) == len(dataclasses.fields(cls))


@BOTH
def test_the_rendered_file_is_read_back_by_ros(make_node, tmp_path, cls):
    path = tmp_path / 'defaults.yaml'
    path.write_text(render_yaml(cls))
    assert all(len(line) < 100 for line in path.read_text().splitlines())
    node = make_node('from_file', cli_args=['--ros-args', '--params-file', str(path)])
    assert declare(node, cls) == cls()


def test_the_rendered_file_nests_groups():
    content = yaml.safe_load(render_yaml(SegmentationParameters, 'segmentation_node'))
    values = content['segmentation_node']['ros__parameters']
    assert values['grid']['x_max'] == 40.0
    assert values['camera_pose']['source'] == 'auto'
    assert values['input_size'] == [0, 0]


def test_the_shipped_file_is_the_rendered_one():
    path = share_dir() / 'config' / 'segmentation.yaml'
    if not path.is_file():
        pytest.skip('config/segmentation.yaml is not written yet')
    assert path.read_text() == render_yaml(SegmentationParameters), (
        'write it again: python -m seg_perception.ros.parameters > config/segmentation.yaml'
    )


# ------------------------------------------------------------------------- the classes


@given(
    st.fixed_dictionaries(
        {
            'grid_x_min': st.floats(allow_nan=True),
            'grid_x_max': st.floats(-600, 600),
            'grid_resolution': st.floats(-1, 20),
            'min_confidence': st.floats(),
        }
    )
)
def test_an_instance_is_valid_or_refused_never_anything_else(values):
    """No number, however odd, gets past as another exception or as a grid that makes no sense."""
    try:
        p = SegmentationParameters(**values)
    except ParameterError:
        return
    assert p.grid_spec.width >= 1
    assert 0 <= p.projection.min_confidence <= 1


def test_mountings_of_several_cameras():
    p = SegmentationParameters(
        cameras=('front', 'left'),
        camera_poses=('left: 0.3, 0.5, 1.2, 0.0, 0.1, 1.57',),
        camera_pose_height=1.4,
    )
    assert p.mounting_of('left') == (0.3, 0.5, 1.2, 0.0, 0.1, 1.57)
    assert p.mounting_of('front') == p.mounting == (0.0, 0.0, 1.4, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(p.mounting.pose()[:3, 3], (0.0, 0.0, 1.4))


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ({'grid_publish_in': 'odom'}, "'grid.publish_in' is odom, but 'odometry.source' is none"),
        ({'tilt_source': 'odometry'}, "'tilt.source' is odometry, but"),
    ],
)
def test_what_needs_odometry_is_refused_without(values, says):
    with pytest.raises(ParameterError, match=says):
        SegmentationParameters(odometry_source='none', **values)
    SegmentationParameters(odometry_source='auto', **values)


def test_fusion_quality_and_slope_take_all_parameters():
    p = SegmentationParameters(
        fusion_decay_free=1.0,
        fusion_decay_static=2.0,
        fusion_decay_moving=3.0,
        stale_after=0.7,
        quality_min_highlight=1.0,
        quality_recovery=9.0,
        grid_slope_pitch=0.1,
        grid_slope_offset=-0.2,
        grid_graded=True,
        occlusion=False,
    )
    fusion, quality, projection = p.fusion, p.quality_limits, p.projection
    assert (fusion.decay_free, fusion.decay_static, fusion.decay_moving) == (1.0, 2.0, 3.0)
    assert fusion.stale_after == 0.7
    assert (quality.min_highlight, quality.recovery) == (1.0, 9.0)
    assert (projection.graded, projection.occlusion) == (True, False)
    assert p.plane.height_at(np.array(0.0), np.array(0.0)) == pytest.approx(-0.2, abs=2e-3)
    assert p.plane.height_at(np.array(10.0), np.array(0.0)) == pytest.approx(-1.2, abs=0.02)
    assert p.scan_range_max == pytest.approx(np.hypot(40.0, 10.0))


def test_projection_takes_all_thresholds():
    p = SegmentationParameters(
        min_confidence=0.6, free_share=0.8, occupied_share=0.3, obstacle_pixels=7
    )
    got = p.projection
    assert (got.min_confidence, got.free_share) == (0.6, 0.8)
    assert (got.occupied_share, got.obstacle_pixels) == (0.3, 7)
    assert got.max_cells_per_pixel == p.max_cells_per_pixel


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ({'width': 640}, "'width' .640. and 'height' .0. go together"),
        ({'fourcc': 'MJPEG'}, 'four letters'),
        ({'kind': 'film'}, 'must be one of auto, video'),
        ({'rate': -1.0}, "'rate' is -1.0"),
        ({'limit': -1}, "'limit'"),
        ({'frame_id': 'a b'}, 'without spaces'),
    ],
)
def test_contradictory_source_parameters(values, says):
    with pytest.raises(ParameterError, match=says):
        ImageSourceParameters(**values)


def test_device_size():
    assert ImageSourceParameters().device_size is None
    assert ImageSourceParameters(width=640, height=480).device_size == (640, 480)
