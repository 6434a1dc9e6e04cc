"""The street simulator as a source of pictures, with calibration, mounting and odometry.

A software renderer draws on the processor: a picture takes 30 ms at 640x360 and 120..270 ms at
1280x720. So there are two ways to play a drive:

* in real time: each picture shows the street at the moment it is begun, and is stamped with that
  moment. Where the machine can't keep up, there are fewer pictures, as from a slower camera; the
  motion between them stays true to the clock.
* drawn beforehand (``prerender``): the whole drive is drawn into memory first and then played at
  its rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import CameraInfo

from seg_perception.core.errors import SourceError
from seg_perception.ros.messages import camera_info_message, header, stamp_from_ns
from seg_perception.ros.source_parameters import ImageSourceParameters
from seg_perception.ros.sources import SIMULATOR, EgoState, Report, Source, SourceFrame

if TYPE_CHECKING:
    from seg_perception.simulation.drive import SimFrame, StreetCamera

DEFAULT_SIZE = (640, 360)
DEFAULT_RATE = 10.0
#: s over which the speed is measured.
_BLINK = 0.01


class SimulatorSource(Source):
    """A drive through the street that a location such as ``simulator:7`` names by its seed.

    Raises:
        SourceError: the location has no seed, the size makes no sense, or Panda3D is missing.
    """

    has_camera_info = True

    def __init__(self, p: ImageSourceParameters, report: Report | None = None):
        super().__init__(f'street {p.uri}', rate=p.rate, report=report)
        from seg_perception.simulation import panda
        from seg_perception.simulation.drive import mounting, scene_for

        panda.core()
        self.size = p.device_size or DEFAULT_SIZE
        if min(self.size) < 32:
            raise SourceError(f'the simulator draws at least 32x32 pixels, not {self.size}')
        self.rate = p.rate or DEFAULT_RATE
        self.live = not p.simulator_prerender
        self._seconds = p.simulator_seconds
        self.count = None if self.live else max(round(self._seconds * self.rate), 1)
        self._supersample = p.simulator_supersample
        self._scene = scene_for(
            seed_of(p.uri), self._seconds + 1.0, style=p.simulator_style or None
        )
        self.mounting, rig = mounting(self._scene), self._scene.camera
        self._report(
            f'the camera stands at camera_pose.height:={rig.height:.4f} '
            f'camera_pose.pitch:={rig.pitch:.5f} camera_pose.roll:={rig.roll:.5f}'
        )
        self._camera: StreetCamera | None = None
        self._drawn: list[SourceFrame] = []

    def frames(self) -> Iterator[SourceFrame]:
        try:
            yield from self._live() if self.live else self._prerendered()
        finally:
            if self._stopping.is_set() and self._camera is not None:
                self._camera.close()
                self._camera = None

    def _live(self) -> Iterator[SourceFrame]:
        camera = self._open()
        # The first picture of a street takes longer: its textures are made.
        camera.frame(0, 0.0, 0.0)
        began, index = time.monotonic_ns(), 0
        due = began
        while not self._stopping.is_set():
            if self._stopping.wait(max(due - time.monotonic_ns(), 0) / 1e9):
                return
            moment = time.monotonic_ns()
            driven = (moment - began) / 1e9
            if driven > self._seconds:
                return
            yield self._frame(camera.frame(index, driven, driven), driven, captured_ns=moment)
            index += 1
            due = max(due + round(1e9 / self.rate), moment)

    def _prerendered(self) -> Iterator[SourceFrame]:
        if not self._drawn:
            self._report(f'drawing {self.count} pictures beforehand')
            camera = self._open()
            for index in range(self.count or 0):
                if self._stopping.is_set():
                    return
                driven = index / self.rate
                frame = camera.frame(index, driven, driven)
                self._drawn.append(self._frame(frame, driven, offset_ns=round(driven * 1e9)))
        for frame in self._drawn:
            if self._stopping.is_set():
                return
            yield frame

    def _open(self) -> StreetCamera:
        from seg_perception.simulation.drive import StreetCamera

        if self._camera is None:
            self._camera = StreetCamera(
                self._scene, *self.size, truth=False, supersample=self._supersample
            )
        return self._camera

    def _frame(self, frame: SimFrame, driven: float, **moment: int) -> SourceFrame:
        return SourceFrame(
            frame.index,
            frame.image,
            color='rgb',
            camera_info=self._info(frame),
            ego=self._ego(driven, frame.T_odom_base),
            **moment,
        )

    def _info(self, frame: SimFrame) -> CameraInfo:
        return camera_info_message(frame.camera, header(stamp_from_ns(0), ''))

    def _ego(self, driven: float, pose: np.ndarray) -> EgoState:
        from seg_perception.simulation.drive import base_pose

        step = np.linalg.inv(pose) @ base_pose(self._scene, driven + _BLINK)
        turn = np.arctan2(step[1, 0], step[0, 0])
        return EgoState(pose, float(step[0, 3]) / _BLINK, float(turn) / _BLINK)


def seed_of(location: str) -> int:
    """Return the seed of ``simulator:SEED``; ``simulator`` alone is 0.

    Raises:
        SourceError: what follows the colon is no whole number from 0.
    """
    _, _, seed = location.partition(':')
    if seed and not seed.isdecimal():
        raise SourceError(f"'{location}': write {SIMULATOR}:SEED with a whole number from 0")
    return int(seed or 0)
