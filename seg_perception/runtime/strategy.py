"""What strategies around a segmenter share: its interface, and votes of several views.

A deployed network gives a label and a confidence per pixel, no score per class, so views of
the same pixel (overlapping tiles, a mirrored picture) are merged by voting::

    votes(c)   = sum of  w_i * q_i  over the views i whose label is c
    label      = the class with the most votes (of equals, the lowest id)
    confidence = votes(label) / sum of w_i  over all views

with w_i the view's weight at the pixel and q_i its confidence, 0..1. The confidence is a vote
and not a softmax: a view with another label, or with none (255), adds nothing to it although
its network gave the winner some probability too. It is therefore never above the weighted mean
of the views' softmax probabilities of that class, and where all views agree it is that mean.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Protocol

import cv2
import numpy as np

from seg_perception.core.labels import LabelSet
from seg_perception.core.results import UNLABELLED, SemanticResult
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.bundle_segmenter import check_image

#: Weight of a label of confidence 0, in steps of 1/255: it yields to any other, not to none.
_FAINTEST = 2.0**-8


class Segmenter(Protocol):
    """Anything that segments pictures: a network, or a strategy around another segmenter."""

    last_timing: dict[str, float]

    @property
    def bundle(self) -> Bundle: ...

    @property
    def labels(self) -> LabelSet: ...

    @property
    def provider(self) -> str: ...

    def network_size(self, width: int, height: int) -> tuple[int, int]: ...

    def warm_up(self, width: int, height: int) -> None: ...

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult: ...

    def at_scale(self, scale: float) -> Segmenter: ...


class Strategy:
    """A segmenter around a segmenter: the model, its classes and its provider stay.

    Attributes:
        segmenter: the one inside.
        last_timing: milliseconds of the last ``segment``, summed over the views: 'convert',
            'network', 'post'; the strategy's own work counts as 'post'.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.last_timing: dict[str, float] = {}

    @property
    def bundle(self) -> Bundle:
        return self.segmenter.bundle

    @property
    def labels(self) -> LabelSet:
        return self.segmenter.labels

    @property
    def provider(self) -> str:
        return self.segmenter.provider


class Stopwatch:
    """Sums the stages of several segmentations; the rest of the time is 'post'."""

    def __init__(self) -> None:
        self._stages = {'convert': 0.0, 'network': 0.0, 'post': 0.0}

    def segment(self, segmenter: Segmenter, image: np.ndarray, color: str) -> SemanticResult:
        """Run a segmenter and count its stages."""
        result = segmenter.segment(image, color)
        for stage, milliseconds in segmenter.last_timing.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + milliseconds
        return result

    def stages(self, seconds: float) -> dict[str, float]:
        """Return the milliseconds of each stage of a call that took ``seconds`` in all."""
        rest = seconds * 1e3 - math.fsum(self._stages.values())
        return {**self._stages, 'post': self._stages['post'] + max(0.0, rest)}


class Ensemble(Strategy, ABC):
    """A strategy that shows the segmenter inside several views of a picture."""

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult:
        """Segment one picture.

        Args:
            image: uint8 [H, W, 3]; a view with padded rows is fine.
            color: order of its channels, 'rgb' or 'bgr'.

        Raises:
            ImageError: the picture is of another shape or type.
            BundleError: the network fails or gives what the bundle does not promise.
        """
        check_image(image, color)
        start = time.perf_counter()
        watch = Stopwatch()
        result = self._segment(image, color, watch)
        self.last_timing = watch.stages(time.perf_counter() - start)
        return result

    @abstractmethod
    def _segment(self, image: np.ndarray, color: str, watch: Stopwatch) -> SemanticResult:
        """Segment a picture that is one; the watch runs the segmenter inside."""


class Votes:
    """Votes for classes on a grid of pixels: add views, then decide.

    One float32 plane [height, width] per class that got a vote, and one for the weights: what
    a class costs in memory depends on the classes in sight, not on the label set.

    Args:
        height, width: of the grid in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._weight = np.zeros((height, width), np.float32)
        self._planes: dict[int, np.ndarray] = {}

    @property
    def classes(self) -> list[int]:
        """Ids of the classes that have a plane."""
        return sorted(self._planes)

    def add(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        weight: np.ndarray | float = 1.0,
        column: int = 0,
    ) -> None:
        """Add a view that covers the first rows of the grid.

        Args:
            labels: uint8 [h, w]; 255 votes for no class, and still weighs.
            confidence: uint8 [h, w].
            weight: > 0, float32 [h, w] or one number for all pixels.
            column: of the grid where the view begins.
        """
        rows, columns = labels.shape
        place = np.s_[:rows, column : column + columns]
        self._weight[place] += weight
        vote = np.maximum(confidence, np.float32(_FAINTEST), dtype=np.float32)
        vote *= weight
        labels = np.ascontiguousarray(labels)
        for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist():
            if label != UNLABELLED:
                plane = self._planes.setdefault(label, np.zeros_like(self._weight))
                voters = (labels == label).view(np.uint8)
                cv2.accumulate(vote, plane[place], mask=voters)

    def decide(self, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the winners of the first ``rows`` rows (None: all).

        Returns:
            (labels, confidence), both uint8 [rows, width]; 255 and 0 where no class got a vote.
        """
        weight = self._weight[:rows]
        best = np.zeros_like(weight)
        labels = np.full(weight.shape, UNLABELLED, np.uint8)
        for label in self.classes:
            plane = self._planes[label][:rows]
            labels[plane > best] = label
            np.maximum(best, plane, out=best)
        np.divide(best, weight, out=best, where=weight > 0)
        return labels, np.rint(best).astype(np.uint8)

    def shift(self, rows: int) -> None:
        """Drop the first ``rows`` rows and add as many empty ones at the end."""
        for plane in (self._weight, *self._planes.values()):
            kept = max(0, plane.shape[0] - rows)
            plane[:kept] = plane[plane.shape[0] - kept :].copy()
            plane[kept:] = 0
        self._planes = {label: plane for label, plane in self._planes.items() if plane.any()}
