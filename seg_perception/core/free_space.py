"""The boundary of the free ground, for planners that know no grids: points, a polygon, a scan.

Taken per bearing, either from what one frame shows along the camera's bearings (finest, this
instant only) or from a grid, fused or not (all that is known).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.core.ground_observation import Contacts, first_run, first_true

#: Cells of at least this value are taken for obstacles (nav_msgs/OccupancyGrid, 0..100).
OCCUPIED_FROM = 65
_MAX_BEAMS = 100_000


@dataclass(frozen=True)
class Scan:
    """What a sensor_msgs/LaserScan holds; angles in rad about z, counter-clockwise.

    Attributes:
        angle_min, angle_max, angle_increment, range_min, range_max: as in the message.
        ranges: float32 [n], m: the distance to what can't be driven on; +inf where the ground is
            known to be free up to ``range_max``; NaN where that is not known (REP 117: no
            measurement). What is nearer than ``range_min`` is given as ``range_min``.
    """

    angle_min: float
    angle_max: float
    angle_increment: float
    range_min: float
    range_max: float
    ranges: np.ndarray


@dataclass(frozen=True)
class FreeSpace:
    """Free ground along bearings from a point, in the grid's frame; arrays [n].

    Attributes:
        origin: (x, y), m.
        bearings: float64, rad, growing.
        near, far: float64, m from the origin: free ground is known between them without a gap;
            equal where there is none.
        obstacle: float64, m to the first thing or ground that can't be driven on; inf: none
            known.
    """

    origin: tuple[float, float]
    bearings: np.ndarray
    near: np.ndarray
    far: np.ndarray
    obstacle: np.ndarray

    def points(self, z: float = 0.0) -> np.ndarray:
        """Return float32 [m, 3]: the far boundary, one point for each bearing with free ground."""
        some = self.far > self.near
        x, y = self._at(self.far)
        return np.column_stack([x, y, np.full(len(x), z)])[some].astype(np.float32)

    def polygon(self) -> np.ndarray:
        """Return float32 [m, 2]: the outline of the free ground; empty where none is known.

        Bearings without free ground pinch it to nothing there; what lies before the nearest
        known ground (the vehicle's own hood, mostly) is left out, unless it looks all around.
        """
        some = self.far > self.near
        if not some.any():
            return np.zeros((0, 2), np.float32)
        index = np.arange(len(self.bearings))
        near = np.interp(index, index[some], self.near[some])
        first, last = index[some][[0, -1]]
        part = slice(first, last + 1)
        outer = np.column_stack(self._at(np.where(some, self.far, near)))[part]
        if self._is_full_circle():
            return outer.astype(np.float32)
        inner = np.column_stack(self._at(near))[part]
        return np.concatenate([outer, inner[::-1]]).astype(np.float32)

    def scan(
        self,
        angle_min: float = -math.pi / 2,
        angle_max: float = math.pi / 2,
        angle_increment: float = math.radians(0.5),
        range_min: float = 0.1,
        range_max: float = 30.0,
    ) -> Scan:
        """Return the distances that a laser scanner in the frame's origin would measure.

        Raises:
            GroundError: angles or ranges that make no scan.
        """
        n = _beams(angle_min, angle_max, angle_increment, range_min, range_max)
        hits = self._nearest(self.obstacle, angle_min, angle_increment, n)
        ends = self._nearest(self.far, angle_min, angle_increment, n)
        ends[ends == np.inf] = 0  # no bearing of ours goes there
        ranges = np.where(hits <= range_max, np.maximum(hits, range_min), np.nan)
        ranges[(hits > range_max) & (ends >= range_max)] = np.inf
        end = angle_min + (n - 1) * angle_increment
        return Scan(
            angle_min, end, angle_increment, range_min, range_max, ranges.astype(np.float32)
        )

    def _nearest(self, ranges: np.ndarray, start: float, step: float, n: int) -> np.ndarray:
        """Return float64 [n]: the nearest of the points on each beam from (0, 0), else inf."""
        beams = np.full(n, np.inf)
        known = np.isfinite(ranges)
        x, y = self._at(np.where(known, ranges, 0))
        distance, angle = np.hypot(x, y)[known], np.arctan2(y, x)[known]
        if not distance.size:
            return beams
        # A point stands for the bearings up to its neighbours'.
        apart = float(np.median(np.diff(self.bearings))) if len(self.bearings) > 1 else step
        width = apart * np.maximum(1.0, ranges[known] / np.maximum(distance, 1e-3)) / 2
        width = np.minimum(width, 2 * max(apart, step))
        first = np.ceil(((angle - width - start) % math.tau) / step - 0.5).astype(int)
        count = np.ceil(2 * width / step).astype(int)
        turn = round(math.tau / step)
        for k in range(int(count.max()) + 1):
            beam = (first + k) % turn
            some = (k <= count) & (beam < n)
            np.minimum.at(beams, beam[some], distance[some])
        return beams

    def _at(self, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self.origin[0] + ranges * np.cos(self.bearings)
        return x, self.origin[1] + ranges * np.sin(self.bearings)

    def _is_full_circle(self) -> bool:
        step = float(self.bearings[1] - self.bearings[0]) if len(self.bearings) > 1 else 0.0
        return float(self.bearings[-1] - self.bearings[0]) + 1.5 * step >= math.tau


def free_space(contacts: Contacts) -> FreeSpace:
    """Return what one frame shows (``GroundObservation.contacts``)."""
    far = np.minimum(contacts.free_to, contacts.blocked).astype(np.float64)
    near = np.minimum(contacts.free_from, far).astype(np.float64)
    return FreeSpace(
        contacts.origin,
        contacts.bearings.astype(np.float64),
        near,
        far,
        contacts.blocked.astype(np.float64),
    )


def free_space_of_cells(
    cells: np.ndarray,
    spec: GridSpec,
    origin: tuple[float, float] = (0.0, 0.0),
    *,
    bearings: int = 720,
    occupied_from: int = OCCUPIED_FROM,
) -> FreeSpace:
    """Return what a grid knows around a point.

    Args:
        cells: int8 [spec.height, spec.width].
        spec: the grid, in the frame of ``origin``.
        origin: (x, y) of the middle, m, e.g. the robot.
        bearings: how many, all around.
        occupied_from: cells of at least this value can't be driven on.

    Raises:
        GroundError: the cells are not the grid's, or the origin lies far outside of it.
    """
    if cells.shape != spec.shape or cells.dtype != np.int8:
        raise GroundError(f'cells must be int8 {spec.shape}, got {cells.dtype} {cells.shape}')
    if not 3 <= bearings <= _MAX_BEAMS:
        raise GroundError(f'bearings must be in 3..{_MAX_BEAMS}, got {bearings!r}')
    farthest = max(
        math.hypot(x - origin[0], y - origin[1])
        for x in (spec.x_min, spec.x_max)
        for y in (spec.y_min, spec.y_max)
    )
    step = spec.resolution / 2
    ranges = np.arange(0.5, farthest / step + 1) * step
    angles = np.linspace(-math.pi, math.pi, bearings, endpoint=False)
    x = origin[0] + np.cos(angles)[:, None] * ranges - spec.x_min
    y = origin[1] + np.sin(angles)[:, None] * ranges - spec.y_min
    ix = np.floor(x / spec.resolution).astype(np.int64)
    iy = np.floor(y / spec.resolution).astype(np.int64)
    inside = (ix >= 0) & (ix < spec.width) & (iy >= 0) & (iy < spec.height)
    seen = np.full(ix.shape, -1, np.int8)
    seen[inside] = cells[iy[inside], ix[inside]]
    edges = np.append(ranges - step / 2, np.inf)
    blocked = first_true(seen >= occupied_from)
    start, stop = first_run((seen >= 0) & (seen < occupied_from))
    obstacle = edges[blocked]
    far = np.minimum(np.where(stop > start, ranges[stop - 1] + step / 2, 0), obstacle)
    near = np.minimum(np.where(stop > start, edges[start], 0), far)
    return FreeSpace(origin, angles, near, far, obstacle)


def _beams(low: float, high: float, step: float, near: float, far: float) -> int:
    numbers = {'angle_min': low, 'angle_max': high, 'angle_increment': step}
    for name, value in {**numbers, 'range_min': near, 'range_max': far}.items():
        if not math.isfinite(value):
            raise GroundError(f'{name} of the scan must be a finite number, got {value!r}')
    if step <= 0 or not low < high or high - low > math.tau + 1e-6:
        raise GroundError(
            f'a scan from {low:g} to {high:g} rad by {step:g} is none: angle_max must be above '
            'angle_min by at most a turn, the increment positive'
        )
    if not 0 <= near < far:
        raise GroundError(f'range_max ({far:g}) must be above range_min ({near:g}), both from 0')
    n = math.floor((high - low) / step + 1e-6) + 1
    if n > _MAX_BEAMS:
        raise GroundError(f'a scan of {n} beams is too fine: raise the increment')
    return n
