"""The robot's motion from a topic or tf2: found, kept to, refused when it can't be believed."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import Imu

from seg_perception.core.errors import OdometryError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.core.motion import tilted
from seg_perception.ros import optional
from seg_perception.ros.messages import stamp_from_ns
from seg_perception.ros.odometry import Motion, Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.tilt import Tilt


def parameters(source: str = 'topic', **values) -> SegmentationParameters:
    values.setdefault('odometry_timeout', 0.0)
    return SegmentationParameters(odometry_source=source, **values)


def odometry(source: str = 'topic', buffer=None, **values) -> Odometry:
    return Odometry(None, parameters(source, **values), buffer)


def at(seconds: float) -> Time:
    return stamp_from_ns(round(seconds * 1e9))


def message(seconds: float, x: float = 0.0, yaw: float = 0.0, **names) -> OdometryMessage:
    odom = OdometryMessage(child_frame_id=names.get('child', 'base_link'))
    odom.header.frame_id = names.get('frame', 'odom')
    odom.header.stamp = at(seconds)
    odom.pose.pose.position.x = x
    odom.pose.pose.orientation.z = math.sin(yaw / 2)
    odom.pose.pose.orientation.w = math.cos(yaw / 2)
    return odom


def drive(source: Odometry, seconds: float = 1.0, begin: float = 0.0, speed: float = 5.0) -> None:
    for i in range(round(seconds * 50) + 1):
        source.take(message(begin + i / 50, speed * i / 50))


class Buffer:
    """tf2's buffer of a robot that moves along x at 5 m/s."""

    def __init__(self, until: float = 1e9, shift: float = 0.0) -> None:
        self.until, self.shift = until, shift

    def can_transform(self, target, source, time):
        return (target, source) == ('odom', 'base_link')

    def lookup_transform(self, target, source, time, timeout):
        seconds = time.nanoseconds / 1e9
        if seconds > self.until:
            raise LookupError('extrapolation into the future')
        transform = TransformStamped(child_frame_id=source)
        transform.header.frame_id = target
        transform.header.stamp = time.to_msg()
        transform.transform.translation = Vector3(x=5.0 * seconds + self.shift)
        transform.transform.rotation = Quaternion(w=1.0)
        return transform

    def clear(self):
        """Nothing to forget."""


def test_pose_between_messages():
    source = odometry()
    drive(source)
    motion = source.pose(at(0.511))
    assert motion.frame_id == 'odom'
    assert motion.pose[0, 3] == pytest.approx(5.0 * 0.511)
    assert source.pose(at(1.1)).pose[0, 3] == pytest.approx(5.5), 'goes on at the same speed'
    assert source.source == 'topic'
    assert source.needs_topic


def test_missing_and_stale_odometry_are_errors():
    source = odometry()
    with pytest.raises(OdometryError, match='no odometry has come yet'):
        source.pose(at(1.0))
    drive(source)
    with pytest.raises(OdometryError, match=r'0.50 s older than the image.*alive'):
        source.pose(at(1.5))


def test_waits_for_the_message_that_reaches_the_image():
    source = odometry(odometry_timeout=1.0)
    drive(source)
    threading.Timer(0.1, source.take, [message(1.2, 6.1)]).start()
    began = time.monotonic()
    assert source.pose(at(1.19)).pose[0, 3] == pytest.approx(6.045, abs=0.01)
    assert 0.05 < time.monotonic() - began < 0.9


def test_a_jump_refuses_one_image_and_asks_to_forget():
    source = odometry()
    drive(source)
    source.take(message(1.02, 30.0))
    assert source.jumps == 1
    with pytest.raises(OdometryError, match='jumped'):
        source.pose(at(1.02))
    assert 'jumped' in source.take_interruption()
    assert source.take_interruption() == ''
    source.take(message(1.04, 30.1))
    assert source.pose(at(1.04)).pose[0, 3] == pytest.approx(30.1)


def test_stamps_that_go_back_ask_to_forget():
    source = odometry()
    drive(source, begin=100.0)
    drive(source, seconds=0.1, begin=0.0)
    with pytest.raises(OdometryError, match='went back'):
        source.pose(at(0.05))
    assert source.take_interruption()
    assert source.pose(at(0.05)).pose[0, 3] == pytest.approx(0.25)


def test_a_long_gap_asks_to_forget_and_is_no_error():
    source = odometry()
    drive(source)
    drive(source, seconds=0.2, begin=5.0)
    assert source.pose(at(5.1)).pose[0, 3] == pytest.approx(0.5)
    assert 'silent' in source.take_interruption()
    assert source.jumps == 0


