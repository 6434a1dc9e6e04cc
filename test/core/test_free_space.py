"""Free space as points, polygon and scan."""

import math

import numpy as np
import pytest

from seg_perception.core.errors import GroundError
from seg_perception.core.free_space import free_space, free_space_of_cells
from seg_perception.core.grid import GridSpec
from seg_perception.core.ground_observation import Contacts

SPEC = GridSpec(0.1, -2, 8, -4, 4)


def cells_with(*blocks) -> np.ndarray:
    """Cells from (value, x0, x1, y0, y1), later ones on top."""
    cells = SPEC.unknown()
    for value, x0, x1, y0, y1 in blocks:
        cells[
            round((y0 + 4) * 10) : round((y1 + 4) * 10),
            round((x0 + 2) * 10) : round((x1 + 2) * 10),
        ] = value
    return cells


ROOM = cells_with((0, 0.5, 6, -3, 3), (100, 5, 5.3, -1, 1))


def test_a_wall_ahead_is_measured_and_what_is_not_known_is_not_free():
    scan = free_space_of_cells(ROOM, SPEC).scan(-0.6, 0.6, 0.02, 0.2, 5.5)
    angles = scan.angle_min + np.arange(len(scan.ranges)) * scan.angle_increment
    assert len(scan.ranges) == 61
    assert scan.angle_max == pytest.approx(0.6)
    at_wall = np.abs(angles) < 0.18
    assert scan.ranges[at_wall] * np.cos(angles[at_wall]) == pytest.approx(5.0, abs=0.1)
    beside = (np.abs(angles) > 0.25) & (np.abs(angles) < 0.4)
    assert np.isinf(scan.ranges[beside]).all(), 'free up to the greatest range'
    farther = free_space_of_cells(ROOM, SPEC).scan(-0.6, 0.6, 0.02, 0.2, 7.5)
    assert np.isnan(farther.ranges[beside]).all(), 'free only so far: not known beyond'


def test_what_is_too_near_is_not_lost():
    scan = free_space_of_cells(cells_with((100, 0.1, 0.2, -1, 1)), SPEC).scan(range_min=0.5)
    assert scan.ranges[len(scan.ranges) // 2] == pytest.approx(0.5)


def test_points_lie_on_the_boundary():
    points = free_space_of_cells(ROOM, SPEC).points()
    assert points.dtype == np.float32
    ahead = points[np.abs(points[:, 1]) < 0.8]
    assert ahead[ahead[:, 0] > 0][:, 0] == pytest.approx(5.0, abs=0.1)
    assert (points[:, 2] == 0).all()
    assert np.abs(points[:, 1]).max() <= 3.1


def test_the_polygon_encloses_what_is_free():
    contacts = Contacts(
        origin=(0.5, 0.0),
        bearings=np.linspace(-0.5, 0.5, 101).astype(np.float32),
        ranges=np.full(101, np.inf, np.float32),
        blocked=np.where(np.abs(np.linspace(-0.5, 0.5, 101)) < 0.105, 4.0, np.inf).astype(
            np.float32
        ),
        free_from=np.full(101, 1.0, np.float32),
        free_to=np.full(101, 6.0, np.float32),
        labels=np.zeros(101, np.uint8),
    )
    polygon = free_space(contacts).polygon().astype(float)
    x, y = polygon.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area == pytest.approx(0.5 * (36 - 1) - 0.105 * (36 - 16), rel=0.02)
    assert x.min() > 1.3
    assert free_space(contacts).points()[50] == pytest.approx([4.5, 0, 0], abs=1e-5)


def test_a_polygon_all_around_goes_through_no_wall():
    polygon = free_space_of_cells(
        cells_with((0, -1.5, 6, -3, 3), (100, 4, 4.2, -3, 3)), SPEC
    ).polygon()
    assert polygon[:, 0].max() <= 4.1
    assert polygon[:, 0].min() >= -1.6


def test_where_nothing_is_known_there_is_nothing():
    space = free_space_of_cells(SPEC.unknown(), SPEC)
    assert space.points().shape == (0, 3)
    assert space.polygon().shape == (0, 2)
    assert np.isnan(space.scan().ranges).all()


@pytest.mark.parametrize(
    'scan',
    [(1, -1), (-1, 1, 0), (-4, 4), (-1, 1, 0.1, 5, 1), (-1, 1, 1e-7), (-1, math.nan)],
)
def test_scans_that_make_no_sense_are_refused(scan):
    with pytest.raises(GroundError, match=r'scan|range_max'):
        free_space_of_cells(ROOM, SPEC).scan(*scan)


def test_cells_of_another_grid_are_refused():
    with pytest.raises(GroundError, match='int8'):
        free_space_of_cells(ROOM[:-1], SPEC)
