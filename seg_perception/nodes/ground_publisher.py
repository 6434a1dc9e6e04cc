"""What all cameras of a node say of the ground together, as messages."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time

from seg_perception.core.free_space import FreeSpace, free_space, free_space_of_cells
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.ros.ground_messages import GroundMessages, GroundWanted, ground_messages
from seg_perception.ros.health import HealthMonitor
from seg_perception.ros.messages import occupancy_grid
from seg_perception.ros.odometry import Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.ground_update import GroundUpdate, Sight
from seg_perception.runtime.shared_ground import SharedGround
from seg_perception.runtime.timing import Timing


class GroundPublisher:
    """Shows frames to the cameras' common ground, publishes it and reports on it.

    Everything here runs in the worker's thread, except `interrupt`.

    Args:
        ground: what the cameras know together.
        odometry: which it goes by, for diagnostics.
        guard: through which everything goes out; None where nobody asks for the ground.
        health: of the node.
        timing: of the frame in work.
    """

    def __init__(
        self,
        ground: SharedGround,
        odometry: Odometry,
        guard: GridGuard | None,
        health: HealthMonitor,
        timing: Timing,
    ) -> None:
        self._ground = ground
        self._odometry = odometry
        self._guard = guard
        self._health = health
        self._timing = timing

    def interrupt(self) -> None:
        """Forget everything before the next frame, and say so at once; from any thread."""
        self._ground.interrupt()
        if self._guard is not None:
            self._guard.publish_unknown()

    def restart(self) -> None:
        """Forget everything before the next frame; before the worker starts."""
        self._ground.interrupt()

    def time_jumped(self) -> None:
        """Forget what lies in the future of a clock that has jumped back."""
        self._ground.clear()
        if self._guard is not None:
            self._guard.publish_unknown()

    def lost(self, camera: str, stamp: Time, p: SegmentationParameters) -> None:
        """Publish what is known without a camera whose frame could not be used."""
        if not self._ground.lost(camera, p) and self._guard is not None:
            self._guard.publish_unknown(stamp)

    def show(self, sight: Sight, wanted: GroundWanted, p: SegmentationParameters) -> GroundUpdate:
        """Add a camera's frame, and report what goes beyond this camera."""
        update = self._ground.show(sight, p, around=wanted.free_space)
        for name, text in update.events:
            self._health.event(name, text)
        self._health.set('odometry from', self._odometry.source)
        if update.blind is not None:
            self._health.set('blind cameras', ', '.join(sorted(update.blind)) or 'none')
        return update

    def publish(
        self,
        update: GroundUpdate,
        stamp: Time,
        arrival: float,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> bool:
        """Publish what a frame has made known.

        Returns:
            False when the frame had become too old and unknown was published in its place.
        """
        assert self._guard is not None, 'nobody asks for the ground'
        if update.cells is None:
            if not update.left_to_others:
                self._guard.publish_unknown(stamp)
            return True
        space = self._free_space(update, p) if wanted.free_space else None
        grid = occupancy_grid(update.cells, update.spec, update.frame_id, stamp)
        ground = GroundMessages(grid)
        if space is not None:
            ground = ground_messages(grid, space, wanted, p.grid_frame_id, p, p.scan_range_max)
        start = time.perf_counter()
        fresh = self._guard.publish(ground, update.spec, arrival)
        self._timing.measure('publish_grid', start)
        return fresh

    def _free_space(self, update: GroundUpdate, p: SegmentationParameters) -> FreeSpace:
        assert update.frame is not None
        assert update.around is not None
        seen = update.frame.observation
        start = time.perf_counter()
        if update.alone and seen is not None and seen.contacts is not None:
            space = free_space(seen.contacts)  # finer than its cells
        else:
            space = free_space_of_cells(update.around, p.grid_spec)
        self._timing.measure('free_space', start)
        return space
