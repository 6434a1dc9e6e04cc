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
    BEHIND,
    DOUBTED,
    FOOTED,
    FOOTPRINT_CODE,
    FOOTPRINT_MOVING,
    HIDDEN_BEHIND,
    NOTHING,
    REAR_BEHIND,
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
def _stands(code):
    """Whether that is a confident pixel of what stands."""
    return (code == STANDING) | (code == FOOTED)


@inlined
def _worst_pixels(codes, pixel_at, ends, where):
    """Write (v, u) [nb, 2] of the worst of the pixels around each bearing's end, if it has one."""
    h, w = codes.shape
    for b in range(len(ends)):
        at = ends[b]
        if at >= pixel_at.shape[0]:
            continue
        u = min(max(pixel_at[at, b, 0], 1), max(w - 2, 0))
        v = min(max(pixel_at[at, b, 1], min(3, h - 1)), max(h - 4, 0))
        worst = -1
        for i in range(len(_AROUND)):
            x = min(max(u + _AROUND[i, 0], 0), w - 1)
            y = min(max(v + _AROUND[i, 1], 0), h - 1)
            if codes[y, x] > worst:
                worst = codes[y, x]
                where[b, 0], where[b, 1] = y, x
                if worst == STANDING:
                    break


@inlined
def _first_at_least(nodes, code, first):
    """Write the first node of each bearing with such a code, nr where none has."""
    nr, nb = nodes.shape
    found = np.full(nb, nr, np.uint16)
    for r in range(nr):
        row, at, none = nodes[r], np.uint16(r), np.uint16(nr)
        for b in range(nb):
            found[b] = min(found[b], at if row[b] >= code else none)
    for b in range(nb):
        first[b] = found[b]


@compiled(
    I64,
    given(U8, 2),
    given(U8, 2),
    given(I16, 3),
    filled(I64, 1),
    filled(I64, 2),
    filled(BOOL, 1),
)
def meet(nodes, codes, pixel_at, ends, where, overhang):
    """Find the first node of each bearing that stands or may overhang, and its pixel.

    Args:
        nodes: uint8 [nr, nb], codes; codes: uint8 [h, w], of the pixels.
        pixel_at: int16 [nr, nb, 2], the pixels (u, v) that show the nodes.
        ends: int64 [nb], written: the nodes, nr where there is none; where: int64 [nb, 2], the
            worst of the pixels (v, u) around them; overhang: bool [nb], whether it may.

    Returns:
        How many rows of the picture reach down to all that may overhang; 0: none does.
    """
    _first_at_least(nodes, FOOTED, ends)
    _worst_pixels(codes, pixel_at, ends, where)
    rows = 0
    for b in range(len(ends)):
        overhang[b] = ends[b] < nodes.shape[0] and nodes[ends[b], b] == FOOTED
        if overhang[b]:
            rows = max(rows, where[b, 0] + 1)
    return rows


@compiled(NONE, given(U8, 2), I64, U8, filled(U8, 2))
def sample(codes, apart, code, found):
    """Write 1 where every `apart`-th pixel is such a code, else 0."""
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            found[y, x] = codes[y * apart, x * apart] == code


@inlined
def _class_ids(labels, where, ends, beyond, ids):
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


@inlined
def _hangs(blobs, apart, where, ends, bearings, ranges, height, hanging):
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


@compiled(
    NONE,
    given(U8, 2),
    given(U8, 2),
    given(I16, 3),
    given(U16, 2),
    I64,
    given(F64, 1),
    given(F64, 1),
    F64,
    filled(I64, 1),
    filled(I64, 2),
    filled(BOOL, 1),
)
def let_through(
    nodes, codes, pixel_at, blobs, apart, bearings, ranges, height, ends, where, overhang
):
    """Move ends that hang from a nearer foot beside them to what stands behind.

    Args:
        blobs: uint16 [h, w], connected parts of what may overhang, of every `apart`-th pixel.
        bearings, ranges: of the fan; height: of the camera, m.
        nodes, codes, pixel_at, ends, where, overhang: see :func:`meet`; the last is scratch.
    """
    if _hangs(blobs, apart, where, ends, bearings, ranges, height, overhang):
        behind = np.empty_like(ends)
        _first_at_least(nodes, DOUBTED, behind)
        for b in range(len(ends)):
            ends[b] = behind[b] if overhang[b] else ends[b]
        _worst_pixels(codes, pixel_at, ends, where)


