"""Instances of rendered frames in COCO's format: ``instances.json`` beside the pictures.

The format is that of COCO's object detection annotations (https://cocodataset.org/#format-data),
masks as uncompressed run lengths, so pycocotools reads it as it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.simulation.mesh import BICYCLE, BUS, MOTOR_CAR, PERSON, TRUCK

CATEGORIES = (
    {'id': PERSON, 'name': 'person', 'supercategory': 'person'},
    {'id': BICYCLE, 'name': 'bicycle', 'supercategory': 'vehicle'},
    {'id': MOTOR_CAR, 'name': 'car', 'supercategory': 'vehicle'},
    {'id': BUS, 'name': 'bus', 'supercategory': 'vehicle'},
    {'id': TRUCK, 'name': 'truck', 'supercategory': 'vehicle'},
)
"""With COCO's own ids. A panel van is a truck; a cyclist a person and a bicycle."""
MIN_PIXELS = 40
"""A thing of fewer visible pixels is marked ``iscrowd``: neither trained on nor counted."""


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's run lengths of a bool mask [h,w]: down the columns, zeros first."""
    flat = np.asarray(mask, bool).ravel(order='F')
    cuts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], cuts, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


class InstanceList:
    """Collects the things of frames and writes them."""

    def __init__(self) -> None:
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add(self, file_name: str, instances: np.ndarray, kinds: np.ndarray) -> int:
        """Add a frame; return how many things it shows.

        Args:
            file_name: of the picture, below the folder of the pictures.
            instances: uint16 [h,w], 0 none; kinds: uint8 [h,w], COCO category ids, 0 none.
        """
        h, w = instances.shape
        image_id = len(self.images) + 1
        self.images.append({'id': image_id, 'file_name': file_name, 'width': w, 'height': h})
        # A thing is an instance of one kind: a rider and the bicycle under him are two.
        codes = np.where(kinds > 0, instances.astype(np.int64) * 256 + kinds, 0)
        found = [int(code) for code in np.unique(codes) if code]
        for code in found:
            self.annotations.append(self._annotation(image_id, codes == code, code))
        return len(found)

    def _annotation(self, image_id: int, mask: np.ndarray, code: int) -> dict:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        area = int(mask.sum())
        return {
            'id': len(self.annotations) + 1,
            'image_id': image_id,
            'category_id': code % 256,
            'segmentation': {'size': list(mask.shape), 'counts': run_lengths(mask)},
            'area': area,
            'bbox': [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
            'iscrowd': int(area < MIN_PIXELS),
            'mover': code // 256,
        }

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            SourceError: it cannot be written.
        """
        document = {
            'info': {'description': 'rendered streets of seg_perception'},
            'images': self.images,
            'annotations': self.annotations,
            'categories': list(CATEGORIES),
        }
        try:
            Path(path).write_text(json.dumps(document, separators=(',', ':')), encoding='utf-8')
        except OSError as error:
            raise SourceError(f"cannot write '{path}': {error}") from error
