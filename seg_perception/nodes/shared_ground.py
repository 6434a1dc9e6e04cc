"""What all cameras of a node say of the ground together: odometry, fusion, and who is blind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from builtin_interfaces.msg import Time

from seg_perception.core.errors import OdometryError
from seg_perception.core.free_space import FreeSpace, free_space, free_space_of_cells
from seg_perception.core.grid import GridSpec
from seg_perception.core.ground_observation import UNKNOWN
from seg_perception.core.sectors import Sectors, merged
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.ros.ground_messages import GroundMessages, GroundWanted, ground_messages
from seg_perception.ros.health import HealthMonitor
from seg_perception.ros.messages import occupancy_grid, stamp_ns
from seg_perception.ros.odometry import Motion, Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.pipeline import GridResult, Pipeline

#: Seconds by which pictures of several cameras may differ without odometry: a robot that moves
#: meanwhile makes their cells lie wrong to each other.
MAX_SKEW = 0.2


class SharedGround:
    """Takes what each camera's frames show and publishes what they show together.

    Everything here runs in the worker's thread, except `interrupt`.

    Args:
        pipeline: which fuses.
        odometry: where the robot is.
        guard: through which everything goes out; None where nobody asks for the ground.
        health: of the node.
        cameras: their names; '' is the only one.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        odometry: Odometry,
        guard: GridGuard | None,
        health: HealthMonitor,
        cameras: Sequence[str],
    ) -> None:
        self._pipeline = pipeline
        self._odometry = odometry
        self._guard = guard
        self._health = health
        self._cameras = tuple(cameras)
        self._sectors = Sectors()
        self._good: dict[str, float] = {}  # arrival of the newest frame of cameras that see
        self._alone: dict[str, tuple[int, np.ndarray]] = {}  # stamp and cells, without odometry
        self._placed: dict[str, tuple[GridResult, np.ndarray, float]] = {}  # without fusion
        self._interrupted: float | None = None

    def interrupt(self) -> None:
        """Forget everything before the next frame, and say so at once; from any thread."""
        self._interrupted = time.monotonic()
        self._guard.publish_unknown()

    def restart(self) -> None:
        """Forget everything before the next frame; before the worker starts."""
        self._interrupted = time.monotonic()

    def time_jumped(self) -> None:
        """Forget what lies in the future of a clock that has jumped back."""
        self._odometry.clear()
        self.forget()
        self._guard.publish_unknown()

    def forget(self, camera: str | None = None) -> None:
        """Forget what was known; of a camera also where it looks."""
        self._pipeline.reset_fusion()
        self._alone.clear()
        self._placed.clear()
        for name in self._cameras if camera is None else (camera,):
            self._sectors.forget(name)
            self._good.pop(name, None)

    def motion(self, stamp: Time, p: SegmentationParameters) -> Motion | None:
        """Return where the robot stood at a stamp; None where it has no odometry.

        Raises:
            OdometryError: it has, and it is not known, or the stamp is of long ago by it; after
                a jump also what was known before is forgotten.
        """
        try:
            motion = self._odometry.pose(stamp)
            lead = 0.0 if motion is None else self._odometry.lead(stamp)
            if lead > p.stale_after:
                raise OdometryError(
                    f'the image is {lead:.2f} s older than the newest odometry, more than '
                    f"'stale_after' ({p.stale_after:g} s): the camera's clock is off, or its "
                    'driver keeps a queue'
                )
            return motion
        finally:
            reason = self._odometry.take_interruption()
            if reason:
                self._health.event('odometry interruptions', f'{reason}: the grid starts anew')
                self.forget()
            self._health.set('odometry from', self._odometry.source)

    def lost(self, camera: str, stamp: Time, p: SegmentationParameters) -> None:
        """Publish what is known without a camera whose frame shows nothing of the ground."""
        self._good.pop(camera, None)
        self._alone.pop(camera, None)
        self._placed.pop(camera, None)
        if not self._others_see(p.stale_after):
            self._guard.publish_unknown(stamp)
        # Else the others' next frames say it: they come within stale_after.

    def show(
        self,
        camera: str,
        result: GridResult,
        motion: Motion | None,
        stamp: Time,
        arrival: float,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> bool:
        """Add a camera's frame and publish what all of them show.

        Returns:
            False when the frame had become too old and unknown was published in its place.
        """
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is not None:
            self.forget()
            if arrival < interrupted:  # it was placed by what held before
                self.lost(camera, stamp, p)
                return True
        self._good[camera] = arrival
        if len(self._cameras) > 1 and result.observation is not None:
            known = result.observation.kinds != UNKNOWN
            self._sectors.note(camera, p.grid_spec, known)
        if motion is None:
            ground, spec = self._without_motion(camera, result, stamp, wanted, p)
        else:
            ground, spec = self._with_motion(camera, result, motion, stamp, wanted, p)
        start = time.perf_counter()
        fresh = self._guard.publish(ground, spec, arrival)
        self._pipeline.timing.measure('publish_grid', start)
        return fresh

    def _without_motion(
        self,
        camera: str,
        result: GridResult,
        stamp: Time,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> tuple[GroundMessages, GridSpec]:
        """Return this frame alone, beside the newest ones of other cameras."""
        cells, now = result.cells, stamp_ns(stamp)
        space = None
        if len(self._cameras) == 1:
            contacts = None if result.observation is None else result.observation.contacts
            if wanted.free_space and contacts is not None:
                space = free_space(contacts)  # finer than its cells
        else:
            self._alone[camera] = now, cells
            near = {
                name: seen
                for name, (at, seen) in self._alone.items()
                if abs(now - at) / 1e9 <= MAX_SKEW and seen.shape == cells.shape
            }
            cells = merged(near.values())
        if wanted.free_space and space is None:
            space = free_space_of_cells(cells, p.grid_spec)
        return self._messages(cells, p.grid_spec, p.grid_frame_id, space, stamp, wanted, p)

    def _with_motion(
        self,
        camera: str,
        result: GridResult,
        motion: Motion,
        stamp: Time,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> tuple[GroundMessages, GridSpec]:
        """Return all frames together, in the frame that was asked for."""
        seconds = stamp_ns(stamp) / 1e9
        frame = 'base' if p.grid_publish_in == 'base' else 'odom'
        if p.fusion_enabled:
            fused = self._pipeline.fuse(
                result,
                motion.pose,
                seconds,
                options=p.fusion,
                graded=p.grid_graded,
                frame=frame,
            )
        else:
            self._placed[camera] = result, motion.pose, seconds
            fused = self._newest_of_each(motion.pose, seconds, frame, p)
        if fused.reset:
            self._health.event('fusion resets', f'{fused.reset}: the grid starts anew')
        blind = self._blind(p.stale_after)
        cells, spec = fused.cells, fused.spec
        self._sectors.blank(cells, spec, blind, motion.pose if frame == 'odom' else None)
        space = None
        if wanted.free_space:
            around = fused
            if frame == 'odom':
                around = self._pipeline.fused(motion.pose, seconds, frame='base') or result
                self._sectors.blank(around.cells, around.spec, blind)
            start = time.perf_counter()
            space = free_space_of_cells(around.cells, around.spec)
            self._pipeline.timing.measure('free_space', start)
        frame_id = p.grid_frame_id if frame == 'base' else motion.frame_id
        return self._messages(cells, spec, frame_id, space, stamp, wanted, p)

    def _newest_of_each(
        self, t_odom_base: np.ndarray, seconds: float, frame: str, p: SegmentationParameters
    ) -> GridResult:
        """Return the newest frame of each camera, and nothing older."""
        # One frame must do: nothing is kept by which it could be confirmed.
        options = replace(p.fusion, miss=max(p.fusion.miss, p.fusion.free_at))
        self._pipeline.reset_fusion()
        for result, pose, at in sorted(self._placed.values(), key=lambda placed: placed[2]):
            if abs(at - seconds) <= options.time_back:
                self._pipeline.fuse(result, pose, at, options=options, graded=p.grid_graded)
        fused = self._pipeline.fused(t_odom_base, seconds, frame=frame)
        assert fused is not None, 'the frame itself was added'
        return fused

    def _messages(
        self,
        cells: np.ndarray,
        spec: GridSpec,
        frame_id: str,
        space: FreeSpace | None,
        stamp: Time,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> tuple[GroundMessages, GridSpec]:
        grid = occupancy_grid(cells, spec, frame_id, stamp)
        if space is None:
            return GroundMessages(grid), spec
        ground = ground_messages(grid, space, wanted, p.grid_frame_id, p, p.scan_range_max)
        return ground, spec

    def _blind(self, stale_after: float) -> set[str]:
        """Return the cameras of several from which nothing trustworthy has come lately."""
        if len(self._cameras) == 1:
            return set()
        blind = {name for name in self._cameras if not self._sees(name, stale_after)}
        self._health.set('blind cameras', ', '.join(sorted(blind)) or 'none')
        return blind

    def _sees(self, camera: str, stale_after: float) -> bool:
        arrival = self._good.get(camera)
        return arrival is not None and time.monotonic() - arrival <= stale_after

    def _others_see(self, stale_after: float) -> bool:
        return any(self._sees(name, stale_after) for name in self._cameras)
