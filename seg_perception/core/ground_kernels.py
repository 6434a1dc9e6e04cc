"""The loops over pixels, nodes and cells by which a mask becomes cells; see ``ground_view``.

Arrays of nodes are [range, bearing].
"""

from __future__ import annotations

import numpy as np

from seg_perception.core.compiled import (
    BOOL,
    I8,
    I32,
    I64,
    NONE,
    U8,
    compiled,
    filled,
    given,
    inlined,
)
from seg_perception.core.ground_codes import (
    DOUBTED,
    FLAT,
    FOOTPRINT_CODE,
    IS_OCCUPIED,
    NEAR_EDGE,
    NOTHING,
    OUTSIDE,
    STANDING,
    TOO_FEW,
    UNSEEN,
)
from seg_perception.core.ground_observation import FREE, HIDDEN, LEFT, OCCUPIED_MOVING, UNKNOWN
from seg_perception.core.window_kernels import (
    at_least,
    copy,
    greater,
    row_worst,
    slide,
    widened,
)

#: How much a node of a footprint counts beside one of flat ground: a contact was confirmed by its
#: pixels already, so a part of a cell is enough.
_FOOT_WEIGHT = 8


@compiled(NONE, given(U8, 2), given(U8, 2), given(U8, 1), U8, filled(U8, 2))
def write_codes(labels, confidence, code_of, least, codes):
    """Write what each pixel means to the ground: the code of its class, or of less than that."""
    pixels, found = labels.reshape(-1), codes.reshape(-1)
    words = pixels[: pixels.size // 8 * 8].view(np.uint64)
    coded = found[: len(words) * 8].view(np.uint64)
    # Most eight pixels in a row are of one class, which is that of the eight before.
    last, code = ~words[0] if len(words) else np.uint64(0), np.uint64(0)
    for i in range(len(words)):
        if words[i] != last:
            last, code = words[i], np.uint64(0)
            for k in range(8):
                shift = np.uint64(8 * k)
                byte = np.uint8((last >> shift) & np.uint64(255))
                code |= np.uint64(code_of[byte]) << shift
        coded[i] = code
    for i in range(len(words) * 8, pixels.size):
        found[i] = code_of[pixels[i]]
    sure = confidence.reshape(-1)
    for i in range(len(found)):
        doubted = DOUBTED if found[i] == STANDING else NOTHING
        found[i] = found[i] if sure[i] >= least else doubted


@compiled(NONE, given(U8, 2), given(I32, 2), U8, filled(U8, 2))
def gather(picture, at, outside, found):
    """Write the pixels at these places (row * width + column), `outside` where negative."""
    pixels = picture.reshape(-1)
    for r in range(at.shape[0]):
        for b in range(at.shape[1]):
            place = at[r, b]
            found[r, b] = outside if place < 0 else pixels[place]


@inlined
def _write_near(codes, first, last, along, across, near):
    """Write the worst codes in the windows around the pixels of some rows, OUTSIDE beyond them."""
    height, width = codes.shape
    scratch = np.empty((2, width), np.uint8)
    for v in range(first, last):
        row = near[v - first]
        row_worst(codes, v, along, across, scratch, row)
        if v < along or v >= height - along:
            at_least(row, OUTSIDE)
        at_least(row[:across], OUTSIDE)
        at_least(row[max(width - across, 0) :], OUTSIDE)


@compiled(NONE, given(U8, 2), given(I64, 2), given(I32, 2), filled(U8, 2))
def read_nodes(codes, zones, pixel_at, nodes):
    """Write the worst code of the pixels that each node stands for.

    Args:
        codes: uint8 [h, w].
        zones: int64 [n, 6], ranges whose nodes read alike: the first and the one after the last;
            pixels up and down, and to either side, that they read (what lies beyond the picture's
            sides is OUTSIDE); the first row of them, and the one after the last.
        pixel_at: int32 [nr, nb], row * w + column of each node's pixel; -1 where none is.
    """
    width = codes.shape[1]
    for z in range(len(zones)):
        start, stop, along, across, first, last = zones[z]
        near = np.empty((last - first, width), np.uint8)
        _write_near(codes, first, last, along, across, near)
        pixels, before = near.reshape(-1), first * width
        for r in range(start, stop):
            at, row = pixel_at[r], nodes[r]
            for b in range(len(row)):
                place = at[b]
                # (Unsigned: no test for indices that count from the end.)
                row[b] = OUTSIDE if place < 0 else pixels[np.uint64(place - before)]


@inlined
def _weight(code):
    """Return how much a node makes a cell occupied."""
    weight = np.uint8(_FOOT_WEIGHT) if code >= FOOTPRINT_CODE else np.uint8(0)
    return np.uint8(1) if code == FLAT else weight


@compiled(NONE, given(U8, 2), filled(U8, 2))
def write_weights(nodes, weights):
    """Write how much each node makes a cell occupied."""
    for r in range(nodes.shape[0]):
        for b in range(nodes.shape[1]):
            weights[r, b] = _weight(nodes[r, b])


@inlined
def _find_occupied(nodes, r, along, across, enough, column, running, sums, found):
    """Write IS_OCCUPIED where enough around the nodes of a row says so, else 0."""
    for b in range(len(column)):
        column[b] = 0
    for other in range(r - along, r + along + 1):
        row = nodes[min(max(other, 0), len(nodes) - 1)]
        for b in range(len(row)):
            column[b] += _weight(row[b])
    some = False
    for b in range(len(column)):
        some |= column[b] != 0
    if some:
        slide(column, across, running, sums)
        for b in range(len(found)):
            found[b] = IS_OCCUPIED if sums[b] >= enough else 0
    else:
        for b in range(len(found)):
            found[b] = 0


@inlined
def _add_lacking(verdicts, worst, nodes, r, along, across, few, column, running, sums):
    """Add TOO_FEW to the nodes of a row in whose cells too much is not known."""
    some = False
    for b in range(len(worst)):
        some |= worst[b] == NOTHING
    if not some:
        return
    for b in range(len(column)):
        column[b] = 0
    for other in range(r - along, r + along + 1):
        row = nodes[min(max(other, 0), len(nodes) - 1)]
        for b in range(len(row)):
            column[b] += np.uint16(row[b] == NOTHING)
    slide(column, across, running, sums)
    for b in range(len(worst)):
        if worst[b] == NOTHING and sums[b] > few:
            verdicts[b] += TOO_FEW


@inlined
def _find_near(worst, r, edge, nr, scratch, near):
    """Write the greatest close to the nodes of a row; `worst` keeps row i at i % len(worst)."""
    now, then = scratch[0], scratch[1]
    copy(worst[r % len(worst)], now)
    for other in range(max(r - edge, 0), min(r + edge + 1, nr)):
        greater(now, worst[other % len(worst)], then)
        now, then = then, now
    widened(now, then, 1, near)


@compiled(
    NONE,
    given(U8, 2),
    given(I64, 1),
    given(I64, 1),
    given(I64, 1),
    given(I64, 1),
    given(I64, 1),
    given(I64, 1),
    I64,
    filled(U8, 2),
)
def judge(nodes, along, across, along_in, across_in, few, enough, edge, verdicts):
    """Write what a cell at each node would be: the worst in it, and what is added to that.

    Args:
        along, across: of the windows that hold a cell; along_in, across_in: that a cell holds.
        few: nodes of a cell that may miss in a free one; enough: weight of an occupied one.
        edge: ranges to either side within which what is not free is near.
    """
    nr, nb = nodes.shape
    worst = np.empty((2 * edge + 1, nb), np.uint8)  # of the rows around the one in work
    scratch, near = np.empty((2, nb), np.uint8), np.empty(nb, np.uint8)
    column, running = np.empty(nb, np.uint16), np.empty(nb + 1, np.int32)
    sums, blocked = np.empty(nb, np.int32), np.empty(nb, np.uint8)
    for ahead in range(nr + edge):
        if ahead < nr:
            found = worst[ahead % len(worst)]
            row_worst(nodes, ahead, along[ahead], across[ahead], scratch, found)
        r = ahead - edge
        if r < 0:
            continue
        row, here = verdicts[r], worst[r % len(worst)]
        _find_occupied(
            nodes, r, along_in[r], across_in[r], enough[r], column, running, sums, blocked
        )
        _find_near(worst, r, edge, nr, scratch, near)
        for b in range(nb):
            row[b] = here[b] + blocked[b] + (NEAR_EDGE if near[b] >= FLAT else 0)
        _add_lacking(row, here, nodes, r, along[r], across[r], few[r], column, running, sums)


@compiled(
    BOOL,
    given(U8, 2),
    given(I32, 2),
    given(U8, 1),
    given(I8, 1),
    filled(U8, 2),
    filled(I8, 2),
    filled(I64, 1),
)
def decide(verdicts, node_of, kind_of, value_of, kinds, values, moving):
    """Write kinds and values of the cells; return whether anything moves.

    Args:
        node_of: int32 [h, w], as ``find_seen`` writes it.
        kind_of: uint8 [256], kind by verdict; value_of: int8 [256], by kind.
        kinds, values: of the cells.
        moving: int64 [4], where something does: first row, row after the last, and columns.
    """
    height, width = node_of.shape
    nodes = verdicts.reshape(-1)
    moving[:] = height, 0, width, 0
    for y in range(height):
        at, row, costs = node_of[y], kinds[y], values[y]
        for x in range(width):
            kind = np.uint8(UNKNOWN)
            if at[x] >= 0:
                kind = kind_of[nodes[at[x]]]
            elif at[x] != UNSEEN:
                kind = kind_of[nodes[-1 - at[x]] | TOO_FEW]
            row[x], costs[x] = kind, value_of[kind]
            if kind == OCCUPIED_MOVING:
                moving[0], moving[1] = min(moving[0], y), y + 1
                moving[2], moving[3] = min(moving[2], x), max(moving[3], x + 1)
    return moving[1] > 0


@inlined
def _moving_around(kinds, top, bottom, left, right, reach):
    """Return uint8 [bottom - top, reach + right - left + reach]: 1 near what moves, else 0."""
    height = bottom - top
    high, wide = height + 2 * reach, right - left + 2 * reach  # windows end at the sides
    now, then = np.zeros((high, wide), np.uint8), np.zeros((high, wide), np.uint8)
    for y in range(height):
        row, moving = kinds[top + y, left:right], now[reach + y, reach:]
        for x in range(len(row)):
            moving[x] = row[x] == OCCUPIED_MOVING
    # As in `widened`, of whole rows.
    step = 1
    while 2 * step <= 2 * reach + 1:
        for y in range(high - step):
            greater(now[y], now[y + step], then[y])
        now, then = then, now
        step *= 2
    scratch, near = np.empty((2, wide), np.uint8), np.empty((height, wide), np.uint8)
    for y in range(height):
        greater(now[y], now[y + 2 * reach + 1 - step], scratch[0])
        widened(scratch[0], scratch[1], reach, near[y])
    return near


@compiled(NONE, given(I32, 2), I64, given(I64, 1), filled(U8, 2))
def doubt_around_moving(node_of, reach, moving, kinds):
    """Let what moves make cells within `reach` of it HIDDEN if not seen, LEFT if free.

    Args:
        node_of, moving: see :func:`decide`.
    """
    top, bottom = max(moving[0] - reach, 0), min(moving[1] + reach, len(kinds))
    left, right = max(moving[2] - reach, 0), min(moving[3] + reach, kinds.shape[1])
    near = _moving_around(kinds, top, bottom, left, right, reach)
    for y in range(top, bottom):
        row, at, close = kinds[y, left:right], node_of[y, left:right], near[y - top, reach:]
        for x in range(len(row)):
            hidden = row[x] | np.uint8(HIDDEN if at[x] == UNSEEN else UNKNOWN)
            doubted = np.uint8(LEFT) if row[x] == FREE else hidden
            row[x] = doubted if close[x] else row[x]
