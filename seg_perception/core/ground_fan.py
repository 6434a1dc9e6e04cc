"""A fan of bearings over the ground below a camera: where sight runs, and which cells it crosses.

What hides what is decided along bearings from the point on the ground below the camera: a thing
hides the ground behind it on the same bearing, whatever the lens does to straight lines. So the
mask is read at the nodes of a fan (bearings x ranges) about as dense as its pixels, and the cells
of the grid are so many nodes around their middles.

The fan and its cells depend on where the camera stands, which pixel a node shows on how it is
turned, too. A mount that pitches and rolls changes only the latter, which is quick to renew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground_cells import Cells, cells_of

#: Pixels are worked out for every so many nodes, and interpolated between.
COARSE = 4
#: Nodes at most; beyond it they are set wider apart and read more pixels each.
_MAX_NODES = 205_000
_PROBES = 72  # rays along the picture's width and height that the fan is laid out by
_MARGIN = 0.06  # rad by which the fan is wider than the view, so that the camera may turn a bit
_FAR_STEP, _STEP, _MAX_STEP = 0.6, 1.0, 6.0  # pixels between nodes along a bearing
_MAX_ACROSS = 2.0  # and between bearings (1 if there are not too many)
_ACROSS, _ALONG = 1 / 1.5, 1 / 2.5  # of a cell's side: closer nodes tell nothing new
_OVERLAP = 1.0  # rad by which a full circle overlaps itself: no cell is cut in two


@dataclass(frozen=True)
class Fan:
    """Bearings and ranges about the point below the camera.

    Attributes:
        origin: float64 [2], that point, m.
        height: of the camera above it, m.
        bearings: float64 [nb], rad, evenly growing; may run past pi.
        ranges: float64 [nr], m, growing.
        row_step: float64 [nr], pixels from a node to the next on its bearing, about.
        rows_read: int64 [nr], pixels up and down that a node reads, and
        columns_read: int64 [nr], to either side.
        rotation: float64 [3, 3], of the camera it was laid out for.
        cells: the cells.
    """

    origin: np.ndarray
    height: float
    bearings: np.ndarray
    ranges: np.ndarray
    row_step: np.ndarray
    rows_read: np.ndarray
    columns_read: np.ndarray
    rotation: np.ndarray
    cells: Cells

    def serves(self, pose: np.ndarray, height: float) -> bool:
        """Whether the fan is good enough for another pose of the camera.

        A foot point that is off by a little only makes shadows start a little off; which pixel
        shows which point of the ground is exact in any case.
        """
        turned = self.rotation.T @ pose[:3, :3]
        angle = math.acos(min(1.0, max(-1.0, (np.trace(turned) - 1) / 2)))
        moved = float(np.hypot(*(pose[:2, 3] - self.origin)))
        return (
            angle < _MARGIN * 0.9
            and moved < max(0.05, 0.05 * self.height)
            and abs(height - self.height) < 0.1 * self.height
        )


def lay_out(
    camera: CameraModel,
    pose: np.ndarray,
    grid: GridSpec,
    plane: GroundPlane,
    max_cells_per_pixel: float,
) -> Fan | None:
    """Return the fan of a camera; None if it sees no ground of the grid."""
    height = foot_height(pose, plane)
    if height < 1e-3:
        return None
    probes = _probe(camera, pose, grid, plane, height, max_cells_per_pixel)
    if probes is None:
        return None
    start, span = _span(probes.bearings)
    angles, steps = _angles(probes, height, grid)
    # With more pixels than nodes are bearable, first as few bearings as the cells need.
    fine = _ACROSS * grid.resolution / (height * math.tan(angles[-1])) * probes.per_bearing
    wanted = span * probes.per_bearing * steps[-1]
    apart = float(np.clip(wanted / _MAX_NODES, 1.0, np.clip(fine, 1.0, _MAX_ACROSS)))
    scale = max(1.0, math.sqrt(wanted / apart / _MAX_NODES))
    side = apart / probes.per_bearing
    n_bearings = _multiple(span / (side * scale))
    n_ranges = _multiple(steps[-1] / scale)
    at = np.interp(np.linspace(0, steps[-1], n_ranges), steps, angles)
    ranges = height * np.tan(at)
    bearings = start + np.linspace(0, span, n_bearings)
    origin, rotation = pose[:2, 3].copy(), pose[:3, :3].copy()
    row_step = np.maximum(np.gradient(np.interp(at, angles, _pixels(probes, angles))), 0.1)
    side_step = float(bearings[1] - bearings[0]) * probes.per_bearing
    reach = _reach(row_step, side_step, upright=_is_upright(rotation))
    shown = (reach[1].min() + 0.5) / side_step, (reach[0] + 0.5) / row_step
    cells = cells_of(grid, origin, bearings, ranges, shown)
    if cells is None:
        return None
    return Fan(origin, height, bearings, ranges, row_step, *reach, rotation, cells)


def _reach(
    row_step: np.ndarray, side_step: float, *, upright: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [nr] twice: pixels up and down, and to either side, that nodes must read.

    So that no thin thing slips between nodes.
    """
    along = np.maximum(np.ceil((row_step - 1) / 2 - 0.1).astype(int), 0)
    across = max(math.ceil((side_step - 1) / 2 - 0.1), 1)
    if upright:
        return along, np.full_like(along, across)
    along = np.maximum(along, across)  # bearings run in any direction of the picture
    return along, along


