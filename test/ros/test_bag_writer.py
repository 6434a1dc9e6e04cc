"""Written bags and read parameter files: what a replay shares with the nodes."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from seg_perception.core.errors import ParameterError, SourceError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.core.labels import LabelSet
from seg_perception.core.motion import rotation_matrix
from seg_perception.ros.bag_reader import BagReader
from seg_perception.ros.bag_writer import BagWriter, as_bag_message, label_info, typestore
from seg_perception.ros.images import image_message
from seg_perception.ros.messages import label_info_json
from seg_perception.ros.parameter_files import load_parameters, parse_override
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import quaternion


def test_what_is_written_the_middleware_reads(tmp_path):
    info = CameraInfo(width=3, height=2, distortion_model='plumb_bob', d=[0.1, 0.2])
    info.header.stamp.sec, info.header.frame_id = 7, 'odd'
    image = image_message(np.arange(6, dtype=np.uint8).reshape(2, 3), 'mono8', info.header)
    labels = label_info_json(LabelSet.named('camvid'))
    messages = {'/info': info, '/image': image, '/labels': labels}
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, message in messages.items():
            writer.write(topic, message, 11)
        writer.write('/label_info', label_info(LabelSet.named('camvid'), Header()), 12)
    reader = BagReader(tmp_path / 'bag')
    for recorded in reader.messages(set(messages)):
        wanted = messages[recorded.topic]
        assert recorded.read(type(wanted)) == wanted
        assert len(recorded.raw) == len(serialize_message(wanted))
    assert {t.type for t in reader.topics} >= {'vision_msgs/msg/LabelInfo'}
    with pytest.raises(SourceError, match='cannot be written'), BagWriter(tmp_path / 'bag'):
        pass


def test_messages_of_unknown_types_are_refused():
    message = type('Thing', (), {'__module__': 'odd_msgs.msg._thing'})()
    with pytest.raises(SourceError, match='odd_msgs/msg/Thing'):
        as_bag_message(message)
    assert typestore() is typestore()


def test_quaternions_of_all_rotations():
    rng = np.random.default_rng(3)
    for angles in rng.uniform(-np.pi, np.pi, (50, 3)):
        pose = pose_from_mounting(0, 0, 1, *angles)
        q = np.array(quaternion(pose))
        assert np.linalg.norm(q) == pytest.approx(1)
        assert rotation_matrix(q) == pytest.approx(pose[:3, :3], abs=1e-9)


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('section', 'counts'),
    [
        ('/**', True),
        ('segmentation_node', True),
        ('/segmentation_node', True),
        ('/*', True),
        ('/front/segmentation_node', False),
        ('instance_node', False),
        ('/front/**', False),
    ],
)
def test_sections_are_the_nodes_own(tmp_path, section, counts):
    text = f'{section}:\n  ros__parameters:\n    camera_pose:\n      height: 2\n'
    p = load_parameters(SegmentationParameters, [write(tmp_path / 'p.yaml', text)])
    assert p.camera_pose_height == (2.0 if counts else 1.5)
    assert isinstance(p.camera_pose_height, float)


def test_later_files_and_overrides_win(tmp_path):
    one = write(tmp_path / '1.yaml', '/**: {ros__parameters: {free_share: 0.8, unknown: 1}}')
    two = write(
        tmp_path / '2.yaml', 'front: {segmentation_node: {ros__parameters: {lazy: false}}}'
    )
    p = load_parameters(
        SegmentationParameters,
        [one, two],
        [parse_override('class_roles:=[pavement:drivable]'), parse_override('model=x')],
        '/front/segmentation_node',
    )
    assert (p.free_share, p.lazy, p.class_roles, p.model) == (
        0.8,
        False,
        ('pavement:drivable',),
        'x',
    )


def test_wrong_files_and_overrides_say_what_is_wrong(tmp_path):
    with pytest.raises(ParameterError, match='no parameter freeshare'):
        load_parameters(SegmentationParameters, overrides=[('freeshare', 1)])
    with pytest.raises(ParameterError, match=r'must be in 0\.5'):
        load_parameters(SegmentationParameters, overrides=[('free_share', 7.0)])
    with pytest.raises(ParameterError, match=r'[Nn]o such file'):
        load_parameters(SegmentationParameters, [tmp_path / 'none.yaml'])
    for text in ('[1, 2]', '{', '/**: {ros__parameters: 3}'):
        with pytest.raises(ParameterError, match=r'p\.yaml'):
            load_parameters(SegmentationParameters, [write(tmp_path / 'p.yaml', text)])
    with pytest.raises(ParameterError, match='name:=value'):
        parse_override('free_share')
