"""Odometry and TF of a simulated vehicle; tf2_ros, which PyPI lacks, is stood in for."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import rclpy

from seg_perception.nodes.ego_motion import EgoMotion
from seg_perception.ros import optional
from seg_perception.ros.messages import stamp_from_ns
from seg_perception.ros.sources import EgoState


class Broadcaster:
    """Keeps what it is given, as tf2_ros' broadcasters are given it."""

    sent: ClassVar[list] = []

    def __init__(self, node):
        self._name = type(self).__name__

    def sendTransform(self, transform):  # noqa: N802 - tf2_ros' name
        Broadcaster.sent.append((self._name, transform))


class StaticBroadcaster(Broadcaster):
    """The latched one."""


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node('vehicle', context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def test_tf_carries_the_mounting_once_and_the_pose_with_each_picture(node, monkeypatch):
    fake = SimpleNamespace(
        TransformBroadcaster=Broadcaster, StaticTransformBroadcaster=StaticBroadcaster
    )
    monkeypatch.setattr(optional, 'tf2_ros', fake)
    monkeypatch.setattr(Broadcaster, 'sent', [])
    mounting, pose = np.eye(4), np.eye(4)
    mounting[2, 3], pose[0, 3] = 1.4, 7.0
    motion = EgoMotion(node, 'odom', 'base_link', 'camera_optical_frame', mounting)
    stamp = stamp_from_ns(5_000_000_000)
    motion.publish(EgoState(pose, 8.0), stamp)
    (first, static), (second, moving) = Broadcaster.sent
    assert (first, second) == ('StaticBroadcaster', 'Broadcaster')
    assert (static.header.frame_id, static.child_frame_id) == ('base_link', 'camera_optical_frame')
    assert static.transform.translation.z == 1.4
    assert (moving.header.frame_id, moving.child_frame_id) == ('odom', 'base_link')
    assert (moving.header.stamp, moving.transform.translation.x) == (stamp, 7.0)


def test_without_tf_the_odometry_goes_out_alone(node, monkeypatch):
    monkeypatch.setattr(optional, 'tf2_ros', None)
    motion = EgoMotion(node, 'odom', 'base_link', 'camera_optical_frame', np.eye(4))
    motion.publish(EgoState(np.eye(4)), stamp_from_ns(1))
    topics = dict(node.get_topic_names_and_types())
    assert topics['/odom'] == ['nav_msgs/msg/Odometry']
    assert '/tf' not in topics
