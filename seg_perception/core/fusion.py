"""The ground over time: frames of one or more cameras added up in the odometry's frame.

Log-odds of a cell being occupied (H. Moravec and A. Elfes, "High resolution maps from wide angle
sonar", ICRA 1985), one byte a cell (``fusion_levels``), on a window of cells that lie still in
the odometry's frame and follow the robot by whole cells, so that nothing is blurred by resampling
it again and again. The rules are not symmetric: what is taken for free must stand up to every
doubt, so one frame that shows an obstacle overrules any number that showed free ground, never the
other way round.

Only the pose in the plane counts (x, y, yaw): the frames' cells were projected onto the ground
already. Stamps are seconds of the pictures' clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.fusion_kernels import read_out, take, take_cost
from seg_perception.core.fusion_levels import Levels
from seg_perception.core.fusion_options import FusionEvent, FusionOptions, FusionReport
from seg_perception.core.grid import GridSpec, check_pose
from seg_perception.core.ground_observation import OCCUPIED, UNKNOWN, GroundObservation

#: Cells by which the window is larger than needed on each side, so that it moves seldom.
_MARGIN = 16
#: m and rad that odometry's samples may differ without any time having passed.
_JUMP, _TURN = 0.5, 0.2
_UNKNOWN_CELL, _FREE_CELL, _OCCUPIED_CELL = -1, 0, 100


class _Planar(NamedTuple):
    """A pose in the plane, m and rad."""

    x: float
    y: float
    yaw: float

    def out(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the robot's frame lies."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return c * x - s * y + self.x, s * x + c * y + self.y

    def away_from(self, other: _Planar) -> tuple[float, float]:
        """Return how far another pose lies away, and how far it is turned."""
        turned = abs(math.remainder(self.yaw - other.yaw, math.tau))
        return math.hypot(self.x - other.x, self.y - other.y), turned


class GridFusion:
    """Adds up observations of one grid.

    Args:
        spec: the grid in the robot's frame; observations must be of it.
        options: rates.
        graded: keep the cells' costs, too; else cells are -1, 0 and 100.
    """

    def __init__(
        self, spec: GridSpec, options: FusionOptions | None = None, *, graded: bool = False
    ) -> None:
        self.spec = spec
        self.options = options or FusionOptions()
        self.graded = graded
        diagonal = math.hypot(spec.width, spec.height)
        self._side = 2 * (math.ceil(diagonal / 2) + _MARGIN + 1)
        self._levels = Levels.of(self.options)
        self._trinary = _TRINARY[self._levels.taken_for]
        self._cells = np.zeros((self._side, self._side), np.uint8)  # bytes of the levels
        self._given: tuple[bytes | None, _Planar] = None, _Planar(0.0, 0.0, 0.0)
        self._cost = np.zeros(self._cells.shape if graded else (0, 0), np.float32)
        self.reset()

    @property
    def newest(self) -> float | None:
        """Stamp of the newest frame, s; None after a reset."""
        return self._newest

    def reset(self) -> None:
        """Forget everything: all cells are unknown."""
        self._newest: float | None = None
        self._decayed, self._faded = [0.0, 0.0, 0.0], 0.0
        self._pose, self._taken_at = _Planar(0.0, 0.0, 0.0), _Planar(1e18, 1e18, 0.0)
        self._corner = 0, 0  # of the window, in cells of the odometry's frame
        self._clear()

    def add(
        self, observation: GroundObservation, t_odom_base: np.ndarray, stamp: float
    ) -> FusionReport:
        """Add one frame of any camera.

        Args:
            observation: what it shows, on ``spec`` in the robot's frame.
            t_odom_base: float [4, 4], the robot's pose in the odometry's frame at the stamp.
            stamp: s.

        Returns:
            What happened; when the memory was dropped, only this frame is in it now.

        Raises:
            GroundError: another grid, no rigid pose, or a stamp that is not finite.
        """
        if observation.spec != self.spec:
            raise GroundError(f'the observation is of {observation.spec}, not of {self.spec}')
        pose = self._planar(t_odom_base)
        if not math.isfinite(stamp):
            raise GroundError(f'the stamp of a frame must be finite seconds, got {stamp!r}')
        report = self._check(pose, stamp)
        if report.was_reset:
            self.reset()
        if self._newest is None:
            self._newest, self._decayed, self._faded = stamp, [stamp] * 3, stamp
            self._place(pose, fresh=True)
        else:
            self._fade(stamp)
            self._place(pose)
        if stamp >= self._newest:
            self._newest, self._pose = stamp, pose
        self._take(observation, pose)
        return report

    def cells(self, t_odom_base: np.ndarray, stamp: float) -> np.ndarray:
        """Return what is known on the grid around the robot.

        Args:
            t_odom_base: float [4, 4], the robot's pose now.
            stamp: now, s.

        Returns:
            int8 [spec.height, spec.width]; all -1 when the newest frame is older than
            ``stale_after``, the clock went back, or the robot jumped since.

        Raises:
            GroundError: no rigid pose, or a stamp that is not finite.
        """
        pose = self._planar(t_odom_base)
        if not self._holds(pose, stamp):
            return self.spec.unknown()
        self._fade(stamp)
        to_window = self._to_window(pose)
        seen = np.empty(self.spec.shape, np.uint8)
        if not self.graded:
            read_out(self._cells, to_window, self._trinary, seen)
            return seen.view(np.int8)
        read_out(self._cells, to_window, _SAME, seen)
        size = (self.spec.width, self.spec.height)
        cost = cv2.warpAffine(self._cost, to_window, size, flags=_NEAREST, borderValue=0)
        return self._graded(seen, cost)

    def odom_cells(self, t_odom_base: np.ndarray, stamp: float) -> tuple[np.ndarray, GridSpec]:
        """Return what is known in a window of the odometry's frame, snapped to the resolution.

        Args:
            t_odom_base: float [4, 4], the robot's pose now.
            stamp: now, s.

        Returns:
            int8 cells [n, n], and their grid in the odometry's frame; it holds all of ``spec``
            around the robot, with more on each side. All -1 as in :meth:`cells`.
        """
        pose = self._planar(t_odom_base)
        res = self.spec.resolution
        if self._holds(pose, stamp):
            self._fade(stamp)
            corner = self._corner
            if self.graded:
                values = self._graded(self._cells, self._cost)
            else:
                values = cv2.LUT(self._cells, self._trinary).view(np.int8)
        else:
            values = np.full(self._cells.shape, _UNKNOWN_CELL, np.int8)
            corner = self._corner_for(pose)
        x, y = corner[0] * res, corner[1] * res
        return values, GridSpec(res, x, x + self._side * res, y, y + self._side * res)

    def _planar(self, t_odom_base: np.ndarray) -> _Planar:
        given = np.asarray(t_odom_base).tobytes()
        if given != self._given[0]:  # it mostly comes twice a frame
            (a, _, _, x), (b, _, _, y), *_ = check_pose(t_odom_base).tolist()
            self._given = given, _Planar(x, y, math.atan2(b, a))
        return self._given[1]

    # -- what may be believed ------------------------------------------------------------------

    def _check(self, pose: _Planar, stamp: float) -> FusionReport:
        if self._newest is None:
            return FusionReport(FusionEvent.GOOD)
        elapsed = stamp - self._newest
        options = self.options
        if elapsed < -options.time_back:
            return FusionReport(
                FusionEvent.TIME_BACK, f'the clock went back by {-elapsed:.2f} s at {stamp:.3f}'
            )
        if elapsed > options.stale_after:
            return FusionReport(FusionEvent.GAP, f'no frame for {elapsed:.2f} s')
        moved, turned = pose.away_from(self._pose)
        within = abs(elapsed)
        if (
            moved > _JUMP + options.max_speed * within
            or turned > _TURN + options.max_turn_rate * within
        ):
            return FusionReport(
                FusionEvent.JUMP,
                f'odometry jumped by {moved:.2f} m and {math.degrees(turned):.0f} degrees in '
                f'{within:.3f} s',
            )
        return FusionReport(FusionEvent.GOOD)

    def _holds(self, pose: _Planar, stamp: float) -> bool:
        if not math.isfinite(stamp):
            raise GroundError(f'the stamp must be finite seconds, got {stamp!r}')
        return self._newest is not None and not self._check(pose, stamp).was_reset

    # -- the window ----------------------------------------------------------------------------

    def _corner_for(self, pose: _Planar) -> tuple[int, int]:
        """Return the corner of a window whose middle is the grid's, in cells."""
        spec = self.spec
        x, y = pose.out((spec.x_min + spec.x_max) / 2, (spec.y_min + spec.y_max) / 2)
        half = self._side // 2
        return round(x / spec.resolution) - half, round(y / spec.resolution) - half

    def _place(self, pose: _Planar, *, fresh: bool = False) -> None:
        """Let the window follow the robot; what comes in is unknown."""
        corner = self._corner_for(pose)
        if fresh:
            self._corner = corner
            return
        shift = corner[0] - self._corner[0], corner[1] - self._corner[1]
        farthest = max(abs(shift[0]), abs(shift[1]))
        if farthest < _MARGIN:
            return
        self._corner = corner
        if farthest >= self._side:
            self._clear()
            return
        for layer in self._layers():
            moved = np.zeros_like(layer)
            moved[_part(-shift[1]), _part(-shift[0])] = layer[_part(shift[1]), _part(shift[0])]
            layer[:] = moved

    def _to_base(self, pose: _Planar) -> np.ndarray:
        """Return float64 [2, 3]: (column, row) of the window -> (column, row) of the grid."""
        spec, c, s = self.spec, math.cos(pose.yaw), math.sin(pose.yaw)
        # The middle of the window's first cell, from the robot.
        x, y = ((n + 0.5) * spec.resolution for n in self._corner)
        x, y = x - pose.x, y - pose.y
        column = (c * x + s * y - spec.x_min) / spec.resolution - 0.5
        row = (c * y - s * x - spec.y_min) / spec.resolution - 0.5
        return np.array([(c, s, column), (-s, c, row)])

    def _to_window(self, pose: _Planar) -> np.ndarray:
        """Return float64 [2, 3]: (column, row) of the grid -> (column, row) of the window."""
        res, c, s = self.spec.resolution, math.cos(pose.yaw), math.sin(pose.yaw)
        x, y = pose.out(self.spec.x_min + res / 2, self.spec.y_min + res / 2)
        column, row = x / res - self._corner[0] - 0.5, y / res - self._corner[1] - 0.5
        return np.array([(c, -s, column), (s, c, row)])

    # -- evidence ------------------------------------------------------------------------------

    def _fade(self, stamp: float) -> None:
        """Let everything decay up to a stamp, by whole steps."""
        if 0 <= stamp - self._faded < _FADE_STEP:
            return
        self._faded, then = stamp, _SAME
        for which, period in enumerate(self._levels.periods):
            steps = math.floor((stamp - self._decayed[which]) / period)
            self._decayed[which] += max(steps, 0) * period
            for _ in range(min(steps, _MOST_STEPS)):
                then = self._levels.faded[which][then]
        if then is not _SAME:
            cv2.LUT(self._cells, then, dst=self._cells)

    def _take(self, observation: GroundObservation, pose: _Planar) -> None:
        to_base = self._to_base(pose)
        if self.graded:
            take_cost(
                observation.evidence,
                observation.cells,
                to_base,
                self._levels.taken_for,
                self._cells,
                self._cost,
            )
        table = self._levels.still if self._has_stayed(pose) else self._levels.next
        take(observation.evidence, to_base, table, self._cells)

    def _has_stayed(self, pose: _Planar) -> bool:
        """Whether the robot is where it was when it was last taken to have moved."""
        moved, turned = pose.away_from(self._taken_at)
        if moved < _STEP and turned < _STEP / _STEP_REACH:
            return True
        self._taken_at = pose
        return False

    def _graded(self, cells: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Return int8, the cost of known cells."""
        taken_for = cv2.LUT(cells, self._levels.taken_for)
        known = np.clip(np.rint(cost), taken_for >= OCCUPIED, 100)
        return np.where(taken_for == UNKNOWN, _UNKNOWN_CELL, known).astype(np.int8)

    def _clear(self) -> None:
        for layer in self._layers():
            layer[:] = 0

    def _layers(self) -> tuple[np.ndarray, ...]:
        return (self._cells, self._cost) if self.graded else (self._cells,)


_SAME = np.arange(256, dtype=np.uint8)
_NEAREST = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
#: Bytes of int8 cells by what they are taken for: UNKNOWN, FREE, OCCUPIED, OCCUPIED_MOVING.
_TRINARY = np.array([_UNKNOWN_CELL, _FREE_CELL, _OCCUPIED_CELL, _OCCUPIED_CELL], np.int8).view(
    np.uint8
)
#: m that the robot moves, or turning moves what lies that far (m) away, between two frames that
#: count as independent evidence.
_STEP, _STEP_REACH = 0.2, 10.0
#: s by which decay is put off: many small steps cost more than few larger ones.
_FADE_STEP = 0.3
#: Steps of decay after which nothing is left.
_MOST_STEPS = 64


def _part(shift: int) -> slice:
    """Return the slice that is left of an axis when it starts `shift` later (or ends earlier)."""
    return slice(int(shift), None) if shift >= 0 else slice(0, int(shift))
