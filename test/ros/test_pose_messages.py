"""Poses as messages."""

import numpy as np
import pytest

from seg_perception.core.motion import rotation_matrix
from seg_perception.ros.messages import header, stamp_from_ns
from seg_perception.ros.pose_messages import (
    odometry_message,
    quaternion_message,
    transform_message,
)
from seg_perception.ros.sources import EgoState

START = header(stamp_from_ns(1_500_000_000), 'odom')


def rotation(seed):
    random = np.random.default_rng(seed).normal(size=(3, 3))
    q, r = np.linalg.qr(random)
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


HALF_TURNS = [np.diag(d).astype(float) for d in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1))]


@pytest.mark.parametrize('matrix', [*HALF_TURNS, *map(rotation, range(12))])
def test_a_quaternion_turns_as_its_matrix_does(matrix):
    q = quaternion_message(matrix)
    assert q.w >= 0
    back = rotation_matrix(np.array([q.x, q.y, q.z, q.w]))
    np.testing.assert_allclose(back, matrix, atol=1e-12)


def test_a_transform_and_odometry_carry_frames_stamp_and_motion():
    pose = np.eye(4)
    pose[:2, :2] = [[0, -1], [1, 0]]
    pose[:3, 3] = 1, 2, 3
    transform = transform_message(pose, START, 'base_link')
    assert (transform.header, transform.child_frame_id) == (START, 'base_link')
    assert transform.transform.translation.y == 2.0
    assert transform.transform.rotation.z == pytest.approx(np.sqrt(0.5))
    odometry = odometry_message(EgoState(pose, 8.0, -0.1), START, 'base_link')
    assert odometry.pose.pose.position.z == 3.0
    assert odometry.pose.pose.orientation == transform.transform.rotation
    assert (odometry.twist.twist.linear.x, odometry.twist.twist.angular.z) == (8.0, -0.1)
    assert min(np.diag(np.reshape(odometry.pose.covariance, (6, 6)))) > 0
