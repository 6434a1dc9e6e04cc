"""What one frame shows of the ground: its cells, and where along each bearing sight ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from seg_perception.core.grid import GridSpec

#: Values of ``GroundObservation.kinds``. HIDDEN is unknown, too, and more: something that moves
#: stands before it and may be standing on it, so that an older "free" no longer holds there.
UNKNOWN, FREE, OCCUPIED, OCCUPIED_MOVING, HIDDEN = 0, 1, 2, 3, 4
#: Two sorts of FREE in ``GroundObservation.evidence``. EDGE: so close in the picture to what is
#: not free that a trembling of the camera may be all that made it so, which is no reason to take
#: an obstacle back. LEFT: something that moves is seen close by, so that what stood here may be
#: that one, gone on. And one of HIDDEN, REAR: so close behind what moves that it may end there.
EDGE, LEFT, REAR = 5, 6, 7
EVIDENCE = 8  # how many there are


@dataclass(frozen=True)
class Contacts:
    """Along each bearing from the camera, how far the ground is free and what ends it.

    Attributes:
        origin: (x, y) of the point on the ground below the camera, base frame, m.
        bearings: float32 [n], radians from the base frame's x axis about z, growing.
        ranges: float32 [n], m from the origin to the first thing that stands on the ground; inf
            where none was seen.
        blocked: float32 [n], m to the first thing or ground that can't be driven on; inf: none.
        free_from, free_to: float32 [n], m from the origin: the ground is seen and free between
            them without a gap (equal where nothing is).
        labels: uint8 [n], class ids of what stands there; 255 where nothing does.
    """

    origin: tuple[float, float]
    bearings: np.ndarray
    ranges: np.ndarray
    blocked: np.ndarray
    free_from: np.ndarray
    free_to: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class GroundObservation:
    """One frame on the grid.

    Attributes:
        spec: the grid.
        cells: int8 [spec.height, spec.width], -1 unknown, 0 free .. 100 occupied.
        evidence: uint8, same shape: a kind as below, EDGE, LEFT or REAR.
        kinds: uint8, same shape: UNKNOWN, FREE, OCCUPIED, OCCUPIED_MOVING or HIDDEN.
    """

    spec: GridSpec
    cells: np.ndarray
    evidence: np.ndarray
    _find_contacts: Callable[[], Contacts] | None = field(default=None, repr=False)

    @cached_property
    def kinds(self) -> np.ndarray:
        """What the frame says of each cell."""
        return _KIND_OF[self.evidence]

    @cached_property
    def contacts(self) -> Contacts | None:
        """What ends sight along each bearing, worked out when asked for.

        None where no pixel sees the ground, and for projections without occlusion.
        """
        return None if self._find_contacts is None else self._find_contacts()

    @classmethod
    def unknown(cls, spec: GridSpec) -> GroundObservation:
        """Return the observation of a camera that sees nothing."""
        return cls(spec, spec.unknown(), np.zeros(spec.shape, np.uint8))


_KIND_OF = np.arange(EVIDENCE, dtype=np.uint8)
_KIND_OF[[EDGE, LEFT]], _KIND_OF[REAR] = FREE, HIDDEN


def first_true(there: np.ndarray) -> np.ndarray:
    """Return int64 [n]: the first True of each row of bool [n, m], m where there is none."""
    first = there.argmax(axis=1)
    first[~there[np.arange(len(there)), first]] = there.shape[1]
    return first


def first_run(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [n] twice: where the first run of True begins in each row, and ends (after it).

    Both are 0 where a row has none.
    """
    m = there.shape[1]
    start = first_true(there)
    after = ~there & (np.arange(m) >= start[:, None])
    stop = first_true(after)
    none = start == m
    return np.where(none, 0, start), np.where(none, 0, stop)
