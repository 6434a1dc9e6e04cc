"""What a vehicle tells about itself beside its pictures: odometry, and TF where installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from seg_perception.ros import optional
from seg_perception.ros.messages import header
from seg_perception.ros.pose_messages import odometry_message, transform_message
from seg_perception.ros.sources import EgoState

_DEPTH = 50


class EgoMotion:
    """Publishes `odom` (nav_msgs/Odometry) and, where tf2_ros is installed, TF (REP 105).

    Args:
        node: that publishes.
        odom, base, camera: the frames' names.
        mounting: 4x4, the camera's optical frame in the base frame; never changes.
    """

    def __init__(
        self, node: Node, odom: str, base: str, camera: str, mounting: np.ndarray
    ) -> None:
        self._odom, self._base = odom, base
        options = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        self._publisher = node.create_publisher(
            Odometry, 'odom', QoSProfile(depth=_DEPTH), **options
        )
        self._broadcaster: Any = None
        if optional.tf2_ros is None:
            node.get_logger().info(
                "tf2_ros is not installed: the odometry goes out on 'odom' alone, and who needs "
                "the camera's place must be told"
            )
            return
        self._broadcaster = optional.tf2_ros.TransformBroadcaster(node)
        self._static = optional.tf2_ros.StaticTransformBroadcaster(node)
        now = node.get_clock().now().to_msg()
        self._static.sendTransform(transform_message(mounting, header(now, base), camera))

    def publish(self, state: EgoState, stamp: Time) -> None:
        """Tell where the vehicle is, with the stamp of the picture that shows it."""
        start = header(stamp, self._odom)
        self._publisher.publish(odometry_message(state, start, self._base))
        if self._broadcaster is not None:
            transform = transform_message(state.pose, start, self._base)
            self._broadcaster.sendTransform(transform)
