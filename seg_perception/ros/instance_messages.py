"""Readers and builders of the messages about single objects and segments."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.core.errors import ImageError, LabelSetError
from seg_perception.core.footprints import Footprint
from seg_perception.core.instances import Found
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import id_colors
from seg_perception.core.panoptic import CLASS_STEP, Thing
from seg_perception.core.results import Instances, PanopticResult
from seg_perception.ros import optional
from seg_perception.ros.images import pixel_rows
from seg_perception.ros.messages import header as make_header
from seg_perception.ros.messages import stamp_from_ns, stamp_ns

#: Height of a marker's text above the ground, and of its letters, in metres.
_TEXT_AT, _LETTERS = 2.0, 0.5
_LINE_WIDTH = 0.08


def detections_json(found: Found, labels: LabelSet, header: Header) -> String:
    """Return the objects as JSON: what Detection2DArray says, and what it has no field for.

    Keys: `stamp_ns`, `frame_id`, `label_set`, `width` and `height` of the picture, `tracked`,
    and `detections`: a list, the best first, of `id` (the pixel value in ~/instances),
    `class_id`, `class_name`, `score`, `box` [x1, y1, x2, y2] in pixels (cut at the picture's
    edges), `area` (pixels of the object, also those that others cover).
    """
    instances = found.instances
    content = {
        'stamp_ns': stamp_ns(header.stamp),
        'frame_id': header.frame_id,
        'label_set': labels.name,
        'width': instances.image_size[0],
        'height': instances.image_size[1],
        'tracked': found.tracked,
        'detections': [
            {
                'id': int(found.ids[i]),
                'class_id': int(instances.labels[i]),
                'class_name': labels.names[int(instances.labels[i])],
                'score': round(float(instances.scores[i]), 4),
                'box': [round(float(v), 2) for v in box],
                'area': found.regions[i].area,
            }
            for i, box in enumerate(visible_boxes(instances))
        ],
    }
    return String(data=json.dumps(content))


def detections(found: Found, header: Header) -> Any | None:
    """Return vision_msgs/Detection2DArray, or None where vision_msgs is not installed.

    `id` is the pixel value in ~/instances, `class_id` the number that ~/label_info names.
    """
    if optional.vision_msgs is None:
        return None
    types = optional.vision_msgs.msg
    array = types.Detection2DArray(header=header)
    instances = found.instances
    for i, (x1, y1, x2, y2) in enumerate(visible_boxes(instances).tolist()):
        detection = types.Detection2D(header=header, id=str(int(found.ids[i])))
        detection.bbox.center.position.x = (x1 + x2) / 2
        detection.bbox.center.position.y = (y1 + y2) / 2
        detection.bbox.size_x, detection.bbox.size_y = x2 - x1, y2 - y1
        result = types.ObjectHypothesisWithPose()
        result.hypothesis.class_id = str(int(instances.labels[i]))
        result.hypothesis.score = float(instances.scores[i])
        detection.results = [result]
        array.detections.append(detection)
    return array


def visible_boxes(instances: Instances) -> np.ndarray:
    """Return float64 [N, 4], the boxes cut at the picture's edges."""
    width, height = instances.image_size
    return np.clip(instances.boxes.astype(np.float64), 0, [width, height, width, height])


@dataclass(frozen=True)
class Detections:
    """What ~/detections_json says of one picture; ``stamp`` in nanoseconds."""

    stamp: int
    label_set: str
    things: dict[int, Thing]
    names: dict[int, str]


def read_detections(message: String) -> Detections:
    """Read ~/detections_json; class ids stay those of the instance model.

    Raises:
        ImageError: it is not of the form that ``detections_json`` writes; says what is wrong.
    """
    try:
        content = json.loads(message.data)
        items = content['detections']
        things = {
            int(item['id']): Thing(int(item['class_id']), float(item['score']), int(item['area']))
            for item in items
        }
        if not all(math.isfinite(thing.score) for thing in things.values()):
            raise ValueError('a score is no number')
        names = {int(item['class_id']): str(item['class_name']) for item in items}
        return Detections(int(content['stamp_ns']), str(content['label_set']), things, names)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ImageError(
            f'the detections are not those of an instance_node ({type(error).__name__}: {error}): '
            'remap detections_json'
        ) from error


