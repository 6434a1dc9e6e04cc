"""Which pixels of a mask show which cell of the ground: geometry only, done once per pose.

Two ways lead from pixels to cells, and near and far ground need one each:

* forward: every pixel centre falls on one cell. Where cells are larger than pixels (near), no
  pixel is missed, however thin what it shows.
* inverse: a lattice of points in the cell, at most a pixel apart and with the corners among
  them, falls on pixels. Where cells are smaller than pixels (far), most have no pixel centre.

A cell's pixels are those that either way gives, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, GroundPlane

#: Cells narrower than this many pixels are sampled the inverse way too: at twice the pixel
#: pitch a cell of any orientation holds a pixel centre.
_NARROW = 2.0
_MAX_SAMPLES = 256  # along one side of a cell
_CHUNK = 1 << 16  # cells or pixels worked on at a time: keeps the arrays in cache


@dataclass(frozen=True)
class CellPixels:
    """The pixels of every cell that the camera sees.

    Attributes:
        cells: int64 [V], flat indices (iy * width + ix) of cells with at least one pixel, growing.
        counts: int64 [V], how many pixels each has.
        pixels: int64 [sum(counts)], flat indices (v * width + u) into the mask, cell by cell.
        complete: bool [V], the whole cell lies inside the picture.
    """

    cells: np.ndarray
    counts: np.ndarray
    pixels: np.ndarray
    complete: np.ndarray


@dataclass(frozen=True)
class GroundView:
    """A camera above a plane, and the grid on it.

    Attributes:
        pose: float64 [4, 4], T_base_optical.
        max_cells_per_pixel: cells of which a pixel shows more are not seen.
    """

    camera: CameraModel
    pose: np.ndarray
    grid: GridSpec
    plane: GroundPlane
    max_cells_per_pixel: float

    def cell_pixels(self) -> CellPixels:
        """Work out the table."""
        size = self.grid.width * self.grid.height
        seen, complete = np.zeros(size, bool), np.zeros(size, bool)
        keys = [np.zeros(0, np.int64)]
        if self._is_above_ground():
            for chunk in self._cell_chunks():
                seen[chunk.cells] = chunk.seen
                complete[chunk.cells] = chunk.complete
                keys.extend(self._inverse(chunk))
            keys.extend(self._forward(seen))
        # One sort brings the pixels of a cell together and shows what both ways found.
        pairs = np.sort(np.concatenate(keys))
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        cell_of, pixels = np.divmod(pairs, self.camera.width * self.camera.height)
        starts = np.flatnonzero(np.diff(cell_of, prepend=-1))
        cells = cell_of[starts]
        return CellPixels(cells, np.diff(starts, append=len(pairs)), pixels, complete[cells])

    def _is_above_ground(self) -> bool:
        return bool(np.dot(self.plane.normal, self.pose[:3, 3]) > self.plane.offset)

    def _cell_chunks(self) -> Iterator[_Quads]:
        """Project the corners of the cells, some rows at a time."""
        grid = self.grid
        x = grid.x_min + grid.resolution * np.arange(grid.width + 1)
        rows = max(_CHUNK // (grid.width + 1), 1)
        for first in range(0, grid.height, rows):
            last = min(first + rows, grid.height)
            y = grid.y_min + grid.resolution * np.arange(first, last + 1)
            xx, yy = np.meshgrid(x, y)
            points = np.column_stack(
                [xx.ravel(), yy.ravel(), self.plane.height_at(xx, yy).ravel()]
            )
            optical = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
            uv, valid = self.camera.project(optical, clip=False)
            inside = valid & self.camera.inside(uv)
            yield _Quads.of_lattice(
                np.arange(first * grid.width, last * grid.width),
                uv.reshape(*xx.shape, 2),
                valid.reshape(xx.shape),
                inside.reshape(xx.shape),
                self.max_cells_per_pixel,
            )

    def _inverse(self, quads: _Quads) -> Iterator[np.ndarray]:
        """Yield keys (cell, pixel) of the samples in narrow cells."""
        width, height = self.camera.width, self.camera.height
        for cells, uv in quads.samples():
            u, v = np.floor(uv + 0.5).astype(np.int64).transpose(2, 0, 1)
            hit = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            yield ((cells[:, None] * height + v) * width + u)[hit]

    def _forward(self, seen: np.ndarray) -> Iterator[np.ndarray]:
        """Yield keys (cell, pixel) of the pixel centres that fall on a cell in ``seen``."""
        camera, grid = self.camera, self.grid
        normal, position = np.array(self.plane.normal), self.pose[:3, 3]
        drop = self.plane.offset - normal @ position
        n_pixels = camera.width * camera.height
        for first in range(0, n_pixels, _CHUNK):
            pixels = np.arange(first, min(first + _CHUNK, n_pixels))
            v, u = np.divmod(pixels, camera.width)
            rays, valid = camera.rays(np.column_stack([u, v]))
            directions = rays @ self.pose[:3, :3].T
            slope = directions @ normal
            down = valid & (slope < -1e-9)
            pixels, directions = pixels[down], directions[down]
            x, y, _ = (position + directions * (drop / slope[down])[:, None]).T
            ix = np.floor((x - grid.x_min) / grid.resolution)
            iy = np.floor((y - grid.y_min) / grid.resolution)
            on_grid = (ix >= 0) & (ix < grid.width) & (iy >= 0) & (iy < grid.height)
            cells = (iy[on_grid] * grid.width + ix[on_grid]).astype(np.int64)
            keep = seen[cells]
            yield cells[keep] * n_pixels + pixels[on_grid][keep]


@dataclass(frozen=True)
class _Quads:
    """Cells as the quadrilaterals that they are in the picture.

    Attributes:
        cells: int64 [N], flat indices.
        corners: float64 [2, 2, N, 2], pixel position of the corner at (y side, x side).
        sides: float64 [2, N], the longer of both edges along y and along x, pixels.
        seen: bool [N], the lens reaches all corners and the cell is within the pixel budget.
        narrow: bool [N], seen, partly in the picture, and too narrow to count on pixel centres.
        complete: bool [N], seen and all corners in the picture.
    """

    cells: np.ndarray
    corners: np.ndarray
    sides: np.ndarray
    seen: np.ndarray
    narrow: np.ndarray
    complete: np.ndarray

    @classmethod
    def of_lattice(
        cls,
        cells: np.ndarray,
        uv: np.ndarray,
        valid: np.ndarray,
        inside: np.ndarray,
        max_cells_per_pixel: float,
    ) -> _Quads:
        """Take the corners of all cells, lattice arrays being [rows + 1, columns + 1]."""
        corners, valid, inside = _corners(uv), _corners(valid), _corners(inside)
        with np.errstate(invalid='ignore', over='ignore'):
            diagonal, other = corners[1, 1] - corners[0, 0], corners[1, 0] - corners[0, 1]
            area = 0.5 * np.abs(diagonal[:, 0] * other[:, 1] - diagonal[:, 1] * other[:, 0])
            along_y = np.hypot(*np.moveaxis(corners[1] - corners[0], -1, 0)).max(axis=0)
            along_x = np.hypot(*np.moveaxis(corners[:, 1] - corners[:, 0], -1, 0)).max(axis=0)
            sides = np.stack([along_y, along_x])
            seen = valid.all(axis=(0, 1)) & (area * max_cells_per_pixel >= 1)
            narrow = seen & inside.any(axis=(0, 1)) & (area < _NARROW * sides.max(axis=0))
        return cls(cells, corners, sides, seen, narrow, seen & inside.all(axis=(0, 1)))

    def samples(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (cells [n], pixel positions [n, samples, 2]) of the narrow cells.

        The points lie at most a pixel apart, the corners and the middle among them. Between
        the corners they are interpolated in the picture: over so few pixels that is exact
        enough with any lens.
        """
        chosen = np.flatnonzero(self.narrow)
        steps = np.clip(np.ceil(self.sides[:, chosen]), 2, _MAX_SAMPLES - 2).astype(np.int64) + 1
        kind_of = steps[0] * _MAX_SAMPLES + steps[1]
        for kind in np.unique(kind_of):
            part = chosen[kind_of == kind]
            n_y, n_x = divmod(int(kind), _MAX_SAMPLES)
            y, x = (a.ravel() for a in np.meshgrid(*_fractions(n_y, n_x), indexing='ij'))
            weights = np.stack([[(1 - y) * (1 - x), (1 - y) * x], [y * (1 - x), y * x]])
            yield self.cells[part], np.einsum('abs,abnc->nsc', weights, self.corners[:, :, part])


def _fractions(*counts: int) -> list[np.ndarray]:
    return [np.linspace(0, 1, count) for count in counts]


def _corners(lattice: np.ndarray) -> np.ndarray:
    """Lattice [rows + 1, columns + 1, ...] -> [2, 2, rows * columns, ...] by (y side, x side)."""
    sides = [
        [lattice[:-1, :-1], lattice[:-1, 1:]],
        [lattice[1:, :-1], lattice[1:, 1:]],
    ]
    rows, columns = sides[0][0].shape[:2]
    return np.array(sides).reshape(2, 2, rows * columns, *lattice.shape[2:])
