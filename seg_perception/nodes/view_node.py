"""Shows a running system in the browser: subscribes to what the viewer knows, as it turns up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from seg_perception.ros.rerun_viewer import CLASSES, RerunViewer, role_of

#: Seconds between looks at the graph.
LOOK_PERIOD = 1.0


class ViewNode(Node):
    """Subscribes to images, masks, grids, labels and objects, and hands them to the viewer.

    A subscription wakes a lazy segmentation node up: looking costs what working costs.

    Args:
        viewer: which shows.
        topics: only these; empty = all that the viewer knows.
        rate: pictures a second of a topic that are shown at most; 0 = all.
    """

    def __init__(
        self, viewer: RerunViewer, topics: Sequence[str] = (), rate: float = 10.0, **options: Any
    ) -> None:
        super().__init__('seg_perception_view', **options)
        self._viewer = viewer
        self._asked = tuple(topics)
        self._period = 1.0 / rate if rate > 0 else 0.0
        self._due: dict[str, float] = {}
        self._subscribed: dict[str, Any] = {}
        self.shown: dict[str, int] = {}
        self.create_timer(LOOK_PERIOD, self.look)
        self.look()

    def look(self) -> None:
        """Subscribe to what has turned up since the last look."""
        for topic, types in self.get_topic_names_and_types():
            role = role_of(topic, types[0])
            if not role or topic in self._subscribed or (self._asked and topic not in self._asked):
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if not publishers:
                continue  # nobody but other viewers
            self._subscribed[topic] = self.create_subscription(
                CLASSES[types[0]],
                topic,
                lambda message, topic=topic, role=role: self._take(topic, role, message),
                _profile([p.qos_profile for p in publishers]),
            )
            self.get_logger().info(f'showing {topic}')

    def _take(self, topic: str, role: str, message: Any) -> None:
        now = time.monotonic()
        if self._period and role != 'labels':
            due = self._due.get(topic, 0.0)
            if now < due:
                return
            # On the beat as long as pictures come, so that rounding does not lower the rate.
            late = now - due
            self._due[topic] = (due if late < self._period else now) + self._period
        self._viewer.show(topic, role, message)
        self.shown[topic] = self.shown.get(topic, 0) + 1


def _profile(offered: Sequence[QoSProfile]) -> QoSProfile:
    """The strictest that every publisher of a topic fulfils, depth 1."""
    reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
    )
