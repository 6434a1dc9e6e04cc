"""Patches of large pictures, each with a minimum share of what is to be learnt."""

from __future__ import annotations

import cv2
import numpy as np

#: Window positions looked at along the longer side of a patch.
_POSITIONS = 16


class PatchSampler:
    """Cuts patches of one size out of pictures, at random among those that show enough.

    The share of the foreground is known exactly for every window of a raster (an integral
    image), so nothing is drawn and rejected: where no window shows enough, the one that shows
    most is taken.

    Args:
        size: (height, width) of a patch in pixels; a smaller picture is taken whole.
        foreground: bool [256], the label ids that count.
        share: least share of a patch's pixels, 0..1; 0 takes any window alike.
    """

    def __init__(self, size: tuple[int, int], foreground: np.ndarray, share: float) -> None:
        self.size = size
        self.foreground = np.asarray(foreground, np.uint8)
        self.share = share

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a window (views) of uint8 [H,W,3] and its uint8 [H,W] labels."""
        height, width = (
            min(side, limit) for side, limit in zip(labels.shape, self.size, strict=True)
        )
        rows = _starts(labels.shape[0] - height, height, rng)
        columns = _starts(labels.shape[1] - width, width, rng)
        sums = cv2.integral(self.foreground[labels])
        low, high = np.ix_(rows, columns), np.ix_(rows + height, columns + width)
        across, along = np.ix_(rows, columns + width), np.ix_(rows + height, columns)
        shares = (sums[high] - sums[across] - sums[along] + sums[low]) / (height * width)
        enough = np.flatnonzero(shares.ravel() >= self.share)
        pick = rng.choice(enough) if len(enough) else int(shares.argmax())
        row, column = np.unravel_index(pick, shares.shape)
        window = (
            slice(rows[row], rows[row] + height),
            slice(columns[column], columns[column] + width),
        )
        return image[window], labels[window]


def _starts(room: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return sorted window starts 0..room: a raster with a random phase, and both ends."""
    step = max(side // _POSITIONS, 1)
    phase = int(rng.integers(step))
    return np.unique([0, *range(phase, room + 1, step), room])
