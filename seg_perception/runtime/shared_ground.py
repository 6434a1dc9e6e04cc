"""What all cameras of a robot say of the ground together, frame by frame.

Is the picture to be believed, where were camera and robot, which cells does the mask show, what
do all frames know together, and which camera is blind: everything that is no message. The live
node and the offline replay run this same class.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from seg_perception.core.errors import (
    CameraModelError,
    ExtrinsicsError,
    GroundError,
    OdometryError,
)
from seg_perception.core.ground_observation import UNKNOWN
from seg_perception.core.image_quality import FreezeWatch, QualityMonitor, measure
from seg_perception.core.motion import Motion
from seg_perception.core.sectors import Sectors, merged
from seg_perception.runtime.ground_update import GroundSettings, GroundUpdate, Sight, Whereabouts
from seg_perception.runtime.pipeline import GridResult, Pipeline

#: Seconds by which pictures of several cameras may differ without odometry: a robot that moves
#: meanwhile makes their cells lie wrong to each other.
MAX_SKEW = 0.2


class _Eye:
    """What is remembered of one camera's pictures."""

    def __init__(self) -> None:
        self.quality = QualityMonitor()
        self.freeze = FreezeWatch()
        self.fingerprint = 0


class SharedGround:
    """Takes what each camera's frames show, and says what they show together.

    Everything here runs in the worker's thread, except :meth:`interrupt`.

    Args:
        pipeline: which projects and fuses.
        whereabouts: of robot and cameras.
        cameras: their names; '' is the only one.
        clock: seconds that go on, on which frames arrive and grow old: the steady clock, or a
            recording's.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        whereabouts: Whereabouts,
        cameras: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._whereabouts = whereabouts
        self._clock = clock
        self._eyes = {name: _Eye() for name in cameras}
        self._sectors = Sectors()
        self._good: dict[str, float] = {}  # arrival of the newest frame of cameras that see
        self._alone: dict[str, tuple[int, np.ndarray]] = {}  # stamp and cells, without odometry
        self._placed: dict[str, tuple[GridResult, np.ndarray, float]] = {}  # without fusion
        self._interrupted: float | None = None

    def interrupt(self) -> None:
        """Forget everything before the next frame, and what is in work; from any thread."""
        self._interrupted = self._clock()

    def clear(self) -> None:
        """Forget what lies in the future of a clock that has jumped back."""
        self._whereabouts.clear()
        self.forget()

    def forget(self, camera: str | None = None) -> None:
        """Forget what was known; of a camera also where it looks."""
        self._pipeline.reset_fusion()
        self._alone.clear()
        self._placed.clear()
        for name in self._eyes if camera is None else (camera,):
            self._sectors.forget(name)
            self._good.pop(name, None)

    def lost(self, camera: str, p: GroundSettings) -> bool:
        """Take note of a frame that shows nothing of the ground.

        Returns:
            Whether other cameras see: they come within ``stale_after``, and their next frames
            say what is known. Else nothing is.
        """
        self._good.pop(camera, None)
        self._alone.pop(camera, None)
        self._placed.pop(camera, None)
        return any(self._sees(name, p.stale_after) for name in self._eyes)

    def show(self, sight: Sight, p: GroundSettings, *, around: bool = False) -> GroundUpdate:
        """Add a frame to what is known, and return all of it.

        Args:
            sight: the frame.
            p: the settings in force.
            around: give the cells around the robot, too, whatever frame the others are in.
        """
        update = GroundUpdate(p.grid_spec, p.grid_frame_id)
        believed = self._believes(sight, p, update)
        if sight.model is None or not believed or not self._place(sight, p, update):
            return self._lost(sight, p, update)
        assert update.frame is not None
        if self._is_overtaken(sight.arrival):  # it was placed by what held before
            return self._lost(sight, p, update)
        self._good[sight.camera] = sight.arrival
        if len(self._eyes) > 1 and update.frame.observation is not None:
            known = update.frame.observation.kinds != UNKNOWN
            self._sectors.note(sight.camera, p.grid_spec, known)
        if update.motion is None:
            self._without_motion(sight, update.frame, update)
        else:
            self._with_motion(sight, update.frame, update.motion, p, update, around)
        return update

    def _lost(self, sight: Sight, p: GroundSettings, update: GroundUpdate) -> GroundUpdate:
        update.left_to_others = self.lost(sight.camera, p)
        return update

    # ------------------------------------------------------------------ the frame alone

    def _place(self, sight: Sight, p: GroundSettings, update: GroundUpdate) -> bool:
        """Find the frame's cells; False where they are not to be had."""
        assert sight.model is not None
        eye = self._eyes[sight.camera]
        try:
            update.motion = self._motion(sight.stamp, p, update)
            if self._is_frozen(eye, p, update):
                return False
            pose = self._whereabouts.camera(
                sight.camera, sight.frame_id, sight.stamp, update.motion
            )
            update.frame = self._pipeline.project(
                sight.result,
                sight.model,
                pose,
                p.grid_spec,
                p.projection,
                camera_id=sight.camera,
                plane=p.plane,
                instances=sight.instances(),
            )
        except (ExtrinsicsError, OdometryError, GroundError, CameraModelError) as error:
            eye.freeze.reset()
            subject = 'odometry' if isinstance(error, OdometryError) else 'transform'
            update.complain(subject, str(error))
            return False
        update.problems.update({'transform': None, 'odometry': None, 'camera_pose': None})
        if not update.frame.sees_ground:
            update.complain(
                'camera_pose',
                'no pixel of the camera falls on the grid: check camera_pose.height and '
                "camera_pose.pitch (radians, positive looks down) or the camera's transform",
            )
        return True

    def _motion(self, stamp: int, p: GroundSettings, update: GroundUpdate) -> Motion | None:
        """Return where the robot stood; after a jump, forget what was known before.

        Raises:
            OdometryError: it is not known, or the stamp is of long ago by it.
        """
        try:
            motion = self._whereabouts.robot(stamp)
            lead = 0.0 if motion is None else self._whereabouts.lead(stamp)
            if lead > p.stale_after:
                raise OdometryError(
                    f'the image is {lead:.2f} s older than the newest odometry, more than '
                    f"'stale_after' ({p.stale_after:g} s): the camera's clock is off, or its "
                    'driver keeps a queue'
                )
            return motion
        finally:
            reason = self._whereabouts.take_interruption()
            if reason:
                update.events.append(('odometry interruptions', f'{reason}: the grid starts anew'))
                self.forget()

    def _believes(self, sight: Sight, p: GroundSettings, update: GroundUpdate) -> bool:
        """Judge the picture and the network's confidence in it."""
        eye = self._eyes[sight.camera]
        eye.quality.limits = p.quality_limits
        if not p.quality_enabled:
            eye.quality.reset()
            update.problems['picture'] = None
            return True
        start = time.perf_counter()
        statistics = measure(sight.pixels, sight.color, sight.result.confidence)
        eye.fingerprint = statistics.fingerprint
        had = bool(eye.quality.faults)
        faults = eye.quality.update(statistics, sight.arrival)
        self._pipeline.timing.measure('judge', start)
        names = ', '.join(fault.value for fault in faults)
        update.picture = names or 'good'
        if not faults:
            update.problems['picture'] = None  # unless it turns out to be frozen
            return True
        named = '; '.join(f'{fault.value}: {why}' for fault, why in faults.items())
        text = 'the picture is not to be believed ({}): the grid is unknown'
        update.complain('picture', text.format(named), text.format(names))
        if not had:
            self.forget(sight.camera)
        return False

    def _is_frozen(self, eye: _Eye, p: GroundSettings, update: GroundUpdate) -> bool:
        """Judge whether the picture goes with the robot's motion; the last word on pictures."""
        limit, motion = p.quality_max_frozen, update.motion
        if not p.quality_enabled:
            return False
        if motion is None or limit == 0.0:
            eye.freeze.reset()
        elif eye.freeze.moved(eye.fingerprint, motion.pose[:3, 3]) > limit:
            update.picture = 'frozen'
            update.complain(
                'picture',
                'the picture is frozen: it is the same although the robot has moved more than '
                f'{limit:g} m; the grid is unknown. Restart the camera driver',
            )
            return True
        update.problems['picture'] = None
        return False

    # ------------------------------------------------------------------- all of them together

    def _without_motion(self, sight: Sight, frame: GridResult, update: GroundUpdate) -> None:
        """Give this frame alone, beside the newest ones of other cameras."""
        cells = frame.cells
        update.alone = len(self._eyes) == 1
        if not update.alone:
            self._alone[sight.camera] = sight.stamp, cells
            cells = merged(
                seen
                for at, seen in self._alone.values()
                if abs(sight.stamp - at) / 1e9 <= MAX_SKEW and seen.shape == cells.shape
            )
        update.cells = update.around = cells

    def _with_motion(
        self,
        sight: Sight,
        frame: GridResult,
        motion: Motion,
        p: GroundSettings,
        update: GroundUpdate,
        around: bool,
    ) -> None:
        """Give all frames together, in the frame that was asked for."""
        seconds = sight.stamp / 1e9
        kind = 'base' if p.grid_publish_in == 'base' else 'odom'
        if p.fusion_enabled:
            fused = self._pipeline.fuse(
                frame, motion.pose, seconds, options=p.fusion, graded=p.grid_graded, frame=kind
            )
        else:
            self._placed[sight.camera] = frame, motion.pose, seconds
            fused = self._newest_of_each(motion.pose, seconds, kind, p)
        if fused.reset:
            update.events.append(('fusion resets', f'{fused.reset}: the grid starts anew'))
        blind = self._blind(p, update)
        self._sectors.blank(
            fused.cells, fused.spec, blind, motion.pose if kind == 'odom' else None
        )
        update.cells, update.spec = fused.cells, fused.spec
        if kind == 'base':
            update.around = fused.cells
            return
        update.frame_id = motion.frame_id
        if around:
            here = self._pipeline.fused(motion.pose, seconds, frame='base')
            assert here is not None, 'the frame itself was added'
            self._sectors.blank(here.cells, here.spec, blind)
            update.around = here.cells

    def _newest_of_each(
        self, t_odom_base: np.ndarray, seconds: float, kind: str, p: GroundSettings
    ) -> GridResult:
        """Return the newest frame of each camera, and nothing older."""
        # One frame must do: nothing is kept by which it could be confirmed.
        options = replace(p.fusion, miss=max(p.fusion.miss, p.fusion.free_at))
        self._pipeline.reset_fusion()
        for frame, pose, at in sorted(self._placed.values(), key=lambda placed: placed[2]):
            if abs(at - seconds) <= options.time_back:
                self._pipeline.fuse(frame, pose, at, options=options, graded=p.grid_graded)
        fused = self._pipeline.fused(t_odom_base, seconds, frame=kind)
        assert fused is not None, 'the frame itself was added'
        return fused

    def _blind(self, p: GroundSettings, update: GroundUpdate) -> tuple[str, ...]:
        """Find the cameras of several from which nothing trustworthy has come lately."""
        if len(self._eyes) == 1:
            return ()
        update.blind = tuple(n for n in self._eyes if not self._sees(n, p.stale_after))
        return update.blind

    def _sees(self, camera: str, stale_after: float) -> bool:
        arrival = self._good.get(camera)
        return arrival is not None and self._clock() - arrival <= stale_after

    def _is_overtaken(self, arrival: float) -> bool:
        """Forget, where it was asked for; True when it was after a frame's arrival."""
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is None:
            return False
        self.forget()
        return arrival < interrupted
