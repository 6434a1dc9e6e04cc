"""COCO's average precision over the frames of many bags: entries are kept, then scored together.

Precision at a recall is a matter of all detections in the order of their scores, so nothing less
than the entries adds up. Lin et al., Microsoft COCO, ECCV 2014; scored by pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.instances import paste
from seg_perception.core.panoptic import VOID
from seg_perception.core.results import Instances
from seg_perception.evaluation.coco import mask_coder

#: Detections a picture that count, the best first.
MAX_DETECTIONS = 100


class ObjectEntries:
    """Truth and detections of pictures in COCO's terms, as plain data.

    Masks are COCO's run lengths. Category ids are class ids + 1.
    """

    def __init__(self) -> None:
        self.images = 0
        self.truth: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []
        self._coder = _coder()

    def add(self, found: Instances, ids: np.ndarray, classes: Mapping[int, int]) -> None:
        """Take a picture in.

        Args:
            found: everything the network gave, whatever its score.
            ids: int [H, W], true object of each pixel, 0 = none, VOID where nobody can say.
            classes: class of each true object.
        """
        if self._coder is None:
            return
        image, self.images = self.images, self.images + 1
        for number, label in classes.items():
            self.truth.append(self._entry(image, label, ids == number, crowd=0))
        for label in sorted(set(classes.values())) if (ids == VOID).any() else ():
            # What lies on it is neither right nor wrong.
            self.truth.append(self._entry(image, label, ids == VOID, crowd=1))
        best = np.argsort(-found.scores, kind='stable')[:MAX_DETECTIONS]
        regions = paste(found)
        full = np.zeros(found.image_size[::-1], bool)
        for i in best.tolist():
            full[:] = False
            regions[i].of(full)[...] = regions[i].mask
            entry = self._entry(image, int(found.labels[i]), full)
            self.found.append({**entry, 'score': round(float(found.scores[i]), 5)})

    def _entry(self, image: int, label: int, mask: np.ndarray, **more: int) -> dict[str, Any]:
        assert self._coder is not None
        runs = self._coder.encode(np.asfortranarray(mask, np.uint8))
        return {
            'image_id': image,
            'category_id': label + 1,
            'size': list(mask.shape),
            'counts': runs['counts'].decode('ascii'),
            **more,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for :func:`average_precision`."""
        return {'images': self.images, 'truth': self.truth, 'found': self.found}


def average_precision(parts: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Score the entries of bags together.

    Args:
        parts: of ``ObjectEntries.to_dict``, in the order of the bags.
        names: of the classes.

    Returns:
        ``ap`` (mask AP, mean over IoU 0.50:0.05:0.95), ``ap50``, ``ap75``, ``ap_per_class``;
        None where there is no true object, or pycocotools is not installed.
    """
    truth, found, images = [], [], 0
    for part in parts:
        truth += [_shifted(entry, images) for entry in part['truth']]
        found += [_shifted(entry, images) for entry in part['found']]
        images += part['images']
    nothing = {'ap': None, 'ap50': None, 'ap75': None, 'ap_per_class': {}}
    counted = sorted({e['category_id'] for e in truth if not e['crowd']})
    if not counted or _coder() is None:
        return nothing
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        indices = (_index(entries, images, counted) for entries in (truth, found))
        scored = COCOeval(*indices, 'segm')
        scored.params.maxDets = [1, 10, MAX_DETECTIONS]
        scored.evaluate()
        scored.accumulate()
    # [thresholds, recalls, classes, areas, limits of detections]; -1 = no such object
    table = scored.eval['precision'][..., 0, -1]
    at = {t: i for i, t in enumerate(np.round(scored.params.iouThrs, 2).tolist())}
    return {
        'ap': _mean(table),
        'ap50': _mean(table[at[0.5]]),
        'ap75': _mean(table[at[0.75]]),
        'ap_per_class': {
            names[category - 1]: _mean(table[:, :, k]) for k, category in enumerate(counted)
        },
    }


def _shifted(entry: Mapping[str, Any], images: int) -> dict[str, Any]:
    return {**entry, 'image_id': entry['image_id'] + images}


def _index(entries: Sequence[Mapping[str, Any]], images: int, categories: Sequence[int]) -> Any:
    from pycocotools.coco import COCO

    coder, coco = _coder(), COCO()
    annotations = []
    for number, entry in enumerate(entries, 1):  # 0 would be taken for no match
        runs = {'size': entry['size'], 'counts': entry['counts'].encode('ascii')}
        annotations.append(
            {
                'id': number,
                'image_id': entry['image_id'],
                'category_id': entry['category_id'],
                'segmentation': runs,
                'area': float(coder.area(runs)),
                'bbox': coder.toBbox(runs).tolist(),
                'iscrowd': entry.get('crowd', 0),
                'score': entry.get('score', 0.0),
            }
        )
    sizes = {entry['image_id']: entry['size'] for entry in entries}
    coco.dataset = {
        'images': [
            {'id': index, 'height': size[0], 'width': size[1]}
            for index in range(images)
            for size in (sizes.get(index, (1, 1)),)
        ],
        'categories': [{'id': category} for category in categories],
        'annotations': annotations,
    }
    coco.createIndex()
    return coco


def _coder() -> Any:
    """pycocotools.mask, None where it is not installed."""
    try:
        return mask_coder()
    except DatasetError:
        return None


def _mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    mean = float(known.mean()) if known.size else math.nan
    return None if math.isnan(mean) else mean