@inlined
def _has_enough(codes, v, u, high, pixels):
    found, (h, w) = 0, codes.shape
    for y in range(max(v - high, 0), min(v + high + 1, h)):
        row = codes[y]
        for x in range(max(u - _ACROSS // 2, 0), min(u + _ACROSS // 2 + 1, w)):
            found += _stands(row[x])
        if found >= pixels:
            return True
    return False


@inlined
def _confirm(codes, pixel_at, ends, where, row_step, pixels, confirmed):
    """Tell where enough confident pixels around the contact's (v, u) say the same.

    And one of them lies on the bearing itself: one that just passes a thing meets it at no
    place of the ground.
    """
    nr, (h, w) = pixel_at.shape[0], codes.shape
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
            u, v = pixel_at[r, b, 0], pixel_at[r, b, 1]
            if 0 <= u < w and 0 <= v < h and _stands(codes[v, u]):
                confirmed[b] = _has_enough(codes, where[b, 0], where[b, 1], high, pixels)
                break


@compiled(
    NONE,
    given(U8, 2),
    given(U8, 2),
    given(I16, 3),
    given(I64, 1),
    given(I64, 2),
    given(F64, 1),
    I64,
    filled(U8, 1),
    filled(BOOL, 1),
)
def weigh(codes, labels, pixel_at, ends, where, row_step, pixels, ids, confirmed):
    """Write what stands at the contacts, and whether enough pixels say so.

    Args:
        codes, labels: uint8 [h, w], codes and class ids of the pixels.
        row_step: float64 [nr], of the fan; pixels: that are enough.
        ids: uint8 [nb], UNLABELLED where nothing stands; confirmed: bool [nb].
        pixel_at, ends, where: see :func:`meet`.
    """
    _class_ids(labels, where, ends, len(row_step), ids)
    _confirm(codes, pixel_at, ends, where, row_step, pixels, confirmed)


@inlined
def _cuts(ends, confirmed, labels, moving, footprint, ranges, row_step, cut, foot):
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


@inlined
def mark(nodes, ends, cuts, foot):
    """Write footprints (``foot`` [nb] their code), and that nothing is known behind them.

    On each bearing: up to ``ends`` as it was, without what hangs there; up to ``cuts[0]`` the
    footprint; up to ``cuts[1]`` REAR_BEHIND; up to ``cuts[2]`` HIDDEN_BEHIND; then BEHIND.
    """
    past, rear, hidden = cuts[0], cuts[1], cuts[2]
    for r in range(nodes.shape[0]):
        row, at = nodes[r], np.int16(r)
        for b in range(len(row)):
            beyond = BEHIND if at >= hidden[b] else HIDDEN_BEHIND
            beyond = REAR_BEHIND if at < rear[b] else beyond
            beyond = foot[b] if at < past[b] else beyond
            before = NOTHING if row[b] >= FOOTED else row[b]
            row[b] = before if at < ends[b] else beyond


@compiled(
    NONE,
    filled(U8, 2),
    given(I64, 1),
    given(BOOL, 1),
    given(U8, 1),
    given(BOOL, 1),
    given(F32, 1),
    given(F64, 1),
    given(F64, 1),
)
def end_sight(nodes, ends, confirmed, labels, moving, footprint, ranges, row_step):
    """Write footprints, and that nothing is known behind them, into the nodes.

    Args:
        nodes: uint8 [nr, nb]; the others: see :func:`_cuts`.
    """
    cut, foot = np.empty((3, len(ends)), np.int16), np.empty(len(ends), np.uint8)
    _cuts(ends, confirmed, labels, moving, footprint, ranges, row_step, cut, foot)
    mark(nodes, ends.astype(np.int16), cut, foot)
