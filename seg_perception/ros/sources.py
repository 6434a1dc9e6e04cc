"""Pictures from where a camera would be: video file, folder of pictures, rosbag, V4L2 device.

The simulator is a source, too; it lives with the node, since this room knows no street.
"""

from __future__ import annotations

import abc
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage

from seg_perception.core.errors import SourceError

#: Pictures a folder may hold, by suffix; everything else in it is ignored.
PICTURE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp')
BAG_SUFFIXES = ('.mcap', '.db3')
#: Rate of a folder of pictures, and of a video that states none, unless one is asked for (Hz).
DEFAULT_RATE = 10.0

#: How the location of a simulated street begins.
SIMULATOR = 'simulator'

Report = Callable[[str], None]


@dataclass(frozen=True)
class EgoState:
    """Where the camera's vehicle is at the moment of a picture, and how it moves.

    Attributes:
        pose: float [4, 4], the base frame in the odometry's frame.
        speed: m/s ahead; turn_rate: rad/s, to the left > 0.
    """

    pose: np.ndarray
    speed: float = 0.0
    turn_rate: float = 0.0


@dataclass(frozen=True)
class SourceFrame:
    """One picture of a source.

    Attributes:
        index: position among the pictures given in this pass, from 0.
        pixels: uint8 [H, W, 3] in the order of ``color``; None where ``compressed`` holds the
            picture undecoded.
        offset_ns: time since the pass began, on the source's clock: media time of a video,
            recording time of a bag, index / rate where a rate is set; None for a live device.
        color: 'bgr' or 'rgb'.
        compressed: the recorded message, of a bag opened with ``keep_compressed``.
        stamp_ns: header stamp of the recorded message, nanoseconds since the epoch.
        frame_id: optical frame named by the recorded message.
        camera_info: calibration recorded beside the picture.
        captured_ns: when a live picture was taken, on time.monotonic_ns; None = just now.
        ego: where the vehicle was then, where the source knows.
    """

    index: int
    pixels: np.ndarray | None
    offset_ns: int | None = None
    color: str = 'bgr'
    compressed: CompressedImage | None = None
    stamp_ns: int | None = None
    frame_id: str = ''
    camera_info: CameraInfo | None = None
    captured_ns: int | None = None
    ego: EgoState | None = None


class Source(abc.ABC):
    """A sequence of pictures of one size, readable again from the beginning.

    Attributes:
        description: what is read, for logs and diagnostics.
        size: (width, height) in pixels.
        rate: nominal pictures a second; 0 where it is not known.
        count: pictures in a pass as stated by the source; None where it does not end.
        live: a camera, whose pictures come when they come.
        skipped: pictures that could not be given so far (corrupt, or of another size).
        lost: a device is gone at the moment and tried for again.
        mounting: float [4, 4], the optical frame in the base frame, where the source knows.
    """

    live = False
    mounting: np.ndarray | None = None

    def __init__(self, description: str, *, rate: float = 0.0, report: Report | None = None):
        if not math.isfinite(rate) or rate < 0:
            raise SourceError(f"rate must be 0 (the source's own) or positive, got {rate} Hz")
        self.description = description
        self.size = (0, 0)
        self.rate = rate
        self.count: int | None = None
        self.skipped = 0
        self.lost = False
        self._forced_rate = rate
        self._report = report or logging.getLogger(__name__).warning
        self._stopping = threading.Event()

    @abc.abstractmethod
    def frames(self) -> Iterator[SourceFrame]:
        """Give the pictures from the beginning. One pass at a time, in one thread.

        Raises:
            SourceError: nothing of the source can be read any more.
        """

    def stop(self) -> None:
        """End reading for good, from any thread; a running pass returns at its next picture."""
        self._stopping.set()

    def _offset(self, index: int, own_ns: int) -> int:
        """Time of picture ``index`` in nanoseconds: by the asked rate, else the source's own."""
        if self._forced_rate > 0:
            return round(index * 1e9 / self._forced_rate)
        return own_ns


