"""The ground projector against truths worked out cell by cell, and its promise."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec, GroundPlane, pose_from_mounting
from seg_perception.core.ground import GroundProjector
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.ground_options import ProjectionOptions

ROAD, WALL, SKY, CURB, UNLABELLED = 0, 1, 2, 3, 255
ROLES = np.zeros(256, np.uint8)
ROLES[[ROAD, WALL, CURB]] = 1, 2, 2
COSTS = np.zeros(256, np.uint8)
COSTS[[ROAD, WALL, CURB]] = 5, 100, 60
CLASSES = GroundClasses(ROLES)
PINHOLE = CameraModel.create(224, 128, [194, 0, 111.5, 0, 194, 63.5, 0, 0, 1])
GRID = GridSpec(0.2, 0, 12, -4, 4)
#: Every pixel marks the ground it would show were all of it flat.
PLAIN = ProjectionOptions(occlusion=False)
# Off the centre line, so that no cell's corner falls exactly between two pixels.
POSE = pose_from_mounting(0, 0.013, 1.2, 0, math.radians(10), 0)


def lens(name: str) -> CameraModel:
    coefficients = {
        'plumb_bob': (-0.3, 0.1, 0.001, -0.001, -0.01),
        'equidistant': (-0.01, 0.005, 0, 0),
    }[name]
    return CameraModel.create(
        224, 128, [150, 0, 111.5, 0, 150, 63.5, 0, 0, 1], coefficients, distortion_model=name
    )


def sure(labels: np.ndarray) -> np.ndarray:
    return np.full(labels.shape, 255, np.uint8)


def picture(value: int = ROAD, camera: CameraModel = PINHOLE) -> np.ndarray:
    return np.full((camera.height, camera.width), value, np.uint8)


def paint(camera: CameraModel, pose: np.ndarray, is_road) -> np.ndarray:
    """Draw what the camera sees of a flat world, pixel by pixel, by intersecting its rays."""
    labels = picture(SKY, camera)
    for v in range(camera.height):
        rays, _ = camera.rays(np.column_stack([np.arange(camera.width), np.full(camera.width, v)]))
        for u, ray in enumerate(rays @ pose[:3, :3].T):
            if ray[2] < 0:
                x, y, _ = pose[:3, 3] - ray * pose[2, 3] / ray[2]
                labels[v, u] = ROAD if is_road(x, y) else WALL
    return labels


def cell_box(grid: GridSpec, iy: int, ix: int) -> tuple[float, float, float, float]:
    x, y = grid.x_min + ix * grid.resolution, grid.y_min + iy * grid.resolution
    return x, x + grid.resolution, y, y + grid.resolution


def brute_force_pixels(camera, pose, grid, iy, ix, n=60) -> set[tuple[int, int]] | None:
    """Pixels that a dense lattice of points in a cell falls on; None if any falls outside."""
    x0, x1, y0, y1 = cell_box(grid, iy, ix)
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(x0, x1, n), np.linspace(y0, y1, n)))
    points = np.column_stack([x, y, np.zeros_like(x)])
    uv, valid = camera.project((points - pose[:3, 3]) @ pose[:3, :3])
    if not valid.all():
        return None
    return set(map(tuple, np.floor(uv + 0.5).astype(int).tolist()))


# --- truth of each cell -----------------------------------------------------------------------

MOUNTINGS = {
    'ahead': (0, 0, 1.2, 0, 10, 0),
    'turned and leaning': (0.5, -0.3, 0.9, 4, 14, 25),
    'low': (0, 0, 0.3, 0, 3, 0),
    'straight down': (4, 0, 6, 0, 90, 0),
    'upside down': (0, 0, 1.2, 180, 10, 0),
}


@pytest.mark.parametrize('mounting', MOUNTINGS)
@pytest.mark.parametrize('model', ['pinhole', 'plumb_bob', 'equidistant'])
def test_cells_agree_with_the_world(mounting, model):
    """A road with an edge: cells clear of the edge have the truth, the view's size is right."""
    camera = PINHOLE if model == 'pinhole' else lens(model)
    x, y, height, *angles = MOUNTINGS[mounting]
    pose = pose_from_mounting(x, y, height, *np.radians(angles))
    slope, offset = 0.15, 0.4  # the edge of the road: y = offset + slope * x
    labels = paint(camera, pose, lambda x, y: y < offset + slope * x)
    projector = GroundProjector(camera, pose, GRID)
    cells = projector.observe(labels, sure(labels), CLASSES).cells
    assert cells.shape == GRID.shape
    assert cells.dtype == np.int8

    known = agree = 0
    for iy, ix in np.ndindex(cells.shape):
        x0, x1, y0, y1 = cell_box(GRID, iy, ix)
        edge = np.array([offset + slope * x0, offset + slope * x1])
        all_road, all_wall = y1 < edge.min(), y0 > edge.max()
        if cells[iy, ix] == 0:
            assert not all_wall, 'falsely free'
        if cells[iy, ix] >= 0 and (all_road or all_wall):
            known += 1
            agree += cells[iy, ix] == (100 if all_wall else 0)
    assert known > 250
    # What differs are road cells that share a pixel with the edge: the safe side.
    assert agree >= 0.9 * known


