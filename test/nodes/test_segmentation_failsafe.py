"""Whatever fails around the node, the grid turns unknown and diagnostics say why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from harness import FOCAL, Bench, camera_info, free_cells, image, key, scene
from nav_msgs.msg import OccupancyGrid
from test_segmentation_fusion import sky
from wheels import Wheels, view

from seg_perception.ros import optional


@pytest.fixture
def bench(ros: None, model: str) -> Iterator[Bench]:
    with Bench(model=model, stale_after=0.6) as bench:
        yield bench


@pytest.fixture
def wheels(bench: Bench) -> Iterator[Wheels]:
    with Wheels(bench.peer, speed=0.2) as wheels:
        yield wheels


@pytest.fixture
def grids(bench: Bench) -> list[OccupancyGrid]:
    grids = bench.peer.listen_grids()
    bench.connected()
    return grids


def fused(bench: Bench, grids: list[OccupancyGrid]) -> None:
    """Send frames until the ground is free in the odometry's frame."""

    def free() -> bool:
        grids.clear()
        grid = bench.answer(grids, view)
        return grid.header.frame_id == 'odom' and free_cells(grid) > 0

    bench.until(free, 'a fused grid with free cells')
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well')


def told(bench: Bench, grids: list[OccupancyGrid], text: str, make: Callable = view) -> None:
    """Frames go on, the grid is unknown, and diagnostics name the reason."""

    def complains() -> bool:
        bench.peer.send(make())
        time.sleep(0.03)
        level, message, _ = bench.peer.diagnostics()
        return level == 2 and text in message

    bench.until(complains, f"diagnostics to say '{text}'")
    grids.clear()
    grid = bench.answer(grids, make)
    assert free_cells(grid) == 0
    assert free_cells(grids[-1]) == 0


def unknown_among(grids: list[OccupancyGrid]) -> bool:
    return any((np.array(g.data, np.int8) == -1).all() for g in grids)


# ------------------------------------------------------------------------ odometry


def test_odometry_that_falls_silent(bench: Bench, wheels: Wheels, grids: list) -> None:
    fused(bench, grids)
    wheels.silent = True
    time.sleep(0.4)
    told(bench, grids, 'newest odometry is')
    wheels.silent = False
    fused(bench, grids)


def test_odometry_that_was_asked_for_and_never_came(ros: None, model: str) -> None:
    with Bench(model=model, **{'odometry.source': 'topic'}) as bench:
        grids = bench.peer.listen_grids()
        bench.connected()
        told(bench, grids, 'no odometry has come yet')


def test_odometry_that_jumps(bench: Bench, wheels: Wheels, grids: list) -> None:
    fused(bench, grids)
    grids.clear()
    wheels.shift += 30.0
    time.sleep(0.1)
    sent = key(bench.peer.send(view()))
    bench.until(lambda: any(key(g) == sent for g in grids), 'the grid of the frame after it')
    grid = next(g for g in grids if key(g) == sent)
    assert (np.array(grid.data, np.int8) == -1).all(), 'old cells where they no longer are'
    # It covers the cells that the last one freed, so that no reader keeps them.
    assert grid.info.origin.position.x < 10.0
    fused(bench, grids)
    assert grids[-1].info.origin.position.x > 15.0
    bench.until(
        lambda: bench.peer.diagnostics()[2].get('odometry interruptions') == '1', 'it counted'
    )


def test_all_clocks_go_back(bench: Bench, wheels: Wheels, grids: list) -> None:
    """As when a bag loops."""
    fused(bench, grids)
    grids.clear()
    wheels.back = 100.0
    time.sleep(0.1)

    def older() -> object:
        return image(stamp=time.time() - 100.0)

    first = key(bench.peer.send(older()))
    bench.until(lambda: unknown_among(grids), 'the grid to become unknown')
    before = [g for g in grids if key(g) <= first]
    assert not any(free_cells(g) for g in before), 'free cells of another time'
    bench.until(lambda: free_cells(bench.answer(grids, older)) > 0, 'free cells of the new time')
    bench.until(lambda: 'time jumps' in bench.peer.diagnostics()[2], 'the jump counted')


def test_images_of_long_ago(bench: Bench, wheels: Wheels, grids: list) -> None:
    """A driver that keeps a queue: the pictures arrive in order and at their rate, but late."""
    fused(bench, grids)
    time.sleep(1.0)
    told(bench, grids, 'older than the newest odometry', lambda: image(stamp=time.time() - 0.9))
    fused(bench, grids)


def test_what_was_free_by_other_settings_is_forgotten(
    bench: Bench, wheels: Wheels, grids: list
) -> None:
    fused(bench, grids)
    grids.clear()
    assert bench.set(**{'camera_pose.pitch': 0.05})[0].successful
    bench.until(lambda: unknown_among(grids), 'the grid to become unknown at once')
    assert free_cells(grids[-1]) == 0
    fused(bench, grids)


def test_odometry_of_another_frame(ros: None, model: str) -> None:
    with Bench(model=model, **{'odometry.source': 'topic'}) as bench:
        with Wheels(bench.peer, child='imu_link'):
            grids = bench.peer.listen_grids()
            bench.connected()
            told(bench, grids, "of 'imu_link'")


