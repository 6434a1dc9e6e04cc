"""Poses as messages: geometry_msgs/TransformStamped and nav_msgs/Odometry."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from seg_perception.ros.sources import EgoState

#: Variance that says "exact" (m2, rad2): zero would mean "not known" to many readers.
_EXACT = 1e-9


def quaternion_message(rotation: np.ndarray) -> Quaternion:
    """Return the quaternion, w >= 0, of a rotation matrix float [3,3]."""
    # Of the four the largest is divided by, so that none loses its digits (S. W. Shepperd, 1978).
    m = np.asarray(rotation, np.float64)
    trace = float(np.trace(m))
    candidates = np.array([*(2 * np.diag(m) - trace), trace])
    k = int(np.argmax(candidates))
    largest = 0.5 * np.sqrt(1 + candidates[k])
    q = np.empty(4)
    q[k] = largest
    scale = 0.25 / largest
    sums = {(0, 1): m[1, 0] + m[0, 1], (0, 2): m[0, 2] + m[2, 0], (1, 2): m[2, 1] + m[1, 2]}
    gaps = {0: m[2, 1] - m[1, 2], 1: m[0, 2] - m[2, 0], 2: m[1, 0] - m[0, 1]}
    for other in range(4):
        if other == k:
            continue
        low, high = sorted((k, other))
        q[other] = scale * (gaps[low] if high == 3 else sums[low, high])
    x, y, z, w = (float(v) for v in (q if q[3] >= 0 else -q))
    return Quaternion(x=x, y=y, z=z, w=w)


def transform_message(pose: np.ndarray, header: Header, child: str) -> TransformStamped:
    """Return the pose, 4x4, of a child frame in the header's frame."""
    message = TransformStamped(header=header, child_frame_id=child)
    at = message.transform.translation
    at.x, at.y, at.z = (float(v) for v in pose[:3, 3])
    message.transform.rotation = quaternion_message(pose[:3, :3])
    return message


def odometry_message(state: EgoState, header: Header, child: str) -> Odometry:
    """Return exact odometry; the twist is in the child frame, as nav_msgs/Odometry defines."""
    message = Odometry(header=header, child_frame_id=child)
    at = message.pose.pose.position
    at.x, at.y, at.z = (float(v) for v in state.pose[:3, 3])
    message.pose.pose.orientation = quaternion_message(state.pose[:3, :3])
    message.twist.twist.linear.x = state.speed
    message.twist.twist.angular.z = state.turn_rate
    exact = (np.eye(6) * _EXACT).ravel()
    message.pose.covariance = message.twist.covariance = exact
    return message
