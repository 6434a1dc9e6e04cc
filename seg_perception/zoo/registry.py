"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.zoo.deeplab import deeplabv3, deeplabv3plus
from seg_perception.zoo.fastscnn import FastSCNN
from seg_perception.zoo.fcn import FCN
from seg_perception.zoo.maskrcnn import maskrcnn_mobilenetv2, maskrcnn_resnet50
from seg_perception.zoo.segformer import SIZES, segformer
from seg_perception.zoo.unet import UNet, unet_on_encoder


@dataclass(frozen=True)
class Architecture:
    """How to build a network and what its input must look like.

    Attributes:
        builder: ``builder(classes, **options)`` -> module without pretrained weights.
        multiple: input height and width must be multiples of this many pixels.
        mean, std: per-channel RGB normalisation on the 0..1 scale.
        encoder_weights: names in ``zoo.pretrained.SOURCES`` that fit ``module.encoder``
            (of instance networks ``module.backbone.body``).
        task: ``semantic`` (logits per pixel) or ``instance`` (boxes, classes and masks).
    """

    builder: Callable[..., nn.Module]
    multiple: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    encoder_weights: tuple[str, ...] = ()
    task: str = 'semantic'


@dataclass(frozen=True)
class _Encoder:
    """An encoder: its name in segmentation_models_pytorch, weights that fit, normalisation."""

    name: str
    weights: tuple[str, ...] = ()
    mean: tuple[float, float, float] = Architecture.mean
    std: tuple[float, float, float] = Architecture.std


def _efficientnet_lite(size: int) -> _Encoder:
    # Trained in TensorFlow on (pixel - 127) / 128.
    return _Encoder(
        f'tu-efficientnet_lite{size}',
        (f'imagenet-efficientnet-lite{size}',),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )


_ENCODERS = {
    'mobilenetv2': _Encoder('mobilenet_v2', ('imagenet-mobilenet-v2',)),
    'resnet50': _Encoder('resnet50', ('imagenet-resnet50',)),
    'resnet101': _Encoder('resnet101', ('imagenet-resnet101',)),
    'efficientnet_lite0': _efficientnet_lite(0),
    'efficientnet_lite1': _efficientnet_lite(1),
    'efficientnet_lite2': _efficientnet_lite(2),
}


def _on_encoders(
    family: str, builder: Callable[..., nn.Module], multiple: int, encoders: tuple[str, ...]
) -> dict[str, Architecture]:
    """Return ``<family>_<encoder>`` entries of a builder that takes the encoder's name first."""
    entries = {}
    for key in encoders:
        encoder = _ENCODERS[key]
        entries[f'{family}_{key}'] = Architecture(
            builder=partial(builder, encoder.name),
            multiple=multiple,
            mean=encoder.mean,
            std=encoder.std,
            encoder_weights=encoder.weights,
        )
    return entries


ARCHITECTURES = {
    **{
        f'segformer_{size}': Architecture(
            builder=partial(segformer, size),
            multiple=32,
            encoder_weights=(f'imagenet-mit-{size}',),
        )
        for size in SIZES
    },
    **_on_encoders('deeplabv3plus', deeplabv3plus, 16, tuple(_ENCODERS)),
    **_on_encoders('deeplabv3', deeplabv3, 16, ('mobilenetv2', 'resnet50', 'resnet101')),
    'fastscnn': Architecture(builder=FastSCNN, multiple=32),
    **{
        f'fcn{stride}s_vgg16': Architecture(
            builder=partial(FCN, stride), multiple=32, encoder_weights=('imagenet-vgg16',)
        )
        for stride in (32, 16, 8)
    },
    **_on_encoders('unet', unet_on_encoder, 32, ('mobilenetv2', 'resnet50', 'efficientnet_lite0')),
    **{
        f'unet2015_{upsampling}': Architecture(builder=partial(UNet, upsampling), multiple=16)
        for upsampling in ('bilinear', 'transposed')
    },
    'maskrcnn_resnet50_fpn': Architecture(builder=maskrcnn_resnet50, multiple=1, task='instance'),
    'maskrcnn_mobilenetv2_fpn': Architecture(
        builder=maskrcnn_mobilenetv2,
        multiple=1,
        encoder_weights=('imagenet-mobilenet-v2',),
        task='instance',
    ),
}


def architecture(name: str) -> Architecture:
    """Return the entry called ``name``.

    Raises:
        ModelError: no such architecture; the message lists the known ones.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        known = ', '.join(sorted(ARCHITECTURES))
        raise ModelError(f'no architecture {name!r}; known: {known}') from None


def build(name: str, classes: int, **options: object) -> nn.Module:
    """Build the architecture ``name`` for ``classes`` outputs, randomly initialised.

    Returns:
        A semantic network: float32 [N,3,H,W] normalised RGB -> float32 logits
        [N,classes,H,W]. An instance network: as ``zoo.maskrcnn`` says.

    Raises:
        ModelError: unknown name, a class count outside 2..255, or options it does not take.
    """
    entry = architecture(name)
    if not 2 <= classes <= 255:
        raise ModelError(f'{name}: {classes} classes; labels are uint8 with 255 = ignore')
    try:
        return entry.builder(classes, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f'{name}: {error}') from error


def parameter_count(module: nn.Module) -> int:
    """Return the number of trainable scalars of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
