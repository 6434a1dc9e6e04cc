"""DeepLabV3+ (Chen et al., ECCV 2018, arXiv:1802.02611) on segmentation_models_pytorch."""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn

#: Rates of the paper at output stride 16; stride 8 doubles them.
ATROUS_RATES = (6, 12, 18)


def deeplabv3plus_mobilenetv2(
    classes: int,
    *,
    output_stride: int = 16,
    decoder_channels: int = 256,
    aspp_dropout: float = 0.1,
) -> nn.Module:
    """Return DeepLabV3+ with a MobileNetV2 encoder, without pretrained weights.

    ASPP and decoder use depthwise separable convolutions, as the paper's mobile variant does.

    Args:
        classes: number of output channels.
        output_stride: 8 or 16, input pixels per ASPP cell.
        decoder_channels: width of ASPP and decoder.
        aspp_dropout: dropout share after ASPP, training only.

    Returns:
        A module: float32 [N,3,H,W] (normalised RGB; H and W multiples of 16) -> float32
        logits [N,classes,H,W].

    Raises:
        ValueError: an output stride other than 8 or 16.
    """
    if output_stride not in (8, 16):
        raise ValueError(f'output_stride must be 8 or 16, got {output_stride}')
    return smp.DeepLabV3Plus(
        'mobilenet_v2',
        encoder_weights=None,
        encoder_output_stride=output_stride,
        decoder_channels=decoder_channels,
        decoder_atrous_rates=tuple(rate * 16 // output_stride for rate in ATROUS_RATES),
        decoder_aspp_dropout=aspp_dropout,
        classes=classes,
    )
