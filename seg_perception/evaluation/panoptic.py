"""Panoptic quality of a mask and an instance network together, as the panoptic node fuses them.

The truth: label maps for stuff, COCO instances for things, of the same pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.instances import Selection, id_image, select
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic import (
    VOID,
    FusionRules,
    PanopticQuality,
    Quality,
    Thing,
    fuse,
)
from seg_perception.core.panoptic_labels import PanopticLabels, merge_labels
from seg_perception.core.results import UNLABELLED, PanopticResult
from seg_perception.evaluation.coco import CocoDataset, Objects
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.instances import InstanceFinder
from seg_perception.runtime.strategy import Segmenter

#: Ids of true things begin here, beyond those of stuff (the class ids).
_FIRST_THING = 256


@dataclass(frozen=True)
class PanopticEvaluation:
    """What ``evaluate_panoptic`` found.

    Attributes:
        means: over 'all' classes, 'things' and 'stuff'.
        per_class: by class name, of classes that truth or prediction showed.
        labels: classes of the panoptic map.
        images: pictures seen.
        providers: what ran the two networks.
    """

    means: Mapping[str, Quality]
    per_class: Mapping[str, Quality]
    labels: LabelSet
    images: int
    providers: tuple[str, str]


@dataclass(frozen=True)
class PanopticTruth:
    """Pictures with both kinds of truth.

    Attributes:
        stuff: label maps in the ids of the mask's network.
        things: objects with the ids of the instance network, of the same pictures.
    """

    stuff: FolderDataset
    things: CocoDataset

    def pairs(self) -> list[tuple[int, int]]:
        """Return (index in ``stuff``, index in ``things``) of each picture.

        Raises:
            DatasetError: a picture has no label map or no entry among the objects.
        """
        at = {Path(self.things.name(k)).stem: k for k in range(len(self.things))}
        names = [self.stuff.name(k) for k in range(len(self.stuff))]
        if missing := [name for name in names if name not in at]:
            raise DatasetError(
                f'{self.things.path} lists no picture of {len(missing)} label maps, the first: '
                f'{missing[0]}'
            )
        if extra := sorted(set(at) - set(names)):
            raise DatasetError(
                f'{self.stuff.root} has no label map of {len(extra)} pictures of '
                f'{self.things.path.name}, the first: {extra[0]}'
            )
        return [(k, at[name]) for k, name in enumerate(names)]


def evaluate_panoptic(
    segmenter: Segmenter,
    finder: InstanceFinder,
    data: PanopticTruth,
    *,
    renamed: Mapping[str, str] | None = None,
    rules: FusionRules | None = None,
) -> PanopticEvaluation:
    """Score the fusion of two networks.

    Prediction and truth name their classes alike: those of the mask, then what only the
    instances have (``core.panoptic_labels``). In the truth, things come from the objects;
    pixels that the label map gives a thing's class, but no object covers, are void. Objects
    marked as groups (or as too small to count) are crowds.

    Args:
        segmenter: of the mask. finder: of the objects.
        data: the truth.
        renamed: mask class by instance class, where the names differ.
        rules: of the fusion.

    Raises:
        LabelSetError: ``renamed`` names a class that is not there.
        DatasetError: a picture or its truth cannot be used.
    """
    rules = rules or FusionRules()
    merged = merge_labels(segmenter.labels, finder.labels, renamed)
    selection = Selection.of(finder.labels, rules.min_score)
    quality = PanopticQuality(len(merged.labels), merged.things)
    pairs = data.pairs()
    for stuff, things in tqdm(pairs, unit='picture', mininterval=1, leave=False):
        image, labels = data.stuff[stuff]
        predicted = _predict(segmenter, finder, image, merged, selection, rules)
        truth, classes, crowds = true_segments(labels, data.things.objects(things), merged)
        quality.update(
            predicted.ids,
            {segment.id: segment.label for segment in predicted.segments},
            truth,
            classes,
            crowds=crowds,
        )
    names = merged.labels.names
    return PanopticEvaluation(
        quality.compute(),
        {names[label]: found for label, found in quality.per_class().items()},
        merged.labels,
        len(pairs),
        (segmenter.provider, finder.provider),
    )


def _predict(
    segmenter: Segmenter,
    finder: InstanceFinder,
    image: np.ndarray,
    merged: PanopticLabels,
    selection: Selection,
    rules: FusionRules,
) -> PanopticResult:
    found, regions = select(finder.segment(image), selection)
    things = {
        k + 1: Thing(merged.of_instance[int(label)], float(score), region.area)
        for k, (label, score, region) in enumerate(
            zip(found.labels, found.scores, regions, strict=True)
        )
    }
    mask = segmenter.segment(image, 'rgb').labels
    return fuse(mask, id_image(found, regions), things, merged.things, rules)


def true_segments(
    labels: np.ndarray, objects: Objects, merged: PanopticLabels
) -> tuple[np.ndarray, dict[int, int], list[int]]:
    """Make segments of a label map and objects.

    Args:
        labels: uint8 [H,W], class ids of the mask, 255 = unlabelled.
        objects: of the same picture; where they overlap, the smaller one is in front.
        merged: their classes.

    Returns:
        (int64 [H,W] segment ids, -1 = void; class id of each; ids of crowds).
    """
    truth = labels.astype(np.int64)
    truth[np.isin(labels, [UNLABELLED, *merged.things])] = VOID
    classes = {int(label): int(label) for label in np.unique(truth) if label != VOID}
    crowds = []
    areas = objects.masks.reshape(len(objects.masks), -1).sum(1, dtype=np.int64)
    # Groups behind everything: what stands out of them has an outline of its own.
    for k in np.lexsort((-areas, ~objects.crowd)):
        number = _FIRST_THING + int(k)
        truth[objects.masks[k] > 0] = number
        classes[number] = merged.of_instance[int(objects.labels[k])]
        if objects.crowd[k]:
            crowds.append(number)
    return truth, classes, crowds
