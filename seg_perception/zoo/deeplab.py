"""DeepLabV3 (arXiv:1706.05587) and V3+ (Chen et al., ECCV 2018, arXiv:1802.02611).

Both on segmentation_models_pytorch; encoders are named as that library names them.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import nn

from seg_perception.zoo.encoders import use_tensorflow_norms

#: Rates of the papers at output stride 16; stride 8 doubles them.
ATROUS_RATES = (6, 12, 18)


def deeplabv3plus(
    encoder: str,
    classes: int,
    *,
    output_stride: int = 16,
    decoder_channels: int = 256,
    aspp_dropout: float = 0.1,
) -> nn.Module:
    """Return DeepLabV3+ without pretrained weights.

    ASPP (with image pooling) and decoder use depthwise separable convolutions, as the paper's
    section 3 does; the low-level skip, taken at stride 4, is reduced to 48 channels.

    Args:
        encoder: of segmentation_models_pytorch.
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
    return use_tensorflow_norms(
        smp.DeepLabV3Plus(
            encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_channels=decoder_channels,
            decoder_atrous_rates=_rates(output_stride),
            decoder_aspp_dropout=aspp_dropout,
            classes=classes,
        )
    )


def deeplabv3(
    encoder: str,
    classes: int,
    *,
    output_stride: int = 16,
    decoder_channels: int = 256,
    aspp_dropout: float = 0.1,
) -> nn.Module:
    """Return DeepLabV3: ASPP with image pooling, no decoder; logits at the output stride.

    Arguments, result and errors as for ``deeplabv3plus``; the convolutions are not separable.
    """
    return use_tensorflow_norms(
        smp.DeepLabV3(
            encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_channels=decoder_channels,
            decoder_atrous_rates=_rates(output_stride),
            decoder_aspp_dropout=aspp_dropout,
            classes=classes,
        )
    )


def _rates(output_stride: int) -> tuple[int, ...]:
    if output_stride not in (8, 16):
        raise ValueError(f'output_stride must be 8 or 16, got {output_stride}')
    return tuple(rate * 16 // output_stride for rate in ATROUS_RATES)
