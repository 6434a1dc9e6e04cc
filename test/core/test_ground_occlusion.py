"""What hides what: hand-worked scenes of upright boxes, drawn ray by ray, by several cameras."""

import math

import numpy as np
import pytest

from seg_perception.core.camera import CameraModel
from seg_perception.core.free_space import free_space
from seg_perception.core.grid import GridSpec, GroundPlane, pose_from_mounting
from seg_perception.core.ground import GroundProjector
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.ground_observation import FREE, HIDDEN, OCCUPIED, OCCUPIED_MOVING
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.labels import LabelClass, LabelSet, Role

ROAD, WALL, CAR, SIGN, TREE, GRASS, SKY = range(7)
_COLOR = (0, 0, 0)
LABELS = LabelSet(
    'scene',
    (
        LabelClass(ROAD, 'road', _COLOR, Role.DRIVABLE, 0),
        LabelClass(WALL, 'wall', _COLOR, Role.OBSTACLE, 100, footprint=0.4),
        LabelClass(CAR, 'car', _COLOR, Role.OBSTACLE, 100, footprint=1.0, moving=True),
        LabelClass(SIGN, 'sign', _COLOR, Role.OBSTACLE, 100, overhang=True, footprint=0.0),
        LabelClass(TREE, 'tree', _COLOR, Role.OBSTACLE, 100, overhang=True, footprint=0.4),
        LabelClass(GRASS, 'grass', _COLOR, Role.OBSTACLE, 70, flat=True),
        LabelClass(SKY, 'sky', _COLOR, Role.IGNORE, 0),
    ),
)
GRID = GridSpec(0.2, 0, 16, -4, 4)
SIZE = (320, 200)
PINHOLE = CameraModel.create(*SIZE, [230, 0, 159.5, 0, 230, 99.5, 0, 0, 1])
FISHEYE = CameraModel.create(
    *SIZE,
    [190, 0, 159.5, 0, 190, 99.5, 0, 0, 1],
    (-0.02, 0.004, 0, 0),
    distortion_model='equidistant',
)
BARREL = CameraModel.create(
    *SIZE, [230, 0, 159.5, 0, 230, 99.5, 0, 0, 1], (-0.2, 0.05, 0.001, -0.001, 0)
)
LEVEL = pose_from_mounting(0, 0.013, 2.0, 0, math.radians(12), 0)
VIEWS = {
    'pinhole': (PINHOLE, LEVEL),
    'barrel': (BARREL, LEVEL),
    'fisheye': (FISHEYE, LEVEL),
    'rolled': (PINHOLE, pose_from_mounting(0, 0.013, 2.0, math.radians(20), math.radians(12), 0)),
    'on its side': (
        PINHOLE,
        pose_from_mounting(0, 0.01, 2, math.radians(90), math.radians(15), 0),
    ),
}


