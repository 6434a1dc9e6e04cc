"""The losses as pure functions of logits [N,C,H,W] and integer targets [N,H,W]."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

#: Target value that counts nowhere.
IGNORE = 255


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    ignore_index: int = IGNORE,
) -> torch.Tensor:
    """Return the mean cross-entropy over the valid pixels, weighted by their classes."""
    logits = _precise(logits)
    target = target.long()
    weight = None if weight is None else weight.to(logits.dtype)
    total = F.cross_entropy(
        logits, target, weight=weight, ignore_index=ignore_index, reduction='sum'
    )
    valid = target != ignore_index
    mass = valid.sum() if weight is None else weight[target[valid]].sum()
    return total / mass.clamp_min(1e-6)


def set_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, chosen: torch.Tensor, membership: torch.Tensor
) -> torch.Tensor:
    """Return the mean of -log(summed probability of the members) over the chosen pixels.

    Args:
        chosen: bool [N,H,W], at least one; there the target is C + the number of a set.
        membership: bool [G,C], which classes belong to which set.
    """
    picked = _precise(logits).permute(0, 2, 3, 1)[chosen].log_softmax(1)
    members = membership[target[chosen].long() - membership.shape[1]]
    return -picked.masked_fill(~members, -torch.inf).logsumexp(1).mean()


def dice(
    logits: torch.Tensor, target: torch.Tensor, smooth: float = 1.0, ignore_index: int = IGNORE
) -> torch.Tensor:
    """Return one minus the mean soft Dice, over the batch, of the classes present."""
    target = target.unsqueeze(1)
    valid = target != ignore_index
    # A class at a time in memory: sums over logits that lie channels last take four times as long.
    probability = _precise(logits).contiguous().softmax(1) * valid
    classes = torch.arange(logits.shape[1], device=target.device).view(1, -1, 1, 1)
    truth = ((target == classes) & valid).to(probability.dtype)
    axes = (0, 2, 3)
    overlap = (probability * truth).sum(axes)
    count = truth.sum(axes)
    size = probability.sum(axes) + count
    present = count > 0
    if not present.any():
        return logits.sum() * 0.0
    return 1 - ((2 * overlap + smooth) / (size + smooth))[present].mean()


def focal(
    logits: torch.Tensor,
    target: torch.Tensor,
    gamma: float = 2.0,
    weight: torch.Tensor | None = None,
    ignore_index: int = IGNORE,
) -> torch.Tensor:
    """Return the mean of (1 - p)^gamma times the cross-entropy, weighted by classes."""
    surprise, mass = _pixels(logits, target, weight, ignore_index)
    # The floor keeps the slope of a gamma below 1 finite where p is 1.
    miss = -torch.expm1(-surprise)
    factor = miss.clamp_min(1e-12) ** gamma
    return (mass * factor * surprise).sum() / mass.sum().clamp_min(1e-6)


def ohem(
    logits: torch.Tensor,
    target: torch.Tensor,
    threshold: float = 0.7,
    min_share: float = 1 / 16,
    weight: torch.Tensor | None = None,
    ignore_index: int = IGNORE,
) -> torch.Tensor:
    """Return the mean cross-entropy of the hard pixels, weighted by classes."""
    surprise, mass = _pixels(logits, target, weight, ignore_index)
    valid = target != ignore_index
    count = int(valid.sum())
    if count == 0:
        return logits.sum() * 0.0
    # surprise is -log p: the hard pixels are those from -log(threshold) upwards.
    hard = surprise.detach()[valid]
    least = math.ceil(min_share * count)
    floor = hard.kthvalue(count - least + 1).values
    limit = floor if threshold == 0 else floor.clamp_max(-math.log(threshold))
    kept = mass * (valid & (surprise.detach() >= limit))
    return (kept * surprise).sum() / kept.sum().clamp_min(1e-6)


def _pixels(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    ignore_index: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return per pixel [N,H,W] the unweighted cross-entropy and the weight, 0 if ignored."""
    logits = _precise(logits)
    target = target.long()
    surprise = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction='none')
    valid = target != ignore_index
    if weight is None:
        return surprise, valid.to(logits.dtype)
    return surprise, weight.to(logits.dtype)[target.masked_fill(~valid, 0)] * valid


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
