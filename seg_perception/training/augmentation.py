"""What training does to pictures and their labels: albumentations, set up by a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seg_perception.core.errors import TrainingError
from seg_perception.evaluation.dataset import IGNORE

if TYPE_CHECKING:
    import albumentations as A

#: Steps by name, in their order, with their settings. ``p`` is the chance of a step.
DEFAULTS: dict[str, dict[str, float]] = {
    'flip': {'p': 0.5},
    # A small roll and stretch: other mountings, slopes and aspect ratios.
    'affine': {'p': 0.4, 'degrees': 4, 'stretch': 0.15},
    # Soft shapes (plants, tissue) gain by it; poles and kerbs do not.
    'elastic': {'p': 0.0, 'alpha': 40, 'sigma': 6},
    'colour': {'p': 0.8, 'brightness': 0.4, 'contrast': 0.4, 'saturation': 0.6, 'hue': 0.04},
    'gamma': {'p': 0.4, 'low': 60, 'high': 160},
    'rgb_shift': {'p': 0.3, 'red': 18, 'green': 12, 'blue': 18},
    'grey': {'p': 0.05},
    'blur': {'p': 0.2, 'gaussian': 5, 'motion': 7},
    'noise': {'p': 0.2, 'low': 0.01, 'high': 0.05},
    'jpeg': {'p': 0.3, 'low': 40, 'high': 95},
}


def augmentation_settings(changes: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return ``DEFAULTS`` with some settings changed.

    Args:
        changes: step -> its chance, or a mapping of its settings.

    Raises:
        TrainingError: an unknown step or setting, or a value that is no number or no chance.
    """
    if not isinstance(changes, Mapping):
        raise TrainingError(f'augmentation must map steps to settings, got {changes!r}')
    settings = {name: dict(values) for name, values in DEFAULTS.items()}
    for name, wanted in changes.items():
        if name not in settings:
            raise TrainingError(f'augmentation: no step {name!r}; known: {", ".join(DEFAULTS)}')
        values = dict(wanted) if isinstance(wanted, Mapping) else {'p': wanted}
        for key, value in values.items():
            if key not in settings[name]:
                known = ', '.join(settings[name])
                raise TrainingError(f'augmentation: {name} has no {key!r}; known: {known}')
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise TrainingError(f'augmentation: {name}.{key} must be >= 0, got {value!r}')
        settings[name].update(values)
        if settings[name]['p'] > 1:
            raise TrainingError(f'augmentation: {name} has a chance of {settings[name]["p"]} > 1')
    return settings


def training_augmentation(
    height: int,
    width: int,
    scale: tuple[float, float],
    changes: Mapping[str, Any] | None = None,
) -> A.Compose:
    """Return the training augmentation: scale, crop, flip, and what differs between cameras.

    Colour, gamma, blur, noise and JPEG stand for another sensor, exposure and compression;
    they come after the crop, where they are cheap. What is moved into the picture from outside
    is labelled 255.

    Args:
        height, width: crop size in pixels.
        scale: smallest and largest zoom of the picture before the crop.
        changes: to ``DEFAULTS``, see :func:`augmentation_settings`.

    Raises:
        TrainingError: unknown steps or settings.
    """
    import albumentations as A
    import cv2

    settings = augmentation_settings(changes or {})
    outside = {'border_mode': cv2.BORDER_CONSTANT, 'fill_mask': IGNORE}
    steps = [
        A.RandomScale(scale_limit=(scale[0] - 1, scale[1] - 1), p=1.0),
        A.PadIfNeeded(height, width, position='random', **outside),
        A.RandomCrop(height, width),
    ]
    for name, values in settings.items():
        values = dict(values)
        p = values.pop('p')
        # A step without a chance is left out: it would still draw random numbers.
        if p > 0:
            steps.append(_step(name, p, values, outside))
    return A.Compose(steps)


def _step(name: str, p: float, s: dict[str, float], outside: dict[str, Any]) -> Any:
    """Return one step; ``s`` are its settings."""
    import albumentations as A

    def around_one(amount: float) -> tuple[float, float]:
        return max(1 - amount, 0.0), 1 + amount

    makers = {
        'flip': lambda: A.HorizontalFlip(p=p),
        'affine': lambda: A.Affine(
            rotate=(-s['degrees'], s['degrees']),
            scale={'x': around_one(s['stretch']), 'y': around_one(s['stretch'])},
            p=p,
            **outside,
        ),
        'elastic': lambda: A.ElasticTransform(alpha=s['alpha'], sigma=s['sigma'], p=p, **outside),
        'colour': lambda: A.ColorJitter(
            brightness=around_one(s['brightness']),
            contrast=around_one(s['contrast']),
            saturation=around_one(s['saturation']),
            hue=s['hue'],
            p=p,
        ),
        'gamma': lambda: A.RandomGamma(gamma_limit=(s['low'], s['high']), p=p),
        'rgb_shift': lambda: A.RGBShift(s['red'], s['green'], s['blue'], p=p),
        'grey': lambda: A.ToGray(p=p),
        'blur': lambda: A.OneOf(
            [
                A.GaussianBlur(blur_limit=(3, int(s['gaussian']))),
                A.MotionBlur(blur_limit=(3, int(s['motion']))),
            ],
            p=p,
        ),
        'noise': lambda: A.GaussNoise(std_range=(s['low'], s['high']), p=p),
        'jpeg': lambda: A.ImageCompression(quality_range=(int(s['low']), int(s['high'])), p=p),
    }
    try:
        return makers[name]()
    except (ValueError, TypeError) as error:
        raise TrainingError(f'augmentation: {name}: {error}') from error
