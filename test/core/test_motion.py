"""The pose at a stamp: interpolated, extrapolated a little, refused else; jumps are told."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.core.errors import OdometryError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.core.motion import (
    Event,
    MotionLimits,
    PoseHistory,
    Sample,
    tilt_of,
    tilted,
)

S = 1_000_000_000


def sample(seconds: float, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> Sample:
    rotation = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return Sample.create(round(seconds * S), (x, y, 0.0), rotation)


def driven(speed: float = 10.0, turn: float = 0.0, rate: float = 50.0, **limits) -> PoseHistory:
    """One second of steady motion."""
    history = PoseHistory(MotionLimits(**limits))
    for i in range(int(rate) + 1):
        t = i / rate
        assert history.add(sample(t, speed * t, 0.0, turn * t)) is Event.GOOD
    return history


def yaw_of(pose: np.ndarray) -> float:
    return math.atan2(pose[1, 0], pose[0, 0])


def test_between_and_shortly_after_samples():
    history = driven(turn=1.5)
    for seconds in (0.0, 0.5, 0.513, 1.0, 1.04, 1.2):
        pose = history.at(round(seconds * S))
        assert pose[0, 3] == pytest.approx(10.0 * seconds, abs=1e-6)
        assert yaw_of(pose) == pytest.approx(1.5 * seconds, abs=1e-6)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ('seconds', 'says'),
    [(1.3, r'0.30 s older than the image, more than 0.25 s'), (-0.01, 'younger than the image')],
)
def test_too_old_and_too_young(seconds, says):
    with pytest.raises(OdometryError, match=says):
        driven().at(round(seconds * S))


def test_no_pose_across_a_gap():
    history = PoseHistory()
    assert history.add(sample(0.0)) is Event.GOOD
    assert history.add(sample(0.8, 5.0)) is Event.GOOD, 'a gap alone is no jump'
    with pytest.raises(OdometryError, match='gap of 0'):
        history.at(S // 2)
    assert history.at(round(0.9 * S))[0, 3] == 5.0, 'no speed out of a gap'
    assert history.add(sample(2.0, 5.0)) is Event.GAP
    assert len(history) == 1


def test_nothing_yet():
    with pytest.raises(OdometryError, match='no odometry'):
        PoseHistory().at(0)


@pytest.mark.parametrize(
    'jump', [{'x': 13.0}, {'x': 10.2, 'y': 0.8}, {'x': 10.2, 'yaw': 0.4}, {'x': 10.2, 'yaw': 3.1}]
)
def test_a_jump_starts_anew(jump):
    history = driven()
    assert history.add(sample(1.02, **jump)) is Event.JUMP
    assert len(history) == 1
    with pytest.raises(OdometryError):
        history.at(S)
    assert history.add(sample(1.04, jump['x'] + 0.2, jump.get('y', 0.0), jump.get('yaw', 0.0)))


@pytest.mark.parametrize('rate', [5.0, 10.0, 50.0, 200.0])
def test_hard_braking_and_steering_are_no_jumps(rate):
    history, x, speed, yaw, turn = PoseHistory(), 0.0, 20.0, 0.0, 0.0
    events = []
    for i in range(int(4 * rate)):
        speed = max(0.0, speed - 8.0 / rate)
        turn = 2.0 * math.sin(i / rate * 3.0)
        x, yaw = x + speed / rate, yaw + turn / rate
        events.append(history.add(sample(i / rate, x, 0.0, yaw)))
    assert set(events) == {Event.GOOD}


def test_late_and_repeated_samples_are_put_in_their_place():
    history = PoseHistory()
    history.add(sample(0.0))
    history.add(sample(0.2, 2.0))
    assert history.add(sample(0.1, 0.5)) is Event.LATE
    assert history.add(sample(0.1, 0.7)) is Event.LATE
    assert len(history) == 3
    assert history.at(S // 10)[0, 3] == 0.5
    assert history.newest == S // 5


def test_time_back():
    history = driven()
    assert history.add(sample(0.3, 3.0)) is Event.TIME_BACK
    assert history.newest == round(0.3 * S)
    assert len(history) == 1


def test_memory_is_bounded():
    history = PoseHistory(size=10)
    for i in range(100):
        history.add(sample(i / 50))
    assert len(history) == 10
    assert history.add(sample(97.5 / 50)) is Event.LATE


@pytest.mark.parametrize(
    ('position', 'rotation', 'says'),
    [
        ((math.nan, 0, 0), (0, 0, 0, 1), 'NaN'),
        ((0, 0, 0), (0, math.inf, 0, 1), 'NaN or infinity'),
        ((0, 0, 0), (0, 0, 0, 0), 'length 0'),
        ((0, 0, 0), (0, 0, 1, 1), 'length 1.41'),
    ],
)
def test_poses_that_are_none(position, rotation, says):
    with pytest.raises(OdometryError, match=says):
        Sample.create(0, position, rotation)


@pytest.mark.parametrize('value', [0.0, -1.0, math.nan])
def test_limits_are_checked(value):
    with pytest.raises(OdometryError, match='max_gap'):
        MotionLimits(max_gap=value)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-3, 3))
def test_tilt_is_read_back_from_a_rotation(roll, pitch, yaw):
    lean = tilted(np.eye(4), roll, pitch)[:3, :3]
    c, s = math.cos(yaw), math.sin(yaw)
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ lean
    assert tilt_of(turned) == pytest.approx((roll, pitch), abs=1e-9)


def test_a_camera_on_a_nodding_robot_looks_further_down():
    camera = pose_from_mounting(0.0, 0.0, 1.5, 0.0, 0.1, 0.0)
    nodding = tilted(camera, 0.0, 0.05)
    np.testing.assert_allclose(
        nodding[:3, :3], pose_from_mounting(0, 0, 1, 0, 0.15, 0)[:3, :3], atol=1e-12
    )
    assert nodding[0, 3] == pytest.approx(1.5 * math.sin(0.05))
