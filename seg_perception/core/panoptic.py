"""One map of stuff and things, and the quality of such maps.

Both follow Kirillov et al., "Panoptic Segmentation" (CVPR 2019): the merging rules are those of
its section 5 as used by "Panoptic Feature Pyramid Networks", the metric is its section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.results import UNLABELLED, PanopticResult, Segment

#: A pixel's value is class * CLASS_STEP + instance, the instance in 0..CLASS_STEP - 1.
CLASS_STEP = 1000
#: Pixel value where nothing is known (and 0 in COCO's colours).
VOID = -1
#: Segments match above this intersection over union; no two can then claim the same one.
MATCH_IOU = 0.5
#: A predicted segment that matches nothing is forgiven above this share of ignored pixels.
FORGIVEN_SHARE = 0.5
_MEANS, _SUMS = ('pq', 'sq', 'rq'), ('tp', 'fp', 'fn')


@dataclass(frozen=True)
class Thing:
    """What is known of an object beside its pixels.

    Attributes:
        label: class id in the panoptic label set.
        score: of the detection, 0..1.
        area: pixels of its whole mask, also those that others cover; 0 = not known.
    """

    label: int
    score: float
    area: int = 0


@dataclass(frozen=True)
class FusionRules:
    """When a segment is too little to be one.

    Attributes:
        min_score: things below it are left out.
        min_visible: least share of a thing's pixels that better ones leave it.
        min_stuff_area: least number of pixels of a stuff class in the picture.
        group_things: pixels that the mask gives a thing's class but no instance covers become
            class * 1000 + 0 (a group, nobody counts it) instead of void.
    """

    min_score: float = 0.5
    min_visible: float = 0.5
    min_stuff_area: int = 0
    group_things: bool = False


def fuse(
    labels: np.ndarray,
    instances: np.ndarray,
    things: Mapping[int, Thing],
    thing_classes: Collection[int],
    rules: FusionRules | None = None,
) -> PanopticResult:
    """Put objects on top of a semantic mask.

    Args:
        labels: uint8 [h, w], class ids of the panoptic label set, 255 = unlabelled; resized to
            the instance image where it is of another size, ids never mixed.
        instances: uint16 [H, W], object ids, 0 = none, better scores on top (``id_image``).
        things: what the ids are. Ids without an entry count as no object.
        thing_classes: classes that are counted; of the mask, only the others are taken.
        rules: thresholds.

    Returns:
        The map at the size of the instance image. Instances beyond 999 get another number that
        their class has left; ``Segment.source`` keeps the id they came with.
    """
    rules = rules or FusionRules()
    ids, segments = _place_things(instances, things, rules)
    if labels.shape != instances.shape:
        size = instances.shape[1], instances.shape[0]
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    left = np.where(ids == VOID, labels, np.uint8(UNLABELLED))
    counts = np.bincount(left.ravel(), minlength=UNLABELLED + 1)
    table = np.full(UNLABELLED + 1, VOID, np.int32)
    for label in np.flatnonzero(counts[:UNLABELLED]):
        thing = int(label) in thing_classes
        if (thing and not rules.group_things) or counts[label] < rules.min_stuff_area:
            continue
        table[label] = label * CLASS_STEP
        segments.append(Segment(int(label) * CLASS_STEP, int(label), 0, 1.0, int(counts[label])))
    # Where there is a thing, the stuff is void, and the other way round.
    ids = np.maximum(ids, cv2.LUT(left, table))
    return PanopticResult(ids, tuple(segments))


def _place_things(
    instances: np.ndarray, things: Mapping[int, Thing], rules: FusionRules
) -> tuple[np.ndarray, list[Segment]]:
    """Return int32 [H, W] with the things that stay, VOID elsewhere, and their segments."""
    counts = np.bincount(instances.ravel(), minlength=1)
    table = np.full(len(counts), VOID, np.int32)
    taken: set[int] = set()
    segments = []
    present = [int(i) for i in np.flatnonzero(counts) if i and int(i) in things]
    for source in sorted(present, key=lambda i: -things[i].score):
        thing, visible = things[source], int(counts[source])
        whole = max(thing.area, visible)
        if thing.score < rules.min_score or visible < rules.min_visible * whole:
            continue
        value = _free_value(thing.label, source, taken)
        if value is None:  # 999 of one class: there is no number left
            continue
        taken.add(value)
        table[source] = value
        segments.append(
            Segment(value, thing.label, value % CLASS_STEP, thing.score, visible, source)
        )
    return table[instances], segments


def _free_value(label: int, source: int, taken: set[int]) -> int | None:
    """Return class * 1000 + instance, of the id itself where it fits."""
    first = label * CLASS_STEP
    wish = (source - 1) % (CLASS_STEP - 1)
    for i in range(CLASS_STEP - 1):
        value = first + 1 + (wish + i) % (CLASS_STEP - 1)
        if value not in taken:
            return value
    return None


def to_rgb(ids: np.ndarray) -> np.ndarray:
    """Return the map as COCO's panoptic png has it: id = R + 256 G + 256^2 B, 0 = void.

    COCO's ids are any positive numbers; here (class + 1) * 1000 + instance, so that no segment
    has the id of void. ``from_rgb`` is the way back.

    Args:
        ids: int32 [H, W], class * 1000 + instance, -1 = void.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    values = ids + np.int32(CLASS_STEP)
    values[values < CLASS_STEP] = 0
    parts = values.astype('<i4', copy=False).view(np.uint8).reshape(*ids.shape, 4)
    return cv2.cvtColor(parts, cv2.COLOR_RGBA2RGB)


