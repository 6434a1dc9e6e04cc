"""Ground truth for the frames of a bag: a folder of labels, topics of the bag, the simulator's."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image, PointCloud2

from seg_perception.core.errors import DatasetError, ImageError, SourceError
from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.mapping import class_map
from seg_perception.ros.bag_cameras import BagCamera, BagFrame
from seg_perception.ros.bag_reader import BagReader
from seg_perception.ros.instance_messages import read_ids
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.sources import natural_key

#: Labels and frames whose stamps differ by no more are of the same instant, nanoseconds.
TOLERANCE_NS = 2_000_000
#: Topics of a recorded simulation.
SIM_MASK, SIM_INSTANCES, SIM_KINDS = '/truth/mask', '/truth/instances', '/truth/kinds'
SIM_GRID, SIM_VISIBLE, SIM_CONTACTS = '/truth/grid', '/truth/visible', '/truth/contacts'


@dataclass(frozen=True)
class CellTruth:
    """What is true about the ground, as ``evaluation.grid.GridTruth`` has it.

    Attributes:
        spec: the cells' grid in the robot's frame.
        cells: int8 [spec.height, spec.width]: 0 drivable and clear, 100 not, -1 where a
            boundary cuts the cell.
        visible: bool, the camera sees all of the cell's ground.
        contacts: float32 [n, 2], x, y in m, where seen road ends at a thing.
    """

    spec: GridSpec
    cells: np.ndarray
    visible: np.ndarray
    contacts: np.ndarray


@dataclass(frozen=True)
class FrameTruth:
    """What is known of one frame; None where it is not.

    Attributes:
        labels: uint8 [h, w], class ids of the truth's label set, 255 = not labelled.
        instances: uint16 [h, w], 0 = none.
        kinds: uint8 [h, w], COCO category ids of the instances' pixels, 0 = none.
        ground: of the grid.
    """

    labels: np.ndarray | None = None
    instances: np.ndarray | None = None
    kinds: np.ndarray | None = None
    ground: CellTruth | None = None


class Truth:
    """Truth of one bag, camera by camera.

    Args:
        specs: ``[CAMERA=]WHERE`` each, where WHERE is a folder of label maps (named by stamp,
            by frame number or in order; ``labels/`` and ``instances/`` below it are found),
            ``topic:/name`` of an Image topic of ids in the bag, or ``simulator`` for the topics
            of a simulated drive.
        bag: the recording.
        cameras: of it that are replayed.
        match: 'stamp' or 'order' for folders, 'auto' to tell by the names.

    Raises:
        DatasetError: a folder, topic or camera is not there, or names do not fit the frames.
    """

    def __init__(
        self,
        specs: Sequence[str],
        bag: BagReader,
        cameras: Sequence[BagCamera],
        match: str = 'auto',
    ) -> None:
        self._sources: dict[str, list] = {camera.name: [] for camera in cameras}
        names = [camera.name for camera in cameras]
        for spec in specs:
            name, found, where = spec.partition('=')
            if not found or name not in names:
                if len(names) > 1 and spec != 'simulator':
                    raise DatasetError(
                        f'--truth {spec}: the bag has the cameras {", ".join(names)}; say whose '
                        f'truth it is: --truth {names[0]}={spec}'
                    )
                where, chosen = spec, cameras
            else:
                chosen = [camera for camera in cameras if camera.name == name]
            for camera in chosen:
                self._sources[camera.name] += _open(where, bag, camera, match)
        self.matched = 0

    def __bool__(self) -> bool:
        return any(self._sources.values())

    def of(self, frame: BagFrame) -> FrameTruth | None:
        """Return what is known of a frame, None where nothing is.

        Raises:
            DatasetError: a label map cannot be read.
        """
        known: dict[str, Any] = {}
        for source in self._sources[frame.camera.name]:
            array = source.find(frame)
            if array is not None:
                known[source.kind] = array
        if not known:
            return None
        self.matched += 1
        ground = None
        if {'cells', 'visible', 'contacts'} <= set(known):
            spec, cells = known['cells']
            ground = CellTruth(spec, cells, known['visible'][1] == 100, known['contacts'])
        pictures = {kind: known.get(kind) for kind in ('labels', 'instances', 'kinds')}
        return FrameTruth(**pictures, ground=ground)

    def explain(self) -> str:
        """Say why no frame had any truth, for a bag where that happened."""
        return '; '.join(
            dict.fromkeys(s.explain() for sources in self._sources.values() for s in sources)
        )


def _open(where: str, bag: BagReader, camera: BagCamera, match: str) -> list:
    if where == 'simulator':
        present = {t.name for t in bag.topics if t.count}
        kinds = (
            ('labels', SIM_MASK),
            ('instances', SIM_INSTANCES),
            ('kinds', SIM_KINDS),
            ('cells', SIM_GRID),
            ('visible', SIM_VISIBLE),
            ('contacts', SIM_CONTACTS),
        )
        found = [_Topic(bag, topic, kind) for kind, topic in kinds if topic in present]
        if not found:
            raise DatasetError(
                f'{bag.path}: no {SIM_MASK} nor {SIM_GRID} in it: --truth simulator is for bags '
                'that `seg-perception simulate-bag` wrote'
            )
        return found
    if where.startswith('topic:'):
        return [_Topic(bag, where.removeprefix('topic:'), 'labels')]
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise DatasetError(f'--truth {where}: no such folder (a topic is written topic:/name)')
    labels = folder / 'labels' if (folder / 'labels').is_dir() else folder
    sources = [_Folder(labels, 'labels', camera.image.count, match)]
    if labels is not folder and (folder / 'instances').is_dir():
        sources.append(_Folder(folder / 'instances', 'instances', camera.image.count, match))
    return sources


class _Folder:
    """Label maps of a folder, found by a frame's stamp or number."""

    def __init__(self, folder: Path, kind: str, frames: int, match: str) -> None:
        self.kind = kind
        self._folder = folder
        files = sorted(folder.glob('*.png'), key=lambda file: natural_key(file.name))
        if not files:
            raise DatasetError(f'{folder}: no .png label maps in it')
        stamps = [stamp_of(file.stem) for file in files]
        by_stamp = match == 'stamp' or (match == 'auto' and None not in stamps)
        if by_stamp and None in stamps:
            raise DatasetError(
                f'{folder}: {files[stamps.index(None)].name} is not named by a stamp '
                '(nanoseconds, or seconds.fraction); use --truth-match order'
            )
        self._stamps = np.array(stamps if by_stamp else [], np.int64)
        self._files = files
        self._numbers = {} if by_stamp else self._number(files, frames)
        if by_stamp:
            order = np.argsort(self._stamps, kind='stable')
            self._stamps, self._files = self._stamps[order], [files[i] for i in order]

    def _number(self, files: list[Path], frames: int) -> dict[int, Path]:
        """Frame number -> file: by the number that is the name, else by position."""
        if all(file.stem.isdecimal() for file in files):
            return {int(file.stem): file for file in files}
        if len(files) != frames:
            raise DatasetError(
                f'{self._folder}: {len(files)} label maps for {frames} frames: in order they must '
                'be as many; name them by stamp or by frame number where some are missing'
            )
        return dict(enumerate(files))

    def find(self, frame: BagFrame) -> np.ndarray | None:
        file = self._numbers.get(frame.index)
        if len(self._stamps):
            at = _nearest(self._stamps, frame.stamp_ns)
            file = None if at is None else self._files[at]
        return None if file is None else _read_ids(file, self.kind)

    def explain(self) -> str:
        if len(self._stamps):
            return f'{self._folder}: its stamps begin at {int(self._stamps[0])} ns'
        return f'{self._folder}: its names are the frame numbers {min(self._numbers)} and on'


