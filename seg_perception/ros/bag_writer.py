"""Messages into a rosbag2 (mcap) without a ROS graph, byte for byte the same every time.

Messages are serialized by rosbags and not by the middleware, whose padding bytes hold whatever
was in memory before.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.core.instances import Found
from seg_perception.core.labels import LabelSet
from seg_perception.ros.instance_messages import visible_boxes

#: What vision_msgs 4 defines (https://github.com/ros-perception/vision_msgs): rosbags has no
#: copy of it, and it needs not be installed to be written.
_VISION_MSGS = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
    'vision_msgs/msg/LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
    ),
    'vision_msgs/msg/Point2D': 'float64 x\nfloat64 y\n',
    'vision_msgs/msg/Pose2D': 'vision_msgs/Point2D position\nfloat64 theta\n',
    'vision_msgs/msg/BoundingBox2D': (
        'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n'
    ),
    'vision_msgs/msg/ObjectHypothesis': 'string class_id\nfloat64 score\n',
    'vision_msgs/msg/ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n'
    ),
    'vision_msgs/msg/Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id\n'
    ),
    'vision_msgs/msg/Detection2DArray': (
        'std_msgs/Header header\nvision_msgs/Detection2D[] detections\n'
    ),
}


@lru_cache(maxsize=1)
def typestore() -> Any:
    """Return rosbags' types of ROS 2 Kilted, with vision_msgs.

    Raises:
        SourceError: rosbags is not installed.
    """
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise SourceError("bags need 'rosbags': pip install rosbags") from error
    store = get_typestore(Stores.ROS2_KILTED)
    types: dict[str, Any] = {}
    for name, definition in _VISION_MSGS.items():
        types.update(get_types_from_msg(definition, name))
    store.register(types)
    return store


def as_bag_message(message: Any) -> Any:
    """Return an rclpy message as rosbags' own class of the same type.

    What is one of rosbags' already is returned as it is.

    Raises:
        SourceError: the type is neither in ROS 2 Kilted's common interfaces nor vision_msgs.
    """
    if hasattr(message, '__msgtype__'):
        return message
    package, _, _ = type(message).__module__.split('.')[:3]
    name = f'{package}/msg/{type(message).__name__}'
    if name not in typestore().types:
        raise SourceError(f'messages of the type {name} cannot be written into a bag')
    return _convert(message, name)


def _convert(message: Any, name: str) -> Any:
    store = typestore()
    values = {}
    for field, (kind, info) in store.fielddefs[name][1]:
        values[field] = _value(getattr(message, field), kind, info)
    return store.types[name](**values)


def _value(value: Any, kind: Any, info: Any) -> Any:
    """Convert a field; ``kind`` as rosbags' Nodetype: 1 base, 2 name, 3 array, 4 sequence."""
    kind = int(kind)
    if kind == 1:
        return value
    if kind == 2:
        return value if hasattr(value, '__msgtype__') else _convert(value, info)
    (item_kind, item_info), _ = info
    if int(item_kind) == 1:
        base = item_info[0] if isinstance(item_info, tuple) else item_info
        return list(value) if base == 'string' else np.asarray(value, dtype=_dtype(base))
    return [_value(item, item_kind, item_info) for item in value]


def _dtype(name: str) -> Any:
    return {'bool': np.bool_, 'octet': np.uint8, 'byte': np.uint8, 'char': np.uint8}.get(
        name, name
    )


def label_info(labels: LabelSet, header: Any, threshold: float = 0.0) -> Any:
    """Return vision_msgs/LabelInfo for a bag, also where vision_msgs is not installed.

    Args:
        labels: whose ids and names go into ``class_map``.
        header: std_msgs/Header.
        threshold: 0..1, confidence below which a label is not to be trusted.
    """
    types = typestore().types
    entry = types['vision_msgs/msg/VisionClass']
    return types['vision_msgs/msg/LabelInfo'](
        header=_convert(header, 'std_msgs/msg/Header'),
        class_map=[entry(class_id=c.id, class_name=c.name) for c in labels.classes],
        threshold=float(threshold),
    )


def detections(found: Found, header: Any) -> Any:
    """Return vision_msgs/Detection2DArray for a bag, also where vision_msgs is not installed.

    Filled as ``instance_messages.detections`` does: `id` is the pixel value in ~/instances.
    """
    types = typestore().types
    stamped = _convert(header, 'std_msgs/msg/Header')
    place = types['geometry_msgs/msg/Point'](0.0, 0.0, 0.0)
    turn = types['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
    pose = types['geometry_msgs/msg/PoseWithCovariance'](
        types['geometry_msgs/msg/Pose'](place, turn), np.zeros(36)
    )
    items = []
    for i, (x1, y1, x2, y2) in enumerate(visible_boxes(found.instances).tolist()):
        centre = types['vision_msgs/msg/Point2D']((x1 + x2) / 2, (y1 + y2) / 2)
        box = types['vision_msgs/msg/BoundingBox2D'](
            types['vision_msgs/msg/Pose2D'](centre, 0.0), x2 - x1, y2 - y1
        )
        hypothesis = types['vision_msgs/msg/ObjectHypothesis'](
            str(int(found.instances.labels[i])), float(found.instances.scores[i])
        )
        result = types['vision_msgs/msg/ObjectHypothesisWithPose'](hypothesis, pose)
        number = str(int(found.ids[i]))
        items.append(types['vision_msgs/msg/Detection2D'](stamped, [result], box, number))
    return types['vision_msgs/msg/Detection2DArray'](stamped, items)


class BagWriter:
    """Writes one rosbag2 of mcap storage with compressed chunks; a context manager.

    Leaving the context closes the bag, so that it is whole however its writing ended.

    Args:
        path: folder to make; its parent exists.

    Raises:
        SourceError: the folder is there already, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self.path = path
        self.counts: dict[str, int] = {}
        self._connections: dict[str, Any] = {}
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        except Exception as error:
            raise SourceError(f'{path} cannot be written: {error}') from error
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    def __enter__(self) -> BagWriter:
        try:
            self._writer.open()
        except Exception as error:
            raise SourceError(f'{self.path} cannot be written: {error}') from error
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, topic: str, message: Any, log_ns: int, *, latched: bool = False) -> None:
        """Append a message.

        Args:
            topic: absolute name; all its messages are of one type.
            message: of rclpy or of rosbags.
            log_ns: recording time, nanoseconds since the epoch.
            latched: `ros2 bag play` offers it TRANSIENT_LOCAL.
        """
        message = as_bag_message(message)
        name = message.__msgtype__
        raw = typestore().serialize_cdr(message, name)
        self.write_raw(topic, name, raw, log_ns, latched=latched)

    def write_raw(
        self,
        topic: str,
        msgtype: str,
        raw: bytes | memoryview,
        log_ns: int,
        *,
        latched: bool = False,
    ) -> None:
        """Append a message that is serialized already."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_qos(topic, latched)]
            )
        self._writer.write(connection, log_ns, raw)
        self.counts[topic] = self.counts.get(topic, 0) + 1


def _qos(topic: str, latched: bool) -> Any:
    """What `bag play` offers: reliable, depth 1 as the nodes do; tf2's depth for its topics."""
    depth = 100 if topic in ('/tf', '/tf_static') else 1

    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )
