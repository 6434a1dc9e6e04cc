"""What the node says of the ground, from a recording: odometry, fusion, blind cameras.

The same parts as in the node (poses, odometry, tilt, picture quality, projection, fusion), in the
node's order; its clock is the recording's, so nothing is ever too late.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Imu

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import (
    CameraModelError,
    ExtrinsicsError,
    GroundError,
    OdometryError,
)
from seg_perception.core.grid import GridSpec
from seg_perception.core.ground_observation import UNKNOWN
from seg_perception.core.image_quality import FreezeWatch, QualityMonitor, measure
from seg_perception.core.results import SemanticResult
from seg_perception.core.sectors import Sectors, merged
from seg_perception.ros.bag_cameras import BagFrame
from seg_perception.ros.bag_reader import BagMessage, BagReader
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.messages import camera_model, stamp_ns
from seg_perception.ros.odometry import Motion, Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import RecordedBuffer
from seg_perception.ros.tilt import Tilt
from seg_perception.runtime.pipeline import GridResult, Pipeline

#: Seconds by which a stamp must be older than the one before to be a jump of the clock.
JUMP = 0.5
#: Seconds by which pictures of several cameras may differ without odometry.
MAX_SKEW = 0.2
#: A live node waits so long for odometry that comes after its picture, nanoseconds.
AHEAD_NS = 50_000_000
ODOMETRY, IMU = 'nav_msgs/msg/Odometry', 'sensor_msgs/msg/Imu'


@dataclass(frozen=True)
class GroundCells:
    """The grid after a frame.

    Attributes:
        cells: int8 [spec.height, spec.width], as published.
        spec: where they lie in ``frame_id``.
        frame_id: the robot's frame, or the odometry's.
        base_cells: int8, the same on the grid of the parameters, in the robot's frame.
        pose: float [4, 4], the robot in the odometry's frame; None without odometry.
    """

    cells: np.ndarray
    spec: GridSpec
    frame_id: str
    base_cells: np.ndarray
    pose: np.ndarray | None = None


class Feed:
    """The messages of one topic of a bag, handed on as the recording goes on."""

    def __init__(self, bag: BagReader, topic: str, kind: type) -> None:
        self.topic = topic
        self._kind = kind
        self._messages: Iterator[BagMessage] = iter(bag.messages({topic}) if topic else ())
        self._next = next(self._messages, None)

    def until(self, log_ns: int) -> Iterator[Any]:
        """Give what was recorded up to a time and has not been given yet."""
        while self._next is not None and self._next.log_ns <= log_ns:
            recorded, self._next = self._next, next(self._messages, None)
            try:
                message = deserialize_message(bytes(recorded.raw), self._kind)
            except Exception:
                continue  # a broken sample is a missing one, and its gap is told
            yield message


def motion_topic(bag: BagReader, kind: str, usual: str) -> str:
    """Return the topic of odometry or IMU: the usual name, else the first by name; '' = none."""
    found = sorted(t.name for t in bag.topics if t.type == kind and t.count)
    return usual if usual in found else next(iter(found), '')


class BagGround:
    """Turns masks into grids, as the node's cameras together do.

    Args:
        pipeline: which projects and fuses.
        parameters: of segmentation_node.
        bag: the recording, for odometry and IMU.
        buffer: its transforms.
        cameras: names; one camera is called ''.

    Attributes:
        problems: what was wrong with frames, and with how many.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        parameters: SegmentationParameters,
        bag: BagReader,
        buffer: RecordedBuffer,
        cameras: Sequence[str],
    ) -> None:
        # What has not been recorded does not come by waiting for it.
        self._p = p = dataclasses.replace(parameters, odometry_timeout=0.0)
        self._pipeline = pipeline
        self._cameras = tuple(cameras)
        tf = None if p.camera_pose_source == 'parameters' else buffer
        self._extrinsics = Extrinsics(None, p, tf)
        self._odometry = Odometry(None, p, buffer)
        self._tilt = Tilt(p, buffer)
        self._odometry_feed = Feed(bag, motion_topic(bag, ODOMETRY, '/odom'), OdometryMessage)
        self._imu_feed = Feed(bag, motion_topic(bag, IMU, '/imu'), Imu)
        self._quality = {name: QualityMonitor(p.quality_limits) for name in self._cameras}
        self._freeze = {name: FreezeWatch() for name in self._cameras}
        self._fingerprint = 0
        self._sectors = Sectors()
        self._good: dict[str, int] = {}
        self._alone: dict[str, tuple[int, np.ndarray]] = {}
        self._placed: dict[str, tuple[GridResult, np.ndarray, float]] = {}
        self._last = p.grid_spec, p.grid_frame_id
        self._infos: dict[str, CameraModel | None] = {}
        self._stamps: dict[str, int] = {}
        self.problems: dict[str, int] = {}

    def note(self, text: str) -> None:
        """Count a problem of a frame."""
        self.problems[text] = self.problems.get(text, 0) + 1

    def advance(self, camera: str, frame: BagFrame) -> None:
        """Take what was recorded up to a frame."""
        for message in self._odometry_feed.until(frame.log_ns + AHEAD_NS):
            self._odometry.take(message)
        for message in self._imu_feed.until(frame.log_ns + AHEAD_NS):
            self._tilt.take(message)
        stamp = frame.stamp_ns
        before = self._stamps.get(camera)
        if before is not None and before - stamp >= JUMP * 1e9:
            self.note('the stamps went back: the grid starts anew')
            self._tilt.clear()
            self._odometry.clear()
            self._forget()
            self._stamps[camera] = stamp
        else:
            self._stamps[camera] = max(before or 0, stamp)

    def calibration(
        self, camera: str, frame: BagFrame, size: tuple[int, int]
    ) -> CameraModel | None:
        """Return a picture's calibration; None, counted, where the node would refuse it too."""
        info = frame.info
        model, problem = self._checked(info, frame, size)
        if problem:
            self.note(problem)
        if camera in self._infos and self._infos[camera] != model and model is not None:
            if self._infos[camera] is not None:
                self.note(f'{frame.camera.info_topic} has changed: the grid starts anew')
            self._forget()
        if model is not None:
            self._infos[camera] = model
        return model

    def _checked(
        self, info: CameraInfo | None, frame: BagFrame, size: tuple[int, int]
    ) -> tuple[CameraModel | None, str]:
        if info is None:
            return None, f'no camera_info of {frame.camera.image.name}: its ground is unknown'
        topic, frame_id = frame.camera.info_topic, frame.message.header.frame_id
        try:
            model = camera_model(info, size)
            model = model.rectified() if self._p.rectified else model
        except CameraModelError as error:
            return None, f'{topic}: {error}'
        if info.header.frame_id and info.header.frame_id != frame_id:
            return None, f"{topic} is of frame '{info.header.frame_id}', the image of '{frame_id}'"
        return model, ''

    def lost(self, camera: str, frame: BagFrame) -> GroundCells | None:
        """Return what is known without a frame that shows nothing of the ground.

        Unknown all over, where the last grid lay; None while other cameras see: their next
        frames say it.
        """
        for known in (self._good, self._alone, self._placed):
            known.pop(camera, None)
        if len(self._blind(frame.log_ns)) < len(self._cameras) and len(self._cameras) > 1:
            return None
        spec, frame_id = self._last
        unknown = self._p.grid_spec.unknown()
        return GroundCells(spec.unknown(), spec, frame_id, unknown)

    def show(
        self,
        camera: str,
        frame: BagFrame,
        result: SemanticResult,
        model: CameraModel | None,
        instances: np.ndarray | None = None,
    ) -> GroundCells | None:
        """Project a mask, add it to what is known, and return all of it.

        Args:
            camera: name.
            frame: the picture.
            result: its mask.
            model: its calibration; None makes the ground unknown.
            instances: uint16 [h, w], ids of objects, where they are known.

        Returns:
            None where the node would leave the word to the other cameras.
        """
        p, header = self._p, frame.message.header
        if model is None or not self._believes(camera, frame, result):
            return self.lost(camera, frame)
        try:
            motion = self._motion(header.stamp)
            if self._is_frozen(camera, motion):
                return self.lost(camera, frame)
            pose = self._extrinsics.pose(header.frame_id, header.stamp, camera)
            pose = self._tilt.correct(pose, header.stamp, motion)
            grid = self._pipeline.project(
                result,
                model,
                pose,
                p.grid_spec,
                p.projection,
                camera_id=camera,
                plane=p.plane,
                instances=instances,
            )
        except (ExtrinsicsError, OdometryError, GroundError, CameraModelError) as error:
            self._freeze[camera].reset()
            self.note(str(error))
            return self.lost(camera, frame)
        if not grid.sees_ground:
            self.note(
                'no pixel of the camera falls on the grid: check camera_pose.height and '
                "camera_pose.pitch or the camera's transform"
            )
        self._good[camera] = frame.log_ns
        if len(self._cameras) > 1 and grid.observation is not None:
            self._sectors.note(camera, p.grid_spec, grid.observation.kinds != UNKNOWN)
        if motion is None:
            ground = self._without_motion(camera, grid, frame)
        else:
            ground = self._with_motion(camera, grid, motion, frame)
        self._last = ground.spec, ground.frame_id
        return ground

    def _without_motion(self, camera: str, grid: GridResult, frame: BagFrame) -> GroundCells:
        cells, now = grid.cells, frame.stamp_ns
        if len(self._cameras) > 1:
            self._alone[camera] = now, cells
            cells = merged(
                seen for at, seen in self._alone.values() if abs(now - at) / 1e9 <= MAX_SKEW
            )
        return GroundCells(cells, self._p.grid_spec, self._p.grid_frame_id, cells)

    def _with_motion(
        self, camera: str, grid: GridResult, motion: Motion, frame: BagFrame
    ) -> GroundCells:
        p = self._p
        seconds = stamp_ns(frame.message.header.stamp) / 1e9
        kind = 'base' if p.grid_publish_in == 'base' else 'odom'
        if p.fusion_enabled:
            fused = self._pipeline.fuse(
                grid, motion.pose, seconds, options=p.fusion, graded=p.grid_graded, frame=kind
            )
        else:
            self._placed[camera] = grid, motion.pose, seconds
            fused = self._newest_of_each(motion.pose, seconds, kind)
        if fused.reset:
            self.note(f'{fused.reset}: the grid starts anew')
        blind = self._blind(frame.log_ns)
        self._sectors.blank(
            fused.cells, fused.spec, blind, motion.pose if kind == 'odom' else None
        )
        if kind == 'base':
            return GroundCells(fused.cells, fused.spec, p.grid_frame_id, fused.cells, motion.pose)
        around = self._pipeline.fused(motion.pose, seconds, frame='base')
        base = p.grid_spec.unknown() if around is None else around.cells
        self._sectors.blank(base, p.grid_spec, blind)
        return GroundCells(fused.cells, fused.spec, motion.frame_id, base, motion.pose)

    def _newest_of_each(self, pose: np.ndarray, seconds: float, kind: str) -> GridResult:
        """Return the newest frame of each camera, and nothing older."""
        p = self._p
        # One frame must do: nothing is kept by which it could be confirmed.
        options = dataclasses.replace(p.fusion, miss=max(p.fusion.miss, p.fusion.free_at))
        self._pipeline.reset_fusion()
        for grid, placed, at in sorted(self._placed.values(), key=lambda item: item[2]):
            if abs(at - seconds) <= options.time_back:
                self._pipeline.fuse(grid, placed, at, options=options, graded=p.grid_graded)
        fused = self._pipeline.fused(pose, seconds, frame=kind)
        assert fused is not None, 'the frame itself was added'
        return fused

    def _motion(self, stamp: Any) -> Motion | None:
        try:
            motion = self._odometry.pose(stamp)
            lead = 0.0 if motion is None else self._odometry.lead(stamp)
            if lead > self._p.stale_after:
                raise OdometryError(
                    f'the image is {lead:.2f} s older than the newest odometry, more than '
                    f"'stale_after' ({self._p.stale_after:g} s): the camera's clock was off"
                )
            return motion
        finally:
            reason = self._odometry.take_interruption()
            if reason:
                self.note(f'{reason}: the grid starts anew')
                self._forget()

    def _believes(self, camera: str, frame: BagFrame, result: SemanticResult) -> bool:
        monitor = self._quality[camera]
        if not self._p.quality_enabled:
            return True
        assert frame.frame is not None
        had = set(monitor.faults)
        statistics = measure(frame.frame.pixels, frame.frame.color, result.confidence)
        self._fingerprint = statistics.fingerprint
        faults = monitor.update(statistics, frame.log_ns / 1e9)
        if not faults:
            return True
        named = ', '.join(fault.value for fault in faults)
        self.note(f'the picture is not to be believed ({named}): the grid is unknown')
        if not had:
            self._forget(camera)
        return False

    def _is_frozen(self, camera: str, motion: Motion | None) -> bool:
        """Judge whether the picture goes with the robot's motion."""
        limit, watch = self._p.quality_max_frozen, self._freeze[camera]
        if not self._p.quality_enabled:
            return False
        if motion is None or limit == 0.0:
            watch.reset()
        elif watch.moved(self._fingerprint, motion.pose[:3, 3]) > limit:
            self.note('the picture is frozen: it is the same although the robot moves')
            return True
        return False

    def _blind(self, log_ns: int) -> set[str]:
        """The cameras of several from which nothing trustworthy has come lately."""
        if len(self._cameras) == 1:
            return set()
        limit = self._p.stale_after * 1e9
        return {
            name
            for name in self._cameras
            if name not in self._good or log_ns - self._good[name] > limit
        }

    def _forget(self, camera: str | None = None) -> None:
        self._pipeline.reset_fusion()
        self._alone.clear()
        self._placed.clear()
        for name in self._cameras if camera is None else (camera,):
            self._sectors.forget(name)
            self._good.pop(name, None)
