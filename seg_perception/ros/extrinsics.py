"""Where the camera stands: from parameters, or from tf2 at the image's own stamp."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from seg_perception.core.errors import ExtrinsicsError, OdometryError
from seg_perception.core.motion import Sample
from seg_perception.ros import optional
from seg_perception.ros.camera_parameters import CameraPoseParameters
from seg_perception.ros.messages import stamp_ns

#: Seconds that a new tf2 listener is given to hear of the camera before `auto` takes the
#: parameters: until then their pose, perhaps never set, would free ground that nobody sees.
TF_PATIENCE = 2.0


class TransformBuffer(Protocol):
    """What is used of tf2_ros.Buffer."""

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration
    ) -> TransformStamped: ...

    def can_transform(self, target_frame: str, source_frame: str, time: Time) -> Any: ...

    def clear(self) -> None: ...


class Extrinsics:
    """Gives the camera's pose in the robot's frame; one for all cameras of a node.

    With `camera_pose.source: auto`, tf2 is used where it is installed and knows the camera,
    else the parameters. From the first pose that tf2 gave of a camera, it is tf2 for good: a
    transform that goes missing later is an error, not a silent return to parameters nobody
    looks at.

    Args:
        node: on which the tf2 listener subscribes.
        parameters: source, mounting and base frame.
        buffer: a tf2 buffer that is already filled; without it the node gets its own.

    Raises:
        ExtrinsicsError: `camera_pose.source` is tf and tf2_ros is not installed.
    """

    def __init__(
        self,
        node: Node,
        parameters: CameraPoseParameters,
        buffer: TransformBuffer | None = None,
    ) -> None:
        self._listener: Any = None
        self._buffer = buffer
        self._only_tf = parameters.camera_pose_source == 'tf'
        self._latched: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._patient_until = 0.0
        self.set_parameters(parameters)
        if buffer is not None or parameters.camera_pose_source == 'parameters':
            return
        if optional.tf2_ros is not None:
            self._buffer = optional.tf2_ros.Buffer()
            self._listener = optional.tf2_ros.TransformListener(self._buffer, node)
            self._patient_until = time.monotonic() + TF_PATIENCE
            return
        why = optional.broken.get('tf2_ros', 'it is not installed')
        self._reasons[''] = f'tf2_ros cannot be used: {why}'
        if self._only_tf:
            raise ExtrinsicsError(
                f"'camera_pose.source' is tf, but tf2_ros cannot be used ({why}): install it "
                "(apt install ros-$ROS_DISTRO-tf2-ros-py), or set 'camera_pose.source' to "
                "parameters and 'camera_pose.*' to the mounting"
            )

    @property
    def source(self) -> str:
        """Where poses come from and why, for diagnostics."""
        return self.source_of('')

    def source_of(self, camera: str) -> str:
        """Where the last pose of a camera came from and why, for diagnostics."""
        if self._uses_tf(camera):
            return 'tf'
        reason = self._reasons.get(camera) or self._reasons.get('')
        return f'parameters ({reason})' if reason else 'parameters'

    @property
    def buffer(self) -> TransformBuffer | None:
        """The tf2 buffer, for others that look transforms up; None where tf2 is not in use."""
        return self._buffer

    @property
    def waiting(self) -> bool:
        """Whether tf2 has just begun to listen, and may yet hear of the camera."""
        return self._is_young and not self._only_tf and not self._latched

    @property
    def _is_young(self) -> bool:
        return time.monotonic() < self._patient_until

    def set_parameters(self, parameters: CameraPoseParameters) -> None:
        """Take changed mounting parameters; they hold from the next pose on."""
        self._parameters = parameters
        self._mounted: dict[str, np.ndarray] = {}
        self._base_frame = parameters.base_frame
        self._timeout = Duration(seconds=parameters.camera_pose_tf_timeout)

    def pose(self, frame_id: str, stamp: TimeMessage, camera: str = '') -> np.ndarray:
        """Return T_base_optical, the camera's optical frame in the robot's frame.

        With tf2 this waits up to `camera_pose.tf_timeout`, so call it from a worker: in the
        executor's thread the transform waited for could not come in.

        Args:
            frame_id: of the image; parameters do without.
            stamp: of the image.
            camera: name of one of several, for its mounting in the parameters.

        Returns:
            float64 [4, 4]; multiplies points of the optical frame (z ahead, x right, y down).

        Raises:
            ExtrinsicsError: tf2 is in use and has no valid transform at this stamp, or has just
                begun to listen.
        """
        if self._buffer is None:
            return self._mounting(camera)
        if not frame_id:
            return self._without_transform(
                camera,
                'the image has no frame_id, so tf2 has no pose of it: set it in the camera driver',
            )
        if not self._uses_tf(camera) and not self._connected(frame_id):
            # Asked without waiting: a robot without TF must not wait for it at each frame.
            return self._without_transform(
                camera, f"no transform from '{frame_id}' to '{self._base_frame}' in tf2"
            )
        self._latched.add(camera)
        try:
            transform = self._buffer.lookup_transform(
                self._base_frame, frame_id, Time.from_msg(stamp), self._timeout
            )
        except Exception as error:  # tf2 has many, and one frame's transform must not end a node
            raise ExtrinsicsError(self._explain(frame_id, stamp, error)) from error
        return matrix_of(transform)

    def clear(self) -> None:
        """Forget past transforms (static ones stay): the clock has jumped back."""
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Unsubscribe from tf."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    def _uses_tf(self, camera: str) -> bool:
        return self._only_tf or camera in self._latched

    def _mounting(self, camera: str) -> np.ndarray:
        mounted = self._mounted
        if camera not in mounted:
            mounted[camera] = self._parameters.mounting_of(camera).pose()
        return mounted[camera]

    def _without_transform(self, camera: str, reason: str) -> np.ndarray:
        """Fall back to the parameters, unless tf2 is what counts."""
        if self._uses_tf(camera) or self._is_young:
            raise ExtrinsicsError(reason)
        self._reasons[camera] = reason
        return self._mounting(camera)

    def _connected(self, frame_id: str) -> bool:
        """Whether tf2 has a transform between the frames at any time."""
        try:
            return bool(self._buffer.can_transform(self._base_frame, frame_id, Time()))
        except Exception:
            return False

    def _explain(self, frame_id: str, stamp: TimeMessage, error: Exception) -> str:
        return (
            f"no transform from '{frame_id}' to '{self._base_frame}' at "
            f'{stamp.sec}.{stamp.nanosec:09d} ({type(error).__name__}: {error}): see ros2 run '
            f'tf2_ros tf2_echo {self._base_frame} {frame_id}; start robot_state_publisher or a '
            "static_transform_publisher, or set 'camera_pose.source' to parameters"
        )


def sample_of(transform: TransformStamped) -> Sample:
    """Return a transform as the pose of its child frame in its header's frame, at its stamp.

    Raises:
        ExtrinsicsError: not finite, or the quaternion is not of length 1.
    """
    t, q = transform.transform.translation, transform.transform.rotation
    try:
        return Sample.create(
            stamp_ns(transform.header.stamp), (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)
        )
    except OdometryError as error:
        frames = f"from '{transform.child_frame_id}' to '{transform.header.frame_id}'"
        raise ExtrinsicsError(
            f'the transform {frames} is none: {error}; mend what publishes it'
        ) from error


def matrix_of(transform: TransformStamped) -> np.ndarray:
    """Return a transform as float64 [4, 4], from its child frame to its header's frame.

    Raises:
        ExtrinsicsError: not finite, or the quaternion is not of length 1.
    """
    return sample_of(transform).matrix()
