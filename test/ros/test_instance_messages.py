"""Messages about objects and segments: built, read back, and refused when they make no sense."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker

from seg_perception.core.errors import ImageError, LabelSetError
from seg_perception.core.footprints import Footprint
from seg_perception.core.instances import Found, Region
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances, PanopticResult, Segment
from seg_perception.ros import instance_messages, optional
from seg_perception.ros.images import image_message
from seg_perception.ros.instance_messages import (
    detections,
    detections_json,
    markers,
    read_detections,
    read_ids,
    read_label_info,
    segments_json,
)
from seg_perception.ros.messages import label_info_json, stamp_from_ns

LABELS = LabelSet.named('street_objects')
HEADER = Header(stamp=stamp_from_ns(5_000_000_007), frame_id='camera')


def found(*boxes: tuple[float, float, float, float]) -> Found:
    count = len(boxes)
    instances = Instances(
        np.arange(count, dtype=np.int32),
        np.linspace(0.9, 0.6, count).astype(np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones((count, 28, 28), np.float32),
        (100, 50),
    )
    return Found(
        instances, [Region(0, 0, np.ones((6, 10), bool))] * count, np.arange(count) + 7, True
    )


def test_json_says_all_and_comes_back():
    message = detections_json(found((10, 5, 30, 25), (-20, 40, 40, 90)), LABELS, HEADER)
    content = json.loads(message.data)
    assert content['stamp_ns'] == 5_000_000_007
    assert (content['width'], content['height'], content['tracked']) == (100, 50, True)
    first, second = content['detections']
    assert first['class_name'] == LABELS.names[0]
    assert second['box'] == [0, 40, 40, 50], 'cut at the edges'
    back = read_detections(message)
    assert back.stamp == 5_000_000_007
    assert back.things[8].label == 1
    assert back.things[7].score == pytest.approx(0.9)
    assert back.things[7].area == 60
    assert read_detections(detections_json(found(), LABELS, HEADER)).things == {}


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{',
        'null',
        '[]',
        '{"stamp_ns": 1}',
        '{"detections": 5, "stamp_ns": 1, "label_set": "a"}',
        '{"detections": [{}], "stamp_ns": 1, "label_set": "a"}',
        '{"detections": [], "stamp_ns": Infinity, "label_set": "a"}',
        '{"detections": [{"id": 1, "class_id": 0, "class_name": "a", "score": NaN, "area": 1}],'
        ' "stamp_ns": 1, "label_set": "a"}',
    ],
)
def test_what_is_no_list_of_detections(text: str):
    with pytest.raises(ImageError, match='instance_node'):
        read_detections(String(data=text))


class Nested:
    """Stands for any message: every field is there and may be set."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        value = [] if name in ('detections', 'results') else Nested()
        setattr(self, name, value)
        return value


def test_detections_where_vision_msgs_is_installed(monkeypatch):
    names = ('Detection2DArray', 'Detection2D', 'ObjectHypothesisWithPose')
    types = SimpleNamespace(**dict.fromkeys(names, Nested))
    monkeypatch.setattr(optional, 'vision_msgs', SimpleNamespace(msg=types))
    array = detections(found((10, 5, 30, 25), (-20, 40, 40, 90)), HEADER)
    assert array.header == HEADER
    first, second = array.detections
    assert (first.id, second.id) == ('7', '8')
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (20, 15)
    assert (second.bbox.size_x, second.bbox.size_y) == (40, 10)
    assert second.results[0].hypothesis.class_id == '1'
    assert first.results[0].hypothesis.score == pytest.approx(0.9)


def test_detections_without_vision_msgs(monkeypatch):
    monkeypatch.setattr(optional, 'vision_msgs', None)
    assert detections(found(), HEADER) is None


def test_label_info_comes_back():
    back = read_label_info(label_info_json(LABELS))
    assert back.names == LABELS.names
    assert (back.palette() == LABELS.palette()).all()
    for text in ('{', '[]', '{"class_map": [{}], "label_set": "a"}', '{"class_map": 3}'):
        with pytest.raises(LabelSetError):
            read_label_info(String(data=text))


def test_ids_of_either_byte_order_and_padded_rows():
    ids = np.array([[1, 2, 300], [65535, 0, 7]], np.uint16)
    assert (read_ids(image_message(ids, 'mono16', HEADER), ('mono16',)) == ids).all()
    swapped = Image(height=2, width=3, encoding='16UC1', step=8, is_bigendian=1)
    swapped.data = b''.join(row.astype('>u2').tobytes() + b'\xff\xff' for row in ids)
    assert (read_ids(swapped, ('mono16', '16UC1')) == ids).all()
    assert read_ids(swapped, ('16UC1',)).dtype == np.uint16
    mask = np.array([[1, 255]], np.uint8)
    assert (read_ids(image_message(mask, 'mono8', HEADER), ('mono8',)) == mask).all()


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'encoding': 'rgb8'}, 'of ids, not of colours'),
        ({'data': b'1'}, 'bytes of data'),
        ({'step': 2}, 'step'),
        ({'width': 0}, 'empty'),
    ],
)
def test_images_that_hold_no_ids(change: dict, reason: str):
    message = image_message(np.zeros((4, 4), np.uint16), 'mono16', HEADER)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=reason):
        read_ids(message, ('mono16',))


def test_markers_replace_those_before():
    corners = np.array([[5, 1], [5, -1], [7, -1], [7, 1]], float)
    two = found((0, 0, 9, 9), (0, 0, 9, 9))
    array = markers([Footprint(corners, 1)], two, LABELS, 'base_link', HEADER, 2.5)
    clear, outline, text = array.markers
    assert clear.action == Marker.DELETEALL
    assert (outline.id, outline.ns, text.ns) == (8, 'footprints', 'labels')
    assert outline.header.frame_id == 'base_link'
    assert outline.header.stamp == HEADER.stamp
    assert [(p.x, p.y) for p in outline.points] == [(5, 1), (5, -1), (7, -1), (7, 1), (5, 1)]
    assert (outline.lifetime.sec, outline.lifetime.nanosec) == (2, 500_000_000)
    assert text.text == f'{LABELS.names[1]} 8'
    assert (text.pose.position.x, text.pose.position.y) == (6, 0)
    assert len(markers([], found(), LABELS, 'base_link', HEADER, 1.0).markers) == 1


def test_segments_are_much_as_cocos():
    segments = (Segment(2007, 2, 7, 0.8, 40, 7), Segment(1000, 1, 0, 1.0, 60))
    result = PanopticResult(np.zeros((2, 2), np.int32), segments)
    content = json.loads(segments_json(result, LABELS, HEADER).data)
    thing, stuff = content['segments']
    assert (thing['id'], thing['rgb_id'], thing['isthing']) == (2007, 3007, True)
    assert (stuff['category_name'], stuff['instance_id'], stuff['isthing']) == (
        'bicycle',
        0,
        False,
    )
    assert instance_messages.stamp_ns(HEADER.stamp) == content['stamp_ns']