def open_source(
    location: str,
    *,
    kind: str = 'auto',
    rate: float = 0.0,
    topic: str = '',
    camera_info_topic: str = '',
    keep_compressed: bool = False,
    device_size: tuple[int, int] | None = None,
    fourcc: str = '',
    report: Report | None = None,
) -> Source:
    """Open what ``location`` names.

    Args:
        location: a video file, a folder of pictures (or one picture), a rosbag2 (its folder, or
            one .mcap / .db3 file), a device (/dev/video0, or its number).
        kind: 'video', 'folder', 'bag', 'device', or 'auto' to tell by the location.
        rate: pictures a second; 0 = the source's own (of a device: the driver's choice).
        topic: image topic of a bag; may be empty where there is one.
        camera_info_topic: its calibration; empty = the sibling of the image topic.
        keep_compressed: give a bag's CompressedImage undecoded.
        device_size: (width, height) to ask of a device.
        fourcc: pixel format to ask of a device, such as 'MJPG'.
        report: called with every warning, one line each.

    Raises:
        SourceError: there is nothing there, it can't be read, or the options don't fit it.
    """
    kind = kind_of(location) if kind == 'auto' else kind
    if keep_compressed and kind != 'bag':
        raise SourceError(
            f'{location}: only a bag of CompressedImage can be passed on compressed, not a {kind}'
        )
    if kind == 'bag':
        from seg_perception.ros.bags import BagSource

        return BagSource(
            Path(location),
            topic=topic,
            camera_info_topic=camera_info_topic,
            keep_compressed=keep_compressed,
            rate=rate,
            report=report,
        )
    if kind == 'device':
        from seg_perception.ros.devices import DeviceSource

        return DeviceSource(location, size=device_size, rate=rate, fourcc=fourcc, report=report)
    if kind == 'folder':
        return FolderSource(Path(location), rate=rate, report=report)
    if kind == 'video':
        return VideoSource(Path(location), rate=rate, report=report)
    raise SourceError(f"unknown kind of source '{kind}': use auto, video, folder, bag or device")


def kind_of(location: str) -> str:
    """Tell 'video', 'folder', 'bag', 'device' or 'simulator' by a location.

    Raises:
        SourceError: there is no such file.
    """
    if not location:
        raise SourceError(
            'no source given: name a video, a folder, a bag, a device or simulator:SEED'
        )
    if location.partition(':')[0] == SIMULATOR:
        return SIMULATOR
    if location.isdecimal() or location.startswith('/dev/'):
        return 'device'
    path = Path(location).expanduser()
    if path.is_dir():
        is_bag = (path / 'metadata.yaml').is_file() or any(
            entry.suffix in BAG_SUFFIXES for entry in path.iterdir()
        )
        return 'bag' if is_bag else 'folder'
    if not path.exists():
        raise SourceError(f'{location}: no such file or folder')
    if path.suffix.lower() in BAG_SUFFIXES:
        return 'bag'
    return 'folder' if path.suffix.lower() in PICTURE_SUFFIXES else 'video'


def natural_key(name: str) -> tuple:
    """Sort key by which frame_9 comes before frame_10."""
    return tuple(
        (0, int(part), '') if part.isdecimal() else (1, 0, part.lower())
        for part in re.split(r'(\d+)', name)
        if part
    )


