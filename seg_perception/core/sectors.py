"""Several cameras around one robot: what each has shown, and what a blind one leaves unknown."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import cv2
import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec

_UNKNOWN = -1


class Sectors:
    """The cells that each camera has shown anything of, on one grid in the robot's frame."""

    def __init__(self) -> None:
        self._spec: GridSpec | None = None
        self._seen: dict[str, np.ndarray] = {}

    def note(self, camera: str, spec: GridSpec, known: np.ndarray) -> None:
        """Take what a frame shows.

        Args:
            camera: its name.
            spec: the grid; another one than before starts anew.
            known: bool [spec.height, spec.width].
        """
        if spec != self._spec:
            self._spec, self._seen = spec, {}
        if camera in self._seen:
            self._seen[camera] |= known
        else:
            self._seen[camera] = known.copy()

    def forget(self, camera: str) -> None:
        """Drop what a camera has shown: it looks elsewhere now."""
        self._seen.pop(camera, None)

    def blank(
        self,
        cells: np.ndarray,
        spec: GridSpec,
        blind: Collection[str],
        t_odom_base: np.ndarray | None = None,
    ) -> None:
        """Make unknown what only blind cameras look at.

        Args:
            cells: int8 [spec.height, spec.width], changed in place.
            spec: the cells' grid; in the odometry's frame with a pose, else in the robot's.
            blind: names of cameras that show nothing now.
            t_odom_base: float [4, 4], the robot's pose, for cells in the odometry's frame.

        Raises:
            GroundError: cells in the robot's frame on another grid.
        """
        mask = self._only_of(blind)
        if mask is None:
            return
        if t_odom_base is not None:
            mask = self._in_odometry(mask, spec, t_odom_base)
        elif spec != self._spec:
            raise GroundError(f'the sectors are of {self._spec}, the cells of {spec}')
        cells[mask != 0] = _UNKNOWN

    def _only_of(self, blind: Collection[str]) -> np.ndarray | None:
        """Return uint8 [H, W]: cells that blind cameras have shown and no other looks at."""
        lost = [seen for name, seen in self._seen.items() if name in blind]
        if not lost:
            return None
        kept = [seen for name, seen in self._seen.items() if name not in blind]
        mask = np.logical_or.reduce(lost)
        if kept:
            mask &= ~np.logical_or.reduce(kept)
        return mask.view(np.uint8)

    def _in_odometry(
        self, mask: np.ndarray, spec: GridSpec, t_odom_base: np.ndarray
    ) -> np.ndarray:
        assert self._spec is not None
        yaw = math.atan2(t_odom_base[1, 0], t_odom_base[0, 0])
        c, s = math.cos(yaw), math.sin(yaw)
        back = np.array([[c, s], [-s, c]])  # directions of the odometry's frame in the robot's
        first = np.array([spec.x_min, spec.y_min]) + 0.5 * spec.resolution - t_odom_base[:2, 3]
        offset = (back @ first - self._spec.origin) / self._spec.resolution - 0.5
        scale = spec.resolution / self._spec.resolution
        to_base = np.column_stack([back * scale, offset])
        # A cell more on each side: cells of the two frames overlap only in part.
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(mask, to_base, (spec.width, spec.height), flags=flags)


def merged(grids: Iterable[np.ndarray]) -> np.ndarray:
    """Return what several cameras know together at one time: the dearest cell that any knows.

    Args:
        grids: int8 [H, W] each, -1 unknown, 0 free .. 100 occupied; at least one.
    """
    return np.maximum.reduce(list(grids))
