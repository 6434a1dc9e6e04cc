"""Camera images in; semantic masks and one drivable grid out: a managed ROS 2 node."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

from seg_perception.nodes.camera_node import WARM_UP_SIZE, CameraNode
from seg_perception.nodes.camera_set import CameraSet
from seg_perception.nodes.frame_handler import CameraJob, FrameHandler, Parts
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.nodes.ground_publisher import GroundPublisher
from seg_perception.nodes.input_stream import InputStream
from seg_perception.nodes.outputs import SegmentationOutputs, Wanted
from seg_perception.nodes.run import run
from seg_perception.ros.instance_images import InstanceImages
from seg_perception.ros.odometry import Odometry
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.tilt import Tilt
from seg_perception.ros.whereabouts import Whereabouts
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.shared_ground import SharedGround

#: Messages of odometry and IMU that may wait for the executor: a quarter of a second at 200 Hz.
MOTION_DEPTH = 50


class SegmentationNode(CameraNode):
    """Managed node around the pipeline, for one or several cameras.

    One process, one loaded network: the cameras take turns at it, or those whose pictures wait
    go together where that is faster. Deactivation withdraws the grid.
    """

    NO_IMAGE = 'the grid is unknown until the camera is back'
    NO_IMAGE_OF_ONE = 'its sector of the grid is unknown until the camera is back'
    HUNG = 'the network is too slow here, or it hangs; the grid is unknown meanwhile'

    def __init__(self, **node_options: Any) -> None:
        super().__init__(
            'segmentation_node', SegmentationParameters, 'segmentation', **node_options
        )

    def _make(self, parameters: SegmentationParameters) -> None:
        p = parameters
        segmenter = SemanticSegmenter(
            Bundle.find(p.model),
            p.provider,
            threads=p.threads,
            precision=p.precision,
            input_size=p.network_size,
        )
        self._pipeline = Pipeline(segmenter, segmenter.labels.with_roles(p.class_roles))
        self._load(segmenter)
        cameras = p.cameras or ('',)
        if segmenter.batches:
            segmenter.warm_up_batches(*WARM_UP_SIZE, len(cameras))
        extrinsics = self._make_extrinsics(p)
        self._outputs = SegmentationOutputs(self, cameras, with_grid=p.grid_enabled)
        self._guard = None
        if self._outputs.ground is not None:
            self._guard = GridGuard(self._outputs.ground, self.get_clock(), p)
        self._odometry = Odometry(self, p, extrinsics.buffer)
        self._tilt = Tilt(p, extrinsics.buffer)
        whereabouts = Whereabouts(extrinsics, self._odometry, self._tilt)
        ground = SharedGround(self._pipeline, whereabouts, cameras)
        self._ground = GroundPublisher(
            ground, self._odometry, self._guard, self._health, self._pipeline.timing
        )
        parts = Parts(self._pipeline, self._outputs, self._ground, extrinsics, self._health)
        instances = {name: InstanceImages() for name in cameras if p.instances}
        handlers = [FrameHandler(self, p, parts, name, instances.get(name)) for name in cameras]
        self._handler = handlers[0]
        if p.cameras:
            self._handler = CameraSet(
                handlers, segmenter, self._pipeline.timing, lambda: self._worker.take_waiting()
            )
        self._streams, self._companions = [], []
        self._of_camera: dict[InputStream, str] = {}
        for handler in handlers:
            self._watch_one(handler, p, instances.get(handler.camera))
        self._watch_motion(p)
        self._warn_without_vision_msgs('label_info')

    def _watch_one(
        self,
        handler: FrameHandler,
        p: SegmentationParameters,
        instances: InstanceImages | None,
    ) -> None:
        """Make the inputs of one camera."""
        camera = handler.camera
        compressed = p.image_transport == 'compressed'
        image = self._input(
            CompressedImage if compressed else Image,
            'image',
            camera,
            partial(self._on_camera_image, camera),
            p,
            transport='/compressed' if compressed else '',
        )
        self._streams.append(image)
        info = self._input(
            CameraInfo, 'camera_info', camera, lambda m, _: handler.set_camera_info(m), p
        )
        self._companions.append(info)
        if instances is not None:
            self._companions.append(
                self._input(Image, 'instances', camera, lambda m, _: instances.take(m), p, depth=4)
            )

    def _input(
        self,
        message_type: Any,
        topic: str,
        camera: str,
        callback: Any,
        p: SegmentationParameters,
        *,
        transport: str = '',
        depth: int = 1,
    ) -> InputStream:
        place = f'{camera}/{topic}' if camera else topic
        if transport:  # image_transport completes the remapped name
            place = f'{self.resolve_topic_name(place)}{transport}'
        stream = InputStream(
            self,
            message_type,
            place,
            callback,
            reliability=p.input_reliability,
            name=f'{camera} {topic}' if camera else topic,
            consequence=self.NO_IMAGE_OF_ONE if camera else self.NO_IMAGE,
            depth=depth,
        )
        self._of_camera[stream] = camera
        return stream

    def _watch_motion(self, p: SegmentationParameters) -> None:
        """Make the inputs that say how the robot moves."""
        self._motion: dict[InputStream, Any] = {}
        odometry, tilt = self._odometry, self._tilt
        for source, message_type, topic, take in (
            (p.odometry_source in ('auto', 'topic'), OdometryMessage, 'odom', odometry.take),
            (p.tilt_source == 'imu', Imu, 'imu', tilt.take),
        ):
            if not source or not p.grid_enabled:
                continue
            stream = InputStream(
                self,
                message_type,
                topic,
                lambda message, _, take=take: take(message),
                reliability=p.input_reliability,
                name=topic,
                consequence='',
                depth=MOTION_DEPTH,
            )
            self._motion[stream] = odometry if topic == 'odom' else tilt
            self._companions.append(stream)

    def _release(self) -> None:
        odometry = self.__dict__.pop('_odometry', None)
        if odometry is not None:
            odometry.close()
        super()._release()
        for name in ('_pipeline', '_guard', '_ground', '_tilt', '_of_camera', '_motion'):
            self.__dict__.pop(name, None)

    def _announce(self) -> None:
        self._outputs.publish_labels(self._pipeline.labels)
        if self._guard is not None:
            self._ground.restart()
            self._guard.open()

    def _withdraw(self) -> None:
        # Until the frame in work is done, the latched grid would stay in force.
        if self._guard is not None:
            self._guard.close()

    def _farewell(self) -> None:
        ground = self._outputs.ground
        if ground is not None and not ground.grid_arrived():
            self.get_logger().warning('a reader of the grid has not acknowledged that it ended')

    def _follow_listeners(self, wanted: Wanted) -> None:
        super()._follow_listeners(wanted)
        for stream in self._motion:  # 200 messages a second, for nobody
            if wanted.ground.anything and not stream.is_open:
                stream.open()
            elif not wanted.ground.anything and stream.is_open:
                stream.close()

    def _wants(self, stream: InputStream, wanted: Wanted) -> bool:
        return wanted.camera(self._of_camera[stream])

    def _needs(self, companion: InputStream, wanted: Wanted) -> bool:
        motion = self._motion.get(companion)
        if motion is not None:
            return wanted.ground.anything and motion.needs_topic
        return wanted.calibration(self._of_camera[companion])

    def _watch(self, parameters: SegmentationParameters, wanted: Wanted) -> None:
        if self._guard is not None:
            working = any(stream.is_open for stream in self._streams)
            self._guard.expect(wanted.ground.anything and working)
            self._guard.watch()

    def _try_parameters(self, parameters: SegmentationParameters) -> None:
        if self._handler is not None:
            self._pipeline.segmenter.labels.with_roles(parameters.class_roles)

    def _use_parameters(self, old: SegmentationParameters, new: SegmentationParameters) -> None:
        super()._use_parameters(old, new)
        self._odometry.set_parameters(new)
        self._tilt.set_parameters(new)
        if self._guard is not None:
            self._guard.configure(new)
            if new.ground_settings != old.ground_settings:
                self._ground.interrupt()  # what was free by the old ones need not be now
        if self._active and new.class_roles != old.class_roles:
            self._outputs.publish_labels(self._pipeline.labels)

    def _on_camera_image(
        self, camera: str, message: Image | CompressedImage, arrival: float
    ) -> None:
        self._health.input()
        self._submit(CameraJob(message, arrival, camera), arrival)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(SegmentationNode, args)


if __name__ == '__main__':
    sys.exit(main())
