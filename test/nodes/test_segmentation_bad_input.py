"""Bad input on the real node: reported, survived, and never a free cell out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from harness import (
    FRAME,
    HEIGHT,
    RELIABLE,
    WIDTH,
    Bench,
    camera_info,
    free_cells,
    image,
    key,
    scene,
)
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image


@pytest.fixture
def bench(ros: None, model: str) -> Iterator[Bench]:
    with Bench(model=model, stale_after=0.6) as bench:
        yield bench


def recovers(bench: Bench, grids: list[OccupancyGrid]) -> None:
    """A good picture still becomes a mask and a grid with free cells."""
    grids.clear()
    grid = bench.answer(grids)
    bench.until(lambda: free_cells(bench.answer(grids)) > 0, 'free cells of good pictures')
    assert grid is not None


def broken(change: Callable[[Image], None]) -> Callable[[], Image]:
    def make() -> Image:
        message = image()
        change(message)
        return message

    return make


def unknown_encoding(message: Image) -> None:
    message.encoding = 'rgb17'


def too_short(message: Image) -> None:
    message.data = message.data[: len(message.data) // 2]


def too_long(message: Image) -> None:
    message.data = message.data.tobytes() + bytes(640)


def no_data(message: Image) -> None:
    message.data = b''


def zero_size(message: Image) -> None:
    message.width = message.height = message.step = 0
    message.data = b''


def short_step(message: Image) -> None:
    message.step = message.width


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        (unknown_encoding, 'rgb17'),
        (too_short, 'data'),
        (too_long, 'data'),
        (no_data, 'data'),
        (zero_size, '0'),
        (short_step, 'step'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_unreadable_images(bench: Bench, change: Callable[[Image], None], complaint: str) -> None:
    masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
    bench.connected()
    recovers(bench, grids)
    masks.clear()
    grids.clear()
    sent = []
    for _ in range(5):
        message = broken(change)()
        bench.peer.send(message)
        sent.append(key(message))
        time.sleep(0.05)
    bench.until(lambda: complaint in bench.peer.complaint(), f"diagnostics to name '{complaint}'")
    assert bench.peer.diagnostics()[0] == 2
    assert not [m for m in masks if key(m) in sent], 'masked a picture that cannot be read'
    assert not [g for g in grids if key(g) in sent and free_cells(g)]
    recovers(bench, grids)
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_image_size_changes_mid_stream(bench: Bench) -> None:
    masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
    bench.connected()
    recovers(bench, grids)
    masks.clear()
    grids.clear()
    # The calibration is still of the old size: the mask goes on, the ground is unknown.
    mask = bench.answer(masks, lambda: image(scene(200, 120)))
    grid = (
        next(g for g in grids if key(g) == key(mask))
        if grids
        else bench.until(lambda: grids and grids[-1], 'a grid')
    )
    assert free_cells(grid) == 0
    bench.until(lambda: '200x120' in bench.peer.complaint(), 'diagnostics to name the sizes')
    recovers(bench, grids)


def no_info() -> CameraInfo:
    info = camera_info()
    info.k = [0.0] * 9
    return info


def nan_info() -> CameraInfo:
    info = camera_info()
    info.k[2] = float('nan')
    return info


def nan_distortion() -> CameraInfo:
    info = camera_info()
    info.d = [float('nan')] * 5
    return info


def other_size() -> CameraInfo:
    return camera_info(WIDTH * 2, HEIGHT * 2)


def other_frame() -> CameraInfo:
    return camera_info(frame='rear_camera')


@pytest.mark.parametrize(
    ('make', 'complaint'),
    [
        (no_info, 'calibrat'),
        (nan_info, 'NaN'),
        (nan_distortion, 'NaN'),
        (other_size, f'{WIDTH * 2}x{HEIGHT * 2}'),
        (other_frame, 'rear_camera'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_useless_camera_info(bench: Bench, make: Callable[[], CameraInfo], complaint: str) -> None:
    masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
    bench.connected()
    recovers(bench, grids)
    for _ in range(3):  # until the bad calibration has surely replaced the good one
        bench.peer.camera_info.publish(make())
        time.sleep(0.1)
    masks.clear()
    grids.clear()
    for _ in range(5):
        bench.peer.send(info=make())
        time.sleep(0.05)
    bench.until(lambda: masks, 'masks, which need no calibration')
    bench.until(lambda: grids, 'grids')
    assert not any(free_cells(g) for g in grids)
    bench.until(lambda: complaint in bench.peer.complaint(), f"diagnostics to name '{complaint}'")
    recovers(bench, grids)


def test_missing_camera_info(bench: Bench) -> None:
    masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
    bench.connected()

    def told() -> bool:
        bench.peer.image.publish(image())
        time.sleep(0.05)
        return 'no camera_info on' in bench.peer.complaint()

    bench.until(told, 'the reason')
    bench.until(lambda: masks, 'masks')
    assert not any(free_cells(g) for g in grids)
    recovers(bench, grids)


def test_pose_from_which_no_ground_is_seen(ros: None, model: str) -> None:
    with Bench(model=model, **{'camera_pose.pitch': -1.2}) as bench:
        masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
        bench.connected()
        bench.answer(masks)
        bench.until(lambda: 'camera_pose' in bench.peer.complaint(), 'the reason')
        assert grids
        assert not any(free_cells(g) for g in grids)
        assert bench.set(**{'camera_pose.pitch': 0.0})[0].successful
        recovers(bench, grids)


class SilentBuffer:
    """A tf2 buffer that knows no transform."""

    def lookup_transform(self, target: str, source: str, time: object, timeout: object) -> None:
        raise LookupError(f'"{source}" passed to lookupTransform does not exist')

    def can_transform(self, target: str, source: str, time: object) -> bool:
        return False

    def clear(self) -> None:
        """Nothing to forget."""


def test_missing_transform(ros: None, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from seg_perception.ros import optional

    listener = SimpleNamespace(unregister=lambda: None)
    tf2 = SimpleNamespace(Buffer=SilentBuffer, TransformListener=lambda buffer, node: listener)
    monkeypatch.setattr(optional, 'tf2_ros', tf2)
    with Bench(model=model, **{'camera_pose.source': 'tf'}) as bench:
        masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
        bench.connected()
        bench.answer(masks)
        bench.until(lambda: f"no transform from '{FRAME}'" in bench.peer.complaint(), 'the reason')
        assert grids
        assert not any(free_cells(g) for g in grids)


def test_time_jumps_back(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    now = time.time()
    bench.until(
        lambda: free_cells(bench.answer(grids, lambda: image(stamp=time.time()))) > 0, 'free cells'
    )
    grids.clear()
    assert free_cells(bench.answer(grids, lambda: image(stamp=now - 100.0))) > 0
    bench.until(
        lambda: bench.peer.diagnostics()[2].get('time jumps', '0') != '0', 'the jump counted'
    )


def test_camera_stops(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    recovers(bench, grids)
    stopped = time.monotonic()
    bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to become unknown', timeout=5.0)
    assert time.monotonic() - stopped < 2.0
    assert (np.array(grids[-1].data) == -1).all()
    level, message, _ = bench.until(
        lambda: (d := bench.peer.diagnostics())[0] == 2 and d, 'an error in diagnostics'
    )
    assert level == 2
    assert 'no image' in message
    recovers(bench, grids)
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_network_slower_than_stale_after_never_frees(ros: None, model: str) -> None:
    with Bench(model=model, stale_after=0.05) as bench:
        segmenter = bench.node._pipeline.segmenter
        segment = segmenter.segment

        def slow(*arguments: Any) -> Any:
            time.sleep(0.2)
            return segment(*arguments)

        segmenter.segment = slow
        grids = bench.peer.listen_grids()
        bench.connected()
        for _ in range(10):
            bench.peer.send()
            time.sleep(0.1)
        bench.until(lambda: 'stale_after' in bench.peer.complaint(), 'the reason')
        assert grids
        assert not any(free_cells(g) for g in grids)


def test_best_effort_camera_is_matched(ros: None, model: str) -> None:
    with Bench(model=model) as bench:
        peer = bench.peer
        peer.destroy_publisher(peer.image)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        peer.image = peer.create_publisher(Image, 'image', best_effort)
        masks = peer.listen_masks()
        bench.connected()
        assert bench.answer(masks).width == 160


def test_incompatible_qos_is_reported(ros: None, model: str) -> None:
    with Bench(model=model, input_reliability='reliable') as bench:
        peer = bench.peer
        peer.destroy_publisher(peer.image)
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        peer.image = peer.create_publisher(Image, 'image', best_effort)
        peer.listen_masks()
        bench.until(lambda: 'BEST_EFFORT' in peer.complaint(), 'the mismatch in diagnostics')
        assert 'input_reliability' in peer.complaint()


def test_wrong_message_type_is_reported(ros: None, model: str) -> None:
    with Bench(model=model) as bench:
        bench.peer.destroy_publisher(bench.peer.image)
        # Fast DDS refuses two types on a topic within one participant: a context of its own.
        context = rclpy.Context()
        context.init()
        other = rclpy.create_node('other_camera', context=context)
        other.create_publisher(CameraInfo, 'image', RELIABLE)
        bench.peer.listen_masks()
        bench.until(lambda: 'sensor_msgs/msg/CameraInfo' in bench.peer.complaint(), 'the type')
        other.destroy_node()
        context.try_shutdown()
