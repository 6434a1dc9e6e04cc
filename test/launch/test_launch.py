"""The launch files, run by ROS' launch with this package's real executables."""

# ruff: noqa: E402 - what is imported further down is asked for first

import os
import sys
from pathlib import Path

import pytest

# `import launch` alone would find our own launch/ folder where ROS' package is missing.
reason = 'needs the ROS packages launch, launch_ros and launch_testing, which PyPI does not have'
pytest.importorskip('launch.actions', reason=reason, exc_type=ImportError)
pytest.importorskip('launch_ros.actions', reason=reason, exc_type=ImportError)
pytest.importorskip('launch_testing', reason=reason, exc_type=ImportError)

from bag_writer import START_NS, info, write_bag
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart
from launch.launch_description_sources import (
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.substitutions import ExecutableInPackage
from launch_testing import ActiveProcInfoHandler
from launch_testing.asserts import assertExitCodes

from launch import LaunchContext, LaunchDescription, LaunchService

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """An install of the package laid out as colcon does, out of links into the checkout."""
    prefix = tmp_path / 'prefix'
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'seg_perception'
    marker.parent.mkdir(parents=True)
    marker.touch()
    (prefix / 'lib').mkdir()
    (prefix / 'lib' / 'seg_perception').symlink_to(ROOT / 'resource' / 'lib')
    share = prefix / 'share' / 'seg_perception'
    share.mkdir()
    for name in ('config', 'launch', 'package.xml'):
        (share / name).symlink_to(ROOT / name)
    inherited = os.environ.get('AMENT_PREFIX_PATH')
    monkeypatch.setenv(
        'AMENT_PREFIX_PATH', os.pathsep.join(filter(None, [str(prefix), inherited]))
    )
    # The wrappers take the first python3 on the PATH outside a virtual environment of their own.
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent) + os.pathsep + os.environ['PATH'])
    monkeypatch.setenv(
        'PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    )
    return prefix


class Run:
    """One launch of a file: what was started, what it said, how it ended.

    ``end_when`` shuts it down, as Ctrl-C does, once a process has said so.
    """

    def __init__(self, name: str, *, end_when: str | None = None, **arguments: str):
        self.output = ''
        self.processes = ActiveProcInfoHandler()
        self.commands: dict[str, str] = {}
        self._end_when = end_when
        self._service = LaunchService(noninteractive=True)
        path = str(ROOT / 'launch' / name)
        include = IncludeLaunchDescription(
            PythonLaunchDescriptionSource(path), launch_arguments=arguments.items()
        )
        handlers = [
            OnProcessStart(on_start=self._started),
            OnProcessExit(on_exit=lambda event, _: self.processes.append(event)),
            OnProcessIO(on_stdout=self._said, on_stderr=self._said),
        ]
        events = [RegisterEventHandler(handler) for handler in handlers]
        self._service.include_launch_description(LaunchDescription([*events, include]))

    def __call__(self) -> int:
        return self._service.run()

    def names(self) -> set[str]:
        """Executables of the processes that have ended: their names without launch's number."""
        return {name.rpartition('-')[0] for name in self.processes.process_names()}

    def _started(self, event, _context):
        self.processes.append(event)
        self.commands[event.process_name.rpartition('-')[0]] = ' '.join(event.cmd)

    def _said(self, event):
        self.output += event.text.decode(errors='replace')
        if self._end_when and self._end_when in self.output:
            self._end_when = None
            return [Shutdown(reason='the test has seen enough')]
        return None


@pytest.mark.parametrize('name', ['camera.launch.py', 'replay.launch.py'])
def test_every_argument_is_described(name):
    description = get_launch_description_from_python_launch_file(str(ROOT / 'launch' / name))
    arguments = [a for a in description.entities if isinstance(a, DeclareLaunchArgument)]
    assert arguments
    assert all(a.description and a.description != 'no description given' for a in arguments)


def test_camera_starts_the_node_with_names_parameters_and_profile():
    """The model is not there, which the real node must say, and live on until it is ended."""
    run = Run(
        'camera.launch.py',
        end_when='no_such_model',
        namespace='front',
        image='/hood/image_raw',
        camera_info='/hood/camera_info',
        model='no_such_model',
        log_level='warn',
    )
    assert run() == 0
    assert run.names() == {'segmentation_node'}
    assertExitCodes(run.processes)
    command = run.commands['segmentation_node']
    assert '__ns:=/front' in command
    assert '-r image:=/hood/image_raw' in command
    assert '-r camera_info:=/hood/camera_info' in command
    assert 'config/segmentation.yaml' in command
    assert '--log-level warn' in command
    assert 'front.segmentation_node' in run.output
    assert 'XMLPARSER' not in run.output  # Fast DDS takes the profile without complaint


def test_instances_and_panoptic_map_are_wired_to_the_mask():
    run = Run(
        'camera.launch.py',
        end_when='panoptic_node]: ',
        panoptic='true',
        namespace='front',
        model='no_such_model',
        instance_model='no_such_objects',
        image='/hood/image_raw',
    )
    assert run() == 0
    assert run.names() == {'segmentation_node', 'instance_node', 'panoptic_node'}
    assert 'config/instance.yaml' in run.commands['instance_node']
    assert '-r image:=/hood/image_raw' in run.commands['instance_node']
    panoptic = run.commands['panoptic_node']
    assert 'config/panoptic.yaml' in panoptic
    assert '__ns:=/front' in panoptic
    assert '-r mask:=segmentation_node/mask' in panoptic
    assert '-r detections_json:=instance_node/detections_json' in panoptic


def launched(**arguments: str) -> list[dict[str, str]]:
    """Executable, namespace and remappings of each node that the camera file would start."""
    context, loaded = LaunchContext(), {}
    exec((ROOT / 'launch' / 'camera.launch.py').read_text(), loaded)
    for argument in loaded['arguments']():
        argument.execute(context)
    context.launch_configurations.update(arguments)
    nodes = []
    for node in loaded['make_nodes'](context):
        remappings = {
            perform_substitutions(context, old): perform_substitutions(context, new)
            for old, new in node._Node__remappings
        }
        namespace = node._Node__node_namespace
        if not isinstance(namespace, str):
            namespace = perform_substitutions(
                context, normalize_to_list_of_substitutions(namespace)
            )
        nodes.append({'name': node.node_executable, 'namespace': namespace, **remappings})
    return [node for node in nodes if node['name'] != 'rviz2']


def test_several_cameras_have_a_set_of_nodes_each():
    nodes = launched(cameras='front, left', namespace='robot', panoptic='true')
    assert [(n['name'], n['namespace']) for n in nodes] == [
        ('segmentation_node', 'robot/front'),
        ('segmentation_node', 'robot/left'),
        ('instance_node', 'robot/front'),
        ('panoptic_node', 'robot/front'),
        ('instance_node', 'robot/left'),
        ('panoptic_node', 'robot/left'),
    ]
    assert nodes[0]['image'] == 'camera/image_raw'
    named = launched(cameras='front,left', image='/{camera}/image_rect')
    assert [n['image'] for n in named] == ['/front/image_rect', '/left/image_rect']


def test_fused_cameras_share_a_segmentation_node():
    fused, *others = launched(
        cameras='front,left', fused='true', namespace='robot', panoptic='true'
    )
    assert fused['namespace'] == 'robot'
    assert fused['front/image'] == 'front/camera/image_raw'
    assert fused['left/camera_info'] == 'left/camera/camera_info'
    assert fused['left/instances'] == 'left/instance_node/instances'
    assert [n['name'] for n in others] == ['instance_node', 'panoptic_node'] * 2
    assert others[1]['mask'] == '/robot/segmentation_node/front/mask'
    assert others[1]['mask_label_info_json'] == '/robot/segmentation_node/label_info_json'
    assert others[3]['instances'] == 'instance_node/instances'


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'cameras': 'front,front'}, 'different names'),
        ({'cameras': 'a b'}, 'different names'),
        ({'cameras': '1st'}, 'different names'),
        ({'fused': 'true'}, 'cameras:='),
    ],
)
def test_wrong_camera_names_are_refused(arguments, reason):
    with pytest.raises(RuntimeError, match=reason):
        launched(**arguments)


