"""Average precision of an instance network over a COCO dataset."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances
from seg_perception.evaluation.average_precision import AveragePrecision, ObjectEntries
from seg_perception.evaluation.regions import ObjectDataset


class InstanceFinder(Protocol):
    """What is scored: ``runtime.instance.InstanceSegmenter`` or its torch twin."""

    labels: LabelSet
    last_timing: dict[str, float]

    @property
    def provider(self) -> str: ...

    def segment(self, image: np.ndarray, color: str = 'rgb') -> Instances: ...


@dataclass(frozen=True)
class InstanceEvaluation:
    """What ``evaluate_instances`` found.

    Attributes:
        box, mask: average precision of boxes and of masks.
        truth: objects by class name; groups and ones marked as such do not count.
        images, detections: pictures seen, objects found in them.
        provider: what ran the network.
        network_ms, seconds_per_image: medians, the network's and that of the whole ``segment``.
        entries: what the figures were made from.
    """

    box: AveragePrecision
    mask: AveragePrecision
    truth: Mapping[str, int]
    images: int
    detections: int
    provider: str
    network_ms: float
    seconds_per_image: float
    entries: ObjectEntries


def evaluate_instances(finder: InstanceFinder, data: ObjectDataset) -> InstanceEvaluation:
    """Score everything a network finds, whatever its score: AP is over all thresholds.

    Classes that the truth has no category for are left out of both truth and detections.

    Raises:
        DatasetError: a picture or annotation cannot be used, the classes differ, or there is
            no object to find.
    """
    if finder.labels.names != data.labels.names:
        raise DatasetError(
            f'{data.path} was opened for {data.labels.name!r}, the network has '
            f'{finder.labels.name!r}'
        )
    names = data.labels.names
    classes = sorted(set(data.class_of.values()))
    entries = ObjectEntries()
    network_ms, seconds = [], []
    for index in tqdm(range(len(data)), unit='picture', mininterval=1, leave=False):
        image = data.image(index)
        start = time.perf_counter()
        found = finder.segment(image)
        seconds.append(time.perf_counter() - start)
        network_ms.append(finder.last_timing['network'])
        entries.add(data.objects(index), found, classes)
    truth = {names[label]: entries.count(label) for label in classes}
    if not any(truth.values()):
        raise DatasetError(
            f'{data.path} has no object of {", ".join(names)} on its {len(data)} pictures: there '
            'is nothing to score'
        )
    return InstanceEvaluation(
        entries.precision('bbox', names),
        entries.precision('segm', names),
        truth,
        len(data),
        len(entries.found),
        finder.provider,
        statistics.median(network_ms),
        statistics.median(seconds),
        entries,
    )
