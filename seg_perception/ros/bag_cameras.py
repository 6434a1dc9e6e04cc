"""The cameras of a rosbag2: which topics are theirs, and their frames in recorded order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.core.errors import ImageError, SourceError
from seg_perception.ros.bag_reader import BagMessage, BagReader
from seg_perception.ros.bags import COMPRESSED, INFO, ImageTopic, image_topics
from seg_perception.ros.images import Frame, compressed_to_frame, to_frame
from seg_perception.ros.messages import stamp_ns

#: Encodings of pictures without colour that a camera beside the one for people publishes:
#: depth in millimetres or metres, and ids.
_NO_PICTURE = ('16UC1', '32FC1', '32SC1', 'mono16')


@dataclass(frozen=True)
class BagCamera:
    """A camera of a bag.

    Attributes:
        name: the namespace of its image topic, a valid ROS name token: '/front/image_raw' is
            'front'.
        image: its image topic.
        info_topic: its calibration; '' where the bag holds none.
    """

    name: str
    image: ImageTopic
    info_topic: str = ''


@dataclass(frozen=True)
class BagFrame:
    """One picture of a camera, with what was known when it was recorded.

    Attributes:
        camera: that took it.
        index: number among this camera's pictures, from 0; those that can't be read count.
        log_ns: recording time, nanoseconds since the epoch.
        message: as recorded; its header holds stamp and frame.
        frame: the decoded picture; None where it can't be, see ``problem``.
        info: the newest calibration recorded before it (the first, for pictures before that).
        problem: why there is no picture; '' where there is one.
    """

    camera: BagCamera
    index: int
    log_ns: int
    message: Image | CompressedImage | None
    frame: Frame | None
    info: CameraInfo | None
    problem: str = ''

    @property
    def stamp_ns(self) -> int:
        """Header stamp; the recording time where there is none."""
        return (stamp_ns(self.message.header.stamp) if self.message else 0) or self.log_ns


@dataclass
class _State:
    """What is known of a camera while its bag is read."""

    info: CameraInfo | None = None
    count: int = 0
    problems: set[str] = field(default_factory=set)


def find_cameras(bag: BagReader, asked: Sequence[str] = ()) -> list[BagCamera]:
    """Return the cameras whose pictures are to be used, by name.

    Without a wish these are the image topics with a calibration beside them, or the only image
    topic there is. Of a camera recorded in several ways (raw, rectified, compressed) the raw
    topic is taken, and uncompressed before compressed; masks, depth and overlays are not
    cameras.

    Args:
        bag: the recording.
        asked: image topics, camera names, or NAME=TOPIC to give a camera a name; empty = all
            cameras.

    Raises:
        SourceError: no pictures, or a wish that the bag can't meet; lists what it holds.
    """
    topics = image_topics(bag.topics)
    listing = ', '.join(map(str, topics))
    if not topics:
        raise SourceError(f'{bag.path}: no Image or CompressedImage topic with messages in it')
    infos = {t.name for t in bag.topics if t.type == INFO and t.count}
    if asked:
        return _asked_cameras(bag, topics, infos, asked)
    fitting = [t for t in topics if _camera_like(bag, t)]
    calibrated = [t for t in fitting if t.info_name in infos]
    chosen = _one_a_camera(calibrated or fitting)
    if not chosen or (not calibrated and len(chosen) > 1):
        raise SourceError(
            f'{bag.path}: cannot tell which topics are the cameras, name them: {listing}'
        )
    return _named(chosen, infos)


def _asked_cameras(
    bag: BagReader, topics: list[ImageTopic], infos: set[str], asked: Sequence[str]
) -> list[BagCamera]:
    chosen, names = [], {}
    for text in asked:
        name, equals, wish = text.rpartition('=')
        if equals and not re.fullmatch(r'[A-Za-z]\w*', name):
            raise SourceError(f"camera '{text}': write NAME=TOPIC, the name of letters and digits")
        found = [t for t in topics if t.name == wish] or [t for t in topics if t.base == wish]
        found = found or [t for t in topics if camera_name(t) == wish and _camera_like(bag, t)]
        if not found:
            raise SourceError(
                f'{bag.path}: no image topic {wish}; it holds: {", ".join(map(str, topics))}'
            )
        one = _one_a_camera(found)
        chosen += one
        names.update({topic.name: name for topic in one if name})
    cameras = [replace(c, name=names.get(c.image.name, c.name)) for c in _named(chosen, infos)]
    if len({camera.name for camera in cameras}) < len(cameras):
        raise SourceError(f'{bag.path}: two cameras of one name: {", ".join(asked)}')
    return cameras


def camera_name(topic: ImageTopic) -> str:
    """Return the name token of a topic's camera: its namespace, or the topic at the root."""
    namespace = topic.base.rpartition('/')[0].strip('/')
    token = re.sub(r'[^A-Za-z0-9_]+', '_', namespace or topic.base.strip('/'))
    return token if token[:1].isalpha() else f'camera_{token}'


