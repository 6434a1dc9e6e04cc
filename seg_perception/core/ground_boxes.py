"""Which nodes of a fan lie in and around each cell of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_perception.core.grid import GridSpec

#: Pixels are worked out for every so many nodes, and interpolated between.
COARSE = 4
_MAX_BOX = 4000  # nodes of a cell; only cells at the camera's very foot have more


@dataclass(frozen=True)
class CellBoxes:
    """The rectangle of nodes that each cell is; arrays [V].

    Attributes:
        cells: intp, flat indices (iy * width + ix), growing.
        corners: four intp, the rectangles' corners in a table of sums [nb + 1, nr + 1].
        samples: three intp, flat indices of the nodes in the middle and at the ends of the far
            side.
        coarse: intp, flat index of the coarse node before its middle; beyond: float32, share of
            the way from there to the next one on the bearing.
        nodes: float32, how many nodes the cell has.
        border: float32, how many of them lie around it rather than in it.
        covered: bool, the whole cell lies within the fan.
    """

    cells: np.ndarray
    corners: tuple[np.ndarray, ...]
    samples: tuple[np.ndarray, np.ndarray, np.ndarray]
    coarse: np.ndarray
    beyond: np.ndarray
    nodes: np.ndarray
    border: np.ndarray
    covered: np.ndarray

    def sums(self, table: np.ndarray) -> np.ndarray:
        """Return [V]: sums over the cells' nodes, from a table as cv2.integral gives it."""
        flat = table.reshape(-1)
        a, b, c, d = (flat.take(corner, mode='clip') for corner in self.corners)
        d -= b
        d -= c
        d += a
        return d


def cell_boxes(
    grid: GridSpec, origin: np.ndarray, bearings: np.ndarray, ranges: np.ndarray
) -> CellBoxes:
    """Find the nodes of the cells, rounded outwards."""
    x = grid.x_min + grid.resolution * np.arange(grid.width + 1) - origin[0]
    y = grid.y_min + grid.resolution * np.arange(grid.height + 1) - origin[1]
    xx, yy = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    turn = np.float32(math.tau / (bearings[1] - bearings[0]))
    column = np.mod(np.arctan2(yy, xx) - np.float32(bearings[0]), np.float32(math.tau))
    column = column * np.float32(1 / (bearings[1] - bearings[0]))
    row = np.interp(
        np.hypot(xx, yy), ranges, np.arange(len(ranges)), left=-1, right=len(ranges)
    ).astype(np.float32)
    c = _corners(np.asarray(column, np.float32))
    low, high = c.min(axis=0), c.max(axis=0)
    wraps = high - low > turn / 2
    # Cells across the first bearing: count on past a full turn, or from below it.
    past = np.where(c < turn / 2, c + turn, c)
    end = len(bearings) - 1
    shift = np.where(past.min(axis=0) > end, turn, np.float32(0))
    low = np.where(wraps, past.min(axis=0) - shift, low)
    high = np.where(wraps, past.max(axis=0) - shift, high)
    # What lies before the first bearing by less than a turn is not in the fan.
    r = _corners(row)
    near, far = np.floor(r.min(axis=0)), np.ceil(r.max(axis=0))
    first, last = np.floor(low), np.ceil(high)
    covered = (first >= 0) & (last <= end) & (near >= 0) & (far <= len(ranges) - 1)
    meets = (last >= 0) & (first <= end) & (far >= 0) & (near <= len(ranges) - 1)
    first, last = np.clip(first, 0, end), np.clip(last, 0, end)
    near, far = np.clip(near, 0, len(ranges) - 1), np.clip(far, 0, len(ranges) - 1)
    meets &= (last - first + 1) * (far - near + 1) <= _MAX_BOX
    cells = np.flatnonzero(meets)
    first, last, near, far = (part[cells].astype(np.intp) for part in (first, last, near, far))
    nr = len(ranges)
    top, bottom = first * (nr + 1), (last + 1) * (nr + 1)
    middle, row = (first + last) // 2, (near + far) // 2
    nodes = (last - first + 1) * (far - near + 1)
    return CellBoxes(
        cells,
        (top + near, top + far + 1, bottom + near, bottom + far + 1),
        (middle * nr + far, first * nr + far, last * nr + far),
        middle // COARSE * ((nr - 1) // COARSE + 1) + row // COARSE,
        ((row % COARSE) / COARSE).astype(np.float32),
        nodes.astype(np.float32),
        (nodes - np.maximum((last - first) * (far - near), 1)).astype(np.float32),
        covered[cells],
    )


def _corners(lattice: Any) -> np.ndarray:
    """Lattice [rows + 1, columns + 1] -> [4, rows * columns]: values at the cells' corners."""
    return np.stack(
        [
            lattice[:-1, :-1].ravel(),
            lattice[:-1, 1:].ravel(),
            lattice[1:, :-1].ravel(),
            lattice[1:, 1:].ravel(),
        ]
    )
