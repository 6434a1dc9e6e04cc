"""One camera in one pose over one grid: reads masks at the fan's nodes and decides the cells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground_fan import CellBoxes, Fan, node_pixels
from seg_perception.core.ground_observation import (
    HIDDEN,
    OCCUPIED,
    GroundObservation,
)
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.ground_sight import (
    BEHIND,
    FLAT,
    FOOTPRINT_CODE,
    FOOTPRINT_MOVING,
    HIDDEN_BEHIND,
    NOTHING,
    Looker,
    Sight,
    pixel_codes,
)
from seg_perception.core.labels import GroundTraits

#: What the nodes of a cell add up to, three counts as digits of one number.
_MISSING, _BLOCKED, _OCCUPIED = 1, 1 << 12, 1 << 24
_DIGIT = (1 << 12) - 1
#: The same for costs: of drivable nodes, and of occupied ones.
_COST_DIGIT = 1 << 20
_UNSURE_COST = 50  # of what the network knows nothing about


class Classes(NamedTuple):
    """What class ids mean; see ``LabelSet``: tables [256] of roles and costs, and traits."""

    roles: np.ndarray
    costs: np.ndarray
    traits: GroundTraits


@dataclass(frozen=True)
class _Cells:
    """The cells in view; arrays [V].

    Attributes:
        flat: int32, iy * width + ix.
        corners: four int32, places of a cell's corners in the table of sums.
        middle: int32, flat index of the node in the cell's middle.
        nodes: int32, how many nodes the cell has.
        complete: bool, all of it is in the picture.
        pixels: float32, how many pixels show it.
    """

    flat: np.ndarray
    corners: tuple[np.ndarray, ...]
    middle: np.ndarray
    nodes: np.ndarray
    complete: np.ndarray
    pixels: np.ndarray

    def sums(self, table: np.ndarray) -> np.ndarray:
        """Return int64 [V]: sums over the cells' nodes, from a table as cv2.integral gives."""
        flat = table.reshape(-1)
        a, b, c, d = (flat.take(corner) for corner in self.corners)
        d -= b
        d -= c
        d += a
        return d.astype(np.int64)


