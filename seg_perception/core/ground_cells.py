"""Which node of a fan each cell of a grid is read at, and how many nodes around it it covers.

Cells are decided on the fan, all nodes at once, by filters over as many nodes as a cell covers
there: near cells cover many bearings, far ones few. Each cell then takes what its middle's
nearest node says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.grid import GridSpec
from seg_perception.core.window_kernels import window_sums, window_worst

_MOST = 250  # nodes to either side
_OUTSIDE = -16000.0


@dataclass(frozen=True)
class Cells:
    """The cells of a grid as nodes of a fan.

    Attributes:
        middle: float32 [height, width, 2], (bearing, range) of the cells' middles, in nodes; far
            outside where the fan does not reach.
        nearest: int16 [height, width, 2], the nearest nodes.
        covered: bool [height, width], the whole cell lies in the fan.
        along, across: int64 [nr], ranges and bearings to either side of a node that hold a cell
            there; along_in, across_in: that a cell holds.
        size: float64 [nr], how many nodes a cell has at each range, not rounded, at least 1.
        spread: float64 [nr], share of a cell by which what lies beside it shows in its nodes.
    """

    middle: np.ndarray
    nearest: np.ndarray
    covered: np.ndarray
    along: np.ndarray
    across: np.ndarray
    along_in: np.ndarray
    across_in: np.ndarray
    size: np.ndarray
    spread: np.ndarray

    def worst(self, codes: np.ndarray) -> np.ndarray:
        """Return uint8 [nr, nb]: the greatest of the codes that a cell at each node covers."""
        found = np.empty_like(codes)
        window_worst(codes, self.along, self.across, found)
        return found

    def sums(self, weights: np.ndarray, *, around: bool) -> np.ndarray:
        """Return int32 [nr, nb]: sums of uint16 weights over what holds a cell, or it holds."""
        found = np.empty(weights.shape, np.int32)
        if around:
            window_sums(weights, self.along, self.across, found)
        else:
            window_sums(weights, self.along_in, self.across_in, found)
        return found

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Return [height, width]: what the nearest nodes say, 0 outside the fan."""
        return cv2.remap(  # type: ignore[call-overload]  # whole nodes need no second map
            values, self.nearest, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT
        )


def cells_of(
    grid: GridSpec,
    origin: np.ndarray,
    bearings: np.ndarray,
    ranges: np.ndarray,
    shown: tuple[float, np.ndarray],
) -> Cells | None:
    """Find the cells in a fan; None if there is none.

    Args:
        shown: how far to either side of a node the pixels' centres lie that it stands for, in
            nodes: across the bearings, and along them [nr].
    """
    x = grid.x_min + grid.resolution * (np.arange(grid.width) + 0.5) - origin[0]
    y = grid.y_min + grid.resolution * (np.arange(grid.height) + 0.5) - origin[1]
    xx, yy = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    step = float(bearings[1] - bearings[0])
    turn, end, last = math.tau / step, len(bearings) - 1, len(ranges) - 1
    column = np.mod(np.arctan2(yy, xx) - np.float32(bearings[0]), np.float32(math.tau))
    column = column * np.float32(1 / step)
    # Where a fan of more than a turn shows a cell twice, farther from the fan's ends.
    column += np.where(column < (end - turn) / 2, np.float32(turn), np.float32(0))
    row = np.interp(np.hypot(xx, yy), ranges, np.arange(last + 1), left=_OUTSIDE, right=-_OUTSIDE)
    apart = np.gradient(ranges)
    half = _half_extent(grid, xx, yy, ranges)
    along, across = half / apart, half / (step * np.maximum(ranges, 1e-6))
    # The nearest node is off by up to a half.
    nodes_along = np.maximum(np.ceil(along + 0.5 - shown[1] - 0.05), 0)
    nodes_across = np.maximum(np.ceil(across + 0.5 - shown[0] - 0.05), 0)
    at = np.clip(np.rint(row), 0, last).astype(np.intp)
    covered = (row - nodes_along[at] >= 0) & (row + np.minimum(along, 1)[at] <= last)
    covered &= (column - nodes_across[at] >= 0) & (column + nodes_across[at] <= end)
    covered &= (nodes_across <= _MOST)[at]
    there = (row >= 0) & (row <= last) & (column <= end)
    if not there.any():
        return None
    middle = np.stack([column, row], axis=-1).astype(np.float32)
    middle[~there] = _OUTSIDE
    side = grid.resolution / 2 / half
    nodes_along, nodes_across = np.minimum(nodes_along, _MOST), np.minimum(nodes_across, _MOST)
    wide = np.maximum(2 * across * side, 1)
    return Cells(
        middle,
        np.rint(middle).astype(np.int16),
        covered,
        nodes_along.astype(np.int64),
        nodes_across.astype(np.int64),
        np.minimum(np.round(along * side), nodes_along).astype(np.int64),
        np.minimum(np.round(across * side), nodes_across).astype(np.int64),
        np.maximum(grid.resolution / apart, 1) * wide,
        np.minimum(np.maximum(shown[0] - 0.5, 0) / wide, 0.5),
    )


def _half_extent(grid: GridSpec, x: np.ndarray, y: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Return float64 [nr], m: half of what a cell at each range measures along its bearing.

    Between half its side and half its diagonal, as the bearings of that range turn it at most.
    """
    far = np.hypot(x, y)
    turned = (np.abs(x) + np.abs(y)) / np.maximum(far, 1e-6)
    at = np.clip(np.searchsorted(ranges, far.ravel()), 0, len(ranges) - 1)
    most = np.ones(len(ranges))
    np.maximum.at(most, at, turned.ravel())
    near = np.ones((7, 1), np.uint8)  # cells beside them, too
    return cv2.dilate(most[:, None], near)[:, 0] * grid.resolution / 2
