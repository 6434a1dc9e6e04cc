"""Where the camera stands: parameters, tf2, and what happens when a transform goes missing."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3

from seg_perception.core.errors import ExtrinsicsError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.ros import extrinsics as module
from seg_perception.ros import optional
from seg_perception.ros.extrinsics import Extrinsics, matrix_of
from seg_perception.ros.parameters import SegmentationParameters

STAMP = Time(sec=100, nanosec=5)
LATER = Time(sec=101)


class LookupException(Exception):  # noqa: N818 - named as in tf2
    pass


class FakeBuffer:
    """A tf2 buffer of one transform that is known from one stamp on."""

    def __init__(self, transform=None, since=0):
        self.transform = transform
        self.since = since
        self.cleared = 0
        self.asked = []

    def lookup_transform(self, target_frame, source_frame, time, timeout):
        self.asked.append((target_frame, source_frame, time.nanoseconds, timeout.nanoseconds))
        if self.transform is None or time.nanoseconds < self.since * 10**9:
            raise LookupException(f'"{source_frame}" does not exist')
        return self.transform

    def can_transform(self, target_frame, source_frame, time):
        return self.transform is not None

    def clear(self):
        self.cleared += 1


def transform(translation=(1.0, 2.0, 3.0), rotation=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped(child_frame_id='cam')
    message.header.frame_id = 'base_link'
    message.transform.translation = Vector3(**dict(zip('xyz', translation, strict=True)))
    message.transform.rotation = Quaternion(**dict(zip('xyzw', rotation, strict=True)))
    return message


def quaternion_of(rotation):
    """Quaternion (x, y, z, w) of a rotation matrix by its eigenvector: another way than ours."""
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    skew = np.array([rotation[2, 1], rotation[0, 2], rotation[1, 0]]) - np.array(
        [rotation[1, 2], rotation[2, 0], rotation[0, 1]]
    )
    angle = math.atan2(np.dot(skew, axis), np.trace(rotation) - 1)
    return (*(axis * math.sin(angle / 2)), math.cos(angle / 2))


def parameters(source='auto', **values):
    return SegmentationParameters(camera_pose_source=source, **values)


def test_pose_from_parameters(make_node):
    p = parameters('parameters', camera_pose_height=1.2, camera_pose_pitch=0.1)
    extrinsics = Extrinsics(make_node('x'), p)
    expected = pose_from_mounting(0, 0, 1.2, 0, 0.1, 0)
    np.testing.assert_allclose(extrinsics.pose('', STAMP), expected)
    assert extrinsics.source == 'parameters'
    extrinsics.set_parameters(parameters('parameters', camera_pose_height=2.0))
    assert extrinsics.pose('any', STAMP)[2, 3] == 2.0
    extrinsics.clear()
    extrinsics.close()


def test_pose_from_tf_at_the_image_s_stamp(make_node):
    mounting = pose_from_mounting(1.5, 0.2, 1.1, 0.02, 0.3, -0.4)
    buffer = FakeBuffer(transform(mounting[:3, 3], quaternion_of(mounting[:3, :3])))
    p = parameters('tf', camera_pose_tf_timeout=0.25, grid_frame_id='base_footprint')
    extrinsics = Extrinsics(make_node('x'), p, buffer)
    np.testing.assert_allclose(extrinsics.pose('cam', STAMP), mounting, atol=1e-9)
    assert buffer.asked == [('base_footprint', 'cam', 100 * 10**9 + 5, 250_000_000)]
    assert extrinsics.source == 'tf'
    extrinsics.clear()
    assert buffer.cleared == 1


def test_tf_without_a_transform_names_frames_and_what_to_run(make_node):
    extrinsics = Extrinsics(make_node('x'), parameters('tf'), FakeBuffer())
    with pytest.raises(ExtrinsicsError) as caught:
        extrinsics.pose('cam', STAMP)
    message = str(caught.value)
    assert "from 'cam' to 'base_link' at 100.000000005" in message
    assert 'LookupException' in message
    assert 'tf2_echo base_link cam' in message
    assert 'static_transform_publisher' in message


def test_auto_falls_back_only_until_tf_has_spoken(make_node):
    buffer = FakeBuffer()
    extrinsics = Extrinsics(make_node('x'), parameters(camera_pose_height=1.7), buffer)
    assert extrinsics.pose('cam', STAMP)[2, 3] == 1.7
    assert extrinsics.source.startswith('parameters (no transform')
    assert not buffer.asked, 'waited for a transform that nobody publishes'
    buffer.transform = transform()
    assert extrinsics.pose('cam', STAMP)[2, 3] == 3.0
    assert extrinsics.source == 'tf'
    buffer.transform = None
    with pytest.raises(ExtrinsicsError, match='no transform'):
        extrinsics.pose('cam', STAMP)


def test_auto_gives_tf_time_to_be_heard_before_it_takes_the_parameters(make_node, monkeypatch):
    buffer = FakeBuffer()
    fake = SimpleNamespace(
        Buffer=lambda: buffer,
        TransformListener=lambda buffer, node: SimpleNamespace(unregister=lambda: None),
    )
    monkeypatch.setattr(optional, 'tf2_ros', fake)
    monkeypatch.setattr(module, 'TF_PATIENCE', 0.2)
    extrinsics = Extrinsics(make_node('x'), parameters())
    assert extrinsics.waiting
    with pytest.raises(ExtrinsicsError, match='no transform'):
        extrinsics.pose('cam', STAMP)
    time.sleep(0.25)
    assert not extrinsics.waiting
    assert extrinsics.pose('cam', STAMP)[2, 3] == 1.5


def test_each_camera_has_its_own_mounting_until_tf_knows_it(make_node):
    class OneOfTwo(FakeBuffer):
        def can_transform(self, target_frame, source_frame, time):
            return source_frame == 'front_optical'

    p = parameters(
        cameras=('front', 'left'),
        camera_poses=('left:0.3,0.5,1.2,0.0,0.1,1.57',),
        camera_pose_height=1.7,
    )
    extrinsics = Extrinsics(make_node('x'), p, OneOfTwo(transform()))
    assert extrinsics.pose('front_optical', STAMP, 'front')[2, 3] == 3.0
    left = extrinsics.pose('left_optical', STAMP, 'left')
    np.testing.assert_allclose(left, pose_from_mounting(0.3, 0.5, 1.2, 0.0, 0.1, 1.57))
    assert extrinsics.source_of('front') == 'tf'
    assert extrinsics.source_of('left').startswith('parameters (no transform')
    without = Extrinsics(make_node('y'), p, FakeBuffer())
    assert without.pose('front_optical', STAMP, 'front')[2, 3] == 1.7


def test_auto_does_not_fall_back_when_tf_knows_the_camera_at_another_time(make_node):
    buffer = FakeBuffer(transform(), since=101)
    extrinsics = Extrinsics(make_node('x'), parameters(), buffer)
    with pytest.raises(ExtrinsicsError):
        extrinsics.pose('cam', STAMP)
    assert extrinsics.pose('cam', LATER)[0, 3] == 1.0


def test_an_image_without_frame(make_node):
    buffer = FakeBuffer(transform())
    with pytest.raises(ExtrinsicsError, match='no frame_id'):
        Extrinsics(make_node('x'), parameters('tf'), buffer).pose('', STAMP)
    auto = Extrinsics(make_node('y'), parameters(), buffer)
    assert auto.pose('', STAMP)[2, 3] == 1.5
    assert 'no frame_id' in auto.source


@pytest.mark.parametrize(
    ('bad', 'says'),
    [
        (transform(rotation=(0.0, 0.0, 0.0, 0.0)), 'quaternion of length 0'),
        (transform(rotation=(0.0, 0.0, 1.0, 1.0)), 'length 1.41'),
        (transform(translation=(float('nan'), 0.0, 0.0)), 'NaN'),
        (transform(rotation=(0.0, 0.0, float('inf'), 1.0)), 'infinity'),
    ],
)
def test_a_transform_that_is_none_is_an_error_in_auto_too(make_node, bad, says):
    for source in ('auto', 'tf'):
        with pytest.raises(ExtrinsicsError, match=says):
            Extrinsics(make_node(f'x_{source}'), parameters(source), FakeBuffer(bad)).pose(
                'cam', STAMP
            )


def test_a_quaternion_slightly_off_is_normalised():
    matrix = matrix_of(transform(rotation=(0.0, 0.0, 0.7072, 0.7074)))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)


def test_tf_asked_for_where_it_is_not_installed(make_node, monkeypatch):
    monkeypatch.setattr(optional, 'tf2_ros', None)
    with pytest.raises(ExtrinsicsError, match=r'apt install ros-\$ROS_DISTRO-tf2-ros-py'):
        Extrinsics(make_node('x'), parameters('tf'))
    auto = Extrinsics(make_node('y'), parameters('auto'))
    assert auto.pose('cam', STAMP)[2, 3] == 1.5
    assert 'not installed' in auto.source


def test_its_own_listener_is_made_and_taken_down(make_node, monkeypatch):
    """The calls made of tf2_ros, where it can't be installed from PyPI."""
    events = []

    class Listener:
        def __init__(self, buffer, node):
            events.append(('listen', node.get_name()))

        def unregister(self):
            events.append('unregister')

    fake = SimpleNamespace(Buffer=lambda: FakeBuffer(transform()), TransformListener=Listener)
    monkeypatch.setattr(module.optional, 'tf2_ros', fake)
    extrinsics = Extrinsics(make_node('x'), parameters('auto'))
    assert extrinsics.pose('cam', STAMP)[1, 3] == 2.0
    extrinsics.close()
    extrinsics.close()
    assert events == [('listen', 'x'), 'unregister']
    Extrinsics(make_node('z'), parameters('parameters'))
    assert len(events) == 2


def test_real_tf2(make_node):
    """Against tf2_ros itself, where ROS is installed."""
    if optional.tf2_ros is None:
        pytest.skip('tf2_ros is not installed: PyPI has none')
    buffer = optional.tf2_ros.Buffer()
    buffer.set_transform_static(transform(), 'test')
    extrinsics = Extrinsics(make_node('x'), parameters('tf'), buffer)
    assert extrinsics.pose('cam', STAMP)[2, 3] == 3.0
    extrinsics.clear()
    assert extrinsics.pose('cam', STAMP)[2, 3] == 3.0  # static ones stay
