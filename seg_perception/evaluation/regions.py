"""Objects out of label maps: each connected region of a class is taken for one object.

A poor man's truth: where objects of a class touch, they are one region, and what hides a part of
one may part it in two. It lets street pictures that only have label maps teach, and tell, what
real cars and people look like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import KIND, CocoDataset, Objects
from seg_perception.evaluation.dataset import IGNORE, FolderDataset, is_excluded
from seg_perception.evaluation.layouts import open_dataset

#: A region wider than so many times its height is several objects side by side ...
WIDEST = 2.5
#: ... and of those who stand upright much sooner.
UPRIGHT = {'person': 1.2, 'pedestrian': 1.2, 'rider': 1.2}
#: A region of fewer pixels is no object that could be told from its surroundings.
SMALLEST = 60
#: Gaps of up to so many pixels, of a pole or a railing, do not part an object.
GAP = 3


class RegionDataset:
    """Pictures with label maps, as ``CocoDataset`` gives pictures with objects.

    Regions of less than ``SMALLEST`` pixels and those too wide to be one object are groups
    (``Objects.crowd``).

    Args:
        data: pictures and label maps, in their own ids.
        labels: classes of the network.
        classes: own id -> class name; regions of other ids are background. Ids of one class
            stay apart: a cyclist and a pedestrian before him are two people.
        exclude: shell patterns of file stems that are left out.

    Raises:
        DatasetError: an unknown class, an id outside 0..254, no class at all, or no picture left.
    """

    def __init__(
        self,
        data: FolderDataset,
        labels: LabelSet,
        classes: Mapping[int, str],
        exclude: Sequence[str] = (),
    ) -> None:
        path = data.root
        if not classes:
            raise DatasetError(f'{path}: label maps show objects of the ids that classes name')
        for own, name in classes.items():
            if not isinstance(own, int) or not 0 <= own < IGNORE:
                raise DatasetError(f'{path}: {own!r} is no label id (0..{IGNORE - 1})')
            if name not in labels.names:
                raise DatasetError(
                    f'{path}: unknown class {name!r}; known: {", ".join(labels.names)}'
                )
        self.chosen = [i for i in range(len(data)) if not is_excluded(data.name(i), exclude)]
        if not self.chosen:
            raise DatasetError(f'{path}: exclude leaves no picture')
        self.data = data
        self.path = path
        self.labels = labels
        #: Class id by label id.
        self.class_of = {own: labels.index(name) for own, name in classes.items()}
        #: Nothing is known of what else the label maps show.
        self.left_out: list[str] = []
        # A picture and its objects are asked for one after the other, and lie in one pair.
        self._last: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def _pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._last is None or self._last[0] != index:
            self._last = index, self.data[self.chosen[index]]
        return self._last[1]

    def name(self, index: int) -> str:
        """Return the file stem of picture ``index``."""
        return self.data.name(self.chosen[index])

    def image(self, index: int) -> np.ndarray:
        """Return picture ``index``, uint8 [H,W,3] RGB.

        Raises:
            DatasetError: it or its label map cannot be read.
        """
        return self._pair(index)[0]

    def objects(self, index: int) -> Objects:
        """Return the objects of picture ``index``.

        Raises:
            DatasetError: it or its label map cannot be read.
        """
        ids = self._pair(index)[1]
        found = [
            (label, mask) for own, label in self.class_of.items() for mask in regions(ids == own)
        ]
        masks = np.array([mask for _, mask in found], np.uint8).reshape(len(found), *ids.shape)
        labels = np.array([label for label, _ in found], np.int64)
        edges = [cv2.boundingRect(mask) for mask in masks]
        boxes = np.array(edges, np.float32).reshape(len(found), 4)
        names = [self.labels.names[label] for label in labels]
        limits = np.array([UPRIGHT.get(name, WIDEST) for name in names], np.float32)
        crowd = boxes[:, 2] > limits * boxes[:, 3]
        crowd |= masks.sum((1, 2), dtype=np.int64) < SMALLEST
        boxes[:, 2:] += boxes[:, :2]
        return Objects(labels, boxes, masks, crowd)


#: Both have the same attributes and methods.
ObjectDataset = CocoDataset | RegionDataset


def open_objects(
    kind: str,
    root: Path,
    split: str | None,
    labels: LabelSet,
    classes: Mapping,
    *,
    exclude: Sequence[str] = (),
    cache: bool = False,
) -> ObjectDataset:
    """Open a dataset of objects: COCO's format, or the regions of label maps.

    Args:
        kind: ``coco`` or a layout of label maps (``evaluation.layouts``).
        root, split: where it lies. labels: classes of the network.
        classes: category name (of label maps: id) -> class name.
        exclude: shell patterns of file stems that are left out.
        cache: keep decoded label maps in memory.

    Raises:
        DatasetError: it cannot be used, or shows no class of the label set.
    """
    if kind == KIND:
        return CocoDataset(root, labels, split, classes, exclude)
    maps = open_dataset(kind, root, split, IGNORE, cache)
    return RegionDataset(maps, labels, classes, exclude)


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected regions of a bool [H,W] mask, each uint8 [H,W], 1 = inside."""
    pixels = mask.astype(np.uint8)
    joined = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8))
    count, numbers = cv2.connectedComponents(joined, connectivity=8)
    return [pixels * (numbers == number) for number in range(1, count)]
