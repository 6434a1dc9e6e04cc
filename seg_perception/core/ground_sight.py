"""Along each bearing: where sight ends, on what, and what is still known.

Works on the fan's nodes [bearing, range], each a byte that says the worst of the pixels around
it. The first thing that stands on the ground ends what is known on its bearing. What overhangs
ends nothing: the ground beneath and beyond it is known where it is seen, and what the thing
itself hides is not. A class whose things both stand and overhang (a tree: trunk and crown)
stands where it meets the ground, and overhangs where a nearer foot of the same blob explains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.ground_fan import Fan
from seg_perception.core.ground_observation import Contacts, first_run, first_true
from seg_perception.core.labels import DRIVABLE_CODE, OBSTACLE_CODE, GroundTraits
from seg_perception.core.results import UNLABELLED

#: What a pixel says, the worse the greater: 1 + cost of drivable ground; nothing; a flat class
#: one can't drive on; what overhangs without a foot; what may overhang; what stands, but not
#: for sure; what stands.
DRIVABLE, NOTHING, FLAT, SHADE, FOOTED, DOUBTED, STANDING = 1, 110, 120, 130, 240, 250, 255
#: What a node says once sight is known: behind a contact; hidden by something that moves; within
#: a footprint.
BEHIND, HIDDEN_BEHIND, FOOTPRINT_CODE, FOOTPRINT_MOVING = 140, 141, 150, 151

#: m within which a foot carries what overhangs, and the least height at which things overhang.
_REACH, _CLEARANCE = 3.0, 1.0
#: m behind a moving thing's footprint that it may cover unseen.
_HIDDEN_DEPTH = 8.0
#: Pixels across and up (at most) around a contact in which it must be confirmed, and those from
#: it onwards in which its own bearing must meet one.
_ACROSS, _MOST_ALONG, _ALONG = 5, 20, 4.0
#: (u, v) of the pixels around one, the nearest first.
_AROUND = np.array(sorted(((u, v) for u in (-1, 0, 1) for v in range(-3, 4)), key=np.linalg.norm))


def pixel_codes(
    roles: np.ndarray, traits: GroundTraits, costs: np.ndarray, *, occlusion: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [256] twice: what a class id means to the ground, if sure and if not.

    Without ``occlusion`` every obstacle is taken for flat: it marks the ground it covers in the
    picture.
    """
    sure, unsure = np.full(256, NOTHING, np.uint8), np.full(256, NOTHING, np.uint8)
    drivable, obstacle = roles == DRIVABLE_CODE, roles == OBSTACLE_CODE
    sure[drivable] = DRIVABLE + costs[drivable]
    flat = obstacle & (traits.flat | (not occlusion))
    hangs = obstacle & ~flat & traits.overhang
    stands = obstacle & ~flat & ~traits.overhang
    sure[flat], sure[stands] = FLAT, STANDING
    unsure[stands] = DOUBTED
    sure[hangs] = np.where(traits.footprint[hangs] > 0, FOOTED, SHADE)
    unsure[hangs] = SHADE
    return sure, unsure


