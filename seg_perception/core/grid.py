"""The patch of ground that is mapped, and where the camera stands above it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from seg_perception.core.errors import GroundError

#: Largest grid in cells: 4 M is 200 m x 200 m at 0.1 m; more is a typing error.
MAX_CELLS = 4_000_000

#: Optical frame (z ahead, x right, y down) in a body frame (x ahead, y left, z up), REP 103.
_OPTICAL_IN_BODY = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True)
class GridSpec:
    """A grid in the base frame (x forward, y left), laid out as nav_msgs/OccupancyGrid.

    Cell (ix, iy) covers [x_min + ix * resolution, x_min + (ix + 1) * resolution) and y
    likewise; its value is ``cells[iy, ix]`` in an array [height, width].

    Attributes:
        resolution: side of a cell, m.
        x_min, x_max, y_min, y_max: extent, m; a whole number of cells.
    """

    resolution: float
    x_min: float
    x_max: float
    y_min: float
    y_max: float

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                raise GroundError(f'grid {item.name} must be a finite number, got {value!r}')
        if self.resolution <= 0:
            raise GroundError(f'grid resolution must be above 0 m, got {self.resolution:g}')
        for axis in ('x', 'y'):
            self._check_extent(axis, getattr(self, f'{axis}_min'), getattr(self, f'{axis}_max'))
        if self.width * self.height > MAX_CELLS:
            raise GroundError(
                f'a grid of {self.width} x {self.height} cells is above the limit of '
                f'{MAX_CELLS}: make it smaller or its resolution coarser'
            )

    def _check_extent(self, axis: str, low: float, high: float) -> None:
        if high <= low:
            raise GroundError(f'grid {axis}_max ({high:g}) must be above {axis}_min ({low:g})')
        cells = (high - low) / self.resolution
        if round(cells) < 1 or abs(cells - round(cells)) > 1e-3:
            near = low + max(math.floor(cells), 1) * self.resolution
            raise GroundError(
                f'grid {axis} extent {high - low:g} m is no whole number of cells of '
                f'{self.resolution:g} m: set {axis}_max to {near:.6g}, for one'
            )

    @property
    def width(self) -> int:
        """Cells along x."""
        return round((self.x_max - self.x_min) / self.resolution)

    @property
    def height(self) -> int:
        """Cells along y."""
        return round((self.y_max - self.y_min) / self.resolution)

    @property
    def origin(self) -> tuple[float, float]:
        """(x, y) of the outer corner of cell (0, 0), m."""
        return self.x_min, self.y_min

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array of cells: (height, width)."""
        return self.height, self.width

    def unknown(self) -> np.ndarray:
        """Return int8 [height, width] of -1."""
        return np.full(self.shape, -1, np.int8)


@dataclass(frozen=True)
class GroundPlane:
    """The ground in the base frame: the points p with normal . p = offset.

    Attributes:
        normal: unit vector pointing up, within 60 degrees of the base frame's z.
        offset: m along the normal.
    """

    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    offset: float = 0.0

    def __post_init__(self) -> None:
        values = np.array([*self.normal, self.offset], np.float64)
        if values.shape != (4,) or not np.isfinite(values).all():
            raise GroundError(f'ground plane must be 3 + 1 finite numbers, got {values.tolist()}')
        if abs(np.linalg.norm(values[:3]) - 1) > 1e-6 or values[2] < 0.5:
            raise GroundError(
                f'ground normal {self.normal} must have length 1 and lean at most 60 degrees'
            )

    @classmethod
    def from_slope(cls, pitch: float = 0.0, roll: float = 0.0, offset: float = 0.0) -> GroundPlane:
        """Return a sloping plane.

        Args:
            pitch: radians about y (REP 103): > 0 falls ahead, < 0 rises ahead.
            roll: radians about x: > 0 falls to the right.
            offset: m along its normal, > 0 lies above the base frame's origin.

        Raises:
            GroundError: steeper than 60 degrees or not finite.
        """
        if not np.isfinite([pitch, roll, offset]).all():
            raise GroundError(
                f'the slope of the ground must be finite, got pitch {pitch}, roll {roll}, '
                f'offset {offset}'
            )
        # The base frame's z after fixed-axis roll, then pitch.
        normal = (
            math.sin(pitch) * math.cos(roll),
            -math.sin(roll),
            math.cos(pitch) * math.cos(roll),
        )
        return cls(normal, float(offset))

    def height_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return z of the plane at (x, y), m."""
        return (self.offset - self.normal[0] * x - self.normal[1] * y) / self.normal[2]


def pose_from_mounting(
    x: float, y: float, height: float, roll: float, pitch: float, yaw: float
) -> np.ndarray:
    """Return T_base_optical float64 [4, 4], the pose of a camera's optical frame.

    Args:
        x, y, height: position of the lens in the base frame, m.
        roll, pitch, yaw: of the camera's body (x ahead, y left, z up), radians, fixed axes
            roll first (REP 103): pitch > 0 looks down, yaw > 0 looks left, roll > 0 leans right.

    Raises:
        GroundError: a number is not finite.
    """
    numbers = (x, y, height, roll, pitch, yaw)
    if not np.isfinite(numbers).all():
        raise GroundError(f'camera mounting must be finite numbers, got {numbers}')
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = about_z @ about_y @ about_x @ _OPTICAL_IN_BODY
    pose[:3, 3] = x, y, height
    return pose


def check_pose(pose: np.ndarray) -> np.ndarray:
    """Return a pose as float64 [4, 4].

    Raises:
        GroundError: it is no rigid transform.
    """
    pose = np.asarray(pose, np.float64)
    rows = pose.tolist()
    if pose.shape != (4, 4) or not math.isfinite(sum(map(sum, rows))):
        raise GroundError(f'a camera pose must be 4 x 4 finite numbers, got {rows}')
    if not _is_rigid(*rows):
        raise GroundError(f'the camera pose is no rigid transform: {rows}')
    return pose


def _is_rigid(x: list[float], y: list[float], z: list[float], last: list[float]) -> bool:
    """Return whether the rows of a pose are those of a rotation and a translation.

    (Plain numbers: NumPy takes longer for so few, and this is done several times a frame.)
    """
    handed = _dot(
        x, [y[1] * z[2] - y[2] * z[1], y[2] * z[0] - y[0] * z[2], y[0] * z[1] - y[1] * z[0]]
    )
    off = max(
        *(abs(_dot(x, x) - 1), abs(_dot(y, y) - 1), abs(_dot(z, z) - 1)),
        *(abs(_dot(x, y)), abs(_dot(y, z)), abs(_dot(z, x))),
    )
    off_last = max(abs(last[0]), abs(last[1]), abs(last[2]), abs(last[3] - 1))
    return off <= 1e-4 and handed > 0 and off_last <= 1e-8


def _dot(one: list[float], other: list[float]) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