def _camera_like(bag: BagReader, topic: ImageTopic) -> bool:
    """Whether a topic is a camera's picture by its name, and its first message by encoding."""
    if not re.match(r'image|rgb|color|left|right', topic.base.rpartition('/')[2] or ''):
        return False
    if topic.type == COMPRESSED:
        return 'depth' not in topic.name.lower()
    for recorded in bag.messages({topic.name}):
        message = _picture(recorded)
        if message is not None:
            return message.encoding not in _NO_PICTURE
    return False


def _info_of(topic: ImageTopic, infos: set[str]) -> str:
    return topic.info_name if topic.info_name in infos else ''


def _one_a_camera(topics: list[ImageTopic]) -> list[ImageTopic]:
    """Keep one topic of each namespace: raw before rectified, uncompressed before compressed."""

    def rank(topic: ImageTopic) -> tuple:
        last = topic.base.rpartition('/')[2]
        return (last != 'image_raw', last != 'image', topic.type == COMPRESSED, topic.name)

    best: dict[str, ImageTopic] = {}
    for topic in sorted(topics, key=rank):
        best.setdefault(topic.base.rpartition('/')[0], topic)
    return list(best.values())


def _named(topics: list[ImageTopic], infos: set[str]) -> list[BagCamera]:
    cameras: dict[str, BagCamera] = {}
    for topic in sorted(topics, key=lambda t: t.name):
        name = token = camera_name(topic)
        number = 2
        while name in cameras:
            name, number = f'{token}_{number}', number + 1
        cameras[name] = BagCamera(name, topic, _info_of(topic, infos))
    return list(cameras.values())


class CameraFrames:
    """Every picture of some cameras, in the order of recording.

    Args:
        bag: the recording.
        cameras: of it.

    Attributes:
        total: how many pictures the bag states.
        problems: what was wrong with messages, each told once.
    """

    def __init__(self, bag: BagReader, cameras: Collection[BagCamera]) -> None:
        self._bag = bag
        self._cameras = {camera.image.name: camera for camera in cameras}
        self._by_info: dict[str, list[BagCamera]] = {}
        for camera in cameras:
            if camera.info_topic:
                self._by_info.setdefault(camera.info_topic, []).append(camera)
        self.total = sum(camera.image.count for camera in cameras)
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[BagFrame]:
        states = {camera.name: _State() for camera in self._cameras.values()}
        for topic, cameras in self._by_info.items():
            first = self._first_info(topic)
            for camera in cameras:
                states[camera.name].info = first
        wanted = {*self._cameras, *self._by_info}
        for recorded in self._bag.messages(wanted):
            if recorded.topic in self._by_info:
                info = self._read(recorded, CameraInfo)
                for camera in self._by_info[recorded.topic] if info is not None else ():
                    states[camera.name].info = info
                continue
            camera = self._cameras[recorded.topic]
            yield self._frame(recorded, camera, states[camera.name])

    def _frame(self, recorded: BagMessage, camera: BagCamera, state: _State) -> BagFrame:
        index, state.count = state.count, state.count + 1
        message = _picture(recorded)
        if message is None:
            problem = f'not a {recorded.type}'
            self._note(f'{camera.image.name}: {problem}')
            return BagFrame(camera, index, recorded.log_ns, None, None, state.info, problem)
        try:
            compressed = recorded.type == COMPRESSED
            frame = compressed_to_frame(message) if compressed else to_frame(message)
        except ImageError as error:
            self._note(f'{camera.image.name}: {error}')
            return BagFrame(camera, index, recorded.log_ns, message, None, state.info, str(error))
        return BagFrame(camera, index, recorded.log_ns, message, frame, state.info)

    def _first_info(self, topic: str) -> CameraInfo | None:
        for recorded in self._bag.messages({topic}):
            info = self._read(recorded, CameraInfo)
            if info is not None:
                return info
        return None

    def _read(self, recorded: BagMessage, kind: type):
        try:
            return recorded.read(kind)
        except SourceError as error:
            self._note(f'{recorded.topic}: {error}')
            return None

    def _note(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def _picture(recorded: BagMessage) -> Image | CompressedImage | None:
    """Return a recorded picture, None where its bytes are not one."""
    try:
        return recorded.read(CompressedImage if recorded.type == COMPRESSED else Image)
    except SourceError:
        return None
