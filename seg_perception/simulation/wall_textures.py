"""Procedural textures of what stands: facades, shops, roofs, leaves, branches, signs, fences."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.simulation.noise import enlarge, fractal, grain, to_rgb, value_noise

WALLS = [
    ('brick', (150, 92, 72)),
    ('brick', (172, 128, 92)),
    ('brick', (196, 172, 132)),
    ('brick', (120, 84, 74)),
    ('plaster', (226, 220, 206)),
    ('plaster', (214, 196, 164)),
    ('plaster', (186, 192, 198)),
    ('plaster', (224, 200, 178)),
    ('stone', (196, 186, 166)),
    ('stone', (170, 168, 164)),
    ('panel', (178, 184, 190)),
    ('panel', (150, 142, 136)),
]
"""Material and colour of each facade variant; a wall and its facade share the variant."""
BAY = 256


def wall(rng: np.random.Generator, variant: int, size: int = 1024) -> np.ndarray:
    """Return 12 m of bare wall; uint8 [size,size,3]."""
    kind, color = WALLS[variant % len(WALLS)]
    value = 0.86 + grain(rng, size, 0.8) * 0.03 + fractal(rng, size, 4, 5) * 0.10
    if kind == 'brick':
        course = max(size // 128, 4)
        rows = np.arange(size) // course
        columns = (np.arange(size)[None, :] + (rows % 2)[:, None] * course) // (course * 2)
        tone = rng.normal(0, 0.085, (size // course + 1, size // course + 2)).astype(np.float32)
        value += tone[rows[:, None] % len(tone), columns % tone.shape[1]]
        value[np.arange(size) % course == 0] += 0.10
    elif kind == 'stone':
        course = size // 24
        rows = np.arange(size) // course
        columns = (np.arange(size)[None, :] + (rows % 2)[:, None] * course) // (course * 2)
        tone = rng.normal(0, 0.06, (26, 26)).astype(np.float32)
        value += tone[rows[:, None] % 26, columns % 26]
        value[np.arange(size) % course < 2] -= 0.16
    elif kind == 'panel':
        value = 0.9 + fractal(rng, size, 3, 3) * 0.04
        value[np.arange(size) % (size // 4) < 3] -= 0.2
        value[:, np.arange(size) % (size // 4) < 3] -= 0.2
    # Rain streaks: long vertical noise.
    streak = cv2.GaussianBlur(enlarge(value_noise(rng, 256, 64, 4), size), (0, 0), 1.5)
    value -= np.clip(streak, 0, 1) * 0.06
    jitter = rng.uniform(-10, 10, 3)
    return to_rgb(value, tuple(np.clip(np.array(color) + jitter, 0, 255)))


def _glass(rng: np.random.Generator, h: int, w: int, blinds: bool = True) -> np.ndarray:
    """Return a dark pane reflecting sky above and street below; float32 [h,w,3]."""
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    tone = rng.uniform(0.6, 1.2)
    pane = 34 + (70 * tone) * np.clip(1 - 1.4 * y, 0, 1) + np.zeros((h, w), np.float32)
    slant = np.linspace(0, 1, w, dtype=np.float32)[None] + y
    pane += 26 * tone * ((slant > rng.uniform(0.3, 0.8)) & (slant < rng.uniform(0.9, 1.5)))
    rgb = np.dstack([pane * 0.88, pane * 0.97, pane * 1.1])
    if blinds and rng.random() < 0.45:
        cloth = np.array(rng.choice([(214, 208, 196), (180, 168, 150), (230, 230, 226)]))
        drop = int(h * rng.uniform(0.15, 0.9))
        if rng.random() < 0.5:
            rgb[:drop] = cloth * rng.uniform(0.55, 0.85)
        else:
            side = int(w * rng.uniform(0.12, 0.3))
            folds = 0.6 + 0.12 * np.sin(np.arange(side) * 1.1)[None, :, None]
            rgb[:, :side] = cloth * folds
            rgb[:, -side:] = cloth * folds[:, ::-1]
    return rgb


def _window(image, rng, x0, y0, x1, y1, frame, style) -> None:
    """Paint one window with reveal, frame, bars and sill into a float32 image."""
    h, w = y1 - y0, x1 - x0
    lintel = max(h // 14, 4)
    image[y0 - lintel : y0, x0 - 6 : x1 + 6] = image[y0 - lintel : y0, x0 - 6 : x1 + 6] * 0.6 + 70
    image[y0:y1, x0:x1] = np.array(frame)
    b = max(w // 18, 3)
    image[y0 + b : y1 - b, x0 + b : x1 - b] = _glass(rng, h - 2 * b, w - 2 * b)
    if style['cross'] == 1:
        image[y0:y1, (x0 + x1) // 2 - b // 2 : (x0 + x1) // 2 + b // 2 + 1] = frame
    if style['sash']:
        middle = y0 + int(h * style['sash'])
        image[middle - b // 2 : middle + b // 2 + 1, x0:x1] = frame
    # The reveal throws its shadow on the pane; the sill catches light and shades the wall.
    image[y0 : y0 + h // 12, x0:x1] *= 0.45
    image[y0:y1, x0 : x0 + w // 16] *= 0.6
    sill = max(h // 22, 4)
    image[y1 : y1 + sill, x0 - 8 : x1 + 8] = np.array(frame) * 0.92
    image[y1 + sill : y1 + 3 * sill, x0 - 4 : x1 + 4] *= 0.72


def facade(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return four bays by four storeys of wall with windows; uint8 [1024,1024,3]."""
    image = wall(rng, variant).astype(np.float32)
    kind = WALLS[variant % len(WALLS)][0]
    white = rng.random() < 0.7
    frame = (232, 232, 228) if white else rng.choice([(60, 62, 66), (96, 70, 52), (50, 70, 66)])
    style = {'cross': int(rng.integers(0, 2)), 'sash': rng.choice([0.0, 0.5, 0.3])}
    width = int(BAY * rng.uniform(0.36, 0.52))
    height = int(BAY * rng.uniform(0.48, 0.62))
    if kind == 'panel':
        width, height = int(BAY * 0.86), int(BAY * rng.uniform(0.45, 0.6))
    for row in range(4):
        band = row * BAY
        if kind in ('plaster', 'stone'):
            image[band : band + 8] = image[band : band + 8] * 0.5 + 115
            image[band + 8 : band + 14] *= 0.75
        for column in range(4):
            x0 = column * BAY + (BAY - width) // 2
            y0 = band + int(BAY * 0.22)
            _window(image, rng, x0, y0, x0 + width, y0 + height, np.array(frame), style)
    return np.clip(image, 0, 255).astype(np.uint8)