class LostRobot:
    """A tf2 buffer that knows the camera, and the robot in odom until it does not."""

    known = True

    def can_transform(self, target: str, source: str, stamp: object) -> bool:
        return self.known

    def lookup_transform(self, target: str, source: str, stamp: object, timeout: object) -> object:
        if not self.known:
            raise LookupError(f'"{source}" passed to lookupTransform does not exist')
        from geometry_msgs.msg import TransformStamped

        transform = TransformStamped(child_frame_id=source)
        transform.header.frame_id = target
        transform.transform.rotation.w = 1.0
        return transform

    def clear(self) -> None:
        """Nothing to forget."""


def test_tf_that_loses_the_robot(ros: None, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    buffer = LostRobot()
    listener = SimpleNamespace(unregister=lambda: None)
    tf2 = SimpleNamespace(Buffer=lambda: buffer, TransformListener=lambda b, node: listener)
    monkeypatch.setattr(optional, 'tf2_ros', tf2)
    with Bench(model=model, **{'camera_pose.source': 'parameters'}) as bench:
        grids = bench.peer.listen_grids()
        bench.connected()
        fused(bench, grids)
        bench.until(lambda: bench.peer.diagnostics()[2].get('odometry from') == 'tf', 'tf in use')
        buffer.known = False
        told(bench, grids, "no transform from 'base_link' to 'odom'")
        buffer.known = True
        fused(bench, grids)


# -------------------------------------------------------------------------- camera


def test_calibration_that_changes(bench: Bench, wheels: Wheels, grids: list) -> None:
    fused(bench, grids)
    grids.clear()
    late = image()  # taken before the change, arrives after it
    time.sleep(0.02)
    other = camera_info(focal=1.5 * FOCAL)
    bench.peer.camera_info.publish(other)
    bench.until(lambda: unknown_among(grids), 'the grid to become unknown at once')
    bench.peer.image.publish(late)
    bench.until(lambda: any(key(g) == key(late) for g in grids), 'the late frame')
    assert not any(free_cells(g) for g in grids), 'cells of the old calibration'
    bench.until(
        lambda: bench.peer.diagnostics()[2].get('calibration changes') == '1', 'the change told'
    )

    def again() -> bool:
        bench.peer.send(image(), info=camera_info(focal=1.5 * FOCAL))
        time.sleep(0.05)
        return free_cells(grids[-1]) > 0

    bench.until(again, 'free cells by the new calibration')


def night(picture: np.ndarray) -> np.ndarray:
    return (picture * 0.1).astype(np.uint8)


def glare(picture: np.ndarray) -> np.ndarray:
    blown = picture.copy()
    blown[picture.shape[0] // 2 :] = 255
    return blown


def covered(picture: np.ndarray) -> np.ndarray:
    return np.full_like(picture, (90, 120, 80))  # the network would take all of it for road


def wet(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 40)


def unsure(picture: np.ndarray) -> np.ndarray:
    return (picture * 0.4).astype(np.uint8)  # the tiny model's confidence is the brightness


@pytest.mark.parametrize(
    ('spoil', 'name'),
    [
        (night, 'dark'),
        (glare, 'glare'),
        (covered, 'covered'),
        (wet, 'blurred'),
        (unsure, 'unsure'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_pictures_that_cannot_be_believed(
    bench: Bench, grids: list, spoil: Callable, name: str
) -> None:
    assert bench.set(min_confidence=0.05)[0].successful, 'the confidence alone shall not save us'
    assert free_cells(bench.answer(grids)) > 0
    told(bench, grids, name, lambda: image(spoil(scene())))
    assert name in bench.peer.diagnostics()[2]['picture']
    began = time.monotonic()
    grids.clear()
    bench.until(lambda: free_cells(bench.answer(grids)) > 0, 'free cells of good pictures')
    assert time.monotonic() - began > 0.3, 'believed again at once'
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_a_picture_that_stays_the_same_while_the_robot_moves(
    bench: Bench, wheels: Wheels, grids: list
) -> None:
    fused(bench, grids)
    wheels.speed = 3.0
    told(bench, grids, 'frozen', image)
    wheels.speed = 0.0
    fused(bench, grids)
    assert free_cells(bench.answer(grids, image)) > 0, 'a robot that stands sees the same'


def test_pictures_are_not_judged_where_that_is_not_wanted(bench: Bench, grids: list) -> None:
    told(bench, grids, 'covered', lambda: image(covered(scene())))
    assert bench.set(**{'quality.enabled': False, 'min_confidence': 0.05})
    grids.clear()
    grid = bench.answer(grids, lambda: image(covered(scene())))
    assert free_cells(grid) > 0
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'no complaint')


def test_a_stopped_camera_leaves_nothing_of_the_fused_grid(
    bench: Bench, wheels: Wheels, grids: list
) -> None:
    fused(bench, grids)
    window = grids[-1].info
    bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to become unknown', timeout=5.0)
    gone = next(g for g in grids if not free_cells(g) and len(g.data) == window.width**2)
    assert gone.header.frame_id == 'odom', 'cells that a reader keeps are taken back in place'
    grids.clear()
    first = bench.answer(grids, sky)
    assert free_cells(first) == 0, 'what was known before is back'
