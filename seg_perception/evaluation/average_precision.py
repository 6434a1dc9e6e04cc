"""Average precision of boxes and masks as COCO defines it, by pycocotools.

Precision at a recall is a matter of all detections in the order of their scores, so nothing less
than the entries adds up: they are kept, and scored together.

Lin et al., Microsoft COCO, ECCV 2014 (arXiv:1405.0312), and https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_perception.core.instances import paste
from seg_perception.core.results import Instances
from seg_perception.evaluation.coco import Objects, mask_coder

#: Detections a picture that count, the best first.
MAX_DETECTIONS = 100
#: Positions along pycocotools' axis of object sizes, and its limits in pixels of area.
_AREAS = {'small': 1, 'medium': 2, 'large': 3}  # < 32², < 96², larger


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


class ObjectEntries:
    """Truth and detections of pictures in pycocotools' terms.

    Category ids are class ids + 1, masks are COCO's run lengths.

    Attributes:
        sizes: [height, width] of each picture.
        truth, found: entries, plain data.

    Raises:
        DatasetError: pycocotools is not installed.
    """

    def __init__(self) -> None:
        self._coder = mask_coder()
        self.sizes: list[list[int]] = []
        self.truth: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    @classmethod
    def joined(cls, parts: Iterable[Mapping[str, Any]]) -> ObjectEntries:
        """Put together what :meth:`to_dict` gave, picture after picture."""
        whole = cls()
        for part in parts:
            before = len(whole.sizes)
            for mine, theirs in ((whole.truth, part['truth']), (whole.found, part['found'])):
                mine += [{**e, 'image_id': e['image_id'] + before} for e in theirs]
            whole.sizes += part['sizes']
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for :meth:`joined`."""
        return {'sizes': self.sizes, 'truth': self.truth, 'found': self.found}

    def add(
        self, truth: Objects, found: Instances, classes: Collection[int] | None = None
    ) -> None:
        """Take in a picture.

        Args:
            truth: its objects.
            found: everything the network gave, whatever its score: AP is over all thresholds.
            classes: detections of other classes are left out; None = they stay.
        """
        self.sizes.append(list(found.image_size[::-1]))
        for label, box, mask, crowd in zip(
            truth.labels, truth.boxes, truth.masks, truth.crowd, strict=True
        ):
            entry = self._entry(label, box, np.asfortranarray(mask))
            self.truth.append(entry | {'iscrowd': int(crowd)})
        found = found.take(np.argsort(-found.scores, kind='stable')[:MAX_DETECTIONS])
        full = np.zeros(found.image_size[::-1], np.uint8, order='F')
        for label, box, score, region in zip(
            found.labels, found.boxes, found.scores, paste(found), strict=True
        ):
            if classes is not None and int(label) not in classes:
                continue
            full[:] = 0
            region.of(full)[...] = region.mask
            entry = self._entry(label, box, full)
            self.found.append(entry | {'iscrowd': 0, 'score': float(score)})

    def _entry(self, label: int, box: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        x1, y1, x2, y2 = (float(value) for value in box)
        runs = self._coder.encode(mask)
        return {
            'image_id': len(self.sizes) - 1,
            'category_id': int(label) + 1,
            'bbox': [x1, y1, x2 - x1, y2 - y1],
            'segmentation': {**runs, 'counts': runs['counts'].decode('ascii')},
            'mask_area': float(self._coder.area(runs)),
        }

    def count(self, label: int) -> int:
        """Return how many objects of a class the truth has; groups do not count."""
        return sum(e['category_id'] == label + 1 and not e['iscrowd'] for e in self.truth)

    def by_picture(self) -> list[ObjectEntries]:
        """Return the entries of each picture alone."""
        alone = [ObjectEntries() for _ in self.sizes]
        for part, size in zip(alone, self.sizes, strict=True):
            part.sizes.append(size)
        for entry in self.truth:
            alone[entry['image_id']].truth.append({**entry, 'image_id': 0})
        for entry in self.found:
            alone[entry['image_id']].found.append({**entry, 'image_id': 0})
        return alone

    def precision(self, kind: str, names: Sequence[str]) -> AveragePrecision:
        """Return the figures of boxes (``bbox``) or masks (``segm``).

        Args:
            kind: of overlap, in pycocotools' words.
            names: of the classes.
        """
        from pycocotools.cocoeval import COCOeval

        classes = range(len(names))
        with contextlib.redirect_stdout(io.StringIO()):
            scored = COCOeval(
                self._index(self.truth, 'segm', classes),
                self._index(self.found, kind, classes),
                kind,
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
                names[label]: value
                for label in classes
                if not np.isnan(value := _mean(table[:, :, label, 0]))
            },
        )

    def _index(self, entries: list[dict], kind: str, classes: Iterable[int]) -> Any:
        """Return a COCO of these entries, whose area is the mask's or, for boxes, the box's."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {
            'images': [
                {'id': i, 'height': height, 'width': width}
                for i, (height, width) in enumerate(self.sizes)
            ],
            'categories': [{'id': label + 1} for label in classes],
            # From 1: pycocotools takes a match with annotation 0 for none.
            'annotations': [
                {**entry, 'id': number, 'area': _area(entry, kind)}
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