@dataclass
class View:
    """A fan, the pixels that show it, and the cells it decides; build it with :meth:`of`."""

    grid: GridSpec
    cells: _Cells
    _looker: Looker
    _rows: slice
    _bracket: np.ndarray
    _dilate: int
    _limits: tuple[ProjectionOptions, np.ndarray, np.ndarray] | None = field(
        default=None, repr=False
    )

    @classmethod
    def of(
        cls,
        fan: Fan,
        camera: CameraModel,
        pose: np.ndarray,
        plane: GroundPlane,
        grid: GridSpec,
        max_cells_per_pixel: float,
    ) -> View | None:
        """Work out what a camera in a pose sees of a fan; None if that is nothing."""
        uv, area = node_pixels(fan, camera, pose, plane)
        u, v = uv[..., 0], uv[..., 1]
        inside = (u >= -0.5) & (u < camera.width - 0.5) & (v >= -0.5) & (v < camera.height - 0.5)
        if not inside.any():
            return None
        cells = _cells_in_view(fan.boxes, inside, area, grid, max_cells_per_pixel)
        if not cells.flat.size:
            return None
        rows = v[inside]
        first = max(int(rows.min()) - 2, 0)
        last = min(int(rows.max()) + 3, camera.height)
        row_step, side_step = _steps(uv, inside)
        np.floor(uv, out=uv)
        pixel_at = np.clip(uv, -3, 32000).astype(np.int16)
        pixel_at[..., 1] -= first
        pixel_at[~inside] = -9
        looker = Looker(fan, pixel_at, row_step, side_step)
        # Nodes wider apart than a pixel read more pixels each, so that none is left out.
        wider = math.ceil(fan.step - 1 - 1e-9)
        # The picture that is read begins a pixel before the mask's.
        return cls(grid, cells, looker, slice(first, last), pixel_at + np.int16(1), wider)

    def observe(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        classes: Classes,
        options: ProjectionOptions,
        instances: np.ndarray | None,
        *,
        trinary: bool,
    ) -> GroundObservation:
        """Decide the cells; see ``GroundProjector.observe``."""
        rows = self._rows
        labels, confidence = labels[rows], confidence[rows]
        codes = _codes(labels, confidence, classes, options)
        nodes = self._read(codes)
        sight = None
        if options.occlusion:
            sight = self._looker.look(
                nodes,
                codes,
                labels,
                classes.traits,
                options.obstacle_pixels,
                None if instances is None else instances[rows],
            )
        sums = self.cells.sums(cv2.integral(cv2.LUT(nodes, _WEIGHTS), sdepth=cv2.CV_64F))
        missing, blocked = sums & _DIGIT, sums & (_DIGIT << 12)
        few, too_many = self._thresholds(options)
        occupied = (sums >> 24) >= too_many
        free = (missing <= few) & (blocked == 0)
        if trinary:
            values = np.where(occupied, 100, free.view(np.int8) - np.int8(1)).astype(np.int8)
        else:
            values = self._graded(labels, confidence, classes, nodes, sight, sums, occupied, free)
        return self._observation(nodes, sight, free, occupied, values)

    def _read(self, codes: np.ndarray) -> np.ndarray:
        """Return uint8 [nb, nr]: the worst code of the pixels around each node."""
        wide = cv2.copyMakeBorder(codes, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        rows = np.maximum(wide[:-1], wide[1:])
        worst = np.maximum(rows[:, :-1], rows[:, 1:])
        if self._dilate > 0:
            size = 2 * ((self._dilate + 1) // 2) + 1
            worst = cv2.dilate(worst, np.ones((size, size), np.uint8))
        return _pick(worst, self._bracket, NOTHING)

    def _thresholds(self, options: ProjectionOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [V]: nodes that may miss in a free cell, nodes that make it occupied."""
        if self._limits is None or self._limits[0] != options:
            cells = self.cells
            few = np.floor((1 - options.free_share) * cells.nodes + 1e-9)
            few = np.where(cells.complete, few, -1)
            share = np.ceil(options.occupied_share * cells.nodes - 1e-9)
            # A blob of n pixels is seen from nodes up to half a pixel around it.
            pixels = (math.sqrt(options.obstacle_pixels) + 1) ** 2
            enough = pixels * cells.nodes / np.maximum(cells.pixels, 1e-6)
            too_many = np.maximum(np.minimum(share, enough), 1)
            self._limits = options, few.astype(np.int64), np.ceil(too_many).astype(np.int64)
        return self._limits[1:]

    def _graded(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        classes: Classes,
        nodes: np.ndarray,
        sight: Sight | None,
        sums: np.ndarray,
        occupied: np.ndarray,
        free: np.ndarray,
    ) -> np.ndarray:
        """Return int8 [V]: the mean cost of the pixels that decide each cell, -1 for none."""
        cost = cv2.LUT(labels, classes.costs).astype(np.float32)
        cost += (1 - confidence / np.float32(255)) * (_UNSURE_COST - cost)
        at = _pick(np.rint(cost).astype(np.uint8), self._looker.pixel_at, 0)
        drivable = nodes < NOTHING
        blocks = (nodes == FLAT) | (nodes == FOOTPRINT_CODE) | (nodes == FOOTPRINT_MOVING)
        if sight is not None:
            # A footprint costs what stands on it, not what the picture shows beyond it.
            stands = (nodes == FOOTPRINT_CODE) | (nodes == FOOTPRINT_MOVING)
            at = np.where(stands, classes.costs[sight.labels][:, None], at)
        worth = at * (drivable + blocks * np.float32(_COST_DIGIT))
        total = self.cells.sums(cv2.integral(worth.astype(np.float32), sdepth=cv2.CV_64F))
        n_blocks = np.maximum(sums >> 24, 1)
        n_drivable = np.maximum(self.cells.nodes - (sums & _DIGIT) - ((sums >> 12) & _DIGIT), 1)
        of_blocks = np.clip(np.rint((total // _COST_DIGIT) / n_blocks), 1, 100)
        of_ground = np.clip(np.rint((total % _COST_DIGIT) / n_drivable), 0, 99)
        return np.where(occupied, of_blocks, np.where(free, of_ground, -1)).astype(np.int8)

    def _observation(
        self,
        nodes: np.ndarray,
        sight: Sight | None,
        free: np.ndarray,
        occupied: np.ndarray,
        values: np.ndarray,
    ) -> GroundObservation:
        kinds = np.zeros(self.grid.shape, np.uint8)
        cells = self.grid.unknown()
        kind = free.view(np.uint8) + occupied * np.uint8(OCCUPIED)
        if sight is not None:
            middle = nodes.reshape(-1).take(self.cells.middle)
            moving = middle == FOOTPRINT_MOVING
            kind += occupied & moving  # OCCUPIED_MOVING is OCCUPIED + 1
            unknown = kind == 0
            kind += (unknown & (moving | (middle == HIDDEN_BEHIND))) * np.uint8(HIDDEN)
        cells.reshape(-1)[self.cells.flat] = values
        kinds.reshape(-1)[self.cells.flat] = kind
        fan = self._looker.fan
        find = None if sight is None else partial(sight.contacts, fan)
        return GroundObservation(self.grid, cells, kinds, find)


def _pick(picture: np.ndarray, pixels: np.ndarray, outside: int) -> np.ndarray:
    """Return uint8 [nb, nr]: the pixels (u, v) of int16 [nb, nr, 2]."""
    return cv2.remap(  # type: ignore[call-overload]  # whole pixels need no second map
        picture,
        pixels,
        None,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=outside,
    )


def _codes(
    labels: np.ndarray, confidence: np.ndarray, classes: Classes, options: ProjectionOptions
) -> np.ndarray:
    """Return uint8 [rows, w]: what each pixel means to the ground."""
    sure, unsure = pixel_codes(
        classes.roles, classes.traits, classes.costs, occlusion=options.occlusion
    )
    least = math.ceil(options.min_confidence * 255 - 1e-9)
    doubtful = confidence < least
    codes = cv2.LUT(labels, sure)
    if doubtful.any():
        np.copyto(codes, cv2.LUT(labels, unsure), where=doubtful)
    return codes


def _cells_in_view(
    boxes: CellBoxes,
    inside: np.ndarray,
    area: np.ndarray,
    grid: GridSpec,
    max_cells_per_pixel: float,
) -> _Cells:
    nr = inside.shape[1]
    wide = nr + 1
    table = cv2.integral(inside.view(np.uint8)).reshape(-1)
    top, bottom = boxes.first * wide, (boxes.last + 1) * wide
    corners = (top + boxes.near, top + boxes.far + 1, bottom + boxes.near, bottom + boxes.far + 1)
    a, b, c, d = (table.take(corner) for corner in corners)
    seen = d - b - c + a
    nodes = (boxes.last - boxes.first + 1) * (boxes.far - boxes.near + 1)
    middle = (boxes.first + boxes.last) // 2 * nr + (boxes.near + boxes.far) // 2
    pixels = area.reshape(-1).take(middle) * np.float32(grid.resolution**2)
    keep = np.flatnonzero((seen > 0) & (pixels * max_cells_per_pixel >= 1))
    return _Cells(
        boxes.cells[keep],
        tuple(corner[keep] for corner in corners),
        middle[keep],
        nodes[keep],
        (boxes.covered & (seen == nodes))[keep],
        pixels[keep],
    )


def _steps(uv: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """Return float64 [nr] pixels between the nodes of a bearing, and between bearings."""
    part, known = uv[::_EACH], inside[::_EACH]
    along = np.hypot(*np.moveaxis(np.diff(part, axis=1, append=part[:, -1:]), -1, 0))
    known[:, :-1] &= known[:, 1:]
    number = known.sum(axis=0)
    mean = (along * known).sum(axis=0) / np.maximum(number, 1)
    steps = np.where((number > 0) & (mean > 0), mean, mean[mean > 0].mean() if mean.any() else 1.0)
    across = uv[:, ::_EACH]
    apart = np.hypot(*np.moveaxis(np.diff(across, axis=0), -1, 0))
    both = inside[1:, ::_EACH] & inside[:-1, ::_EACH]
    return steps, float(apart[both].mean()) if both.any() else 1.0


_EACH = 8
_WEIGHTS = np.full(256, _MISSING, np.float32)
_WEIGHTS[:NOTHING] = 0
_WEIGHTS[[BEHIND, HIDDEN_BEHIND]] = _BLOCKED
_WEIGHTS[[FLAT, FOOTPRINT_CODE, FOOTPRINT_MOVING]] = _BLOCKED + _OCCUPIED
