"""The grid's promise in time: what is published is fresh, or it is unknown."""

from __future__ import annotations

import threading
import time

from builtin_interfaces.msg import Time
from rclpy.clock import Clock

from seg_perception.core.grid import GridSpec
from seg_perception.nodes.outputs import GroundOutputs
from seg_perception.ros.ground_messages import GroundMessages, unknown_ground
from seg_perception.ros.parameters import SegmentationParameters


class GridGuard:
    """Publishes grids from the worker, and unknown when the worker or the camera falls behind.

    Age is measured from a frame's arrival on the steady clock: stamps of a bag may be years
    old, and a paused simulation clock must not keep an old "free" in force. The lock orders
    worker and watchdog, so that a late grid never overwrites the unknown that replaced it.

    An unknown grid covers what the last known one covered, in its frame: a reader that keeps
    cells which a new grid does not cover would keep the old "free" otherwise.

    Args:
        outputs: where grids go.
        clock: the node's clock, for stamps of grids that no image stands behind.
        parameters: the age at which a grid is stale, and the grid to be unknown at first.
    """

    def __init__(
        self, outputs: GroundOutputs, clock: Clock, parameters: SegmentationParameters
    ) -> None:
        self._outputs = outputs
        self._clock = clock
        self._lock = threading.Lock()
        self._expected = False
        self._closed = True
        self._says_something = True
        self._last_arrival = 0.0
        self._last_unknown = 0.0
        self._covered: tuple[GridSpec, str] | None = None
        self.configure(parameters)

    def configure(self, parameters: SegmentationParameters) -> None:
        """Take new limits; they hold from the next grid on."""
        with self._lock:
            self._parameters = parameters

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

    def publish(self, ground: GroundMessages, spec: GridSpec, arrival: float) -> bool:
        """Publish what a frame shows, unless it took too long.

        Args:
            ground: the grid, and what goes with it.
            spec: of the grid.
            arrival: of the frame, seconds of the steady clock.

        Returns:
            False when the frame had become too old and unknown was published in its place.
            A closed guard says nothing, and nothing is wrong with that.
        """
        with self._lock:
            if self._closed:
                return True
            header = ground.grid.header
            if time.monotonic() - arrival > self._parameters.stale_after:
                self._unknown(header.stamp)
                return False
            self._last_arrival = max(self._last_arrival, arrival)
            self._covered = spec, header.frame_id
            self._says_something = True
            self._outputs.publish(ground)
            return True

    def publish_unknown(self, stamp: Time | None = None) -> None:
        """Publish unknown for a frame that shows nothing trustworthy of the ground.

        Args:
            stamp: of the frame; None = now.
        """
        with self._lock:
            if not self._closed:
                self._unknown(self._now() if stamp is None else stamp)

    def watch(self) -> float | None:
        """Publish unknown, again and again, while no trustworthy grid comes.

        Returns:
            Seconds since the last frame that became a grid when that is too long, else None.
        """
        with self._lock:
            now = time.monotonic()
            age = now - self._last_arrival
            limit = self._parameters.stale_after
            if not self._expected or age <= limit:
                return None
            if now - self._last_unknown > limit:
                self._unknown(self._now())
            return age

    def _withdraw(self) -> None:
        """Replace the latched grid by unknown, once, when it will not be kept up to date.

        The topic is TRANSIENT_LOCAL: a later subscriber is first handed what was last sent.
        """
        if self._says_something:
            self._unknown(self._now())

    def _unknown(self, stamp: Time) -> None:
        p = self._parameters
        spec, frame_id = self._covered or (p.grid_spec, p.grid_frame_id)
        self._covered = None  # from the next one on, the robot's own surroundings
        self._says_something = False
        self._last_unknown = time.monotonic()
        self._outputs.publish(
            unknown_ground(spec, frame_id, stamp, p.grid_frame_id, p, p.scan_range_max)
        )

    def _now(self) -> Time:
        return self._clock.now().to_msg()
