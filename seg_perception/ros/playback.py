"""Playing a source: reading ahead of the clock, and giving each picture its moment."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar('T')


class Pacer:
    """Holds pictures back until their moment, without drift.

    A moment is the start plus the picture's own offset, so one late picture does not delay the
    ones after it. Only a lag of more than ``period_ns`` moves the timeline, so that a source
    that can't keep up does not catch up in bursts no camera would make.

    Attributes:
        late: pictures that came more than half a period after their moment.
    """

    def __init__(self, period_ns: int, clock: Callable[[], int] = time.monotonic_ns):
        self._period_ns = period_ns
        self._clock = clock
        self._start_ns: int | None = None
        self.late = 0

    def wait(self, offset_ns: int, stop: threading.Event) -> bool:
        """Wait for the moment of the picture at ``offset_ns``; False if ``stop`` was set."""
        now = self._clock()
        if self._start_ns is None:
            self._start_ns = now - offset_ns
        remaining = self._start_ns + offset_ns - now
        if remaining > 0:
            return not stop.wait(remaining / 1e9)
        if -remaining > self._period_ns / 2:
            self.late += 1
        if -remaining > self._period_ns:
            self._start_ns -= remaining
        return not stop.is_set()


class ReadAhead(Generic[T]):
    """Runs an iterator in a thread, at most ``depth`` items ahead of who takes them.

    So decoding never delays a publication, and memory stays bounded. An error of the iterator
    is raised to the taker, in its place in the sequence.
    """

    _END = object()

    def __init__(self, items: Iterator[T], depth: int, name: str = 'read ahead'):
        self._items = items
        self._queue: queue.Queue = queue.Queue(maxsize=max(depth, 1))
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except Exception as error:
            self._error = error
        self._put(self._END)

    def _put(self, item: object) -> bool:
        """Queue an item; False once closed. Polls, so that close() needs no second lock."""
        while not self._closing.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        while not self._closing.is_set():
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if item is self._END:
                if self._error is not None:
                    raise self._error
                return
            yield item

    def close(self, timeout: float = 2.0) -> bool:
        """Stop reading; True if the thread ended within ``timeout`` seconds."""
        self._closing.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()
