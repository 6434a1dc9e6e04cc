"""Fast-SCNN (Poudel, Liwicki and Cipolla, BMVC 2019, arXiv:1902.04502), from its Table 1."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.zoo.deployable import Deployable, Scores

#: Cells per side of the pooled maps (PSPNet, arXiv:1612.01105).
BINS = (1, 2, 3, 6)


class FastSCNN(nn.Module):
    """Fast-SCNN: two branches that share their first three layers.

    Input: float32 [N,3,H,W] normalised RGB, H and W multiples of 32. Output: float32 logits
    [N,classes,H,W].

    Args:
        classes: number of output channels.
        dropout: share before the classifier's last layer, training only (0.3 in the paper).
    """

    def __init__(self, classes: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.learning_to_downsample = nn.Sequential(
            _convolution(3, 32, 3, stride=2), _separable(32, 48, 2), _separable(48, 64, 2)
        )
        self.global_features = nn.Sequential(
            *_bottlenecks(64, 64, 3, stride=2),
            *_bottlenecks(64, 96, 3, stride=2),
            *_bottlenecks(96, 128, 3, stride=1),
            PyramidPooling(128, 128),
        )
        self.fuse_low = nn.Sequential(
            _convolution(128, 128, 3, groups=128, dilation=4),
            _convolution(128, 128, 1, activation=False),
        )
        self.fuse_high = _convolution(64, 128, 1, activation=False)
        self.classifier = nn.Sequential(
            _separable(128, 128, 1),
            _separable(128, 128, 1),
            nn.Dropout(dropout),
            nn.Conv2d(128, classes, 1),
        )

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [N,classes,H/8,W/8]."""
        fine = self.learning_to_downsample(pixels)
        coarse = F.interpolate(
            self.global_features(fine), size=fine.shape[2:], mode='bilinear', align_corners=False
        )
        return self.classifier(F.relu(self.fuse_low(coarse) + self.fuse_high(fine)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.interpolate(
            self.scores(pixels), size=pixels.shape[2:], mode='bilinear', align_corners=False
        )

    def deployable(self) -> Deployable:
        """Return the network up to its scores."""
        return Deployable(Scores(self), 8)


class PyramidPooling(nn.Module):
    """Context of several grid sizes, concatenated to the map and mixed (PSPNet)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        share = before // len(BINS)
        self.branches = nn.ModuleList(_convolution(before, share, 1) for _ in BINS)
        self.mix = _convolution(2 * before, after, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pooled = [
            F.interpolate(
                branch(adaptive_average_pool(maps, bins)),
                size=maps.shape[2:],
                mode='bilinear',
                align_corners=False,
            )
            for branch, bins in zip(self.branches, BINS, strict=True)
        ]
        return self.mix(torch.cat([maps, *pooled], 1))


def adaptive_average_pool(maps: torch.Tensor, bins: int) -> torch.Tensor:
    """Return ``F.adaptive_avg_pool2d(maps, bins)`` as two matrix products.

    ONNX has no adaptive pooling, and a plain one takes no size that is only known at run time.

    Args:
        maps: float [N,C,H,W].
        bins: cells per side.

    Returns:
        float [N,C,bins,bins].
    """
    rows, columns = (
        _averaging(maps.shape[axis], bins, maps.device).to(maps.dtype) for axis in (2, 3)
    )
    return rows @ maps @ columns.T


def _averaging(length: int, bins: int, device: torch.device) -> torch.Tensor:
    """Return float32 [bins,length]: row i averages floor(i L/b) .. ceil((i+1) L/b) - 1."""
    place = torch.arange(length, device=device)[None]
    cell = torch.arange(bins, device=device)[:, None]
    first = cell * length // bins
    last = ((cell + 1) * length + bins - 1) // bins
    inside = ((place >= first) & (place < last)).float()
    return inside / inside.sum(1, keepdim=True)


class _Bottleneck(nn.Module):
    """MobileNetV2's inverted residual, six times widened."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = 6 * before
        self.residual = stride == 1 and before == after
        self.layers = nn.Sequential(
            _convolution(before, wide, 1),
            _convolution(wide, wide, 3, stride=stride, groups=wide),
            _convolution(wide, after, 1, activation=False),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        out = self.layers(maps)
        return maps + out if self.residual else out


def _bottlenecks(before: int, after: int, count: int, stride: int) -> list[nn.Module]:
    return [_Bottleneck(after if i else before, after, 1 if i else stride) for i in range(count)]


def _convolution(
    before: int,
    after: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(
            before,
            after,
            kernel,
            stride=stride,
            padding=kernel // 2 * dilation,
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(after),
    ]
    if activation:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    """Depthwise and pointwise convolution; the paper puts no activation between them."""
    return nn.Sequential(
        _convolution(before, before, 3, stride=stride, groups=before, activation=False),
        _convolution(before, after, 1),
    )
