"""The grid over time: stills at even distances, and all of it together in the odometry's frame."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.grid import GridSpec
from seg_perception.replay.gallery import grid_panel

#: Least time between grids that are kept, nanoseconds, and how many stills are shown of them.
PERIOD_NS = 500_000_000
STILLS = 12
#: Longest side of the map in cells; coarser cells are taken for a longer drive.
_MAP_CELLS = 1400


@dataclass(frozen=True)
class _Still:
    stamp_ns: int
    cells: bytes
    spec: GridSpec
    pose: np.ndarray | None


class GridFilm:
    """Keeps a grid every half second, packed."""

    def __init__(self) -> None:
        self._stills: list[_Still] = []

    def offer(
        self, stamp_ns: int, cells: np.ndarray, spec: GridSpec, pose: np.ndarray | None
    ) -> None:
        """Keep a grid if the last kept one is old enough.

        Args:
            stamp_ns: of the picture.
            cells: int8 [spec.height, spec.width].
            spec: where they lie in their frame.
            pose: float [4, 4], that frame in a fixed one (odom); None where it is not known.
        """
        if self._stills and abs(stamp_ns - self._stills[-1].stamp_ns) < PERIOD_NS:
            return
        packed = zlib.compress(np.ascontiguousarray(cells).tobytes(), 1)
        self._stills.append(_Still(stamp_ns, packed, spec, pose))

    def save(self, folder: Path, name: str) -> dict[str, Any]:
        """Write the stills and the map; return what is where, as plain data."""
        folder.mkdir(parents=True, exist_ok=True)
        chosen = np.unique(np.linspace(0, len(self._stills) - 1, STILLS).round().astype(int))
        stills = []
        for number in chosen if self._stills else ():
            still = self._stills[number]
            file = f'grid_{name}_{number:05d}.png'
            (folder / file).write_bytes(grid_panel('', _cells(still)).data)
            stills.append({'stamp_ns': still.stamp_ns, 'file': file})
        drawn = self._map()
        if drawn is None:
            return {'stills': stills, 'map': None, 'map_resolution': None}
        cells, resolution = drawn
        file = f'map_{name}.png'
        (folder / file).write_bytes(grid_panel('', cells).data)
        return {'stills': stills, 'map': file, 'map_resolution': resolution}

    def _map(self) -> tuple[np.ndarray, float] | None:
        """Lay the grids over each other where their poses are known: the newest word counts."""
        placed = [still for still in self._stills if still.pose is not None]
        if not placed:
            return None
        corners = np.concatenate([_corners(still) for still in placed])
        low, high = corners.min(axis=0), corners.max(axis=0)
        resolution = max(placed[0].spec.resolution, float((high - low).max()) / _MAP_CELLS)
        width, height = (np.ceil((high - low) / resolution).astype(int) + 1).tolist()
        canvas = np.full((height, width), -1, np.int8)
        for still in placed:
            cells = _cells(still)
            row, column = np.nonzero(cells >= 0)
            spec = still.spec
            x = spec.x_min + (column + 0.5) * spec.resolution
            y = spec.y_min + (row + 0.5) * spec.resolution
            at = _moved(still.pose, np.stack([x, y], axis=1))
            index = ((at - low) / resolution).astype(int)
            canvas[index[:, 1], index[:, 0]] = cells[row, column]
        return canvas, resolution


def _cells(still: _Still) -> np.ndarray:
    return np.frombuffer(zlib.decompress(still.cells), np.int8).reshape(still.spec.shape)


def _corners(still: _Still) -> np.ndarray:
    spec = still.spec
    x, y = (spec.x_min, spec.x_max), (spec.y_min, spec.y_max)
    return _moved(still.pose, np.array([[a, b] for a in x for b in y]))


def _moved(pose: np.ndarray | None, points: np.ndarray) -> np.ndarray:
    assert pose is not None
    return points @ pose[:2, :2].T + pose[:2, 3]
