"""True cells of a hand-made street."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip('panda3d')

from test_truth_geometry import plain_scene, seen

from seg_perception.core.errors import GroundError
from seg_perception.simulation.scene import Building, Mover
from seg_perception.simulation.truth import FREE, OCCUPIED, as_picture, footprints, ground_truth


@dataclass(frozen=True)
class Grid:
    """The part of a GridSpec that truth reads."""

    resolution: float = 0.2
    x_min: float = 2.0
    y_min: float = -8.0
    width: int = 140
    height: int = 80


def cell(grid, x, y):
    return int((y - grid.y_min) / grid.resolution), int((x - grid.x_min) / grid.resolution)


def test_road_is_free_and_pavement_is_not():
    grid = Grid()
    truth = ground_truth(plain_scene(), 0.0, grid, np.eye(4))
    assert truth.cells.shape == (80, 140)
    assert truth.cells[cell(grid, 10, 0)] == FREE
    assert truth.cells[cell(grid, 10, 3.3)] == FREE
    assert truth.cells[cell(grid, 10, 3.9)] == OCCUPIED
    assert truth.cells[cell(grid, 10, -5.0)] == OCCUPIED
    # The road is 7 m wide: 17.5 cells to either side.
    assert truth.drivable[:, 40].sum() * grid.resolution == pytest.approx(7.0, abs=0.01)


def test_a_car_s_footprint_has_its_size():
    grid = Grid()
    scene = plain_scene(movers=(Mover('vehicle', 4, 12.0, -1.7, instance=1),))
    truth = ground_truth(scene, 0.0, grid, np.eye(4))
    area = truth.obstacle.sum() * grid.resolution**2
    assert area == pytest.approx(3.95 * 1.72, rel=0.02)
    assert truth.cells[cell(grid, 12.0, -1.7)] == OCCUPIED
    assert truth.cells[cell(grid, 12.0, 1.7)] == FREE


def test_the_grid_moves_with_the_vehicle():
    grid = Grid()
    scene = plain_scene(movers=(Mover('vehicle', 4, 22.0, -1.7, instance=1),))
    base = np.eye(4)
    base[0, 3] = 10.0
    truth = ground_truth(scene, 0.0, grid, base)
    assert truth.cells[cell(grid, 12.0, -1.7)] == OCCUPIED
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    truth = ground_truth(scene, 0.0, grid, turned)
    # Looking left from the road's middle: its edge is 3.5 m ahead.
    assert truth.cells[cell(grid, 3.2, 0)] == FREE
    assert truth.cells[cell(grid, 4.0, 0)] == OCCUPIED


def test_what_a_car_hides_is_not_visible():
    grid = Grid()
    scene = plain_scene(movers=(Mover('vehicle', 4, 12.0, 0.0, instance=1),))
    frame = seen(scene)
    truth = ground_truth(
        scene,
        0.0,
        grid,
        frame.T_odom_base,
        camera_matrix=frame.K,
        world_optical=frame.T_odom_optical,
        depth=frame.depth,
    )
    assert truth.visible[cell(grid, 8.0, 0.1)]
    assert truth.visible[cell(grid, 17.0, 3.0)]
    assert not truth.visible[cell(grid, 17.0, 0.1)]
    assert not truth.visible[cell(grid, 2.1, 0.1)]
    picture = as_picture(truth, scale=1)
    assert picture.shape == (140, 80, 3)


def test_overhanging_things_leave_the_ground_free_and_buildings_do_not():
    house = Building(1, 20.0, 6.0, 8.0, 6.0, 2, 4, 'house:4', 'flat')
    polygons = footprints(plain_scene(buildings=(house,)), 0.0)
    assert len(polygons) == 1
    low, high = polygons[0].min(axis=0), polygons[0].max(axis=0)
    np.testing.assert_allclose(low, [16, 6], atol=1e-6)
    np.testing.assert_allclose(high, [24, 12], atol=1e-6)


def test_half_a_camera_is_refused():
    with pytest.raises(GroundError, match='together'):
        ground_truth(plain_scene(), 0.0, Grid(), np.eye(4), camera_matrix=np.eye(3))
