"""Segmentation scores by the confusion matrix: accumulate with update, read with compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255


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
        if truth.shape != prediction.shape:
            raise ValueError(f'truth {truth.shape} and prediction {prediction.shape} differ')
        valid = truth != self.ignore
        rows = truth[valid].astype(np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.classes):
            raise ValueError(
                f'truth label outside 0..{self.classes - 1} that is not {self.ignore} (ignore)'
            )
        columns = prediction[valid].astype(np.int64)
        columns[(columns < 0) | (columns >= self.classes)] = self.classes
        flat = rows * (self.classes + 1) + columns
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

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
