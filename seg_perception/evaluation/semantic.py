"""Scores of a segmenter over a folder of labelled pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.mapping import ClassMap
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
        per_picture: mIoU of each picture alone by its index; NaN where all of it is void.
    """

    scores: SegmentationScores
    per_class: dict[str, float | None]
    images: int
    provider: str
    network_size: tuple[int, int]
    network_ms: float
    boundary: BoundaryScores
    seconds_per_image: float
    per_picture: Mapping[int, float]


def evaluate(
    segmenter: Segmenter, data: FolderDataset, classes: ClassMap | None = None
) -> Evaluation:
    """Score a segmenter at the size of the pictures, the mask enlarged without interpolation.

    Args:
        segmenter: any, strategies included.
        data: pictures and truth.
        classes: of the segmenter as those of the data; None: they are the same.

    Raises:
        DatasetError: a picture or label map cannot be used, or the classes differ in number.
    """
    return evaluate_each([segmenter], data, classes)[0]


def evaluate_each(
    segmenters: Sequence[Segmenter], data: FolderDataset, classes: ClassMap | None = None
) -> list[Evaluation]:
    """Score several segmenters in one run.

    They take turns at every picture, so that their times are of the same minutes.

    Raises:
        DatasetError: see ``evaluate``.
    """
    tallies = new_tallies(segmenters, data, classes)
    for index in tqdm(range(len(data)), unit='picture', mininterval=1, leave=False):
        count_picture(segmenters, data, index, tallies, classes)
    return [tally.evaluation() for tally in tallies]


def new_tallies(
    segmenters: Sequence[Segmenter], data: FolderDataset, classes: ClassMap | None
) -> list[Tally]:
    """Return empty tallies, the segmenters warmed up for pictures of the first one's size.

    Raises:
        DatasetError: the first picture cannot be used, or the classes differ in number.
    """
    labels = classes.labels if classes else segmenters[0].labels
    if data.classes != len(labels):
        raise DatasetError(
            f'{data.root} has {data.classes} classes, the model {len(labels)}; they must agree'
        )
    height, width = data[0][1].shape
    tallies = []
    for segmenter in segmenters:
        segmenter.warm_up(width, height)
        size = segmenter.network_size(width, height)[::-1]
        tallies.append(Tally(labels, segmenter.provider, size))
    return tallies


def count_picture(
    segmenters: Sequence[Segmenter],
    data: FolderDataset,
    index: int,
    tallies: Sequence[Tally],
    classes: ClassMap | None,
) -> None:
    """Let every segmenter have its turn at a picture.

    Raises:
        DatasetError: the picture or its label map cannot be used; nothing was counted.
    """
    image, truth = data[index]
    for segmenter, tally in zip(segmenters, tallies, strict=True):
        start = time.perf_counter()
        labels = segmenter.segment(image, 'rgb').labels
        seconds = time.perf_counter() - start
        labels = as_truth(labels, truth.shape, classes)
        tally.add(index, truth, labels, seconds, segmenter.last_timing['network'])


def as_truth(labels: np.ndarray, shape: tuple[int, ...], classes: ClassMap | None) -> np.ndarray:
    """Return a mask, uint8 [h,w] of a model's classes, in the truth's classes and size."""
    if classes:
        labels = cv2.LUT(labels, classes.table)
    if labels.shape != shape:
        labels = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return labels


class Tally:
    """Counts and times of one segmenter; those of parts of a dataset add up exactly.

    Args:
        labels: classes that are scored.
        provider: what runs the network.
        network_size: (height, width) in pixels.
    """

    def __init__(self, labels: LabelSet, provider: str, network_size: tuple[int, int]) -> None:
        self.labels = labels
        self.provider = provider
        self.network_size = network_size
        self.matrix = ConfusionMatrix(len(labels))
        self.boundary = BoundaryIou(len(labels))
        self.network_ms: list[float] = []
        self.seconds: list[float] = []
        self.per_picture: dict[int, float] = {}

    def add(
        self,
        index: int,
        truth: np.ndarray,
        labels: np.ndarray,
        seconds: float,
        network_ms: float,
    ) -> None:
        """Count picture ``index``: truth and labels, uint8 [H,W]."""
        picture = ConfusionMatrix(len(self.labels))
        picture.update(truth, labels)
        self.per_picture[index] = picture.compute().miou
        self.matrix.merge(picture)
        self.boundary.update(truth, labels)
        self.seconds.append(seconds)
        self.network_ms.append(network_ms)

    def merge(self, other: Tally) -> None:
        """Add what another tally of the same model counted on other pictures."""
        self.matrix.merge(other.matrix)
        self.boundary.merge(other.boundary)
        self.seconds += other.seconds
        self.per_picture |= other.per_picture
        self.network_ms += other.network_ms

    def evaluation(self) -> Evaluation:
        """Return the scores of everything counted so far.

        Raises:
            DatasetError: nothing was.
        """
        if not self.seconds:
            raise DatasetError('not one picture could be scored')
        scores = self.matrix.compute()
        per_class = {
            name: None if np.isnan(iou) else float(iou)
            for name, iou in zip(self.labels.names, scores.iou, strict=True)
        }
        return Evaluation(
            scores=scores,
            per_class=per_class,
            images=len(self.seconds),
            provider=self.provider,
            network_size=self.network_size,
            network_ms=statistics.median(self.network_ms),
            boundary=self.boundary.compute(),
            seconds_per_image=statistics.median(self.seconds),
            per_picture=self.per_picture,
        )
