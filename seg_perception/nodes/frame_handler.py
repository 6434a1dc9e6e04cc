"""What the segmentation node's worker does with each frame. No arithmetic, no life cycle."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import (
    CameraModelError,
    ExtrinsicsError,
    GroundError,
    ImageError,
)
from seg_perception.core.results import SemanticResult
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.nodes.outputs import SegmentationOutputs
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.images import Frame, compressed_to_frame, to_frame
from seg_perception.ros.messages import camera_model, stamp_ns
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.pipeline import Pipeline, at_size

#: Seconds after activation in which an image may come before the first camera_info: both
#: topics are discovered at their own pace.
CALIBRATION_PATIENCE = 1.0
#: Problems that only a frame which becomes a grid can have, or clear.
GRID_PROBLEMS = ('transform', 'camera_pose', 'too_slow')
#: Seconds by which a stamp must be older than the one before to be a jump of the clock; less
#: is a picture that was overtaken on its way.
JUMP = 0.5


@dataclass(frozen=True)
class Job:
    """A frame on its way to the worker; `arrival` in seconds of the steady clock."""

    message: Image | CompressedImage
    arrival: float


@dataclass(frozen=True)
class Calibration:
    """The newest camera_info, and the model it gives or why it gives none."""

    message: CameraInfo
    camera: CameraModel | None
    problem: str = ''


class FrameHandler:
    """Takes frames to masks and grids.

    `handle` runs in the worker's thread, everything else in the executor's. What both touch
    (parameters, calibration) is immutable and replaced as a whole.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: SegmentationParameters,
        pipeline: Pipeline,
        outputs: SegmentationOutputs,
        guard: GridGuard,
        extrinsics: Extrinsics,
        health: HealthMonitor,
    ) -> None:
        self._clock = node.get_clock()
        self._info_topic = node.resolve_topic_name('camera_info')
        self._pipeline = pipeline
        self._outputs = outputs
        self._guard = guard
        self._extrinsics = extrinsics
        self._health = health
        self._calibration: Calibration | None = None
        self._last_stamp: int | None = None
        self._closed = True
        self._opened = 0.0
        self.parameters = parameters

    @property
    def parameters(self) -> SegmentationParameters:
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: SegmentationParameters) -> None:
        """Take new live-tunable parameters; they hold from the next frame on.

        Raises:
            LabelSetError: `class_roles` names a class that the model does not have.
        """
        labels = self._pipeline.segmenter.labels.with_roles(parameters.class_roles)
        self._parameters = parameters
        self._pipeline.labels = labels
        if self._calibration is not None:
            self.set_camera_info(self._calibration.message)  # `rectified` may be another

    def open(self) -> None:
        """Publish what frames become, from the next one on."""
        self._opened = time.monotonic()
        self._closed = False

    def close(self) -> None:
        """Drop the frame in work: nobody waits for it, and its outputs may soon be gone."""
        self._closed = True

    def set_camera_info(self, message: CameraInfo) -> None:
        """Keep a calibration; with one that can't be used, the ground is unknown."""
        try:
            camera = camera_model(message)
            if self._parameters.rectified:
                camera = camera.rectified()
        except CameraModelError as error:
            self._calibration = Calibration(message, None, f': {error}')
            return
        self._calibration = Calibration(message, camera)

    def handle(self, job: Job) -> None:
        """Segment one frame and publish what somebody listens to."""
        header = job.message.header
        self._note_stamp(header)
        try:
            frame = self._decode(job)
        except ImageError as error:
            self._health.rejected(str(error))
            self._guard_unknown(header)
            return
        self._health.clear('image')
        parameters = self._parameters
        result = self._pipeline.segment(frame.pixels, frame.color)
        if self._closed:
            self._health.dropped()
            return
        self._publish(job, frame, result, parameters)
        self._health.clear('inference')
        self._health.output(job.arrival, self._latency(header), self._pipeline.timing.stages)

    def failed(self, job: Job, error: Exception) -> None:
        """Report an error nobody foresaw in `handle`; the frame is lost, the node is not."""
        if self._closed:
            self._health.dropped()
            return
        self._health.failed(f'{type(error).__name__}: {error}')
        self._guard_unknown(job.message.header)

    def _guard_unknown(self, header: Header) -> None:
        if self._outputs.grid is not None:
            self._guard.publish_unknown(header.stamp)

    def _decode(self, job: Job) -> Frame:
        start = time.perf_counter()
        if isinstance(job.message, CompressedImage):
            frame = compressed_to_frame(job.message)
        else:
            frame = to_frame(job.message)
        self._pipeline.timing.measure('decode', start)
        return frame

    def _publish(
        self, job: Job, frame: Frame, result: SemanticResult, p: SegmentationParameters
    ) -> None:
        header = job.message.header
        wanted = self._outputs.wanted(lazy=p.lazy)
        start = time.perf_counter()
        shown = at_size(result, *result.image_size) if p.mask_size == 'image' else result
        self._outputs.publish_mask(shown, header, wanted)
        self._pipeline.timing.measure('publish_mask', start)
        calibration = None
        if wanted.calibration:
            calibration = self._usable_calibration(header, result)
        else:
            self._health.clear('camera_info')
        if wanted.camera_info and calibration is not None:
            self._outputs.publish_camera_info(calibration.message, shown.size, header)
        if wanted.grid:
            self._publish_grid(job, result, calibration, p)
        if not wanted.grid or calibration is None:
            for problem in GRID_PROBLEMS:
                self._health.clear(problem)
        if wanted.overlay:
            palette = self._pipeline.labels.palette()
            self._outputs.publish_overlay(frame, result, palette, p.overlay_alpha, header)

    def _publish_grid(
        self,
        job: Job,
        result: SemanticResult,
        calibration: Calibration | None,
        p: SegmentationParameters,
    ) -> None:
        header = job.message.header
        if calibration is None:
            self._guard.publish_unknown(header.stamp)
            return
        try:
            pose = self._extrinsics.pose(header.frame_id, header.stamp)
            self._health.set('camera pose from', self._extrinsics.source)
            grid = self._pipeline.project(
                result, calibration.camera, pose, p.grid_spec, p.projection
            )
        except (ExtrinsicsError, GroundError) as error:
            level = Level.WARN if self._extrinsics.waiting else Level.ERROR
            self._health.problem('transform', str(error), level)
            self._guard.publish_unknown(header.stamp)
            return
        self._health.clear('transform')
        if grid.sees_ground:
            self._health.clear('camera_pose')
        else:
            self._health.problem(
                'camera_pose',
                'no pixel of the camera falls on the grid: check camera_pose.height and '
                "camera_pose.pitch (radians, positive looks down) or the camera's transform",
            )
        start = time.perf_counter()
        fresh = self._guard.publish(grid.cells, p.grid_spec, header.stamp, job.arrival)
        self._pipeline.timing.measure('publish_grid', start)
        if fresh:
            self._health.clear('too_slow')
        else:
            self._health.problem(
                'too_slow',
                f'a frame took longer than stale_after ({p.stale_after} s), so its grid is '
                'unknown: use a smaller input_size, a faster model or another provider',
            )

    def _usable_calibration(self, header: Header, result: SemanticResult) -> Calibration | None:
        """Return the calibration if it is this picture's, else report why it is not."""
        calibration = self._calibration
        if calibration is None:
            if time.monotonic() - self._opened < CALIBRATION_PATIENCE:
                return None
            self._health.problem(
                'camera_info',
                f'no camera_info on {self._info_topic}: without calibration the grid is '
                'unknown; start the driver with a calibration or remap camera_info',
            )
            return None
        info, camera = calibration.message, calibration.camera
        width, height = result.image_size
        if camera is None:
            reason = calibration.problem
        elif (camera.width, camera.height) != (width, height):
            reason = (
                f' is for {camera.width}x{camera.height}, the image is {width}x{height}: publish '
                "the calibration of this image's size"
            )
        elif info.header.frame_id and info.header.frame_id != header.frame_id:
            reason = (
                f" is of frame '{info.header.frame_id}', the image of '{header.frame_id}': they "
                'are of different cameras, or one driver sets a wrong frame_id'
            )
        else:
            self._health.clear('camera_info')
            return calibration
        self._health.problem('camera_info', f'{self._info_topic}{reason}')
        return None

    def _note_stamp(self, header: Header) -> None:
        stamp = stamp_ns(header.stamp)
        if stamp == 0:
            self._health.problem(
                'stamp',
                'the image has no stamp (0): its outputs have none either, and tf2 takes its '
                'newest transform for it; set it in the camera driver',
                Level.WARN,
            )
            return
        self._health.clear('stamp')
        back = 0.0 if self._last_stamp is None else (self._last_stamp - stamp) / 1e9
        if back >= JUMP:
            self._health.time_jump(back)
            self._extrinsics.clear()
            self._last_stamp = stamp
        else:
            self._last_stamp = max(self._last_stamp or 0, stamp)

    def _latency(self, header: Header) -> float:
        """Seconds between the image's stamp and now on the node's clock."""
        age = self._clock.now() - Time.from_msg(header.stamp, clock_type=self._clock.clock_type)
        return age.nanoseconds / 1e9
