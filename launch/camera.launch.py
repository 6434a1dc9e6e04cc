"""Segment a camera's pictures: starts segmentation_node, and RViz on request.

ros2 launch seg_perception camera.launch.py image:=/front/image_raw camera_info:=/front/camera_info
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from seg_perception.ros.transport import PROFILE_VARIABLES, profile_variable

#: Arguments that override the parameter of the same name unless left empty.
OVERRIDES = ('model', 'provider', 'image_transport')


def share(*parts: str) -> PathJoinSubstitution:
    """Path of a file in this package's share folder."""
    return PathJoinSubstitution([FindPackageShare('seg_perception'), *parts])


def arguments() -> list[DeclareLaunchArgument]:
    """What can be set on the command line."""
    return [
        DeclareLaunchArgument(
            'image',
            default_value='camera/image_raw',
            description="The camera's image topic, without a transport's suffix.",
        ),
        DeclareLaunchArgument(
            'camera_info',
            default_value='camera/camera_info',
            description="Its calibration's topic.",
        ),
        DeclareLaunchArgument(
            'image_transport',
            default_value='',
            description='raw or compressed: which of the image topics to subscribe to. '
            'Empty: as in params_file.',
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='Model bundle, by name (`seg-perception models list`) or path. '
            'Empty: as in params_file.',
        ),
        DeclareLaunchArgument(
            'provider',
            default_value='',
            description='What runs the network: auto, tensorrt, cuda, openvino or cpu. '
            'Empty: as in params_file.',
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='',
            description='Namespace of the nodes, and of their relative topics.',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=share('config', 'segmentation.yaml'),
            description='Parameters of segmentation_node: camera pose, grid, thresholds, ...',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            description='Go to active by itself; false leaves that to a lifecycle manager.',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            description='Take the time from /clock (simulation, ros2 bag play --clock).',
        ),
        DeclareLaunchArgument(
            'rviz',
            default_value='false',
            description='Show overlay and grid in RViz.',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            description='debug, info, warn, error or fatal.',
        ),
    ]


def set_transport(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Give the nodes (and a driver included after this file) shared memory for pictures.

    Fast DDS reads it, other middlewares don't; a profile of the user's own stays in force.
    """
    if any(context.environment.get(name) for name in PROFILE_VARIABLES):
        return []
    return [SetEnvironmentVariable(profile_variable(), share('config', 'fastdds_images.xml'))]


def make_segmentation(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The segmentation node, with those overrides that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    overrides = {
        name: ParameterValue(value, value_type=str) for name, value in given.items() if value
    }
    common = {
        'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool),
        'autostart': ParameterValue(LaunchConfiguration('autostart'), value_type=bool),
    }
    node = LifecycleNode(
        package='seg_perception',
        executable='segmentation_node',
        name='segmentation_node',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        emulate_tty=True,
        parameters=[LaunchConfiguration('params_file'), common | overrides],
        remappings=[
            ('image', LaunchConfiguration('image')),
            ('camera_info', LaunchConfiguration('camera_info')),
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )
    return [node]


def make_rviz() -> Node:
    """RViz with this package's view; its absolute topics follow the namespace."""
    return Node(
        package='rviz2',
        executable='rviz2',
        name='rviz',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', share('config', 'rviz', 'seg_perception.rviz')],
        parameters=[
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)}
        ],
        remappings=[
            ('/segmentation_node/overlay', 'segmentation_node/overlay'),
            ('/segmentation_node/drivable_grid', 'segmentation_node/drivable_grid'),
            ('/camera/image_raw', LaunchConfiguration('image')),
        ],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *arguments(),
            OpaqueFunction(function=set_transport),
            OpaqueFunction(function=make_segmentation),
            make_rviz(),
        ]
    )
