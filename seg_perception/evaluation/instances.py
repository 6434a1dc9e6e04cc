"""Average precision of boxes and masks as COCO defines it, by pycocotools.

Lin et al., Microsoft COCO, ECCV 2014 (arXiv:1405.0312), and https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.instances import paste
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances
from seg_perception.evaluation.coco import CocoDataset, mask_coder

#: Detections a picture that count, the best first.
MAX_DETECTIONS = 100
#: Positions along pycocotools' axis of object sizes, and its limits in pixels of area.
_AREAS = {'small': 1, 'medium': 2, 'large': 3}  # < 32², < 96², larger


class InstanceFinder(Protocol):
    """What is scored: ``runtime.instance.InstanceSegmenter`` or its torch twin."""

    labels: LabelSet
    last_timing: dict[str, float]

    @property
    def provider(self) -> str: ...

    def segment(self, image: np.ndarray, color: str = 'rgb') -> Instances: ...


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's figures, 0..1; NaN where the truth has no such object.

    Attributes:
        ap: mean over IoU thresholds 0.50:0.05:0.95 and over classes. ap50, ap75: at one.
        ap_small, ap_medium, ap_large: of objects below 32², below 96², above, in pixels.
        recall: average recall with 100 detections a picture.
        per_class: ap by class name, of classes that the truth has.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
    per_class: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """Return all but ``per_class``."""
        return {key: value for key, value in vars(self).items() if key != 'per_class'}


@dataclass(frozen=True)
class InstanceEvaluation:
    """What ``evaluate_instances`` found.

    Attributes:
        box, mask: average precision of boxes and of masks.
        truth: objects by class name; groups and ones marked as such do not count.
        images, detections: pictures seen, objects found in them.
        provider: what ran the network.
        network_ms, seconds_per_image: medians, the network's and that of the whole ``segment``.
    """

    box: AveragePrecision
    mask: AveragePrecision
    truth: Mapping[str, int]
    images: int
    detections: int
    provider: str
    network_ms: float
    seconds_per_image: float


def evaluate_instances(finder: InstanceFinder, data: CocoDataset) -> InstanceEvaluation:
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
    tally = _Tally(data)
    network_ms, seconds = [], []
    for index in tqdm(range(len(data)), unit='picture', mininterval=1, leave=False):
        image = data.image(index)
        start = time.perf_counter()
        found = finder.segment(image)
        seconds.append(time.perf_counter() - start)
        network_ms.append(finder.last_timing['network'])
        tally.add(index, found)
    box, mask = tally.precision('bbox'), tally.precision('segm')
    return InstanceEvaluation(
        box,
        mask,
        tally.counts(),
        len(data),
        len(tally.found),
        finder.provider,
        statistics.median(network_ms),
        statistics.median(seconds),
    )


class _Tally:
    """Truth and detections in pycocotools' terms. Category ids are class ids + 1."""

    def __init__(self, data: CocoDataset) -> None:
        self._data = data
        self._names = data.labels.names
        self._classes = sorted(set(data.class_of.values()))
        self._truth: list[dict] = []
        self.found: list[dict] = []

    def add(self, index: int, found: Instances) -> None:
        """Take in a picture."""
        coder = mask_coder()
        objects = self._data.objects(index)
        for label, box, mask, crowd in zip(
            objects.labels, objects.boxes, objects.masks, objects.crowd, strict=True
        ):
            runs = coder.encode(np.asfortranarray(mask))
            self._truth.append(self._entry(index, label, box, runs) | {'iscrowd': int(crowd)})
        best = np.argsort(-found.scores, kind='stable')[:MAX_DETECTIONS]
        found = found.take(best)
        full = np.zeros(found.image_size[::-1], np.uint8, order='F')
        for label, box, score, region in zip(
            found.labels, found.boxes, found.scores, paste(found), strict=True
        ):
            if int(label) not in self._classes:
                continue
            full[:] = 0
            region.of(full)[...] = region.mask
            entry = self._entry(index, label, box, coder.encode(full))
            self.found.append(entry | {'score': float(score)})

    def _entry(self, index: int, label: int, box: np.ndarray, runs: dict) -> dict[str, Any]:
        x1, y1, x2, y2 = (float(value) for value in box)
        return {
            'image_id': index,
            'category_id': int(label) + 1,
            'bbox': [x1, y1, x2 - x1, y2 - y1],
            'segmentation': runs,
            'mask_area': float(mask_coder().area(runs)),
        }

    def counts(self) -> dict[str, int]:
        """Return how many objects of each class the truth has."""
        counted = [t['category_id'] - 1 for t in self._truth if not t['iscrowd']]
        return {self._names[k]: counted.count(k) for k in self._classes}

    def precision(self, kind: str) -> AveragePrecision:
        """Return the figures of boxes (``bbox``) or masks (``segm``).

        Raises:
            DatasetError: the truth has no object.
        """
        if not any(self.counts().values()):
            raise DatasetError(
                f'{self._data.path} has no object of {", ".join(self._names)} on its '
                f'{len(self._data)} pictures: there is nothing to score'
            )
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            scored = COCOeval(
                self._index(self._truth, 'segm'), self._index(self.found, kind), kind
            )
            scored.params.maxDets = [1, 10, MAX_DETECTIONS]
            scored.evaluate()
            scored.accumulate()
        # [thresholds, recalls, classes, areas, limits of detections]; -1 = no such object
        table = scored.eval['precision'][..., -1]
        at = {t: i for i, t in enumerate(np.round(scored.params.iouThrs, 2).tolist())}
        return AveragePrecision(
            ap=_mean(table[..., 0]),
            ap50=_mean(table[at[0.5], ..., 0]),
            ap75=_mean(table[at[0.75], ..., 0]),
            **{f'ap_{name}': _mean(table[..., area]) for name, area in _AREAS.items()},
            recall=_mean(scored.eval['recall'][:, :, 0, -1]),
            per_class={
                self._names[label]: value
                for k, label in enumerate(self._classes)
                if not np.isnan(value := _mean(table[:, :, k, 0]))
            },
        )

    def _index(self, entries: list[dict], kind: str) -> Any:
        """Return a COCO of these entries, whose area is the mask's or, for boxes, the box's."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {
            'images': [{**image, 'id': i} for i, image in enumerate(self._data.images)],
            'categories': [{'id': label + 1} for label in self._classes],
            # From 1: pycocotools takes a match with annotation 0 for none.
            'annotations': [
                {
                    'iscrowd': 0,
                    **entry,
                    'id': number,
                    'area': _area(entry, kind),
                }
                for number, entry in enumerate(entries, 1)
            ],
        }
        coco.createIndex()
        return coco


def _area(entry: dict, kind: str) -> float:
    return entry['mask_area'] if kind == 'segm' else entry['bbox'][2] * entry['bbox'][3]


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else float('nan')
