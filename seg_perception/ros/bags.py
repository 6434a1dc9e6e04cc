"""Pictures and calibration out of a rosbag2 (mcap or sqlite3), also one that was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.core.errors import ImageError, SourceError
from seg_perception.ros.cut_bags import CutMcap, CutSqlite
from seg_perception.ros.images import compressed_to_frame, to_frame
from seg_perception.ros.sources import BAG_SUFFIXES, Report, Source, SourceFrame, natural_key

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'


@dataclass(frozen=True)
class ImageTopic:
    """An image topic of a bag: its name, message type and number of messages."""

    name: str
    type: str
    count: int

    @property
    def base(self) -> str:
        """Name by which image_transport knows the camera: without a transport's suffix."""
        suffix = '/compressed'
        if self.type == COMPRESSED and self.name.endswith(suffix):
            return self.name[: -len(suffix)]
        return self.name

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
        if not self._path.exists():
            raise SourceError(f'{path}: no such bag')
        self._warned: set[str] = set()
        with self._readers() as readers:
            connections = [c for reader in readers for c in reader.connections]
            self.topic = choose_topic(_image_topics(connections), topic, keep_compressed, path)
            self._keep = keep_compressed
            self._info_topic = self._choose_info(connections, camera_info_topic)
            seconds = (max(r.end_time for r in readers) - min(r.start_time for r in readers)) / 1e9
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
        for name, log_ns, raw in self._messages(wanted):
            if self._stopping.is_set():
                return
            if name == self._info_topic:
                info = self._deserialize(raw, CameraInfo) or info
                continue
            frame = self._frame(raw, index)
            if frame is None:
                continue
            first_ns = log_ns if first_ns is None else first_ns
            offset_ns = self._offset(index, log_ns - first_ns)
            stamp_ns = frame.stamp_ns or log_ns
            yield replace(frame, offset_ns=offset_ns, stamp_ns=stamp_ns, camera_info=info)
            index += 1

    def _frame(self, raw: bytes, index: int) -> SourceFrame | None:
        """Turn a recorded message into a frame; None (counted) where it can't be."""
        compressed = self.topic.type == COMPRESSED
        message = self._deserialize(raw, CompressedImage if compressed else Image)
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

    def _deserialize(self, raw: bytes, kind: type):
        try:
            return deserialize_message(bytes(raw), kind)
        except Exception as error:  # the middleware's own types, different in every RMW
            self._skip(f'not a {kind.__name__}: {error}')
            return None

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self._warn_once(f'{self._path}: a message of {self.topic.name} skipped: {why}')

    def _warn_once(self, text: str) -> None:
        """Report a thing once, however often the bag is passed or opened."""
        if text not in self._warned:
            self._warned.add(text)
            self._report(text)

    def _choose_info(self, connections: list, asked: str) -> str:
        """Name the calibration's topic: the asked one, or the image topic's sibling."""
        present = sorted({c.topic for c in connections if c.msgtype == INFO})
        if asked:
            if asked not in present:
                raise SourceError(
                    f'{self._path}: no CameraInfo topic {asked}; it holds: '
                    f'{", ".join(present) or "none"}'
                )
            return asked
        sibling = self.topic.base.rpartition('/')[0] + '/camera_info'
        return sibling if sibling in present else ''

    def _find_first_info(self) -> CameraInfo | None:
        """Read the first calibration: pictures recorded before it are given it too."""
        if not self._info_topic:
            return None
        for _, _, raw in self._messages({self._info_topic}):
            info = self._deserialize(raw, CameraInfo)
            if info is not None:
                return info
        return None

    def _find_size(self) -> tuple[int, int]:
        """(width, height) of the first picture that can be read."""
        skipped = self.skipped
        for _, _, raw in self._messages({self.topic.name}):
            keep, self._keep = self._keep, False
            frame = self._frame(raw, 0)
            self._keep = keep
            if frame is not None:
                self.skipped = skipped  # the pass counts them itself
                return frame.pixels.shape[1], frame.pixels.shape[0]
        raise SourceError(f'{self._path}: no picture of {self.topic.name} can be read')

    def _messages(self, topics: set[str]) -> Iterator[tuple[str, int, bytes]]:
        """Give (topic, recording time in ns, bytes) as far as the bag can be read."""
        given = 0
        with self._readers() as readers:
            for reader in readers:
                wanted = [c for c in reader.connections if c.topic in topics]
                if not wanted:
                    continue
                try:
                    for connection, log_ns, raw in reader.messages(wanted):
                        yield connection.topic, log_ns, raw
                        given += 1
                except Exception as error:  # storage plug-ins raise whatever their parsers do
                    self._warn_once(
                        f'{reader.path}: damaged, read no further than {given} messages of '
                        f'{" and ".join(sorted(topics - {""}))} ({_text(error)})'
                    )

    @contextmanager
    def _readers(self) -> Iterator[list]:
        """Open the bag: as a whole, else file by file, mending what was cut off."""
        try:
            from rosbags.rosbag2 import Reader
        except ImportError as error:
            raise SourceError(
                f"{self._path}: reading bags needs 'rosbags': pip install rosbags"
            ) from error
        with ExitStack() as stack:
            try:
                readers = [stack.enter_context(Reader(self._path))]
            except Exception as error:  # a bag without its metadata, or with a damaged file
                readers = self._open_files(Reader, stack, _text(error))
            yield readers

    def _open_files(self, reader_class: type, stack: ExitStack, why: str) -> list:
        files = [self._path]
        if self._path.is_dir():
            files = [f for f in self._path.iterdir() if f.suffix in BAG_SUFFIXES]
        readers, errors = [], [why]
        for file in sorted(files, key=lambda f: natural_key(f.name)):
            ways = [lambda f=file: reader_class(f)]
            if file.suffix == '.mcap':
                ways.append(lambda f=file: reader_class(CutMcap(f)))
            else:
                ways.append(lambda f=file: CutSqlite(f))
            for open_it in ways:
                try:
                    readers.append(stack.enter_context(open_it()))
                    break
                except Exception as error:
                    errors.append(f'{file.name}: {_text(error)}')
        if not readers:
            raise SourceError(f'{self._path}: not a readable rosbag2: {"; ".join(errors)}')
        self._warn_once(
            f'{self._path}: damaged or cut off, read as far as it goes ({"; ".join(errors)})'
        )
        return readers


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


def _image_topics(connections: list) -> list[ImageTopic]:
    """Sum the connections of a bag up into its non-empty image topics, by name."""
    counts: dict[tuple[str, str], int] = {}
    for connection in connections:
        if connection.msgtype in (RAW, COMPRESSED):
            key = (connection.topic, connection.msgtype)
            counts[key] = counts.get(key, 0) + connection.msgcount
    return [ImageTopic(name, kind, n) for (name, kind), n in sorted(counts.items()) if n]


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
