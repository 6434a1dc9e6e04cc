"""Segment cameras' pictures: segmentation_node, on request instances, panoptic map and RViz.

ros2 launch seg_perception camera.launch.py image:=/front/image_raw camera_info:=/front/camera_info
ros2 launch seg_perception camera.launch.py instances:=true panoptic:=true
ros2 launch seg_perception camera.launch.py cameras:=front,left,right image:=/{camera}/image_raw \\
    camera_info:=/{camera}/camera_info fused:=true
"""

import re

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
            'cameras',
            default_value='',
            description='Names of several cameras, e.g. front,left,right: a set of nodes for each '
            'in a namespace of its name. Relative image topics are those in that namespace; '
            '{camera} in a topic stands for the name.',
        ),
        DeclareLaunchArgument(
            'fused',
            default_value='false',
            description='Of several cameras: one segmentation_node for all, and one grid of what '
            'they see together.',
        ),
        DeclareLaunchArgument(
            'instances',
            default_value='false',
            description='Start instance_node, too: separate objects with ids that last.',
        ),
        DeclareLaunchArgument(
            'panoptic',
            default_value='false',
            description='Start panoptic_node, too, and the instance_node it needs.',
        ),
        DeclareLaunchArgument(
            'instance_model',
            default_value='',
            description='Model bundle of instance_node. Empty: as in instance_params_file.',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=share('config', 'segmentation.yaml'),
            description='Parameters of segmentation_node: camera pose, grid, thresholds, ...',
        ),
        DeclareLaunchArgument(
            'instance_params_file',
            default_value=share('config', 'instance.yaml'),
            description='Parameters of instance_node: thresholds, classes, tracking, ...',
        ),
        DeclareLaunchArgument(
            'panoptic_params_file',
            default_value=share('config', 'panoptic.yaml'),
            description='Parameters of panoptic_node: pairing and merging.',
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


def value(context: LaunchContext, name: str) -> str:
    """The text an argument has."""
    return LaunchConfiguration(name).perform(context)


def flag(context: LaunchContext, name: str) -> bool:
    """Whether an argument says yes."""
    return IfCondition(LaunchConfiguration(name)).evaluate(context)


def camera_names(context: LaunchContext) -> list[str]:
    """The cameras that were named; none = the one without a name."""
    names = [name.strip() for name in value(context, 'cameras').split(',')]
    if names == ['']:
        return []
    wrong = [name for name in names if not re.fullmatch('[A-Za-z][A-Za-z0-9_]*', name)]
    if wrong or len(set(names)) < len(names):
        raise RuntimeError(
            f'cameras:={value(context, "cameras")} must be different names of letters, digits '
            'and _, separated by commas'
        )
    return names


def topic(context: LaunchContext, argument: str, camera: str, prefix: str = '') -> str:
    """A camera's topic, as a node sees it that lies outside its namespace by `prefix`."""
    text = value(context, argument).replace('{camera}', camera)
    return text if text.startswith(('/', '~')) else f'{prefix}{text}'


def make_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """All nodes: a set for the one camera, a set for each of several, or the fused one."""
    cameras, outer = camera_names(context), value(context, 'namespace')
    if flag(context, 'fused') and cameras:
        nodes = [make_fused(context, cameras)]
    elif flag(context, 'fused'):
        raise RuntimeError('fused:=true needs the names of several cameras (cameras:=left,right)')
    else:
        nodes = [make_segmentation(context, name, inside(outer, name)) for name in cameras or ['']]
    for camera in cameras or ['']:
        namespace = inside(outer, camera)
        if flag(context, 'instances') or flag(context, 'panoptic'):
            nodes.append(make_instances(context, camera, namespace))
        if flag(context, 'panoptic'):
            nodes.append(make_panoptic(context, camera, namespace))
    return [*nodes, make_rviz(context, cameras)]


def inside(namespace: str, camera: str) -> str:
    """The namespace of a camera's nodes."""
    return '/'.join(filter(None, [namespace.rstrip('/'), camera]))


def make_node(
    context: LaunchContext,
    name: str,
    namespace: str,
    params_file: str,
    parameters: dict,
    remappings: list[tuple[str, str]],
) -> LifecycleNode:
    """One of this package's nodes."""
    common = {
        'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool),
        'autostart': ParameterValue(LaunchConfiguration('autostart'), value_type=bool),
    }
    return LifecycleNode(
        package='seg_perception',
        executable=name,
        name=name,
        namespace=namespace,
        output='screen',
        emulate_tty=True,
        parameters=[LaunchConfiguration(params_file), common | parameters],
        remappings=remappings,
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )


def overrides(context: LaunchContext, model: str = 'model') -> dict:
    """The parameters of a node with a model that were given as arguments."""
    given = {name: value(context, model if name == 'model' else name) for name in OVERRIDES}
    return {name: ParameterValue(text, value_type=str) for name, text in given.items() if text}


def make_segmentation(context: LaunchContext, camera: str, namespace: str) -> LifecycleNode:
    """The segmentation node of one camera."""
    remappings = [(name, topic(context, name, camera)) for name in ('image', 'camera_info')]
    remappings.append(('instances', 'instance_node/instances'))
    return make_node(
        context,
        'segmentation_node',
        namespace,
        'params_file',
        overrides(context),
        remappings,
    )


def make_fused(context: LaunchContext, cameras: list[str]) -> LifecycleNode:
    """The one segmentation node of several cameras."""
    remappings = []
    for camera in cameras:
        for name in ('image', 'camera_info'):
            theirs = topic(context, name, camera, f'{camera}/')
            remappings.append((f'{camera}/{name}', theirs))
        remappings.append((f'{camera}/instances', f'{camera}/instance_node/instances'))
    parameters = overrides(context) | {'cameras': cameras}
    namespace = value(context, 'namespace')
    return make_node(
        context, 'segmentation_node', namespace, 'params_file', parameters, remappings
    )


def make_instances(context: LaunchContext, camera: str, namespace: str) -> LifecycleNode:
    """The instance node of one camera."""
    return make_node(
        context,
        'instance_node',
        namespace,
        'instance_params_file',
        overrides(context, 'instance_model'),
        [(name, topic(context, name, camera)) for name in ('image', 'camera_info')],
    )


def make_panoptic(context: LaunchContext, camera: str, namespace: str) -> LifecycleNode:
    """The panoptic node of one camera, on what the other two say of it."""
    segmentation, mask = 'segmentation_node', 'segmentation_node/mask'
    if flag(context, 'fused'):
        outer = inside('/' + value(context, 'namespace').strip('/'), '')
        segmentation = f'{outer}/segmentation_node'
        mask = f'{segmentation}/{camera}/mask'
    remappings = [
        ('image', topic(context, 'image', camera)),
        ('mask', mask),
        ('mask_label_info_json', f'{segmentation}/label_info_json'),
        ('instances', 'instance_node/instances'),
        ('detections_json', 'instance_node/detections_json'),
        ('instance_label_info_json', 'instance_node/label_info_json'),
    ]
    return make_node(context, 'panoptic_node', namespace, 'panoptic_params_file', {}, remappings)


def make_rviz(context: LaunchContext, cameras: list[str]) -> Node:
    """RViz with this package's view of the first camera; its absolute topics are remapped."""
    first, fused = (cameras or [''])[0], flag(context, 'fused')
    outer = value(context, 'namespace')
    overlay = f'segmentation_node/{first}/overlay' if fused else 'segmentation_node/overlay'
    prefix = f'{first}/' if fused else ''
    return Node(
        package='rviz2',
        executable='rviz2',
        name='rviz',
        namespace=outer if fused else inside(outer, first),
        arguments=['-d', share('config', 'rviz', 'seg_perception.rviz')],
        parameters=[
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)}
        ],
        remappings=[
            ('/segmentation_node/overlay', overlay),
            ('/segmentation_node/drivable_grid', 'segmentation_node/drivable_grid'),
            ('/instance_node/markers', f'{prefix}instance_node/markers'),
            ('/instance_node/overlay', f'{prefix}instance_node/overlay'),
            ('/camera/image_raw', topic(context, 'image', first, prefix)),
        ],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *arguments(),
            OpaqueFunction(function=set_transport),
            OpaqueFunction(function=make_nodes),
        ]
    )
