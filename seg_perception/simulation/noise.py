"""Seeded, seamlessly tiling noise for procedural textures."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np


def value_noise(rng: np.random.Generator, size: int, cells: int, cells_y: int = 0) -> np.ndarray:
    """Return smooth noise float32 [size,size] in about -1..1 that tiles in both directions."""
    rows = cells_y or cells
    coarse = rng.uniform(-1, 1, (rows, cells)).astype(np.float32)
    if max(rows, cells) >= size:
        return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_AREA)
    # Padded by whole periods' worth of pixels, so that the picture tiles exactly.
    px, py = cells // math.gcd(cells, size), rows // math.gcd(rows, size)
    while px < 2:
        px *= 2
    while py < 2:
        py *= 2
    wrapped = np.pad(coarse, ((py, py), (px, px)), mode='wrap')
    width = wrapped.shape[1] * size // cells
    height = wrapped.shape[0] * size // rows
    large = cv2.resize(wrapped, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = px * size // cells, py * size // rows
    return large[y : y + size, x : x + size]


def fractal(
    rng: np.random.Generator, size: int, cells: int, octaves: int = 4, gain: float = 0.55
) -> np.ndarray:
    """Return a sum of octaves of tiling noise, float32 [size,size], about -1..1."""
    # Smooth noise is made no larger than its finest octave needs.
    small = size
    while small > 64 and small >= 8 * (cells << octaves):
        small //= 2
    total = np.zeros((small, small), np.float32)
    weight, norm = 1.0, 0.0
    for octave in range(octaves):
        count = min(cells << octave, small)
        total += weight * value_noise(rng, small, count)
        norm += weight
        weight *= gain
    return enlarge(total / norm, size)


def enlarge(tile: np.ndarray, size: int) -> np.ndarray:
    """Return a tiling picture [n,n] enlarged to [size,size], still tiling."""
    if len(tile) == size:
        return tile
    k = size // len(tile)
    wrapped = np.pad(tile, 2, mode='wrap')
    large = cv2.resize(wrapped, None, fx=k, fy=k, interpolation=cv2.INTER_LINEAR)
    return large[2 * k : 2 * k + size, 2 * k : 2 * k + size]


@lru_cache(maxsize=16)
def _grain_tile(sigma: float) -> np.ndarray:
    noise = np.random.default_rng(int(1000 * sigma)).standard_normal((512, 512))
    noise = noise.astype(np.float32)
    if sigma > 0:
        wrapped = np.pad(noise, 16, mode='wrap')
        noise = cv2.GaussianBlur(wrapped, (0, 0), sigma)[16:-16, 16:-16]
    return noise / noise.std()


def grain(rng: np.random.Generator, size: int, sigma: float = 1.0) -> np.ndarray:
    """Return fine grain of unit deviation, float32 [size,size]; sizes of 512 and more tile."""
    tile = np.roll(_grain_tile(sigma), rng.integers(0, 512, 2), (0, 1))
    if size > 512:
        tile = np.tile(tile, (size // 512, size // 512))
    return tile[:size, :size].copy()


def to_rgb(value: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """Return uint8 [h,w,3]: a grey field (1 = the colour itself) times a colour 0..255."""
    grey = np.ascontiguousarray(value, np.float32)
    return cv2.merge([cv2.convertScaleAbs(np.maximum(grey, 0), alpha=float(c)) for c in color])
