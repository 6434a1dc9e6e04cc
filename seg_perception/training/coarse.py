"""Datasets whose labels are coarser than the network's classes.

"Vehicle" says car or bicyclist, and not which. Such a label is a set of the network's classes:
its probability is the sum of theirs, so a pixel of it teaches what it must not be, and leaves
the rest to the datasets that know better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from seg_perception.core.errors import DatasetError, TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import IGNORE, FolderDataset, is_excluded
from seg_perception.training import _functional as functional

#: Label of the pixels that only a teacher labels (``training.distillation``).
TEACHER_ONLY = 254


class ClassGroups:
    """The label ids of a mix of datasets: the network's classes, then sets of them.

    Args:
        labels: the network's classes, ids 0..C-1.

    Attributes:
        groups: the sets met so far, as sorted tuples of class ids; set ``g`` has id C + g.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self.groups: list[tuple[int, ...]] = []

    def table(self, classes: Mapping[Any, Any]) -> np.ndarray:
        """Return uint8 [256]: a dataset's own ids -> ids of the mix; 255 for ids not named.

        Args:
            classes: own id -> a class name or a list of names.

        Raises:
            TrainingError: an unknown class, an id outside 0..254, or too many sets.
        """
        table = np.full(256, IGNORE, np.uint8)
        for own, names in classes.items():
            if not isinstance(own, int) or not 0 <= own < IGNORE:
                raise TrainingError(f'classes: {own!r} is no label id (0..{IGNORE - 1})')
            table[own] = self._id([names] if isinstance(names, str) else names)
        return table

    def _id(self, names: Sequence[str]) -> int:
        known = self.labels.names
        if not isinstance(names, Sequence) or not names:
            raise TrainingError(f'classes: {names!r} is neither a class name nor a list of them')
        if unknown := [name for name in names if name not in known]:
            raise TrainingError(f'classes: unknown {unknown}; known: {", ".join(known)}')
        members = tuple(sorted({self.labels.index(name) for name in names}))
        if len(members) == 1:
            return members[0]
        if members not in self.groups:
            if len(known) + len(self.groups) >= TEACHER_ONLY:
                raise TrainingError('classes: more sets of classes than 8-bit labels can name')
            self.groups.append(members)
        return len(known) + self.groups.index(members)

    def membership(self) -> torch.Tensor:
        """Return bool [G,C]: which classes belong to which set."""
        table = torch.zeros(len(self.groups), len(self.labels), dtype=torch.bool)
        for row, members in enumerate(self.groups):
            table[row, list(members)] = True
        return table


class MappedDataset:
    """A folder whose labels go through a table, without the pictures whose names are excluded.

    Args:
        data: the folder, with its own ids.
        table: uint8 [256], see :meth:`ClassGroups.table`; None keeps the ids.
        classes: number of the network's classes.
        exclude: shell patterns of file stems that are left out.

    Raises:
        DatasetError: nothing is left.
    """

    def __init__(
        self,
        data: FolderDataset,
        table: np.ndarray | None,
        classes: int,
        exclude: Sequence[str] = (),
    ) -> None:
        self.data = data
        self.table = table
        self.classes = classes
        self.chosen = [
            index for index in range(len(data)) if not is_excluded(data.name(index), exclude)
        ]
        if not self.chosen:
            raise DatasetError(f'{data.root}: exclude leaves no picture')

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (uint8 [H,W,3] RGB, uint8 [H,W] ids of the mix)."""
        image, labels = self.data[self.chosen[index]]
        return image, labels if self.table is None else self.table[labels]


class CoarseLoss(nn.Module):
    """A loss for targets that name classes and sets of classes.

    Pixels of a class go to the inner loss; those of a set cost minus the logarithm of the
    summed probability of its members. Both are averages, and weigh by their pixels.

    Args:
        inner: loss over logits [N,C,H,W] and targets with ids 0..C-1.
        membership: bool [G,C]; id C + g names set g.
    """

    def __init__(self, inner: nn.Module, membership: torch.Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer('membership', membership)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar."""
        classes = self.membership.shape[1]
        coarse = (target >= classes) & (target != IGNORE)
        n_coarse = int(coarse.sum())
        fine = target.masked_fill(coarse, IGNORE)
        loss = self.inner(logits, fine)
        if not n_coarse:
            return loss
        n_fine = int((fine != IGNORE).sum())
        sets = functional.set_cross_entropy(logits, target, coarse, self.membership)
        return (n_fine * loss + n_coarse * sets) / (n_fine + n_coarse)