def _is_upright(rotation: np.ndarray) -> bool:
    """Return whether bearings run up and down the picture, or nearly so."""
    across, down, ahead = rotation[2]  # the picture's axes' share of the base's z
    return abs(across) < 0.3 and abs(down) > 0.7 and abs(ahead) < 0.7


def foot_height(pose: np.ndarray, plane: GroundPlane) -> float:
    """Return how high the camera stands over the ground straight below it, m."""
    below = plane.height_at(pose[0, 3], pose[1, 3])
    return float(pose[2, 3] - below)


def coarse_pixels(
    fan: Fan, camera: CameraModel, pose: np.ndarray, plane: GroundPlane
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that show every so many-th node.

    Over so few pixels, what is interpolated between them is exact to hundredths of one with any
    lens.

    Returns:
        uv float32 [range, bearing, 2], pixel coordinates (far outside where the lens shows none),
        and area float32 [range, bearing], square pixels that a square metre of ground at the node
        covers.
    """
    b, r = fan.bearings[::COARSE], fan.ranges[::COARSE]
    uv = project_polar(camera, pose, plane, fan.origin, b[None, :], r[:, None])
    return uv.astype(np.float32), _area(uv, b, r).astype(np.float32)


def project_polar(
    camera: CameraModel,
    pose: np.ndarray,
    plane: GroundPlane,
    origin: np.ndarray,
    bearings: np.ndarray,
    ranges: np.ndarray,
) -> np.ndarray:
    """Return float64 [..., 2]: pixels that show points of the ground, -1e6 where none does.

    Args:
        bearings, ranges: of one shape after broadcasting, rad and m.
    """
    x = origin[0] + ranges * np.cos(bearings)
    y = origin[1] + ranges * np.sin(bearings)
    points = np.stack([x, y, plane.height_at(x, y)], axis=-1)
    shape = points.shape[:-1]
    optical = (points.reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    uv, valid = camera.project(optical, clip=False)
    uv[~valid] = -1e6
    return uv.reshape(*shape, 2)


def _area(uv: np.ndarray, bearings: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Square pixels per square metre at the nodes [nr, nb] of a lattice of pixels."""
    along_r, along_b = np.gradient(uv, axis=0), np.gradient(uv, axis=1)
    cross = along_b[..., 0] * along_r[..., 1] - along_b[..., 1] * along_r[..., 0]
    metres = np.gradient(bearings) * (np.gradient(ranges) * np.maximum(ranges, 1e-6))[:, None]
    area = np.abs(cross) / metres
    area[uv[..., 0] < -1e5] = 0
    return np.minimum(area, 1e9)


@dataclass(frozen=True)
class _Probes:
    """Where rays of the picture meet the ground.

    Attributes:
        bearings, angles: float64 [n], rad; angles from straight down.
        per_bearing: pixels per rad of bearing, at most.
        per_angle: float64 [n], pixels per rad of the angle from straight down.
    """

    bearings: np.ndarray
    angles: np.ndarray
    per_bearing: float
    per_angle: np.ndarray


def _probe(
    camera: CameraModel,
    pose: np.ndarray,
    grid: GridSpec,
    plane: GroundPlane,
    height: float,
    max_cells_per_pixel: float,
) -> _Probes | None:
    """Send rays through the picture and a little around it, down to the ground."""
    u = np.linspace(-0.5, camera.width - 0.5, _PROBES)
    v = np.linspace(-0.5, camera.height - 0.5, _PROBES)
    uv = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    rays, valid = camera.rays(uv)
    rays = rays[valid] @ pose[:3, :3].T
    slope = rays @ np.array(plane.normal)
    rays, slope = rays[slope < -1e-6], slope[slope < -1e-6]
    drop = plane.offset - np.dot(plane.normal, pose[:3, 3])
    away = rays[:, :2] * (drop / slope)[:, None]
    ranges, bearings = np.hypot(*away.T), np.arctan2(away[:, 1], away[:, 0])
    farthest = max(
        math.hypot(x - pose[0, 3], y - pose[1, 3])
        for x in (grid.x_min, grid.x_max)
        for y in (grid.y_min, grid.y_max)
    )
    # A ray that passes over the grid still tells a bearing in which its far end is seen.
    ranges = np.minimum(ranges, farthest)
    if not ranges.size:
        return None
    angles = np.arctan2(ranges, height)
    # And evenly spread ones: near the horizon the picture's rows lie far apart on the ground.
    more = np.meshgrid(
        np.quantile(bearings, np.linspace(0, 1, _PROBES // 3)),
        np.linspace(angles.min(), angles.max(), 2 * _PROBES),
    )
    seen = camera.inside(
        project_polar(
            camera, pose, plane, pose[:2, 3], more[0].ravel(), height * np.tan(more[1].ravel())
        )
    )
    bearings = np.append(bearings, more[0].ravel()[seen])
    angles = np.append(angles, more[1].ravel()[seen])
    ranges = height * np.tan(angles)
    e = 1e-4
    spots = [(bearings, angles), (bearings + e, angles), (bearings, angles - e)]
    here, aside, nearer = (
        project_polar(camera, pose, plane, pose[:2, 3], b, height * np.tan(np.maximum(a, 0)))
        for b, a in spots
    )
    known = (np.stack([here, aside, nearer]) > -1e5).all(axis=(0, 2))
    if not known.any():
        return None
    per_bearing = np.hypot(*(aside - here)[known].T) / e
    per_angle = np.hypot(*(nearer - here)[known].T) / e
    ranges, bearings, angles = ranges[known], bearings[known], angles[known]
    metres_per_angle = height / np.cos(angles) ** 2
    pixels = per_bearing * per_angle / (np.maximum(ranges, 1e-6) * metres_per_angle)
    # A third more than the budget asks: the cells themselves are judged one by one.
    near = pixels * grid.resolution**2 * max_cells_per_pixel > 0.5
    if not near.any():
        return None
    return _Probes(bearings[near], angles[near], float(per_bearing[near].max()), per_angle[near])


def _span(bearings: np.ndarray) -> tuple[float, float]:
    """Return the first bearing and how far the view turns from there, rad."""
    ordered = np.sort(bearings)
    gaps = np.diff(np.append(ordered, ordered[0] + math.tau))
    widest = int(gaps.argmax())
    if gaps[widest] < 0.3:
        return float(ordered[0]), math.tau + _OVERLAP
    start = float(ordered[(widest + 1) % len(ordered)]) - _MARGIN
    return start, min(math.tau - float(gaps[widest]) + 2 * _MARGIN, math.tau + _OVERLAP)


def _angles(probes: _Probes, height: float, grid: GridSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return angles from straight down, and the number of nodes wanted up to each."""
    low = max(float(probes.angles.min()) - _MARGIN, 0.0)
    high = min(float(probes.angles.max()) + 1e-4, math.pi / 2 - 1e-4)
    edges = np.linspace(low, high, 129)
    pixels = _pixels(probes, edges)
    middle = (edges[1:] + edges[:-1]) / 2
    # m of ground that a pixel shows
    ground = height / np.cos(middle) ** 2 * np.diff(edges) / np.diff(pixels)
    step = np.clip(_ALONG * grid.resolution / ground, _STEP, _MAX_STEP)
    step[ground > grid.resolution] = _FAR_STEP
    return edges, np.concatenate([[0], np.cumsum(np.diff(pixels) / step)])


def _pixels(probes: _Probes, edges: np.ndarray) -> np.ndarray:
    """Return how many pixels lie between the first angle and each, at most on any bearing."""
    density = np.zeros(len(edges) - 1)
    at = np.clip(np.searchsorted(edges, probes.angles) - 1, 0, len(density) - 1)
    np.maximum.at(density, at, probes.per_angle)
    # Where no ray fell, as dense as beside it.
    density = cv2.dilate(density.reshape(1, -1), np.ones((1, 9)))[0]
    density = np.maximum(density, density[density > 0].min())
    return np.concatenate([[0], np.cumsum(np.diff(edges) * density)])


def _multiple(count: float) -> int:
    """Return a number of nodes that the coarse ones divide evenly."""
    return max(math.ceil(count / COARSE), 2) * COARSE + 1
