"""The truth about the ground, per grid cell: drivable, occupied, and whether it can be seen.

Built from the scene's own polygons, not from pictures, so it judges every way from a picture to
a grid. A cell that a boundary cuts is marked as such and belongs in no rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.simulation.footprints import footprints
from seg_perception.simulation.road import KERB_HEIGHT
from seg_perception.simulation.scene import Scene

UNKNOWN, FREE, OCCUPIED = -1, 0, 100
_FINE = 4
"""Sub-cells per cell and axis by which shares are measured."""
_BEARING = np.deg2rad(0.2)
"""Angle between the bearings along which contacts are looked for."""
_STEP = 0.025
"""m between the looks along a bearing."""


@dataclass(frozen=True)
class Viewpoint:
    """A camera at the moment of a frame, and what it saw.

    Attributes:
        camera: calibration at the picture's size.
        world_optical: 4x4 pose of its optical frame in the world.
        depth: float32 [h,w] m along the optical axis; ground: bool [h,w], the pixel shows ground
            and nothing that stands on it.
    """

    camera: CameraModel
    world_optical: np.ndarray
    depth: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class GroundTruth:
    """Truth on an OccupancyGrid's cells, arrays [height,width], row 0 at y_min, column 0 at x_min.

    Attributes:
        cells: int8: 0 drivable and clear all over, 100 not drivable or covered all over, -1 where
            a boundary cuts the cell.
        drivable: float32 0..1, share of the cell that is road surface free of obstacles.
        obstacle: float32 0..1, share covered by footprints of things.
        visible: bool: the camera sees the ground all over the cell. None without a camera.
        contacts: float32 [n,2], x, y in the grid's frame, m: where along a bearing the road that
            the camera sees ends at a thing. None without a camera.
        kerbs: float32 [n,2], where it ends at ground that is not drivable.
    """

    cells: np.ndarray
    drivable: np.ndarray
    obstacle: np.ndarray
    visible: np.ndarray | None = None
    contacts: np.ndarray | None = None
    kerbs: np.ndarray | None = None


def ground_truth(
    scene: Scene,
    time: float,
    grid: GridSpec,
    world_grid: np.ndarray,
    view: Viewpoint | None = None,
) -> GroundTruth:
    """Return the truth on a grid.

    Args:
        scene, time: the street and the moment, s.
        grid: the cells.
        world_grid: 4x4 pose of the grid's frame in the world, e.g. T_odom_base.
        view: for ``visible``, ``contacts`` and ``kerbs``.

    Raises:
        GroundError: the view's pictures are not of the camera's size.
    """
    fine = _Canvas(grid, world_grid)
    road = fine.fill(scene.road.surfaces())
    covered = fine.fill(footprints(scene, time))
    drivable = fine.share(road & ~covered)
    cells = np.full(drivable.shape, UNKNOWN, np.int8)
    cells[drivable >= 1] = FREE
    cells[drivable <= 0] = OCCUPIED
    obstacle = fine.share(covered)
    if view is None:
        return GroundTruth(cells, drivable, obstacle)
    for name, picture in (('depth', view.depth), ('ground', view.ground)):
        if picture.shape != (view.camera.height, view.camera.width):
            raise GroundError(
                f'{name} is {picture.shape}, the camera {view.camera.width}x{view.camera.height}: '
                'give both of one frame'
            )
    visible = _visible(grid, world_grid, view, fine.share(road) >= 0.5)
    contacts, kerbs = _ends_of_road(grid, world_grid, view, road, covered)
    return GroundTruth(cells, drivable, obstacle, visible, contacts, kerbs)


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
    grid: GridSpec, world_grid: np.ndarray, view: Viewpoint, on_road: np.ndarray
) -> np.ndarray:
    """Return bool [height,width]: the ground shows at the corners and the middle of the cell."""
    x = grid.x_min + np.arange(grid.width) * grid.resolution
    y = grid.y_min + np.arange(grid.height) * grid.resolution
    gx, gy = np.meshgrid(x, y)
    # What is not road lies a kerb higher, so a corner is looked at anew for each of its cells.
    height = np.where(on_road, 0.0, KERB_HEIGHT)
    shown = np.ones(gx.shape, bool)
    for dx, dy in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)):
        ground = np.stack(
            [gx + dx * grid.resolution, gy + dy * grid.resolution, height, np.ones_like(gx)], -1
        )
        shown &= _shows(view, ground.reshape(-1, 4) @ world_grid.T).reshape(gx.shape)
    return shown


def _shows(view: Viewpoint, world: np.ndarray) -> np.ndarray:
    """Return bool [n]: the pixel of a point of the ground [n,4] shows that ground."""
    optical = world @ np.linalg.inv(view.world_optical).T
    uv, seen = view.camera.project(optical[:, :3])
    u, v = np.rint(np.where(seen[:, None], uv, 0)).astype(int).T
    z = optical[:, 2]
    # A pixel spans more ground the farther it lies. A kerb in front of the point shows ground too,
    # but nearer, by the share of its height in the camera's.
    camera_height = max(float(view.world_optical[2, 3]), 0.1)
    span = z**2 / (view.camera.K[1, 1] * camera_height)
    slack = 0.05 + span + 0.3 * KERB_HEIGHT / camera_height * z
    with np.errstate(invalid='ignore'):
        return seen & view.ground[v, u] & (np.abs(view.depth[v, u] - z) < slack)


def _ends_of_road(
    grid: GridSpec,
    world_grid: np.ndarray,
    view: Viewpoint,
    road: np.ndarray,
    covered: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return contacts and kerbs, float32 [n,2] each: where road that is seen ends, and at what.

    The world is flat, so nothing hides the first end of road along a bearing from a camera
    above it; it is seen if it lies within the picture. What overhangs the road hangs higher
    than the camera.
    """
    eye = np.linalg.inv(world_grid) @ view.world_optical
    reach = np.hypot(
        max(abs(grid.x_min - eye[0, 3]), abs(grid.x_max - eye[0, 3])),
        max(abs(grid.y_min - eye[1, 3]), abs(grid.y_max - eye[1, 3])),
    )
    angle = np.arange(-np.pi, np.pi, _BEARING)[:, None]
    r = np.arange(0.0, reach, _STEP)
    step = grid.resolution / _FINE
    ix = np.floor((eye[0, 3] + r * np.cos(angle) - grid.x_min) / step).astype(np.int64)
    iy = np.floor((eye[1, 3] + r * np.sin(angle) - grid.y_min) / step).astype(np.int64)
    inside = (ix >= 0) & (iy >= 0) & (ix < road.shape[1]) & (iy < road.shape[0])
    ix, iy = np.where(inside, ix, 0), np.where(inside, iy, 0)
    is_thing, is_road = covered[iy, ix] & inside, road[iy, ix] & inside
    clear = is_road & ~is_thing
    # The end is the first look that is not clear behind one that is.
    ends = ~clear & inside
    ends[:, 1:] &= np.logical_or.accumulate(clear, axis=1)[:, :-1]
    ends[:, 0] = False
    first = ends.argmax(axis=1)
    rows = np.flatnonzero(ends.any(axis=1))
    first = first[rows]
    # Road again after a gap outside the grid would make up an end.
    before = clear[rows, first - 1]
    rows, first = rows[before], first[before]
    at = r[first]
    x, y = eye[0, 3] + at * np.cos(angle[rows, 0]), eye[1, 3] + at * np.sin(angle[rows, 0])
    world = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=1) @ world_grid.T
    optical = world @ np.linalg.inv(view.world_optical).T
    _, seen = view.camera.project(optical[:, :3])
    points = np.stack([x, y], axis=1).astype(np.float32)
    thing = is_thing[rows, first]
    return points[seen & thing], points[seen & ~thing]


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
