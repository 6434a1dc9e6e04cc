"""The pictures that a model does worst on, drawn for people: what a model card should show."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from seg_perception.core.instances import Region, paste
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import blend, draw_objects
from seg_perception.evaluation.average_precision import ObjectEntries
from seg_perception.evaluation.dataset import IGNORE, FolderDataset
from seg_perception.evaluation.instances import InstanceFinder
from seg_perception.evaluation.mapping import ClassMap
from seg_perception.evaluation.metrics import ConfusionMatrix
from seg_perception.evaluation.regions import ObjectDataset
from seg_perception.evaluation.semantic import as_truth
from seg_perception.evaluation.sheet import Row, draw_sheet
from seg_perception.runtime.strategy import Segmenter

_WRONG_RGB = (220, 30, 40)
#: Classes of a picture named as its worst.
_NAMED = 3


def worst(scores: Mapping[int, float], count: int) -> list[int]:
    """Return pictures with low scores, the lowest first; NaN is no score.

    Many data sets are cut from videos, where neighbours look alike: of pictures that are closer
    than a quarter of the distance at which ``count`` of them would be spread over all, only the
    worst is taken.

    Args:
        scores: of the pictures by index.
        count: pictures at most.
    """
    apart = len(scores) // (4 * count)
    known = [index for index, score in scores.items() if not math.isnan(score)]
    chosen: list[int] = []
    for index in sorted(known, key=lambda index: (scores[index], index)):
        if all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return chosen[:count]


def mask_sheet(
    segmenter: Segmenter,
    data: FolderDataset,
    classes: ClassMap | None,
    scores: Mapping[int, float],
    count: int,
) -> np.ndarray:
    """Draw the pictures with the lowest scores: truth, prediction and what is wrong.

    Args:
        segmenter, data, classes: as evaluated.
        scores: of the pictures by index, one at least that is a number.
        count: pictures at most.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        DatasetError: a picture or label map cannot be used.
    """
    labels = classes.labels if classes else segmenter.labels
    palette = labels.palette()
    rows, seen = [], np.zeros(256, bool)
    for index in worst(scores, count):
        image, truth = data[index]
        found = as_truth(segmenter.segment(image, 'rgb').labels, truth.shape, classes)
        seen[truth] = seen[found] = True
        wrong = ((truth != found) & (truth != IGNORE)).astype(np.uint8)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        panels = [
            image,
            blend(image, truth, palette, 0.6),
            blend(image, found, palette, 0.6),
            cv2.copyTo(np.full_like(grey, _WRONG_RGB), wrong, grey // 2),
        ]
        rows.append(Row(_mask_caption(data.name(index), truth, found, labels), panels))
    legend = [(name, palette[i]) for i, name in enumerate(labels.names) if seen[i]]
    return draw_sheet(('picture', 'truth', 'prediction', 'wrong'), rows, legend)


def _mask_caption(name: str, truth: np.ndarray, found: np.ndarray, labels: LabelSet) -> str:
    matrix = ConfusionMatrix(len(labels))
    matrix.update(truth, found)
    scores = matrix.compute()
    lost = [i for i in np.argsort(scores.iou, kind='stable') if (truth == i).any()][:_NAMED]
    worst_classes = ', '.join(f'{labels.names[i]} {100 * scores.iou[i]:.0f}' for i in lost)
    return f'{name}: mIoU {100 * scores.miou:.0f} %, least {worst_classes}'


def object_sheet(
    finder: InstanceFinder, data: ObjectDataset, entries: ObjectEntries, count: int
) -> np.ndarray:
    """Draw the pictures with the lowest mask AP, with the true objects and those found.

    Args:
        finder, data: as evaluated.
        entries: of that evaluation.
        count: pictures at most.

    Returns:
        uint8 [H, W, 3] RGB. Objects found with a score below 0.5 are not drawn.

    Raises:
        DatasetError: a picture or annotation cannot be used.
    """
    names = data.labels.names
    alone = entries.by_picture()
    scores = {i: part.precision('segm', names).ap for i, part in enumerate(alone)}
    rows = []
    for index in worst(scores, count):
        image, truth = data.image(index), data.objects(index)
        found = finder.segment(image)
        found = found.take(np.flatnonzero(found.scores >= 0.5))
        sure = [f'{names[i]} {s:.2f}' for i, s in zip(found.labels, found.scores, strict=True)]
        panels = [
            image,
            draw_objects(
                image,
                [Region(0, 0, mask.astype(bool)) for mask in truth.masks],
                truth.boxes,
                np.arange(len(truth.labels)),
                [names[i] for i in truth.labels],
            ),
            draw_objects(image, paste(found), found.boxes, np.arange(len(found.labels)), sure),
        ]
        rows.append(Row(f'{data.name(index)}: mask AP {100 * scores[index]:.0f} %', panels))
    return draw_sheet(('picture', 'truth', 'found'), rows)
