"""What every worker does with a camera's pictures before and after its own work."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError, ImageError
from seg_perception.core.motion import CLOCK_JUMP
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.health import HealthMonitor, Level
from seg_perception.ros.health_scope import HealthScope
from seg_perception.ros.images import Frame, compressed_to_frame, to_frame
from seg_perception.ros.messages import camera_model, stamp_ns
from seg_perception.runtime.timing import Timing

#: Seconds after activation in which an image may come before the first camera_info: both
#: topics are discovered at their own pace.
CALIBRATION_PATIENCE = 1.0


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


class CameraFrames(ABC):
    """Decodes pictures, keeps the calibration that fits them, and reports what is wrong.

    `handle` runs in the worker's thread, everything else in the executor's. What both touch
    (parameters, calibration) is immutable and replaced as a whole. Subclasses do the work in
    ``_work`` and say in ``_lost`` what a frame that came to nothing means.
    """

    #: What is missing without a calibration, for people.
    WITHOUT_CALIBRATION = 'nothing on the ground is known'

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Any,
        extrinsics: Extrinsics,
        health: HealthMonitor | HealthScope,
        timing: Timing,
        info_topic: str = 'camera_info',
    ) -> None:
        self._clock = node.get_clock()
        self._info_topic = node.resolve_topic_name(info_topic)
        self._extrinsics = extrinsics
        self._health = health
        self._timing = timing
        self._calibration: Calibration | None = None
        self._last_stamp: int | None = None
        self._closed = True
        self._opened = 0.0
        self.parameters = parameters

    @property
    def parameters(self) -> Any:
        """The parameters in force; new ones hold from the next frame on."""
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: Any) -> None:
        self._check_parameters(parameters)
        self._parameters = parameters
        if self._calibration is not None:
            self.set_camera_info(self._calibration.message)  # `rectified` may be another

    def _check_parameters(self, parameters: Any) -> None:
        """Raise what speaks against new parameters, or take what follows from them."""

    @abstractmethod
    def _work(self, job: Job, frame: Frame, parameters: Any) -> bool:
        """Do the work on a picture and publish it; False when the handler closed meanwhile."""

    def _lost(self, header: Header) -> None:
        """Publish what a picture means that could not be read or failed."""

    def _jumped(self) -> None:
        """Forget what lies in the future of a clock that has jumped back."""

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
        """Work on one frame and publish what somebody listens to."""
        frame = self.begin(job)
        if frame is not None:
            self._end(job, worked=self._work(job, frame, self._parameters))

    def begin(self, job: Job) -> Frame | None:
        """Return the picture of a job; None, and all is said, if it cannot be read."""
        header = job.message.header
        self._note_stamp(header)
        try:
            frame = self._decode(job)
        except ImageError as error:
            self._health.rejected(str(error))
            self._lost(header)
            return None
        self._health.clear('image')
        return frame

    def _end(self, job: Job, *, worked: bool) -> None:
        """Count a frame that became something, or was dropped because the handler closed."""
        if not worked:
            self._health.dropped()
            return
        self._health.clear('inference')
        self._health.output(job.arrival, self._latency(job.message.header), self._timing.stages)

    def failed(self, job: Job, error: Exception) -> None:
        """Report an error nobody foresaw in `handle`; the frame is lost, the node is not."""
        if self._closed:
            self._health.dropped()
            return
        self._health.failed(f'{type(error).__name__}: {error}')
        self._lost(job.message.header)

    def _decode(self, job: Job) -> Frame:
        start = time.perf_counter()
        if isinstance(job.message, CompressedImage):
            frame = compressed_to_frame(job.message)
        else:
            frame = to_frame(job.message)
        self._timing.measure('decode', start)
        return frame

    def _usable_calibration(
        self, header: Header, image_size: tuple[int, int], *, wanted: bool
    ) -> Calibration | None:
        """Return the calibration if it is this picture's, else report why it is not.

        Not ``wanted``: None, and whatever is wrong with it is nobody's problem.
        """
        if not wanted:
            self._health.clear('camera_info')
            return None
        calibration = self._calibration
        if calibration is None:
            if time.monotonic() - self._opened < CALIBRATION_PATIENCE:
                return None
            self._health.problem(
                'camera_info',
                f'no camera_info on {self._info_topic}: without calibration '
                f'{self.WITHOUT_CALIBRATION}; start the driver with a calibration or remap '
                'camera_info',
            )
            return None
        info, camera = calibration.message, calibration.camera
        width, height = image_size
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
        if back >= CLOCK_JUMP:
            self._health.time_jump(back)
            self._extrinsics.clear()
            self._jumped()
            self._last_stamp = stamp
        else:
            self._last_stamp = max(self._last_stamp or 0, stamp)

    def _latency(self, header: Header) -> float:
        """Seconds between the image's stamp and now on the node's clock."""
        age = self._clock.now() - Time.from_msg(header.stamp, clock_type=self._clock.clock_type)
        return age.nanoseconds / 1e9
