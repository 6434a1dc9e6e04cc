"""One awaited input of a node: its subscription, and how long it has been silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from seg_perception.ros.subscriptions import InputProblem, MatchedSubscription


class InputStream:
    """A topic that is subscribed while somebody listens to what is made of it.

    Args:
        node: the node that subscribes.
        message_type: the ROS message class.
        topic: relative topic name; remapping applies.
        callback: called with each message and the steady time (seconds) of its arrival.
        reliability: as in MatchedSubscription.
        name: what people call it, e.g. 'image'.
        consequence: what its silence means for the outputs, for people.
        depth: history depth (KEEP_LAST).
        latched: whether to ask for what was published before, too.
        publisher: who is expected to publish it, for people.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any, float], None],
        *,
        reliability: str,
        name: str,
        consequence: str,
        depth: int = 1,
        latched: bool = False,
        publisher: str = 'the camera',
    ) -> None:
        self.name = name
        self._callback = callback
        self._consequence = consequence
        self._last = 0.0
        self._seen = False
        self.subscription = MatchedSubscription(
            node,
            message_type,
            topic,
            self._take,
            reliability=reliability,
            depth=depth,
            latched=latched,
            publisher=publisher,
        )

    @property
    def topic(self) -> str:
        """The full name of the topic."""
        return self.subscription.topic

    @property
    def topic_key(self) -> str:
        """The key under which health keeps problems of the topic."""
        return f'{self.name}_topic'

    @property
    def is_open(self) -> bool:
        """Whether it is subscribed."""
        return self.subscription.is_open

    def open(self) -> None:
        """Subscribe; its silence counts from now."""
        self.subscription.open()
        self._last = time.monotonic()

    def close(self) -> None:
        """Unsubscribe."""
        self.subscription.close()

    def check(self) -> InputProblem | None:
        """Match the reliability to what is offered now; returns what is still wrong."""
        return self.subscription.check()

    def silence(self, limit: float, *, nobody_publishes: bool) -> str:
        """Return what to tell when no message came for more than `limit` seconds, else ''.

        Args:
            limit: in seconds.
            nobody_publishes: before the first message it is enough to say that.
        """
        awaited = self._seen or not nobody_publishes
        if not self.is_open or not awaited or time.monotonic() - self._last <= limit:
            return ''
        return f'no {self.name} on {self.topic} for more than {limit} s: {self._consequence}'

    def _take(self, message: Any) -> None:
        self._last = time.monotonic()
        self._seen = True
        self._callback(message, self._last)
