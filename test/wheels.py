"""A robot's odometry for tests of nodes: published at 50 Hz by a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
from harness import image, scene
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

RATE = 50.0


def view() -> Image:
    """The scene as a moving camera sees it: no two pictures are the same."""
    picture = scene()
    picture[0, :8, 2] = np.random.default_rng().integers(200, 255, 8)
    return image(picture)


class Wheels:
    """Publishes nav_msgs/Odometry on `odom` while it is entered.

    Attributes:
        speed: m/s along x.
        shift: m added to x: changing it is a jump.
        silent: publishes nothing while it is set.
        back: s that stamps lie behind the clock.
    """

    def __init__(self, peer: Any, *, speed: float = 0.0, child: str = 'base_link') -> None:
        self.speed, self.shift, self.back = speed, 0.0, 0.0
        self.silent = False
        self._child = child
        self._x = 0.0
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self.publisher = peer.create_publisher(Odometry, 'odom', qos)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def x(self) -> float:
        """Where the robot is now, m."""
        return self._x + self.shift

    def __enter__(self) -> Wheels:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(1.0 / RATE):
            now = time.monotonic()
            self._x += self.speed * (now - last)
            last = now
            if not self.silent:
                self.publisher.publish(self.message(time.time() - self.back, self.x))

    def message(self, stamp: float, x: float, yaw: float = 0.0) -> Odometry:
        """Return one message."""
        odom = Odometry(child_frame_id=self._child)
        odom.header.frame_id = 'odom'
        odom.header.stamp.sec = int(stamp)
        odom.header.stamp.nanosec = int(stamp % 1.0 * 1e9)
        odom.pose.pose.position.x = x
        odom.pose.pose.orientation.z = math.sin(yaw / 2)
        odom.pose.pose.orientation.w = math.cos(yaw / 2)
        return odom