def read_label_info(message: String) -> LabelSet:
    """Read ~/label_info_json as a label set.

    Raises:
        LabelSetError: it is no JSON of that form.
    """
    try:
        content = json.loads(message.data)
        classes = [
            {
                'id': item['class_id'],
                'name': item['class_name'],
                **{key: item[key] for key in ('color', 'role', 'cost')},
            }
            for item in content['class_map']
        ]
        name = content['label_set']
    except (ValueError, TypeError, KeyError) as error:
        raise LabelSetError(
            f'the label info is not that of a node of this package ({type(error).__name__}: '
            f'{error}): remap the label_info_json topics'
        ) from error
    return LabelSet.from_dict({'name': name, 'classes': classes})


def read_ids(message: Image, encodings: Sequence[str]) -> np.ndarray:
    """Read an image whose pixels are numbers, not colours.

    Args:
        message: mono8, 8UC1 (uint8) or mono16, 16UC1 (uint16).
        encodings: those of them that are right here.

    Returns:
        uint8 or uint16 [H, W], in the machine's byte order.

    Raises:
        ImageError: another encoding, or size, step and data that do not fit.
    """
    if message.encoding not in encodings:
        raise ImageError(
            f"the encoding is '{message.encoding}', it must be {' or '.join(encodings)}: remap "
            'the input to a topic of ids, not of colours'
        )
    wide = message.encoding in ('mono16', '16UC1')
    rows = pixel_rows(message, message.width * (2 if wide else 1))
    if not wide:
        return rows
    order = '>u2' if message.is_bigendian else '<u2'
    return np.ascontiguousarray(rows).view(order).astype(np.uint16, copy=False)


def markers(
    footprints: Sequence[Footprint],
    found: Found,
    labels: LabelSet,
    frame_id: str,
    header: Header,
    lifetime: float,
) -> MarkerArray:
    """Return the footprints as outlines with a line of text, in namespaces of their own.

    The first marker deletes those of the picture before.

    Args:
        footprints: where objects stand.
        found: the objects.
        labels: their classes.
        frame_id: the base frame, in which the footprints are.
        header: of the image, for its stamp.
        lifetime: seconds after which a viewer drops them by itself.
    """
    at = make_header(header.stamp, frame_id)
    array = MarkerArray(markers=[clearing_marker(header.stamp, frame_id)])
    for footprint in footprints:
        number = int(found.ids[footprint.index])
        label = labels.classes[int(found.instances.labels[footprint.index])]
        color = [float(c) / 255 for c in id_colors(np.array([number]))[0]]
        common = {
            'header': at,
            'id': number,
            'color': ColorRGBA(r=color[0], g=color[1], b=color[2], a=1.0),
            'lifetime': _duration(lifetime),
        }
        outline = Marker(ns='footprints', type=Marker.LINE_STRIP, **common)
        outline.pose.orientation.w = 1.0
        outline.scale.x = _LINE_WIDTH
        closed = [*footprint.corners, footprint.corners[0]]
        outline.points = [Point(x=float(x), y=float(y), z=0.0) for x, y in closed]
        text = Marker(ns='labels', type=Marker.TEXT_VIEW_FACING, **common)
        text.pose.orientation.w = 1.0
        text.scale.z = _LETTERS
        x, y = footprint.centre
        text.pose.position = Point(x=float(x), y=float(y), z=_TEXT_AT)
        text.text = f'{label.name} {number}'
        array.markers += [outline, text]
    return array


def clearing_marker(stamp: Time, frame_id: str) -> Marker:
    """Return the marker that takes back all others of its topic."""
    return Marker(header=make_header(stamp, frame_id), action=Marker.DELETEALL)


def segments_json(result: PanopticResult, labels: LabelSet, header: Header) -> String:
    """Return the segments of a panoptic map as JSON, much as COCO's segments_info.

    Keys: `stamp_ns`, `frame_id`, `label_set`, `segments`: a list of `id` (pixel value of
    ~/panoptic), `rgb_id` (of ~/panoptic_rgb, R + 256 G + 256^2 B), `category_id`,
    `category_name`, `isthing`, `instance_id` (pixel value of the instance image, 0 for stuff),
    `score`, `area` (pixels).
    """
    content = {
        'stamp_ns': stamp_ns(header.stamp),
        'frame_id': header.frame_id,
        'label_set': labels.name,
        'segments': [
            {
                'id': segment.id,
                'rgb_id': segment.id + CLASS_STEP,
                'category_id': segment.label,
                'category_name': labels.names[segment.label],
                'isthing': segment.instance > 0,
                'instance_id': segment.source,
                'score': round(segment.score, 4),
                'area': segment.area,
            }
            for segment in result.segments
        ],
    }
    return String(data=json.dumps(content))


def _duration(seconds: float) -> Duration:
    stamp = stamp_from_ns(round(seconds * 1e9))
    return Duration(sec=stamp.sec, nanosec=stamp.nanosec)
