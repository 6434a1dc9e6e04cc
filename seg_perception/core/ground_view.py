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
from seg_perception.core.ground_fan import COARSE, Fan, coarse_pixels, refined
from seg_perception.core.ground_observation import (
    EDGE,
    FREE,
    HIDDEN,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    REAR,
    UNKNOWN,
    GroundObservation,
)
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.ground_sight import (
    DRIVABLE,
    FLAT,
    FOOTPRINT_CODE,
    FOOTPRINT_MOVING,
    HIDDEN_BEHIND,
    NOTHING,
    OUTSIDE,
    REAR_BEHIND,
    Looker,
    Sight,
    pixel_codes,
)
from seg_perception.core.labels import GroundTraits

#: Added to the worst code in a cell: it is occupied; close to what is not free; too much of it is
#: not known.
_IS_OCCUPIED, _NEAR_EDGE, _TOO_FEW = 16, 32, 64
#: How much a node of a footprint counts beside one of flat ground: a contact was confirmed by its
#: pixels already, so a part of a cell is enough.
_FOOT_WEIGHT = 8
#: Pixels from what is not free within which "free" may come from a trembling of the camera.
_EDGE_PIXELS = 1.5
#: m around something that moves within which cells out of view may be under it, and cells that
#: it stood on may be free by its having moved.
_REACH_UNSEEN = 1.5
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
        visible: uint8 [height, width], 255 where a cell is seen, within the pixel budget.
        pixels: float64 [nr], how many pixels show a cell at each range.
    """

    grid: GridSpec
    visible: np.ndarray
    pixels: np.ndarray
    _cut: (
        np.ndarray
    )  # uint8, same shape as visible: _TOO_FEW where the fan does not hold all of it
    _unseen: np.ndarray  # uint8, same shape: HIDDEN where not visible
    _edge: int  # nodes along the bearing
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
        area *= np.float32(grid.resolution**2)
        pixels = fan.cells.between(area, COARSE)
        seen = fan.cells.pick(fan.cells.worst(inside)) > 0
        seen &= pixels >= 1 / max_cells_per_pixel
        visible = seen.view(np.uint8) * np.uint8(255)
        if not visible.any():
            return None
        at, _ = cv2.convertMaps(  # type: ignore[call-overload]  # both maps are in the first
            uv, None, cv2.CV_16SC2, nninterpolation=True
        )
        at = np.ascontiguousarray(at)
        return cls(
            grid,
            visible,
            _typical(area, len(fan.ranges)),
            np.where(fan.cells.covered, 0, _TOO_FEW).astype(np.uint8),
            np.where(seen, 0, HIDDEN).astype(np.uint8),
            math.ceil(_EDGE_PIXELS / fan.row_step.min()),
            Looker(fan, at),
            slice(first, last),
            _zones(fan, at, last - first),
        )

    @property
    def visible_cells(self) -> int:
        """How many cells are seen, within the pixel budget."""
        return cv2.countNonZero(self.visible)

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
        rows, fan = self._rows, self._looker.fan
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
        kinds = self._cells(self._verdicts(nodes, options))
        if trinary:
            cells = cv2.LUT(kinds, _TRINARY).view(np.int8)
        else:
            costs = self._costs(labels, confidence, classes, nodes, sight, options)
            cells = _graded(kinds, fan.cells.pick(costs[0]), fan.cells.pick(costs[1]))
        find = None if sight is None else partial(sight.contacts, fan)
        return GroundObservation(self.grid, cells, kinds, find)

    def _verdicts(self, nodes: np.ndarray, options: ProjectionOptions) -> np.ndarray:
        """Return uint8 [nr, nb], keys of ``_KIND``: what a cell at each node would be."""
        cells = self._looker.fan.cells
        few, enough = self._thresholds(options)
        worst = cells.worst(nodes)
        # What is not free within some pixels, from the cells at either side.
        near = np.ones((2 * self._edge + 1, 3), np.uint8)
        edge = cv2.dilate(worst, near) >= FLAT
        occupied = cells.sums(_weights(nodes)) >= enough[:, None]
        verdict = occupied.view(np.uint8) * np.uint8(_IS_OCCUPIED)
        verdict += worst
        verdict += edge.view(np.uint8) * np.uint8(_NEAR_EDGE)
        lacking = worst == NOTHING
        if lacking.any():
            missing = (nodes == NOTHING).view(np.uint8)
            for band in cells.bands:
                if few[band.part].any():
                    rows = few[band.part][:, None]
                    lacking[band.part] &= band.sums(missing, around=True) > rows
            verdict += lacking.view(np.uint8) * np.uint8(_TOO_FEW)
        return verdict

    def _cells(self, verdicts: np.ndarray) -> np.ndarray:
        """Return uint8 [height, width]: kinds of the cells."""
        verdicts = self._looker.fan.cells.pick(verdicts)
        verdicts |= self._cut
        kinds: np.ndarray = cv2.LUT(verdicts, _KIND)
        kinds &= self.visible
        moving = (kinds == OCCUPIED_MOVING).view(np.uint8)
        if moving.any():
            reach = 2 * math.ceil(_REACH_UNSEEN / self.grid.resolution) + 1
            near: np.ndarray = cv2.dilate(moving, np.ones((reach, reach), np.uint8))
            kinds |= near * self._unseen
            near &= (kinds == FREE).view(np.uint8)
            kinds += near * np.uint8(LEFT - FREE)
        return kinds

    def _read(self, codes: np.ndarray) -> np.ndarray:
        """Return uint8 [nr, nb]: the worst code of the pixels that each node stands for."""
        pixel_at = self._looker.pixel_at
        nodes = np.empty(pixel_at.shape[:2], np.uint8)
        for zone in self._zones:
            wide = [2 * r + 1 for r in zone.reach]
            near = cv2.dilate(
                codes[zone.rows],
                np.ones(wide, np.uint8),
                borderType=cv2.BORDER_CONSTANT,
                borderValue=OUTSIDE,
            )
            nodes[zone.part] = _pick(near, zone.pixel_at, OUTSIDE)
        return nodes

    def _thresholds(self, options: ProjectionOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return uint16 [nr]: nodes that may miss in a free cell, weight of an occupied one."""
        if self._limits is None or self._limits[0] != options:
            cells = self._looker.fan.cells
            within = np.empty(len(cells.size))
            for band in cells.bands:
                within[band.part] = band.within[0] * band.within[1]
            few = np.floor(cells.size * (1 - options.free_share) + 1e-4)
            # Half the nodes around a cell that borders on an obstacle show it, too.
            border = np.maximum(within - cells.size, 0)
            # A node shows what is beside it, too.
            share = cells.size * (options.occupied_share + cells.spread) + border / 2
            some = options.obstacle_pixels * cells.size / np.maximum(self.pixels, 1e-3)
            enough = np.minimum(share, some + border / 4)
            enough = np.clip(np.ceil(enough - 1e-4), 1, 60000)
            self._limits = options, few.astype(np.uint16), enough.astype(np.uint16)
        return self._limits[1:]

    def _costs(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        classes: Classes,
        nodes: np.ndarray,
        sight: Sight | None,
        options: ProjectionOptions,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 [nr, nb] twice: mean costs of a free and of an occupied cell there."""
        cost = cv2.LUT(labels, classes.costs).astype(np.float32)
        cost += (1 - confidence / np.float32(255)) * (_UNSURE_COST - cost)
        picture, pixel_at = np.rint(cost).astype(np.uint8), self._looker.pixel_at
        at = _pick(picture, pixel_at, 0)
        for zone in self._zones:
            if any(zone.reach):  # the node may be flat because of a pixel beside it
                wide = np.ones([2 * r + 1 for r in zone.reach], np.uint8)
                dear = _pick(cv2.dilate(picture[zone.rows], wide), zone.pixel_at, 0)
                at[zone.part] = np.where(nodes[zone.part] == FLAT, dear, at[zone.part])
        if sight is not None:
            # A footprint costs what stands on it, not what the picture shows beyond it.
            stands = (nodes == FOOTPRINT_CODE) | (nodes == FOOTPRINT_MOVING)
            at = np.where(stands, classes.costs[sight.labels], at)
        cells = self._looker.fan.cells
        means = []
        good = (nodes == DRIVABLE).view(np.uint8)
        for weights, around, most in ((good, True, 99), (_weights(nodes), False, 100)):
            weight = weights.astype(np.float32)
            both = (
                cells.sums(part, around=around, depth=cv2.CV_32F) for part in (weight * at, weight)
            )
            total, n = both
            mean = np.rint(total / np.maximum(n, 1))
            means.append(np.clip(mean, most == 100, most).astype(np.uint8))
        return means[0], means[1]


def _graded(kinds: np.ndarray, of_ground: np.ndarray, of_blocks: np.ndarray) -> np.ndarray:
    """Return int8 [height, width]: the cost of each known cell, -1 of the others."""
    values = np.full(kinds.shape, -1, np.int8)
    free = np.isin(kinds, (FREE, EDGE, LEFT))
    occupied = (kinds == OCCUPIED) | (kinds == OCCUPIED_MOVING)
    np.copyto(values, of_ground.view(np.int8), where=free)
    np.copyto(values, of_blocks.view(np.int8), where=occupied)
    return values


def _typical(area: np.ndarray, nr: int) -> np.ndarray:
    """Return float64 [nr]: the median over the bearings that show anything."""
    seen = np.where(area > 0, area, np.nan)
    some = np.flatnonzero((area > 0).any(axis=0))
    middle = np.nanmedian(seen[:, some], axis=0)
    return np.interp(np.arange(nr) / COARSE, some, middle)


class _Zone(NamedTuple):
    """Some ranges of a fan, whose nodes lie equally far apart in the picture.

    Attributes:
        reach: rows and columns of pixels that each node reads around its own.
        part: the ranges.
        rows: of the picture that they need.
        pixel_at: int16 [ranges, nb, 2], the nodes' pixels (u, v) in these rows.
    """

    reach: tuple[int, int]
    part: slice
    rows: slice
    pixel_at: np.ndarray


def _zones(fan: Fan, pixel_at: np.ndarray, height: int) -> list[_Zone]:
    """Split a fan by how many pixels its nodes read."""
    along = fan.rows_read
    cuts = [0, *(np.flatnonzero(np.diff(along)) + 1).tolist(), len(along)]
    zones = []
    for a, b in itertools.pairwise(cuts):
        rows = int(along[a])
        at = pixel_at[a:b].copy()
        v = at[..., 1]
        shown = v[(v >= 0) & (v < height)]
        low, high = (shown.min(), shown.max()) if shown.size else (0, 0)
        first = max(int(low) - rows - 1, 0)
        last = min(int(high) + rows + 2, height)
        # (A row that is far outside stays outside: sums of 16 bits must not wrap around.)
        np.maximum(v, -16000, out=v)
        v -= np.int16(first)
        zones.append(_Zone((rows, int(fan.columns_read[a])), slice(a, b), slice(first, last), at))
    return zones


def _pick(picture: np.ndarray, pixels: np.ndarray, outside: int) -> np.ndarray:
    """Return uint8 [nr, nb]: the pixels (u, v) of int16 [nr, nb, 2]."""
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
    sure, unsure = pixel_codes(classes.roles, classes.traits, occlusion=options.occlusion)
    least = math.ceil(options.min_confidence * 255 - 1e-9)
    codes = cv2.LUT(labels, sure)
    doubtful = (confidence < least).view(np.uint8)
    if cv2.countNonZero(doubtful):
        cv2.copyTo(cv2.LUT(labels, unsure), doubtful, codes)
    return codes


def _weights(nodes: np.ndarray) -> np.ndarray:
    """Return uint8 [nr, nb]: how much each node makes a cell occupied."""
    weights = (nodes >= FOOTPRINT_CODE).view(np.uint8) * np.uint8(_FOOT_WEIGHT)
    weights += (nodes == FLAT).view(np.uint8)
    return weights


def _kind_table() -> np.ndarray:
    """Return uint8 [256]: the kind of a cell by the worst in it and what was added to that."""
    kinds = np.full(256, UNKNOWN, np.uint8)
    for verdict in range(2 * _TOO_FEW):
        worst = verdict % _IS_OCCUPIED
        if worst >= FLAT and verdict & _IS_OCCUPIED:
            kinds[verdict] = OCCUPIED_MOVING if worst == FOOTPRINT_MOVING else OCCUPIED
        elif worst in (HIDDEN_BEHIND, FOOTPRINT_MOVING):
            kinds[verdict] = HIDDEN
        elif worst == REAR_BEHIND:
            kinds[verdict] = REAR
        elif worst <= NOTHING and not verdict & _TOO_FEW:
            kinds[verdict] = EDGE if verdict & _NEAR_EDGE else FREE
    return kinds


_KIND = _kind_table()
_TRINARY = np.full(256, -1, np.int8)
_TRINARY[[FREE, EDGE, LEFT]] = 0
_TRINARY[[OCCUPIED, OCCUPIED_MOVING]] = 100
_TRINARY = _TRINARY.view(np.uint8)
