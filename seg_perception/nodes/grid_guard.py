"""The grid's promise in time: what is published is fresh, or it is unknown."""

from __future__ import annotations

import threading
import time

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock

from seg_perception.core.ground import GridSpec
from seg_perception.nodes.outputs import SegmentationOutputs


class GridGuard:
    """Publishes grids from the worker, and unknown when the worker or the camera falls behind.

    Age is measured from a frame's arrival on the steady clock: stamps of a bag may be years
    old, and a paused simulation clock must not keep an old "free" in force. The lock orders
    worker and watchdog, so that a late grid never overwrites the unknown that replaced it.

    Args:
        outputs: where grids go.
        clock: the node's clock, for stamps of grids that no image stands behind.
        stale_after: seconds after which a grid may no longer be believed.
        spec, frame_id: the grid published as unknown.
    """

    def __init__(
        self,
        outputs: SegmentationOutputs,
        clock: Clock,
        *,
        stale_after: float,
        spec: GridSpec,
        frame_id: str,
    ) -> None:
        self._outputs = outputs
        self._clock = clock
        self._lock = threading.Lock()
        self._expected = False
        self._closed = True
        self._last_arrival = 0.0
        self._last_unknown = 0.0
        self.configure(stale_after=stale_after, spec=spec, frame_id=frame_id)

    def configure(self, *, stale_after: float, spec: GridSpec, frame_id: str) -> None:
        """Take new limits; they hold from the next grid on."""
        with self._lock:
            self._stale_after = stale_after
            self._spec = spec
            self._frame_id = frame_id

    def expect(self, expected: bool) -> None:
        """Say whether grids are to come: somebody listens and the camera is subscribed.

        When they no longer are, the latched grid is withdrawn, once.
        """
        with self._lock:
            if expected and not self._expected:
                self._last_arrival = self._last_unknown = time.monotonic()
            self._expected = expected
            if not expected:
                self._withdraw()

    def open(self) -> None:
        """Let grids out, beginning with an unknown one."""
        with self._lock:
            self._closed = False
        self.expect(False)

    def close(self) -> None:
        """Withdraw the latched grid and let nothing out after it."""
        with self._lock:
            self._expected = False
            self._closed = True
            self._withdraw()

    def publish(self, cells: np.ndarray, spec: GridSpec, stamp: Time, arrival: float) -> bool:
        """Publish what a frame shows, unless it took too long.

        Returns:
            False when the frame had become too old and unknown was published in its place.
            A closed guard says nothing, and nothing is wrong with that.
        """
        with self._lock:
            if self._closed:
                return True
            if time.monotonic() - arrival > self._stale_after:
                self._unknown(stamp)
                return False
            self._last_arrival = arrival
            self._outputs.publish_grid(cells, spec, self._frame_id, stamp)
            return True

    def publish_unknown(self, stamp: Time) -> None:
        """Publish unknown for a frame that shows nothing trustworthy of the ground."""
        with self._lock:
            if not self._closed:
                self._unknown(stamp)

    def watch(self) -> float | None:
        """Publish unknown, again and again, while no trustworthy grid comes.

        Returns:
            Seconds since the last frame that became a grid when that is too long, else None.
        """
        with self._lock:
            now = time.monotonic()
            age = now - self._last_arrival
            if not self._expected or age <= self._stale_after:
                return None
            if now - self._last_unknown > self._stale_after:
                self._unknown(self._now())
            return age

    def _withdraw(self) -> None:
        self._outputs.withdraw_grid(self._spec, self._frame_id, self._now())

    def _unknown(self, stamp: Time) -> None:
        self._last_unknown = time.monotonic()
        self._outputs.publish_unknown(self._spec, self._frame_id, stamp)

    def _now(self) -> Time:
        return self._clock.now().to_msg()