def test_by_how_much_the_odometry_is_younger_than_an_image():
    source = odometry()
    assert source.lead(at(1.0)) == 0.0
    drive(source, begin=10.0)
    assert source.lead(at(10.25)) == pytest.approx(0.75)
    assert source.lead(at(12.0)) == pytest.approx(-1.0)
    assert source.lead(at(0.0)) == 0.0, 'an image without a stamp is told elsewhere'

    class Latest(Buffer):
        def lookup_transform(self, target, source, time, timeout):
            transform = super().lookup_transform(target, source, time, timeout)
            if time.nanoseconds == 0:
                transform.header.stamp = at(5.0)
            return transform

    by_tf = odometry('tf', Latest())
    by_tf.pose(at(3.0))
    assert by_tf.lead(at(3.0)) == pytest.approx(2.0)


def test_auto_is_without_odometry_until_there_is_some_and_then_keeps_to_it():
    source = odometry('auto')
    assert source.pose(at(1.0)) is None
    assert not source.needs_topic
    assert source.source == 'none (nobody publishes odometry)'
    drive(source)
    assert source.pose(at(1.0)).pose[0, 3] == pytest.approx(5.0)
    assert source.needs_topic
    with pytest.raises(OdometryError):
        source.pose(at(9.0))


def test_none_takes_nothing():
    source = odometry('none')
    drive(source)
    assert source.pose(at(1.0)) is None
    assert source.source == 'none'


def test_odometry_of_another_frame_is_told_and_not_used():
    source = odometry()
    source.take(message(1.0, child='imu_link'))
    with pytest.raises(OdometryError, match=r"of 'imu_link', the grid of 'base_link'"):
        source.pose(at(1.0))
    auto = odometry('auto')
    auto.take(message(1.0, child='imu_link'))
    assert auto.pose(at(1.0)) is None
    assert 'imu_link' in auto.source
    source.take(message(1.0, child='', frame='world'))
    assert source.pose(at(1.0)).frame_id == 'world'


def test_a_pose_that_is_none():
    source = odometry()
    source.take(message(1.0, x=math.nan))
    with pytest.raises(OdometryError, match='NaN or infinity: mend'):
        source.pose(at(1.0))
    source.take(message(1.0, x=1.0))
    assert source.pose(at(1.0)).pose[0, 3] == 1.0


def test_tf_at_the_image_s_stamp():
    source = odometry('tf', Buffer(until=2.0))
    assert source.pose(at(1.5)).pose[0, 3] == pytest.approx(7.5)
    assert source.source == 'tf'
    assert not source.needs_topic
    with pytest.raises(OdometryError, match=r"from 'base_link' to 'odom' at 2.5.*localization"):
        source.pose(at(2.5))


def test_tf_that_jumps():
    buffer = Buffer()
    source = odometry('tf', buffer)
    for i in range(1, 5):
        source.pose(at(i / 10))
    buffer.shift = 20.0
    with pytest.raises(OdometryError, match='jumped'):
        source.pose(at(0.5))
    assert source.take_interruption()
    assert source.pose(at(0.6)).pose[0, 3] == pytest.approx(23.0)


@pytest.mark.parametrize('by_tf', [False, True])
def test_an_image_without_a_stamp_has_no_place(by_tf):
    source = odometry('auto', Buffer() if by_tf else None)
    drive(source)
    with pytest.raises(OdometryError, match='no stamp'):
        source.pose(at(0.0))
    assert odometry('none').pose(at(0.0)) is None


def test_auto_prefers_tf_where_it_knows_the_robot():
    source = odometry('auto', Buffer())
    drive(source, speed=1.0)
    assert source.pose(at(1.0)).pose[0, 3] == pytest.approx(5.0)
    assert source.source == 'tf'
    stranger = odometry('auto', Buffer(), odometry_frame_id='map')
    drive(stranger, speed=1.0)
    assert stranger.pose(at(1.0)).pose[0, 3] == pytest.approx(1.0)


def test_tf_asked_for_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(optional, 'tf2_ros', None)
    with pytest.raises(OdometryError, match='apt install'):
        odometry('tf')
    assert odometry('auto').pose(at(1.0)) is None


def test_its_own_listener_is_taken_down(monkeypatch):
    gone = []
    fake = SimpleNamespace(
        Buffer=Buffer,
        TransformListener=lambda buffer, node: SimpleNamespace(unregister=lambda: gone.append(1)),
    )
    monkeypatch.setattr(optional, 'tf2_ros', fake)
    source = odometry('auto')
    assert source.pose(at(1.0)).pose[0, 3] == pytest.approx(5.0)
    source.close()
    source.close()
    assert gone == [1]


