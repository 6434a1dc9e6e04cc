"""Where robot and camera were: transforms, odometry and the robot's lean, by stamps alone."""

from __future__ import annotations

import numpy as np

from seg_perception.core.motion import Motion
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.messages import stamp_from_ns
from seg_perception.ros.odometry import Odometry
from seg_perception.ros.tilt import Tilt


class Whereabouts:
    """Gives poses at stamps (nanoseconds; 0 = none) to those who know no messages.

    It waits for what is on its way, so call it from a worker.

    Args:
        extrinsics: of the cameras.
        odometry: of the robot.
        tilt: of the robot.
    """

    def __init__(self, extrinsics: Extrinsics, odometry: Odometry, tilt: Tilt) -> None:
        self._extrinsics = extrinsics
        self._odometry = odometry
        self._tilt = tilt

    def robot(self, stamp: int) -> Motion | None:
        """Return where the robot stood; None where it has no odometry.

        Raises:
            OdometryError: it has, and it is not known at this stamp, or has jumped.
        """
        return self._odometry.pose(stamp_from_ns(stamp))

    def lead(self, stamp: int) -> float:
        """Return by how many seconds the newest odometry is younger than a stamp."""
        return self._odometry.lead(stamp_from_ns(stamp))

    def camera(self, name: str, frame_id: str, stamp: int, motion: Motion | None) -> np.ndarray:
        """Return where a camera is above level ground.

        Args:
            name: of the camera, '' for the only one.
            frame_id: of the image.
            stamp: of the image.
            motion: where the robot stood.

        Returns:
            float64 [4, 4], T_base_optical with the robot's lean.

        Raises:
            ExtrinsicsError: there is no transform at this stamp.
            OdometryError: the lean is not known at this stamp.
        """
        time = stamp_from_ns(stamp)
        return self._tilt.correct(self._extrinsics.pose(frame_id, time, name), time, motion)

    def take_interruption(self) -> str:
        """Return why what is known of the ground must be forgotten, once; '' = it need not."""
        return self._odometry.take_interruption()

    def clear(self) -> None:
        """Forget the past: the clock has jumped back. (Transforms are cleared by their owner.)"""
        self._odometry.clear()
        self._tilt.clear()