@pytest.mark.parametrize('model', ['pinhole', 'plumb_bob', 'equidistant'])
def test_all_that_is_fully_in_view_and_road_is_free(model):
    """Neither less is free than can be seen, nor more: the view is worked out by projection."""
    camera = PINHOLE if model == 'pinhole' else lens(model)
    labels = picture(ROAD)
    cells = (
        GroundProjector(camera, POSE, GRID, max_cells_per_pixel=1e9)
        .observe(labels, sure(labels), CLASSES)
        .cells
    )
    for iy, ix in np.ndindex(cells.shape):
        touched = brute_force_pixels(camera, POSE, GRID, iy, ix, n=5)
        if cells[iy, ix] == 0:
            assert touched is not None, (iy, ix)
        elif touched is not None:  # only what ends within three pixels of the picture's edge
            u, v = np.array(list(touched)).T
            to_edge = min(
                u.min(), v.min(), camera.width - 1 - u.max(), camera.height - 1 - v.max()
            )
            assert to_edge <= 3, (iy, ix)


def test_left_and_right_are_not_swapped():
    labels = picture(ROAD)
    labels[:, :112] = WALL  # the left half of the picture
    cells = (
        GroundProjector(PINHOLE, POSE, GRID).observe(labels, sure(labels), CLASSES, PLAIN).cells
    )
    y = GRID.y_min + (np.arange(GRID.height) + 0.5) * GRID.resolution
    assert (cells[y > 0.2] != 0).all()
    assert (cells[y < -0.2] != 100).all()
    # Cells that the border cuts count as occupied rather than as free.
    assert (cells == 100).sum() == pytest.approx((cells == 0).sum(), rel=0.15)


# --- the promise ------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_without_drivable_pixels_nothing_is_free(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([WALL, SKY, CURB, 77, UNLABELLED], PROJECTOR_SHAPE).astype(np.uint8)
    confidence = rng.integers(0, 256, PROJECTOR_SHAPE, dtype=np.uint8)
    cells = PROJECTOR.observe(
        labels, confidence, CLASSES, ProjectionOptions(min_confidence=0.0)
    ).cells
    assert not (cells == 0).any()
    assert not ((cells >= 0) & (cells < 100)).any()


PROJECTOR = GroundProjector(PINHOLE, POSE, GRID)
PROJECTOR_SHAPE = (PINHOLE.height, PINHOLE.width)


