"""Segmentation scores of regions and of boundaries: accumulate with update, read with compute."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

IGNORE = 255
#: Width of the band that boundary IoU looks at, as a share of the picture's diagonal.
BOUNDARY_RATIO = 0.02


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a whole dataset.

    Attributes:
        iou: float64 [C] intersection over union per class; NaN for a class that neither the
            truth nor the prediction contains.
        miou: mean of ``iou`` over the classes that occur in the truth.
        pixel_accuracy: share of the counted pixels that are right.
        pixels: number of counted pixels.
    """

    iou: np.ndarray
    miou: float
    pixel_accuracy: float
    pixels: int


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs of class ids.

    Pixels whose truth is the ignore value count nowhere. A prediction outside 0..classes-1
    (255 = unlabelled) counts as a miss of its true class, never as a hit.

    Args:
        classes: number of classes, 1..255.
        ignore: truth value that counts nowhere.
    """

    def __init__(self, classes: int, ignore: int = IGNORE) -> None:
        if not 1 <= classes <= 255:
            raise ValueError(f'classes must be 1..255, got {classes}')
        self.classes = classes
        self.ignore = ignore
        # One more column than rows: predictions of no class.
        self.counts = np.zeros((classes, classes + 1), np.int64)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count one picture (or a batch): integer arrays of the same shape.

        Raises:
            ValueError: shapes differ, or a truth label is neither a class nor the ignore value.
        """
        valid = _check_pair(truth, prediction, self.classes, self.ignore)
        rows = truth[valid].astype(np.int64)
        columns = prediction[valid].astype(np.int64)
        columns[(columns < 0) | (columns >= self.classes)] = self.classes
        flat = rows * (self.classes + 1) + columns
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix of the same classes counted; exact, whatever the order."""
        if (other.classes, other.ignore) != (self.classes, self.ignore):
            raise ValueError(f'{other.classes} classes cannot be added to {self.classes}')
        # A new array: one that came from another process may be read-only.
        self.counts = self.counts + other.counts

    def compute(self) -> SegmentationScores:
        """Return the scores of everything counted so far (NaN where nothing was)."""
        square = self.counts[:, : self.classes]
        hits = np.diag(square).astype(np.float64)
        truth = self.counts.sum(1)
        union = truth + square.sum(0) - hits
        iou = np.full(self.classes, np.nan)
        np.divide(hits, union, out=iou, where=union > 0)
        present = truth > 0
        pixels = int(truth.sum())
        return SegmentationScores(
            iou=iou,
            miou=float(iou[present].mean()) if present.any() else float('nan'),
            pixel_accuracy=float(hits.sum() / pixels) if pixels else float('nan'),
            pixels=pixels,
        )


@dataclass(frozen=True)
class BoundaryScores:
    """Boundary IoU of a whole dataset.

    Attributes:
        iou: float64 [C] per class; NaN for a class that neither the truth nor the prediction
            contains.
        miou: mean of ``iou`` over the classes that occur in the truth.
    """

    iou: np.ndarray
    miou: float


class BoundaryIou:
    """IoU of what lies near the boundaries: Cheng et al., "Boundary IoU", CVPR 2021.

    Of either mask of a class only the band counts that lies within ``round(ratio * diagonal)``
    pixels (at least 1) of its own boundary, measured as the authors do: what an erosion by a
    square takes away, the picture's border being a boundary. Pixels are counted over all
    pictures, as in the confusion matrix.

    Pixels whose truth is the ignore value count nowhere and belong to no mask, whatever the
    prediction says there; so their edge is a boundary of both masks alike.

    Args:
        classes: number of classes, 1..255.
        ignore: truth value that counts nowhere.
        ratio: width of the band as a share of the picture's diagonal.
    """

    def __init__(self, classes: int, ignore: int = IGNORE, ratio: float = BOUNDARY_RATIO) -> None:
        if not 1 <= classes <= 255:
            raise ValueError(f'classes must be 1..255, got {classes}')
        self.classes = classes
        self.ignore = ignore
        self.ratio = ratio
        self.hits, self.truth, self.predicted = np.zeros((3, classes), np.int64)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count one picture: integer arrays [h, w].

        Raises:
            ValueError: not two-dimensional, shapes differ, or a truth label is neither a class
                nor the ignore value.
        """
        if truth.ndim != 2:
            raise ValueError(f'boundaries are of one picture [h, w], got {truth.shape}')
        valid = _check_pair(truth, prediction, self.classes, self.ignore)
        width = max(1, round(self.ratio * math.hypot(*truth.shape)))
        wanted, found = (self._band(labels, valid, width) for labels in (truth, prediction))
        self.truth += self._count(wanted)
        self.predicted += self._count(found)
        self.hits += self._count(wanted[wanted == found])

    def merge(self, other: BoundaryIou) -> None:
        """Add what another of the same classes counted; exact, whatever the order."""
        mine, theirs = ((b.classes, b.ignore, b.ratio) for b in (self, other))
        if mine != theirs:
            raise ValueError(f'boundaries counted otherwise cannot be added: {theirs}, {mine}')
        self.hits = self.hits + other.hits
        self.truth = self.truth + other.truth
        self.predicted = self.predicted + other.predicted

    def compute(self) -> BoundaryScores:
        """Return the scores of everything counted so far (NaN where nothing was)."""
        union = self.truth + self.predicted - self.hits
        iou = np.full(self.classes, np.nan)
        np.divide(self.hits, union, out=iou, where=union > 0)
        present = self.truth > 0  # Whatever class a picture holds has a boundary in it.
        return BoundaryScores(iou, float(iou[present].mean()) if present.any() else float('nan'))

    def _band(self, labels: np.ndarray, valid: np.ndarray, width: int) -> np.ndarray:
        """Return uint8 [h, w]: the class in the band of its mask, 255 elsewhere."""
        known = valid & (labels >= 0) & (labels < self.classes)
        labels = np.where(known, labels, 255).astype(np.uint8)
        # An eroded mask keeps the pixels around which the whole square is of one class: where
        # the square's lowest label is its highest. Two filters then do for all the classes.
        square = np.ones((3, 3), np.uint8)
        low, high = (
            filter_(labels, square, None, (-1, -1), width, cv2.BORDER_CONSTANT, outside)
            for filter_, outside in ((cv2.erode, 0), (cv2.dilate, 255))
        )
        labels[low == high] = 255
        return labels

    def _count(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels.ravel(), minlength=256)[: self.classes]


def _check_pair(
    truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int
) -> np.ndarray:
    """Return bool, where the truth counts.

    Raises:
        ValueError: shapes differ, or a truth label is neither a class nor the ignore value.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f'truth {truth.shape} and prediction {prediction.shape} differ')
    valid = truth != ignore
    labels = truth[valid]
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f'truth label outside 0..{classes - 1} that is not {ignore} (ignore)')
    return valid
