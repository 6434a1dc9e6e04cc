"""Shapes of vehicles as outlines, and the atlas that paints their sides, top, front and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.simulation.noise import grain

ATLAS = 512
SIDE_ROWS, TOP_ROWS, END_ROWS = (0, 192), (192, 384), (384, 512)
PAINTS = [
    (196, 198, 202),
    (232, 232, 230),
    (30, 32, 36),
    (96, 100, 106),
    (150, 30, 34),
    (32, 58, 110),
    (60, 84, 66),
    (150, 150, 148),
    (180, 150, 90),
    (84, 120, 160),
    (120, 40, 48),
    (48, 50, 58),
]


@dataclass(frozen=True)
class Outline:
    """A vehicle seen from the side.

    Attributes:
        length, width, height: m.
        top: (x, z) fractions of length (0 = rear) and height along the upper outline.
        belt: height fraction of the window line.
        panes: (x0, x1) fractions of each side window at the belt.
        wheels: x of the axles (fractions); wheel_radius m.
        screen, back_light: x ranges (fractions) of the front and rear screens on the outline.
        tumble: how far the sides lean in above the belt, m per m.
    """

    name: str
    length: float
    width: float
    height: float
    top: tuple[tuple[float, float], ...]
    belt: float
    panes: tuple[tuple[float, float], ...]
    wheels: tuple[float, ...]
    wheel_radius: float
    screen: tuple[float, float]
    back_light: tuple[float, float]
    tumble: float = 0.32


OUTLINES = (
    Outline(
        'hatchback', 3.95, 1.72, 1.47,
        ((0, 0.62), (0.015, 0.68), (0.05, 0.74), (0.12, 0.94), (0.2, 0.985), (0.4, 1.0),
         (0.52, 0.985), (0.6, 0.93), (0.76, 0.68), (0.86, 0.635), (0.97, 0.57), (1, 0.50)),
        0.64, ((0.13, 0.30), (0.33, 0.49), (0.51, 0.70)), (0.17, 0.80), 0.30,
        (0.60, 0.76), (0.05, 0.12),
    ),
    Outline(
        'saloon', 4.55, 1.78, 1.45,
        ((0, 0.62), (0.01, 0.67), (0.06, 0.69), (0.15, 0.70), (0.26, 0.93), (0.34, 0.99),
         (0.44, 1.0), (0.54, 0.985), (0.60, 0.94), (0.74, 0.69), (0.85, 0.645), (0.97, 0.57),
         (1, 0.50)),
        0.65, ((0.23, 0.29), (0.31, 0.46), (0.48, 0.68)), (0.19, 0.80), 0.31,
        (0.60, 0.74), (0.15, 0.26),
    ),
    Outline(
        'suv', 4.5, 1.86, 1.70,
        ((0, 0.60), (0.012, 0.65), (0.03, 0.68), (0.08, 0.94), (0.14, 0.985), (0.4, 1.0),
         (0.53, 0.985), (0.6, 0.94), (0.73, 0.69), (0.84, 0.655), (0.97, 0.60), (1, 0.52)),
        0.65, ((0.09, 0.25), (0.28, 0.46), (0.48, 0.67)), (0.18, 0.80), 0.36,
        (0.60, 0.73), (0.03, 0.08), 0.26,
    ),
    Outline(
        'estate', 4.6, 1.78, 1.50,
        ((0, 0.62), (0.012, 0.66), (0.03, 0.69), (0.09, 0.93), (0.15, 0.975), (0.4, 1.0),
         (0.52, 0.985), (0.58, 0.94), (0.72, 0.68), (0.84, 0.635), (0.97, 0.57), (1, 0.50)),
        0.64, ((0.08, 0.25), (0.28, 0.44), (0.46, 0.66)), (0.18, 0.79), 0.31,
        (0.58, 0.72), (0.03, 0.09),
    ),
    Outline(
        'van', 5.3, 1.98, 2.25,
        ((0, 0.9), (0.005, 0.96), (0.03, 0.99), (0.3, 1.0), (0.66, 1.0), (0.74, 0.95),
         (0.87, 0.60), (0.92, 0.55), (0.98, 0.47), (1, 0.36)),
        0.56, ((0.68, 0.82),), (0.18, 0.80), 0.34, (0.74, 0.87), (0.0, 0.0), 0.10,
    ),
    Outline(
        'bus', 10.8, 2.5, 3.05,
        ((0, 0.9), (0.004, 0.97), (0.02, 1.0), (0.5, 1.0), (0.97, 1.0), (0.988, 0.96),
         (0.998, 0.5), (1, 0.3)),
        0.44, ((0.03, 0.15), (0.16, 0.29), (0.30, 0.43), (0.44, 0.57), (0.58, 0.71),
               (0.72, 0.84), (0.86, 0.97)),
        (0.24, 0.78), 0.48, (0.0, 0.0), (0.0, 0.0), 0.03,
    ),
)  # fmt: skip


def top_at(outline: Outline, x: np.ndarray) -> np.ndarray:
    """Return the outline's height fraction at x fractions of the length."""
    xs, zs = np.array(outline.top).T
    return np.interp(x, xs, zs)


