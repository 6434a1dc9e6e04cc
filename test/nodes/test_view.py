"""The viewer: what it shows of a replay and of a running system, and what is missing."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from helpers import spin_until

from seg_perception.cli import main
from seg_perception.core.errors import SourceError
from seg_perception.ros.rerun_viewer import role_of


@pytest.mark.parametrize(
    ('topic', 'kind', 'role'),
    [
        ('/camera/image_raw', 'sensor_msgs/msg/Image', 'image'),
        ('/camera/image_raw/compressed', 'sensor_msgs/msg/CompressedImage', 'image'),
        ('/segmentation_node/front/mask', 'sensor_msgs/msg/Image', 'mask'),
        ('/instance_node/instances', 'sensor_msgs/msg/Image', 'instances'),
        ('/segmentation_node/drivable_grid', 'nav_msgs/msg/OccupancyGrid', 'grid'),
        ('/segmentation_node/label_info_json', 'std_msgs/msg/String', 'labels'),
        ('/segmentation_node/confidence', 'sensor_msgs/msg/Image', ''),
        ('/segmentation_node/overlay', 'sensor_msgs/msg/Image', ''),
        ('/camera/image_raw', 'std_msgs/msg/String', ''),
    ],
)
def test_topics_are_known_by_name_and_type(topic, kind, role):
    assert role_of(topic, kind) == role


def test_without_the_viewer_it_says_what_to_install(monkeypatch):
    from seg_perception.ros.rerun_viewer import RerunViewer

    monkeypatch.setitem(sys.modules, 'rerun', None)
    with pytest.raises(SourceError, match='pip install rerun-sdk'):
        RerunViewer('x')


@pytest.fixture
def rerun():
    return pytest.importorskip('rerun', reason='needs rerun-sdk: pip install rerun-sdk')


@pytest.mark.parametrize(
    ('made', 'arguments', 'reason'),
    [
        ('fleet/bags/one/result.json', ['fleet'], 'several bags; name one of .*fleet/bags/one'),
        ('pictures/0001.png', ['pictures'], 'neither a rosbag2'),
        ('pictures/0001.png', ['pictures', '--port', '65535'], '--port 65535'),
    ],
)
def test_what_cannot_be_shown_is_told(rerun, tmp_path, capsys, made, arguments, reason):
    (tmp_path / made).parent.mkdir(parents=True)
    (tmp_path / made).touch()
    where, *options = arguments
    saved = ['--save', str(tmp_path / 'x.rrd')]
    assert main(['view', str(tmp_path / where), *options, *saved]) == 2
    assert re.search(reason, capsys.readouterr().err)


def test_a_bag_becomes_a_recording(rerun, tmp_path, capsys):
    from bag_writer import write_bag

    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': [10, 20, 30]})
    saved = tmp_path / 'shown.rrd'
    assert main(['view', str(bag), '--save', str(saved)]) == 0
    assert '3 messages' in capsys.readouterr().out
    assert saved.stat().st_size > 1000
    assert main(['view', str(tmp_path / 'nothing')]) == 2
    assert main(['view', str(bag), '--topic', '/other', '--save', str(tmp_path / 'y.rrd')]) == 2


def test_a_running_system_is_shown(rerun, ros, make_node, tmp_path):
    """Image, mask, grid, labels and objects, from a node that begins after the viewer."""
    from nav_msgs.msg import OccupancyGrid
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header, String

    from seg_perception.core.grid import GridSpec
    from seg_perception.core.labels import LabelSet
    from seg_perception.nodes.view_node import ViewNode
    from seg_perception.ros.images import image_message
    from seg_perception.ros.messages import label_info_json, occupancy_grid
    from seg_perception.ros.rerun_viewer import RerunViewer

    viewer = RerunViewer('live', save=tmp_path / 'live.rrd')
    node = ViewNode(viewer, rate=0.0)
    source = make_node('source')
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    header = Header(frame_id='front')
    spec = GridSpec(1.0, 0, 4, 0, 3)
    boxes = '{"frame_id": "front", "stamp_ns": 1, "detections": []}'
    grid = occupancy_grid(spec.unknown(), spec, 'base', header.stamp)
    wanted = {
        '/cam/image_raw': (image_message(np.zeros((8, 8, 3), np.uint8), 'rgb8', header), 1),
        '/seg/mask': (image_message(np.ones((4, 4), np.uint8), 'mono8', header), 1),
        '/ins/instances': (image_message(np.ones((8, 8), np.uint16), 'mono16', header), 1),
        '/ins/detections_json': (String(data=boxes), 1),
        '/seg/drivable_grid': (grid, latched),
        '/seg/label_info_json': (label_info_json(LabelSet.named('camvid')), latched),
    }
    assert {type(m) for m, _ in wanted.values()} == {Image, String, OccupancyGrid}
    publishers = {t: source.create_publisher(type(m), t, qos) for t, (m, qos) in wanted.items()}

    def all_shown() -> bool:
        for topic, publisher in publishers.items():
            if topic not in node.shown:
                publisher.publish(wanted[topic][0])
        return set(node.shown) == set(wanted)

    try:
        assert spin_until([node, source], all_shown, 15), node.shown
    finally:
        node.destroy_node()
    viewer.flush()
    assert (tmp_path / 'live.rrd').stat().st_size > 1000
