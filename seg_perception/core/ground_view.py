"""One camera in one pose over one grid: reads masks at the fan's nodes and decides the cells."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground_fan import Fan, coarse_pixels, refined
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
    SHADE,
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


@dataclass
class View:
    """A fan, the pixels that show it, and the cells it decides; build it with :meth:`of`.

    Attributes:
        grid: the cells.
        complete: bool [V], all of a cell is in the picture and within the pixel budget.
        pixels: float32 [V], how many pixels show a cell; 0 beyond the budget.
    """

    grid: GridSpec
    complete: np.ndarray
    pixels: np.ndarray
    _looker: Looker
    _rows: slice
    _zones: list[_Zone]
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
        coarse, area = coarse_pixels(fan, camera, pose, plane)
        rows = coarse[..., 1][(coarse[..., 1] > -1e5)]
        if not rows.size:
            return None
        first = int(np.clip(rows.min() - 3, 0, camera.height - 1))
        last = int(np.clip(rows.max() + 4, first + 1, camera.height))
        coarse[..., 1] -= first
        uv = refined(fan, coarse)
        end = camera.width - 0.5 - 1e-4, camera.height - first - 0.5 - 1e-4
        inside = cv2.inRange(uv, np.array([-0.5, -0.5 - first]), np.array(end))
        seen = fan.boxes.sums(cv2.integral(inside)) // 255
        near, far = (area.reshape(-1).take(fan.boxes.coarse + k, mode='clip') for k in (0, 1))
        pixels = near + fan.boxes.beyond * (far - near)
        pixels *= np.float32(grid.resolution**2)
        pixels *= (pixels * np.float32(max_cells_per_pixel) >= 1) & (seen > 0)
        if not pixels.any():
            return None
        complete = fan.boxes.covered & (seen == fan.boxes.nodes) & (pixels > 0)
        at, _ = cv2.convertMaps(  # type: ignore[call-overload]  # both maps are in the first
            uv, None, cv2.CV_16SC2, nninterpolation=True
        )
        return cls(
            grid,
            complete,
            pixels,
            Looker(fan, at),
            slice(first, last),
            _zones(fan, at, last - first),
        )

    @property
    def visible_cells(self) -> int:
        """How many cells are seen, within the pixel budget."""
        return int(np.count_nonzero(self.pixels))

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
        boxes = self._looker.fan.boxes
        sums = boxes.sums(cv2.integral(cv2.LUT(nodes, _WEIGHTS), sdepth=cv2.CV_64F))
        sums = sums.astype(np.int64)
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
        """Return uint8 [nb, nr]: the code of the pixel at each node, or what stands beside it.

        What stands is seen from a pixel farther: where it meets the ground is known to a pixel
        only, and no thin thing may slip between nodes.
        """
        pixel_at = self._looker.pixel_at
        _, stands = cv2.threshold(codes, SHADE - 1, 0, cv2.THRESH_TOZERO)
        nodes = np.empty(pixel_at.shape[:2], np.uint8)
        for zone in self._zones:
            near = codes[zone.rows]
            if any(zone.reach):
                near = cv2.dilate(near, np.ones([2 * r + 1 for r in zone.reach], np.uint8))
            wide = [2 * max(r, 1) + 1 for r in zone.reach]
            near = cv2.max(near, cv2.dilate(stands[zone.rows], np.ones(wide, np.uint8)))
            nodes[:, zone.part] = _pick(near, zone.pixel_at, NOTHING)
        return nodes

    def _thresholds(self, options: ProjectionOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 [V]: nodes that may miss in a free cell, nodes that make it occupied."""
        if self._limits is None or self._limits[0] != options:
            nodes = self._looker.fan.boxes.nodes
            border = self._looker.fan.boxes.border
            # What is free around a cell makes up for nothing in it.
            few = (nodes - border) * np.float32(1 - options.free_share) + np.float32(1e-4)
            few[~self.complete] = -1
            enough = options.obstacle_pixels * nodes / np.maximum(self.pixels, np.float32(1e-3))
            # Half the nodes around a cell that borders on an obstacle show it, too.
            share = nodes * np.float32(options.occupied_share) + border / 2
            too_many = np.minimum(share, enough + border / 4)
            too_many -= np.float32(1e-4)
            np.maximum(too_many, np.float32(0.5), out=too_many)
            too_many[self.pixels == 0] = np.inf
            self._limits = options, few, too_many
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
        picture, pixel_at = np.rint(cost).astype(np.uint8), self._looker.pixel_at
        at = _pick(picture, pixel_at, 0)
        for zone in self._zones:
            if any(zone.reach):  # the node may be flat because of a pixel beside it
                wide = np.ones([2 * r + 1 for r in zone.reach], np.uint8)
                dear = _pick(cv2.dilate(picture[zone.rows], wide), zone.pixel_at, 0)
                flat = nodes[:, zone.part] == FLAT
                at[:, zone.part] = np.where(flat, dear, at[:, zone.part])
        if sight is not None:
            # A footprint costs what stands on it, not what the picture shows beyond it.
            stands = (nodes == FOOTPRINT_CODE) | (nodes == FOOTPRINT_MOVING)
            at = np.where(stands, classes.costs[sight.labels][:, None], at)
        worth = cv2.multiply(at, cv2.LUT(nodes, _COST_WEIGHTS), dtype=cv2.CV_32F)
        boxes = self._looker.fan.boxes
        total = boxes.sums(cv2.integral(worth, sdepth=cv2.CV_64F))
        n_blocks = np.maximum(sums >> 24, 1)
        n_drivable = np.maximum(boxes.nodes - (sums & _DIGIT) - ((sums >> 12) & _DIGIT), 1)
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
            flat, (middle, *ends) = nodes.reshape(-1), self._looker.fan.boxes.samples
            moving = _moves(flat.take(middle))
            # The outermost cells of what moves have it at one side only.
            edge = np.flatnonzero(occupied & ~moving)
            moving[edge] = _moves(flat[ends[0][edge]]) | _moves(flat[ends[1][edge]])
            kind += occupied & moving  # OCCUPIED_MOVING is OCCUPIED + 1
            kind += ((kind == 0) & moving) * np.uint8(HIDDEN)
        cells.reshape(-1)[self._looker.fan.boxes.cells] = values
        kinds.reshape(-1)[self._looker.fan.boxes.cells] = kind
        fan = self._looker.fan
        find = None if sight is None else partial(sight.contacts, fan)
        return GroundObservation(self.grid, cells, kinds, find)


