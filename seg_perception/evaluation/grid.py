"""Scores of drivable grids against the truth about the ground: accumulate, then compute.

What the numbers say, each over all frames given:

* ``free_recall``: of the cells that are wholly drivable and wholly seen, the share marked free.
* ``false_free_rate``: of the cells marked free, the share that is wholly occupied or not drivable.
* ``occupied_recall``: of the places where road that the camera sees ends at a thing, the share
  with a cell marked occupied within 0.3 m.
* ``smear_m2``: ground that is free but hidden, and marked occupied; m2 a frame. (What lies behind
  an obstacle; plain inverse perspective mapping fills it.)
* ``flicker``: of all cells, the share that changes between free, occupied and unknown from one
  frame to the next while nothing moves.

Cells that a true boundary cuts count in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec

CUT, FREE = -1, 0
#: A true contact counts as found if a cell marked occupied has its middle this near (m).
CONTACT_REACH = 0.3
#: Cost from which a cell counts as occupied, that below which it counts as free, of 0..100.
#: Between them it is passable at a price, which is neither.
OCCUPIED_FROM, FREE_BELOW = 65, 25
#: What ``GridScores`` counts against a truth.
COUNTS = (
    'free_seen',
    'free_found',
    'marked_free',
    'wrongly_free',
    'contacts',
    'contacts_found',
    'smeared',
    'frames',
)


class GridTruth(Protocol):
    """What is true about a grid's cells; ``simulation.truth.GroundTruth`` is one.

    Attributes:
        cells: int8 [height, width]: 0 drivable all over, 100 nowhere drivable, -1 cut.
        visible: bool [height, width], the camera sees all of the cell's ground; None: no camera.
        contacts: float [n, 2], x, y in the grid's frame, m, where seen road ends at a thing.
    """

    @property
    def cells(self) -> np.ndarray: ...

    @property
    def visible(self) -> np.ndarray | None: ...

    @property
    def contacts(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class GridFigures:
    """Scores of all frames; NaN where nothing was there to be scored.

    Attributes:
        free_recall, false_free_rate, occupied_recall, flicker: shares, 0..1.
        smear_m2: m2 a frame. ms_per_frame: mean ms.
        frames: how many were scored against a truth.
    """

    free_recall: float
    false_free_rate: float
    occupied_recall: float
    smear_m2: float
    ms_per_frame: float
    flicker: float
    frames: int


class GridScores:
    """Accumulates scores of grids of one layout.

    Args:
        spec: the grid that all cells lie on.
    """

    def __init__(self, spec: GridSpec) -> None:
        self.spec = spec
        self._free_seen = self._free_found = 0
        self._marked_free = self._wrongly_free = 0
        self._contacts = self._contacts_found = 0
        self._smeared = self._frames = 0
        self._changed = self._compared = 0
        self._ms: list[float] = []
        self._last: np.ndarray | None = None

    def update(self, cells: np.ndarray, truth: GridTruth, *, ms: float | None = None) -> None:
        """Score one frame.

        Args:
            cells: int8 [height, width], -1 unknown, 0 free .. 100 occupied.
            truth: of the same moment.
            ms: how long the cells took.

        Raises:
            GroundError: cells or truth are not of the grid's shape, or the truth has no camera.
        """
        self._check('cells', cells)
        self._check('truth.cells', truth.cells)
        if truth.visible is None or truth.contacts is None:
            raise GroundError('the truth has no camera: what it sees is needed to score a grid')
        self._check('truth.visible', truth.visible)
        free, occupied = _kinds(cells)
        truly_free = truth.cells == FREE
        seen = truly_free & truth.visible
        self._free_seen += int(seen.sum())
        self._free_found += int((free & seen).sum())
        self._marked_free += int((free & (truth.cells != CUT)).sum())
        self._wrongly_free += int((free & (truth.cells > FREE)).sum())
        self._smeared += int((occupied & truly_free & ~truth.visible).sum())
        self._contacts += len(truth.contacts)
        self._contacts_found += int(contacts_found(occupied, truth.contacts, self.spec).sum())
        self._frames += 1
        if ms is not None:
            self._ms.append(ms)

    def update_still(self, cells: np.ndarray, *, first: bool = False) -> None:
        """Compare a frame in which nothing moved with the one before.

        Args:
            cells: int8 [height, width].
            first: of its sequence, so there is none before.
        """
        self._check('cells', cells)
        kinds = np.stack(_kinds(cells))
        if self._last is not None and not first:
            self._changed += int((kinds != self._last).any(axis=0).sum())
            self._compared += cells.size
        self._last = kinds

    def counts(self) -> dict[str, int]:
        """Return what was counted of frames with a truth; counts of any frames add up."""
        return {name: getattr(self, f'_{name}') for name in COUNTS}

    def add(self, counts: Mapping[str, int]) -> None:
        """Take the counts of other frames in, as ``counts`` gave them."""
        for name in COUNTS:
            setattr(self, f'_{name}', getattr(self, f'_{name}') + counts[name])

    def compute(self) -> GridFigures:
        """Return the scores so far."""
        area = self.spec.resolution**2
        return GridFigures(
            free_recall=_ratio(self._free_found, self._free_seen),
            false_free_rate=_ratio(self._wrongly_free, self._marked_free),
            occupied_recall=_ratio(self._contacts_found, self._contacts),
            smear_m2=_ratio(self._smeared * area, self._frames),
            ms_per_frame=_ratio(sum(self._ms), len(self._ms)),
            flicker=_ratio(self._changed, self._compared),
            frames=self._frames,
        )

    def _check(self, name: str, array: np.ndarray) -> None:
        if array.shape != self.spec.shape:
            raise GroundError(
                f'{name} is {array.shape}, the grid {self.spec.shape}: give cells of this grid'
            )


def contacts_found(occupied: np.ndarray, contacts: np.ndarray, spec: GridSpec) -> np.ndarray:
    """Return bool [n]: which contacts have the middle of an occupied cell within reach.

    Args:
        occupied: bool [height, width]; contacts: float [n, 2], x, y in the grid's frame, m.
    """
    n = int(np.ceil(CONTACT_REACH / spec.resolution)) + 1
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    ix, iy = ((np.asarray(contacts, np.float64).reshape(-1, 2) - spec.origin).T) / spec.resolution
    column, row = np.floor(ix).astype(int), np.floor(iy).astype(int)
    # From the contact to the middle of each cell around it, in cells.
    far = np.hypot(
        (column[:, None] + x.ravel() + 0.5) - ix[:, None],
        (row[:, None] + y.ravel() + 0.5) - iy[:, None],
    )
    padded = cv2.copyMakeBorder(occupied.astype(np.uint8), n, n, n, n, cv2.BORDER_CONSTANT)
    column = np.clip(column, 0, spec.width - 1) + n
    row = np.clip(row, 0, spec.height - 1) + n
    marked = padded[row[:, None] + y.ravel(), column[:, None] + x.ravel()] > 0
    return (marked & (far * spec.resolution <= CONTACT_REACH + 1e-9)).any(axis=1)


def _kinds(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells [height, width] count as free, and which as occupied."""
    return (cells >= 0) & (cells < FREE_BELOW), cells >= OCCUPIED_FROM


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float('nan')
