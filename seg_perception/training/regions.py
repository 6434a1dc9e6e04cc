"""Objects out of label maps: each connected region of a class is taken for one object.

A poor man's truth: where objects of a class touch, they are one region, and what stands before
one parts it in two. It lets street pictures that only have label maps teach what real cars and
people look like.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from seg_perception.core.errors import TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import Objects
from seg_perception.evaluation.dataset import IGNORE
from seg_perception.training.coarse import MappedDataset

#: A region wider than so many times its height is several objects side by side.
WIDEST = 3.0
#: A region of fewer pixels is no object that could be told from its surroundings.
SMALLEST = 60
#: Gaps of up to so many pixels, of a pole or a railing, do not part an object.
GAP = 3


class RegionObjects:
    """Pictures with label maps as pairs of picture and objects.

    Objects that are ``SMALLEST`` or too wide to be one are crowds: neither asked for nor shown.

    Args:
        data: pictures and label maps, own ids.
        labels: classes of the network.
        classes: own id -> class name; regions of other ids are background. Ids of one class
            stay apart: a cyclist and a pedestrian before him are two people.
        widest: class name -> how many times its height an object may be wide, for classes that
            are not to be judged by ``WIDEST``.

    Raises:
        TrainingError: an unknown class, an id outside 0..254, or no class at all.
    """

    def __init__(
        self,
        data: MappedDataset,
        labels: LabelSet,
        classes: Mapping[int, str],
        widest: Mapping[str, float],
    ) -> None:
        for own, name in classes.items():
            if not isinstance(own, int) or not 0 <= own < IGNORE:
                raise TrainingError(f'classes: {own!r} is no label id (0..{IGNORE - 1})')
            _check_class(name, labels)
        for name in widest:
            _check_class(name, labels)
        if not classes:
            raise TrainingError(f'{data.data.root}: regions need classes: which ids are objects')
        self.data = data
        self.classes = {own: labels.index(name) for own, name in classes.items()}
        self.widest = {labels.index(name): float(limit) for name, limit in widest.items()}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Objects]:
        """Return (uint8 [H,W,3] RGB, the objects).

        Raises:
            DatasetError: the picture or its label map cannot be read.
        """
        image, ids = self.data[index]
        found = [
            (label, mask) for own, label in self.classes.items() for mask in regions(ids == own)
        ]
        masks = np.array([mask for _, mask in found], np.uint8).reshape(len(found), *ids.shape)
        labels = np.array([label for label, _ in found], np.int64)
        boxes = np.array([cv2.boundingRect(mask) for mask in masks], np.float32).reshape(
            len(found), 4
        )
        limits = np.array(
            [self.widest.get(label, WIDEST) for label in labels.tolist()], np.float32
        )
        crowd = boxes[:, 2] > limits * boxes[:, 3]
        crowd |= masks.sum((1, 2), dtype=np.int64) < SMALLEST
        boxes[:, 2:] += boxes[:, :2]
        return image, Objects(labels, boxes, masks, crowd)


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected regions of a bool [H,W] mask, each uint8 [H,W], 1 = inside."""
    pixels = mask.astype(np.uint8)
    joined = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8))
    count, numbers = cv2.connectedComponents(joined, connectivity=8)
    return [pixels * (numbers == number) for number in range(1, count)]


def _check_class(name: object, labels: LabelSet) -> None:
    if name not in labels.names:
        raise TrainingError(f'classes: unknown {name!r}; known: {", ".join(labels.names)}')
