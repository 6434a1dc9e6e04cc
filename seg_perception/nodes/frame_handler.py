"""What the segmentation node's worker does with each frame. No arithmetic, no life cycle."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from seg_perception.core.results import SemanticResult
from seg_perception.nodes.camera_frames import Calibration, CameraFrames, Job
from seg_perception.nodes.ground_publisher import GroundPublisher
from seg_perception.nodes.outputs import GroundWanted, SegmentationOutputs
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.health_scope import HealthScope
from seg_perception.ros.images import Frame
from seg_perception.ros.instance_images import InstanceImages
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.ground_update import GroundUpdate, Sight
from seg_perception.runtime.pipeline import Pipeline

#: Problems that only a frame which becomes a grid can have, or clear.
GRID_PROBLEMS = ('transform', 'odometry', 'camera_pose', 'too_slow', 'picture', 'instances')


@dataclass(frozen=True)
class CameraJob(Job):
    """A frame of one camera; '' is the only one."""

    camera: str = ''


@dataclass(frozen=True)
class Parts:
    """What the cameras of one node share."""

    pipeline: Pipeline
    outputs: SegmentationOutputs
    ground: GroundPublisher
    extrinsics: Extrinsics
    health: HealthMonitor


class FrameHandler(CameraFrames):
    """Takes one camera's frames to masks and to what they show of the ground.

    Threads: see CameraFrames.

    Args:
        node: the node.
        parameters: in force.
        parts: shared with the other cameras.
        camera: its name, '' for the only one.
        instances: pictures of instance ids of this camera, where they are used.
    """

    WITHOUT_CALIBRATION = 'the grid is unknown'

    def __init__(
        self,
        node: LifecycleNode,
        parameters: SegmentationParameters,
        parts: Parts,
        camera: str = '',
        instances: InstanceImages | None = None,
    ) -> None:
        self.camera = camera
        self._pipeline = parts.pipeline
        self._outputs = parts.outputs
        self._shown = parts.outputs.cameras[camera]
        self._ground = parts.ground
        self._instances = instances
        self._calibrated_since = 0
        super().__init__(
            node,
            parameters,
            parts.extrinsics,
            HealthScope(parts.health, camera),
            parts.pipeline.timing,
            f'{camera}/camera_info' if camera else 'camera_info',
        )

    def _check_parameters(self, parameters: SegmentationParameters) -> None:
        """Take the roles of the classes.

        Raises:
            LabelSetError: `class_roles` names a class that the model does not have.
        """
        labels = self._pipeline.segmenter.labels.with_roles(parameters.class_roles)
        self._pipeline.labels = labels

    def set_camera_info(self, message: CameraInfo) -> None:
        """Keep a calibration; one that differs from the one before makes the grid start anew."""
        before = self._calibration
        super().set_camera_info(message)
        after = self._calibration
        if before is None or after is None or before.camera == after.camera:
            return
        # Pictures from before the change are still on their way.
        self._calibrated_since = stamp_ns(message.header.stamp)
        self._health.event(
            'calibration changes', f'{self._info_topic} has changed: the grid starts anew'
        )
        self._ground.interrupt()

    def _work(self, job: Job, frame: Frame, parameters: SegmentationParameters) -> bool:
        result = self._pipeline.segment(frame.pixels, frame.color)
        return self._show(job, frame, result, parameters)

    def finish(self, job: Job, frame: Frame, result: SemanticResult) -> None:
        """Publish what a frame that was begun shows by a mask that somebody else made."""
        self._end(job, worked=self._show(job, frame, result, self._parameters))

    def _show(
        self, job: Job, frame: Frame, result: SemanticResult, parameters: SegmentationParameters
    ) -> bool:
        if self._closed:
            return False
        self._publish(job, frame, result, parameters)
        return True

    def _lost(self, header: Header) -> None:
        self._ground.lost(self.camera, header.stamp, self._parameters)

    def _jumped(self) -> None:
        if self._instances is not None:
            self._instances.clear()
        self._ground.time_jumped()

    def _publish(
        self, job: Job, frame: Frame, result: SemanticResult, p: SegmentationParameters
    ) -> None:
        header = job.message.header
        wanted = self._outputs.wanted(lazy=p.lazy)
        mine = wanted.cameras[self.camera]
        start = time.perf_counter()
        shown = result.at_size(*result.image_size) if p.mask_size == 'image' else result
        self._shown.publish_mask(shown, header, mine)
        self._timing.measure('publish_mask', start)
        calibration = self._usable_calibration(
            header, result.image_size, wanted=wanted.calibration(self.camera)
        )
        if mine.camera_info and calibration is not None:
            self._shown.publish_camera_info(calibration.message, shown.size, header)
        if not wanted.ground.anything or calibration is None:
            self._clear_grid_problems()
        if wanted.ground.anything:
            self._publish_ground(job, frame, result, calibration, wanted.ground, p)
        if mine.overlay:
            palette = self._pipeline.labels.palette()
            self._shown.publish_overlay(frame, result, palette, p.overlay_alpha, header)

    def _clear_grid_problems(self) -> None:
        for problem in GRID_PROBLEMS:
            self._health.clear(problem)

    def _publish_ground(
        self,
        job: Job,
        frame: Frame,
        result: SemanticResult,
        calibration: Calibration | None,
        wanted: GroundWanted,
        p: SegmentationParameters,
    ) -> None:
        header = job.message.header
        if self._older_than_calibration(header):
            calibration = None
        sight = Sight(
            self.camera,
            header.frame_id,
            stamp_ns(header.stamp),
            job.arrival,
            frame.pixels,
            frame.color,
            result,
            None if calibration is None else calibration.camera,
            lambda: self._instances_of(header, p),
        )
        update = self._ground.show(sight, wanted, p)
        self._report(update)
        fresh = self._ground.publish(update, header.stamp, job.arrival, wanted, p)
        if update.cells is None:
            return
        if fresh:
            self._health.clear('too_slow')
        else:
            self._health.problem(
                'too_slow',
                f'a frame took longer than stale_after ({p.stale_after} s), so its grid is '
                'unknown: use a smaller input_size, a faster model or another provider',
            )

    def _report(self, update: GroundUpdate) -> None:
        """Tell what was judged of this camera's frame."""
        if update.picture:
            self._health.set('picture', update.picture)
        if update.frame is not None:
            self._health.set('camera pose from', self._extrinsics.source_of(self.camera))
        for subject, reason in update.problems.items():
            if reason is None:
                self._health.clear(subject)
                continue
            waiting = subject == 'transform' and self._extrinsics.waiting
            self._health.problem(subject, reason.text, Level.WARN if waiting else Level.ERROR)

    def _older_than_calibration(self, header: Header) -> bool:
        stamp = stamp_ns(header.stamp)
        return 0 < stamp < self._calibrated_since

    def _instances_of(self, header: Header, p: SegmentationParameters) -> np.ndarray | None:
        if self._instances is None:
            return None
        problem = self._instances.problem
        if problem:
            self._health.problem('instances', problem, Level.WARN)
        else:
            self._health.clear('instances')
        return self._instances.at(stamp_ns(header.stamp), p.instances_timeout)
