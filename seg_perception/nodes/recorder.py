"""A listener that keeps what a segmentation node says, for the demo and the benchmarks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from seg_perception.ros.messages import stamp_ns

#: Nanoseconds since the epoch: a header stamp as one number.
Stamp = int


class ArrayLog:
    """Arrays of bytes by stamp, kept in one file: minutes of masks do not fit in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open('w+b')
        self._places: dict[Stamp, tuple[int, tuple[int, int], str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, stamp: Stamp) -> bool:
        return stamp in self._places

    def append(self, stamp: Stamp, data: Any, shape: tuple[int, int], dtype: str) -> None:
        """Keep one array of one-byte items, given as a buffer."""
        self._places[stamp] = (self._file.seek(0, 2), shape, dtype)
        self._file.write(memoryview(data))

    def read(self, stamp: Stamp) -> np.ndarray:
        """Return the array [h, w] kept under a stamp; KeyError if there is none."""
        offset, shape, dtype = self._places[stamp]
        self._file.seek(offset)
        raw = self._file.read(shape[0] * shape[1])
        return np.frombuffer(raw, dtype).reshape(shape)

    def close(self) -> None:
        self._file.close()


@dataclass
class Heard:
    """When things arrived. Times in nanoseconds of the system clock."""

    sent: list[Stamp] = field(default_factory=list)
    masks: dict[Stamp, int] = field(default_factory=dict)
    grids: dict[Stamp, int] = field(default_factory=dict)
    label_info: str | None = None
    #: What the node says of itself: newest message and values of its diagnostics.
    health: str = ''
    facts: dict[str, str] = field(default_factory=dict)


class Recorder(Node):
    """Counts the frames a camera sent and keeps the masks and grids they became.

    Args:
        folder: where masks and grids are kept while the run lasts.
        camera_info: topic that announces every frame sent.
        node: name of the segmentation node listened to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        camera_info: str = 'camera/camera_info',
        node: str = 'segmentation_node',
    ) -> None:
        super().__init__('recorder')
        # Diagnostics name a node with its namespace; ours is the node's, if there is one.
        self._heard_of = f'{self.resolve_topic_name(node).lstrip("/")}:'
        folder.mkdir(parents=True, exist_ok=True)
        self.heard = Heard()
        self.masks = ArrayLog(folder / 'masks.raw')
        self.grids = ArrayLog(folder / 'grids.raw')
        self.grid_message: OccupancyGrid | None = None
        # Deep enough that a busy moment of ours is not counted as a loss of theirs.
        deep = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self.create_subscription(CameraInfo, camera_info, self._on_camera_info, deep)
        self.create_subscription(Image, f'{node}/mask', self._on_mask, deep)
        self.create_subscription(OccupancyGrid, f'{node}/drivable_grid', self._on_grid, deep)
        self.create_subscription(String, f'{node}/label_info_json', self._on_labels, latched)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def close(self) -> None:
        """Close the files; what was heard stays."""
        self.masks.close()
        self.grids.close()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self.heard.sent.append(stamp_ns(message.header.stamp))

    def _on_mask(self, message: Image) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.heard.masks[stamp] = time.time_ns()
        self.masks.append(stamp, message.data, (message.height, message.width), 'u1')

    def _on_grid(self, message: OccupancyGrid) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.heard.grids[stamp] = time.time_ns()
        self.grid_message = message
        self.grids.append(stamp, message.data, (message.info.height, message.info.width), 'i1')

    def _on_labels(self, message: String) -> None:
        self.heard.label_info = message.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(self._heard_of):
                self.heard.health = status.message
                self.heard.facts = {item.key: item.value for item in status.values}
