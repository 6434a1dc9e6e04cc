"""Where the robot stands: its pose in the odometry's frame at an image's own stamp."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from builtin_interfaces.msg import Time as TimeMessage
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from seg_perception.core.errors import ExtrinsicsError, OdometryError
from seg_perception.core.motion import Event, Motion, MotionLimits, PoseHistory, Sample
from seg_perception.ros import optional
from seg_perception.ros.extrinsics import TransformBuffer, sample_of
from seg_perception.ros.grid_parameters import OdometryParameters
from seg_perception.ros.messages import stamp_ns

#: Seconds by which the newest sample may be older than the image without waiting for the next:
#: what a robot does in them differs by millimetres from going on as before.
SETTLED = 0.03
_TOLD = {
    Event.JUMP: 'odometry jumped: the robot cannot have moved so',
    Event.TIME_BACK: 'the stamps of odometry went back (a bag that loops?)',
    Event.GAP: 'odometry was silent for more than a second',
}


class Odometry:
    """Gives the robot's pose at stamps, from tf2 or from a nav_msgs/Odometry topic.

    With `odometry.source: auto`, tf2 is used where it is installed and knows the robot in the
    odometry's frame, else the topic where somebody publishes it, else there is none. From the
    first pose on, the source stays: odometry that goes missing later is an error, not a silent
    return to single frames.

    `take` runs in the executor's thread, everything else in the worker's.

    Args:
        node: on which a tf2 listener subscribes.
        parameters: source, limits and frames.
        buffer: a tf2 buffer that is filled already; without it the node gets its own.

    Raises:
        OdometryError: `odometry.source` is tf and tf2_ros is not installed.
    """

    def __init__(
        self, node: Node, parameters: OdometryParameters, buffer: TransformBuffer | None = None
    ) -> None:
        wanted = parameters.odometry_source
        self._wanted = wanted
        self._using = wanted if wanted in ('tf', 'topic') else ''
        self._listener: Any = None
        self._buffer = buffer if wanted in ('auto', 'tf') else None
        self._arrived = threading.Condition()
        self._told = ''
        self._topic_frame = ''
        self._reason = 'nobody publishes odometry' if wanted == 'auto' else ''
        self._broken = ''
        self._history = PoseHistory()
        self.jumps = 0
        self.set_parameters(parameters)
        if wanted in ('auto', 'tf') and buffer is None:
            self._listen(node)

    def _listen(self, node: Node) -> None:
        if optional.tf2_ros is not None:
            self._buffer = optional.tf2_ros.Buffer()
            self._listener = optional.tf2_ros.TransformListener(self._buffer, node)
        elif self._wanted == 'tf':
            why = optional.broken.get('tf2_ros', 'it is not installed')
            raise OdometryError(
                f"'odometry.source' is tf, but tf2_ros cannot be used ({why}): install it (apt "
                "install ros-$ROS_DISTRO-tf2-ros-py), or set 'odometry.source' to topic or none"
            )

    @property
    def source(self) -> str:
        """Where poses come from, or why there are none, for diagnostics."""
        if self._using:
            return self._using
        return f'none ({self._reason})' if self._reason else 'none'

    @property
    def needs_topic(self) -> bool:
        """Whether a missing topic is a problem."""
        return self._using == 'topic'

    def set_parameters(self, parameters: OdometryParameters) -> None:
        """Take changed limits; they hold from the next pose on."""
        self._base_frame = parameters.base_frame
        self._odom_frame = parameters.odometry_frame_id
        self._timeout = parameters.odometry_timeout
        with self._arrived:
            self._history.limits = MotionLimits(
                parameters.odometry_max_gap,
                parameters.odometry_jump_distance,
                parameters.odometry_jump_angle,
            )

    def take(self, message: OdometryMessage) -> None:
        """Keep a message of the topic."""
        if self._wanted not in ('auto', 'topic') or self._using == 'tf':
            return
        with self._arrived:
            try:
                sample = self._sample(message)
            except OdometryError as error:
                self._broken = str(error)
            else:
                self._broken = ''
                self._topic_frame = message.header.frame_id or self._odom_frame
                self._note(self._history.add(sample))
            self._arrived.notify_all()

    def pose(self, stamp: TimeMessage) -> Motion | None:
        """Return where the robot stood at an image's stamp.

        Waits up to `odometry.timeout`, so call it from a worker.

        Returns:
            None where the robot has no odometry (or none yet, with `auto`).

        Raises:
            OdometryError: odometry is in use and has no pose at this stamp, or has jumped since
                the last call: what was known of the ground lies elsewhere now.
        """
        if not self._using and not self._discovered():
            return None
        if stamp_ns(stamp) == 0:
            raise OdometryError(
                'the image has no stamp (0), so where the robot was and how old its ground is '
                "cannot be told: set it in the camera driver, or 'odometry.source' to none"
            )
        return self._from_tf(stamp) if self._using == 'tf' else self._from_topic(stamp)

    def lead(self, stamp: TimeMessage) -> float:
        """Return by how many seconds the newest odometry is younger than a stamp."""
        newest: int | None = None
        if self._using == 'topic':
            with self._arrived:
                newest = self._history.newest
        elif self._using == 'tf' and self._buffer is not None:
            try:
                newest = stamp_ns(
                    self._buffer.lookup_transform(
                        self._odom_frame, self._base_frame, Time(), Duration()
                    ).header.stamp
                )
            except Exception:  # what is missing is told by `pose`
                newest = None
        if not newest or not stamp_ns(stamp):
            return 0.0
        return (newest - stamp_ns(stamp)) / 1e9

    def take_interruption(self) -> str:
        """Return why what is known of the ground must be forgotten, once; '' = it need not."""
        with self._arrived:
            told, self._told = self._told, ''
        return told

    def clear(self) -> None:
        """Forget the samples: the clock has jumped back."""
        with self._arrived:
            self._history.clear()
        if self._listener is not None and self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Unsubscribe from tf."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    def _discovered(self) -> bool:
        """Look, where the choice is ours, whether odometry has turned up."""
        if self._wanted != 'auto':
            return False
        if self._buffer is not None and self._connected():
            self._using = 'tf'
        elif len(self._history):
            self._using = 'topic'
        elif self._broken:
            self._reason = self._broken
        return bool(self._using)

    def _connected(self) -> bool:
        assert self._buffer is not None
        try:
            return bool(self._buffer.can_transform(self._odom_frame, self._base_frame, Time()))
        except Exception:
            return False

    def _from_tf(self, stamp: TimeMessage) -> Motion:
        assert self._buffer is not None
        timeout = Duration(seconds=self._timeout)
        try:
            transform = self._buffer.lookup_transform(
                self._odom_frame, self._base_frame, Time.from_msg(stamp), timeout
            )
            sample = sample_of(transform)
        except ExtrinsicsError as error:
            raise OdometryError(str(error)) from error
        except Exception as error:  # tf2 has many
            raise OdometryError(
                f"no transform from '{self._base_frame}' to '{self._odom_frame}' at "
                f'{stamp.sec}.{stamp.nanosec:09d} ({type(error).__name__}: {error}): is the '
                "localization running? 'odometry.source' none works without"
            ) from error
        with self._arrived:
            # Not at the transform's own stamp: with an unstamped image tf2 takes its newest.
            self._note(self._history.add(replace(sample, stamp=stamp_ns(stamp))))
            self._refuse_after_jump()
        return Motion(sample.matrix(), self._odom_frame)

    def _from_topic(self, stamp: TimeMessage) -> Motion:
        wanted = stamp_ns(stamp)
        deadline = time.monotonic() + self._timeout
        with self._arrived:
            while not self._reaches(wanted):
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            if self._broken:
                raise OdometryError(self._broken)
            self._refuse_after_jump()
            try:
                return Motion(self._history.at(wanted), self._topic_frame)
            except OdometryError as error:
                raise OdometryError(
                    f'{error}: is its source alive, on the same clock as the camera? '
                    "'odometry.source' none works without"
                ) from error

    def _reaches(self, stamp: int) -> bool:
        newest = self._history.newest
        return newest is not None and (stamp - newest) / 1e9 <= SETTLED

    def _refuse_after_jump(self) -> None:
        if self._told and self._told != _TOLD[Event.GAP]:
            raise OdometryError(f'{self._told}; the grid starts anew')

    def _note(self, event: Event) -> None:
        if event in (Event.JUMP, Event.TIME_BACK):
            self.jumps += 1
        self._told = _TOLD.get(event, '') or self._told

    def _sample(self, message: OdometryMessage) -> Sample:
        child = message.child_frame_id.lstrip('/')
        if child and child != self._base_frame:
            raise OdometryError(
                f"the odometry is of '{child}', the grid of '{self._base_frame}': set "
                "'grid.frame_id' to the frame whose motion the topic tells, or take tf2"
            )
        p, q = message.pose.pose.position, message.pose.pose.orientation
        try:
            return Sample.create(
                stamp_ns(message.header.stamp), (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)
            )
        except OdometryError as error:
            raise OdometryError(f'{error}: mend what publishes the odometry') from error
