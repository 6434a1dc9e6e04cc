"""Segment a recording: a video, pictures, a rosbag or a V4L2 device in place of a camera driver.

ros2 launch seg_perception replay.launch.py bag:=/path/to/bag
ros2 launch seg_perception replay.launch.py video:=drive.mp4 calibration:=camera.yaml loop:=true
"""

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
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
    """Refuse a wrong command line before any process is started."""
    named_source(context)
    return []


def make_source(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The source node for the one source that was named."""
    name, uri = named_source(context)
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
    at_end = RegisterEventHandler(
        OnProcessExit(target_action=node, on_exit=end_all),
        condition=IfCondition(LaunchConfiguration('shutdown_at_end')),
    )
    return [at_end, node]


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