def from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Return int32 [H, W], class * 1000 + instance, of what ``to_rgb`` made."""
    values = rgb_to_id(rgb)
    return np.where(values >= CLASS_STEP, values - CLASS_STEP, VOID).astype(np.int32)


def rgb_to_id(rgb: np.ndarray) -> np.ndarray:
    """Return int32 [H, W], the segment ids of any COCO panoptic png (uint8 [H, W, 3], RGB)."""
    channels = rgb.astype(np.int32)
    return channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]


@dataclass(frozen=True)
class Quality:
    """Panoptic quality of one class, or the mean over several.

    Attributes:
        pq, sq, rq: panoptic, segmentation and recognition quality, 0..1; PQ = SQ x RQ for a
            class (means of each do not multiply).
        tp, fp, fn: segments matched, made up and missed.
        classes: how many classes the figures are the mean of.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int
    classes: int = 1


class PanopticQuality:
    """PQ, SQ and RQ: ``update`` with each picture, then ``compute``.

    As in the paper's reference implementation (cocodataset/panopticapi), a predicted segment
    is not counted false where more than half of it lies on void or on crowds of its class.

    Args:
        classes: number of classes; ids are 0..classes-1.
        things: ids of those that are things, for the split of the means.
    """

    def __init__(self, classes: int, things: Iterable[int] = ()) -> None:
        self._things = frozenset(things)
        self._iou = np.zeros(classes)
        self._tp, self._fp, self._fn = (np.zeros(classes, np.int64) for _ in range(3))

    def update(
        self,
        predicted: np.ndarray,
        predicted_classes: Mapping[int, int],
        truth: np.ndarray,
        truth_classes: Mapping[int, int],
        *,
        crowds: Collection[int] = (),
        void: int = VOID,
    ) -> None:
        """Count one picture.

        Args:
            predicted, truth: int [H, W], segment ids of any kind; `void` = none.
            predicted_classes, truth_classes: class id of each segment id.
            crowds: ids of truth that stand for an unknown number of objects (COCO's iscrowd):
                neither matched nor missed.
            void: id of pixels that belong to no segment.

        Raises:
            DatasetError: the sizes differ, or a segment has no class or one out of range.
        """
        if predicted.shape != truth.shape:
            raise DatasetError(
                f'the prediction is {predicted.shape}, the truth {truth.shape} (height, width)'
            )
        pairs, shared = _overlaps(predicted, truth)
        areas_p, areas_t = _sum_by(pairs[:, 0], shared), _sum_by(pairs[:, 1], shared)
        class_p = self._classes_of(areas_p, predicted_classes, void, 'prediction')
        class_t = self._classes_of(areas_t, truth_classes, void, 'truth')
        crowded = set(crowds)
        ignored = dict.fromkeys(class_p, 0)  # pixels of a prediction that the truth ignores
        matched_p, matched_t = set(), set()
        for (p, t), both in zip(pairs.tolist(), shared.tolist(), strict=True):
            if p not in class_p:
                continue
            if t not in class_t or (class_p[p] == class_t[t] and t in crowded):
                ignored[p] += both
            elif class_p[p] == class_t[t]:
                unknown = _shared_with(pairs, shared, p, void)
                iou = both / (areas_p[p] - unknown + areas_t[t] - both)
                if iou > MATCH_IOU:
                    self._tp[class_p[p]] += 1
                    self._iou[class_p[p]] += iou
                    matched_p.add(p)
                    matched_t.add(t)
        for t, label in class_t.items():
            if t not in matched_t and t not in crowded:
                self._fn[label] += 1
        for p, label in class_p.items():
            if p not in matched_p and ignored[p] <= FORGIVEN_SHARE * areas_p[p]:
                self._fp[label] += 1

    def counts(self) -> dict[str, list]:
        """Return by class: sums of IoU, segments matched (tp), made up (fp), missed (fn)."""
        parts = {'iou': self._iou, 'tp': self._tp, 'fp': self._fp, 'fn': self._fn}
        return {name: array.tolist() for name, array in parts.items()}

    def add(self, counts: Mapping[str, Sequence[float]]) -> None:
        """Take the counts of other pictures in, as ``counts`` gave them."""
        self._iou = self._iou + np.asarray(counts['iou'], np.float64)
        self._tp = self._tp + np.asarray(counts['tp'], np.int64)
        self._fp = self._fp + np.asarray(counts['fp'], np.int64)
        self._fn = self._fn + np.asarray(counts['fn'], np.int64)

    def compute(self) -> dict[str, Quality]:
        """Return the means over 'all' classes, 'things' and 'stuff'.

        Classes that neither truth nor prediction ever showed are left out of the means.
        """
        per_class = self.per_class()
        kinds = {
            'all': lambda label: True,
            'things': lambda label: label in self._things,
            'stuff': lambda label: label not in self._things,
        }
        return {
            kind: _mean([q for label, q in per_class.items() if belongs(label)])
            for kind, belongs in kinds.items()
        }

    def per_class(self) -> dict[int, Quality]:
        """Return the quality of each class that truth or prediction showed."""
        found = {}
        for label in range(len(self._tp)):
            tp, fp, fn = int(self._tp[label]), int(self._fp[label]), int(self._fn[label])
            if tp + fp + fn == 0:
                continue
            sq = float(self._iou[label]) / tp if tp else 0.0
            rq = tp / (tp + 0.5 * fp + 0.5 * fn)
            found[label] = Quality(sq * rq, sq, rq, tp, fp, fn)
        return found

    def _classes_of(
        self, areas: Mapping[int, int], classes: Mapping[int, int], void: int, what: str
    ) -> dict[int, int]:
        found = {}
        for segment in areas:
            if segment == void:
                continue
            label = classes.get(segment)
            if label is None or not 0 <= label < len(self._tp):
                raise DatasetError(
                    f'segment {segment} of the {what} has the class {label}; there are '
                    f'0..{len(self._tp) - 1}'
                )
            found[segment] = int(label)
        return found