def _glass_tone(shape: tuple[int, int]) -> np.ndarray:
    """Return tinted glass that reflects the sky towards its top edge; float32 [h,w,3]."""
    y = np.linspace(1, 0, shape[0], dtype=np.float32)[:, None]
    tone = 26 + 62 * y**1.6 + np.zeros(shape, np.float32)
    return np.dstack([tone * 0.9, tone, tone * 1.08])


def _paint_side(atlas: np.ndarray, o: Outline, paint: np.ndarray, bus: bool) -> None:
    rows = SIDE_ROWS[1]
    view = atlas[:rows]

    def px(x: float, z: float) -> tuple[int, int]:
        return round(x * (ATLAS - 1)), round((1 - z) * (rows - 1))

    z = np.linspace(1, 0, rows, dtype=np.float32)
    shade = (
        0.86
        + 0.18 * np.clip(1 - abs(z - o.belt * 0.93) * 9, 0, 1)
        - 0.25 * np.clip(0.33 - z, 0, 1)
    )
    view[:] = paint * shade[:, None, None]
    view[z < 0.17] = (34, 34, 36)
    if bus:
        view[(z > 0.17) & (z < 0.30)] = (228, 226, 220)
    # Windows follow the upper outline, kept off by a frame.
    glass = np.zeros(view.shape[:2], np.uint8)
    for x0, x1 in o.panes:
        xs = np.linspace(x0 - 0.02, x1 + 0.02, 16)
        roof = np.minimum(top_at(o, xs) - 0.075, 0.91 if not bus else 0.84)
        upper = [px(x, max(zz, o.belt + 0.015)) for x, zz in zip(xs, roof, strict=True)]
        pane = np.array([px(x1, o.belt + 0.015), px(x0, o.belt + 0.015), *upper], np.int32)
        mask = np.zeros_like(glass)
        cv2.fillPoly(mask, [pane], 255)
        left, right = px(x0, 0)[0], px(x1, 0)[0]
        mask[:, :left] = 0
        mask[:, right:] = 0
        glass |= mask
    frame = cv2.dilate(glass, np.ones((5, 5), np.uint8)) > glass
    view[frame] = (22, 22, 24)
    top_row, bottom_row = px(0, 0.97)[1], px(0, o.belt)[1]
    tone = np.zeros_like(view)
    tone[top_row:bottom_row] = _glass_tone((bottom_row - top_row, ATLAS))
    view[glass > 0] = tone[glass > 0]
    seams = sorted({(a[1] + b[0]) / 2 for a, b in zip(o.panes, o.panes[1:], strict=False)})
    seams += [o.panes[0][0] + 0.02, o.panes[-1][1] + 0.02]
    for x in [] if bus else seams:
        cv2.line(view, px(x, o.belt), px(x, 0.2), tuple((paint * 0.5).tolist()), 1)
        cv2.line(view, px(x + 0.012, 0.57 * o.belt / 0.64), px(x + 0.05, 0.57 * o.belt / 0.64),
                 (40, 40, 42), 2)  # fmt: skip
    for x in o.wheels:
        radius = o.wheel_radius * 1.14
        axes = (round(radius / o.length * ATLAS), round(radius / o.height * rows))
        cv2.ellipse(view, px(x, o.wheel_radius / o.height), axes, 0, 0, 360, (14, 14, 15), -1)
    lamp = px(0.05, 0)[0]
    view[px(0, 0.60)[1] : px(0, 0.50)[1], :lamp] = (150, 18, 20)
    view[px(0, 0.52)[1] : px(0, 0.44)[1], -lamp:] = (222, 226, 230)


