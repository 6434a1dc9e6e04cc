"""The loops over bearings by which ``ground_sight`` finds what ends sight, and where."""

from __future__ import annotations

import math

import numpy as np

from seg_perception.core.compiled import (
    BOOL,
    F32,
    F64,
    I16,
    I64,
    NONE,
    U8,
    U16,
    compiled,
    filled,
    given,
    inlined,
)
from seg_perception.core.ground_codes import (
    FOOTED,
    FOOTPRINT_CODE,
    FOOTPRINT_MOVING,
    STANDING,
)
from seg_perception.core.results import UNLABELLED

#: m within which a foot carries what overhangs, and the least height at which things overhang.
_REACH, _CLEARANCE = 3.0, 1.0
#: m behind a moving thing's footprint that it may cover unseen.
_HIDDEN_DEPTH = 8.0
_REAR = 3  # pixels behind a footprint within which it may end
_FEW = 8  # bearings of which the nearest foot stands for all
#: Pixels across, and up and down (at most), around a contact in which it must be confirmed; those
#: from it onwards in which its own bearing must meet one.
_ACROSS, _MOST_ALONG, _ALONG = 5, 20, 4.0
#: (u, v) of the pixels around one, the nearest first.
_AROUND = np.array(
    sorted(((u, v) for u in (-1, 0, 1) for v in range(-3, 4)), key=np.linalg.norm), np.int64
)


@inlined
def _stands(codes, v, u):
    """Whether a confident pixel of what stands is there."""
    if v < 0 or u < 0 or v >= codes.shape[0] or u >= codes.shape[1]:
        return False
    return codes[v, u] == STANDING or codes[v, u] == FOOTED


@compiled(NONE, given(U8, 2), given(I16, 3), given(I64, 1), filled(I64, 2))
def worst_pixels(codes, pixel_at, ends, where):
    """Write (v, u) [nb, 2] of the worst of the pixels around each bearing's end."""
    h, w = codes.shape
    for b in range(len(ends)):
        at = min(ends[b], pixel_at.shape[0] - 1)
        u = min(max(pixel_at[at, b, 0], 1), max(w - 2, 0))
        v = min(max(pixel_at[at, b, 1], min(3, h - 1)), max(h - 4, 0))
        worst = -1
        for i in range(len(_AROUND)):
            x = min(max(u + _AROUND[i, 0], 0), w - 1)
            y = min(max(v + _AROUND[i, 1], 0), h - 1)
            if codes[y, x] > worst:
                worst = codes[y, x]
                where[b, 0], where[b, 1] = y, x


@compiled(BOOL, given(U8, 2), given(I64, 1), U8, filled(BOOL, 1))
def ends_on(nodes, ends, code, found):
    """Tell which bearings end on such a code; return whether any does."""
    some = False
    for b in range(len(ends)):
        found[b] = ends[b] < nodes.shape[0] and nodes[ends[b], b] == code
        some |= found[b]
    return some


@compiled(NONE, given(U8, 2), I64, U8, filled(U8, 2))
def sample(codes, apart, code, found):
    """Write 1 where every `apart`-th pixel is such a code, else 0."""
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            found[y, x] = codes[y * apart, x * apart] == code


@compiled(NONE, given(U8, 2), given(I64, 2), given(I64, 1), I64, filled(U8, 1))
def class_ids(labels, where, ends, beyond, ids):
    """Write the class ids at the contacts' pixels (v, u), UNLABELLED at ends of `beyond`."""
    for b in range(len(ends)):
        ids[b] = labels[where[b, 0], where[b, 1]] if ends[b] < beyond else UNLABELLED


@inlined
def _blob_of(blobs, apart, v, u):
    """Return which blob a pixel is of, in a picture of every `apart`-th one; 0: of none."""
    h, w = blobs.shape
    y, x = min(v // apart, h - 1), min(u // apart, w - 1)
    found = blobs[y, x]
    if apart > 1:
        for down, right in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0)):
            if found == 0:
                found = blobs[min(max(y + down, 0), h - 1), min(max(x + right, 0), w - 1)]
    return found


@inlined
def _feet(mine, r, blob):
    """Return of each few neighbours of one blob the nearest: indices into `mine`."""
    feet, n = np.empty(len(mine), np.int64), 0
    start = 0
    for i in range(len(mine)):
        last = i + 1 == len(mine)
        if last or blob[i + 1] != blob[i] or mine[i + 1] % _FEW == 0:
            least = r[start : i + 1].min()
            for j in range(start, i + 1):
                if r[j] == least and blob[j] > 0:
                    feet[n] = j
                    n += 1
                    break
            start = i + 1
    return feet[:n]


