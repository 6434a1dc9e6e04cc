"""Along each bearing: where sight ends, on what, and what is still known.

Works on the fan's nodes [range, bearing], each a byte that says the worst of the pixels around
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

#: What a pixel or a node says, the worse the greater. Of the ground: drivable; nothing; not in the
#: picture; a flat class one can't drive on. Once sight is known: behind a contact; hidden by
#: something that moves, or close behind it; within a footprint, or in one of what moves. Before
#: that of things: what may overhang; what stands, but not for sure; what stands.
DRIVABLE, NOTHING, OUTSIDE, FLAT = 0, 1, 2, 3
BEHIND, HIDDEN_BEHIND, REAR_BEHIND, FOOTPRINT_CODE, FOOTPRINT_MOVING = 4, 5, 6, 7, 8
FOOTED, DOUBTED, STANDING = 240, 250, 255

#: m within which a foot carries what overhangs, and the least height at which things overhang.
_REACH, _CLEARANCE = 3.0, 1.0
#: m behind a moving thing's footprint that it may cover unseen.
_HIDDEN_DEPTH = 8.0
_REAR = 3  # pixels behind a footprint within which it may end
#: Bearings of which the nearest foot stands for all; columns that show what hangs together.
_FEW, _LARGE = 8, 400
#: Pixels across, and up and down (at most), around a contact in which it must be confirmed; those
#: from it onwards in which its own bearing must meet one.
_ACROSS, _MOST_ALONG, _ALONG = 5, 20, 4.0
#: (u, v) of the pixels around one, the nearest first.
_AROUND = np.array(sorted(((u, v) for u in (-1, 0, 1) for v in range(-3, 4)), key=np.linalg.norm))


def pixel_codes(
    roles: np.ndarray, traits: GroundTraits, *, occlusion: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [256] twice: what a class id means to the ground, if sure and if not.

    Without ``occlusion`` every obstacle is taken for flat: it marks the ground it covers in the
    picture.
    """
    sure, unsure = np.full(256, NOTHING, np.uint8), np.full(256, NOTHING, np.uint8)
    drivable, obstacle = roles == DRIVABLE_CODE, roles == OBSTACLE_CODE
    sure[drivable] = DRIVABLE
    flat = obstacle & (traits.flat | (not occlusion))
    hangs = obstacle & ~flat & traits.overhang
    stands = obstacle & ~flat & ~traits.overhang
    sure[flat], sure[stands] = FLAT, STANDING
    unsure[stands] = DOUBTED
    # What overhangs without a foot hides some ground, and that is all.
    sure[hangs] = np.where(traits.footprint[hangs] > 0, FOOTED, NOTHING)
    return sure, unsure


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
        nr, nb = nodes.shape
        ends = _first_at_least(nodes, FOOTED)
        at = np.minimum(ends, nr - 1)
        footed = (ends < nr) & (nodes[at, np.arange(nb)] == FOOTED)
        if footed.any():
            hanging = self._hanging(ends, footed, codes)
            if hanging.any():
                ends[hanging] = _first_at_least(nodes[:, hanging], DOUBTED)
                at = np.minimum(ends, nr - 1)
                nodes[nodes == FOOTED] = NOTHING
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
        u, v = self.pixel_at[at, bearings].T.astype(np.int64)
        beside_u, beside_v = np.abs(_AROUND).max(axis=0)
        u = np.clip(u, min(beside_u, w - 1), max(w - 1 - beside_u, 0))
        v = np.clip(v, min(beside_v, h - 1), max(h - 1 - beside_v, 0))
        flat = (v * w + u) + (_AROUND[:, 1:] * w + _AROUND[:, :1])
        best = codes.take(flat, mode='clip').argmax(axis=0)
        found = np.clip(flat[best, np.arange(len(at))], 0, h * w - 1)
        return found // w, found % w

    def _hanging(self, ends: np.ndarray, footed: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return bool [nb]: what meets the eye there hangs from a nearer foot beside it."""
        fan = self.fan
        hanging = np.zeros(len(ends), bool)
        # Standing that near, the part that hides r would be at least that high.
        nearer = 1 - _CLEARANCE / fan.height
        mine = np.flatnonzero(footed)
        r = fan.ranges[ends[mine]].astype(np.float32)
        if nearer <= 0 or r.min() > r.max() * nearer:
            return hanging
        b = fan.bearings[mine].astype(np.float32)
        blob = _blobs_at(codes, self._pixels_at(mine, ends[mine], codes))
        # Of each few neighbours of one blob the nearest will do.
        first = np.append(True, (np.diff(blob) != 0) | (mine[1:] % _FEW == 0))
        least = np.minimum.reduceat(r, np.flatnonzero(first))[np.cumsum(first) - 1]
        foot = np.flatnonzero((r == least) & (blob > 0))
        explains = r[foot] <= r[:, None] * np.float32(nearer)
        explains &= blob[:, None] == blob[foot]
        i, j = np.nonzero(explains)
        apart = b[i] - b[foot[j]]
        beside = (np.abs(r[foot[j]] * np.sin(apart)) <= _REACH) & (np.cos(apart) > 0)
        hanging[mine[i[beside]]] = True
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
        nb, nr = len(at), self.nodes_per_bearing
        depth = int(np.clip(np.ceil(_ALONG / max(self.fan.row_step[at].min(), 0.1)), 4, 16))
        nodes = np.minimum(at + np.arange(depth)[:, None], nr - 1) * nb + np.arange(nb)
        packed = self.pixel_at.view(np.int32).take(nodes)  # v in the upper half, u in the lower
        there = _stands(codes, packed >> 16, packed.astype(np.int16)).any(axis=0)
        high = min(max(obstacle_pixels, 4), _MOST_ALONG) - 1
        v, u = np.mgrid[-high : high + 1, -(_ACROSS // 2) : _ACROSS // 2 + 1]
        around = _stands(codes, where[0] + v.reshape(-1, 1), where[1] + u.reshape(-1, 1))
        return there & (np.count_nonzero(around, axis=0) >= obstacle_pixels)

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
        nr = len(nodes)
        first = np.minimum(ends, nr - 1)
        # The contact lies somewhere between two pixels' centres.
        uncertain = np.ceil(1 / np.maximum(self.fan.row_step[first], 0.05)).astype(np.int64)
        deep = self.fan.ranges[np.minimum(first + uncertain, nr - 1)] + traits.footprint[ids]
        past = np.maximum(np.searchsorted(self.fan.ranges, deep), first + 1)
        past = np.where(confirmed, past, ends)
        moving = traits.moving[ids]
        hidden = np.searchsorted(self.fan.ranges, deep + _HIDDEN_DEPTH)
        index = np.arange(nr, dtype=np.int16)[:, None]
        hidden = np.where(moving, np.maximum(hidden, past), past)
        rear = np.where(moving, np.minimum(past + _REAR * uncertain, hidden), past)
        ends, past, rear, hidden = (cut.astype(np.int16) for cut in (ends, past, rear, hidden))
        # BEHIND; up to `hidden` HIDDEN_BEHIND; up to `rear` REAR_BEHIND; up to `past` a footprint.
        beyond = (index < hidden).view(np.uint8)
        beyond += np.uint8(BEHIND)
        beyond += (index < rear).view(np.uint8)
        foot = np.where(moving, FOOTPRINT_MOVING, FOOTPRINT_CODE) - REAR_BEHIND
        beyond += (index < past).view(np.uint8) * foot.astype(np.uint8)
        before = (index < ends).view(np.uint8)
        beyond *= before ^ np.uint8(1)
        nodes *= before
        nodes |= beyond


def _first_at_least(nodes: np.ndarray, code: int) -> np.ndarray:
    """Return int64 [nb]: the first node of each bearing with such a code, nr where none has."""
    nr = len(nodes)
    # As the greatest of numbers that fall along the bearing: argmax over columns is slow.
    left = np.arange(nr, 0, -1, dtype=np.uint16)[:, None]
    return nr - (left * (nodes >= code).view(np.uint8)).max(axis=0).astype(np.int64)


def _stands(codes: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return bool, the shape of v and u: a confident pixel of what stands is there."""
    h, w = codes.shape
    found = codes.take(v * w + u, mode='clip')
    stands = (found == STANDING) | (found == FOOTED)
    stands &= (u >= 0) & (u < w) & (v >= 0) & (v < h)
    return stands


def _blobs_at(codes: np.ndarray, where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return int64 [n]: which connected blob of what may overhang the pixels (v, u) are of.

    0: of none. In a large picture only every few-th pixel counts, which may part what hangs
    together by a thread.
    """
    apart = max(codes.shape[1] // _LARGE, 1)
    hangs = (codes[::apart, ::apart] == FOOTED).view(np.uint8)
    _, blobs = cv2.connectedComponents(hangs, connectivity=8, ltype=cv2.CV_16U)
    h, w = blobs.shape
    v, u = np.minimum(where[0] // apart, h - 1), np.minimum(where[1] // apart, w - 1)
    found = blobs[v, u].astype(np.int64)
    if apart > 1:
        none = np.flatnonzero(found == 0)
        for beside_v, beside_u in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0)):
            v_, u_ = np.clip(v[none] + beside_v, 0, h - 1), np.clip(u[none] + beside_u, 0, w - 1)
            found[none] = np.where(found[none] > 0, found[none], blobs[v_, u_])
    return found


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