def draw(camera, pose, boxes, ground=lambda x, y: np.full(x.shape, ROAD)) -> np.ndarray:
    """Cast every pixel's ray at upright boxes (class, x0, x1, y0, y1, z0, z1) and the ground."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays, valid = camera.rays(np.column_stack([u.ravel(), v.ravel()]))
    rays = np.where(valid[:, None], rays, (0, -1, 0)) @ pose[:3, :3].T
    eye = pose[:3, 3]
    labels = np.full(len(rays), SKY, np.uint8)
    nearest = np.full(len(rays), np.inf)
    down = rays[:, 2] < -1e-9
    nearest[down] = -eye[2] / rays[down, 2]
    at = eye + rays * np.where(down, nearest, 0)[:, None]
    labels[down] = ground(at[:, 0], at[:, 1])[down]
    for kind, *extent in boxes:
        low, high = np.array(extent[::2]), np.array(extent[1::2])
        with np.errstate(divide='ignore', invalid='ignore'):
            ends = np.sort(np.stack([(low - eye) / rays, (high - eye) / rays]), axis=0)
        enters, leaves = ends[0].max(axis=1), ends[1].min(axis=1)
        hit = (enters < leaves) & (enters > 0) & (enters < nearest)
        labels[hit], nearest[hit] = kind, enters[hit]
    return labels.reshape(camera.height, camera.width)


def observe(labels, view='pinhole', confidence=None, options=None, instances=None):
    camera, pose = VIEWS[view]
    confidence = np.full(labels.shape, 255, np.uint8) if confidence is None else confidence
    classes = GroundClasses.of(LABELS, graded=options is not None and options.graded)
    return GroundProjector(camera, pose, GRID).observe(
        labels, confidence, classes, options, instances=instances
    )


def kind_at(observation, x, y) -> int:
    return int(observation.kinds[int((y + 4) / 0.2), int(x / 0.2)])


BOX = (WALL, 6.0, 6.5, -0.7, 0.7, 0.0, 1.0)


@pytest.mark.parametrize('view', VIEWS)
def test_a_box_on_the_road(view):
    camera, pose = VIEWS[view]
    seen = observe(draw(camera, pose, [BOX]), view)
    for y in (-0.5, 0.1, 0.5):
        assert kind_at(seen, 5.3, y) == FREE, 'before it'
        assert kind_at(seen, 6.3, y) == OCCUPIED, 'where it stands'
        for x in (7.5, 9.0, 11.0, 13.0):
            assert seen.cells[int((y + 4) / 0.2), int(x / 0.2)] == -1, 'behind it'
    assert kind_at(seen, 6.3, 1.5) == FREE, 'beside it'
    assert (seen.cells[:, : int(5.4 / 0.2)] != 100).all(), 'nothing is occupied before it'
    assert (seen.cells[:, int(7.6 / 0.2) :] != 100).all(), 'nor behind it'


def test_without_occlusion_the_box_smears_over_what_it_hides():
    labels = draw(*VIEWS['pinhole'], [BOX])
    plain = observe(labels, options=ProjectionOptions(occlusion=False))
    assert (plain.cells == 100).sum() > 4 * (observe(labels).cells == 100).sum()


@pytest.mark.parametrize('view', ['pinhole', 'rolled', 'fisheye'])
def test_a_sign_over_the_road_blocks_nothing(view):
    """Its lower edge is 1 m high: it hides the road from 8 to 12 m, as seen from 2 m."""
    camera, pose = VIEWS[view]
    seen = observe(draw(camera, pose, [(SIGN, 4.0, 4.05, -1, 1, 1.0, 1.3)]), view)
    assert not (seen.kinds == OCCUPIED).any()
    for x in (3.1, 4.1, 6.0, 7.5):
        assert kind_at(seen, x, 0.1) == FREE, 'the road beneath'
    assert kind_at(seen, 9.5, 0.1) == 0, 'what the sign hides is not known'
    assert kind_at(seen, 13.0, 0.1) == FREE, 'the road that shows above it'


def test_a_gate_leaves_the_road_between_its_posts():
    gate = [
        (WALL, 6, 6.3, -2.2, -1.8, 0, 1.6),
        (WALL, 6, 6.3, 1.8, 2.2, 0, 1.6),
        (SIGN, 6, 6.3, -1.8, 1.8, 1.3, 1.6),
    ]
    seen = observe(draw(*VIEWS['pinhole'], gate))
    for x in (5.0, 6.1, 8.0, 12.0):
        assert kind_at(seen, x, 0.1) == FREE
    for y in (-2.0, 2.0):
        assert kind_at(seen, 6.1, y) == OCCUPIED
        assert kind_at(seen, 8.5, y * 1.4) == 0


def test_a_tree_stands_on_its_trunk_and_its_crown_blocks_nothing():
    tree = [(TREE, 4.0, 4.3, -0.15, 0.15, 0, 1.9), (TREE, 3.0, 5.2, -1.6, 1.6, 1.3, 3.0)]
    seen = observe(draw(*VIEWS['pinhole'], tree))
    assert kind_at(seen, 4.1, 0.1) == OCCUPIED
    assert kind_at(seen, 6.0, 0.1) == 0, 'behind the trunk'
    for y in (-0.9, 0.9):
        assert kind_at(seen, 4.1, y) == FREE, 'the road beneath the crown'
        assert not (seen.cells[int((y * 1.5 + 4) / 0.2), 20:] == 100).any()


def test_far_poles_are_no_crowns_of_near_ones():
    poles = [(TREE, 3, 3.1, 1.0, 1.1, 0, 4), (TREE, 11, 11.3, 1.6, 1.9, 0, 4)]
    seen = observe(draw(*VIEWS['pinhole'], poles))
    assert (seen.cells[int(5.5 / 0.2) : int(6 / 0.2), int(11 / 0.2) : int(12 / 0.2)] == 100).any()


def test_flat_ground_that_is_no_road_hides_nothing():
    def island(x, y):
        return np.where((x > 5) & (x < 7) & (np.abs(y) < 1), GRASS, ROAD)

    seen = observe(draw(*VIEWS['pinhole'], [], island))
    assert kind_at(seen, 6.1, 0.1) == OCCUPIED
    assert kind_at(seen, 9.0, 0.1) == FREE


def test_behind_something_one_is_not_sure_of_nothing_is_free():
    labels = draw(*VIEWS['pinhole'], [BOX])
    confidence = np.where(labels == WALL, 60, 255).astype(np.uint8)
    seen = observe(labels, confidence=confidence)
    assert not (seen.kinds == OCCUPIED).any()
    assert not (seen.kinds[18:23, int(6 / 0.2) :] == FREE).any()


def test_a_contact_with_an_unsure_fringe_counts():
    labels = draw(*VIEWS['pinhole'], [BOX])
    sure = np.full(labels.shape, 255, np.uint8)
    fringe = (labels == WALL) & (np.roll(labels, -2, axis=0) == ROAD)
    sure[fringe] = 60
    assert kind_at(observe(labels, confidence=sure), 6.3, 0.1) == OCCUPIED


def test_a_speck_ends_sight_but_is_no_obstacle():
    labels = draw(*VIEWS['pinhole'], [])
    labels[120, 160] = WALL
    seen = observe(labels)
    assert not (seen.kinds == OCCUPIED).any()
    assert ((seen.kinds == 0) & (observe(draw(*VIEWS['pinhole'], [])).kinds == FREE)).any()


def test_what_moves_is_marked_as_such_and_hides_what_may_be_it():
    seen = observe(draw(*VIEWS['pinhole'], [(CAR, 5, 9, -0.9, 0.9, 0, 1.5)]))
    assert kind_at(seen, 5.5, 0.1) == OCCUPIED_MOVING
    assert kind_at(seen, 8.0, 0.1) == HIDDEN


def test_instances_close_the_gap_below_a_car():
    """Between the wheels the far wheels are seen; the car's near side is one line all the same."""
    car = [
        (CAR, 5.0, 6.6, -1.5, -1.1, 0, 1.5),
        (CAR, 5.0, 6.6, 1.1, 1.5, 0, 1.5),
        (CAR, 5.0, 6.6, -1.5, 1.5, 0.5, 1.5),
    ]
    labels = draw(*VIEWS['pinhole'], car)
    assert kind_at(observe(labels), 5.5, 0.1) == FREE, 'the road that shows below the car'
    seen = observe(labels, instances=np.where(labels == CAR, 7, 0).astype(np.uint16))
    for y in (-1.0, 0.1, 1.0):
        assert kind_at(seen, 5.5, y) == OCCUPIED_MOVING
        assert kind_at(seen, 4.5, y) == FREE
    assert kind_at(seen, 5.5, 2.0) == FREE, 'no wider than the car'


