"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.zoo.deeplabv3plus import deeplabv3plus_mobilenetv2


@dataclass(frozen=True)
class Architecture:
    """How to build a network and what its input must look like.

    Attributes:
        builder: ``builder(classes, **options)`` -> module without pretrained weights.
        multiple: input height and width must be multiples of this many pixels.
        mean, std: per-channel RGB normalisation on the 0..1 scale.
        encoder_weights: names in ``zoo.pretrained.SOURCES`` that fit ``module.encoder``.
    """

    builder: Callable[..., nn.Module]
    multiple: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    encoder_weights: tuple[str, ...] = ()


ARCHITECTURES = {
    'deeplabv3plus_mobilenetv2': Architecture(
        builder=deeplabv3plus_mobilenetv2,
        multiple=16,
        encoder_weights=('imagenet-mobilenet-v2',),
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
        A module: float32 [N,3,H,W] normalised RGB -> float32 logits [N,classes,H,W].

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
