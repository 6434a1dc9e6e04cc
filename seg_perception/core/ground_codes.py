"""What a pixel, a node of a fan and a cell's verdict say, as bytes: the worse the greater."""

from __future__ import annotations

import numpy as np

from seg_perception.core.ground_observation import (
    EDGE,
    FREE,
    HIDDEN,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    REAR,
    UNKNOWN,
)
from seg_perception.core.labels import DRIVABLE_CODE, OBSTACLE_CODE, GroundTraits

#: Of the ground: drivable; nothing; not in the picture; a flat class one can't drive on.
DRIVABLE, NOTHING, OUTSIDE, FLAT = 0, 1, 2, 3
#: Once sight is known: behind a contact; hidden by something that moves, or close behind it;
#: within a footprint, or in one of what moves.
BEHIND, HIDDEN_BEHIND, REAR_BEHIND, FOOTPRINT_CODE, FOOTPRINT_MOVING = 4, 5, 6, 7, 8
#: Before that of things: what may overhang; what stands, but not for sure; what stands.
FOOTED, DOUBTED, STANDING = 240, 250, 255
#: Added to the worst code in a cell: it is occupied; close to what is not free; too much of it is
#: not known.
IS_OCCUPIED, NEAR_EDGE, TOO_FEW = 16, 32, 64
#: In place of a cell's node.
UNSEEN = -(2**31)


def pixel_codes(roles: np.ndarray, traits: GroundTraits, *, occlusion: bool) -> np.ndarray:
    """Return uint8 [256]: what a class id means to the ground, if the network is sure of it.

    Else what stands is DOUBTED, and the rest NOTHING. Without ``occlusion`` every obstacle is
    taken for flat: it marks the ground it covers in the picture.
    """
    codes = np.full(256, NOTHING, np.uint8)
    drivable, obstacle = roles == DRIVABLE_CODE, roles == OBSTACLE_CODE
    codes[drivable] = DRIVABLE
    flat = obstacle & (traits.flat | (not occlusion))
    hangs = obstacle & ~flat & traits.overhang
    stands = obstacle & ~flat & ~traits.overhang
    codes[flat], codes[stands] = FLAT, STANDING
    # What overhangs without a foot hides some ground, and that is all.
    codes[hangs] = np.where(traits.footprint[hangs] > 0, FOOTED, NOTHING)
    return codes


def _kind_table() -> np.ndarray:
    """Return uint8 [256]: the kind of a cell by the worst in it and what was added to that."""
    kinds = np.full(256, UNKNOWN, np.uint8)
    for verdict in range(2 * TOO_FEW):
        worst = verdict % IS_OCCUPIED
        if worst >= FLAT and verdict & IS_OCCUPIED:
            kinds[verdict] = OCCUPIED_MOVING if worst == FOOTPRINT_MOVING else OCCUPIED
        elif worst in (HIDDEN_BEHIND, FOOTPRINT_MOVING):
            kinds[verdict] = HIDDEN
        elif worst == REAR_BEHIND:
            kinds[verdict] = REAR
        elif worst <= NOTHING and not verdict & TOO_FEW:
            kinds[verdict] = EDGE if verdict & NEAR_EDGE else FREE
    return kinds


#: uint8 [256]: kind of a cell by its verdict.
KIND = _kind_table()
#: int8 [256]: the value of a cell by its kind, where costs do not count.
TRINARY = np.full(256, -1, np.int8)
TRINARY[[FREE, EDGE, LEFT]] = 0
TRINARY[[OCCUPIED, OCCUPIED_MOVING]] = 100
