"""What the node says of the ground, from a recording: its frames, odometry and IMU in their order.

What a frame shows and what all show together is judged by the node's own class; its clock is the
recording's, so nothing is ever too late.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import CameraInfo, Imu

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError, SourceError
from seg_perception.core.grid import GridSpec
from seg_perception.core.motion import CLOCK_JUMP
from seg_perception.core.results import SemanticResult
from seg_perception.ros.bag_cameras import BagFrame
from seg_perception.ros.bag_reader import BagMessage, BagReader
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.messages import camera_model, stamp_ns
from seg_perception.ros.odometry import Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import RecordedBuffer
from seg_perception.ros.tilt import Tilt
from seg_perception.ros.whereabouts import Whereabouts
from seg_perception.runtime.ground_update import Sight
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.shared_ground import SharedGround

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
                message = recorded.read(self._kind)
            except SourceError:
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
        tf = None if p.camera_pose_source == 'parameters' else buffer
        self._odometry = Odometry(None, p, buffer)
        self._tilt = Tilt(p, tf)
        whereabouts = Whereabouts(Extrinsics(None, p, tf), self._odometry, self._tilt)
        self._now = 0.0  # of the recording
        self._shared = SharedGround(pipeline, whereabouts, cameras, lambda: self._now)
        self._odometry_feed = Feed(bag, motion_topic(bag, ODOMETRY, '/odom'), OdometryMessage)
        self._imu_feed = Feed(bag, motion_topic(bag, IMU, '/imu'), Imu)
        self._covered: tuple[GridSpec, str] | None = None
        self._infos: dict[str, CameraModel] = {}
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
        self._now = frame.log_ns / 1e9
        stamp = frame.stamp_ns
        before = self._stamps.get(camera)
        if before is not None and before - stamp >= CLOCK_JUMP * 1e9:
            self.note('the stamps went back: the grid starts anew')
            self._shared.clear()
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
        if model is not None:
            if self._infos.setdefault(camera, model) != model:
                self.note(f'{frame.camera.info_topic} has changed: the grid starts anew')
                self._shared.forget()
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
        """Return what is known without a picture that could not be read.

        Unknown all over, where the last grid lay; None while other cameras see: their next
        frames say it.
        """
        self._now = frame.log_ns / 1e9
        return None if self._shared.lost(camera, self._p) else self._unknown()

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
        assert frame.frame is not None
        header = frame.message.header
        sight = Sight(
            camera,
            header.frame_id,
            stamp_ns(header.stamp),
            self._now,
            frame.frame.pixels,
            frame.frame.color,
            result,
            model,
            lambda: instances,
        )
        update = self._shared.show(sight, self._p, around=True)
        for reason in update.problems.values():
            if reason is not None:
                self.note(reason.brief)
        for _, text in update.events:
            self.note(text)
        if update.cells is None:
            return None if update.left_to_others else self._unknown()
        assert update.around is not None
        self._covered = update.spec, update.frame_id
        pose = None if update.motion is None else update.motion.pose
        return GroundCells(update.cells, update.spec, update.frame_id, update.around, pose)

    def _unknown(self) -> GroundCells:
        """As `nodes.grid_guard` does: where the last grid lay, from then on around the robot."""
        own = self._p.grid_spec
        spec, frame_id = self._covered or (own, self._p.grid_frame_id)
        self._covered = None
        return GroundCells(spec.unknown(), spec, frame_id, own.unknown())