class _Topic:
    """Messages of a topic, found by their stamp; kept compressed."""

    def __init__(self, bag: BagReader, topic: str, kind: str) -> None:
        self.kind = kind
        self._topic = topic
        wanted, message_class, read = _KINDS[kind]
        stamps, self._items = [], []
        types = {t.name: t.type for t in bag.topics}
        if types.get(topic) != wanted:
            raise DatasetError(
                f'{bag.path}: {topic} is {types.get(topic, "not in the bag")}, the truth must be '
                f'{wanted}'
            )
        for recorded in bag.messages({topic}):
            try:
                message = recorded.read(message_class)
            except SourceError as error:
                raise DatasetError(f'{topic}: a message is {error}') from error
            spec, array = read(message, topic)
            stamps.append(stamp_ns(message.header.stamp))
            packed = zlib.compress(array.tobytes(), 1)
            self._items.append((spec, array.shape, array.dtype, packed))
        order = np.argsort(np.array(stamps, np.int64), kind='stable')
        self._stamps = np.array(stamps, np.int64)[order]
        self._items = [self._items[i] for i in order]

    def find(self, frame: BagFrame) -> Any:
        at = _nearest(self._stamps, frame.stamp_ns)
        if at is None:
            return None
        spec, shape, dtype, data = self._items[at]
        array = np.frombuffer(zlib.decompress(data), dtype).reshape(shape)
        return array if spec is None else (spec, array)

    def explain(self) -> str:
        first = int(self._stamps[0]) if len(self._stamps) else None
        return f'{self._topic}: its stamps begin at {first} ns'


