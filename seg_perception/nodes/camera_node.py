"""A managed node that runs a network on one camera's newest picture."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.nodes.camera_frames import CameraFrames, Job
from seg_perception.nodes.input_stream import InputStream
from seg_perception.nodes.managed_node import ManagedNode
from seg_perception.ros import optional
from seg_perception.ros.extrinsics import Extrinsics

#: Image size the network is warmed up at; another size costs one slow first frame at most.
WARM_UP_SIZE = (1280, 720)


class CameraNode(ManagedNode):
    """Subscribes to a camera and its calibration, and feeds a network.

    Subclasses make the network, the outputs and the handler (a CameraFrames) in ``_make`` and
    call ``_load`` and ``_watch_camera`` there.
    """

    #: What is missing while no picture comes, for people.
    NO_IMAGE = 'nothing comes out until the camera is back'
    _handler: CameraFrames | None

    def _load(self, segmenter: Any) -> None:
        """Warm a network up and say what runs it."""
        name, provider = segmenter.bundle.name, segmenter.provider
        self.get_logger().info(f"model '{name}' on {provider}; warming up")
        segmenter.warm_up(*WARM_UP_SIZE)
        for passed_over, reason in segmenter.session.tried:
            self._health.set(f'not on {passed_over}', reason)
        self._health.set_model(name, provider)

    def _make_extrinsics(self, parameters: Any) -> Extrinsics:
        """Listen to tf2 where it is wanted; ends with the configuration."""
        self._extrinsics = Extrinsics(self, parameters)
        return self._extrinsics

    def _watch_camera(self, parameters: Any) -> None:
        """Make the inputs: image on demand, camera_info all the while the node is active."""
        compressed = parameters.image_transport == 'compressed'
        base = self.resolve_topic_name('image')
        self._image = InputStream(
            self,
            CompressedImage if compressed else Image,
            f'{base}/compressed' if compressed else 'image',
            self._on_image,
            reliability=parameters.input_reliability,
            name='image',
            consequence=self.NO_IMAGE,
        )
        info = InputStream(
            self,
            CameraInfo,
            'camera_info',
            self._on_camera_info,
            reliability=parameters.input_reliability,
            name='camera_info',
            consequence='',
        )
        self._streams, self._companions = [self._image], [info]

    def _warn_without_vision_msgs(self, *topics: str) -> None:
        """Say once which topics this install lacks, and where the same facts are."""
        if optional.vision_msgs is None:
            names = ' and '.join(f'~/{topic}' for topic in topics)
            twins = ' and '.join(f'~/{topic}_json' for topic in topics)
            self.get_logger().warning(
                f'vision_msgs is not installed: no {names}, the same facts go out as JSON on '
                f'{twins}'
            )

    def _release(self) -> None:
        extrinsics = self.__dict__.pop('_extrinsics', None)
        if extrinsics is not None:
            extrinsics.close()
        self.__dict__.pop('_image', None)
        super()._release()

    def _needs(self, companion: InputStream, wanted: Any) -> bool:
        return wanted.calibration

    def _use_parameters(self, old: Any, new: Any) -> None:
        self._extrinsics.set_parameters(new)

    def _on_image(self, message: Image | CompressedImage, arrival: float) -> None:
        self._health.input()
        self._submit(Job(message, arrival), arrival)

    def _on_camera_info(self, message: CameraInfo, arrival: float) -> None:
        if self._handler is not None:
            self._handler.set_camera_info(message)