def _moves(nodes: np.ndarray) -> np.ndarray:
    """Return bool [n]: what moves stands on the node, or hides it."""
    return (nodes == FOOTPRINT_MOVING) | (nodes == HIDDEN_BEHIND)


class _Zone(NamedTuple):
    """Some ranges of a fan, whose nodes lie equally far apart in the picture.

    Attributes:
        reach: rows and columns of pixels that each node reads around its own.
        part: the ranges.
        rows: of the picture that they need.
        pixel_at: int16 [nb, ranges, 2], the nodes' pixels (u, v) in these rows.
    """

    reach: tuple[int, int]
    part: slice
    rows: slice
    pixel_at: np.ndarray


def _zones(fan: Fan, pixel_at: np.ndarray, height: int) -> list[_Zone]:
    """Split a fan by how many pixels its nodes must read.

    Nodes may lie farther apart than pixels; no more than every second one across the bearings
    is left out for that, and of what stands none.
    """
    along = np.ceil((fan.row_step - 1) / 2 - 0.1).astype(int)
    across = max(math.ceil((fan.side_step - 1) / 2 - 0.75), 0)
    along = np.maximum(along, 0)
    if not fan.upright:  # bearings run in any direction of the picture
        along = np.maximum(along, across)
    cuts = [0, *(np.flatnonzero(np.diff(along)) + 1).tolist(), len(along)]
    zones = []
    for a, b in itertools.pairwise(cuts):
        rows = int(along[a])
        at = pixel_at[:, a:b].copy()
        v = at[..., 1]
        shown = v[(v >= 0) & (v < height)]
        low, high = (shown.min(), shown.max()) if shown.size else (0, 0)
        first = max(int(low) - rows - 1, 0)
        last = min(int(high) + rows + 2, height)
        # (A row that is far outside stays outside: sums of 16 bits must not wrap around.)
        np.maximum(v, -16000, out=v)
        v -= np.int16(first)
        reach = (rows, across if fan.upright else rows)
        zones.append(_Zone(reach, slice(a, b), slice(first, last), at))
    return zones


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


_WEIGHTS = np.full(256, _MISSING, np.float32)
_WEIGHTS[:NOTHING] = 0
_WEIGHTS[[BEHIND, HIDDEN_BEHIND]] = _BLOCKED
_WEIGHTS[FLAT] = _BLOCKED + _OCCUPIED
# A contact was confirmed by its pixels already: a part of a cell is enough.
_WEIGHTS[[FOOTPRINT_CODE, FOOTPRINT_MOVING]] = _BLOCKED + 8 * _OCCUPIED
_COST_WEIGHTS = np.zeros(256, np.float32)
_COST_WEIGHTS[:NOTHING] = 1
_COST_WEIGHTS[FLAT] = _COST_DIGIT
_COST_WEIGHTS[[FOOTPRINT_CODE, FOOTPRINT_MOVING]] = 8 * _COST_DIGIT
