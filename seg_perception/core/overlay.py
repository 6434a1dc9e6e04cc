"""Pictures for people: masks in colour, masks over pictures, grids from above."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.core.results import UNLABELLED

_UNKNOWN_RGB = (96, 96, 104)
_FREE_RGB = (222, 240, 222)
_OCCUPIED_RGB = (176, 24, 32)


def colorize(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint a mask.

    Args:
        labels: uint8 [h, w], class ids.
        palette: uint8 [256, 3], RGB (``LabelSet.palette()``).

    Returns:
        uint8 [h, w, 3], RGB.
    """
    return cv2.applyColorMap(labels, palette.reshape(256, 1, 3))


def blend(
    image_rgb: np.ndarray, labels: np.ndarray, palette: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
    """Lay a mask over the picture it was made from; unlabelled pixels stay as they are.

    Args:
        image_rgb: uint8 [H, W, 3], RGB (or BGR, if the palette is BGR too).
        labels: uint8 [h, w], class ids; resized to the picture, ids never mixed.
        palette: uint8 [256, 3], in the picture's colour order.
        alpha: weight of the mask, 0..1.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    size = image_rgb.shape[1], image_rgb.shape[0]
    if labels.shape != image_rgb.shape[:2]:
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    mixed = cv2.addWeighted(image_rgb, 1.0 - alpha, colorize(labels, palette), alpha, 0.0)
    unlabelled = labels == UNLABELLED
    if unlabelled.any():
        cv2.copyTo(image_rgb, unlabelled.view(np.uint8), mixed)
    return mixed


def draw_grid(cells: np.ndarray, scale: int = 4) -> np.ndarray:
    """Draw a grid from above: x forward is up, y left is left.

    Args:
        cells: int8 [height, width] as in ``GridSpec``: -1 unknown, 0 free .. 100 occupied.
        scale: side of a cell in pixels.

    Returns:
        uint8 [width * scale, height * scale, 3], RGB: grey unknown, pale free, red occupied
        and shades between for costs.
    """
    from_above = np.ascontiguousarray(cells.T[::-1, ::-1]).view(np.uint8)
    small = colorize(from_above, _grid_palette())
    size = small.shape[1] * scale, small.shape[0] * scale
    return cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)


def _grid_palette() -> np.ndarray:
    """Colours by the byte of a cell: 0..100 are costs, all else (-1 is 255) is unknown."""
    palette = np.empty((256, 3), np.uint8)
    palette[:] = _UNKNOWN_RGB
    share = np.linspace(0.0, 1.0, 101)[:, None]
    palette[:101] = np.rint((1 - share) * _FREE_RGB + share * np.array(_OCCUPIED_RGB))
    return palette
