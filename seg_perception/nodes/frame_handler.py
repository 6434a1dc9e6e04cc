"""What the segmentation node's worker does with each frame. No arithmetic, no life cycle."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from seg_perception.core.errors import ExtrinsicsError, GroundError
from seg_perception.core.results import SemanticResult
from seg_perception.nodes.camera_frames import Calibration, CameraFrames, Job
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.nodes.outputs import SegmentationOutputs
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.images import Frame
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.pipeline import Pipeline, at_size

#: Problems that only a frame which becomes a grid can have, or clear.
GRID_PROBLEMS = ('transform', 'camera_pose', 'too_slow')


class FrameHandler(CameraFrames):
    """Takes frames to masks and grids (threads: see CameraFrames)."""

    WITHOUT_CALIBRATION = 'the grid is unknown'

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
        self._pipeline = pipeline
        self._outputs = outputs
        self._guard = guard
        super().__init__(node, parameters, extrinsics, health, pipeline.timing)

    def _check_parameters(self, parameters: SegmentationParameters) -> None:
        """Take the roles of the classes.

        Raises:
            LabelSetError: `class_roles` names a class that the model does not have.
        """
        labels = self._pipeline.segmenter.labels.with_roles(parameters.class_roles)
        self._pipeline.labels = labels

    def _work(self, job: Job, frame: Frame, parameters: SegmentationParameters) -> bool:
        result = self._pipeline.segment(frame.pixels, frame.color)
        if self._closed:
            return False
        self._publish(job, frame, result, parameters)
        return True

    def _lost(self, header: Header) -> None:
        if self._outputs.grid is not None:
            self._guard.publish_unknown(header.stamp)

    def _publish(
        self, job: Job, frame: Frame, result: SemanticResult, p: SegmentationParameters
    ) -> None:
        header = job.message.header
        wanted = self._outputs.wanted(lazy=p.lazy)
        start = time.perf_counter()
        shown = at_size(result, *result.image_size) if p.mask_size == 'image' else result
        self._outputs.publish_mask(shown, header, wanted)
        self._timing.measure('publish_mask', start)
        calibration = None
        if wanted.calibration:
            calibration = self._usable_calibration(header, result.image_size)
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
        self._timing.measure('publish_grid', start)
        if fresh:
            self._health.clear('too_slow')
        else:
            self._health.problem(
                'too_slow',
                f'a frame took longer than stale_after ({p.stale_after} s), so its grid is '
                'unknown: use a smaller input_size, a faster model or another provider',
            )
