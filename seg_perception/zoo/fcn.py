"""FCN-32s, 16s and 8s on VGG-16 (Long, Shelhamer and Darrell, CVPR 2015, arXiv:1411.4038)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from seg_perception.zoo.deployable import Deployable, Scores

#: Index in torchvision's VGG-16 ``features`` behind each pooling a score is taken from.
_POOL3, _POOL4, _POOL5 = 17, 24, 31
_CHANNELS = {8: 256, 16: 512}


class FCN(nn.Module):
    """A fully convolutional VGG-16 whose scores of finer layers are added to the coarse ones.

    Scores at stride 32 are upsampled twofold by transposed convolutions that start as bilinear
    and learn, and the scores of pool4 (and pool3) are added; the last upsampling stays
    bilinear, as in the paper. Instead of the paper's 100 pixels of padding, the 7x7
    convolution is padded to keep the size, which lets every skip align without cropping.

    Input: float32 [N,3,H,W] normalised RGB, H and W multiples of 32. Output: float32 logits
    [N,classes,H,W].

    Args:
        stride: of the finest score added: 32 (none), 16 (pool4) or 8 (pool4 and pool3).
        classes: number of output channels.
        width: channels of the two convolutions made of VGG's linear layers.
        dropout: share behind each of them, training only.

    Raises:
        ValueError: another stride.
    """

    def __init__(
        self, stride: int, classes: int, *, width: int = 4096, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if stride not in (8, 16, 32):
            raise ValueError(f'stride must be 8, 16 or 32, got {stride}')
        self.stride = stride
        # vgg16().features, without making its 124 million classifier weights first.
        self.encoder = make_layers(cfgs['D'])
        self.classifier = nn.Sequential(
            nn.Conv2d(512, width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(width, classes, 1),
        )
        for module in [*self.encoder, *self.classifier[:-1]]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                nn.init.zeros_(module.bias)
        finer = [s for s in (16, 8) if s >= stride]
        self.skips = nn.ModuleList(nn.Conv2d(_CHANNELS[s], classes, 1) for s in finer)
        self.ups = nn.ModuleList(_bilinear_twofold(classes) for _ in finer)
        for skip in self.skips:
            # The paper's start: a skip changes nothing until it has learnt to.
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(skip.bias)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [N,classes,H/stride,W/stride]."""
        pool3 = self.encoder[:_POOL3](pixels)
        pool4 = self.encoder[_POOL3:_POOL4](pool3)
        pool5 = self.encoder[_POOL4:_POOL5](pool4)
        scores = self.classifier(pool5)
        for up, skip, pool in zip(self.ups, self.skips, (pool4, pool3), strict=False):
            scores = up(scores) + skip(pool)
        return scores

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.interpolate(
            self.scores(pixels), size=pixels.shape[2:], mode='bilinear', align_corners=False
        )

    def deployable(self) -> Deployable:
        """Return the network up to its scores."""
        return Deployable(Scores(self), self.stride)


def _bilinear_twofold(classes: int) -> nn.ConvTranspose2d:
    """Return a 4x4 transposed convolution of stride 2 that starts as bilinear upsampling."""
    layer = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25], device=layer.weight.device)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(classes), range(classes)] = torch.outer(ramp, ramp)
    return layer