def _overlaps(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [n, 2], the pairs of ids that share pixels, and int64 [n], how many."""
    both = np.stack([predicted.ravel(), truth.ravel()], axis=1).astype(np.int64)
    # One number a pair: sorting rows would take twenty times as long.
    low = both.min(axis=0)
    width = int(both[:, 1].max() - low[1]) + 1
    keys, counts = np.unique(
        (both[:, 0] - low[0]) * width + both[:, 1] - low[1], return_counts=True
    )
    return np.stack([keys // width + low[0], keys % width + low[1]], axis=1), counts


def _sum_by(ids: np.ndarray, counts: np.ndarray) -> dict[int, int]:
    total: dict[int, int] = {}
    for i, count in zip(ids.tolist(), counts.tolist(), strict=True):
        total[i] = total.get(i, 0) + count
    return total


def _shared_with(pairs: np.ndarray, shared: np.ndarray, p: int, t: int) -> int:
    return int(shared[(pairs[:, 0] == p) & (pairs[:, 1] == t)].sum())


def _mean(qualities: list[Quality]) -> Quality:
    if not qualities:
        return Quality(0.0, 0.0, 0.0, 0, 0, 0, 0)
    pq, sq, rq = (float(np.mean([getattr(q, name) for q in qualities])) for name in _MEANS)
    tp, fp, fn = (sum(getattr(q, name) for q in qualities) for name in _SUMS)
    return Quality(pq, sq, rq, tp, fp, fn, len(qualities))
