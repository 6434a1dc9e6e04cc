"""Pictures and calibration out of a rosbag2 (mcap or sqlite3), also one that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.core.errors import ImageError, SourceError
from seg_perception.ros.bag_reader import BagMessage, BagReader, BagTopic
from seg_perception.ros.images import compressed_to_frame, to_frame
from seg_perception.ros.sources import Report, Source, SourceFrame

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'


@dataclass(frozen=True)
class ImageTopic(BagTopic):
    """An image topic of a bag."""

    @property
    def base(self) -> str:
        """Name by which image_transport knows the camera: without a transport's suffix."""
        suffix = '/compressed'
        if self.type == COMPRESSED and self.name.endswith(suffix):
            return self.name[: -len(suffix)]
        return self.name

    @property
    def info_name(self) -> str:
        """Name of the calibration's topic beside it, by image_transport's convention."""
        return self.base.rpartition('/')[0] + '/camera_info'

    def __str__(self) -> str:
        return f'{self.name} ({self.type.rsplit("/", 1)[1]}, {self.count})'


class BagSource(Source):
    """One image topic of a rosbag2, in recorded order and timing.

    A damaged or cut-off bag is read as far as it goes, which is reported. Pictures that can't
    be converted are skipped and counted.
    """

    def __init__(
        self,
        path: Path,
        *,
        topic: str = '',
        camera_info_topic: str = '',
        keep_compressed: bool = False,
        rate: float = 0.0,
        report: Report | None = None,
    ):
        super().__init__(f'bag {path}', rate=rate, report=report)
        self._path = path.expanduser()
        self._warned: set[str] = set()
        self._bag = BagReader(path, self._warn_once)
        self.topic = choose_topic(image_topics(self._bag.topics), topic, keep_compressed, path)
        self._keep = keep_compressed
        self._info_topic = self._choose_info(self._bag.topics, camera_info_topic)
        seconds = self._bag.seconds
        self.count = self.topic.count
        recorded = (self.count - 1) / seconds if self.count > 1 and seconds > 0 else 0.0
        self.rate = rate or recorded
        self.description = f'bag {path} {self.topic.name}'
        self._first_info = self._find_first_info()
        self.size = self._find_size()

    @property
    def has_camera_info(self) -> bool:
        """Whether the bag holds a calibration of this camera."""
        return self._first_info is not None

    def frames(self) -> Iterator[SourceFrame]:
        index, first_ns, info = 0, None, self._first_info
        wanted = {self.topic.name, self._info_topic}
        for recorded in self._bag.messages(wanted):
            if self._stopping.is_set():
                return
            if recorded.topic == self._info_topic:
                info = self._read(recorded, CameraInfo) or info
                continue
            frame, log_ns = self._frame(recorded, index), recorded.log_ns
            if frame is None:
                continue
            first_ns = log_ns if first_ns is None else first_ns
            offset_ns = self._offset(index, log_ns - first_ns)
            stamp_ns = frame.stamp_ns or log_ns
            yield replace(frame, offset_ns=offset_ns, stamp_ns=stamp_ns, camera_info=info)
            index += 1

    def _frame(self, recorded: BagMessage, index: int) -> SourceFrame | None:
        """Turn a recorded message into a frame; None (counted) where it can't be."""
        compressed = self.topic.type == COMPRESSED
        message = self._read(recorded, CompressedImage if compressed else Image)
        if message is None:
            return None
        header = message.header
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        if self._keep:
            return SourceFrame(
                index, None, compressed=message, stamp_ns=stamp_ns, frame_id=header.frame_id
            )
        try:
            view = compressed_to_frame(message) if compressed else to_frame(message)
        except ImageError as error:
            self._skip(str(error))
            return None
        return SourceFrame(
            index, view.pixels, color=view.color, stamp_ns=stamp_ns, frame_id=header.frame_id
        )

    def _read(self, recorded: BagMessage, kind: type) -> Any:
        try:
            return recorded.read(kind)
        except SourceError as error:
            self._skip(str(error))
            return None

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self._warn_once(f'{self._path}: a message of {self.topic.name} skipped: {why}')

    def _warn_once(self, text: str) -> None:
        """Report a thing once, however often the bag is passed or opened."""
        if text not in self._warned:
            self._warned.add(text)
            self._report(text)

    def _choose_info(self, topics: list[BagTopic], asked: str) -> str:
        """Name the calibration's topic: the asked one, or the image topic's sibling."""
        present = sorted({t.name for t in topics if t.type == INFO})
        if asked:
            if asked not in present:
                raise SourceError(
                    f'{self._path}: no CameraInfo topic {asked}; it holds: '
                    f'{", ".join(present) or "none"}'
                )
            return asked
        return self.topic.info_name if self.topic.info_name in present else ''

    def _find_first_info(self) -> CameraInfo | None:
        """Read the first calibration: pictures recorded before it are given it too."""
        if not self._info_topic:
            return None
        for recorded in self._bag.messages({self._info_topic}):
            info = self._read(recorded, CameraInfo)
            if info is not None:
                return info
        return None

    def _find_size(self) -> tuple[int, int]:
        """(width, height) of the first picture that can be read."""
        skipped = self.skipped
        for recorded in self._bag.messages({self.topic.name}):
            keep, self._keep = self._keep, False
            frame = self._frame(recorded, 0)
            self._keep = keep
            if frame is not None:
                self.skipped = skipped  # the pass counts them itself
                return frame.pixels.shape[1], frame.pixels.shape[0]
        raise SourceError(f'{self._path}: no picture of {self.topic.name} can be read')


def choose_topic(
    topics: list[ImageTopic], asked: str, want_compressed: bool, path: Path
) -> ImageTopic:
    """Choose the image topic: the asked one, or the only camera's.

    ``asked`` may be the topic's own name or the camera's (without '/compressed'). Where a
    camera was recorded both raw and compressed, ``want_compressed`` decides.

    Raises:
        SourceError: none, or more than one to choose from; names them.
    """
    listing = ', '.join(str(t) for t in topics)
    if not topics:
        raise SourceError(f'{path}: no Image or CompressedImage topic with messages in it')
    fitting = [t for t in topics if t.name == asked] if asked else topics
    fitting = fitting or [t for t in topics if t.base == asked]
    if not fitting:
        raise SourceError(f'{path}: no image topic {asked}; it holds: {listing}')
    if len({t.base for t in fitting}) > 1:
        raise SourceError(f'{path}: several image topics, name one: {listing}')
    if want_compressed:
        fitting = [t for t in fitting if t.type == COMPRESSED]
        if not fitting:
            raise SourceError(f'{path}: no CompressedImage to pass on; it holds: {listing}')
        return fitting[0]
    return min(fitting, key=lambda t: t.type == COMPRESSED)


def image_topics(topics: list[BagTopic]) -> list[ImageTopic]:
    """Return the image topics of a bag that have messages, by name."""
    return [
        ImageTopic(t.name, t.type, t.count)
        for t in topics
        if t.type in (RAW, COMPRESSED) and t.count
    ]
