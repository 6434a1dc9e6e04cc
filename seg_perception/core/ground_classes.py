"""What class ids mean to the ground, checked once and used for every frame."""

from __future__ import annotations

import numpy as np

from seg_perception.core.errors import GroundError
from seg_perception.core.ground_codes import pixel_codes
from seg_perception.core.labels import FOOTPRINT, OBSTACLE_CODE, GroundTraits, LabelSet

_MAX_COST = 100


class GroundClasses:
    """The classes of a mask as the projection onto the ground takes them.

    Args:
        roles: uint8 [256], ``LabelSet.role_table()``.
        traits: ``LabelSet.ground_traits()``; without, every obstacle stands.
        costs: uint8 [256], ``LabelSet.cost_table()``; a known cell then gets the mean cost of the
            pixels that decide it, in place of 0 and 100.

    Attributes:
        codes: uint8 [256] by whether obstacles hide what is behind them
            (``ProjectionOptions.occlusion``): what a pixel of each id says of the ground.

    Raises:
        GroundError: a table is of another size or type, or out of range.
    """

    def __init__(
        self,
        roles: np.ndarray,
        traits: GroundTraits | None = None,
        costs: np.ndarray | None = None,
    ) -> None:
        _check('roles', roles, OBSTACLE_CODE)
        self.traits = traits or _standing()
        self.codes = {
            occlusion: pixel_codes(roles, self.traits, occlusion=occlusion)
            for occlusion in (False, True)
        }
        self.costs: np.ndarray | None = None
        if costs is not None:
            _check('costs', costs, _MAX_COST)
            # An obstacle that costs nothing would be free ground.
            least = np.where(roles == OBSTACLE_CODE, 1, 0)
            self.costs = np.maximum(costs, least).astype(np.uint8)

    @classmethod
    def of(cls, labels: LabelSet, *, graded: bool = False) -> GroundClasses:
        """Return those of a label set, with its costs or without."""
        costs = labels.cost_table() if graded else None
        return cls(labels.role_table(), labels.ground_traits(), costs)


def _standing() -> GroundTraits:
    """Return traits with which every obstacle stands."""
    none = np.zeros(256, bool)
    return GroundTraits(none, none, none, np.full(256, FOOTPRINT, np.float32))


def _check(name: str, table: np.ndarray, most: int) -> None:
    if table.shape != (256,) or table.dtype != np.uint8 or table.max() > most:
        raise GroundError(
            f'{name} must be uint8 [256] of at most {most}, got {table.dtype} {table.shape} '
            f'of at most {table.max(initial=0)}'
        )
