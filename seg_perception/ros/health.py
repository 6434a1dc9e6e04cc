"""What a node tells about itself: rates, latencies, drops, and each problem once.

Diagnostics follow REP 107: one DiagnosticStatus a node on /diagnostics.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

#: Rates and latencies are those of the last so many seconds, and of at most so many frames.
WINDOW = 10.0
WINDOW_FRAMES = 1024
#: A problem that comes and goes is logged at most once in this time (seconds).
REPEAT_AFTER = 5.0
_MAX_LOGGED = 256
#: What becomes of frames; those received are the sum of the others and those in work.
COUNTS = ('received', 'published', 'dropped', 'skipped', 'rejected', 'failed')


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class Window:
    """The events of the last seconds, each with a value; memory is bounded."""

    def __init__(self, seconds: float = WINDOW, size: int = WINDOW_FRAMES) -> None:
        self._seconds = seconds
        self._events: deque[tuple[float, float]] = deque(maxlen=size)
        self._since: float | None = None

    def add(self, now: float, value: float = 0.0) -> None:
        """Note an event at `now` seconds of a steady clock."""
        if self._since is None:
            self._since = now
        self._events.append((now, value))

    def clear(self) -> None:
        """Forget all events."""
        self._events.clear()
        self._since = None

    def _prune(self, now: float) -> None:
        while self._events and self._events[0][0] < now - self._seconds:
            self._events.popleft()

    def rate(self, now: float) -> float:
        """Events a second; falls to 0 when they stop."""
        self._prune(now)
        if not self._events or self._since is None:
            return 0.0
        if len(self._events) == self._events.maxlen:
            span = now - self._events[0][0]
        else:
            span = min(now - self._since, self._seconds)
        # Less than a second says little: an event alone is no rate of thousands.
        return len(self._events) / max(span, 1.0)

    def percentiles(self, now: float, *ranks: float) -> tuple[float, ...] | None:
        """Values at the given ranks (0..100), or None without events."""
        self._prune(now)
        if not self._events:
            return None
        values = np.fromiter((value for _, value in self._events), float, len(self._events))
        return tuple(float(v) for v in np.percentile(values, ranks))


@dataclass(frozen=True)
class Problem:
    """Something that is wrong until it is cleared."""

    level: Level
    message: str


class Health:
    """The facts behind a node's diagnostics; safe to use from any thread.

    Args:
        log: called with a level and a text when a problem is new, and with OK when it is gone.
        now: steady clock, seconds.
    """

    def __init__(
        self,
        log: Callable[[Level, str], object] = lambda level, text: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._now = now
        self._lock = threading.RLock()
        self._problems: dict[str, Problem] = {}
        self._logged: dict[tuple[str, str], float] = {}
        self._announced: set[str] = set()
        self._facts: dict[str, str] = {'state': 'unconfigured'}
        self._counts = dict.fromkeys(COUNTS, 0)
        self._last_event: dict[str, float] = {}
        self._last_error: tuple[float, str] | None = None
        self._input, self._output = Window(), Window()
        self._from_stamp, self._from_arrival = Window(), Window()
        self._stages: dict[str, Window] = {}

    def input(self) -> None:
        """Count a frame that came in."""
        with self._lock:
            self._counts['received'] += 1
            self._input.add(self._now())

    def dropped(self, count: int = 1) -> None:
        """Count frames that a newer one replaced before their turn."""
        with self._lock:
            self._counts['dropped'] += count

    def skipped(self) -> None:
        """Count a frame that was left out on purpose, to keep to a rate."""
        with self._lock:
            self._counts['skipped'] += 1

    def failed(self, reason: str, key: str = 'inference') -> None:
        """Count a frame lost to an error of ours, and report it."""
        with self._lock:
            self._counts['failed'] += 1
        self.problem(key, reason)

    def rejected(self, reason: str, key: str = 'image') -> None:
        """Count a frame that could not be read, and report why."""
        with self._lock:
            self._counts['rejected'] += 1
        self.problem(key, reason)

    def output(
        self, arrival: float, latency: float, stages: Mapping[str, float] | None = None
    ) -> None:
        """Count a frame whose outputs are published.

        Args:
            arrival: when it came in, seconds of the steady clock.
            latency: seconds since its stamp, on the node's clock; negative or absurd ones
                (stamps of another clock) are not counted.
            stages: milliseconds of each stage of the work.
        """
        now = self._now()
        with self._lock:
            self._counts['published'] += 1
            self._output.add(now)
            self._from_arrival.add(now, (now - arrival) * 1e3)
            if 0.0 <= latency < 3600.0:
                self._from_stamp.add(now, latency * 1e3)
            for name, milliseconds in (stages or {}).items():
                self._stages.setdefault(name, Window()).add(now, milliseconds)

    def time_jump(self, back: float) -> None:
        """Note that stamps went back by so many seconds: latencies from stamps start anew."""
        with self._lock:
            self._from_stamp.clear()
        self.event('time jumps', f'time jumped back by {back:.3f} s (a bag that loops?)')

    def event(self, name: str, text: str) -> None:
        """Note something that happened and is over: counted by name, logged now and then."""
        now = self._now()
        with self._lock:
            self._facts[name] = str(int(self._facts.get(name, '0')) + 1)
            last = self._last_event.get(name)
            self._last_event[name] = now
        if last is None or now - last >= REPEAT_AFTER:
            self._log(Level.WARN, text)

    def set(self, key: str, value: object) -> None:
        """Set a fact shown in diagnostics."""
        with self._lock:
            self._facts[key] = str(value)

    def set_state(self, state: str) -> None:
        """Set the state of the node's life."""
        self.set('state', state)

    def set_model(self, name: str, provider: str) -> None:
        """Set the model in use and what runs it."""
        self.set('model', name)
        self.set('provider', provider)

    def problem(self, key: str, message: str, level: Level = Level.ERROR) -> None:
        """Report a problem; logged once until it is cleared, however often it is reported.

        A new message under the same key replaces the old one and is logged once as well.
        """
        now = self._now()
        with self._lock:
            known = self._problems.get(key)
            self._problems[key] = Problem(level, message)
            if level >= Level.ERROR:
                self._last_error = (now, message)
            if known is not None and known.message == message:
                return
            last = self._logged.get((key, message))
            if last is not None and now - last < REPEAT_AFTER:
                return
            if len(self._logged) >= _MAX_LOGGED:  # texts with changing numbers
                self._logged.clear()
            self._logged[key, message] = now
            self._announced.add(key)
        self._log(level, message)

    def has(self, key: str) -> bool:
        """Whether a problem is reported under a key and not cleared."""
        with self._lock:
            return key in self._problems

    def clear(self, key: str) -> bool:
        """Take a problem back; returns whether there was one."""
        with self._lock:
            known = self._problems.pop(key, None)
            announced = key in self._announced
            self._announced.discard(key)
        if known is not None and announced:
            self._log(Level.OK, f'solved: {known.message}')
        return known is not None

    def forget(self) -> None:
        """Drop all problems without a word: nothing will show whether they are solved."""
        with self._lock:
            self._problems.clear()
            self._announced.clear()

    @property
    def level(self) -> Level:
        """The worst level of the problems there are; ERROR counts more than STALE."""
        order = (Level.OK, Level.WARN, Level.STALE, Level.ERROR)
        with self._lock:
            return max(
                (p.level for p in self._problems.values()), key=order.index, default=order[0]
            )

    @property
    def message(self) -> str:
        """All problems in a line, worst first, or the state."""
        with self._lock:
            problems = sorted(self._problems.values(), key=lambda p: p.level != Level.ERROR)
            return '; '.join(p.message for p in problems) or self._facts['state']

    def values(self) -> dict[str, str]:
        """Return all facts by name, as shown in diagnostics."""
        now = self._now()
        with self._lock:
            values = dict(self._facts)
            values['input rate (Hz)'] = f'{self._input.rate(now):.1f}'
            values['output rate (Hz)'] = f'{self._output.rate(now):.1f}'
            for name, count in self._counts.items():
                values[f'frames {name}'] = str(count)
            for name, window in (('stamp', self._from_stamp), ('arrival', self._from_arrival)):
                for rank, value in zip(
                    (50, 99), window.percentiles(now, 50, 99) or (), strict=False
                ):
                    values[f'latency from {name} p{rank} (ms)'] = f'{value:.1f}'
            for name, window in self._stages.items():
                middle = window.percentiles(now, 50)
                if middle is not None:
                    values[f'{name} p50 (ms)'] = f'{middle[0]:.1f}'
            values['last error'] = 'none'
            if self._last_error is not None:
                values['last error'] = self._last_error[1]
                values['last error age (s)'] = f'{now - self._last_error[0]:.1f}'
            return values

    def status(self, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return everything as one DiagnosticStatus."""
        return DiagnosticStatus(
            level=bytes([self.level]),
            name=name,
            message=self.message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in self.values().items()],
        )


class HealthMonitor(Health):
    """Health of a node: problems go to its log, and everything to /diagnostics.

    The period is the node's parameter `diagnostics_period` (seconds) where it has one, else 1 s,
    on the steady clock: a paused simulation must not silence diagnostics.

    Args:
        node: the node to speak for.
        task: what it does, part of the status' name.
    """

    def __init__(self, node: Node, task: str) -> None:
        super().__init__(self._to_log)
        self._node = node
        full_name = node.get_fully_qualified_name()
        self._hardware_id = full_name
        self._name = f'{full_name.lstrip("/")}: {task}'
        self._publisher: Any = node.create_publisher(
            DiagnosticArray, '/diagnostics', QoSProfile(depth=10)
        )
        self._period = self._wanted_period()
        self._timer = node.create_timer(
            self._period, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def publish(self) -> None:
        """Publish now, not only when it is time."""
        self._publisher.publish(self.report(self._node.get_clock().now().to_msg()))

    def report(self, stamp: Time) -> DiagnosticArray:
        """Return the message for /diagnostics."""
        return DiagnosticArray(
            header=Header(stamp=stamp), status=[self.status(self._name, self._hardware_id)]
        )

    def _tick(self) -> None:
        self.publish()
        period = self._wanted_period()
        if period != self._period:
            self._period = period
            self._timer.timer_period_ns = int(period * 1e9)

    def _wanted_period(self) -> float:
        name = 'diagnostics_period'
        return self._node.get_parameter(name).value if self._node.has_parameter(name) else 1.0

    def _to_log(self, level: Level, text: str) -> None:
        # One line each: rclpy allows one severity per calling line.
        logger = self._node.get_logger()
        if level == Level.OK:
            logger.info(text)
        elif level == Level.WARN:
            logger.warning(text)
        else:
            logger.error(text)
