"""The loops over cells by which ``fusion`` turns grids into the odometry's window and back."""

from __future__ import annotations

import numpy as np

from seg_perception.core.compiled import F32, F64, I8, NONE, U8, compiled, filled, given, inlined
from seg_perception.core.ground_observation import (
    EDGE,
    FREE,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    UNKNOWN,
)

_BITS = 32  # of the fractions by which cells are counted
_ONE = float(1 << _BITS)
_FOLLOW = 0.3  # share by which a known cell's cost follows a frame's


@inlined
def _start(row_of, index):
    """Return the place in the other grid of a row's first cell, in fractions of a cell."""
    return int((row_of[1] * index + row_of[2] + 0.5) * _ONE)


@inlined
def _within(at, step, size, first, last):
    """Return the part of first..last whose places ``at + i * step`` lie in 0..size cells."""
    most = (size << _BITS) - 1
    if step == 0:
        return (first, last) if 0 <= at <= most else (first, first)
    if step < 0:
        at, step = most - at, -step
    low = max(first, -(at // step))
    return low, max(low, min(last, (most - at) // step + 1))


@inlined
def _row(to, row, size, columns):
    """Return where a row's cells lie in another grid of such a size [height, width].

    Returns:
        Column and row there of the first that lies within, and by how much either grows from cell
        to cell, in fractions of a cell; which of ``columns`` that is, and the one after the last.
    """
    x, y = _start(to[0], row), _start(to[1], row)
    right, down = int(to[0, 0] * _ONE), int(to[1, 0] * _ONE)
    low, high = _within(x, right, size[1], 0, columns)
    low, high = _within(y, down, size[0], low, high)
    return x + low * right, y + low * down, right, down, low, high


@inlined
def _place(x, y, wide):
    """Return the flat index of the cell that holds a place in a grid as wide as this.

    (Unsigned: no test for indices that count from the end.)
    """
    return np.uint64((y >> _BITS) * wide + (x >> _BITS))


@compiled(NONE, given(U8, 2), given(F64, 2), given(U8, 1), filled(U8, 2))
def take(evidence, to_grid, table, window):
    """Let each cell of the window become what the nearest cell of the grid makes of it.

    Args:
        evidence: uint8 [h, w] of the grid.
        to_grid: float64 [2, 3], (column, row, 1) of the window -> (column, row) of the grid.
        table: uint8 [256], window's byte + evidence -> byte.
        window: uint8 [n, n], changed.
    """
    kinds, wide = evidence.reshape(-1), evidence.shape[1]
    for row in range(window.shape[0]):
        x, y, right, down, low, high = _row(to_grid, row, evidence.shape, window.shape[1])
        cells = window[row, low:high]
        for i in range(len(cells)):
            cells[i] = table[np.uint8(cells[i] + kinds[_place(x, y, wide)])]
            x, y = x + right, y + down


@compiled(
    NONE, given(U8, 2), given(I8, 2), given(F64, 2), given(U8, 1), given(U8, 2), filled(F32, 2)
)
def take_cost(evidence, costs, to_grid, taken_for, window, cost):
    """Let the window's costs follow those of the grid that agree with what a cell is taken for.

    Args:
        evidence, costs: of the grid, [h, w].
        to_grid: as in :func:`take`.
        taken_for: uint8 [256], what the window's bytes are taken for.
        window, cost: [n, n], bytes before the evidence is taken, and the costs, changed.
    """
    for row in range(window.shape[0]):
        x, y, right, down, low, high = _row(to_grid, row, evidence.shape, window.shape[1])
        for column in range(low, high):
            u, v = x >> _BITS, y >> _BITS
            x, y = x + right, y + down
            kind, before = evidence[v, u], taken_for[window[row, column]]
            occupied = kind in (OCCUPIED, OCCUPIED_MOVING)
            free = kind in (FREE, EDGE, LEFT)
            if not occupied and (not free or before >= OCCUPIED):
                continue
            # A cell that was not known takes the first cost it sees, a free one an obstacle's.
            fresh = before == UNKNOWN or (occupied and before == FREE)
            share = np.float32(1.0) if fresh else np.float32(_FOLLOW)
            cost[row, column] += share * (costs[v, u] - cost[row, column])


@compiled(NONE, given(U8, 2), given(F64, 2), given(U8, 1), filled(U8, 2))
def read_out(window, to_window, table, cells):
    """Write what the window's nearest cells hold, by a table; the table's first outside it.

    Args:
        window: uint8 [n, n].
        to_window: float64 [2, 3], (column, row, 1) of the grid -> (column, row) of the window.
        table: uint8 [256].
        cells: uint8 [h, w].
    """
    known, wide = window.reshape(-1), window.shape[1]
    for row in range(cells.shape[0]):
        x, y, right, down, low, high = _row(to_window, row, window.shape, cells.shape[1])
        within = cells[row, low:high]
        for i in range(len(within)):
            within[i] = table[known[_place(x, y, wide)]]
            x, y = x + right, y + down
        cells[row, :low] = table[0]
        cells[row, high:] = table[0]