def stamp_of(stem: str) -> int | None:
    """Return the stamp that a file's name is, in nanoseconds; None where it is none.

    '1700000000050000000' are nanoseconds, '1700000000.05' seconds, '1700000000_050000000'
    seconds and nanoseconds.
    """
    if re.fullmatch(r'\d{16,19}', stem):
        return int(stem)
    whole = re.fullmatch(r'(\d{9,10})([._-])(\d{1,9})', stem)
    if not whole:
        return None
    seconds, separator, rest = whole.groups()
    nanoseconds = int(rest.ljust(9, '0')) if separator == '.' else int(rest)
    return int(seconds) * 1_000_000_000 + nanoseconds


def _nearest(stamps: np.ndarray, stamp: int) -> int | None:
    if not len(stamps):
        return None
    after = int(np.searchsorted(stamps, stamp))
    near = min(
        (i for i in (after - 1, after) if 0 <= i < len(stamps)),
        key=lambda i: abs(int(stamps[i]) - stamp),
    )
    return near if abs(int(stamps[near]) - stamp) <= TOLERANCE_NS else None


def _read_ids(file: Path, kind: str) -> np.ndarray:
    ids = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2 or ids.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f'{file}: not a single-channel png of ids')
    if kind == 'labels' and ids.dtype != np.uint8:
        raise DatasetError(f'{file}: class ids must be 8 bits a pixel, 255 = not labelled')
    return ids


def _ids(message: Image, topic: str) -> tuple[None, np.ndarray]:
    try:
        return None, read_ids(message, ('mono8', '8UC1', 'mono16', '16UC1')).copy()
    except ImageError as error:
        raise DatasetError(f'{topic}: {error}') from error


def _cells(message: OccupancyGrid, _topic: str) -> tuple[GridSpec, np.ndarray]:
    info = message.info
    x, y = info.origin.position.x, info.origin.position.y
    # The message has the resolution in 32 bits.
    resolution = round(info.resolution, 6)
    spec = GridSpec(resolution, x, x + info.width * resolution, y, y + info.height * resolution)
    return spec, np.array(message.data, np.int8).reshape(info.height, info.width)


def _points(message: PointCloud2, _topic: str) -> tuple[None, np.ndarray]:
    points = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
    return None, points[:, :8].copy().view(np.float32)


_KINDS: dict[str, tuple[str, type, Callable]] = {
    'labels': ('sensor_msgs/msg/Image', Image, _ids),
    'instances': ('sensor_msgs/msg/Image', Image, _ids),
    'kinds': ('sensor_msgs/msg/Image', Image, _ids),
    'cells': ('nav_msgs/msg/OccupancyGrid', OccupancyGrid, _cells),
    'visible': ('nav_msgs/msg/OccupancyGrid', OccupancyGrid, _cells),
    'contacts': ('sensor_msgs/msg/PointCloud2', PointCloud2, _points),
}


def class_table(truth: LabelSet, model: LabelSet) -> np.ndarray:
    """Return uint8 [256] from the truth's ids to the model's: by name, 255 where it has none.

    Raises:
        DatasetError: they have no class in common.
    """
    table = np.full(256, 255, np.uint8)
    names = {name: number for number, name in enumerate(model.names)}
    for number, name in enumerate(truth.names):
        if name in names:
            table[number] = names[name]
    if (table == 255).all():
        raise DatasetError(
            f'the label sets {truth.name!r} and {model.name!r} have no class name in common: name '
            "the truth's own with --truth-labels"
        )
    return table


def prediction_table(truth: LabelSet, model: LabelSet) -> np.ndarray:
    """Return uint8 [256] that brings a model's finer classes to those the truth knows.

    Where the truth has only cars and the model trucks too, a truck is scored as a car (see
    ``evaluation.mapping``); ids stay the model's.
    """
    table = np.arange(256, dtype=np.uint8)
    try:
        mapped = class_map(model, truth).table
    except DatasetError:
        return table  # the truth has classes of its own: those in common are scored as they are
    for number in range(len(model)):
        name = truth.names[mapped[number]] if mapped[number] < len(truth) else ''
        if name in model.names:
            table[number] = model.index(name)
    return table
