"""Losses over logits [N,C,H,W] and integer targets [N,H,W]; ignored pixels count nowhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

IGNORE = 255


class CrossEntropyLoss(nn.Module):
    """Pixel cross-entropy, averaged over the (weighted) pixels that are not ignored.

    Args:
        weight: float [C] class weights, or None.
        ignore_index: target value that counts nowhere.
    """

    def __init__(self, weight: torch.Tensor | None = None, ignore_index: int = IGNORE) -> None:
        super().__init__()
        self.register_buffer('weight', weight)
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar; 0 (with a gradient of 0) when every pixel is ignored."""
        total = F.cross_entropy(
            logits.float(),
            target.long(),
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction='sum',
        )
        valid = target != self.ignore_index
        mass = valid.sum() if self.weight is None else self.weight[target.long()[valid]].sum()
        return total / mass.clamp_min(1e-6)


class DiceLoss(nn.Module):
    """One minus the mean soft Dice (Milletari et al., arXiv:1606.04797) of the classes present.

    Averaging only over classes that occur in the batch keeps the loss from rewarding the
    absence of rare ones.
    """

    def __init__(self, ignore_index: int = IGNORE, smooth: float = 1.0) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.smooth = smooth

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar in 0..1; 0 when every pixel is ignored."""
        classes = logits.shape[1]
        target = target.long()
        valid = target != self.ignore_index
        one_hot = F.one_hot(target.masked_fill(~valid, 0), classes).movedim(-1, 1)
        one_hot = one_hot * valid.unsqueeze(1)
        probability = logits.float().softmax(1) * valid.unsqueeze(1)
        axes = (0, 2, 3)
        overlap = (probability * one_hot).sum(axes)
        size = probability.sum(axes) + one_hot.sum(axes)
        dice = (2 * overlap + self.smooth) / (size + self.smooth)
        present = one_hot.sum(axes) > 0
        if not present.any():
            return logits.sum() * 0.0
        return 1 - dice[present].mean()


class WeightedSum(nn.Module):
    """Sum of losses, each times its factor."""

    def __init__(self, terms: list[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in terms]
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the scalar sum."""
        pairs = zip(self.factors, self.losses, strict=True)
        return sum(factor * loss(logits, target) for factor, loss in pairs)


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
