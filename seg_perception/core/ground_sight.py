"""Along each bearing: where sight ends, on what, and what is still known.

Works on the fan's nodes [range, bearing], each a byte that says the worst of the pixels around
it. The first thing that stands on the ground ends what is known on its bearing. What overhangs
ends nothing: the ground beneath and beyond it is known where it is seen, and what the thing
itself hides is not. A class whose things both stand and overhang (a tree: trunk and crown)
stands where it meets the ground, and overhangs where a nearer foot of the same blob explains it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.ground_codes import DRIVABLE, FLAT, FOOTED
from seg_perception.core.ground_fan import Fan
from seg_perception.core.ground_observation import Contacts, first_run, first_true
from seg_perception.core.labels import GroundTraits
from seg_perception.core.sight_kernels import end_sight, let_through, meet, sample, weigh

_LARGE = 400  # columns that show what hangs together


@dataclass(frozen=True)
class Sight:
    """Where sight ends on the bearings of a fan.

    Attributes:
        nodes: uint8 [nr, nb], what the nodes say now: BEHIND and so on included.
        ends: int64 [nb], the node at which something stands, nr where nothing does.
        confirmed: bool [nb], enough pixels say so.
        labels: uint8 [nb], class ids of what stands there, 255 where nothing does.
    """

    nodes: np.ndarray
    ends: np.ndarray
    confirmed: np.ndarray
    labels: np.ndarray

    def contacts(self, fan: Fan) -> Contacts:
        """Return the same in metres."""
        start, stop = first_run(self.nodes.T == DRIVABLE)
        ranges = np.append(fan.ranges, np.inf)
        blocked = np.minimum(first_true(self.nodes.T == FLAT), self.ends)
        return Contacts(
            origin=(float(fan.origin[0]), float(fan.origin[1])),
            bearings=fan.bearings.astype(np.float32),
            ranges=ranges[self.ends].astype(np.float32),
            blocked=ranges[blocked].astype(np.float32),
            free_from=fan.ranges[start].astype(np.float32),
            free_to=fan.ranges[np.maximum(stop - 1, start)].astype(np.float32),
            labels=self.labels,
        )


@dataclass(frozen=True)
class Looker:
    """Finds where sight ends on the bearings of a fan.

    Attributes:
        fan: the bearings.
        pixel_at: int16 [nr, nb, 2], in the rows in use: the pixel (u, v) that shows each node;
            far outside where none does.
    """

    fan: Fan
    pixel_at: np.ndarray

    def look(
        self,
        nodes: np.ndarray,
        codes: np.ndarray,
        labels: np.ndarray,
        traits: GroundTraits,
        obstacle_pixels: int,
        instances: np.ndarray | None,
    ) -> Sight:
        """Return where sight ends.

        Args:
            nodes: uint8 [nr, nb], the worst code around each node; it is changed.
            codes, labels: uint8 [rows, w], codes and class ids of the pixels in use.
            traits: of the classes.
            obstacle_pixels: fewer of them end sight, too, but mark no cell.
            instances: uint16 [rows, w], or None.
        """
        nb, fan = nodes.shape[1], self.fan
        ends, where = np.empty(nb, np.int64), np.zeros((nb, 2), np.int64)
        overhang = np.empty(nb, bool)
        rows = meet(nodes, codes, self.pixel_at, ends, where, overhang)
        if rows:
            self._let_through(nodes, codes, rows, ends, where, overhang)
        ids, confirmed = np.empty(nb, np.uint8), np.empty(nb, bool)
        weigh(
            codes,
            labels,
            self.pixel_at,
            ends,
            where,
            fan.row_step,
            obstacle_pixels,
            ids,
            confirmed,
        )
        if instances is not None:
            ends = self._filled(ends, instances[tuple(where.T)])
        end_sight(
            nodes,
            ends,
            confirmed,
            ids,
            traits.moving,
            traits.footprint,
            fan.ranges,
            fan.row_step,
        )
        return Sight(nodes, ends, confirmed, ids)

    def _let_through(
        self,
        nodes: np.ndarray,
        codes: np.ndarray,
        rows: int,
        ends: np.ndarray,
        where: np.ndarray,
        overhang: np.ndarray,
    ) -> None:
        """Move ends that hang from a nearer foot to what stands behind; see ``meet``."""
        # In a large picture only every few-th pixel counts, which may part what hangs together
        # by a thread.
        apart, fan = max(codes.shape[1] // _LARGE, 1), self.fan
        size = math.ceil(rows / apart), math.ceil(codes.shape[1] / apart)
        hangs_there = np.empty(size, np.uint8)
        sample(codes, apart, FOOTED, hangs_there)
        _, blobs = cv2.connectedComponents(hangs_there, connectivity=8, ltype=cv2.CV_16U)
        let_through(
            nodes,
            codes,
            self.pixel_at,
            blobs,
            apart,
            fan.bearings,
            fan.ranges,
            fan.height,
            ends,
            where,
            overhang,
        )

    def _filled(self, ends: np.ndarray, instances: np.ndarray) -> np.ndarray:
        """Let each object's near side be what spans its contacts; return the new ends.

        Between a car's wheels one sees under it, but nothing fits there.
        """
        fan, nr = self.fan, len(self.fan.ranges)
        ids = np.where(ends < nr, instances, 0)
        filled = ends.copy()
        for one in np.unique(ids[ids > 0]):
            mine = np.flatnonzero(ids == one)
            if len(mine) < 3:
                continue
            span = np.arange(mine[0], mine[-1] + 1)
            near = _near_side(fan.bearings[mine], fan.ranges[ends[mine]], fan.bearings[span])
            node = np.searchsorted(fan.ranges, near, side='right') - 1
            filled[span] = np.minimum(filled[span], np.maximum(node, 0))
        return filled


def _near_side(bearings: np.ndarray, ranges: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return at the bearings ``at`` the ranges of the side of the points' hull that is nearer.

    Straight lines on the ground are straight in (tan of the bearing, 1 / range along the middle
    bearing), and nearer is greater there.
    """
    middle = (at[0] + at[-1]) / 2
    t, q = np.tan(bearings - middle), 1 / (ranges * np.cos(bearings - middle))
    hull: list[int] = []
    for i in range(len(t)):
        while len(hull) > 1 and _turns_left(t, q, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    q_at = np.interp(np.tan(at - middle), t[hull], q[hull])
    return 1 / (q_at * np.cos(at - middle))


def _turns_left(x: np.ndarray, y: np.ndarray, a: int, b: int, c: int) -> bool:
    return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]) >= 0