class VideoSource(Source):
    """A video file, decoded by OpenCV (FFmpeg) on one thread."""

    def __init__(self, path: Path, *, rate: float = 0.0, report: Report | None = None):
        super().__init__(f'video {path}', rate=rate, report=report)
        self._path = path.expanduser()
        if not self._path.is_file():
            raise SourceError(f'{path}: no such video file')
        capture = self._open()
        read, first = capture.read()
        if not read or first is None:
            raise SourceError(f'{path}: opens, but not one frame decodes: damaged or empty video')
        self.size = (first.shape[1], first.shape[0])
        stated = capture.get(cv2.CAP_PROP_FPS)
        # Variable-rate and broken files state 0, NaN or the time base (up to 90000).
        self._stated = stated if math.isfinite(stated) and 0 < stated <= 1000 else 0.0
        self.rate = rate or self._stated or DEFAULT_RATE
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if math.isfinite(count) and count > 0 else None
        capture.release()

    def _open(self) -> cv2.VideoCapture:
        """Open the file. One decoder thread: the cores belong to the network."""
        options = []
        if hasattr(cv2, 'CAP_PROP_N_THREADS'):
            options = [cv2.CAP_PROP_N_THREADS, 1]
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(
                f'{self._path}: no video that this OpenCV ({cv2.__version__}) can decode: unknown '
                "container or codec; convert it, for example 'ffmpeg -i IN -c:v libx264 OUT.mp4'"
            )
        return capture

    def frames(self) -> Iterator[SourceFrame]:
        capture = self._open()
        try:
            index = first = previous = 0
            while not self._stopping.is_set():
                read, pixels = capture.read()
                if not read:
                    break
                # Media time keeps the spacing of variable-rate videos; where a container gives
                # none it stands still, and the nominal rate takes over.
                media = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if not self._stated or (index and media <= previous):
                    media = max(round(index * 1e9 / self.rate), previous + 1)
                first = media if index == 0 else first
                previous = media
                yield SourceFrame(index, pixels, self._offset(index, media - first))
                index += 1
        finally:
            capture.release()
        if self.count and index < 0.98 * self.count and not self._stopping.is_set():
            self._report(
                f'{self._path}: ended after {index} of the {self.count} frames its header states: '
                'the file is cut off or damaged'
            )


class FolderSource(Source):
    """The pictures of a folder in natural order.

    A camera has one size: pictures of another size than the first are skipped with a warning,
    as are those that do not decode. Both count as ``skipped``.
    """

    def __init__(self, path: Path, *, rate: float = 0.0, report: Report | None = None):
        super().__init__(f'pictures {path}', rate=rate or DEFAULT_RATE, report=report)
        path = path.expanduser()
        if not path.exists():
            raise SourceError(f'{path}: no such folder')
        entries = [path] if path.is_file() else path.iterdir()
        self._files = sorted(
            (e for e in entries if e.suffix.lower() in PICTURE_SUFFIXES and e.is_file()),
            key=lambda entry: natural_key(entry.name),
        )
        if not self._files:
            raise SourceError(f'{path}: no pictures in it ({", ".join(PICTURE_SUFFIXES)})')
        self.count = len(self._files)
        self._bad: set[Path] = set()
        for file in self._files:
            pixels = self._read(file)
            if pixels is not None:
                self.size = (pixels.shape[1], pixels.shape[0])
                return
        raise SourceError(f'{path}: none of its {self.count} pictures can be decoded')

    def _skip(self, file: Path, why: str) -> None:
        """Count and report a picture once, however often the folder is passed."""
        if file not in self._bad:
            self._bad.add(file)
            self.skipped = len(self._bad)
            self._report(f'{file} skipped: {why}')

    def _read(self, file: Path) -> np.ndarray | None:
        try:
            pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)
        except cv2.error as error:
            pixels, why = None, f'does not decode ({error.err})'
        else:
            why = 'does not decode: damaged or not a picture'
        if pixels is None:
            self._skip(file, why)
        return pixels

    def frames(self) -> Iterator[SourceFrame]:
        index = 0
        for file in self._files:
            if self._stopping.is_set():
                return
            pixels = None if file in self._bad else self._read(file)
            if pixels is None:
                continue
            size = (pixels.shape[1], pixels.shape[0])
            if size != self.size:
                self._skip(file, f'{size[0]}x{size[1]} where the first is {size_text(self.size)}')
                continue
            yield SourceFrame(index, pixels, self._offset(index, 0))
            index += 1


def size_text(size: tuple[int, int]) -> str:
    """'1280x720' of (1280, 720)."""
    return f'{size[0]}x{size[1]}'
