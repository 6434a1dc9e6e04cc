"""The datasets of a configuration: layouts, coarse labels, and pictures without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError, TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import KIND, CocoDataset
from seg_perception.evaluation.dataset import IGNORE, find_pictures
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.regions import ObjectDataset, open_objects
from seg_perception.training.coarse import TEACHER_ONLY, ClassGroups, MappedDataset
from seg_perception.training.config import UNLABELLED


class UnlabelledPictures:
    """Pictures of a folder, every pixel labelled ``TEACHER_ONLY``.

    Args:
        root: folder of pictures, or one with ``images``.

    Raises:
        DatasetError: no folder, or no picture in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        images = self.root / 'images'
        self.paths = find_pictures(images if images.is_dir() else self.root)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return the file stem of picture ``index``."""
        return self.paths[index].stem

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8 [H,W,3] RGB, uint8 [H,W]).

        Raises:
            DatasetError: the picture cannot be read.
        """
        image = cv2.imread(str(self.paths[index]), cv2.IMREAD_COLOR)
        if image is None:
            raise DatasetError(f'{self.paths[index]} cannot be read as a picture')
        labels = np.full(image.shape[:2], TEACHER_ONLY, np.uint8)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), labels


class CocoLabels:
    """COCO's objects as label maps; what no object covers is unknown, not background: ignored.

    Where objects overlap, the smaller one is in front. Crowds are ignored, and pictures without
    any object are left out: they would teach nothing.

    Args:
        data: whose classes are the network's.

    Raises:
        DatasetError: no picture shows an object.
    """

    def __init__(self, data: CocoDataset) -> None:
        self.data = data
        self.root = data.root
        self.chosen = [index for index in range(len(data)) if data.annotations(index)]
        if not self.chosen:
            raise DatasetError(f'{data.path}: no picture shows an object of the label set')

    def __len__(self) -> int:
        return len(self.chosen)

    def name(self, index: int) -> str:
        """Return the file stem of picture ``index``."""
        return Path(self.data.name(self.chosen[index])).stem

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8 [H,W,3] RGB, uint8 [H,W] class ids).

        Raises:
            DatasetError: the picture or one of its masks cannot be read.
        """
        index = self.chosen[index]
        image, objects = self.data.image(index), self.data.objects(index)
        labels = np.full(image.shape[:2], IGNORE, np.uint8)
        areas = objects.masks.sum((1, 2), dtype=np.int64)
        for number in np.argsort(-areas, kind='stable'):
            inside = objects.masks[number] > 0
            labels[inside] = IGNORE if objects.crowd[number] else objects.labels[number]
        return image, labels


def open_entry(entry: dict[str, Any], groups: ClassGroups) -> MappedDataset:
    """Open the dataset of a checked data entry, its labels in the ids of the mix.

    Raises:
        DatasetError, TrainingError: it cannot be used, or has other classes than the network.
    """
    kind, classes = entry.get('kind', 'folder'), entry.get('classes')
    own, root, split = len(groups.labels), Path(entry['root']), entry.get('split')
    if kind == UNLABELLED:
        data: Any = UnlabelledPictures(root)
    elif kind == KIND:
        data = CocoLabels(CocoDataset(root, groups.labels, split, classes))
        classes = None  # they name categories, which are the network's classes by now
    else:
        # Ids that `classes` does not name are ignored, so any of them may occur.
        known = own if classes is None else IGNORE
        data = open_dataset(kind, root, split, known, cache=True)
        if classes is None and data.classes != own:
            raise TrainingError(
                f'{root}: {kind} has {data.classes} classes, the label set '
                f'{groups.labels.name!r} {own}; say which are which with classes'
            )
    table = None if classes is None else groups.table(classes)
    return MappedDataset(data, table, own, entry.get('exclude', ()))


def open_entry_objects(entry: dict[str, Any], labels: LabelSet) -> ObjectDataset:
    """Open the objects of a checked data entry.

    Raises:
        DatasetError: they cannot be used, or are of no class of the label set.
    """
    return open_objects(
        entry.get('kind', KIND),
        Path(entry['root']),
        entry.get('split'),
        labels,
        entry.get('classes', {}),
        exclude=entry.get('exclude', ()),
        cache=True,
    )
