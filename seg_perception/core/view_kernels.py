"""The loops over nodes and cells by which ``ground_view`` finds what a camera in a pose sees."""

from __future__ import annotations

import numpy as np

from seg_perception.core.compiled import (
    BOOL,
    F32,
    F64,
    I16,
    I32,
    I64,
    NONE,
    U8,
    compiled,
    filled,
    given,
    inlined,
)
from seg_perception.core.ground_codes import UNSEEN

_FAR = 16000  # pixels outside the picture that tell nothing more


@inlined
def _mix(one, other, share, found):
    """Write what lies between coordinates, all kept within some thousands of pixels."""
    for j in range(len(found)):
        a = min(max(one[j], np.float32(-_FAR)), np.float32(_FAR))
        b = min(max(other[j], np.float32(-_FAR)), np.float32(_FAR))
        found[j] = a + share * (b - a)


@inlined
def _fill_between(line, apart, found):
    """Write whole pixels, interpolated between every `apart`-th."""
    last = len(line) - 1
    for j in range(last):
        step = (line[j + 1] - line[j]) / np.float32(apart)
        for k in range(apart):
            # (Cutting off what is positive rounds down.)
            at = line[j] + np.float32(k) * step + np.float32(_FAR + 0.5)
            found[j * apart + k] = np.int32(at) - np.int32(_FAR)
    found[last * apart] = np.int32(line[last] + np.float32(_FAR + 0.5)) - np.int32(_FAR)


@compiled(
    NONE,
    given(F32, 3),
    I64,
    I64,
    I64,
    filled(I16, 3),
    filled(I32, 2),
    filled(U8, 2),
    filled(I32, 2),
)
def place_nodes(coarse, apart, height, width, pixel_at, flat, inside, rows):
    """Write which pixels show the nodes, from those of every `apart`-th one.

    Args:
        coarse: float32 [n, m, 2], their pixel coordinates (u, v), far outside where none does.
        height, width: of the picture.
        pixel_at: int16 [nr, nb, 2], the pixels (u, v); flat: int32 [nr, nb], v * width + u,
            -1 outside the picture; inside: uint8 [nr, nb], 1 within.
        rows: int32 [nr, 2], the first row that shows a node of each range, and the one after
            the last (both 0 where none does).
    """
    nr, nb = flat.shape
    n, m = coarse.shape[:2]
    line_u, line_v = np.empty(m, np.float32), np.empty(m, np.float32)
    u, v = np.empty(nb, np.int32), np.empty(nb, np.int32)
    for r in range(nr):
        near = min(r // apart, n - 2)
        share = np.float32(r / apart - near)
        _mix(coarse[near, :, 0], coarse[near + 1, :, 0], share, line_u)
        _mix(coarse[near, :, 1], coarse[near + 1, :, 1], share, line_v)
        _fill_between(line_u, apart, u)
        _fill_between(line_v, apart, v)
        at, place, there = pixel_at[r], flat[r], inside[r]
        low, high = np.int32(height), np.int32(0)
        for b in range(nb):
            at[b, 0], at[b, 1] = u[b], v[b]
        for b in range(nb):
            within = (u[b] >= 0) & (u[b] < width) & (v[b] >= 0) & (v[b] < height)
            there[b] = within
            place[b] = v[b] * np.int32(width) + u[b] if within else np.int32(-1)
        for b in range(nb):
            low = min(low, v[b] if there[b] else low)
            high = max(high, v[b] + np.int32(1) if there[b] else high)
        rows[r, 0], rows[r, 1] = min(low, high), high


@inlined
def _between(values, row, column):
    """Return a value between four, by shares."""
    i, j = min(int(row), values.shape[0] - 2), min(int(column), values.shape[1] - 2)
    down, right = row - i, column - j
    above = values[i, j] + right * (values[i, j + 1] - values[i, j])
    below = values[i + 1, j] + right * (values[i + 1, j + 1] - values[i + 1, j])
    return above + down * (below - above)


@compiled(
    I64,
    given(U8, 2),
    given(F32, 2),
    given(F32, 3),
    given(BOOL, 2),
    I64,
    F64,
    filled(I32, 2),
)
def find_seen(inside, area, middle, covered, apart, least, node_of):
    """Find the cells that are seen within the pixel budget; return how many.

    Args:
        inside: uint8 [nr, nb], whether the picture shows any of a cell there.
        area: float32 [n, m], pixels that a cell covers at every `apart`-th node.
        middle: float32 [h, w, 2], (bearing, range) of the cells, in nodes; negative outside.
        covered: bool [h, w], whether the fan holds all of a cell; least: pixels that must show it.
        node_of: int32 [h, w], written: flat index of each one's nearest node, -1 less that where
            the fan does not hold all of it; UNSEEN.
    """
    n, found = inside.shape[1], 0
    height, width = covered.shape
    for y in range(height):
        for x in range(width):
            node_of[y, x] = UNSEEN
            b, r = middle[y, x, 0], middle[y, x, 1]
            if b < 0 or r < 0:
                continue
            column, row = int(b + np.float32(0.5)), int(r + np.float32(0.5))
            if not inside[row, column] or _between(area, r / apart, b / apart) < least:
                continue
            node = row * n + column
            node_of[y, x] = node if covered[y, x] else -1 - node
            found += 1
    return found
