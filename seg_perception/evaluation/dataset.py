"""Folders of pictures and label maps: what networks are trained on and scored by."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError

IGNORE = 255
PICTURES = ('.jpg', '.jpeg', '.png')


class FolderDataset:
    """Pairs ``images/<stem>.jpg|png`` with ``labels/<stem>.png`` below one root.

    Args:
        root: folder with ``images`` and ``labels``.
        classes: number of classes; labels are 0..classes-1 or 255 = ignore.
        cache: keep decoded pairs in memory.

    Raises:
        DatasetError: a folder is missing or empty, or a picture has no label map.
    """

    def __init__(self, root: Path, classes: int, cache: bool = False) -> None:
        self.root = Path(root)
        self.classes = classes
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] | None = {} if cache else None
        self.pairs = self._find_pairs()

    def _find_pairs(self) -> list[tuple[Path, Path]]:
        return self._pair(self.root / 'images', self.root / 'labels')

    def _pair(self, images: Path, labels: Path) -> list[tuple[Path, Path]]:
        for folder in (images, labels):
            if not folder.is_dir():
                raise DatasetError(
                    f'{folder} is not a folder; expected {images.name}/ and {labels.name}/'
                )
        pairs = [(path, labels / f'{path.stem}.png') for path in find_pictures(images)]
        missing = [label for _, label in pairs if not label.is_file()]
        if missing:
            raise DatasetError(f'{len(missing)} label maps are missing, the first: {missing[0]}')
        return pairs

    def __getstate__(self) -> dict:
        # A loader's worker reads for itself: sending it the pictures costs more than they save.
        return {**self.__dict__, '_cache': None if self._cache is None else {}}

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Return the file stem of pair ``index``."""
        return self.pairs[index][0].stem

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8 [H,W,3] RGB, uint8 [H,W] labels).

        Raises:
            DatasetError: a file can't be read, sizes differ, or a label is out of range.
        """
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        pair = self._read(*self.pairs[index])
        if self._cache is not None:
            self._cache[index] = pair
        return pair

    def _read(self, image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray]:
        image = cv2.imread(str(image_path), cv2.IMREAD_COLOR)
        if image is None:
            raise DatasetError(f'{image_path} cannot be read as a picture')
        labels = cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise DatasetError(f'{label_path} is not an 8-bit single-channel label map')
        if labels.shape != image.shape[:2]:
            raise DatasetError(
                f'{label_path} is {labels.shape[1]}x{labels.shape[0]}, its picture '
                f'{image.shape[1]}x{image.shape[0]}'
            )
        labels = self._ids(labels, label_path)
        wrong = labels[(labels >= self.classes) & (labels != IGNORE)]
        if wrong.size:
            raise DatasetError(
                f'{label_path} holds label {int(wrong[0])}; '
                f'allowed are 0..{self.classes - 1} and {IGNORE} (ignore)'
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), labels

    def _ids(self, labels: np.ndarray, path: Path) -> np.ndarray:
        """Return the ids of a label map as this class counts them; layouts may number others."""
        return labels


def is_excluded(stem: str, patterns: Sequence[str]) -> bool:
    """Return whether a file stem matches one of the shell patterns."""
    return any(fnmatch(stem, pattern) for pattern in patterns)


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted.

    Raises:
        DatasetError: not a folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f'{folder} is not a folder')
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    if not found:
        raise DatasetError(f'{folder} holds no .jpg or .png picture')
    return found
