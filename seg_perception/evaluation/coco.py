"""Pictures with objects in COCO's format: read, checked, and numbered as a label set has them.

The format: https://cocodataset.org/#format-data. Masks may be polygons or run lengths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import is_excluded

#: Name of this layout in configurations and commands.
KIND = 'coco'
ANNOTATIONS = 'instances.json'
REQUIREMENT = 'pycocotools'


@dataclass(frozen=True)
class Objects:
    """The true objects of a picture.

    Attributes:
        labels: int64 [N], ids of the label set.
        boxes: float32 [N,4], x1, y1, x2, y2 in pixels.
        masks: uint8 [N,H,W], 1 = the object.
        crowd: bool [N]: a group, or too small to count: neither right nor wrong to find.
    """

    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    crowd: np.ndarray


class CocoDataset:
    """Pictures and objects of one COCO file.

    Args:
        root: folder of the dataset.
        labels: classes of the network; the file's categories are matched by their names.
        split: ``<root>/<split>/instances.json`` with ``images/`` beside it (or that folder
            itself when None), else COCO's own layout: ``annotations/instances_<split>.json`` and
            ``<split>/``.
        classes: category name -> class name, for categories that are called otherwise.
        exclude: shell patterns of file stems that are left out.

    Raises:
        DatasetError: the file is missing, malformed, or has no category of the label set.
    """

    def __init__(
        self,
        root: Path,
        labels: LabelSet,
        split: str | None = None,
        classes: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
    ) -> None:
        self.root = Path(root)
        self.labels = labels
        self.path, self.folder = _find(self.root, split)
        document = _read(self.path)
        self.images = self._checked_images(document['images'], exclude)
        #: Class id by category id; categories that the label set lacks are not in it.
        self.class_of = self._match(document['categories'], dict(classes or {}))
        self.left_out = sorted(
            c['name'] for c in document['categories'] if c['id'] not in self.class_of
        )
        self._annotations = self._by_image(document['annotations'])

    def _checked_images(self, images: list[dict], exclude: Sequence[str]) -> list[dict]:
        kept = [
            image for image in images if not is_excluded(Path(image['file_name']).stem, exclude)
        ]
        if not kept:
            raise DatasetError(
                f'{self.path} lists no picture' + ' but excluded ones' * bool(images)
            )
        missing = [i for i in kept if not (self.folder / i['file_name']).is_file()]
        if missing:
            raise DatasetError(
                f'{self.path} lists {len(missing)} pictures that are not in {self.folder}, the '
                f'first: {missing[0]["file_name"]}'
            )
        return kept

    def _match(self, categories: list[dict], classes: dict[str, str]) -> dict[int, int]:
        names = {_plain(name): number for number, name in enumerate(self.labels.names)}
        if unknown := [name for name in classes.values() if _plain(name) not in names]:
            raise DatasetError(
                f'classes: unknown {unknown}; known: {", ".join(self.labels.names)}'
            )
        known = {category['name'] for category in categories}
        if absent := sorted(set(classes) - known):
            raise DatasetError(f'{self.path} has no category {absent}; it has: {sorted(known)}')
        found = {
            category['id']: names[_plain(classes.get(category['name'], category['name']))]
            for category in categories
            if _plain(classes.get(category['name'], category['name'])) in names
        }
        if not found:
            raise DatasetError(
                f'{self.path} has no category of the label set {self.labels.name!r} '
                f'({", ".join(self.labels.names)}); it has: {", ".join(sorted(known))}'
            )
        return found

    def _by_image(self, annotations: list[dict]) -> dict[int, list[dict]]:
        grouped: dict[int, list[dict]] = {image['id']: [] for image in self.images}
        for annotation in annotations:
            if annotation['category_id'] in self.class_of and annotation['image_id'] in grouped:
                grouped[annotation['image_id']].append(annotation)
        return grouped

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the file name of picture ``index``."""
        return self.images[index]['file_name']

    def annotations(self, index: int) -> list[dict]:
        """Return the file's annotations of picture ``index`` whose category has a class."""
        return self._annotations[self.images[index]['id']]

    def image(self, index: int) -> np.ndarray:
        """Return picture ``index``, uint8 [H,W,3] RGB.

        Raises:
            DatasetError: it cannot be read, or has another size than the file says.
        """
        entry = self.images[index]
        path = self.folder / entry['file_name']
        # As annotated: COCO's sizes are those of the pixels, whatever EXIF says of turning them.
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise DatasetError(f'{path} cannot be read as a picture')
        if image.shape[:2] != (entry['height'], entry['width']):
            raise DatasetError(
                f'{path} is {image.shape[1]}x{image.shape[0]}, {self.path.name} says '
                f'{entry["width"]}x{entry["height"]}'
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def objects(self, index: int) -> Objects:
        """Return the objects of picture ``index``.

        Raises:
            DatasetError: an annotation's mask is malformed; the message names it.
        """
        entry, annotations = self.images[index], self.annotations(index)
        masks = [self._mask(a, entry['height'], entry['width']) for a in annotations]
        boxes = [[float(value) for value in a['bbox']] for a in annotations]
        corners = np.asarray(boxes, np.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        shape = (0, entry['height'], entry['width'])
        return Objects(
            np.array([self.class_of[a['category_id']] for a in annotations], np.int64),
            corners,
            np.stack(masks) if masks else np.zeros(shape, np.uint8),
            np.array([bool(a.get('iscrowd', 0)) for a in annotations], bool),
        )

    def _mask(self, annotation: dict, height: int, width: int) -> np.ndarray:
        coder = mask_coder()
        shape = annotation['segmentation']
        try:
            if isinstance(shape, list):
                runs = coder.merge(coder.frPyObjects(shape, height, width))
            elif isinstance(shape['counts'], list):
                runs = coder.frPyObjects(shape, height, width)
            else:
                runs = shape
            mask = coder.decode(runs)
        except Exception as error:  # pycocotools raises many kinds, some of them bare
            raise self._bad(annotation, f'cannot be read as a mask: {error}') from error
        if mask.shape != (height, width):
            raise self._bad(
                annotation, f'is {mask.shape[1]}x{mask.shape[0]}, its picture {width}x{height}'
            )
        return mask

    def _bad(self, annotation: dict, why: str) -> DatasetError:
        return DatasetError(
            f'{self.path}: the segmentation of annotation {annotation.get("id")} {why}'
        )


def mask_coder() -> Any:
    """Return ``pycocotools.mask``.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DatasetError(f'COCO masks need {REQUIREMENT}: pip install {REQUIREMENT}') from error
    return mask


def _plain(name: str) -> str:
    return name.strip().lower().replace('_', ' ')


def _find(root: Path, split: str | None) -> tuple[Path, Path]:
    folder = root if split is None else root / split
    theirs = (root / 'annotations' / f'instances_{split}.json', root / str(split))
    for path, pictures in ((folder / ANNOTATIONS, folder / 'images'), theirs):
        if path.is_file():
            if not pictures.is_dir():
                raise DatasetError(f'{path} is there, but not its pictures: no folder {pictures}')
            return path, pictures
    raise DatasetError(
        f'no COCO instances at {folder}: expected {folder / ANNOTATIONS} beside images/, or '
        f'{theirs[0]} beside {theirs[1]}/'
    )


_KEYS = {
    'images': ('id', 'file_name', 'width', 'height'),
    'annotations': ('image_id', 'category_id', 'bbox', 'segmentation'),
    'categories': ('id', 'name'),
}


def _read(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path} cannot be read as JSON: {error}') from error
    for key, needed in _KEYS.items():
        entries = document.get(key) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise DatasetError(f'{path} is no COCO instances file: it has no list {key!r}')
        for number, entry in enumerate(entries):
            lacking = [k for k in needed if not isinstance(entry, dict) or k not in entry]
            if lacking:
                raise DatasetError(
                    f'{path}: {key}[{number}] lacks {", ".join(map(repr, lacking))}'
                )
    return document
