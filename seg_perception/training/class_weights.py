"""Class weights that lift what is rare in a training set."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from seg_perception.core.errors import TrainingError

#: Ways to weigh classes, by the name a configuration gives them.
KINDS = ('inverse', 'median')


class LabelledPictures(Protocol):
    """What is counted: pairs of a picture and its uint8 [H,W] labels."""

    classes: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


def class_weights(data: LabelledPictures, kind: str, exponent: float) -> np.ndarray:
    """Return float32 [classes] weights of a data set.

    Args:
        data: read once, from its first pair to its last.
        kind: ``inverse`` or ``median``.
        exponent: 1 = as published, 0.5 = mild, 0 = none.

    Raises:
        TrainingError: another kind.
    """
    if kind not in KINDS:
        raise TrainingError(f'class_weights must be one of {", ".join(KINDS)}; got {kind!r}')
    counts = count_pixels(data)
    if kind == 'inverse':
        return inverse_frequency_weights(counts.sum(0), exponent)
    return median_frequency_weights(counts, exponent)


def count_pixels(data: LabelledPictures) -> np.ndarray:
    """Return int64 [pictures,classes] pixel counts; ignored pixels are not counted."""
    counts = [
        np.bincount(data[index][1].ravel(), minlength=256)[: data.classes]
        for index in range(len(data))
    ]
    return np.array(counts, np.int64).reshape(len(counts), data.classes)


def inverse_frequency_weights(counts: np.ndarray, exponent: float = 0.5) -> np.ndarray:
    """Return class weights proportional to frequency ** -exponent.

    Args:
        counts: [C] pixel counts of a training set.
        exponent: 1 = inverse frequency; 0.5 is mild; 0 = no weighting.

    Returns:
        float32 [C] with mean 1 over the classes that occur; absent classes weigh 1.
    """
    frequency = counts / max(counts.sum(), 1)
    present = frequency > 0
    weights = np.ones(len(counts), np.float64)
    weights[present] = frequency[present] ** -exponent
    if present.any():
        weights[present] /= weights[present].mean()
    return weights.astype(np.float32)


def median_frequency_weights(counts: np.ndarray, exponent: float = 1.0) -> np.ndarray:
    """Return median frequency weights (Eigen and Fergus, ICCV 2015, arXiv:1411.4734).

    A class's frequency is its share of the labelled pixels of the pictures it occurs in, so
    that one seen in few pictures, but large there, does not count as rare. Its weight is the
    median of all frequencies over its own.

    Args:
        counts: [pictures,C] pixel counts.
        exponent: applied to the published weights; 0 = no weighting.

    Returns:
        float32 [C]; absent classes weigh 1.
    """
    counts = np.asarray(counts)
    around = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)
    present = around > 0
    weights = np.ones(counts.shape[1], np.float64)
    if present.any():
        frequency = counts.sum(0)[present] / around[present]
        weights[present] = (np.median(frequency) / frequency) ** exponent
    return weights.astype(np.float32)
