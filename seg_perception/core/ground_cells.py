"""Which node of a fan each cell of a grid is read at, and how many nodes around it it covers.

Cells are decided on the fan, all nodes at once, by filters over as many nodes as a cell covers
there: near cells cover many bearings, far ones few. Each cell then takes what its middle's
nearest node says.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.core.grid import GridSpec

_MOST = 250  # nodes to either side
_OUTSIDE = -16000.0


class Band(NamedTuple):
    """Ranges at which cells cover equally many nodes.

    Attributes:
        part: these ranges; wide: with so many more that filters see; inner: `part` in `wide`.
        around: nodes (bearings, ranges) of the filter that covers a cell, rounded outwards.
        within: and rounded inwards.
    """

    part: slice
    wide: slice
    inner: slice
    around: tuple[int, int]
    within: tuple[int, int]

    def sums(self, weights: np.ndarray, *, around: bool, depth: int = cv2.CV_16U) -> np.ndarray:
        """Return [ranges, nb]: see :meth:`Cells.sums`."""
        size = self.around if around else self.within
        sums = cv2.boxFilter(
            weights[self.wide], depth, size, normalize=False, borderType=cv2.BORDER_REPLICATE
        )
        return sums[self.inner]


@dataclass(frozen=True)
class Cells:
    """The cells of a grid as nodes of a fan.

    Attributes:
        middle: float32 [height, width, 2], (bearing, range) of the cells' middles, in nodes; far
            outside where the fan does not reach.
        nearest: int16 [height, width, 2], the nearest nodes.
        covered: bool [height, width], the whole cell lies in the fan.
        bands: the filters, by range.
        size: float64 [nr], how many nodes a cell has at each range, not rounded, at least 1.
        spread: float64 [nr], share of a cell by which what lies beside it shows in its nodes.
    """

    middle: np.ndarray
    nearest: np.ndarray
    covered: np.ndarray
    bands: list[Band]
    size: np.ndarray
    spread: np.ndarray

    def worst(self, codes: np.ndarray) -> np.ndarray:
        """Return uint8 [nr, nb]: the greatest of the codes that a cell at each node covers."""
        found = np.empty_like(codes)
        for band in self.bands:
            kernel = np.ones(band.around[::-1], np.uint8)
            found[band.part] = cv2.dilate(codes[band.wide], kernel)[band.inner]
        return found

    def sums(
        self, weights: np.ndarray, *, around: bool = False, depth: int = cv2.CV_16U
    ) -> np.ndarray:
        """Return [nr, nb]: sums of weights over a cell at each node, rounded inwards or out."""
        found = np.empty(weights.shape, np.uint16 if depth == cv2.CV_16U else np.float32)
        for band in self.bands:
            found[band.part] = band.sums(weights, around=around, depth=depth)
        return found

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Return [height, width]: what the nearest nodes say, 0 outside the fan."""
        return cv2.remap(  # type: ignore[call-overload]  # whole nodes need no second map
            values, self.nearest, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT
        )

    def between(self, values: np.ndarray, apart: int) -> np.ndarray:
        """Return float32 [height, width]: values of every `apart`-th node, interpolated."""
        at = self.middle / np.float32(apart)
        return cv2.remap(
            values, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
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
    nodes_across = _rounded_up(np.maximum(np.ceil(across + 0.5 - shown[0] - 0.05), 0))
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
    wide = np.maximum(2 * across * side, 1)
    return Cells(
        middle,
        np.rint(middle).astype(np.int16),
        covered,
        _bands(
            np.minimum(nodes_along, _MOST).astype(int),
            np.minimum(nodes_across, _MOST).astype(int),
            np.minimum(np.round(along * side), nodes_along).astype(int),
            np.minimum(np.round(across * side), nodes_across).astype(int),
        ),
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


def _rounded_up(nodes: np.ndarray) -> np.ndarray:
    """Return a number not below each, of few different ones, by at most a quarter above."""
    steps = [0.0, 1.0, 2.0]
    while steps[-1] < _MOST:
        steps.append(float(max(steps[-1] + 1, math.floor(steps[-1] * 5 / 4))))
    at = np.searchsorted(steps, nodes)
    return np.where(at < len(steps), np.take(steps, at, mode='clip'), nodes)


def _bands(
    along: np.ndarray, across: np.ndarray, along_in: np.ndarray, across_in: np.ndarray
) -> list[Band]:
    across_in = np.minimum(_rounded_up(across_in).astype(int), across)
    sizes = np.stack([along, across, along_in, across_in])
    changes = np.flatnonzero((np.diff(sizes) != 0).any(axis=0)) + 1
    bands = []
    for a, b in itertools.pairwise([0, *changes.tolist(), len(along)]):
        reach = int(along[a])
        first, stop = max(a - reach, 0), min(b + reach, len(along))
        bands.append(
            Band(
                slice(a, b),
                slice(first, stop),
                slice(a - first, b - first),
                (2 * int(across[a]) + 1, 2 * reach + 1),
                (2 * int(across_in[a]) + 1, 2 * int(along_in[a]) + 1),
            )
        )
    return bands
