"""From boxes and small masks to pixels: pasting, selecting, one image of object ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.errors import LabelSetError, ParameterError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances

#: Probability from which a pixel belongs to the object, as in Mask R-CNN.
MASK_THRESHOLD = 0.5
#: Cells of zeros round a mask before it is resized, so that it can end inside its box.
PADDING = 1
#: Highest id of an image of uint16.
MAX_ID = 65535
#: A pasted box of more than so many times the picture's pixels is only computed where visible.
_MUCH_LARGER = 4


@dataclass(frozen=True)
class Region:
    """The pixels of an object, inside the part of its box that the picture shows.

    Attributes:
        x, y: column and row of the region's first pixel.
        mask: bool [h, w], True = the object.
    """

    x: int
    y: int
    mask: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of the object."""
        return cv2.countNonZero(self.mask.view(np.uint8)) if self.mask.size else 0

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return the view of an image [H, W, ...] that the region covers."""
        height, width = self.mask.shape
        return image[self.y : self.y + height, self.x : self.x + width]


def paste(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[Region]:
    """Give each object its pixels, as torchvision's ``paste_masks_in_image`` does.

    The mask is padded by one cell, its box grown to match and rounded towards zero, the mask
    resized to it (bilinear, half-pixel centres) and cut at the picture's edges
    (torchvision/models/detection/roi_heads.py). Only the box's pixels are computed.

    Args:
        instances: the objects.
        threshold: a pixel belongs to the object above this probability.

    Returns:
        A region for each object; empty where its box lies outside the picture, or is no box.
    """
    if not len(instances):
        return []
    padded = np.pad(instances.masks, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    grown = _grow(instances.boxes, padded.shape[-1] / instances.masks.shape[-1])
    usable = np.isfinite(grown).all(axis=1)
    # Far outside is as good as further outside, and stays within int64.
    corners = np.clip(np.where(usable[:, None], grown, 0), -1e7, 1e7).astype(np.int64)
    usable &= (instances.boxes[:, 2:] >= instances.boxes[:, :2]).all(axis=1)
    return [
        _paste_one(mask, tuple(map(int, box)), instances.image_size, threshold)
        if good
        else Region(0, 0, np.zeros((0, 0), bool))
        for mask, box, good in zip(padded, corners, usable, strict=True)
    ]


def _grow(boxes: np.ndarray, factor: float) -> np.ndarray:
    """Scale boxes about their centres, in float32 and in torchvision's order of operations."""
    with np.errstate(over='ignore', invalid='ignore'):
        half = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * np.float32(factor)
        centre = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
        return np.concatenate([centre - half, centre + half], axis=1)


def _paste_one(
    mask: np.ndarray,
    box: tuple[int, ...],
    image_size: tuple[int, int],
    threshold: float,
) -> Region:
    x1, y1, x2, y2 = box
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    left, top = max(x1, 0), max(y1, 0)
    right, bottom = min(x1 + width, image_size[0]), min(y1 + height, image_size[1])
    if right <= left or bottom <= top:
        return Region(0, 0, np.zeros((0, 0), bool))
    rows, columns = slice(top - y1, bottom - y1), slice(left - x1, right - x1)
    if width * height > _MUCH_LARGER * image_size[0] * image_size[1]:
        part = _resize_part(mask, height, width, rows, columns)
    else:
        part = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)[rows, columns]
    return Region(left, top, part > threshold)


def _resize_part(
    mask: np.ndarray, height: int, width: int, rows: slice, columns: slice
) -> np.ndarray:
    """Resize bilinearly, but only the asked rows and columns of the result."""
    vertical = _weights(mask.shape[0], height, rows)
    horizontal = _weights(mask.shape[1], width, columns)
    return vertical @ mask @ horizontal.T


def _weights(cells: int, pixels: int, part: slice) -> np.ndarray:
    """float32 [pixels of the part, cells]: the share that each cell has in each pixel."""
    at = (np.arange(part.start, part.stop) + 0.5) * (cells / pixels) - 0.5
    return np.maximum(1 - np.abs(at.clip(0, cells - 1)[:, None] - np.arange(cells)), 0).astype(
        np.float32
    )


