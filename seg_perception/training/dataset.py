"""Several datasets, augmented and mixed, as one endless reproducible stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from seg_perception.core.errors import DatasetError
from seg_perception.training.patches import PatchSampler

if TYPE_CHECKING:
    import albumentations as A


class Pictures(Protocol):
    """Pairs of uint8 [H,W,3] RGB and uint8 [H,W] labels; a reproducible order is ours to make."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Source:
    """One dataset of a mix and its share of the draws (shares are normalised)."""

    data: Pictures
    share: float


class MixedStream(Dataset):
    """An endless stream of augmented crops in which draw ``n`` depends on (seed, n) alone.

    So the stream is the same whatever the number of loader workers, and a resumed run goes on
    with exactly the crops it would have seen. Each source is passed through in shuffled epochs;
    shares hold exactly over time (largest remainder, not chance).

    Args:
        sources: datasets and shares.
        augmentation: albumentations pipeline over ``image`` and ``mask``.
        mean, std: RGB normalisation on the 0..1 scale.
        seed: of order and augmentation.
        start, length: first draw and number of draws.
        patch: cuts each picture first, or None.
    """

    def __init__(
        self,
        sources: list[Source],
        augmentation: A.Compose,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        seed: int,
        start: int,
        length: int,
        patch: PatchSampler | None = None,
    ) -> None:
        if not sources or any(source.share <= 0 for source in sources):
            raise DatasetError('a training mix needs at least one source, each with a share > 0')
        self.sources = sources
        self.augmentation = augmentation
        self.mean = np.asarray(mean, np.float32) * 255
        self.std = np.asarray(std, np.float32) * 255
        self.seed = seed
        self.patch = patch
        self.start = start
        self.schedule = self._schedule(start + length)[start:]

    def _schedule(self, draws: int) -> np.ndarray:
        """Return int [draws, 2]: source and running number within it for each draw."""
        shares = np.array([source.share for source in self.sources], np.float64)
        shares /= shares.sum()
        due = np.zeros(len(shares))
        taken = np.zeros(len(shares), np.int64)
        plan = np.empty((draws, 2), np.int64)
        for draw in range(draws):
            due += shares
            pick = int(np.argmax(due))
            due[pick] -= 1
            plan[draw] = pick, taken[pick]
            taken[pick] += 1
        return plan

    def __len__(self) -> int:
        return len(self.schedule)

    def draw(self, item: int) -> tuple:
        """Return what the draw's dataset holds there, and seed the augmentation for it."""
        number, running = (int(value) for value in self.schedule[item])
        data = self.sources[number].data
        epoch, position = divmod(running, len(data))
        order = np.random.default_rng((self.seed, number, epoch)).permutation(len(data))
        self.augmentation.set_random_seed(
            int(np.random.default_rng((self.seed, self.start + item)).integers(2**31))
        )
        return data[int(order[position])]

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (float32 [3,h,w] normalised RGB, uint8 [h,w] labels) of a draw."""
        image, labels = self.draw(item)
        if self.patch:
            rng = np.random.default_rng((self.seed, self.start + item, 1))
            image, labels = self.patch(image, labels, rng)
        crop = self.augmentation(image=image, mask=labels)
        pixels = (crop['image'].astype(np.float32) - self.mean) / self.std
        return (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            torch.from_numpy(np.ascontiguousarray(crop['mask'])),
        )
