"""Recordings for the replay's tests: pictures whose masks anyone can predict, and the bags."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from tiny_bundle import ROAD, SKY, WALL

from seg_perception.replay.options import ReplayOptions
from seg_perception.ros.bag_writer import typestore
from seg_perception.ros.images import image_message
from seg_perception.ros.messages import stamp_from_ns

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
WIDTH, HEIGHT = 160, 96
_COLORS = {WALL: (200, 0, 0), ROAD: (0, 200, 0), SKY: (0, 0, 200)}


def scene(index: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Class ids uint8 [h, w]: sky above, road below, a wall that moves a little each frame."""
    width, height = size
    labels = np.full((height, width), SKY, np.uint8)
    labels[height // 2 :] = ROAD
    left = (11 + 2 * index) % (width - 30)
    labels[height // 3 : 2 * height // 3, left : left + 24] = WALL
    return labels


def picture(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The picture, uint8 [h, w, 3] RGB, that the tiny model reads those classes from."""
    rgb = np.zeros((*labels.shape, 3), np.uint8)
    for label, color in _COLORS.items():
        rgb[labels == label] = color
    texture = np.random.default_rng(seed).integers(0, 30, labels.shape, dtype=np.uint8)
    return rgb + (texture[..., None] * (rgb > 0)).astype(np.uint8)


def header(stamp_ns: int, frame_id: str = 'camera_optical') -> Header:
    return Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)


def raw(rgb: np.ndarray, stamp_ns: int, frame_id: str = 'camera_optical') -> Image:
    return image_message(rgb, 'rgb8', header(stamp_ns, frame_id))


def png(rgb: np.ndarray, stamp_ns: int, frame_id: str = 'camera_optical') -> CompressedImage:
    message = CompressedImage(header=header(stamp_ns, frame_id), format='rgb8; png compressed')
    message.data.frombytes(cv2.imencode('.png', rgb[..., ::-1])[1].tobytes())
    return message


def info(stamp_ns: int, frame_id: str = 'camera_optical', width: int = WIDTH) -> CameraInfo:
    focal, height = 0.8 * width, width * HEIGHT // WIDTH
    cx, cy = (width - 1) / 2, (height - 1) / 2
    message = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    message.header = header(stamp_ns, frame_id)
    message.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def text(content: str) -> String:
    return String(data=content)


def tf(parent: str, child: str, xyz: tuple, stamp_ns: int, quaternion=(0.0, 0.0, 0.0, 1.0)) -> Any:
    types = typestore().types
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    return types['tf2_msgs/msg/TFMessage'](
        [
            types['geometry_msgs/msg/TransformStamped'](
                header=types['std_msgs/msg/Header'](stamp=stamp, frame_id=parent),
                child_frame_id=child,
                transform=types['geometry_msgs/msg/Transform'](
                    translation=types['geometry_msgs/msg/Vector3'](*map(float, xyz)),
                    rotation=types['geometry_msgs/msg/Quaternion'](*map(float, quaternion)),
                ),
            )
        ]
    )


def write(path: Path, rows: list[tuple[str, Any, int]], storage: str = 'mcap') -> Path:
    """Write (topic, message or (type, bytes), recording time) rows as a bag."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    from seg_perception.ros.bag_writer import as_bag_message

    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for topic, message, log_ns in sorted(rows, key=lambda row: row[2]):
            if isinstance(message, tuple):
                kind, data = message
            else:
                message = as_bag_message(message)
                kind = message.__msgtype__
                data = typestore().serialize_cdr(message, kind)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
            writer.write(connections[topic], log_ns, data)
    return path


def drive(
    frames: int = 6,
    camera: str = '/camera',
    *,
    make=raw,
    with_info: bool = True,
    frame_id: str = 'camera_optical',
    seed: int = 0,
) -> list[tuple[str, Any, int]]:
    """Rows of one camera's recording; its truth is ``scene(index + seed)``."""
    rows = []
    topic = f'{camera}/image_raw' + ('/compressed' if make is png else '')
    for index in range(frames):
        stamp = START_NS + index * PERIOD_NS
        rgb = picture(scene(index + seed), seed + index)
        if with_info:
            rows.append((f'{camera}/camera_info', info(stamp, frame_id), stamp))
        rows.append((topic, make(rgb, stamp, frame_id), stamp + 1))
    return rows


def options(model: Path, **changes: Any) -> ReplayOptions:
    """A quick replay with the tiny model."""
    overrides = {
        'provider': 'cpu',
        'threads': 1,
        'grid.resolution': 0.5,
        'grid.x_max': 20.0,
        **changes.pop('parameters', {}),
    }
    return ReplayOptions(
        models=(str(model),), overrides=tuple(overrides.items()), **{'pictures': 1, **changes}
    )


def payloads(bag: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Everything in a bag: topic -> (recording time, bytes) in order."""
    from rosbags.rosbag2 import Reader

    found: dict[str, list[tuple[int, bytes]]] = {}
    with Reader(bag) as reader:
        for connection, log_ns, data in reader.messages():
            found.setdefault(connection.topic, []).append((log_ns, bytes(data)))
    return found


def read(bag: Path, topic: str) -> list[Any]:
    """The messages of a topic, as rosbags reads them with the bag's own definitions."""
    return _content(bag, (bag / 'metadata.yaml').stat().st_mtime_ns).get(topic, [])


@functools.lru_cache(maxsize=2)
def _content(bag: Path, _: int) -> dict[str, list[Any]]:
    """All messages of a bag by topic: opening it takes longer than reading it."""
    from rosbags.highlevel import AnyReader

    found: dict[str, list[Any]] = {}
    with AnyReader([bag]) as reader:
        for connection, _, raw_ in reader.messages():
            message = reader.deserialize(raw_, connection.msgtype)
            found.setdefault(connection.topic, []).append(message)
    return found
