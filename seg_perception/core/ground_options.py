"""Thresholds of the projection onto the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_perception.core.errors import GroundError


@dataclass(frozen=True)
class ProjectionOptions:
    """When a cell counts as free or occupied.

    Attributes:
        min_confidence: 0..1; pixels below it are no evidence. What may stand there ends sight
            all the same.
        free_share: 0..1; a cell is free if at least this share of it is drivable (and nothing
            of it an obstacle, or behind one).
        occupied_share: 0..1; a cell is occupied if at least this share of it is an obstacle or
            within an obstacle's footprint ...
        obstacle_pixels: ... or about this many pixels: a post is a small share of a near cell.
            A thing of fewer pixels marks no cell (but ends sight).
        max_cells_per_pixel: of which a pixel shows more, cells are unknown (the far range).
        occlusion: what stands hides the ground behind it; without, it marks that as occupied.
        graded: cells carry the costs of their classes, mixed with 50 as far as the network was
            not sure; else they are 0 and 100.
    """

    min_confidence: float = 0.5
    free_share: float = 0.9
    occupied_share: float = 0.25
    obstacle_pixels: int = 4
    max_cells_per_pixel: float = 16.0
    occlusion: bool = True
    graded: bool = False

    def __post_init__(self) -> None:
        for name in ('min_confidence', 'free_share', 'occupied_share'):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise GroundError(f'{name} must be in 0..1, got {value!r}')
        if self.free_share == 0:
            raise GroundError('free_share must be above 0: no evidence must not be free ground')
        if self.obstacle_pixels < 1:
            raise GroundError(f'obstacle_pixels must be at least 1, got {self.obstacle_pixels!r}')
        check_budget(self.max_cells_per_pixel)


def check_budget(max_cells_per_pixel: float) -> None:
    """Refuse a pixel budget that is not positive."""
    if not (np.isfinite(max_cells_per_pixel) and max_cells_per_pixel > 0):
        raise GroundError(
            f'max_cells_per_pixel must be a number above 0, got {max_cells_per_pixel!r}'
        )
