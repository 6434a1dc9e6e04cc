"""A V4L2 camera as a source of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.ros.sources import Report, Source, SourceFrame, size_text


class DeviceSource(Source):
    """A V4L2 camera. When it is lost mid-run, that is reported and it is tried for again."""

    live = True

    def __init__(
        self,
        location: str,
        *,
        size: tuple[int, int] | None = None,
        rate: float = 0.0,
        fourcc: str = '',
        retry_s: float = 1.0,
        report: Report | None = None,
    ):
        path = f'/dev/video{location}' if location.isdecimal() else location
        super().__init__(f'device {path}', rate=rate, report=report)
        if fourcc and len(fourcc) != 4:
            raise SourceError(f"fourcc '{fourcc}' must have four letters, such as MJPG or YUYV")
        self._path, self._asked, self._fourcc, self._retry_s = path, size, fourcc, retry_s
        self._capture: cv2.VideoCapture | None = self._open()
        read, first = self._capture.read()
        if not read or first is None:
            self._capture.release()
            raise SourceError(f'{path}: opens but gives no picture: in use, or no capture device')
        self.size = (first.shape[1], first.shape[0])
        if size and size != self.size:
            self._report(
                f'{path}: asked for {size_text(size)}, the driver gives {size_text(self.size)}'
            )
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = stated if math.isfinite(stated) and stated > 0 else rate

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceError(self._why_not())
        if self._fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._fourcc))
        if self._asked:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._asked[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._asked[1])
        if self._forced_rate:
            capture.set(cv2.CAP_PROP_FPS, self._forced_rate)
        # One buffer: an old picture is worth less than none.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _why_not(self) -> str:
        """Say why the device does not open, as far as it can be told."""
        path = Path(self._path)
        if not path.exists():
            present = ', '.join(sorted(str(p) for p in Path('/dev').glob('video*'))) or 'none'
            return f'{path}: no such device; present: {present}'
        try:
            path.open('rb').close()
        except PermissionError:
            return f"{path}: permission denied; 'sudo usermod -aG video $USER', then log in again"
        except OSError as error:
            return f'{path}: {error.strerror}'
        return f'{path}: does not open as a V4L2 capture device'

    def frames(self) -> Iterator[SourceFrame]:
        index = 0
        self._capture = self._capture or self._open()
        try:
            while not self._stopping.is_set():
                read, pixels = self._capture.read() if self._capture else (False, None)
                if not read or pixels is None:
                    self._recover()
                    continue
                self._note(pixels)
                yield SourceFrame(index, pixels)
                index += 1
        finally:
            self._release()

    def _note(self, pixels: np.ndarray) -> None:
        """Report that the device is back, or gives another size than before."""
        if self.lost:
            self.lost = False
            self._report(f'{self._path}: is back')
        size = (pixels.shape[1], pixels.shape[0])
        if size != self.size:
            self._report(f'{self._path}: now gives {size_text(size)}, was {size_text(self.size)}')
            self.size = size

    def _recover(self) -> None:
        """Try once to get the device back; the loss is reported the first time."""
        self._release()
        if not self.lost:
            self.lost = True
            self._report(f'{self._path}: gives no more pictures, unplugged? Trying again')
        elif self._stopping.wait(self._retry_s):
            return
        with suppress(SourceError):
            self._capture = self._open()

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
