"""The rendered truth agrees with geometry: edges through K, depth of planes, the lens."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip('panda3d')

from seg_perception.simulation.drive import Lens, base_pose, frames, mounting
from seg_perception.simulation.layout import random_scene
from seg_perception.simulation.mesh import BUILDING, CAR, ROAD, SKY
from seg_perception.simulation.renderer import StreetRenderer
from seg_perception.simulation.road import KERB_HEIGHT, Road
from seg_perception.simulation.scene import Building, CameraRig, Mover, Scene

SIZE = (320, 240)


def plain_scene(**changes) -> Scene:
    """Return an empty straight road under an even sky."""
    light = replace(random_scene(1).light, sun=0.0, noise=0.0)
    road = Road(120.0, 3.5, 1, (0.0, 0.0), (0.0, 0.0), (2.0, 2.0), True, ())
    camera = CameraRig(height=1.5, pitch=0.05, fov=1.2)
    marks = {'centre': 'none', 'edge': 'none', 'zebra': None, 'arrows': False}
    marks |= {'tone': 0.7, 'wear': 3}
    return Scene(0, 'test', road, light, camera, marks=marks, **changes)


def seen(scene: Scene, **options):
    return next(frames(scene, 1, 10.0, width=SIZE[0], height=SIZE[1], supersample=1, **options))


def project(frame, points):
    """Return pixels [n,2] of world points [n,3]."""
    optical = np.linalg.inv(frame.T_odom_optical) @ np.c_[points, np.ones(len(points))].T
    uvw = frame.K @ optical[:3]
    return (uvw[:2] / uvw[2]).T


def test_road_depth_is_that_of_the_plane():
    frame = seen(plain_scene())
    v, u = np.nonzero(frame.mask == ROAD)
    assert len(v) > 5000
    rays = np.linalg.inv(frame.K) @ np.stack([u, v, np.ones_like(u)])
    down = (frame.T_odom_optical[:3, :3] @ rays)[2]
    expected = -frame.T_odom_optical[2, 3] / down
    np.testing.assert_allclose(frame.depth[v, u], expected, rtol=1e-4)


def test_road_edges_project_onto_the_mask_s_edges():
    frame = seen(plain_scene())
    for side in (1, -1):
        near, far = project(frame, np.array([[6.0, side * 3.5, 0], [40.0, side * 3.5, 0]]))
        along = (far - near) / np.linalg.norm(far - near)
        for row in range(int(far[1]) + 2, min(int(near[1]), SIZE[1] - 1), 4):
            columns = np.flatnonzero(frame.mask[row] == ROAD)
            # The edge lies half a pixel outside the last road pixel's centre.
            edge = columns[0] - 0.5 if side > 0 else columns[-1] + 0.5
            if 0 < edge < SIZE[0] - 1:
                gap = np.array([edge, row]) - near
                assert abs(gap[0] * along[1] - gap[1] * along[0]) < 1.0


def test_a_building_s_corner_lies_where_k_says():
    house = Building(1, 20.0, 6.0, 8.0, 6.0, 2, 4, 'house:4', 'flat')
    frame = seen(plain_scene(buildings=(house,)))
    # The nearest vertical edge: s = 16, t = 6, from the pavement to the parapet.
    edge = np.array([[16.0, 6.0, KERB_HEIGHT], [16.0, 6.0, 5.5]])
    low, high = project(frame, edge)
    middle = (low + high) / 2
    row = frame.mask[round(float(middle[1]))]
    right = np.flatnonzero(row == BUILDING).max()
    assert 10 < middle[0] < SIZE[0] - 10
    # The facade faces the road: its near edge is passed by the far one on the right.
    far = project(frame, np.array([[24.0, 6.0, 3.0]]))[0]
    assert right == pytest.approx(max(far[0], middle[0]), abs=1.0)
    depth = frame.depth[round(float(middle[1])), round(float(middle[0])) + 2]
    assert 15.5 < depth < 17.5


def test_instances_mark_movers_and_agree_with_the_mask():
    cars = (
        Mover('vehicle', 4, 12.0, -1.7, instance=1),
        Mover('vehicle', 105, 30.0, 1.8, instance=2),
    )
    frame = seen(plain_scene(movers=cars))
    assert set(np.unique(frame.instances)) == {0, 1, 2}
    assert (frame.mask[frame.instances > 0] == CAR).all()
    assert (frame.instances[frame.mask == CAR] > 0).all()
    v, u = np.nonzero(frame.instances == 1)
    # The rear of the near car stands half its length before its middle.
    assert np.median(frame.depth[v, u]) == pytest.approx(12 - 3.95 / 2, abs=0.5)
    # Its wheels touch the ground where the ground's depth says.
    bottom = v.max()
    ground = project(frame, np.array([[12 - 3.95 / 2 + 0.36, -1.7, 0.0]]))[0]
    assert bottom == pytest.approx(ground[1], abs=2.5)


def test_a_mover_moves_in_the_picture_as_its_speed_says():
    car = Mover('vehicle', 4, 10.0, -1.7, speed=5.0, instance=1)
    scene = plain_scene(movers=(car,))
    scene = replace(scene, ego_speed=0.0)
    first, second = frames(scene, 2, 1.0, width=SIZE[0], height=SIZE[1], supersample=1)
    near = [np.median(f.depth[f.instances == 1]) for f in (first, second)]
    assert near[1] - near[0] == pytest.approx(5.0, abs=0.3)


def test_sky_is_infinitely_far_and_nothing_else_is():
    frame = seen(random_scene(7))
    assert np.isinf(frame.depth[frame.mask == SKY]).all()
    assert (frame.mask == SKY).any()
    assert np.isfinite(frame.depth[frame.mask != SKY]).mean() > 0.999
    assert frame.depth.dtype == np.float32
    assert frame.instances.dtype == np.uint16


def test_poses_compose_and_the_mounting_looks_down():
    scene = plain_scene()
    place = mounting(scene)
    ahead = place[:3, :3] @ [0, 0, 1]
    np.testing.assert_allclose(place[:3, 3], [0, 0, 1.5])
    assert ahead[0] > 0.9
    assert ahead[2] == pytest.approx(-np.sin(0.05))
    np.testing.assert_allclose(np.linalg.det(place[:3, :3]), 1.0)
    np.testing.assert_allclose(base_pose(scene, 2.0)[:2, 3], [16.0, 0.0], atol=1e-6)


def test_a_distorting_lens_bends_the_truth_as_opencv_does():
    scene = plain_scene()
    scene = replace(scene, camera=replace(scene.camera, distortion=(-0.2, 0.03, 0, 0, 0)))
    frame = seen(scene)
    v, u = np.nonzero((frame.mask == ROAD) & (frame.depth < 30))
    pick = slice(None, None, 97)
    v, u = v[pick], u[pick]
    rays = cv2.undistortPoints(np.stack([u, v], 1)[:, None].astype(float), frame.K, frame.D)[:, 0]
    points = np.c_[rays, np.ones(len(rays))] * frame.depth[v, u][:, None]
    world = points @ frame.T_odom_optical[:3, :3].T + frame.T_odom_optical[:3, 3]
    # Every road pixel, followed along its bent ray to its depth, ends on the road: within what
    # one pixel, to which the truth is rounded, spans there.
    tolerance = 0.02 + 1.2 * np.abs(world[:, 2]).mean() + frame.depth[v, u] / frame.K[0, 0]
    assert (np.abs(world[:, 2]) < tolerance).all()
    assert Lens(scene, *SIZE).render_size[0] > SIZE[0]


def test_two_renderers_live_side_by_side():
    scene = plain_scene()
    pose = base_pose(scene, 0) @ mounting(scene)
    with StreetRenderer(scene, 96, 64) as a, StreetRenderer(scene, 64, 48) as b:
        first = a.render(pose)
        other = b.render(pose)
        again = a.render(pose)
    assert other.image.shape == (48, 64, 3)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)


@pytest.mark.parametrize(
    'lens',
    [
        {'distortion_model': 'equidistant', 'distortion': (-0.02, 0.003), 'fov': 1.9},
        {'distortion': (-0.12, 0.01, 4e-4, -3e-4), 'roll': 0.05},
    ],
)
def test_road_seen_through_any_lens_lies_on_the_ground(lens):
    """Through the frame's own camera model, with a depth finer than a pixel's."""
    scene = plain_scene()
    scene = replace(scene, camera=replace(scene.camera, **lens))
    frame = seen(scene)
    v, u = np.nonzero((frame.mask == ROAD) & (frame.depth < 20))
    pick = slice(None, None, 61)
    v, u = v[pick], u[pick]
    assert len(v) > 100
    rays, valid = frame.camera.rays(np.stack([u, v], axis=1).astype(float))
    assert valid.all()
    points = rays / rays[:, 2:] * frame.depth[v, u][:, None]
    world = points @ frame.T_odom_optical[:3, :3].T + frame.T_odom_optical[:3, 3]
    # Truth is drawn three times finer than the picture: a sixth of a pixel off at most.
    span = frame.depth[v, u] / frame.K[0, 0]
    assert (np.abs(world[:, 2]) < 0.25 * span * np.sqrt(2) + 1e-3).all()
    # The road's edges lie where the kerbs are, seen through the same model.
    y = world[:, 1]
    assert np.abs(y).max() < 3.5 + 0.3


def test_a_third_of_the_seeds_has_a_lens_that_bends_and_every_camera_leans_a_little():
    rigs = [random_scene(seed).camera for seed in range(60)]
    bent = sum(bool(rig.distortion) for rig in rigs)
    assert 8 < bent < 32
    rolls = np.rad2deg([rig.roll for rig in rigs])
    assert 0.2 < rolls.std() < 0.6
    for rig in rigs:
        scene = replace(plain_scene(), camera=rig)
        lens = Lens(scene, 96, 54)
        assert max(lens.render_size) < 1.4 * 96, 'no ray is far outside of the plain view'


def test_a_trembling_mount_moves_the_picture_and_not_the_pose():
    scene = plain_scene()
    frames_of = list(frames(scene, 3, 10.0, width=160, height=120, supersample=1, shake=0.003))
    still = seen(scene)
    horizon = [np.flatnonzero((f.mask == ROAD).any(axis=1))[0] for f in frames_of]
    assert len(set(horizon)) > 1 or (frames_of[0].mask != frames_of[1].mask).any()
    for frame in frames_of:
        np.testing.assert_array_equal(frame.T_base_optical, still.T_base_optical)
