"""What of a network an exported graph keeps: everything before the last upsampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from seg_perception.core.errors import ExportError


@dataclass(frozen=True)
class Deployable:
    """The part of a network before its last upsampling, and how to upsample.

    Attributes:
        network: float32 [N,3,H,W] normalised RGB -> logits [N,classes,H/stride,W/stride].
        stride: factor of the bilinear upsampling to [N,classes,H,W]; 1 = none.
        align_corners: its convention.
    """

    network: nn.Module
    stride: int
    align_corners: bool = False


def deployable(model: nn.Module, name: str) -> Deployable:
    """Return the deployable part of a network in eval mode; it may share its weights.

    Networks of this package say it themselves (``model.deployable()``); those of
    segmentation_models_pytorch are split here.

    Raises:
        ExportError: the network's head is not one that can be split.
    """
    if hasattr(model, 'deployable'):
        return model.deployable()
    if not hasattr(model, 'segmentation_head'):
        raise ExportError(f'{name}: {type(model).__name__} cannot be exported as a label graph')
    convolution, upsampling, activation = model.segmentation_head
    if not isinstance(activation.activation, nn.Identity):
        raise ExportError(f'{name}: the head ends with {activation.activation}, not with logits')
    network = _EncoderDecoder(model.encoder, model.decoder, convolution)
    if isinstance(upsampling, nn.Identity):
        return Deployable(network, 1)
    factor = getattr(upsampling, 'scale_factor', None)
    if not isinstance(upsampling, nn.Upsample) or factor is None or factor != int(factor):
        raise ExportError(f'{name}: head {upsampling} is not one this exporter knows')
    return Deployable(network, int(factor), bool(upsampling.align_corners))


class _EncoderDecoder(nn.Module):
    """A segmentation_models_pytorch model without the upsampling of its head."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder(self.encoder(pixels)))


class Scores(nn.Module):
    """A network of this package up to its ``scores``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.scores(pixels)
