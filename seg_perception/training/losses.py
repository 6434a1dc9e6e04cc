"""Losses over logits [N,C,H,W] and integer targets [N,H,W]; ignored pixels count nowhere.

All compute in float32 at least, whatever precision the network runs in, and give 0 (with a
gradient of 0) when every pixel is ignored.
"""

from __future__ import annotations

import torch
from torch import nn

from seg_perception.training import _functional as functional

IGNORE = functional.IGNORE


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
        """Return a scalar."""
        return functional.cross_entropy(logits, target, self.weight, self.ignore_index)


class DiceLoss(nn.Module):
    """One minus the mean soft Dice (Milletari et al., arXiv:1606.04797) of the classes present.

    Averaging only over classes that occur in the batch keeps the loss from rewarding the
    absence of rare ones.

    Args:
        ignore_index: target value that counts nowhere.
        smooth: pixels added to both sides of the fraction.
    """

    def __init__(self, ignore_index: int = IGNORE, smooth: float = 1.0) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.smooth = smooth

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar in 0..1."""
        return functional.dice(logits, target, self.smooth, self.ignore_index)


class FocalLoss(nn.Module):
    """Cross-entropy times (1 - p)^gamma, p being the true class's probability.

    Lin et al., ICCV 2017 (arXiv:1708.02002), for softmax: pixels that are right already count
    less. Averaged like the cross-entropy, which it is at gamma 0.

    Args:
        gamma: >= 0; 2 in the paper.
        weight: float [C] class weights (the paper's alpha), or None.
        ignore_index: target value that counts nowhere.

    Raises:
        ValueError: a negative gamma.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        weight: torch.Tensor | None = None,
        ignore_index: int = IGNORE,
    ) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f'gamma must be >= 0, got {gamma}')
        self.register_buffer('weight', weight)
        self.gamma = gamma
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar."""
        return functional.focal(logits, target, self.gamma, self.weight, self.ignore_index)


class OhemLoss(nn.Module):
    """Cross-entropy of the hard pixels only (online hard example mining).

    As Shrivastava et al. (CVPR 2016, arXiv:1604.03540) mine regions, segmentation networks
    mine pixels: those whose true class has a probability of at most ``threshold``, and never
    fewer than ``min_share`` of the batch's pixels, the hardest.

    Args:
        threshold: probability, 0..1.
        min_share: of the pixels that are not ignored, above 0 and at most 1.
        weight: float [C] class weights, or None. They do not decide what is hard.
        ignore_index: target value that counts nowhere.

    Raises:
        ValueError: a threshold or share out of range.
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_share: float = 1 / 16,
        weight: torch.Tensor | None = None,
        ignore_index: int = IGNORE,
    ) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold must be in 0..1, got {threshold}')
        if not 0 < min_share <= 1:
            raise ValueError(f'min_share must be above 0 and at most 1, got {min_share}')
        self.register_buffer('weight', weight)
        self.threshold = threshold
        self.min_share = min_share
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar."""
        return functional.ohem(
            logits, target, self.threshold, self.min_share, self.weight, self.ignore_index
        )


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
