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

import cv2
import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.fusion_levels import Levels
from seg_perception.core.fusion_options import FusionEvent, FusionOptions, FusionReport
from seg_perception.core.grid import GridSpec, check_pose
from seg_perception.core.ground_observation import (
    EDGE,
    FREE,
    HIDDEN,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    REAR,
    UNKNOWN,
    GroundObservation,
)

__all__ = ['FusionEvent', 'FusionOptions', 'FusionReport', 'GridFusion']

#: Cells by which the window is larger than needed on each side, so that it moves seldom.
_MARGIN = 16
#: m and rad that odometry's samples may differ without any time having passed.
_JUMP, _TURN = 0.5, 0.2
_UNKNOWN_CELL, _FREE_CELL, _OCCUPIED_CELL = -1, 0, 100


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
        self._pose, self._taken_at = np.zeros(3), np.full(3, 1e18)
        self._corner = np.zeros(2, np.int64)  # of the window, in cells of the odometry's frame
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
        pose = _planar(t_odom_base)
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
        pose = _planar(t_odom_base)
        if not self._holds(pose, stamp):
            return self.spec.unknown()
        self._fade(stamp)
        to_window = np.linalg.inv(np.vstack([self._to_base(pose), (0, 0, 1)]))[:2]
        size = (self.spec.width, self.spec.height)
        seen = cv2.warpAffine(self._cells, to_window, size, flags=_NEAREST, borderValue=0)
        if not self.graded:
            return cv2.LUT(seen, self._trinary).view(np.int8)
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
        pose = _planar(t_odom_base)
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
        x, y = (float(v) for v in corner * res)
        return values, GridSpec(res, x, x + self._side * res, y, y + self._side * res)

    # -- what may be believed ------------------------------------------------------------------

    def _check(self, pose: np.ndarray, stamp: float) -> FusionReport:
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
        moved = float(np.hypot(*(pose[:2] - self._pose[:2])))
        turned = abs(math.remainder(pose[2] - self._pose[2], math.tau))
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

    def _holds(self, pose: np.ndarray, stamp: float) -> bool:
        if not math.isfinite(stamp):
            raise GroundError(f'the stamp must be finite seconds, got {stamp!r}')
        return self._newest is not None and not self._check(pose, stamp).was_reset

    # -- the window ----------------------------------------------------------------------------

    def _corner_for(self, pose: np.ndarray) -> np.ndarray:
        """Return int64 [2], the corner of a window whose middle is the grid's, in cells."""
        spec = self.spec
        middle = np.array([(spec.x_min + spec.x_max) / 2, (spec.y_min + spec.y_max) / 2])
        where = _turn(pose[2]) @ middle + pose[:2]
        return np.round(where / spec.resolution).astype(np.int64) - self._side // 2

    def _place(self, pose: np.ndarray, *, fresh: bool = False) -> None:
        """Let the window follow the robot; what comes in is unknown."""
        corner = self._corner_for(pose)
        if fresh:
            self._corner = corner
            return
        shift = corner - self._corner
        if np.abs(shift).max() < _MARGIN:
            return
        self._corner = corner
        if np.abs(shift).max() >= self._side:
            self._clear()
            return
        for layer in self._layers():
            moved = np.zeros_like(layer)
            moved[_part(-shift[1]), _part(-shift[0])] = layer[_part(shift[1]), _part(shift[0])]
            layer[:] = moved

    def _to_base(self, pose: np.ndarray) -> np.ndarray:
        """Return float64 [2, 3]: (column, row) of the window -> (column, row) of the grid."""
        spec = self.spec
        back = _turn(pose[2]).T
        first = (self._corner + 0.5) * spec.resolution - pose[:2]  # middle of cell (0, 0)
        offset = (back @ first - (spec.x_min, spec.y_min)) / spec.resolution - 0.5
        return np.column_stack([back, offset])

    def _reach(self, pose: np.ndarray) -> tuple[slice, slice]:
        """Return the rows and columns of the window that the grid reaches."""
        spec = self.spec
        x, y = [spec.x_min, spec.x_max], [spec.y_min, spec.y_max]
        corners = np.array([(a, b) for a in x for b in y]) @ _turn(pose[2]).T + pose[:2]
        cells = corners / spec.resolution - self._corner
        low = np.clip(np.floor(cells.min(axis=0)).astype(int), 0, self._side)
        high = np.clip(np.ceil(cells.max(axis=0)).astype(int), 0, self._side)
        return slice(low[1], high[1]), slice(low[0], high[0])

    # -- evidence ------------------------------------------------------------------------------

    def _fade(self, stamp: float) -> None:
        """Let everything decay up to a stamp, by whole steps."""
        if 0 <= stamp - self._faded < _FADE_STEP:
            return
        self._faded = stamp
        then = np.arange(256, dtype=np.uint8)
        for which, period in enumerate(self._levels.periods):
            steps = math.floor((stamp - self._decayed[which]) / period)
            self._decayed[which] += max(steps, 0) * period
            for _ in range(min(steps, _MOST_STEPS)):
                then = self._levels.faded[which][then]
        cv2.LUT(self._cells, then, dst=self._cells)

    def _take(self, observation: GroundObservation, pose: np.ndarray) -> None:
        rows, columns = self._reach(pose)
        part = rows, columns
        to_base = self._to_base(pose)
        to_base[:, 2] += to_base[:, :2] @ (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        if min(size) <= 0:
            return
        kinds = cv2.warpAffine(observation.evidence, to_base, size, flags=_NEAREST, borderValue=0)
        if self.graded:
            self._take_cost(observation, to_base, size, part, kinds)
        still = self._has_stayed(pose)
        cells = self._cells[part]
        table = self._levels.still if still else self._levels.next
        cv2.LUT(cv2.add(cells, kinds), table, dst=cells)

    def _has_stayed(self, pose: np.ndarray) -> bool:
        """Whether the robot is where it was when it was last taken to have moved."""
        away = pose - self._taken_at
        turned = abs(math.remainder(away[2], math.tau))
        if math.hypot(away[0], away[1]) < _STEP and turned < _STEP / _STEP_REACH:
            return True
        self._taken_at = pose
        return False

    def _take_cost(
        self,
        observation: GroundObservation,
        to_base: np.ndarray,
        size: tuple[int, int],
        part: tuple[slice, slice],
        kinds: np.ndarray,
    ) -> None:
        """Follow the costs that agree with what the cell is taken for."""
        seen = cv2.warpAffine(
            observation.cells.view(np.uint8), to_base, size, flags=_NEAREST, borderValue=255
        ).astype(np.float32)
        cost, before = self._cost[part], cv2.LUT(self._cells[part], self._levels.taken_for)
        known = ~np.isin(kinds, (UNKNOWN, HIDDEN, REAR))
        # A cell that was not known takes the first cost it sees, one that was free an obstacle's.
        blocks = (kinds == OCCUPIED) | (kinds == OCCUPIED_MOVING)
        fresh = (before == UNKNOWN) | (blocks & (before == FREE))
        share = np.where(fresh, np.float32(1), np.float32(0.3))
        share[np.isin(kinds, (FREE, EDGE, LEFT)) & (before >= OCCUPIED)] = 0
        np.copyto(cost, cost + share * (seen - cost), where=known)

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


def _planar(t_odom_base: np.ndarray) -> np.ndarray:
    """Return float64 [3]: x, y, yaw of a pose."""
    pose = check_pose(t_odom_base)
    return np.array([pose[0, 3], pose[1, 3], math.atan2(pose[1, 0], pose[0, 0])])


def _turn(yaw: float) -> np.ndarray:
    return np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])


def _part(shift: int) -> slice:
    """Return the slice that is left of an axis when it starts `shift` later (or ends earlier)."""
    return slice(int(shift), None) if shift >= 0 else slice(0, int(shift))
