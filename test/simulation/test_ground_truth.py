"""True cells of a hand-made street."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('panda3d')

from test_truth_geometry import plain_scene, project, seen

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.simulation.footprints import footprints
from seg_perception.simulation.mesh import CAR
from seg_perception.simulation.scene import Building, Mover
from seg_perception.simulation.truth import FREE, OCCUPIED, Viewpoint, as_picture, ground_truth

GRID = GridSpec(0.2, 2.0, 30.0, -8.0, 8.0)


def view(frame):
    return Viewpoint(frame.camera, frame.T_odom_optical, frame.depth, frame.ground)


def cell(grid, x, y):
    return int((y - grid.y_min) / grid.resolution), int((x - grid.x_min) / grid.resolution)


def test_road_is_free_and_pavement_is_not():
    grid = GRID
    truth = ground_truth(plain_scene(), 0.0, grid, np.eye(4))
    assert truth.cells.shape == (80, 140)
    assert truth.cells[cell(grid, 10, 0)] == FREE
    assert truth.cells[cell(grid, 10, 3.3)] == FREE
    assert truth.cells[cell(grid, 10, 3.9)] == OCCUPIED
    assert truth.cells[cell(grid, 10, -5.0)] == OCCUPIED
    # The road is 7 m wide: 17.5 cells to either side.
    assert truth.drivable[:, 40].sum() * grid.resolution == pytest.approx(7.0, abs=0.01)


def test_a_car_s_footprint_is_a_box_with_tapered_ends():
    grid = GRID
    scene = plain_scene(movers=(Mover('vehicle', 4, 12.0, -1.7, instance=1),))
    truth = ground_truth(scene, 0.0, grid, np.eye(4))
    area = truth.obstacle.sum() * grid.resolution**2
    assert 0.96 * 3.95 * 1.72 < area < 0.99 * 3.95 * 1.72
    assert truth.cells[cell(grid, 12.0, -1.7)] == OCCUPIED
    assert truth.cells[cell(grid, 12.0, 1.7)] == FREE


def test_the_grid_moves_with_the_vehicle():
    grid = GRID
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
    grid = GRID
    scene = plain_scene(movers=(Mover('vehicle', 4, 12.0, 0.0, instance=1),))
    frame = seen(scene)
    truth = ground_truth(scene, 0.0, grid, frame.T_odom_base, view(frame))
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


def test_a_camera_of_another_size_is_refused():
    frame = seen(plain_scene())
    small = replace(view(frame), depth=frame.depth[::2])
    with pytest.raises(GroundError, match='of one frame'):
        ground_truth(plain_scene(), 0.0, GRID, np.eye(4), small)


def test_contacts_lie_on_the_car_and_kerbs_on_the_road_s_edge():
    scene = plain_scene(movers=(Mover('vehicle', 4, 12.0, 0.0, instance=1),))
    frame = seen(scene)
    truth = ground_truth(scene, 0.0, GRID, frame.T_odom_base, view(frame))
    rear = 12.0 - 3.95 / 2
    behind = truth.contacts[np.abs(truth.contacts[:, 1]) < 0.6]
    assert len(behind) > 30
    np.testing.assert_allclose(behind[:, 0], rear, atol=0.06)
    # From a camera in line with the car its flanks are out of sight.
    assert (np.abs(truth.contacts[:, 1]) < 0.95).all()
    np.testing.assert_allclose(np.abs(truth.kerbs[:, 1]), 3.5, atol=0.06)


def test_ground_beneath_a_vehicle_is_labelled_as_the_vehicle():
    scene = plain_scene(movers=(Mover('vehicle', 4, 9.0, 2.4, instance=1),))
    frame = seen(scene)
    # Between the wheels one sees the road's far side; the mask says car from the sill down.
    side = np.array([[9.0, 2.4 - 1.72 / 2, 0.05]])
    u, v = project(frame, side)[0]
    assert frame.mask[round(float(v)), round(float(u))] == CAR
    assert not frame.ground[round(float(v)), round(float(u))]
    # What lies there is no place to drive, in the mask as in the cells.
    cells = ground_truth(scene, 0.0, GRID, np.eye(4)).cells
    assert cells[cell(GRID, 9.0, 2.3)] == OCCUPIED


@pytest.mark.parametrize('kind', ['pedestrian', 'cyclist'])
def test_a_person_s_footprint_is_the_figure_seen_from_above(kind):
    still = Mover(kind, 3, 10.0, 1.0, instance=2)
    (outline,) = footprints(plain_scene(movers=(still,)), 0.0)
    low, high = outline.min(axis=0), outline.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, [10.0, 1.0], atol=0.12)
    length, width = high - low
    assert 0.4 < width < 0.75
    assert (1.6 < length < 1.9) if kind == 'cyclist' else (0.2 < length < 0.9)
