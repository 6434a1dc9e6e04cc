"""Procedural textures of what lies on the ground: asphalt, paving, grass, paint, wear."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.simulation.noise import fractal, grain, to_rgb, value_noise


def asphalt(rng: np.random.Generator) -> np.ndarray:
    """Return 4 m of asphalt: stones, bitumen, faint blotches; uint8 [512,512,3]."""
    size = 512
    stones = grain(rng, size, 0.0) * 0.06 + grain(rng, size, 0.7) * 0.05
    bright = np.clip(grain(rng, size, 0.6) - 2.0, 0, 1.5) * 0.2
    blotch = fractal(rng, size, 4, 3) * 0.08 + grain(rng, size, 2.2) * 0.012
    base = 0.80 + stones + bright + blotch
    warm = rng.uniform(-4, 5)
    return to_rgb(base, (182 + warm, 182, 184 - warm))


def paving(rng: np.random.Generator) -> np.ndarray:
    """Return 2.4 m of pavement, slabs, bricks or poured; uint8 [512,512,3]."""
    size = 512
    base = 0.83 + grain(rng, size, 0.8) * 0.035 + fractal(rng, size, 4, 4) * 0.09
    kind = rng.integers(3)
    columns, rows = ((4, 4), (12, 24), (1, 2))[kind]
    shade = np.zeros((size, size), np.float32)
    joints, thick = np.zeros((size, size), np.uint8), 3 if kind == 0 else 2
    for r in range(rows):
        y0, y1 = r * size // rows, (r + 1) * size // rows
        shift = (r % 2) * (size // columns) // 2 if kind else 0
        for c in range(columns):
            x0, x1 = c * size // columns + shift, (c + 1) * size // columns + shift
            value = rng.normal(0, 0.05 if kind < 2 else 0.02)
            shade[y0:y1, x0 : min(x1, size)] += value
            if x1 > size:
                shade[y0:y1, : x1 - size] += value
            joints[y0:y1, x0 % size + 1 : x0 % size + 1 + thick] = 255
        joints[y0 + 1 : y0 + 1 + thick] = 255
    dark = np.pad(joints, 8, mode='wrap')
    dark = cv2.GaussianBlur(dark, (0, 0), 0.9)[8:-8, 8:-8].astype(np.float32) / 255
    gum = np.clip(value_noise(rng, size, 64) - 0.93, 0, 0.1) * 2
    value = (base + shade - gum) * (1 - 0.45 * dark)
    tone = [(214, 208, 198), (196, 150, 128), (205, 203, 200)][kind]
    if kind == 1 and rng.random() < 0.5:
        tone = (190, 186, 180)
    return to_rgb(value, tone)


def grass(rng: np.random.Generator) -> np.ndarray:
    """Return 4 m of grass; uint8 [512,512,3]."""
    size = 512
    blades = np.pad(rng.standard_normal((size, size)).astype(np.float32), 16, mode='wrap')
    blades = cv2.GaussianBlur(blades, (0, 0), sigmaX=0.7, sigmaY=2.0)[16:-16, 16:-16]
    blades /= blades.std()
    value = 0.72 + 0.09 * blades + 0.13 * fractal(rng, size, 6, 5)
    rgb = to_rgb(value, (112, 128, 68)).astype(np.float32)
    dry = np.clip(fractal(rng, size, 3, 5) * 1.6 - rng.uniform(0, 0.5), 0, 1)[..., None]
    rgb = rgb * (1 - 0.6 * dry) + 0.6 * dry * to_rgb(value, (168, 152, 100))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def kerb(rng: np.random.Generator) -> np.ndarray:
    """Return kerb stones, 2 m along v; uint8 [256,256,3]."""
    size = 256
    value = 0.85 + grain(rng, size, 0.8) * 0.05 + fractal(rng, size, 3, 4) * 0.1
    for row in (0, 128):
        value[row : row + 3] *= 0.55
    return to_rgb(value, (206, 203, 198))


def worn_paint(rng: np.random.Generator, color: tuple[float, float, float]) -> np.ndarray:
    """Return road paint with worn-off flecks in alpha; uint8 [256,256,4]."""
    size = 256
    value = 0.93 + grain(rng, size, 1.0) * 0.03 + fractal(rng, size, 4, 4) * 0.06
    wear = fractal(rng, size, 6, 5) + 0.35 * grain(rng, size, 0.8) / 2
    alpha = np.clip((0.42 - wear) * 4.0, 0.12, 1.0)
    return np.dstack([to_rgb(value, color), (alpha * 235).astype(np.uint8)])


def patch(rng: np.random.Generator) -> np.ndarray:
    """Return a repair in the asphalt with a tarred rim, alpha outside; uint8 [256,256,4]."""
    size = 256
    value = 0.62 + 0.06 * grain(rng, size, 0.8) + fractal(rng, size, 3, 3) * 0.05
    alpha = np.full((size, size), 0.62, np.float32)
    border = 10
    rim = np.ones((size, size), bool)
    rim[border:-border, border:-border] = False
    value[rim] *= 0.6
    edge = 4
    hole = np.ones((size, size), bool)
    hole[edge:-edge, edge:-edge] = False
    alpha[hole] = 0
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2.0)
    return np.dstack([to_rgb(value, (150, 150, 152)), (alpha * 255).astype(np.uint8)])


def crack(rng: np.random.Generator) -> np.ndarray:
    """Return a few sealed cracks wandering along v; uint8 [256,256,4]."""
    size = 256
    alpha = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        x, heading = rng.uniform(0.25, 0.75) * size, rng.normal(0, 0.4)
        points = []
        for y in range(0, size + 8, 8):
            heading = 0.85 * heading + rng.normal(0, 0.35)
            x += heading * 8
            points.append((x, y))
        line = np.array(points, np.float32).round().astype(np.int32)
        cv2.polylines(alpha, [line], False, 210, int(rng.integers(1, 4)), cv2.LINE_AA)
    alpha[:, :3] = 0
    alpha[:, -3:] = 0
    rgb = np.full((size, size, 3), 46, np.uint8)
    return np.dstack([rgb, cv2.GaussianBlur(alpha, (0, 0), 0.8)])


def manhole(rng: np.random.Generator) -> np.ndarray:
    """Return a round or square cast-iron cover; uint8 [128,128,4]."""
    size, round_one = 128, rng.random() < 0.6
    alpha = np.zeros((size, size), np.uint8)
    value = np.full((size, size), 0.5, np.float32)
    if round_one:
        cv2.circle(alpha, (64, 64), 60, 255, -1, cv2.LINE_AA)
        cv2.circle(value, (64, 64), 53, 0.3, 3, cv2.LINE_AA)
    else:
        cv2.rectangle(alpha, (4, 14), (123, 113), 255, -1)
        cv2.rectangle(value, (9, 19), (118, 108), 0.3, 3)
    for k in range(24, 108, 12):
        cv2.line(value, (22, k), (106, k), 0.36, 3)
        cv2.line(value, (k, 22), (k, 106), 0.42, 2)
    value += 0.05 * grain(rng, size, 0.8)
    return np.dstack([to_rgb(value, (170, 166, 160)), alpha])


def blob(rng: np.random.Generator) -> np.ndarray:
    """Return a soft dark rectangle, the contact shadow under a thing; uint8 [128,128,4]."""
    del rng
    size = 128
    alpha = np.zeros((size, size), np.float32)
    alpha[30:-30, 30:-30] = 1.0
    alpha = cv2.GaussianBlur(alpha, (0, 0), 11)
    alpha[[0, -1]] = 0
    alpha[:, [0, -1]] = 0
    rgb = np.full((size, size, 3), 12, np.uint8)
    return np.dstack([rgb, (alpha * 225).astype(np.uint8)])


def arrow(rng: np.random.Generator) -> np.ndarray:
    """Return a painted straight-ahead arrow, its tip at large v; uint8 [256,128,4]."""
    size = (256, 128)
    shape = np.zeros(size, np.uint8)
    cv2.rectangle(shape, (56, 90), (72, 250), 255, -1)
    cv2.fillPoly(shape, [np.array([[64, 6], [98, 100], [30, 100]], np.int32)], 255, cv2.LINE_AA)
    paint = cv2.resize(worn_paint(rng, (228, 228, 224)), size[::-1])
    paint[..., 3] = (paint[..., 3].astype(np.uint16) * shape // 255).astype(np.uint8)
    return paint
