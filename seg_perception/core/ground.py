"""From a mask to the ground: which cells are free, which are occupied, which are unknown.

The promise is that no cell is free by mistake: it takes confident drivable pixels all over the
cell and not one confident obstacle pixel in it; everything else is occupied or unknown. The
ground is taken as a plane, so an obstacle marks the cells that its pixels would show were they
ground: its foot is right, and its body covers the ground behind it, which can't be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec, GroundPlane, check_pose, pose_from_mounting
from seg_perception.core.ground_table import CellPixels, GroundView
from seg_perception.core.labels import DRIVABLE_CODE, OBSTACLE_CODE

__all__ = [
    'GridSpec',
    'GroundPlane',
    'GroundProjector',
    'ProjectionOptions',
    'pose_from_mounting',
]

#: What a pixel says, in one byte: 0 nothing, _FREE + cost drivable, _OBSTACLE + cost obstacle.
#: The greatest byte of a cell is its dearest obstacle, or its dearest drivable class.
_FREE, _OBSTACLE = 1, 128

_UNKNOWN = 255  # int8 -1
_MAX_COST = 100
_COLUMNS = 20  # cells of up to so many pixels are kept in tables, a column per cell


@dataclass(frozen=True)
class ProjectionOptions:
    """When a cell counts as free or occupied.

    Attributes:
        min_confidence: 0..1; pixels below it are no evidence.
        free_share: 0..1; a cell is free if at least this share of all its pixels is drivable
            (and none an obstacle).
        occupied_share: 0..1; a cell is occupied if at least this share of its pixels is an
            obstacle ...
        obstacle_pixels: ... or at least this many: a post is a small share of a near cell.
        max_cells_per_pixel: of which a pixel shows more, cells are unknown (the far range).
    """

    min_confidence: float = 0.5
    free_share: float = 0.9
    occupied_share: float = 0.25
    obstacle_pixels: int = 4
    max_cells_per_pixel: float = 16.0

    def __post_init__(self) -> None:
        for name in ('min_confidence', 'free_share', 'occupied_share'):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise GroundError(f'{name} must be in 0..1, got {value!r}')
        if self.free_share == 0:
            raise GroundError('free_share must be above 0: no evidence must not be free ground')
        if self.obstacle_pixels < 1:
            raise GroundError(f'obstacle_pixels must be at least 1, got {self.obstacle_pixels!r}')
        _check_budget(self.max_cells_per_pixel)


class GroundProjector:
    """Maps masks of one camera in one pose onto a grid; builds its table once (about 0.1 s).

    Args:
        camera: model at the size of the mask (see ``CameraModel.scaled``).
        T_base_optical: float [4, 4], pose of the optical frame in the grid's frame.
        grid: the cells, in the base frame.
        max_cells_per_pixel: pixel budget, see :class:`ProjectionOptions`.
        plane: the ground, z = 0 of the base frame unless given.

    A pose from which no pixel sees the grid is no error: ``sees_ground`` tells.

    Raises:
        GroundError: the pose is no rigid transform, or the budget is not positive.
    """

    def __init__(
        self,
        camera: CameraModel,
        T_base_optical: np.ndarray,
        grid: GridSpec,
        *,
        max_cells_per_pixel: float = 16.0,
        plane: GroundPlane | None = None,
    ) -> None:
        self.camera = camera
        self.grid = grid
        _check_budget(max_cells_per_pixel)
        pose = check_pose(T_base_optical)
        view = GroundView(camera, pose, grid, plane or GroundPlane(), max_cells_per_pixel)
        table = view.cell_pixels()
        self._rows = _row_range(table.pixels, camera.width)
        self._blocks = _make_blocks(table, self._rows.start * camera.width)
        # The cells in the order of the blocks.
        order = np.concatenate([block.members for block in self._blocks])
        self._cells = table.cells[order]
        self._counts = table.counts[order]
        self._complete = table.complete[order]
        self._cached: tuple[ProjectionOptions, np.ndarray, np.ndarray] | None = None

    @property
    def visible_cells(self) -> int:
        """How many cells the camera sees at all, within the pixel budget."""
        return len(self._cells)

    @property
    def sees_ground(self) -> bool:
        """Whether the camera sees any cell."""
        return self.visible_cells > 0

    def unknown(self) -> np.ndarray:
        """Return int8 [grid.height, grid.width] of -1."""
        return self.grid.unknown()

    def project(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        role_table: np.ndarray,
        options: ProjectionOptions | None = None,
        cost_table: np.ndarray | None = None,
    ) -> np.ndarray:
        """Map one mask onto the grid.

        Args:
            labels: uint8 [h, w], the size of the camera model.
            confidence: uint8 [h, w], 0..255 = 0..1.
            role_table: uint8 [256], ``LabelSet.role_table()``.
            options: thresholds; the pixel budget in them has no effect here, it is part of
                the table.
            cost_table: uint8 [256], ``LabelSet.cost_table()``; a known cell then gets the
                dearest cost among the classes that decide it, in place of 0 and 100.

        Returns:
            int8 [grid.height, grid.width], ``cells[iy, ix]``: -1 unknown, 0 free .. 100
            occupied.

        Raises:
            GroundError: an array is of another size or type.
        """
        options = options or ProjectionOptions()
        self._check_picture('labels', labels)
        self._check_picture('confidence', confidence)
        meaning = _meanings(role_table, cost_table)
        cells = self.unknown()
        if self.sees_ground:
            evidence = self._evidence(labels, confidence, meaning, options.min_confidence)
            counts = [block.count(evidence) for block in self._blocks]
            drivable, obstacle, dearest = (
                np.concatenate(column) for column in zip(*counts, strict=True)
            )
            cells.reshape(-1)[self._cells] = self._decide(drivable, obstacle, dearest, options)
        return cells

    def _decide(
        self,
        drivable: np.ndarray,
        obstacle: np.ndarray,
        dearest: np.ndarray,
        options: ProjectionOptions,
    ) -> np.ndarray:
        """Return int8 [V] from the numbers of pixels and the greatest byte of each cell, [V]."""
        too_many, enough = self._thresholds(options)
        occupied = obstacle >= too_many
        free = (drivable >= enough) & (obstacle == 0)
        # uint8 wraps around for the cells that neither line picks.
        values = np.where(free, dearest - np.uint8(_FREE), np.uint8(_UNKNOWN))
        return np.where(occupied, dearest - np.uint8(_OBSTACLE), values).view(np.int8)

    def _thresholds(self, options: ProjectionOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return int32 [V]: obstacle pixels to be occupied, drivable pixels to be free."""
        if self._cached is None or self._cached[0] != options:
            share = np.ceil(options.occupied_share * self._counts - 1e-9)
            enough = np.ceil(options.free_share * self._counts - 1e-9)
            # A cell cut by the picture's edge has too few pixels by definition.
            enough = np.where(self._complete, np.maximum(enough, 1), np.iinfo(np.int32).max)
            too_many = np.clip(share, 1, options.obstacle_pixels)
            self._cached = options, too_many.astype(np.int32), enough.astype(np.int32)
        return self._cached[1:]

    def _check_picture(self, name: str, array: np.ndarray) -> None:
        expected = (self.camera.height, self.camera.width)
        if array.dtype != np.uint8 or array.shape != expected:
            raise GroundError(
                f'{name} must be uint8 {expected}, the size the camera model was scaled to, '
                f'got {array.dtype} {array.shape}'
            )

    def _evidence(
        self, labels: np.ndarray, confidence: np.ndarray, meaning: np.ndarray, least: float
    ) -> np.ndarray:
        """Return uint8 [rows * w]: what the pixels of the rows that see ground say."""
        evidence = cv2.LUT(labels[self._rows], meaning)
        threshold = np.uint8(np.ceil(least * 255 - 1e-9))
        evidence *= confidence[self._rows] >= threshold
        return evidence.reshape(-1)