@dataclass(frozen=True)
class Sight:
    """Where sight ends on the bearings of a fan.

    Attributes:
        nodes: uint8 [nb, nr], what the nodes say now: BEHIND and so on included.
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
        start, stop = first_run(self.nodes < NOTHING)
        ranges = np.append(fan.ranges, np.inf)
        blocked = np.minimum(first_true(self.nodes == FLAT), self.ends)
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
        pixel_at: int16 [nb, nr, 2], in the rows in use: the pixel (u, v) that shows each node;
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
            nodes: uint8 [nb, nr], the worst code around each node; it is changed.
            codes, labels: uint8 [rows, w], codes and class ids of the pixels in use.
            traits: of the classes.
            obstacle_pixels: fewer of them end sight, too, but mark no cell.
            instances: uint16 [rows, w], or None.
        """
        nb, nr = nodes.shape
        ends = first_true(nodes >= FOOTED)
        at = np.minimum(ends, nr - 1)
        footed = (ends < nr) & (nodes[np.arange(nb), at] == FOOTED)
        if footed.any():
            hanging = self._hanging(ends, footed, codes)
            if hanging.any():
                ends[hanging] = first_true(nodes[hanging] >= DOUBTED)
                at = np.minimum(ends, nr - 1)
        where = self._pixels_at(np.arange(nb), at, codes)
        ids = np.where(ends < nr, labels[where], UNLABELLED).astype(np.uint8)
        confirmed = (ends < nr) & self._confirmed(codes, at, where, obstacle_pixels)
        if instances is not None:
            ends = self._filled(ends, instances[where])
        self._mark(nodes, ends, confirmed, ids, traits)
        return Sight(nodes, ends, confirmed, ids)

    def _pixels_at(
        self, bearings: np.ndarray, at: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (v, u), int64 [n] each: the worst of the pixels around nodes (bearing, at)."""
        h, w = codes.shape
        u, v = self.pixel_at[bearings, at].T.astype(np.int64)
        us = np.clip(u + _AROUND[:, :1], 0, w - 1)
        vs = np.clip(v + _AROUND[:, 1:], 0, h - 1)
        pick = codes[vs, us].argmax(axis=0), np.arange(len(at))
        return vs[pick], us[pick]

    def _hanging(self, ends: np.ndarray, footed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return bool [nb]: what meets the eye there hangs from a nearer foot beside it."""
        fan = self.fan
        hanging = np.zeros(len(ends), bool)
        if fan.height <= _CLEARANCE:
            return hanging
        mine = np.flatnonzero(footed)
        r = fan.ranges[ends[mine]].astype(np.float32)
        b = fan.bearings[mine].astype(np.float32)
        # Standing that near, the part that hides r would be at least that high.
        explains = r[None, :] <= r[:, None] * (1 - _CLEARANCE / fan.height)
        if not explains.any():
            return hanging
        aside = np.abs(r[None, :] * np.sin(b[:, None] - b[None, :]))
        explains &= aside <= _REACH
        explains &= np.cos(b[:, None] - b[None, :]) > 0
        if not explains.any():
            return hanging
        _, blobs = cv2.connectedComponents((codes == FOOTED).view(np.uint8), connectivity=8)
        where = self._pixels_at(mine, ends[mine], codes)
        blob = blobs[where]
        explains &= blob[:, None] == blob[None, :]
        hanging[mine[explains.any(axis=1)]] = True
        return hanging

    def _confirmed(
        self,
        codes: np.ndarray,
        at: np.ndarray,
        where: tuple[np.ndarray, np.ndarray],
        obstacle_pixels: int,
    ) -> np.ndarray:
        """Return bool [nb]: enough confident pixels around the contact's say the same.

        And one of them lies on the bearing itself: one that just passes a thing meets it at no
        place of the ground.
        """
        stands = ((codes == STANDING) | (codes == FOOTED)).view(np.uint8)
        high = 2 * min(max(obstacle_pixels, 4), _MOST_ALONG) - 1
        around = cv2.boxFilter(
            stands, -1, (_ACROSS, high), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        nr, fan = self.nodes_per_bearing, self.fan
        depth = int(np.clip(np.ceil(_ALONG / max(fan.row_step[at].min(), 0.1)), 4, 16))
        rows = np.minimum(at[:, None] + np.arange(depth), nr - 1)
        u, v = np.moveaxis(self.pixel_at[np.arange(len(at))[:, None], rows], -1, 0)
        h, w = codes.shape
        there = (u >= 0) & (u < w) & (v >= 0) & (v < h)
        there &= stands[np.clip(v, 0, h - 1), np.clip(u, 0, w - 1)] > 0
        return (around[where] >= obstacle_pixels) & there.any(axis=1)

    def _filled(self, ends: np.ndarray, instances: np.ndarray) -> np.ndarray:
        """Let each object's near side be what spans its contacts; return the new ends.

        Between a car's wheels one sees under it, but nothing fits there.
        """
        fan, nr = self.fan, self.nodes_per_bearing
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

    @property
    def nodes_per_bearing(self) -> int:
        """How many ranges there are."""
        return len(self.fan.ranges)

    def _mark(
        self,
        nodes: np.ndarray,
        ends: np.ndarray,
        confirmed: np.ndarray,
        ids: np.ndarray,
        traits: GroundTraits,
    ) -> None:
        """Write footprints, and that nothing is known behind them, into the nodes."""
        nr = nodes.shape[1]
        first = np.minimum(ends, nr - 1)
        # The contact lies somewhere between two pixels' centres.
        uncertain = np.ceil(1 / np.maximum(self.fan.row_step[first], 0.05)).astype(np.int64)
        deep = self.fan.ranges[np.minimum(first + uncertain, nr - 1)] + traits.footprint[ids]
        past = np.maximum(np.searchsorted(self.fan.ranges, deep), first + 1)
        past = np.where(confirmed, past, ends)
        moving = traits.moving[ids]
        hidden = np.searchsorted(self.fan.ranges, deep + _HIDDEN_DEPTH)
        cuts = np.stack([ends, past, np.where(moving, hidden, past)])
        cuts = np.minimum(np.maximum.accumulate(cuts, axis=0), nr)
        lengths = np.diff(cuts, axis=0, prepend=0, append=nr).T
        parts = np.empty(lengths.shape, np.uint8)
        parts[:] = 0, FOOTPRINT_CODE, HIDDEN_BEHIND, BEHIND
        parts[moving, 1] = FOOTPRINT_MOVING
        codes = np.repeat(parts.ravel(), lengths.ravel()).reshape(nodes.shape)
        nodes *= codes == 0
        nodes |= codes


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
