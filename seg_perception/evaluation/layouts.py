"""Public datasets as they are downloaded: where their pictures and label maps lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.dataset import IGNORE, FolderDataset

#: Layouts by the name a configuration or command gives them.
KINDS = ('folder', 'camvid', 'cityscapes')
#: Cityscapes' label ids in the order of its 19 train ids (labels.py of cityscapesScripts).
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
#: SegNet's CamVid: 11 classes, and void.
_CAMVID_VOID = 11


class CityscapesDataset(FolderDataset):
    """Cityscapes (https://www.cityscapes-dataset.com), its 19 train ids.

    Pairs ``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` with ``gtFine`` (or ``gtCoarse``),
    ``*_labelTrainIds.png`` where they were made, else ``*_labelIds.png``, which are converted.

    Args:
        root: folder with ``leftImg8bit`` and ``gtFine``.
        split: ``train``, ``val``.
        cache: keep decoded pairs in memory.

    Raises:
        DatasetError: a folder is missing or empty, or a picture has no label map.
    """

    def __init__(self, root: Path, split: str, cache: bool = False) -> None:
        self.split = split
        self._train_ids = np.full(256, IGNORE, np.uint8)
        self._train_ids[list(_CITYSCAPES_IDS)] = np.arange(len(_CITYSCAPES_IDS))
        super().__init__(root, len(_CITYSCAPES_IDS), cache)

    def _find_pairs(self) -> list[tuple[Path, Path]]:
        pictures = self.root / 'leftImg8bit' / self.split
        fine, coarse = (self.root / kind / self.split for kind in ('gtFine', 'gtCoarse'))
        labels = fine if fine.is_dir() or not coarse.is_dir() else coarse
        for folder in (pictures, labels):
            if not folder.is_dir():
                raise DatasetError(
                    f'{folder} is not a folder; Cityscapes has leftImg8bit/{self.split} and '
                    f'gtFine/{self.split} below its root'
                )
        found = sorted(pictures.glob('*/*_leftImg8bit.png'))
        if not found:
            raise DatasetError(f'{pictures} holds no <city>/*_leftImg8bit.png')
        return [(path, self._label_map(path, labels)) for path in found]

    def _label_map(self, picture: Path, labels: Path) -> Path:
        stem = picture.name.removesuffix('_leftImg8bit.png')
        stem = str(labels / picture.parent.name / f'{stem}_{labels.parent.name}')
        for kind in ('labelTrainIds', 'labelIds'):
            if (path := Path(f'{stem}_{kind}.png')).is_file():
                return path
        raise DatasetError(f'{picture} has no label map {stem}_labelIds.png')

    def _ids(self, labels: np.ndarray, path: Path) -> np.ndarray:
        return self._train_ids[labels] if path.name.endswith('_labelIds.png') else labels


class SegNetCamvid(FolderDataset):
    """CamVid as SegNet's authors prepared it: ``<split>/*.png`` and ``<split>annot/*.png``.

    Its 11 classes are in the order of the label set ``camvid``; 11 is void.

    Args:
        root: folder with ``train``, ``trainannot``, ``val``, ``valannot``.
        split: ``train``, ``val`` or ``test``.
        cache: keep decoded pairs in memory.

    Raises:
        DatasetError: a folder is missing or empty, or a picture has no label map.
    """

    def __init__(self, root: Path, split: str, cache: bool = False) -> None:
        self.split = split
        super().__init__(root, _CAMVID_VOID, cache)

    def _find_pairs(self) -> list[tuple[Path, Path]]:
        return self._pair(self.root / self.split, self.root / f'{self.split}annot')

    def _ids(self, labels: np.ndarray, path: Path) -> np.ndarray:
        return np.where(labels == _CAMVID_VOID, np.uint8(IGNORE), labels)


def open_dataset(
    kind: str, root: Path, split: str | None, classes: int, cache: bool = False
) -> FolderDataset:
    """Open a dataset in the layout it is published in.

    Args:
        kind: ``folder`` (``images`` and ``labels`` below root/split), ``camvid`` (that, or
            SegNet's layout) or ``cityscapes``.
        root: of the dataset; ``split``: folder below it, None for the root itself.
        classes: allowed label ids 0..classes-1 (of ``folder``).
        cache: keep decoded pairs in memory.

    Raises:
        DatasetError: unknown kind, or not what is found there.
    """
    root = Path(root)
    if kind not in KINDS:
        raise DatasetError(f'no dataset kind {kind!r}; known: {", ".join(KINDS)}')
    if kind == 'cityscapes':
        return CityscapesDataset(root, _needed(kind, split), cache)
    if kind == 'camvid' and not (root / (split or '') / 'images').is_dir():
        return SegNetCamvid(root, _needed(kind, split), cache)
    return FolderDataset(root / (split or ''), classes, cache)


def _needed(kind: str, split: str | None) -> str:
    if not split:
        raise DatasetError(f'a dataset of kind {kind!r} needs a split, e.g. train')
    return split