def test_costs_follow_class_and_confidence():
    def verge(x, y):
        return np.where(y > 0.5, GRASS, ROAD)

    labels = draw(*VIEWS['pinhole'], [BOX], verge)
    graded = ProjectionOptions(graded=True)
    sure = observe(labels, options=graded).cells
    assert sure[int(5 / 0.2), int(5 / 0.2)] == 70
    assert sure[int(3.4 / 0.2), int(5 / 0.2)] == 0
    assert sure[int(4.1 / 0.2), int(6.3 / 0.2)] >= 95
    doubtful = np.full(labels.shape, 178, np.uint8)  # 0.7
    less = observe(labels, options=graded, confidence=doubtful).cells
    assert less[int(3.4 / 0.2), int(5 / 0.2)] == pytest.approx(15, abs=1)
    assert less[int(5 / 0.2), int(5 / 0.2)] == pytest.approx(64, abs=1)


def test_a_tilting_mount_is_followed_as_exactly_as_a_new_one():
    projector = GroundProjector(PINHOLE, LEVEL, GRID)
    for roll, pitch, height in ((0.02, 0.19, 2.0), (-0.03, 0.24, 2.03), (0.01, 0.2, 1.98)):
        pose = pose_from_mounting(0.02, 0.01, height, roll, pitch, 0)
        labels = draw(PINHOLE, pose, [BOX])
        rest = (np.full(labels.shape, 255, np.uint8), GroundClasses.of(LABELS))
        assert projector.set_pose(pose)
        moved = projector.observe(labels, *rest).cells
        new = GroundProjector(PINHOLE, pose, GRID).observe(labels, *rest).cells
        assert (moved == new).mean() > 0.985
        box = slice(int(3.6 / 0.2), int(4.4 / 0.2)), slice(int(6.1 / 0.2), int(6.5 / 0.2))
        assert (moved[box] == 100).all()
        assert ((moved == 0) & (new == 100)).sum() <= 3
    assert not projector.set_pose(pose)


def test_a_slope_may_be_given_by_its_angles():
    up = GroundPlane.from_slope(pitch=-0.1)
    assert up.height_at(np.array([10.0]), np.zeros(1)) == pytest.approx(1.0, abs=0.01)
    right = GroundPlane.from_slope(roll=0.1)
    assert right.height_at(np.zeros(1), np.array([-10.0])) == pytest.approx(-1.0, abs=0.01)
    assert GroundPlane.from_slope(offset=0.3).height_at(np.ones(1), np.ones(1)) == pytest.approx(
        0.3
    )


def test_contacts_are_given_per_bearing():
    seen = observe(draw(*VIEWS['pinhole'], [BOX]))
    contacts = seen.contacts
    ahead = np.abs(contacts.bearings) < 0.08
    assert contacts.ranges[ahead] == pytest.approx(6.0, abs=0.2)
    assert (contacts.labels[ahead] == WALL).all()
    assert (contacts.free_to[ahead] <= contacts.ranges[ahead]).all()
    assert np.isinf(contacts.ranges[np.abs(contacts.bearings) > 0.25]).all()
    scan = free_space(contacts).scan(-0.5, 0.5, 0.01, 0.1, 10.0)
    assert scan.ranges[50] == pytest.approx(6.0, abs=0.2)
    assert np.isinf(scan.ranges[[15, 85]]).all()
