"""Scores of a segmenter over a folder of labelled pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.metrics import (
    BoundaryIou,
    BoundaryScores,
    ConfusionMatrix,
    SegmentationScores,
)
from seg_perception.runtime.strategy import Segmenter


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found.

    Attributes:
        scores: over all pictures.
        per_class: IoU 0..1 by class name; None for a class that occurs neither in the truth
            nor in the prediction.
        images: number of pictures.
        provider: execution provider that ran the network.
        network_size: (height, width) in pixels at the first picture, or at its tiles.
        network_ms: median milliseconds of the network a picture, all views of it together.
        boundary: boundary IoU over all pictures.
        seconds_per_image: median time of a whole segmentation, from the decoded picture to
            the mask.
    """

    scores: SegmentationScores
    per_class: dict[str, float | None]
    images: int
    provider: str
    network_size: tuple[int, int]
    network_ms: float
    boundary: BoundaryScores
    seconds_per_image: float


def evaluate(segmenter: Segmenter, data: FolderDataset) -> Evaluation:
    """Score a segmenter at the size of the pictures, the mask enlarged without interpolation.

    Raises:
        DatasetError: a picture or label map cannot be used, or the classes differ in number.
    """
    return evaluate_each([segmenter], data)[0]


def evaluate_each(segmenters: Sequence[Segmenter], data: FolderDataset) -> list[Evaluation]:
    """Score several segmenters in one run.

    They take turns at every picture, so that their times are of the same minutes.

    Raises:
        DatasetError: see ``evaluate``.
    """
    for segmenter in segmenters:
        if data.classes != len(segmenter.labels):
            raise DatasetError(
                f'{data.root} has {data.classes} classes, the model {len(segmenter.labels)}; '
                'they must agree'
            )
    height, width = data[0][1].shape
    tallies = [_Tally(segmenter, width, height) for segmenter in segmenters]
    for index in tqdm(range(len(data)), unit='picture', mininterval=1, leave=False):
        image, truth = data[index]
        for tally in tallies:
            tally.add(image, truth)
    return [tally.evaluation() for tally in tallies]


class _Tally:
    """Scores and times of one segmenter, warmed up for pictures of a size."""

    def __init__(self, segmenter: Segmenter, width: int, height: int) -> None:
        self._segmenter = segmenter
        self._matrix = ConfusionMatrix(len(segmenter.labels))
        self._boundary = BoundaryIou(len(segmenter.labels))
        self._network_ms: list[float] = []
        self._seconds: list[float] = []
        self._network_size = segmenter.network_size(width, height)[::-1]
        segmenter.warm_up(width, height)

    def add(self, image: np.ndarray, truth: np.ndarray) -> None:
        start = time.perf_counter()
        labels = self._segmenter.segment(image, 'rgb').labels
        self._seconds.append(time.perf_counter() - start)
        self._network_ms.append(self._segmenter.last_timing['network'])
        if labels.shape != truth.shape:
            labels = cv2.resize(labels, truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        self._matrix.update(truth, labels)
        self._boundary.update(truth, labels)

    def evaluation(self) -> Evaluation:
        scores = self._matrix.compute()
        names = self._segmenter.labels.names
        per_class = {
            name: None if np.isnan(iou) else float(iou)
            for name, iou in zip(names, scores.iou, strict=True)
        }
        return Evaluation(
            scores=scores,
            per_class=per_class,
            images=len(self._seconds),
            provider=self._segmenter.provider,
            network_size=self._network_size,
            network_ms=statistics.median(self._network_ms),
            boundary=self._boundary.compute(),
            seconds_per_image=statistics.median(self._seconds),
        )
