"""Writes small rosbag2 recordings for the tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.ros.images import image_message

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
SIZE = (64, 48)


def image(level: int, stamp_ns: int) -> Image:
    """A bgr8 picture of one grey level."""
    pixels = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
    return _stamped(image_message(pixels, 'bgr8', Image().header), stamp_ns)


def jpeg(level: int, stamp_ns: int) -> CompressedImage:
    """The same as JPEG."""
    pixels = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
    message = CompressedImage(format='bgr8; jpeg compressed bgr8')
    message.data.frombytes(cv2.imencode('.jpg', pixels)[1].tobytes())
    return _stamped(message, stamp_ns)


def info(stamp_ns: int, focal: float = 50.0) -> CameraInfo:
    """A pinhole calibration of SIZE."""
    message = CameraInfo(width=SIZE[0], height=SIZE[1], distortion_model='plumb_bob')
    message.d = [0.0] * 5
    message.k = [focal, 0.0, 31.5, 0.0, focal, 23.5, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, 31.5, 0.0, 0.0, focal, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return _stamped(message, stamp_ns)


def write_bag(
    path: Path,
    topics: dict[str, list],
    storage: str = 'mcap',
    compression: str | None = None,
) -> Path:
    """Write a bag at 20 Hz: topic -> grey levels, messages, or raw bytes of an Image.

    Levels become an Image, or a CompressedImage where the topic ends in /compressed.
    """
    types = get_typestore(Stores.ROS2_HUMBLE)
    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        rows = []
        for topic, items in topics.items():
            make = jpeg if topic.endswith('/compressed') else image
            stamps = [START_NS + i * PERIOD_NS for i in range(len(items))]
            messages = [
                make(item, t) if isinstance(item, int) else item
                for item, t in zip(items, stamps, strict=True)
            ]
            kind = next((type(m) for m in messages if not isinstance(m, bytes)), Image)
            name = f'sensor_msgs/msg/{kind.__name__}'
            connection = writer.add_connection(topic, name, typestore=types)
            rows += [(t, connection, m) for t, m in zip(stamps, messages, strict=True)]
        for t, connection, message in sorted(rows, key=lambda row: row[0]):
            raw = message if isinstance(message, bytes) else serialize_message(message)
            writer.write(connection, t, raw)
    return path


def _stamped(message, stamp_ns: int):
    message.header.frame_id = 'camera_optical'
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message
