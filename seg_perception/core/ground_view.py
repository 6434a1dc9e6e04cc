"""One camera in one pose over one grid: reads masks at the fan's nodes and decides the cells."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.ground_codes import (
    DRIVABLE,
    FLAT,
    FOOTPRINT_CODE,
    FOOTPRINT_MOVING,
    KIND,
    TRINARY,
)
from seg_perception.core.ground_fan import COARSE, Fan, coarse_pixels
from seg_perception.core.ground_kernels import (
    decide,
    doubt_around_moving,
    gather,
    judge,
    read_nodes,
    write_codes,
    write_weights,
)
from seg_perception.core.ground_observation import (
    EDGE,
    FREE,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    GroundObservation,
)
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.ground_sight import Looker, Sight
from seg_perception.core.view_kernels import find_seen, place_nodes

#: Pixels from what is not free within which "free" may come from a trembling of the camera.
_EDGE_PIXELS = 1.5
#: m around something that moves within which cells out of view may be under it, and cells that
#: it stood on may be free by its having moved.
_REACH_UNSEEN = 1.5
_UNSURE_COST = 50  # of what the network knows nothing about


@dataclass
class View:
    """A fan, the pixels that show it, and the cells it decides; build it with :meth:`of`.

    Attributes:
        grid: the cells.
        visible_cells: how many are seen, within the pixel budget.
        pixels: float64 [nr], how many pixels show a cell at each range.
    """

    grid: GridSpec
    visible_cells: int
    pixels: np.ndarray
    _node_of: np.ndarray  # int32 [height, width], as `find_seen` writes it
    _edge: int  # nodes along the bearing
    _looker: Looker
    _rows: slice
    _pixel_at: np.ndarray  # int32 [nr, nb], as `place_nodes` writes it, in those rows
    _zones: np.ndarray  # as `read_nodes` takes them
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
        shape = len(fan.ranges), len(fan.bearings)
        pixel_at, flat = np.empty((*shape, 2), np.int16), np.empty(shape, np.int32)
        inside, reached = np.empty(shape, np.uint8), np.empty((shape[0], 2), np.int32)
        place_nodes(coarse, COARSE, last - first, camera.width, pixel_at, flat, inside, reached)
        area *= np.float32(grid.resolution**2)
        cells, node_of = fan.cells, np.empty(grid.shape, np.int32)
        seen = find_seen(
            cells.worst(inside),
            area,
            cells.middle,
            cells.covered,
            COARSE,
            1 / max_cells_per_pixel,
            node_of,
        )
        if not seen:
            return None
        return cls(
            grid,
            seen,
            _typical(area, len(fan.ranges)),
            node_of,
            math.ceil(_EDGE_PIXELS / fan.row_step.min()),
            Looker(fan, pixel_at),
            slice(first, last),
            flat,
            _zones(fan, reached),
        )

    def observe(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        classes: GroundClasses,
        options: ProjectionOptions,
        instances: np.ndarray | None,
    ) -> GroundObservation:
        """Decide the cells; see ``GroundProjector.observe``."""
        rows, fan = self._rows, self._looker.fan
        labels = np.ascontiguousarray(labels[rows])
        confidence = np.ascontiguousarray(confidence[rows])
        codes = np.empty(labels.shape, np.uint8)
        least = math.ceil(options.min_confidence * 255 - 1e-9)
        write_codes(labels, confidence, classes.codes[options.occlusion], least, codes)
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
        kinds, cells = self._decided(nodes, options)
        if classes.costs is not None:
            costs = self._costs(labels, confidence, classes.costs, nodes, sight)
            cells = _graded(kinds, fan.cells.pick(costs[0]), fan.cells.pick(costs[1]))
        find = None if sight is None else partial(sight.contacts, fan)
        return GroundObservation(self.grid, cells, kinds, find)

    def _decided(
        self, nodes: np.ndarray, options: ProjectionOptions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return [height, width] twice: uint8 kinds of the cells, int8 -1, 0 or 100."""
        cells = self._looker.fan.cells
        verdicts = np.empty_like(nodes)
        kinds, values = np.empty(self.grid.shape, np.uint8), np.empty(self.grid.shape, np.int8)
        judge(
            nodes,
            cells.along,
            cells.across,
            cells.along_in,
            cells.across_in,
            *self._thresholds(options),
            self._edge,
            verdicts,
        )
        moving = np.empty(4, np.int64)
        if decide(verdicts, self._node_of, KIND, TRINARY, kinds, values, moving):
            reach = math.ceil(_REACH_UNSEEN / self.grid.resolution)
            doubt_around_moving(self._node_of, reach, moving, kinds)
        return kinds, values

    def _read(self, codes: np.ndarray) -> np.ndarray:
        """Return uint8 [nr, nb]: the worst code of the pixels that each node stands for."""
        nodes = np.empty(self._pixel_at.shape, np.uint8)
        read_nodes(codes, self._zones, self._pixel_at, nodes)
        return nodes

    def _thresholds(self, options: ProjectionOptions) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [nr]: nodes that may miss in a free cell, weight of an occupied one."""
        if self._limits is None or self._limits[0] != options:
            cells = self._looker.fan.cells
            within = (2 * cells.along_in + 1) * (2 * cells.across_in + 1)
            few = np.floor(cells.size * (1 - options.free_share) + 1e-4)
            # Half the nodes around a cell that borders on an obstacle show it, too.
            border = np.maximum(within - cells.size, 0)
            # A node shows what is beside it, too.
            share = cells.size * (options.occupied_share + cells.spread) + border / 2
            some = options.obstacle_pixels * cells.size / np.maximum(self.pixels, 1e-3)
            enough = np.minimum(share, some + border / 4)
            enough = np.maximum(np.ceil(enough - 1e-4), 1)
            self._limits = options, few.astype(np.int64), enough.astype(np.int64)
        return self._limits[1:]

    def _costs(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        cost_of: np.ndarray,
        nodes: np.ndarray,
        sight: Sight | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 [nr, nb] twice: mean costs of a free and of an occupied cell there."""
        cost = cv2.LUT(labels, cost_of).astype(np.float32)
        cost += (1 - confidence / np.float32(255)) * (_UNSURE_COST - cost)
        picture = np.rint(cost).astype(np.uint8)
        at = np.empty_like(nodes)
        gather(picture, self._pixel_at, 0, at)
        # A node may be flat because of a pixel beside it.
        np.copyto(at, self._read(picture), where=nodes == FLAT)
        if sight is not None:
            # A footprint costs what stands on it, not what the picture shows beyond it.
            stands = (nodes == FOOTPRINT_CODE) | (nodes == FOOTPRINT_MOVING)
            at = np.where(stands, cost_of[sight.labels], at)
        cells = self._looker.fan.cells
        of_things = np.empty_like(nodes)
        write_weights(nodes, of_things)
        means = []
        for weights, around, most in ((nodes == DRIVABLE, True, 99), (of_things, False, 100)):
            weight = weights.astype(np.uint16)
            total, n = (cells.sums(part, around=around) for part in (weight * at, weight))
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
    ordered = np.sort(area, axis=1)
    unseen = np.count_nonzero(ordered <= 0, axis=1)
    some = np.flatnonzero(unseen < ordered.shape[1])
    middle = ordered[some, (unseen[some] + ordered.shape[1]) // 2]
    return np.interp(np.arange(nr) / COARSE, some, middle)


def _zones(fan: Fan, reached: np.ndarray) -> np.ndarray:
    """Split a fan by how many pixels its nodes read; see ``place_nodes`` and ``read_nodes``."""
    along = fan.rows_read
    cuts = [0, *(np.flatnonzero(np.diff(along)) + 1).tolist(), len(along)]
    zones = []
    for a, b in itertools.pairwise(cuts):
        low, high = reached[a:b].T
        some = high > low
        rows = (int(low[some].min()), int(high.max())) if some.any() else (0, 0)
        zones.append((a, b, along[a], fan.columns_read[a], *rows))
    return np.array(zones, np.int64)