def blobs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A road with random patches of other classes and of low confidence."""
    labels, confidence = picture(ROAD), np.full(PROJECTOR_SHAPE, 230, np.uint8)
    for _ in range(rng.integers(1, 25)):
        v, u = rng.integers(40, 128), rng.integers(0, 224)
        h, w = rng.integers(1, 14, 2)
        if rng.random() < 0.6:
            labels[v : v + h, u : u + w] = rng.choice([WALL, SKY, CURB, UNLABELLED])
        else:
            confidence[v : v + h, u : u + w] = rng.integers(0, 256)
    return labels, confidence


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.5, 0.9, 1.0]))
def test_every_free_cell_shows_confident_road_all_over(seed, share):
    """By other means: points in the cell, and every pixel's own ray, one at a time."""
    labels, confidence = blobs(np.random.default_rng(seed))
    confident = confidence >= 128
    cells = PROJECTOR.observe(
        labels, confidence, CLASSES, ProjectionOptions(free_share=share)
    ).cells
    free = np.argwhere(cells == 0)
    assert len(free)
    for iy, ix in free[:: max(len(free) // 60, 1)]:
        touched = brute_force_pixels(PINHOLE, POSE, GRID, iy, ix, n=25)
        assert touched is not None, 'a free cell reaches out of the picture'
        # At the least these count: the pixels centred in the cell, or, where it is too small
        # to have any, those under its corners and its middle.
        count = {pixel for pixel in touched if _centre_is_in(pixel, iy, ix)}
        count = count or brute_force_pixels(PINHOLE, POSE, GRID, iy, ix, n=3)
        sure_road = sum(labels[v, u] == ROAD and confident[v, u] for u, v in count)
        sure_walls = sum(ROLES[labels[v, u]] == 2 and confident[v, u] for u, v in count)
        assert sure_walls == 0, 'an obstacle lies in a free cell'
        assert len(count) - sure_road <= (1 - share) * len(touched) + 1e-9


def _centre_is_in(pixel: tuple[int, int], iy: int, ix: int) -> bool:
    ray = PINHOLE.rays(np.array([pixel], float))[0][0] @ POSE[:3, :3].T
    if ray[2] >= 0:
        return False
    x, y, _ = POSE[:3, 3] - ray * POSE[2, 3] / ray[2]
    x0, x1, y0, y1 = cell_box(GRID, iy, ix)
    return x0 <= x < x1 and y0 <= y < y1


@pytest.mark.parametrize('u', [20, 87, 111, 112, 150, 200])
@pytest.mark.parametrize('wide', [1, 2])
def test_a_thin_post_is_not_missed(u, wide):
    """Near cells are tens of pixels wide: a share alone would call them free."""
    grid = GridSpec(0.5, 0, 12, -4, 4)
    labels = picture(ROAD)
    labels[:118, u : u + wide] = WALL
    cells = GroundProjector(PINHOLE, POSE, grid).observe(labels, sure(labels), CLASSES).cells
    rays, _ = PINHOLE.rays(
        np.array([(a, b) for a in (u, u + wide - 1) for b in range(117, 40, -1)], dtype=float)
    )
    directions = rays @ POSE[:3, :3].T
    directions = directions[directions[:, 2] < 0]
    ground = POSE[:3, 3] - directions * (1.2 / directions[:, 2])[:, None]
    ix, iy = np.floor(ground[:, :2] * 2 + (0, 8)).astype(int).T
    inside = (ix < grid.width) & (iy >= 0) & (iy < grid.height)
    assert inside[0]
    assert cells[iy[0], ix[0]] == 100, 'where it meets the ground'
    assert not (cells[iy[inside], ix[inside]] == 0).any()


def test_low_confidence_is_unknown():
    labels = picture(ROAD)
    options = ProjectionOptions(min_confidence=0.6)
    below, above = (np.full(labels.shape, c, np.uint8) for c in (152, 153))  # 0.6 * 255 = 153
    assert (PROJECTOR.observe(labels, below, CLASSES, options).cells == -1).all()
    assert (PROJECTOR.observe(labels, above, CLASSES, options).cells == 0).any()
    wall = picture(WALL)
    assert (PROJECTOR.observe(wall, below, CLASSES, options).cells == -1).all()


@pytest.mark.parametrize('label', [SKY, UNLABELLED, 42])
def test_classes_that_say_nothing_are_unknown(label):
    labels = picture(label)
    assert (PROJECTOR.observe(labels, sure(labels), CLASSES).cells == -1).all()


def test_partly_drivable_cells_are_unknown():
    """Stripes of no evidence over a third of the pixels: no obstacle, but not free either."""
    labels = picture(ROAD)
    labels[::3] = SKY
    labels[:, ::3] = SKY
    cells = PROJECTOR.observe(labels, sure(labels), CLASSES).cells
    near = cells[:, : int(3 / GRID.resolution)]
    assert (near == -1).all()


def test_cells_cut_by_the_edge_of_the_picture_are_never_free_but_can_be_occupied():
    edge = [(iy, ix) for iy, ix in np.ndindex(GRID.shape) if 0 < _corners_in_view(iy, ix) < 4]
    assert len(edge) > 10
    rows, columns = np.array(edge).T
    road, wall = picture(ROAD), picture(WALL)
    assert (PROJECTOR.observe(road, sure(road), CLASSES).cells[rows, columns] == -1).all()
    assert (
        PROJECTOR.observe(wall, sure(wall), CLASSES, PLAIN).cells[rows, columns] == 100
    ).mean() > 0.6


def _corners_in_view(iy: int, ix: int) -> int:
    x0, x1, y0, y1 = cell_box(GRID, iy, ix)
    corners = np.array([(x, y, 0) for x in (x0, x1) for y in (y0, y1)])
    return int(PINHOLE.project((corners - POSE[:3, 3]) @ POSE[:3, :3])[1].sum())


def test_beyond_the_pixel_budget_is_unknown():
    """One pixel shows more ground the farther it looks: the far limit follows from the optics."""
    grid = GridSpec(0.2, 0, 60, -2, 2)
    pose = pose_from_mounting(0, 0, 1.2, 0, 0, 0)
    labels = picture(ROAD)
    reach = []
    for budget in (2.0, 16.0):
        cells = (
            GroundProjector(PINHOLE, pose, grid, max_cells_per_pixel=budget)
            .observe(labels, sure(labels), CLASSES)
            .cells
        )
        far = (np.flatnonzero((cells == 0).any(axis=0)).max() + 1) * grid.resolution
        # Looking level, a cell at x covers f^2 h res^2 / x^3 pixels.
        expected = (194**2 * 1.2 * 0.2**2 * budget) ** (1 / 3)
        assert far == pytest.approx(expected, abs=3 * grid.resolution)
        reach.append(far)
        assert (
            GroundProjector(PINHOLE, pose, grid, max_cells_per_pixel=budget)
            .observe(picture(WALL), sure(labels), CLASSES)
            .cells[:, int(expected / 0.2) + 2 :]
            == -1
        ).all()
    assert reach[0] < reach[1] < 60


# --- views that see nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    'mounting',
    {
        'at the sky': (0, 0, 1.2, 0, -60, 0),
        'straight up': (0, 0, 1.2, 0, -90, 0),
        'away from the grid': (-1, 0, 1.2, 0, 10, 180),
        'below the ground': (0, 0, -0.5, 0, 10, 0),
        'on the ground': (0, 0, 0, 0, 10, 0),
        'below the ground, looking up': (2, 0, -1, 0, -90, 0),
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize('model', ['pinhole', 'plumb_bob', 'equidistant'])
def test_a_camera_that_sees_no_ground_leaves_all_unknown(mounting, model):
    camera = PINHOLE if model == 'pinhole' else lens(model)
    x, y, height, *angles = mounting[1]
    projector = GroundProjector(
        camera, pose_from_mounting(x, y, height, *np.radians(angles)), GRID
    )
    assert not projector.sees_ground
    assert projector.visible_cells == 0
    for value in (ROAD, WALL):
        labels = picture(value)
        assert (projector.observe(labels, sure(labels), CLASSES).cells == -1).all()


def test_nothing_above_the_horizon_reaches_the_grid():
    pose = pose_from_mounting(0, 0, 1.2, 0, 0, 0)  # the horizon is row 63.5
    labels = picture(ROAD)
    labels[:64] = WALL
    grid = GridSpec(0.2, 0, 30, -4, 4)
    cells = GroundProjector(PINHOLE, pose, grid).observe(labels, sure(labels), CLASSES).cells
    assert not (cells == 100).any()
    assert (cells == 0).any()


def test_visible_cells_counts_the_view():
    assert PROJECTOR.sees_ground
    wall = picture(WALL)
    cells = PROJECTOR.observe(wall, sure(wall), CLASSES, PLAIN).cells
    assert (cells == 100).sum() == pytest.approx(PROJECTOR.visible_cells, rel=0.03)


# --- ground plane, costs, options -------------------------------------------------------------


def test_a_ground_below_the_base_frame_is_the_same_as_a_higher_camera():
    labels = paint(PINHOLE, POSE, lambda x, y: abs(y) < 1.5)
    level = PROJECTOR.observe(labels, sure(labels), CLASSES).cells
    lowered = pose_from_mounting(0, 0.013, 0.9, 0, math.radians(10), 0)
    other = GroundProjector(PINHOLE, lowered, GRID, plane=GroundPlane(offset=-0.3))
    assert (other.observe(labels, sure(labels), CLASSES).cells == level).mean() > 0.999


def test_a_sloping_ground_is_reached_where_the_rays_meet_it():
    """Uphill by 5 degrees: a ray 10 degrees below the horizon meets it nearer than the flat."""
    tilt = math.radians(5)
    plane = GroundPlane(normal=(-math.sin(tilt), 0, math.cos(tilt)))
    labels = picture(ROAD)
    labels[:63] = SKY  # row 62.5 looks 10 degrees down
    grid = GridSpec(0.1, 0, 12, -1, 1)
    cells = (
        GroundProjector(PINHOLE, POSE, grid, plane=plane)
        .observe(labels, sure(labels), CLASSES)
        .cells
    )
    far = (np.flatnonzero((cells == 0).any(axis=0)).max() + 1) * grid.resolution
    assert far == pytest.approx(1.2 / (math.tan(math.radians(10)) + math.tan(tilt)), abs=0.25)


def test_costs_take_the_place_of_free_and_occupied():
    labels = picture(ROAD)
    labels[:, 60:110] = CURB
    labels[:, 170:] = WALL
    plain = PROJECTOR.observe(labels, sure(labels), CLASSES, PLAIN).cells
    classes = GroundClasses(ROLES, costs=COSTS)
    priced = PROJECTOR.observe(labels, sure(labels), classes, PLAIN).cells
    assert {-1, 5, 60, 100} <= set(np.unique(priced))
    assert ((priced == -1) == (plain == -1)).all()
    assert (priced[plain == 0] == 5).all()
    assert (priced[plain == 100] >= 60).all()


def test_an_obstacle_without_cost_is_not_published_as_free():
    wall = picture(WALL)
    classes = GroundClasses(ROLES, costs=np.zeros(256, np.uint8))
    cells = PROJECTOR.observe(wall, sure(wall), classes).cells
    assert set(np.unique(cells)) == {-1, 1}


def test_options_can_change_from_frame_to_frame():
    labels = picture(ROAD)
    labels[100:106, 90:110] = SKY  # a part of a cell
    projector = GroundProjector(PINHOLE, POSE, GridSpec(0.5, 0, 12, -4, 4))
    strict, lax = (
        projector.observe(labels, sure(labels), CLASSES, ProjectionOptions(free_share=share)).cells
        for share in (0.95, 0.5)
    )
    assert (lax == 0).sum() > (strict == 0).sum()
    assert (lax[strict == 0] == 0).all()


def test_projecting_is_quick():
    """Processor time on one core, which a busy machine at most doubles or so."""
    camera = CameraModel.create(448, 256, [388, 0, 223.5, 0, 388, 127.5, 0, 0, 1])
    projector = GroundProjector(camera, POSE, GridSpec(0.1, 0, 40, -10, 10))
    labels = picture(ROAD, camera)
    confidence = sure(labels)
    times = []
    for _ in range(40):
        start = time.thread_time()
        projector.observe(labels, confidence, CLASSES)
        times.append(time.thread_time() - start)
    assert min(times) < 12e-3  # 1.5 to 3 ms measured; a slow machine must not fail the test


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('labels', 'confidence', 'message'),
    [
        (np.zeros((64, 224), np.uint8), None, r'labels .* \(128, 224\)'),
        (np.zeros(PROJECTOR_SHAPE, np.int32), None, 'labels .* int32'),
        (None, np.zeros((128, 100), np.uint8), 'confidence'),
        (None, np.zeros(PROJECTOR_SHAPE, np.float32), 'confidence .* float32'),
    ],
)
def test_pictures_that_do_not_fit_are_refused(labels, confidence, message):
    labels = picture() if labels is None else labels
    confidence = picture(255) if confidence is None else confidence
    with pytest.raises(GroundError, match=message):
        PROJECTOR.observe(labels, confidence, CLASSES)


@pytest.mark.parametrize(
    ('tables', 'message'),
    [
        ({'roles': ROLES[:19]}, 'roles'),
        ({'roles': ROLES + 1}, 'roles .* at most 2'),
        ({'roles': ROLES, 'costs': COSTS + 1}, 'costs .* at most 100'),
        ({'roles': ROLES, 'costs': COSTS.astype(np.float32)}, 'costs .* float32'),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, message):
    with pytest.raises(GroundError, match=message):
        GroundClasses(**tables)


@pytest.mark.parametrize(
    'change',
    [
        {'min_confidence': 1.1},
        {'min_confidence': float('nan')},
        {'free_share': 0},
        {'occupied_share': -0.1},
        {'obstacle_pixels': 0},
        {'max_cells_per_pixel': 0},
        {'max_cells_per_pixel': float('nan')},
    ],
)
def test_options_out_of_range_are_refused(change):
    with pytest.raises(GroundError, match=next(iter(change))):
        ProjectionOptions(**change)


@pytest.mark.parametrize(
    'pose', [np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, 2, 1]), np.diag([1, 1, -1, 1])]
)
def test_poses_that_are_no_rigid_transform_are_refused(pose):
    with pytest.raises(GroundError, match='pose'):
        GroundProjector(PINHOLE, pose, GRID)
