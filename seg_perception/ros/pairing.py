"""Messages of the same picture, brought together by their stamps.

Both installs pair alike: PyPI has no message_filters, and its TimeSynchronizer would wait for
equal stamps only, which two nodes that drop different frames may never have.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from seg_perception.ros.messages import stamp_ns

T = TypeVar('T')
#: Seconds by which a stamp must be older than the newest to be a jump of the clock.
JUMP = 10.0


@dataclass(frozen=True)
class Stamped(Generic[T]):
    """A message on hold; `stamp` in nanoseconds, `arrival` in seconds of the steady clock."""

    message: T
    stamp: int
    arrival: float


@dataclass
class Shelf(Generic[T]):
    """The newest messages of a topic by their stamps.

    Attributes:
        memory: seconds for which a message is kept after its arrival.
        limit: number of messages kept at most.
    """

    memory: float
    limit: int = 256
    _items: OrderedDict[int, Stamped[T]] = field(default_factory=OrderedDict)

    def put(self, message: T, stamp: int, arrival: float) -> bool:
        """Keep a message; returns False when the clock has jumped back and all else is gone."""
        newest = max(self._items, default=stamp)
        jumped = newest - stamp > JUMP * 1e9
        if jumped:
            self._items.clear()
        self._items[stamp] = Stamped(message, stamp, arrival)
        while len(self._items) > self.limit:
            self._items.popitem(last=False)
        return not jumped

    def prune(self, now: float) -> None:
        """Let go of what came more than `memory` ago."""
        while self._items and now - next(iter(self._items.values())).arrival > self.memory:
            self._items.popitem(last=False)

    def get(self, stamp: int) -> Stamped[T] | None:
        """Return the message of exactly this stamp."""
        return self._items.get(stamp)

    def nearest(self, stamp: int) -> Stamped[T] | None:
        """Return the message whose stamp is nearest, of two equally near the newer."""
        return min(
            self._items.values(), key=lambda i: (abs(i.stamp - stamp), -i.stamp), default=None
        )

    def newer_than(self, stamp: int) -> bool:
        """Whether a message of a later stamp is there."""
        return any(other > stamp for other in self._items)

    def stamps(self) -> list[int]:
        """Return all stamps, sorted."""
        return sorted(self._items)

    def drop_until(self, stamp: int) -> int:
        """Let go of this stamp and all before; returns how many there were."""
        old = [other for other in self._items if other <= stamp]
        for other in old:
            del self._items[other]
        return len(old)

    def clear(self) -> None:
        """Let go of all."""
        self._items.clear()


@dataclass(frozen=True)
class Pair:
    """Messages that belong together.

    Attributes:
        mask, instances, detections: as they came.
        difference: seconds between the stamps of mask and instances.
        arrival: of the instances.
    """

    mask: Any
    instances: Any
    detections: Any
    difference: float
    arrival: float


class Pairing:
    """Finds the mask to each picture of instances.

    Instances and their detections have the same stamp; the mask is the one of that stamp or,
    once it is sure or late enough that it will not come, the nearest.

    Args:
        memory: seconds that messages are kept.
        max_difference: seconds between the stamps of mask and instances.
        now: steady clock.
    """

    def __init__(
        self,
        memory: float,
        max_difference: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_difference = max_difference
        self._now = now
        self._masks: Shelf[Any] = Shelf(memory)
        self._instances: Shelf[Any] = Shelf(memory)
        self._detections: Shelf[Any] = Shelf(memory)
        self.unmatched = 0
        self.jumps = 0

    def put_mask(self, message: Any) -> None:
        """Keep a semantic mask."""
        self._put(self._masks, message, stamp_ns(message.header.stamp))

    def put_instances(self, message: Any) -> None:
        """Keep a picture of instance ids."""
        self._put(self._instances, message, stamp_ns(message.header.stamp))

    def put_detections(self, content: Any, stamp: int) -> None:
        """Keep what is known of a picture's instances."""
        self._put(self._detections, content, stamp)

    def clear(self) -> None:
        """Let go of all."""
        for shelf in (self._masks, self._instances, self._detections):
            shelf.clear()

    def take(self) -> Pair | None:
        """Return the newest complete picture, once, and let go of it and all before.

        ``unmatched`` counts the instances that were let go of without.
        """
        now = self._now()
        for stamp in reversed(self._instances.stamps()):
            instances, detections = self._instances.get(stamp), self._detections.get(stamp)
            if instances is None or detections is None:
                continue
            mask = self._mask_for(stamp, now - instances.arrival)
            if mask is None:
                continue
            self.unmatched += self._instances.drop_until(stamp) - 1
            self._detections.drop_until(stamp)
            difference = (mask.stamp - stamp) / 1e9
            return Pair(
                mask.message,
                instances.message,
                detections.message,
                difference,
                instances.arrival,
            )
        self._prune(now)
        return None

    def waiting_for(self, patience: float) -> str:
        """Return what the oldest instances have lacked for longer than `patience` seconds."""
        now = self._now()
        for stamp in self._instances.stamps():
            instances = self._instances.get(stamp)
            if instances is None or now - instances.arrival < patience:
                continue
            if self._detections.get(stamp) is None:
                return 'detections'
            return 'mask'
        return ''

    def _mask_for(self, stamp: int, waited: float) -> Stamped[Any] | None:
        exact = self._masks.get(stamp)
        if exact is not None:
            return exact
        # As long as the right mask may still come, the nearest so far is not good enough.
        if not self._masks.newer_than(stamp) and waited < self.max_difference:
            return None
        near = self._masks.nearest(stamp)
        if near is None or abs(near.stamp - stamp) > self.max_difference * 1e9:
            return None
        return near

    def _put(self, shelf: Shelf[Any], message: Any, stamp: int) -> None:
        if not shelf.put(message, stamp, self._now()):
            self.jumps += 1
            for other in (self._masks, self._instances, self._detections):
                if other is not shelf:
                    other.clear()

    def _prune(self, now: float) -> None:
        before = len(self._instances.stamps())
        for shelf in (self._masks, self._instances, self._detections):
            shelf.prune(now)
        self.unmatched += before - len(self._instances.stamps())
