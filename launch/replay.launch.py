"""Segment a recording: a video, pictures, a rosbag or a V4L2 device in place of a camera driver.

ros2 launch seg_perception replay.launch.py bag:=/path/to/bag
ros2 launch seg_perception replay.launch.py video:=drive.mp4 calibration:=camera.yaml loop:=true
ros2 launch seg_perception replay.launch.py bag:=/path/to/bag player:=ros2bag rviz:=true
"""

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

#: Arguments that name the source: exactly one is given. The value is the parameter 'kind'.
SOURCES = {'bag': 'bag', 'video': 'video', 'pictures': 'folder', 'device': 'device'}


def arguments() -> list[DeclareLaunchArgument]:
    """What can be set on the command line beside the arguments of camera.launch.py."""
    return [
        DeclareLaunchArgument(
            'bag',
            default_value='',
            description='A rosbag2: its folder, or one .mcap or .db3 file.',
        ),
        DeclareLaunchArgument(
            'player',
            default_value='source',
            choices=['source', 'ros2bag'],
            description="What plays a bag. source: image_source_node, one camera's pictures. "
            'ros2bag: `ros2 bag play --clock`, all that is in it (tf, odometry, several cameras) '
            'under the recorded names, with use_sim_time.',
        ),
        DeclareLaunchArgument('video', default_value='', description='A video file.'),
        DeclareLaunchArgument(
            'pictures',
            default_value='',
            description='A folder of jpg, png or bmp pictures, played in natural order.',
        ),
        DeclareLaunchArgument(
            'device',
            default_value='',
            description='A V4L2 camera: /dev/video0, or its number.',
        ),
        DeclareLaunchArgument(
            'bag_topic',
            default_value='',
            description='Image topic of the bag. Empty: the only one.',
        ),
        DeclareLaunchArgument(
            'calibration',
            default_value='',
            description='Calibration YAML of camera_calibration: a path, file:/// or package:// '
            "URL. Empty: the bag's camera_info.",
        ),
        DeclareLaunchArgument(
            'frame_id',
            default_value='camera_optical_frame',
            description='Frame of the published pictures. Empty: as recorded in the bag.',
        ),
        DeclareLaunchArgument(
            'rate',
            default_value='0.0',
            description="Pictures a second. 0: the source's own.",
        ),
        DeclareLaunchArgument(
            'speed',
            default_value='1.0',
            description='player:=ros2bag: how many times as fast as it was recorded.',
        ),
        DeclareLaunchArgument(
            'loop',
            default_value='false',
            description='Start again at the end.',
        ),
        DeclareLaunchArgument(
            'stamps',
            default_value='wall',
            description="wall: stamped when published; original: the recording's own stamps.",
        ),
        DeclareLaunchArgument(
            'wait_for_subscribers',
            default_value='0',
            description='Subscribers of the image to wait for before the first picture. The '
            'segmentation node is one only while somebody listens to it (its parameter lazy).',
        ),
        DeclareLaunchArgument(
            'shutdown_at_end',
            default_value='true',
            description='End everything when the source has ended.',
        ),
    ]


def named_source(context: LaunchContext) -> tuple[str, str]:
    """The argument that names the source, and its value."""
    given = {name: LaunchConfiguration(name).perform(context) for name in SOURCES}
    given = {name: value for name, value in given.items() if value}
    if len(given) != 1:
        raise RuntimeError(
            f'name exactly one of {", ".join(f"{name}:=..." for name in SOURCES)}; '
            f'got {", ".join(given) or "none"}'
        )
    return given.popitem()


def check_source(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Refuse a wrong command line before any process is started; a player sets the clock."""
    name, _ = named_source(context)
    if not played_by_ros2(context):
        return []
    if name != 'bag':
        raise RuntimeError(f'player:=ros2bag plays a bag:=..., not a {name}')
    # Before camera.launch.py declares it: what is recorded has the recording's time.
    return [SetLaunchConfiguration('use_sim_time', 'true')]


def played_by_ros2(context: LaunchContext) -> bool:
    """Whether `ros2 bag play` takes the source node's place."""
    return LaunchConfiguration('player').perform(context) == 'ros2bag'


def make_source(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The source node for the one source that was named."""
    name, uri = named_source(context)
    if played_by_ros2(context):
        return ended_with(make_player(context, uri))
    transport = LaunchConfiguration('image_transport').perform(context)
    node = Node(
        package='seg_perception',
        executable='image_source_node',
        name='image_source_node',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        parameters=[
            {
                'kind': SOURCES[name],
                'uri': ParameterValue(uri, value_type=str),
                # What the segmentation node is told to take must also be what is sent.
                'image_transport': ParameterValue(transport or 'raw', value_type=str),
                **{
                    parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
                    for parameter, argument, kind in (
                        ('image_topic', 'bag_topic', str),
                        ('camera_info_url', 'calibration', str),
                        ('frame_id', 'frame_id', str),
                        ('rate', 'rate', float),
                        ('loop', 'loop', bool),
                        ('stamps', 'stamps', str),
                        ('wait_for_subscribers', 'wait_for_subscribers', int),
                        ('use_sim_time', 'use_sim_time', bool),
                    )
                },
            }
        ],
        remappings=[
            ('image_raw', LaunchConfiguration('image')),
            ('camera_info', LaunchConfiguration('camera_info')),
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )
    return ended_with(node)


def make_player(context: LaunchContext, bag: str) -> ExecuteProcess:
    """`ros2 bag play`, which sends the recording's clock and latched topics, too."""
    command = ['ros2', 'bag', 'play', bag, '--clock', '100']
    speed = float(LaunchConfiguration('speed').perform(context))
    if speed <= 0:
        raise RuntimeError(f'speed:={speed:g} must be above 0')
    command += ['--rate', f'{speed:g}']
    if IfCondition(LaunchConfiguration('loop')).evaluate(context):
        command.append('--loop')
    return ExecuteProcess(cmd=command, name='ros2_bag_play', output='screen')


def ended_with(process: ExecuteProcess) -> list[LaunchDescriptionEntity]:
    """The process, and the end of everything when it has ended."""
    at_end = RegisterEventHandler(
        OnProcessExit(target_action=process, on_exit=end_all),
        condition=IfCondition(LaunchConfiguration('shutdown_at_end')),
    )
    return [at_end, process]


def end_all(_event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Shut down, unless it was the shutdown (Ctrl-C) that ended the source."""
    return [] if context.is_shutdown else [Shutdown(reason='the source has ended')]


def generate_launch_description() -> LaunchDescription:
    camera = PathJoinSubstitution(
        [FindPackageShare('seg_perception'), 'launch', 'camera.launch.py']
    )
    return LaunchDescription(
        [
            *arguments(),
            OpaqueFunction(function=check_source),
            # Its arguments are ours too: what is set on the command line reaches it, and
            # `--show-args` lists them.
            IncludeLaunchDescription(PythonLaunchDescriptionSource(camera)),
            OpaqueFunction(function=make_source),
        ]
    )