def test_replay_plays_a_bag_to_its_end_and_then_ends_everything(tmp_path):
    count = 25
    bag = write_bag(
        tmp_path / 'bag',
        {
            '/cam/image_raw/compressed': [10 * i for i in range(count)],
            '/cam/camera_info': [info(START_NS)] * count,
        },
    )
    run = Run('replay.launch.py', bag=str(bag), model='no_such_model', rate='20')
    assert run() == 0
    assert f'{count} pictures published' in run.output
    assert run.names() == {'segmentation_node', 'image_source_node'}
    assertExitCodes(run.processes)


def test_an_endless_replay_ends_in_order_when_interrupted(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': [1, 2, 3]})
    run = Run(
        'replay.launch.py', end_when='3 pictures', bag=str(bag), loop='true', model='no_such_model'
    )
    assert run() == 0
    assert run.names() == {'segmentation_node', 'image_source_node'}
    assertExitCodes(run.processes)


@pytest.mark.parametrize('sources', [{}, {'bag': '/a', 'video': '/b'}])
def test_replay_wants_exactly_one_source(sources):
    run = Run('replay.launch.py', model='no_such_model', **sources)
    assert run() != 0
    assert 'image_source_node' not in run.commands


def test_a_profile_of_the_users_own_stays():
    context, loaded = LaunchContext(), {}
    exec((ROOT / 'launch' / 'camera.launch.py').read_text(), loaded)
    for name in loaded['PROFILE_VARIABLES']:
        context.environment.pop(name, None)
    (action,) = loaded['set_transport'](context)
    action.execute(context)
    variable = loaded['profile_variable']()
    assert Path(context.environment[variable]).samefile(ROOT / 'config' / 'fastdds_images.xml')
    context.environment[variable] = '/my/own.xml'
    assert loaded['set_transport'](context) == []


@pytest.mark.parametrize(
    'name', ['segmentation_node', 'instance_node', 'panoptic_node', 'image_source_node']
)
def test_executables_are_found_where_launch_looks(name):
    found = ExecutableInPackage(name, 'seg_perception').perform(LaunchContext())
    assert os.access(found, os.X_OK)


def played(**arguments: str) -> tuple[list[str], str]:
    """The command of the player that the replay file would start, and use_sim_time then."""
    context, loaded = LaunchContext(), {}
    exec((ROOT / 'launch' / 'replay.launch.py').read_text(), loaded)
    for argument in loaded['arguments']():
        argument.execute(context)
    context.launch_configurations.update({'use_sim_time': 'false', **arguments})
    for action in loaded['check_source'](context):
        action.execute(context)
    _, process = loaded['make_source'](context)
    command = [perform_substitutions(context, word) for word in process.cmd]
    return command, context.launch_configurations['use_sim_time']


def test_ros2_bag_play_takes_the_sources_place():
    command, simulated = played(bag='drive', player='ros2bag', speed='0.5', loop='true')
    expected = 'ros2 bag play drive --clock 100 --rate 0.5 --loop'
    assert command == expected.split()
    assert simulated == 'true'
    with pytest.raises(RuntimeError, match='not a video'):
        played(video='drive.mp4', player='ros2bag')
    with pytest.raises(RuntimeError, match='must be above 0'):
        played(bag='drive', player='ros2bag', speed='0')
