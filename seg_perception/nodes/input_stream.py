"""One awaited input of a node: its subscription, and how long it has been silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from seg_perception.ros.subscriptions import MatchedSubscription


class InputStream(MatchedSubscription):
    """A topic that is subscribed while somebody listens to what is made of it.

    Args:
        node, message_type, topic: as in MatchedSubscription.
        callback: called with each message and the steady time (seconds) of its arrival.
        name: what people call it, e.g. 'image'.
        consequence: what its silence means for the outputs, for people.
        options: as in MatchedSubscription.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any, float], None],
        *,
        name: str,
        consequence: str,
        **options: Any,
    ) -> None:
        super().__init__(node, message_type, topic, self._take, **options)
        self.name = name
        self._hand_on = callback
        self._consequence = consequence
        self._last = 0.0
        self._seen = False

    @property
    def topic_key(self) -> str:
        """The key under which health keeps problems of the topic."""
        return f'{self.name}_topic'

    def open(self) -> None:
        """Subscribe; its silence counts from now."""
        super().open()
        self._last = time.monotonic()

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
        self._hand_on(message, self._last)