def _paint_top(atlas: np.ndarray, o: Outline, paint: np.ndarray) -> None:
    view = atlas[slice(*TOP_ROWS)]
    view[:] = paint * 1.05
    height = view.shape[0]
    for (x0, x1), inset in ((o.screen, 0.1), (o.back_light, 0.14)):
        a, b = round(x0 * ATLAS) + 1, round(x1 * ATLAS) - 1
        if b <= a:
            continue
        rows = slice(round(height * inset), round(height * (1 - inset)))
        ramp = np.linspace(0, 1, b - a, dtype=np.float32)
        if x0 < 0.3:
            ramp = 1 - ramp
        # Screens mirror the sky most where they are flattest to the eye: near the roof.
        tone = 40 + 60 * (1 - ramp)
        view[rows, a:b] = np.dstack([tone * 0.92, tone, tone * 1.07])
    if o.screen[1] > 0:
        x = round((o.screen[1] + 0.015) * ATLAS)
        view[:, x : x + 2] *= 0.55


def _paint_ends(atlas: np.ndarray, o: Outline, paint: np.ndarray, rng, bus: bool) -> None:
    rows, columns = END_ROWS[1] - END_ROWS[0], ATLAS // 2
    for front in (True, False):
        view = np.empty((rows, columns, 3), np.float32)
        z = np.linspace(1, 0, rows, dtype=np.float32)
        view[:] = paint * (0.8 + 0.25 * z)[:, None, None]

        def band(z0, z1, y0, y1, color, view=view):
            r0, r1 = round((1 - z1) * rows), round((1 - z0) * rows)
            view[r0:r1, round(y0 * columns) : round(y1 * columns)] = color

        band(0, 0.18, 0, 1, (30, 30, 32))
        tall = o.height > 2
        if tall and not bus and not front:
            band(0.55, 0.86, 0.1, 0.47, (40, 44, 50))
            band(0.55, 0.86, 0.53, 0.9, (40, 44, 50))
            view[:, columns // 2 - 1 : columns // 2 + 1] *= 0.4
        if bus:
            band(0.38 if front else 0.5, 0.86, 0.05, 0.95, (44, 50, 56))
            band(0.89, 0.97, 0.2, 0.8, (16, 16, 16))
            band(0.905, 0.955, 0.3, 0.7, (230, 160, 40))
        low = 0.20 if tall else 0.34
        if front:
            band(low, low + 0.10, 0.32, 0.68, (24, 24, 26))
            band(low + 0.045, low + 0.055, 0.32, 0.68, (150, 152, 156))
            band(0.19, 0.26, 0.14, 0.86, (30, 30, 32))
            for y in (0.05, 0.75):
                band(low + 0.025, low + 0.13, y, y + 0.20, (44, 46, 50))
                band(low + 0.04, low + 0.115, y + 0.02, y + 0.18, (206, 212, 218))
                band(low + 0.055, low + 0.10, y + 0.06, y + 0.11, (250, 250, 250))
        else:
            for y in (0.02, 0.82):
                band(low + 0.06, low + 0.26, y, y + 0.16, (148, 16, 20))
                band(low + 0.20, low + 0.255, y + 0.01, y + 0.15, (196, 40, 36))
                band(low + 0.06, low + 0.10, y, y + 0.16, (206, 186, 176))
            band(0.18, 0.235, 0, 1, paint * 0.55)
        plate = (238, 238, 236) if rng.random() < 0.6 else (232, 200, 60)
        band(0.27, 0.345, 0.36, 0.64, plate)
        for k in range(7):
            band(0.285, 0.33, 0.385 + 0.034 * k, 0.405 + 0.034 * k, (30, 30, 34))
        start = 0 if front else columns
        atlas[END_ROWS[0] : END_ROWS[1], start : start + columns] = view


def vehicle(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return the atlas of vehicle ``variant = outline * 100 + paint``; uint8 [512,512,3]."""
    outline = OUTLINES[variant // 100]
    paint = np.array(PAINTS[variant % 100 % len(PAINTS)], np.float32)
    bus = outline.name == 'bus'
    atlas = np.zeros((ATLAS, ATLAS, 3), np.float32)
    _paint_side(atlas, outline, paint, bus)
    _paint_top(atlas, outline, paint)
    _paint_ends(atlas, outline, paint, rng, bus)
    atlas *= 1 + 0.015 * grain(rng, ATLAS, 2.0)[..., None]
    return np.clip(atlas, 0, 255).astype(np.uint8)
