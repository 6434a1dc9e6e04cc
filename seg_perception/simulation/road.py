"""The road's course: a curved centre line and what lies across it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

STEP = 0.5
"""Spacing of the centre line's nodes, m."""
KERB_HEIGHT, KERB_WIDTH = 0.12, 0.16


@dataclass(frozen=True)
class SideStreet:
    """A street that leaves the road at right angles.

    Attributes:
        side: +1 left, -1 right.
        start, end: where its kerbs meet the road, m along the centre line.
        reach: how far it goes, m from the road's edge.
    """

    side: int
    start: float
    end: float
    reach: float = 60.0


@dataclass(frozen=True)
class Road:
    """Lanes and kerbs along a centre line, lengths in m.

    World frame: x forward and y left at the start (s = 0), z up, road surface at z = 0. Across
    the road, t > 0 is left.

    Attributes:
        length: of the centre line; it begins ``lead_in`` before s = 0.
        lane_width, lanes: lanes per direction.
        parking: width of the parking lane, (left, right), 0 where there is none.
        verge, walk: widths of grass strip and sidewalk, (left, right).
        right_hand: traffic keeps right.
        bends: (start s, length, curvature 1/m) of each bend; curvature fades in and out.
    """

    length: float
    lane_width: float
    lanes: int
    parking: tuple[float, float]
    verge: tuple[float, float]
    walk: tuple[float, float]
    right_hand: bool
    bends: tuple[tuple[float, float, float], ...]
    side_streets: tuple[SideStreet, ...] = ()
    lead_in: float = 30.0

    @cached_property
    def _line(self) -> np.ndarray:
        """Nodes (s, x, y, heading), [n,4]."""
        s = np.arange(-self.lead_in, self.length + STEP, STEP)
        curvature = np.zeros_like(s)
        for start, length, kappa in self.bends:
            phase = np.clip((s - start) / length, 0, 1)
            curvature += kappa * np.sin(np.pi * phase) ** 2
        heading = np.cumsum(curvature) * STEP
        zero = round(self.lead_in / STEP)
        heading -= heading[zero]
        x = np.cumsum(np.cos(heading)) * STEP
        y = np.cumsum(np.sin(heading)) * STEP
        return np.stack([s, x - x[zero], y - y[zero], heading], axis=1)

    @property
    def start(self) -> float:
        """First s of the centre line."""
        return -self.lead_in

    def edge(self, side: int) -> float:
        """Return the distance from the centre line to the kerb on a side (+1 left, -1 right)."""
        return self.lane_width * self.lanes + self.parking[0 if side > 0 else 1]

    def outer(self, side: int) -> float:
        """Return the distance from the centre line to the sidewalk's far edge."""
        k = 0 if side > 0 else 1
        return self.edge(side) + KERB_WIDTH + self.verge[k] + self.walk[k]

    def lane_centre(self, index: int, ahead: bool) -> float:
        """Return t of a lane's middle: index 0 next to the centre, running ahead or oncoming."""
        side = -1 if ahead == self.right_hand else 1
        return side * (index + 0.5) * self.lane_width

    def at(self, s: np.ndarray | float, t: np.ndarray | float = 0.0) -> tuple[np.ndarray, ...]:
        """Return x, y (m) and heading (rad) at distances s along and t left of the centre line."""
        line = self._line
        heading = np.interp(s, line[:, 0], line[:, 3])
        x = np.interp(s, line[:, 0], line[:, 1]) - np.sin(heading) * t
        y = np.interp(s, line[:, 0], line[:, 2]) + np.cos(heading) * t
        return x, y, heading

    def polygon(self, s0: float, s1: float, t0: float, t1: float, step: float = 1.0) -> np.ndarray:
        """Return the outline [n,2] of the strip between s0..s1 and t0..t1."""
        s = np.linspace(s0, s1, max(int(np.ceil((s1 - s0) / step)), 1) + 1)
        near = np.stack(self.at(s, t0)[:2], axis=1)
        far = np.stack(self.at(s, t1)[:2], axis=1)
        return np.concatenate([near, far[::-1]])

    def blocked(self, side: int, s: float, margin: float = 1.0) -> bool:
        """Return whether a side street opens at s on a side, or within a margin of it."""
        return any(
            k.side == side and k.start - margin < s < k.end + margin for k in self.side_streets
        )

    def surfaces(self) -> list[np.ndarray]:
        """Return the polygons [n,2] of the drivable surface: the road and its side streets."""
        parts = [self.polygon(self.start, self.length, -self.edge(-1), self.edge(1))]
        for street in self.side_streets:
            near = self.edge(street.side) - 0.05
            far = self.edge(street.side) + street.reach
            parts.append(
                self.polygon(street.start, street.end, street.side * near, street.side * far)
            )
        return parts

    def stretches(self, side: int, s0: float | None = None, s1: float | None = None):
        """Return the (start, end) pieces of a side that no side street interrupts."""
        cursor = self.start if s0 is None else s0
        end = self.length if s1 is None else s1
        pieces = []
        for street in sorted(self.side_streets, key=lambda k: k.start):
            if street.side != side or street.end < cursor or street.start > end:
                continue
            if street.start > cursor:
                pieces.append((cursor, street.start))
            cursor = street.end
        if cursor < end:
            pieces.append((cursor, end))
        return pieces