def shop(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return two shop fronts with fascia, 12 m by 3 m; uint8 [256,1024,3]."""
    image = cv2.resize(wall(rng, variant, 512), (1024, 1024))[:256].astype(np.float32)
    palette = [(34, 62, 98), (120, 30, 34), (30, 84, 60), (40, 40, 44), (196, 150, 44)]
    palette += [(226, 224, 218), (96, 50, 104), (24, 110, 150), (190, 86, 40)]
    for index in range(2):
        x0, x1 = index * 512 + 16, (index + 1) * 512 - 16
        color = np.array(palette[rng.integers(len(palette))], np.float32)
        image[36:248, x0:x1] = color * 0.8
        image[24:74, x0 - 8 : x1 + 8] = color
        image[74:82, x0 - 8 : x1 + 8] *= 0.4
        text = color * 0.15 if color.mean() > 120 else np.array([236.0, 232, 220])
        start = x0 + int(rng.integers(30, 120))
        for _ in range(int(rng.integers(6, 14))):
            # Letters: strokes that read as lettering from a car.
            advance = int(rng.integers(14, 26))
            for _ in range(3):
                a = (start + int(rng.integers(0, advance - 4)), int(rng.integers(36, 62)))
                b = (start + int(rng.integers(0, advance - 4)), int(rng.integers(36, 62)))
                cv2.line(image, a, b, tuple(text.tolist()), 4, cv2.LINE_AA)
            start += advance
        door = int(rng.integers(0, 3))
        panes = np.linspace(x0 + 12, x1 - 12, 5).astype(int)
        for k in range(4):
            left, right = panes[k] + 5, panes[k + 1] - 5
            bottom = 250 if k == door else 214
            glass = _glass(rng, bottom - 88, right - left, blinds=False)
            goods = fractal(rng, 128, 8, 3)[:64, :64]
            goods = cv2.resize(goods, (right - left, bottom - 88))
            glow = np.clip(goods, 0, 1)[..., None] * rng.uniform(60, 170, 3)
            image[88:bottom, left:right] = glass + glow * 0.8
    image[250:] *= 0.6
    return np.clip(image, 0, 255).astype(np.uint8)


def house(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return a dwelling's ground floor, four bays with doors, 12 m by 3 m; [256,1024,3]."""
    image = wall(rng, variant)[:256].astype(np.float32)
    frame = np.array((230, 230, 226) if rng.random() < 0.8 else (70, 66, 60))
    doors = [(120, 30, 30), (30, 60, 40), (34, 48, 84), (60, 44, 34), (210, 208, 200)]
    for column in range(4):
        x = column * BAY
        if column % 2 == rng.integers(2):
            x0, x1 = x + 84, x + 172
            image[40:256, x0 - 8 : x1 + 8] = frame * 0.95
            image[52:256, x0:x1] = np.array(doors[rng.integers(len(doors))])
            image[56:82, x0 + 6 : x1 - 6] = _glass(rng, 26, x1 - x0 - 12, False)
            for top in (100, 180):
                panel = slice(top, top + 60)
                image[panel, x0 + 12 : x1 - 12] *= 0.82
            image[40:58, x0:x1] *= 0.6
        else:
            style = {'cross': 1, 'sash': 0.35}
            _window(image, rng, x + 62, 62, x + 194, 196, frame, style)
    image[236:] *= 0.78
    return np.clip(image, 0, 255).astype(np.uint8)


def roof(rng: np.random.Generator) -> np.ndarray:
    """Return 6 m of tiles or slates; uint8 [512,512,3]."""
    size, course = 512, 24
    color = [(134, 76, 58), (96, 92, 94), (112, 88, 76), (84, 84, 92)][rng.integers(4)]
    value = 0.85 + grain(rng, size, 0.8) * 0.04 + fractal(rng, size, 3, 5) * 0.14
    rows = np.arange(size) // course
    columns = (np.arange(size)[None, :] + (rows % 2)[:, None] * 10) // 20
    tone = rng.normal(0, 0.07, (24, 28)).astype(np.float32)
    value += tone[rows[:, None] % 24, columns % 28]
    value[np.arange(size) % course < 4] *= 0.62
    return to_rgb(value, color)


def leaves(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return a clump of leaves with a ragged outline; uint8 [256,256,4]."""
    size = 256
    rgb = np.zeros((size, size, 3), np.uint8)
    alpha = np.zeros((size, size), np.uint8)
    greens = [(84, 108, 46), (104, 122, 52), (66, 92, 50), (122, 120, 50), (150, 112, 44)]
    green = np.array(greens[variant % len(greens)], np.float32)
    rgb[:] = (green * 0.5).astype(np.uint8)
    for k in range(420):
        angle, radius = rng.uniform(0, 2 * np.pi), size * 0.46 * np.sqrt(rng.random())
        lobes = 0.8 + 0.2 * np.sin(3 * angle + variant)
        centre = (
            int(size / 2 + radius * lobes * np.cos(angle)),
            int(size / 2 + radius * lobes * np.sin(angle)),
        )
        color = green * rng.uniform(0.45, 0.75 + 0.6 * k / 420) + rng.uniform(-8, 8, 3)
        color = tuple(np.clip(color, 0, 255).tolist())
        axes = (int(rng.integers(5, 11)), int(rng.integers(3, 6)))
        spin = float(rng.uniform(0, 180))
        cv2.ellipse(rgb, centre, axes, spin, 0, 360, color, -1)
        cv2.ellipse(alpha, centre, axes, spin, 0, 360, 255, -1)
    alpha[[0, 1, -2, -1]] = 0
    alpha[:, [0, 1, -2, -1]] = 0
    return np.dstack([rgb, alpha])


def treeline(rng: np.random.Generator) -> np.ndarray:
    """Return a distant wood that tiles along u, ragged on top; uint8 [128,512,4]."""
    width, height = 512, 128
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = (52, 62, 42)
    alpha = np.zeros((height, width), np.uint8)
    for k in range(260):
        x, top = int(rng.integers(width)), rng.uniform(0.05, 0.75)
        y = int(height * (0.08 + top))
        tone = rng.uniform(0.55, 1.0) * (0.7 + 0.4 * k / 260)
        color = np.clip(np.array([78, 88, 54]) * tone + rng.uniform(-6, 6, 3), 0, 255).tolist()
        axes = (int(rng.integers(8, 20)), int(rng.integers(7, 15)))
        for dx in (-width, 0, width):
            cv2.ellipse(rgb, (x + dx, y), axes, 0, 0, 360, color, -1)
            cv2.ellipse(alpha, (x + dx, y), axes, 0, 0, 360, 255, -1)
    alpha[height // 2 :] = 255
    alpha[:2] = 0
    return np.dstack([rgb, alpha])


def hedge(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return dense foliage that tiles, 2 m; uint8 [256,256,3]."""
    size = 256
    clump = leaves(rng, variant)
    mean = clump[..., :3][clump[..., 3] > 0].mean(axis=0)
    image = np.empty((size, size, 3), np.uint8)
    image[:] = (mean * 0.5).astype(np.uint8)
    for k in range(900):
        x, y = int(rng.integers(size)), int(rng.integers(size))
        color = np.clip(mean * rng.uniform(0.5, 0.8 + 0.6 * k / 900), 0, 255)
        axes, spin = (int(rng.integers(4, 8)), int(rng.integers(2, 5))), float(rng.uniform(0, 180))
        for dx in (-size, 0, size):
            for dy in (-size, 0, size):
                if -10 < x + dx < size + 10 and -10 < y + dy < size + 10:
                    cv2.ellipse(image, (x + dx, y + dy), axes, spin, 0, 360, color.tolist(), -1)
    return image


def branches(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return a leafless tree, trunk at the bottom middle; uint8 [512,512,4].

    The alpha of branches is their true coverage; the label pass uses a grown silhouette.
    """
    del variant
    size = 512
    alpha = np.zeros((size, size), np.uint8)
    stack = [(size / 2, size - 1.0, -np.pi / 2, size * rng.uniform(0.2, 0.27), 11.0, 0)]
    while stack:
        x, y, angle, length, width, depth = stack.pop()
        x1, y1 = x + length * np.cos(angle), y + length * np.sin(angle)
        cv2.line(
            alpha, (int(x), int(y)), (int(x1), int(y1)), 255, max(round(width), 1), cv2.LINE_AA
        )
        if depth >= 7 or length < 6:
            continue
        for _ in range(3 if depth in (1, 2, 3) else 2):
            turn = rng.normal(0, 0.42) + 0.05 * np.sin(angle)
            stack.append(
                (x1, y1, angle + turn, length * rng.uniform(0.62, 0.86), width * 0.66, depth + 1)
            )
    alpha[:4] = 0
    alpha[:, :4] = 0
    alpha[:, -4:] = 0
    value = 0.8 + 0.2 * grain(rng, size, 1.0)
    return np.dstack([to_rgb(value, (96, 84, 72)), alpha])


def railing(rng: np.random.Generator) -> np.ndarray:
    """Return a metre and a half of railings with gaps in alpha; uint8 [128,256,4]."""
    del rng
    alpha = np.zeros((128, 256), np.uint8)
    alpha[6:14] = 255
    alpha[108:116] = 255
    for x in range(6, 256, 16):
        alpha[:, x : x + 4] = 255
    alpha[:, :8] = 255
    rgb = np.full((128, 256, 3), 190, np.uint8)
    return np.dstack([rgb, alpha])


def planks(rng: np.random.Generator) -> np.ndarray:
    """Return 2 m of wooden fence; uint8 [256,256,3]."""
    size = 256
    value = 0.8 + 0.06 * grain(rng, size, 1.0)
    streak = value_noise(rng, size, 64, 3)
    tone = np.repeat(rng.normal(0, 0.1, 16), 16)[None].astype(np.float32)
    value = value + 0.08 * streak + tone
    value[:, ::16] *= 0.45
    value[:, 1::16] *= 0.7
    return to_rgb(value, (158, 118, 82))


def sign(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return a road sign's face, alpha outside; uint8 [256,256,4]."""
    rgb = np.full((256, 256, 3), 235, np.uint8)
    alpha = np.zeros((256, 256), np.uint8)
    red, blue, black = (190, 28, 36), (24, 70, 150), (24, 24, 26)
    kind = variant % 6
    if kind == 0:
        cv2.circle(alpha, (128, 128), 126, 255, -1, cv2.LINE_AA)
        cv2.circle(rgb, (128, 128), 108, red, 34, cv2.LINE_AA)
        number = str(rng.choice([20, 30, 40, 50]))
        cv2.putText(rgb, number, (62, 164), cv2.FONT_HERSHEY_DUPLEX, 3.2, black, 14, cv2.LINE_AA)
    elif kind == 1:
        points = np.array([[128, 8], [250, 226], [6, 226]], np.int32)
        cv2.fillPoly(alpha, [points], 255, cv2.LINE_AA)
        cv2.polylines(rgb, [points], True, red, 52, cv2.LINE_AA)
        cv2.line(rgb, (128, 96), (128, 160), black, 18)
        cv2.circle(rgb, (128, 188), 10, black, -1)
    elif kind == 2:
        cv2.circle(alpha, (128, 128), 126, 255, -1, cv2.LINE_AA)
        rgb[:] = blue
        cv2.arrowedLine(rgb, (128, 216), (128, 44), (240, 240, 240), 26, cv2.LINE_AA, 0, 0.35)
    elif kind == 3:
        angle = np.deg2rad(22.5 + 45 * np.arange(8))
        points = np.stack([128 + 126 * np.cos(angle), 128 + 126 * np.sin(angle)], 1)
        cv2.fillPoly(alpha, [points.astype(np.int32)], 255, cv2.LINE_AA)
        rgb[:] = red
        cv2.putText(rgb, 'STOP', (22, 154), cv2.FONT_HERSHEY_DUPLEX, 2.6, (245,) * 3, 10)
    elif kind == 4:
        alpha[4:252, 4:252] = 255
        rgb[:] = blue
        cv2.rectangle(rgb, (14, 14), (241, 241), (236, 236, 236), 8)
        cv2.putText(rgb, 'P', (70, 190), cv2.FONT_HERSHEY_DUPLEX, 5.4, (240,) * 3, 22)
    else:
        alpha[40:216] = 255
        rgb[:] = (20, 96, 60) if variant % 2 else (238, 238, 232)
        ink = (240, 240, 240) if variant % 2 else black
        cv2.rectangle(rgb, (8, 48), (247, 207), ink, 6)
        for y in (92, 138, 184):
            end = int(rng.integers(120, 220))
            cv2.line(rgb, (30, y), (end, y), ink, 14)
    return np.dstack([rgb, alpha])


def sky(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Return a sky, azimuth along u, zenith at v = 1; uint8 [512,1024,3].

    Variants by remainder of 4: clear, scattered clouds, bright overcast, dull overcast.
    """
    h, w = 512, 1024
    up = np.linspace(1, 0, h, dtype=np.float32)[:, None, None]
    kind = variant % 4
    zenith = np.array([(74, 124, 190), (86, 130, 186), (206, 212, 220), (142, 150, 160)][kind])
    horizon = np.array([(206, 220, 232), (214, 222, 230), (240, 240, 240), (196, 200, 204)][kind])
    blend = np.clip(up * 1.7, 0, 1) ** 0.6
    image = horizon * (1 - blend) + zenith * blend + np.zeros((h, w, 1), np.float32)
    noise = fractal(rng, 1024, 5, 6, 0.55)
    # Clouds lie in a plane: they flatten and crowd towards the horizon.
    rows = (np.clip(1.0 / (0.08 + up[:, 0, 0]), 0, 12.5) * 150).astype(int) % 1024
    field = noise[rows]
    cover, soft = [(0.42, 2.2), (0.08, 2.6), (-0.25, 1.2), (-0.2, 1.3)][kind]
    amount = np.clip((field - cover) * soft * 2, 0, 1)[..., None]
    amount *= np.clip(up * 9, 0, 1)
    lit = np.array([(250, 250, 250), (248, 248, 248), (252, 252, 252), (206, 208, 212)][kind])
    shaded = np.array([(196, 204, 214), (176, 184, 196), (208, 212, 218), (132, 138, 146)][kind])
    depth = np.clip((np.roll(field, -14, 0) - cover) * 1.6, 0, 1)[..., None]
    image = image * (1 - amount) + amount * (lit * (1 - depth) + shaded * depth)
    return np.clip(image, 0, 255).astype(np.uint8)