def test_real_tf2():
    """Against tf2_ros itself, where ROS is installed."""
    if optional.tf2_ros is None:
        pytest.skip('tf2_ros is not installed: PyPI has none')
    buffer = optional.tf2_ros.Buffer()
    for i in range(11):
        stamp = SimpleNamespace(nanoseconds=i * 10**8, to_msg=lambda i=i: at(i / 10))
        transform = Buffer().lookup_transform('odom', 'base_link', stamp, None)
        buffer.set_transform(transform, 'test')
    source = odometry('auto', buffer)
    assert source.pose(at(0.55)).pose[0, 3] == pytest.approx(2.75)
    assert source.source == 'tf'
    assert source.lead(at(0.55)) == pytest.approx(0.45)
    with pytest.raises(OdometryError, match='no transform'):
        source.pose(at(3.0))


# ---------------------------------------------------------------------------------- tilt

CAMERA = pose_from_mounting(1.0, 0.0, 1.5, 0.0, 0.1, 0.0)


def imu(seconds: float, pitch: float, frame: str = 'base_link', covariance: float = 0.0) -> Imu:
    reading = Imu()
    reading.header.stamp, reading.header.frame_id = at(seconds), frame
    reading.orientation = Quaternion(y=math.sin(pitch / 2), w=math.cos(pitch / 2))
    reading.orientation_covariance[0] = covariance
    return reading


def test_no_tilt_leaves_the_pose_alone():
    assert Tilt(parameters('none')).correct(CAMERA, at(1.0), None) is CAMERA


def test_tilt_of_the_odometry():
    tilt = Tilt(parameters(tilt_source='odometry'))
    nodding = Motion(tilted(np.eye(4), 0.02, 0.05), 'odom')
    expected = tilted(CAMERA, 0.02, 0.05)
    np.testing.assert_allclose(tilt.correct(CAMERA, at(1.0), nodding), expected, atol=1e-12)
    with pytest.raises(OdometryError, match=r'tilt.source'):
        tilt.correct(CAMERA, at(1.0), None)


def test_tilt_of_the_imu_at_the_image_s_stamp():
    tilt = Tilt(parameters('none', tilt_source='imu'))
    with pytest.raises(OdometryError, match='no imu has come yet'):
        tilt.correct(CAMERA, at(0.0), None)
    for i in range(11):
        tilt.take(imu(i / 100, 0.001 * i))
    corrected = tilt.correct(CAMERA, at(0.055), None)
    np.testing.assert_allclose(corrected, tilted(CAMERA, 0.0, 0.0055), atol=1e-9)
    with pytest.raises(OdometryError, match='newest imu is'):
        tilt.correct(CAMERA, at(2.0), None)
    tilt.take(imu(0.2, 0.0, covariance=-1.0))
    with pytest.raises(OdometryError, match='imu_filter_madgwick'):
        tilt.correct(CAMERA, at(0.2), None)


def test_a_lasting_tilt_is_the_road_s():
    tilt = Tilt(parameters('none', tilt_source='imu', tilt_time_constant=1.0))
    for i in range(1001):
        tilt.take(imu(i / 100, 0.1 + (0.03 if i == 1000 else 0.0)))
        if i % 10 == 0:
            corrected = tilt.correct(CAMERA, at(i / 100), None)
        if i == 990:
            np.testing.assert_allclose(corrected, CAMERA, atol=1e-3)
    nod = math.acos(np.clip((np.trace(corrected[:3, :3].T @ CAMERA[:3, :3]) - 1) / 2, -1, 1))
    assert nod == pytest.approx(0.03, abs=0.004)


def test_an_imu_that_is_mounted_otherwise():
    half = math.sqrt(0.5)

    class Mounted(Buffer):
        def lookup_transform(self, target, source, time, timeout):
            if source != 'imu_link':
                raise LookupError(source)
            transform = super().lookup_transform(target, source, time, timeout)
            transform.transform.rotation = Quaternion(z=half, w=half)  # turned to the left
            return transform

    tilt = Tilt(parameters('none', tilt_source='imu'), Mounted())
    # The robot nods by 0.1 about y, which is the IMU's x axis turned: its roll of -0.1 ... 90
    # degrees to the left of it. World from imu = world from base x base from imu.
    nod = np.array([0.0, math.sin(0.05), 0.0, math.cos(0.05)])
    x, y, z, w = nod
    reading = imu(1.0, 0.0, 'imu_link')
    reading.orientation = Quaternion(
        x=w * 0 + x * half + y * half, y=y * half - x * half, z=z * half + w * half, w=w * half
    )
    tilt.take(reading)
    np.testing.assert_allclose(
        tilt.correct(CAMERA, at(1.0), None), tilted(CAMERA, 0.0, 0.1), atol=1e-9
    )
    unknown = Tilt(parameters('none', tilt_source='imu'), Mounted())
    unknown.take(imu(1.0, 0.0, 'elsewhere'))
    with pytest.raises(OdometryError, match='elsewhere'):
        unknown.correct(CAMERA, at(1.0), None)
