"""How the robot leans when an image is taken: braking and bumps move what a camera sees."""

from __future__ import annotations

import math
import threading

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from rclpy.duration import Duration
from rclpy.time import Time
from sensor_msgs.msg import Imu

from seg_perception.core.errors import ExtrinsicsError, OdometryError
from seg_perception.core.motion import (
    Motion,
    MotionLimits,
    PoseHistory,
    Sample,
    tilt_of,
    tilted,
    turned_back,
)
from seg_perception.ros.extrinsics import TransformBuffer, sample_of
from seg_perception.ros.grid_parameters import OdometryParameters
from seg_perception.ros.messages import stamp_ns

_ORIGIN = (0.0, 0.0, 0.0)


class Tilt:
    """Corrects the pose of a camera on a robot by the robot's roll and pitch.

    `take` runs in the executor's thread, the rest in the worker's.

    Args:
        parameters: `tilt.*`, `odometry.max_gap` and the robot's frame.
        buffer: a tf2 buffer that knows how the IMU is mounted; without one its axes are taken
            for the robot's.
    """

    def __init__(
        self, parameters: OdometryParameters, buffer: TransformBuffer | None = None
    ) -> None:
        self._source = parameters.tilt_source
        self._buffer = buffer
        self._lock = threading.Lock()
        self._history = PoseHistory()
        self._mountings: dict[str, Sample] = {}
        self._problem = ''
        self._slope: tuple[int, float, float] | None = None
        self.set_parameters(parameters)

    @property
    def needs_topic(self) -> bool:
        """Whether a missing topic is a problem."""
        return self._source == 'imu'

    def set_parameters(self, parameters: OdometryParameters) -> None:
        """Take changed limits; they hold from the next image on."""
        self._base_frame = parameters.base_frame
        self._time_constant = parameters.tilt_time_constant
        with self._lock:
            self._history.limits = MotionLimits(parameters.odometry_max_gap)

    def clear(self) -> None:
        """Forget the samples: the clock has jumped back."""
        with self._lock:
            self._history.clear()
            self._slope = None

    def take(self, message: Imu) -> None:
        """Keep a message of the IMU."""
        if self._source != 'imu':
            return
        with self._lock:
            try:
                self._history.add(self._sample(message))
            except (OdometryError, ExtrinsicsError) as error:
                self._problem = str(error)
            else:
                self._problem = ''

    def correct(self, pose: np.ndarray, stamp: TimeMessage, motion: Motion | None) -> np.ndarray:
        """Return a camera's pose in the robot's frame as it is above level ground.

        Args:
            pose: float64 [4, 4], T_base_optical.
            stamp: of the image.
            motion: where the robot stood, for `tilt.source: odometry`.

        Raises:
            OdometryError: roll and pitch at the stamp are not known.
        """
        if self._source == 'none':
            return pose
        if self._source == 'odometry':
            if motion is None:
                raise OdometryError(
                    "'tilt.source' is odometry, but there is none: see 'odometry.source'"
                )
            roll, pitch = tilt_of(motion.pose[:3, :3])
        else:
            roll, pitch = self._from_imu(stamp)
        roll, pitch = self._fast_part(stamp_ns(stamp), roll, pitch)
        return tilted(pose, roll, pitch)

    def _from_imu(self, stamp: TimeMessage) -> tuple[float, float]:
        with self._lock:
            if self._problem:
                raise OdometryError(self._problem)
            try:
                return tilt_of(self._history.at(stamp_ns(stamp))[:3, :3])
            except OdometryError as error:
                text = str(error).replace('odometry', 'imu')
                raise OdometryError(
                    f"{text}: is the IMU alive? 'tilt.source' none works without"
                ) from error

    def _fast_part(self, stamp: int, roll: float, pitch: float) -> tuple[float, float]:
        """Take away what lasts: that is the road's slope."""
        if self._time_constant == 0.0:
            return roll, pitch
        if self._slope is None or stamp < self._slope[0]:
            self._slope = stamp, roll, pitch
        since, mean_roll, mean_pitch = self._slope
        share = 1.0 - math.exp(-(stamp - since) / 1e9 / self._time_constant)
        mean_roll += share * (roll - mean_roll)
        mean_pitch += share * (pitch - mean_pitch)
        self._slope = stamp, mean_roll, mean_pitch
        return roll - mean_roll, pitch - mean_pitch

    def _sample(self, message: Imu) -> Sample:
        if message.orientation_covariance[0] == -1.0:  # Imu.msg: no orientation estimate
            raise OdometryError(
                'the IMU gives no orientation (orientation_covariance[0] is -1): run a filter '
                'such as imu_filter_madgwick between it and `imu`'
            )
        q = message.orientation
        try:
            sample = Sample.create(stamp_ns(message.header.stamp), _ORIGIN, (q.x, q.y, q.z, q.w))
        except OdometryError as error:
            raise OdometryError(f'{error}: mend what publishes `imu`') from error
        imu_in_base = self._mounting(message.header.frame_id)
        if imu_in_base is None:
            return sample
        turned = turned_back(sample.rotation, imu_in_base.rotation)
        return Sample(sample.stamp, sample.position, turned)

    def _mounting(self, frame_id: str) -> Sample | None:
        """Return how the IMU is mounted on the robot, None where its axes are the robot's."""
        if self._buffer is None or not frame_id or frame_id == self._base_frame:
            return None
        if frame_id not in self._mountings:
            try:
                transform = self._buffer.lookup_transform(
                    self._base_frame, frame_id, Time(), Duration()
                )
            except Exception as error:  # tf2 has many
                raise ExtrinsicsError(
                    f"no transform from '{frame_id}' to '{self._base_frame}' for the IMU "
                    f'({type(error).__name__}: {error})'
                ) from error
            self._mountings[frame_id] = sample_of(transform)
        return self._mountings[frame_id]