@compiled(
    BOOL,
    given(U16, 2),
    I64,
    given(I64, 2),
    given(I64, 1),
    given(F64, 1),
    given(F64, 1),
    F64,
    filled(BOOL, 1),
)
def hangs(blobs, apart, where, ends, bearings, ranges, height, hanging):
    """Tell where what meets the eye hangs from a nearer foot beside it; return whether any does.

    Args:
        blobs: uint16 [h, w], connected parts of what may overhang, of every `apart`-th pixel.
        where: int64 [nb, 2], its pixel (v, u); ends: int64 [nb], its node, nr where none is.
        bearings, ranges: of the fan; height: of the camera, m.
        hanging: bool [nb]; on entry, whether the class there may overhang.
    """
    nearer = 1 - _CLEARANCE / height
    mine = np.flatnonzero(hanging)
    hanging[:] = False
    r = ranges[ends[mine]]
    if nearer <= 0 or r.min() > r.max() * nearer:
        return False
    blob = np.empty(len(mine), np.int64)
    for i in range(len(mine)):
        blob[i] = _blob_of(blobs, apart, where[mine[i], 0], where[mine[i], 1])
    found = False
    feet = _feet(mine, r, blob)
    for i in range(len(mine)):
        for foot in feet:
            # Standing that near, the part that hides r would be at least that high.
            if blob[foot] != blob[i] or r[foot] > r[i] * nearer:
                continue
            apart_by = bearings[mine[i]] - bearings[mine[foot]]
            if abs(r[foot] * math.sin(apart_by)) <= _REACH and math.cos(apart_by) > 0:
                hanging[mine[i]] = found = True
                break
    return found


@inlined
def _has_enough(codes, v, u, high, pixels):
    found = 0
    for y in range(v - high, v + high + 1):
        for x in range(u - _ACROSS // 2, u + _ACROSS // 2 + 1):
            found += _stands(codes, y, x)
        if found >= pixels:
            return True
    return False


@compiled(
    NONE,
    given(U8, 2),
    given(I16, 3),
    given(I64, 1),
    given(I64, 2),
    given(F64, 1),
    I64,
    filled(BOOL, 1),
)
def confirm(codes, pixel_at, ends, where, row_step, pixels, confirmed):
    """Tell where enough confident pixels around the contact's (v, u) say the same.

    And one of them lies on the bearing itself: one that just passes a thing meets it at no
    place of the ground.
    """
    nr = pixel_at.shape[0]
    finest = 1e9
    for b in range(len(ends)):
        finest = min(finest, row_step[min(ends[b], nr - 1)])
    depth = min(max(math.ceil(_ALONG / max(finest, 0.1)), 4), 16)
    high = min(max(pixels, 4), _MOST_ALONG) - 1
    for b in range(len(ends)):
        confirmed[b] = False
        if ends[b] >= nr:
            continue
        for r in range(ends[b], min(ends[b] + depth, nr)):
            if _stands(codes, pixel_at[r, b, 1], pixel_at[r, b, 0]):
                confirmed[b] = _has_enough(codes, where[b, 0], where[b, 1], high, pixels)
                break


@compiled(
    NONE,
    given(I64, 1),
    given(BOOL, 1),
    given(U8, 1),
    given(BOOL, 1),
    given(F32, 1),
    given(F64, 1),
    given(F64, 1),
    filled(I16, 2),
    filled(U8, 1),
)
def cuts(ends, confirmed, labels, moving, footprint, ranges, row_step, cut, foot):
    """Write where on each bearing the footprint ends, and what may be hidden by what moves.

    Args:
        ends, confirmed, labels: [nb], the contacts and their class ids.
        moving, footprint: [256], of the classes.
        ranges, row_step: [nr], of the fan.
        cut: int16 [3, nb], the nodes after the footprint, after what may be its rear, and after
            what it may hide; foot: uint8 [nb], code of the footprint.
    """
    nr = len(ranges)
    for b in range(len(ends)):
        end, label = ends[b], labels[b]
        first = min(end, nr - 1)
        # The contact lies somewhere between two pixels' centres.
        uncertain = math.ceil(1 / max(row_step[first], 0.05))
        deep = ranges[min(first + uncertain, nr - 1)] + footprint[label]
        past = max(np.searchsorted(ranges, deep), first + 1) if confirmed[b] else end
        rear = hidden = past
        if moving[label]:
            hidden = max(np.searchsorted(ranges, deep + _HIDDEN_DEPTH), past)
            rear = min(past + _REAR * uncertain, hidden)
        cut[0, b], cut[1, b], cut[2, b] = past, rear, hidden
        foot[b] = FOOTPRINT_MOVING if moving[label] else FOOTPRINT_CODE
