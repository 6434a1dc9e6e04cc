"""U-Net (Ronneberger et al., MICCAI 2015, arXiv:1505.04597): of its paper, and on encoders.

The paper's network differs here as every later one does: convolutions keep the size and are
followed by BatchNorm, so that the mask is as large as the picture.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.zoo.deployable import Deployable
from seg_perception.zoo.encoders import use_tensorflow_norms

#: Poolings, hence resolutions the network passes.
LEVELS = 4


def unet_on_encoder(encoder: str, classes: int) -> nn.Module:
    """Return a U-Net decoder on an ImageNet classifier, without pretrained weights.

    Args:
        encoder: of segmentation_models_pytorch.
        classes: number of output channels.

    Returns:
        A module: float32 [N,3,H,W] (normalised RGB; H and W multiples of 32) -> float32
        logits [N,classes,H,W].
    """
    return use_tensorflow_norms(smp.Unet(encoder, encoder_weights=None, classes=classes))


class UNet(nn.Module):
    """The U-Net of 2015: four poolings, concatenated skips.

    Input: float32 [N,3,H,W] normalised RGB of any size; it is padded to multiples of 16 by
    repeating its last row and column, and the logits are cut back. Output: float32 logits
    [N,classes,H,W].

    Args:
        classes: number of output channels.
        upsampling: ``transposed`` (the paper's 2x2 transposed convolutions, which halve the
            channels) or ``bilinear`` (no weights; the convolutions halve the channels).
        width: channels at full resolution; 64 in the paper.

    Raises:
        ValueError: another upsampling.
    """

    def __init__(self, upsampling: str, classes: int, *, width: int = 64) -> None:
        super().__init__()
        if upsampling not in ('bilinear', 'transposed'):
            raise ValueError(f"upsampling must be 'bilinear' or 'transposed', got {upsampling!r}")
        bilinear = upsampling == 'bilinear'
        channels = [width << level for level in range(LEVELS + 1)]
        if bilinear:
            channels[-1] //= 2
        self.encoder = nn.ModuleList(
            _convolutions(before, after, after)
            for before, after in zip([3, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level in reversed(range(LEVELS)):
            skip = width << level
            self.ups.append(
                nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
                if bilinear
                else nn.ConvTranspose2d(2 * skip, skip, 2, stride=2)
            )
            # Bilinear upsampling keeps the channels: this block must give the half of them
            # that the next skip has.
            after = max(skip // 2, width) if bilinear else skip
            self.decoder.append(_convolutions(2 * skip, skip, after))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[2:]
        below, right = (-side % (1 << LEVELS) for side in (height, width))
        if below or right:
            pixels = F.pad(pixels, (0, right, 0, below), mode='replicate')
        return self._aligned(pixels)[:, :, :height, :width]

    def _aligned(self, pixels: torch.Tensor) -> torch.Tensor:
        skips = []
        maps = self.encoder[0](pixels)
        for block in self.encoder[1:]:
            skips.append(maps)
            maps = block(self.pool(maps))
        for up, block in zip(self.ups, self.decoder, strict=True):
            maps = block(torch.cat([skips.pop(), up(maps)], 1))
        return self.head(maps)

    def deployable(self) -> Deployable:
        """Return the network without padding: a deployed graph gets multiples of 16."""
        return Deployable(_Aligned(self), 1)


class _Aligned(nn.Module):
    def __init__(self, model: UNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model._aligned(pixels)


def _convolutions(before: int, between: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((before, between), (between, after)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