@dataclass(frozen=True)
class _Columns:
    """Cells of equally many pixels: a table with a column per cell, quick to reduce.

    Attributes:
        members: int64 [V], their places in the table of cells.
        pixels: int64 [n, V].
    """

    members: np.ndarray
    pixels: np.ndarray

    def count(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return drivable pixels, obstacle pixels, greatest byte of every cell, uint8 [V]."""
        seen = evidence.take(self.pixels, mode='clip')
        obstacle, drivable = _kinds(seen)
        return (
            np.add.reduce(drivable, axis=0, dtype=np.uint8),
            np.add.reduce(obstacle, axis=0, dtype=np.uint8),
            np.maximum.reduce(seen, axis=0),
        )


@dataclass(frozen=True)
class _Runs:
    """Cells of many pixels, one behind the other.

    Attributes:
        members: int64 [V], their places in the table of cells.
        pixels: int64 [M].
        starts: int64 [V], where each cell's pixels begin.
    """

    members: np.ndarray
    pixels: np.ndarray
    starts: np.ndarray

    def count(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return drivable pixels, obstacle pixels (int32), greatest byte of every cell, [V]."""
        seen = evidence.take(self.pixels, mode='clip')
        obstacle, drivable = _kinds(seen)
        return (
            np.add.reduceat(drivable.astype(np.int32), self.starts),
            np.add.reduceat(obstacle.astype(np.int32), self.starts),
            np.maximum.reduceat(seen, self.starts),
        )


def _kinds(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 where a byte of evidence means obstacle, and where it means drivable; uint8."""
    obstacle = seen >> 7  # _OBSTACLE is the highest bit
    return obstacle, (seen != 0).view(np.uint8) - obstacle


def _make_blocks(table: CellPixels, offset: int) -> list[_Columns | _Runs]:
    """Arrange the table for counting; ``offset`` is the first pixel of the rows in use."""
    starts = np.cumsum(table.counts) - table.counts
    blocks: list[_Columns | _Runs] = []
    for n in range(1, _COLUMNS + 1):
        members = np.flatnonzero(table.counts == n)
        at = starts[members] + np.arange(n)[:, None]
        blocks.append(_Columns(members, table.pixels[at] - offset))
    many = table.counts > _COLUMNS
    if many.any():
        counts = table.counts[many]
        pixels = table.pixels[np.repeat(many, table.counts)] - offset
        blocks.append(_Runs(np.flatnonzero(many), pixels, np.cumsum(counts) - counts))
    return blocks


def _row_range(pixels: np.ndarray, width: int) -> slice:
    if not pixels.size:
        return slice(0, 0)
    return slice(int(pixels.min()) // width, int(pixels.max()) // width + 1)


def _meanings(role_table: np.ndarray, cost_table: np.ndarray | None) -> np.ndarray:
    """Return uint8 [256]: the byte of evidence that each class id stands for."""
    tables = [('role_table', role_table, OBSTACLE_CODE)]
    if cost_table is None:
        cost_table = np.where(role_table == OBSTACLE_CODE, _MAX_COST, 0).astype(np.uint8)
    tables.append(('cost_table', cost_table, _MAX_COST))
    for name, table, most in tables:
        if table.shape != (256,) or table.dtype != np.uint8 or table.max() > most:
            raise GroundError(
                f'{name} must be uint8 [256] of at most {most}, got {table.dtype} {table.shape} '
                f'of at most {table.max(initial=0)}'
            )
    meaning = np.zeros(256, np.uint8)
    drivable, obstacle = role_table == DRIVABLE_CODE, role_table == OBSTACLE_CODE
    meaning[drivable] = _FREE + cost_table[drivable]
    meaning[obstacle] = _OBSTACLE + np.maximum(cost_table[obstacle], 1)  # 0 would mean free
    return meaning


def _check_budget(max_cells_per_pixel: float) -> None:
    if not (np.isfinite(max_cells_per_pixel) and max_cells_per_pixel > 0):
        raise GroundError(
            f'max_cells_per_pixel must be a number above 0, got {max_cells_per_pixel!r}'
        )
