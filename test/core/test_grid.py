"""Grid, mounting and ground plane."""

import math

import numpy as np
import pytest

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec, GroundPlane, check_pose, pose_from_mounting


def test_grid_is_laid_out_as_an_occupancy_grid():
    grid = GridSpec(0.1, -2, 30, -8.4, 8.4)
    assert (grid.width, grid.height) == (320, 168)
    assert grid.shape == (168, 320)
    assert grid.origin == (-2, -8.4)
    assert grid.unknown().dtype == np.int8


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        ((0, 0, 10, -5, 5), 'resolution must be above 0'),
        ((-0.1, 0, 10, -5, 5), 'resolution must be above 0'),
        ((0.1, 10, 10, -5, 5), 'x_max .* must be above x_min'),
        ((0.1, 0, 10, 5, -5), 'y_max .* must be above y_min'),
        ((0.1, 0, math.nan, -5, 5), 'x_max must be a finite number'),
        ((0.1, 0, math.inf, -5, 5), 'x_max must be a finite number'),
        (('fine', 0, 10, -5, 5), 'resolution must be a finite number'),
        ((0.3, 0, 40, -6, 6), 'no whole number of cells of 0.3 m: set x_max to 39.9'),
        ((5.0, 0, 1, -5, 5), 'set x_max to 5'),
        ((0.01, 0, 100, -50, 50), 'above the limit'),
    ],
)
def test_bad_grids_are_refused(numbers, message):
    with pytest.raises(GroundError, match=message):
        GridSpec(*numbers)


def test_extents_may_carry_rounding_errors():
    assert GridSpec(0.05, 0, 0.05 * 399.9999999, -10, 10).width == 400


@pytest.mark.parametrize(
    ('angles', 'ahead', 'right', 'down'),
    [
        ((0, 0, 0), (1, 0, 0), (0, -1, 0), (0, 0, -1)),
        ((0, 90, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 0)),  # pitch > 0 looks down
        ((0, 0, 90), (0, 1, 0), (1, 0, 0), (0, 0, -1)),  # yaw > 0 looks left
        ((90, 0, 0), (1, 0, 0), (0, 0, -1), (0, 1, 0)),  # roll > 0 leans right
    ],
)
def test_mounting_follows_rep_103(angles, ahead, right, down):
    pose = pose_from_mounting(1, 2, 3, *np.radians(angles))
    assert pose[:3, 3].tolist() == [1, 2, 3]
    optical = pose[:3, :3]
    for axis, expected in zip(optical.T, (right, down, ahead), strict=True):
        assert axis == pytest.approx(expected, abs=1e-12)
    check_pose(pose)


def test_mounting_turns_roll_first():
    pose = pose_from_mounting(0, 0, 1, *np.radians((30, 20, 50)))
    ahead = pose[:3, 2]
    assert math.degrees(math.asin(-ahead[2])) == pytest.approx(20)
    assert math.degrees(math.atan2(ahead[1], ahead[0])) == pytest.approx(50)


def test_mounting_must_be_finite():
    with pytest.raises(GroundError, match='finite'):
        pose_from_mounting(0, 0, math.nan, 0, 0, 0)


@pytest.mark.parametrize(
    'plane',
    [
        {'normal': (0, 0, 2)},
        {'normal': (1, 0, 0)},
        {'normal': (0, 0, -1)},
        {'offset': math.nan},
        {'normal': (0, 1)},
    ],
)
def test_bad_ground_planes_are_refused(plane):
    with pytest.raises(GroundError, match='ground'):
        GroundPlane(**plane)


def test_plane_height():
    slope = GroundPlane(normal=(-0.6, 0, 0.8), offset=0.4)
    assert slope.height_at(np.array([0.0, 4.0]), np.zeros(2)) == pytest.approx([0.5, 3.5])
