"""What the instance node's worker does with each frame. No arithmetic, no life cycle."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode

from seg_perception.core.errors import CameraModelError, ExtrinsicsError
from seg_perception.core.footprints import footprints
from seg_perception.core.instances import Found
from seg_perception.nodes.camera_frames import CameraFrames, Job
from seg_perception.nodes.instance_outputs import InstanceOutputs, InstancesWanted
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.images import Frame
from seg_perception.ros.instance_messages import markers
from seg_perception.ros.instance_parameters import InstanceParameters
from seg_perception.ros.messages import stamp_ns
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.timing import Timing
from seg_perception.runtime.tracking import Numbering


class InstanceFrames(CameraFrames):
    """Takes frames to objects (threads: see CameraFrames)."""

    WITHOUT_CALIBRATION = 'there are no markers'

    def __init__(
        self,
        node: LifecycleNode,
        parameters: InstanceParameters,
        segmenter: InstanceSegmenter,
        numbering: Numbering,
        outputs: InstanceOutputs,
        extrinsics: Extrinsics,
        health: HealthMonitor,
    ) -> None:
        self._segmenter = segmenter
        self._numbering = numbering
        self._outputs = outputs
        super().__init__(node, parameters, extrinsics, health, Timing())

    def open(self) -> None:
        self._numbering.reset()  # who knows for how long nobody looked
        super().open()

    def _check_parameters(self, parameters: InstanceParameters) -> None:
        self._selection = parameters.selection(self._segmenter.labels)

    def _jumped(self) -> None:
        self._numbering.reset()

    def _work(self, job: Job, frame: Frame, parameters: InstanceParameters) -> bool:
        start = time.perf_counter()
        everything = self._segmenter.segment(frame.pixels, frame.color)
        start = self._timing.measure('segment', start)
        self._timing.stages.update(self._segmenter.last_timing)
        # A camera that sets no stamps is tracked by the time its pictures arrive.
        stamp = stamp_ns(job.message.header.stamp) or int(job.arrival * 1e9)
        found = self._numbering.number(everything, self._selection, stamp)
        self._timing.measure('paste_and_track', start)
        if self._closed:
            return False
        self._publish(job, frame, found, parameters)
        return True

    def _publish(
        self,
        job: Job,
        frame: Frame,
        found: Found,
        p: InstanceParameters,
    ) -> None:
        header, labels = job.message.header, self._segmenter.labels
        wanted = self._outputs.wanted(lazy=p.lazy)
        start = time.perf_counter()
        self._outputs.publish_found(found, labels, header, wanted)
        if wanted.overlay:
            self._outputs.publish_overlay(frame, found, labels, p.overlay_alpha, header)
        self._timing.measure('publish', start)
        self._publish_markers(job, found, wanted, p)

    def _publish_markers(
        self,
        job: Job,
        found: Found,
        wanted: InstancesWanted,
        p: InstanceParameters,
    ) -> None:
        header, labels = job.message.header, self._segmenter.labels
        calibration = self._usable_calibration(
            header, found.instances.image_size, wanted=wanted.markers
        )
        if calibration is None:
            self._health.clear('transform')
            return
        try:
            pose = self._extrinsics.pose(header.frame_id, header.stamp)
            self._health.set('camera pose from', self._extrinsics.source)
            standing = footprints(
                found.instances,
                found.regions,
                labels,
                calibration.camera,
                pose,
                p.ground_max_range,
            )
        except (ExtrinsicsError, CameraModelError) as error:
            level = Level.WARN if self._extrinsics.waiting else Level.ERROR
            self._health.problem('transform', str(error), level)
            return
        self._health.clear('transform')
        self._outputs.markers.publish(
            markers(standing, found, labels, p.ground_frame_id, header, p.stale_after)
        )
