"""Scores of a segmenter over a folder of labelled pictures."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.metrics import ConfusionMatrix, SegmentationScores
from seg_perception.runtime.semantic import SemanticSegmenter


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found.

    Attributes:
        scores: over all pictures.
        per_class: IoU 0..1 by class name; None for a class that occurs neither in the truth
            nor in the prediction.
        images: number of pictures.
        provider: execution provider that ran the network.
        network_size: (height, width) in pixels at the first picture.
        network_ms: median milliseconds of the network a picture.
    """

    scores: SegmentationScores
    per_class: dict[str, float | None]
    images: int
    provider: str
    network_size: tuple[int, int]
    network_ms: float


def evaluate(segmenter: SemanticSegmenter, data: FolderDataset) -> Evaluation:
    """Score a segmenter at the size of the pictures, the mask enlarged without interpolation.

    Raises:
        DatasetError: a picture or label map cannot be used, or the classes differ in number.
    """
    names = segmenter.labels.names
    if data.classes != len(names):
        raise DatasetError(
            f'{data.root} has {data.classes} classes, the model {len(names)}; they must agree'
        )
    matrix = ConfusionMatrix(len(names))
    first, _ = data[0]
    width, height = segmenter.network_size(first.shape[1], first.shape[0])
    segmenter.warm_up(first.shape[1], first.shape[0])
    times = []
    for index in tqdm(range(len(data)), unit='picture', mininterval=1, leave=False):
        image, truth = data[index]
        labels = segmenter.segment(image, 'rgb').labels
        times.append(segmenter.last_timing['network'])
        if labels.shape != truth.shape:
            labels = cv2.resize(labels, truth.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        matrix.update(truth, labels)
    scores = matrix.compute()
    per_class = {
        name: None if np.isnan(iou) else float(iou)
        for name, iou in zip(names, scores.iou, strict=True)
    }
    return Evaluation(
        scores=scores,
        per_class=per_class,
        images=len(data),
        provider=segmenter.provider,
        network_size=(height, width),
        network_ms=statistics.median(times),
    )