def id_image(
    instances: Instances, regions: Sequence[Region], ids: np.ndarray | None = None
) -> np.ndarray:
    """Draw all objects into one image, the higher score on top.

    Args:
        instances: the objects, for their scores and the picture's size.
        regions: their pixels (``paste``).
        ids: int [N], 1..65535 each; None = 1, 2, ... in the order of ``instances``.

    Returns:
        uint16 [H, W]: the object's id, 0 = none.
    """
    if ids is None:
        ids = np.arange(1, len(instances) + 1)
    if len(ids) and (ids.min() < 1 or ids.max() > MAX_ID):
        raise ValueError(f'ids must be in 1..{MAX_ID}, got {ids.min()}..{ids.max()}')
    width, height = instances.image_size
    image = np.zeros((height, width), np.uint16)
    for i in np.argsort(instances.scores, kind='stable'):
        mask = regions[i].mask
        if mask.size:  # five times as fast as NumPy's copyto with a mask
            cv2.copyTo(
                np.full(mask.shape, ids[i], np.uint16), mask.view(np.uint8), regions[i].of(image)
            )
    return image


@dataclass(frozen=True)
class Selection:
    """Which of the found objects count.

    Attributes:
        min_score: float32 [classes], the least score by class; above 1 = the class is left out.
        min_area: least number of pixels of an object in the picture.
        max_detections: of more, those of the best scores are kept.
    """

    min_score: np.ndarray
    min_area: int = 0
    max_detections: int = 100

    @classmethod
    def of(
        cls,
        labels: LabelSet,
        min_score: float,
        *,
        class_scores: Sequence[str] = (),
        classes: Sequence[str] = (),
        min_area: int = 0,
        max_detections: int = 100,
    ) -> Selection:
        """Read a selection as people write it.

        Args:
            labels: the model's classes.
            min_score: the least score of classes that have none of their own.
            class_scores: '<class>:<score>' each, e.g. 'person:0.3'.
            classes: those to keep; empty = all.
            min_area, max_detections: as above.

        Raises:
            LabelSetError: a class that the model does not have.
            ParameterError: a score that is no number in 0..1.
        """
        table = np.full(len(labels), min_score, np.float32)
        for text in class_scores:
            name, score = read_class_score(text)
            table[labels.index(name)] = score
        if classes:
            kept = [labels.index(name) for name in classes]
            table[np.setdiff1d(np.arange(len(labels)), kept)] = np.inf
        return cls(table, min_area, max_detections)


def read_class_score(text: str) -> tuple[str, float]:
    """Return class and score of '<class>:<score>'.

    Raises:
        ParameterError: it is not of that form, or the score not in 0..1.
    """
    name, _, number = text.rpartition(':')
    try:
        score = float(number)
    except ValueError:
        score = -1.0
    if not name.strip() or not 0.0 <= score <= 1.0:
        raise ParameterError(f"'{text}' must be '<class>:<score>' with a score in 0..1")
    return name.strip(), score


@dataclass(frozen=True)
class Found:
    """The objects of one picture that count, the best first.

    Attributes:
        instances: classes, scores, boxes.
        regions: the pixels of each, also those that others cover.
        ids: int [N], their values in the ``id_image``.
        tracked: whether the ids last from picture to picture.
    """

    instances: Instances
    regions: Sequence[Region]
    ids: np.ndarray
    tracked: bool


def select(instances: Instances, selection: Selection) -> tuple[Instances, list[Region]]:
    """Keep what counts, the best first.

    What has no class of the label set, no finite score or no box is left out.

    Returns:
        The objects in descending order of score, and their pixels.

    Raises:
        LabelSetError: the selection is for fewer classes than the objects have.
    """
    labels = instances.labels
    if labels.max(initial=-1) >= len(selection.min_score):
        raise LabelSetError(
            f'class {labels.max()} was found, the selection knows {len(selection.min_score)}'
        )
    sound = (labels >= 0) & np.isfinite(instances.scores)
    sound &= np.isfinite(instances.boxes).all(axis=1)
    sound &= (instances.boxes[:, 2:] > instances.boxes[:, :2]).all(axis=1)
    chosen = sound & (instances.scores >= selection.min_score[labels])
    order = np.flatnonzero(chosen)
    order = order[np.argsort(-instances.scores[order], kind='stable')]
    kept = instances.take(order)
    regions = paste(kept)
    # An object of which the picture shows nothing is no object, whatever min_area says.
    least = max(selection.min_area, 1)
    large = [i for i, region in enumerate(regions) if region.area >= least]
    large = large[: selection.max_detections]
    return kept.take(np.array(large, np.intp)), [regions[i] for i in large]
