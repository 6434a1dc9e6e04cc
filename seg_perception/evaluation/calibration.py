"""Whether a confidence means what it says: reliability counts and expected calibration error."""

from __future__ import annotations

import numpy as np

LEVELS = 256


class ReliabilityCounts:
    """Pixels and right pixels at each of the 256 levels of confidence.

    Counts add up exactly over pictures, bags and machines; bins are made when they are read.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros(LEVELS, np.int64)
        self.right = np.zeros(LEVELS, np.int64)

    def update(self, truth: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Count a picture.

        Args:
            truth: uint8 [h, w]; 255 counts nowhere.
            labels: uint8 [h, w].
            confidence: uint8 [h, w], 0..255 = 0..1.

        Raises:
            ValueError: the shapes differ.
        """
        if not truth.shape == labels.shape == confidence.shape:
            raise ValueError(f'{truth.shape}, {labels.shape} and {confidence.shape} differ')
        valid = truth != 255
        levels = confidence[valid]
        self.pixels += np.bincount(levels, minlength=LEVELS)
        self.right += np.bincount(levels[truth[valid] == labels[valid]], minlength=LEVELS)

    def bins(self, count: int = 15) -> list[dict[str, float | int]]:
        """Return the bins that hold pixels: low, high, confidence, accuracy (0..1), pixels."""
        level = np.arange(LEVELS) / (LEVELS - 1)
        bin_of = np.minimum((level * count).astype(int), count - 1)
        found: list[dict[str, float | int]] = []
        for number in range(count):
            inside = bin_of == number
            pixels = int(self.pixels[inside].sum())
            if pixels:
                found.append(
                    {
                        'low': number / count,
                        'high': (number + 1) / count,
                        'confidence': float((self.pixels * level)[inside].sum() / pixels),
                        'accuracy': float(self.right[inside].sum() / pixels),
                        'pixels': pixels,
                    }
                )
        return found

    def expected_error(self, count: int = 15) -> float:
        """Return the expected calibration error, 0..1; NaN where nothing was counted.

        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
        """
        total = int(self.pixels.sum())
        if not total:
            return float('nan')
        return sum(
            bin_['pixels'] / total * abs(bin_['accuracy'] - bin_['confidence'])
            for bin_ in self.bins(count)
        )
