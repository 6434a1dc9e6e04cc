"""What the segmentation node's worker does with each frame. No arithmetic, no life cycle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from seg_perception.core.errors import (
    CameraModelError,
    ExtrinsicsError,
    GroundError,
    OdometryError,
)
from seg_perception.core.image_quality import FreezeWatch, QualityMonitor, measure
from seg_perception.core.results import SemanticResult
from seg_perception.nodes.camera_frames import Calibration, CameraFrames, Job
from seg_perception.nodes.outputs import GroundWanted, SegmentationOutputs
from seg_perception.nodes.shared_ground import SharedGround
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.health_scope import HealthScope
from seg_perception.ros.images import Frame
from seg_perception.ros.instance_images import InstanceImages
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.odometry import Motion
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.tilt import Tilt
from seg_perception.runtime.pipeline import Pipeline, at_size

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
    ground: SharedGround
    extrinsics: Extrinsics
    tilt: Tilt
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
        self._tilt = parts.tilt
        self._instances = instances
        self._quality = QualityMonitor(parameters.quality_limits)
        self._freeze = FreezeWatch()
        self._fingerprint = 0
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
        self._quality.limits = parameters.quality_limits

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
        if self._outputs.ground is not None:
            self._ground.interrupt()

    def _work(self, job: Job, frame: Frame, parameters: SegmentationParameters) -> bool:
        result = self._pipeline.segment(frame.pixels, frame.color)
        if self._closed:
            return False
        self._publish(job, frame, result, parameters)
        return True

    def _lost(self, header: Header) -> None:
        if self._outputs.ground is not None:
            self._ground.lost(self.camera, header.stamp, self._parameters)

    def _jumped(self) -> None:
        self._tilt.clear()
        if self._instances is not None:
            self._instances.clear()
        if self._outputs.ground is not None:
            self._ground.time_jumped()

    def _publish(
        self, job: Job, frame: Frame, result: SemanticResult, p: SegmentationParameters
    ) -> None:
        header = job.message.header
        wanted = self._outputs.wanted(lazy=p.lazy)
        mine = wanted.cameras[self.camera]
        start = time.perf_counter()
        shown = at_size(result, *result.image_size) if p.mask_size == 'image' else result
        self._shown.publish_mask(shown, header, mine)
        self._timing.measure('publish_mask', start)
        calibration = None
        if wanted.calibration(self.camera):
            calibration = self._usable_calibration(header, result.image_size)
        else:
            self._health.clear('camera_info')
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
        believed = self._believes(frame, result, job.arrival, p)
        if calibration is None or not believed or self._older_than_calibration(header):
            self._ground.lost(self.camera, header.stamp, p)
            return
        try:
            motion = self._ground.motion(header.stamp, p)
            if self._is_frozen(motion, p):
                self._ground.lost(self.camera, header.stamp, p)
                return
            pose = self._extrinsics.pose(header.frame_id, header.stamp, self.camera)
            pose = self._tilt.correct(pose, header.stamp, motion)
            self._health.set('camera pose from', self._extrinsics.source_of(self.camera))
            grid = self._pipeline.project(
                result,
                calibration.camera,
                pose,
                p.grid_spec,
                p.projection,
                camera_id=self.camera,
                plane=p.plane,
                instances=self._instances_of(header, p),
            )
        except (ExtrinsicsError, OdometryError, GroundError, CameraModelError) as error:
            self._freeze.reset()
            self._unplaced(error, header, p)
            return
        self._health.clear('transform')
        self._health.clear('odometry')
        if grid.sees_ground:
            self._health.clear('camera_pose')
        else:
            self._health.problem(
                'camera_pose',
                'no pixel of the camera falls on the grid: check camera_pose.height and '
                "camera_pose.pitch (radians, positive looks down) or the camera's transform",
            )
        fresh = self._ground.show(self.camera, grid, motion, header.stamp, job.arrival, wanted, p)
        if fresh:
            self._health.clear('too_slow')
        else:
            self._health.problem(
                'too_slow',
                f'a frame took longer than stale_after ({p.stale_after} s), so its grid is '
                'unknown: use a smaller input_size, a faster model or another provider',
            )

    def _unplaced(self, error: Exception, header: Header, p: SegmentationParameters) -> None:
        """Report why a frame has no place on the ground."""
        if isinstance(error, OdometryError):
            self._health.problem('odometry', str(error))
        else:
            level = Level.WARN if self._extrinsics.waiting else Level.ERROR
            self._health.problem('transform', str(error), level)
        self._ground.lost(self.camera, header.stamp, p)

    def _believes(
        self, frame: Frame, result: SemanticResult, arrival: float, p: SegmentationParameters
    ) -> bool:
        """Judge the picture and the network's confidence in it."""
        if not p.quality_enabled:
            self._quality.reset()
            self._health.clear('picture')
            return True
        start = time.perf_counter()
        statistics = measure(frame.pixels, frame.color, result.confidence)
        self._fingerprint = statistics.fingerprint
        had = set(self._quality.faults)
        faults = self._quality.update(statistics, arrival)
        self._timing.measure('judge', start)
        self._health.set('picture', ', '.join(f.value for f in faults) or 'good')
        if not faults:
            return True
        named = '; '.join(f'{fault.value}: {why}' for fault, why in faults.items())
        self._health.problem(
            'picture', f'the picture is not to be believed ({named}): the grid is unknown'
        )
        if not had:
            self._ground.forget(self.camera)
        return False

    def _is_frozen(self, motion: Motion | None, p: SegmentationParameters) -> bool:
        """Judge whether the picture goes with the robot's motion; the last word on pictures."""
        if not p.quality_enabled:
            return False
        if motion is None or p.quality_max_frozen == 0.0:
            self._freeze.reset()
        elif self._freeze.moved(self._fingerprint, motion.pose[:3, 3]) > p.quality_max_frozen:
            self._health.set('picture', 'frozen')
            self._health.problem(
                'picture',
                f'the picture is frozen: it is the same although the robot has moved more than '
                f'{p.quality_max_frozen:g} m; the grid is unknown. Restart the camera driver',
            )
            return True
        self._health.clear('picture')
        return False

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


class CameraSet:
    """The handlers of all cameras behind the one worker."""

    def __init__(self, handlers: Sequence[FrameHandler]) -> None:
        self._handlers = {handler.camera: handler for handler in handlers}

    def __getitem__(self, camera: str) -> FrameHandler:
        return self._handlers[camera]

    @property
    def parameters(self) -> SegmentationParameters:
        """The parameters in force; setting them may raise what speaks against them."""
        return next(iter(self._handlers.values())).parameters

    @parameters.setter
    def parameters(self, parameters: SegmentationParameters) -> None:
        for handler in self._handlers.values():
            handler.parameters = parameters

    def open(self) -> None:
        """Publish what frames become, from the next one on."""
        for handler in self._handlers.values():
            handler.open()

    def close(self) -> None:
        """Drop the frame in work."""
        for handler in self._handlers.values():
            handler.close()

    def handle(self, job: CameraJob) -> None:
        """Work on a frame of the camera that it names."""
        self._handlers[job.camera].handle(job)

    def failed(self, job: CameraJob, error: Exception) -> None:
        """Report an error nobody foresaw."""
        self._handlers[job.camera].failed(job, error)
