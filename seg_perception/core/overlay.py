"""Pictures for people: masks in colour, masks over pictures, grids from above."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from seg_perception.core.instances import Region
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


def id_colors(ids: np.ndarray) -> np.ndarray:
    """Return uint8 [N, 3], RGB: bright colours that differ between neighbouring ids."""
    # Golden-ratio steps round the colour wheel: no two ids in a row look alike.
    hue = (np.asarray(ids, np.float64) * 0.618034 % 1 * 180).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 200), np.full_like(hue, 255)], axis=-1)
    return cv2.cvtColor(hsv.reshape(1, -1, 3), cv2.COLOR_HSV2RGB).reshape(-1, 3)


def draw_objects(
    image_rgb: np.ndarray,
    regions: Sequence[Region],
    boxes: np.ndarray,
    ids: np.ndarray,
    texts: Sequence[str],
    alpha: float = 0.5,
) -> np.ndarray:
    """Draw objects over the picture they were found in: tinted pixels, box and a line of text.

    Args:
        image_rgb: uint8 [H, W, 3], RGB.
        regions: their pixels.
        boxes: float [N, 4], x1, y1, x2, y2 in pixels.
        ids: int [N], which decide the colours.
        texts: a line for each.
        alpha: weight of the colours, 0..1.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    picture = np.array(image_rgb)
    height, width = picture.shape[:2]
    colors = id_colors(ids) if len(ids) else np.zeros((0, 3), np.uint8)
    # The last is the least certain: it is drawn first.
    for region, box, color, text in reversed(
        list(zip(regions, boxes, colors, texts, strict=True))
    ):
        tone = tuple(int(c) for c in color)
        if region.mask.size:
            view = region.of(picture)
            flat = np.full_like(view, color)
            tinted = cv2.addWeighted(view, 1.0 - alpha, flat, alpha, 0.0)
            cv2.copyTo(tinted, region.mask.view(np.uint8), view)
        x1, y1, x2, y2 = (int(v) for v in np.clip(box, 0, [width, height, width, height]))
        cv2.rectangle(picture, (x1, y1), (x2, y2), tone, 1)
        cv2.putText(
            picture,
            text,
            (x1, max(y1 - 3, 10)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4,
            tone,
            1,
            cv2.LINE_AA,
        )
    return picture


def colorize_panoptic(ids: np.ndarray, class_colors: np.ndarray, step: int = 1000) -> np.ndarray:
    """Paint a panoptic map: the class' colour, each of its objects in a shade of its own.

    Args:
        ids: int32 [H, W], class * step + instance, -1 = void.
        class_colors: uint8 [256, 3], RGB per class (``LabelSet.palette()``).
        step: as above.

    Returns:
        uint8 [H, W, 3], RGB; void is black.
    """
    # By counting: sorting 720p takes 50 times as long.
    shifted = ids.ravel() + 1
    # Four channels, to be gathered as one number each.
    colors = np.zeros((int(shifted.max(initial=0)) + 1, 4), np.uint8)
    for value in np.flatnonzero(np.bincount(shifted)[1:]).tolist():
        label, instance = divmod(value, step)
        shade = 1.0 - 0.5 * (instance * 0.618034 % 1) if instance else 1.0
        colors[value + 1, :3] = np.rint(class_colors[label % 256] * shade)
    pixels = colors.view(np.uint32)[:, 0][shifted].view(np.uint8).reshape(*ids.shape, 4)
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
