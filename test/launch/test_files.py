"""Launch, RViz, Nav2 and parameter files, as far as they can be checked without ROS' own tools."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from seg_perception.ros.instance_parameters import InstanceParameters, PanopticParameters
from seg_perception.ros.parameter_scheme import fields_by_ros_name
from seg_perception.ros.parameters import SegmentationParameters, render_yaml
from seg_perception.ros.source_parameters import ImageSourceParameters

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
#: What the issue promises camera.launch.py to take.
CAMERA_ARGUMENTS = {
    'image', 'camera_info', 'image_transport', 'model', 'provider', 'namespace', 'params_file',
    'use_sim_time', 'rviz', 'log_level', 'autostart', 'cameras', 'fused', 'instances', 'panoptic',
    'instance_model', 'instance_params_file', 'panoptic_params_file',
}  # fmt: skip


def declared(path: Path) -> dict[str, str]:
    """Launch arguments of a file and their descriptions, read from its source."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'DeclareLaunchArgument':
            texts = {k.arg: k.value for k in node.keywords}
            found[ast.literal_eval(node.args[0])] = ast.literal_eval(texts['description'])
    return found


def test_the_launch_files_are_there():
    assert [p.name for p in LAUNCH_FILES] == ['camera.launch.py', 'replay.launch.py']
    assert set(declared(LAUNCH_FILES[0])) == CAMERA_ARGUMENTS


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda p: p.name)
def test_arguments_are_described_and_those_used_are_declared(path):
    arguments = declared(path)
    assert all(text.endswith('.') and len(text) > 10 for text in arguments.values())
    used = set(re.findall(r"LaunchConfiguration\('(\w+)'\)", path.read_text()))
    known = set(arguments) | (CAMERA_ARGUMENTS if path.name.startswith('replay') else set())
    assert used <= known


def test_parameters_set_by_launch_files_exist():
    """A misspelt parameter would be taken without a word and change nothing."""
    replay = (ROOT / 'launch' / 'replay.launch.py').read_text()
    source = fields_by_ros_name(ImageSourceParameters)
    pairs = re.findall(r"\('(\w+)', '(\w+)', (str|float|bool|int)\)", replay)
    assert len(pairs) >= 8
    for parameter, _, kind in pairs:
        if parameter != 'use_sim_time':
            assert type(source[parameter].default).__name__ == kind, parameter
    for parameter in re.findall(r"^ +'(\w+)': (?:ParameterValue|SOURCES)", replay, re.MULTILINE):
        assert parameter in source
    camera = (ROOT / 'launch' / 'camera.launch.py').read_text()
    overrides = ast.literal_eval(re.search(r'^OVERRIDES = (.*)$', camera, re.MULTILINE)[1])
    for parameters in (SegmentationParameters, InstanceParameters):
        assert {*overrides, 'autostart'} <= set(fields_by_ros_name(parameters))
    assert 'cameras' in fields_by_ros_name(SegmentationParameters)
    assert 'autostart' in fields_by_ros_name(PanopticParameters)


def test_the_parameter_file_is_the_parameters():
    path = ROOT / 'config' / 'segmentation.yaml'
    assert path.read_text() == render_yaml(SegmentationParameters), (
        'write it anew: python -c "from seg_perception.ros.parameters import *; '
        "print(render_yaml(SegmentationParameters), end='')\" > config/segmentation.yaml"
    )
    loaded = yaml.safe_load(path.read_text())['/**']['ros__parameters']
    assert loaded['camera_pose']['height'] == SegmentationParameters().camera_pose_height


def test_nav2_never_reads_unknown_or_costly_as_free():
    loaded = yaml.safe_load((ROOT / 'config' / 'nav2_costmap.yaml').read_text())
    costmap = loaded['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['trinary_costmap'] is False
    assert costmap['track_unknown_space'] is True
    assert costmap['unknown_cost_value'] == 255
    assert costmap['lethal_cost_threshold'] == 100
    assert costmap['use_maximum'] is False
    layer = costmap[costmap['plugins'][0]]
    assert layer['plugin'] == 'nav2_costmap_2d::StaticLayer'
    assert layer['map_topic'] == '/segmentation_node/drivable_grid'
    assert layer['map_subscribe_transient_local'] is True
    assert layer['footprint_clearing_enabled'] is False
    assert costmap['plugins'][-1] == 'inflation_layer'
    assert set(costmap['plugins']) <= set(costmap)
    # Nav2 declares these as whole numbers and refuses to start on 20.0.
    assert isinstance(costmap['width'], int)
    assert isinstance(costmap['height'], int)


def test_rviz_shows_overlay_and_grid_with_matching_qos():
    loaded = yaml.safe_load((ROOT / 'config' / 'rviz' / 'seg_perception.rviz').read_text())
    displays = {d['Name']: d for d in loaded['Visualization Manager']['Displays']}
    assert loaded['Visualization Manager']['Global Options']['Fixed Frame'] == 'base_link'
    assert displays['Overlay']['Topic']['Value'] == '/segmentation_node/overlay'
    assert displays['Objects']['Topic']['Value'] == '/instance_node/markers'
    grid = displays['Drivable grid']['Topic']
    assert grid['Value'] == '/segmentation_node/drivable_grid'
    assert grid['Durability Policy'] == 'Transient Local'
    assert grid['Reliability Policy'] == 'Reliable'
