"""The truth about the ground, per grid cell: drivable, occupied, and whether it can be seen.

Built from the scene's own polygons, not from pictures, so it judges every way from a picture to
a grid. A cell that a boundary cuts is marked as such and belongs in no rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.simulation.mesh import pose
from seg_perception.simulation.road import KERB_HEIGHT
from seg_perception.simulation.scene import Scene, mover_pose

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
_FINE = 4
"""Sub-cells per cell and axis by which shares are measured."""
_RADII = {
    'lamp': 0.1,
    'post': 0.14,
    'sign': 0.05,
    'light': 0.08,
    'bollard': 0.1,
    'bin': 0.3,
    'tree': 0.24,
    'bare_tree': 0.15,
    'far_tree': 0.24,
}


@dataclass(frozen=True)
class GroundTruth:
    """Truth on an OccupancyGrid's cells, arrays [height,width], row 0 at y_min, column 0 at x_min.

    Attributes:
        cells: int8: 0 drivable and clear all over, 100 not drivable or covered all over, -1 where
            a boundary cuts the cell.
        drivable: float32 0..1, share of the cell that is road surface free of obstacles.
        obstacle: float32 0..1, share covered by footprints of things.
        visible: bool: the camera sees the ground at the cell's middle. None without a camera.
    """

    cells: np.ndarray
    drivable: np.ndarray
    obstacle: np.ndarray
    visible: np.ndarray | None = None


def footprints(scene: Scene, time: float) -> list[np.ndarray]:
    """Return what stands on the ground at a time: convex polygons [n,2] in the world, m.

    Overhanging parts (crowns, lamp arms, awnings) are not footprints.
    """
    found = [_box(*_building_box(scene, b)) for b in scene.buildings]
    for prop in scene.props:
        x, y, _ = (float(v) for v in scene.road.at(prop.s, prop.t))
        angle = np.linspace(0, 2 * np.pi, 9)[:-1]
        radius = _RADII[prop.kind] * prop.scale
        found.append(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1))
    thick = {'hedge': 0.7, 'wall': 0.24, 'planks': 0.04, 'railing': 0.04}
    for b in scene.barriers:
        out = 1 if b.t > 0 else -1
        for s in np.arange(b.s0, b.s1, 2.0):
            end = min(s + 2.0, b.s1)
            found.append(scene.road.polygon(s, end, b.t, b.t + out * thick[b.kind]))
    for mover in scene.movers:
        where, _ = mover_pose(scene, mover, time)
        if where is not None:
            found.append(_box(where, (0.0, 0.0), mover.footprint))
    return found


def _building_box(scene: Scene, b) -> tuple[np.ndarray, tuple, tuple]:
    x, y, heading = (float(v) for v in scene.road.at(b.s, b.t))
    turn = pose(x, y, 0, heading + (0 if b.side > 0 else np.pi))
    return turn, (0.0, b.depth / 2), (b.width, b.depth)


def _box(transform: np.ndarray, centre: tuple, size: tuple) -> np.ndarray:
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2 + centre
    return corner @ transform[:2, :2].T + transform[:2, 3]


def ground_truth(
    scene: Scene,
    time: float,
    grid,
    world_grid: np.ndarray,
    *,
    camera_matrix: np.ndarray | None = None,
    world_optical: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> GroundTruth:
    """Return the truth on a grid.

    Args:
        scene, time: the street and the moment, s.
        grid: a GridSpec (resolution, x_min, y_min in m, width, height in cells).
        world_grid: 4x4 pose of the grid's frame in the world, e.g. T_odom_base.
        camera_matrix, world_optical, depth: pinhole [3,3], its pose 4x4 and its depth picture
            float32 [h,w] m; all three for ``visible``, or none.

    Raises:
        GroundError: only some of the camera's three parts were given.
    """
    fine = _Canvas(grid, world_grid)
    road = fine.fill(scene.road.surfaces())
    covered = fine.fill(footprints(scene, time))
    drivable = fine.share(road & ~covered)
    cells = np.full(drivable.shape, UNKNOWN, np.int8)
    cells[drivable >= 1] = FREE
    cells[drivable <= 0] = OCCUPIED
    visible = None
    camera = (camera_matrix, world_optical, depth)
    if any(part is not None for part in camera):
        if any(part is None for part in camera):
            raise GroundError(
                'visibility needs camera_matrix, world_optical and depth together: give all three '
                'or none'
            )
        visible = _visible(scene, grid, world_grid, *camera)
    return GroundTruth(cells, drivable, fine.share(covered), visible)


class _Canvas:
    """Polygons drawn into sub-cells of a grid."""

    def __init__(self, grid, world_grid: np.ndarray):
        self._grid = grid
        self._grid_world = np.linalg.inv(world_grid)

    def fill(self, polygons: list[np.ndarray]) -> np.ndarray:
        """Return bool [fine height, fine width]: the sub-cells whose middle lies in a polygon."""
        grid, k = self._grid, _FINE
        picture = np.zeros((grid.height * k, grid.width * k), bool)
        step = grid.resolution / k
        for polygon in polygons:
            local = polygon @ self._grid_world[:2, :2].T + self._grid_world[:2, 3]
            at = (local - (grid.x_min, grid.y_min)) / step - 0.5
            low = np.maximum(np.floor(at.min(axis=0)).astype(int), 0)
            high = np.minimum(np.ceil(at.max(axis=0)).astype(int) + 1, picture.shape[::-1])
            if (low >= high).any():
                continue
            window = picture[low[1] : high[1], low[0] : high[0]]
            window |= _inside(at - low, window.shape)
        return picture

    def share(self, fine: np.ndarray) -> np.ndarray:
        """Return the share of each cell that is set, float32 [height,width]."""
        grid = self._grid
        blocks = fine.reshape(grid.height, _FINE, grid.width, _FINE)
        return blocks.mean(axis=(1, 3), dtype=np.float32)


def _inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return bool [h,w]: whether each lattice point lies in the polygon [n,2] (even-odd rule).

    Each row's crossings are found exactly and marked where they lie; a running parity along the
    row then tells inside from outside.
    """
    h, w = shape
    rows = np.arange(h)[:, None]
    a, b = polygon, np.roll(polygon, -1, axis=0)
    crosses = (a[:, 1] <= rows) != (b[:, 1] <= rows)
    with np.errstate(divide='ignore', invalid='ignore'):
        x = a[:, 0] + (rows - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    row, edge = np.nonzero(crosses)
    column = np.clip(np.ceil(x[row, edge]), 0, w).astype(int)
    flips = np.zeros((h, w + 1), np.int32)
    np.add.at(flips, (row, column), 1)
    return np.cumsum(flips, axis=1)[:, :w] % 2 == 1


def _visible(
    scene: Scene,
    grid,
    world_grid: np.ndarray,
    camera_matrix: np.ndarray,
    world_optical: np.ndarray,
    depth: np.ndarray,
) -> np.ndarray:
    """Return bool [height,width]: the depth picture ends at the ground of each cell's middle."""
    x = grid.x_min + (np.arange(grid.width) + 0.5) * grid.resolution
    y = grid.y_min + (np.arange(grid.height) + 0.5) * grid.resolution
    gx, gy = np.meshgrid(x, y)
    ground = np.stack([gx, gy, np.zeros_like(gx), np.ones_like(gx)], axis=-1)
    world = ground @ world_grid.T
    # What is not road lies a kerb higher.
    road = _Canvas(grid, world_grid)
    on_road = road.share(road.fill(scene.road.surfaces())) >= 0.5
    world[..., 2] = np.where(on_road, 0.0, KERB_HEIGHT)
    optical = world @ np.linalg.inv(world_optical).T
    z = optical[..., 2]
    ahead = z > 0.1
    uvw = optical[..., :3] @ camera_matrix.T
    uv = np.rint(uvw[..., :2] / np.where(ahead, z, 1.0)[..., None])
    h, w = depth.shape
    inside = ahead & (uv >= 0).all(axis=-1) & (uv[..., 0] < w) & (uv[..., 1] < h)
    u, v = (np.where(inside, uv[..., k], 0).astype(int) for k in (0, 1))
    seen = depth[v, u]
    # One pixel spans more ground the farther it lies; a tenth and a bit allows for that.
    slack = 0.3 + 0.5 * z**2 / (camera_matrix[1, 1] * world_optical[2, 3])
    with np.errstate(invalid='ignore'):
        return inside & (np.abs(seen - z) < slack)


def as_picture(truth: GroundTruth, scale: int = 2) -> np.ndarray:
    """Return truth for people, uint8 RGB, x up, y left: green free, red occupied, dim unseen."""
    color = np.zeros((*truth.cells.shape, 3), np.uint8)
    color[truth.cells == FREE] = (60, 170, 90)
    color[truth.cells == OCCUPIED] = (150, 150, 150)
    color[truth.obstacle > 0.5] = (200, 60, 50)
    color[truth.cells == UNKNOWN] = (235, 200, 80)
    if truth.visible is not None:
        color[~truth.visible] = color[~truth.visible] // 3
    turned = np.ascontiguousarray(color[::-1, ::-1].transpose(1, 0, 2))
    return cv2.resize(turned, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
