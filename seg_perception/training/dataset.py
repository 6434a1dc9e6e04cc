"""Several datasets, augmented and mixed, as one endless reproducible stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import albumentations as A
import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.dataset import IGNORE


def training_augmentation(height: int, width: int, scale: tuple[float, float]) -> A.Compose:
    """Return the training augmentation: scale, crop, flip, and what differs between cameras.

    Colour, gamma, blur, noise and JPEG stand for another sensor, exposure and compression;
    they come after the crop, where they are cheap.

    Args:
        height, width: crop size in pixels.
        scale: smallest and largest zoom of the picture before the crop.
    """
    return A.Compose(
        [
            A.RandomScale(scale_limit=(scale[0] - 1, scale[1] - 1), p=1.0),
            A.PadIfNeeded(
                height, width, position='random', border_mode=cv2.BORDER_CONSTANT, fill_mask=IGNORE
            ),
            A.RandomCrop(height, width),
            A.HorizontalFlip(p=0.5),
            # A small roll and shear: other mountings, slopes and aspect ratios.
            A.Affine(
                rotate=(-4, 4),
                scale={'x': (0.85, 1.15), 'y': (0.85, 1.15)},
                border_mode=cv2.BORDER_CONSTANT,
                fill_mask=IGNORE,
                p=0.4,
            ),
            A.ColorJitter(
                brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.4, 1.6), hue=0.04, p=0.8
            ),
            A.RandomGamma(gamma_limit=(60, 160), p=0.4),
            A.RGBShift(18, 12, 18, p=0.3),
            A.ToGray(p=0.05),
            A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.MotionBlur(blur_limit=(3, 7))], p=0.2),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
            A.ImageCompression(quality_range=(40, 95), p=0.3),
        ]
    )


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
    ) -> None:
        if not sources or any(source.share <= 0 for source in sources):
            raise DatasetError('a training mix needs at least one source, each with a share > 0')
        self.sources = sources
        self.augmentation = augmentation
        self.mean = np.asarray(mean, np.float32) * 255
        self.std = np.asarray(std, np.float32) * 255
        self.seed = seed
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
        crop = self.augmentation(image=image, mask=labels)
        pixels = (crop['image'].astype(np.float32) - self.mean) / self.std
        return (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            torch.from_numpy(np.ascontiguousarray(crop['mask'])),
        )
