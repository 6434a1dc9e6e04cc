"""The bank of procedural textures, by name, made once and kept.

A name is ``kind`` or ``kind:variant``; the same name is the same picture in every scene, which
makes rendering thousands of scenes affordable and keeps them reproducible.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from seg_perception.simulation import ground_textures as ground
from seg_perception.simulation import wall_textures as walls
from seg_perception.simulation.vehicle_textures import vehicle

_PLAIN: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    'asphalt': ground.asphalt,
    'paving': ground.paving,
    'grass': ground.grass,
    'kerb': ground.kerb,
    'paint': lambda rng: ground.worn_paint(rng, (226, 226, 222)),
    'paint_yellow': lambda rng: ground.worn_paint(rng, (220, 178, 60)),
    'patch': ground.patch,
    'crack': ground.crack,
    'manhole': ground.manhole,
    'blob': ground.blob,
    'arrow': ground.arrow,
    'treeline': walls.treeline,
    'railing': walls.railing,
    'planks': walls.planks,
    'white': lambda rng: np.full((4, 4, 3), 255, np.uint8),
}
_VARIED: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    'roof': lambda rng, variant: walls.roof(rng),
    'wall': walls.wall,
    'facade': walls.facade,
    'shop': walls.shop,
    'house': walls.house,
    'leaves': walls.leaves,
    'hedge': walls.hedge,
    'branches': walls.branches,
    'sign': walls.sign,
    'sky': walls.sky,
    'vehicle': vehicle,
}


@lru_cache(maxsize=160)
def texture(name: str) -> np.ndarray:
    """Return the named texture, uint8 [h,w,3 or 4] RGB(A), sides powers of two, row 0 on top.

    Raises:
        KeyError: no such kind of texture.
    """
    kind, _, tail = name.partition(':')
    variant = int(tail or 0)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    image = _PLAIN[kind](rng) if kind in _PLAIN else _VARIED[kind](rng, variant)
    image.setflags(write=False)
    return image


@lru_cache(maxsize=64)
def silhouette(name: str) -> np.ndarray:
    """Return where a cut-out texture counts as its class, uint8 alpha [h,w], 0 or 255.

    Labels of real street pictures fill the gaps between twigs and between a fence's bars.
    """
    alpha = texture(name)[..., 3]
    kind = name.partition(':')[0]
    if kind == 'railing':
        return np.full_like(alpha, 255)
    if kind == 'branches':
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
        soft = (cv2.GaussianBlur(alpha, (0, 0), 4) > 26).astype(np.uint8) * 255
        alpha = cv2.morphologyEx(soft | alpha, cv2.MORPH_CLOSE, kernel)
    return np.where(alpha > 127, 255, 0).astype(np.uint8)
