"""Several cameras, one process, one network, one grid; and what happens when one of them dies."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import LATCHED, RELIABLE, Bench, camera_info, free_cells, image, key, scene
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, Image
from tiny_bundle import write_tiny_bundle
from wheels import Wheels

from seg_perception.runtime import semantic
from seg_perception.runtime.semantic import SemanticSegmenter

NAMES = ('front', 'rear')
#: Behind the robot, the same mounting turned round; the grid covers both sides.
REAR = f'rear:0.0,0.0,1.5,0.0,0.0,{math.pi}'
AROUND = {'grid.x_min': -10.0, 'grid.x_max': 10.0}


class Cameras:
    """Cameras of a robot, each with a thread when it runs by itself."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        peer = bench.peer
        self.image = {n: peer.create_publisher(Image, f'{n}/image', RELIABLE) for n in NAMES}
        self.info = {
            n: peer.create_publisher(CameraInfo, f'{n}/camera_info', RELIABLE) for n in NAMES
        }
        self.period = dict.fromkeys(NAMES, 0.05)
        self.make: dict[str, Callable] = dict.fromkeys(NAMES, image)
        self.sent: dict[str, list] = {n: [] for n in NAMES}
        self._stop = {n: threading.Event() for n in NAMES}
        self._threads = {n: threading.Thread(target=self._run, args=(n,)) for n in NAMES}

    def connected(self) -> None:
        for publishers in (self.image, self.info):
            for name, publisher in publishers.items():
                self._bench.until(publisher.get_subscription_count, f'{name} to be subscribed')

    def send(self, name: str) -> Image:
        message = self.make[name](frame=f'{name}_optical')
        self.info[name].publish(camera_info(frame=f'{name}_optical'))
        self.image[name].publish(message)
        self.sent[name].append(key(message))
        return message

    def _run(self, name: str) -> None:
        while not self._stop[name].wait(self.period[name]):
            self.send(name)

    def start(self) -> None:
        for thread in self._threads.values():
            thread.start()

    def kill(self, name: str) -> None:
        self._stop[name].set()
        self._threads[name].join()

    def stop(self) -> None:
        for name in NAMES:
            self._stop[name].set()
        for thread in self._threads.values():
            if thread.is_alive():
                thread.join()


@pytest.fixture
def make_bench(ros: None, model: str) -> Iterator[Callable]:
    open_now: list[Any] = []

    def make(bundle: str = model, **parameters: Any) -> tuple[Bench, Cameras]:
        bench = Bench(
            model=bundle,
            cameras=list(NAMES),
            camera_poses=[REAR],
            stale_after=0.6,
            **{**AROUND, **parameters},
        )
        cameras = Cameras(bench)
        open_now.append((bench, cameras))
        return bench, cameras

    yield make
    for bench, cameras in open_now:
        cameras.stop()
        bench.__exit__()


def sides(grid: OccupancyGrid, robot_x: float = 0.0) -> tuple[int, int]:
    """Free cells ahead of the robot and behind it."""
    cells = np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)
    x = grid.info.origin.position.x + grid.info.resolution * (np.arange(grid.info.width) + 0.5)
    free = (cells == 0).sum(axis=0)
    return int(free[x > robot_x + 1.0].sum()), int(free[x < robot_x - 1.0].sum())


def test_masks_of_each_and_one_grid_of_all(make_bench: Callable) -> None:
    bench, cameras = make_bench()
    peer = bench.peer
    masks = {n: peer.listen(f'segmentation_node/{n}/mask', Image) for n in NAMES}
    infos = peer.listen('segmentation_node/rear/camera_info', CameraInfo)
    grids = peer.listen_grids()
    cameras.connected()
    cameras.start()
    bench.until(lambda: all(masks.values()), 'masks of both')
    for name in NAMES:
        assert {m.header.frame_id for m in masks[name]} == {f'{name}_optical'}
        assert {key(m) for m in masks[name]} <= set(cameras.sent[name])
    bench.until(lambda: infos, 'the calibration of one')
    bench.until(lambda: grids and min(sides(grids[-1])) > 500, 'a grid of both')
    assert grids[-1].header.frame_id == 'base_link'
    topics = {name for name, _ in peer.get_topic_names_and_types()}
    assert '/segmentation_node/mask' not in topics
    assert '/segmentation_node/label_info_json' in topics
    bench.until(lambda: peer.diagnostics()[0] == 0, 'diagnostics to be well')


def test_without_fusion_the_newest_frame_of_each_counts(make_bench: Callable) -> None:
    bench, cameras = make_bench(**{'fusion.enabled': False})
    grids = bench.peer.listen_grids()
    cameras.connected()
    with Wheels(bench.peer):
        cameras.start()
        bench.until(
            lambda: grids and grids[-1].header.frame_id == 'odom' and min(sides(grids[-1])) > 500,
            'a grid of both',
        )
        grids.clear()
        bench.until(lambda: len(grids) > 5, 'more of them')
        assert min(min(sides(g)) for g in grids) > 500, 'a sector flickers'


@pytest.mark.parametrize('with_odometry', [False, True])
def test_a_dead_camera_leaves_its_sector_unknown_and_is_named(
    make_bench: Callable, with_odometry: bool
) -> None:
    bench, cameras = make_bench(**{'fusion.decay_free': 600.0})
    grids = bench.peer.listen_grids()
    cameras.connected()
    wheels = Wheels(bench.peer)
    if with_odometry:
        wheels.__enter__()
    try:
        frame = 'odom' if with_odometry else 'base_link'
        cameras.start()
        bench.until(
            lambda: grids and grids[-1].header.frame_id == frame and min(sides(grids[-1])) > 500,
            'a grid of both',
        )
        cameras.kill('rear')
        died = time.monotonic()
        bench.until(lambda: sides(grids[-1])[1] == 0, 'the rear to be unknown', timeout=5.0)
        assert time.monotonic() - died < 2.0
        assert sides(grids[-1])[0] > 500, 'the front is still seen'
        bench.until(lambda: '/rear/image' in bench.peer.diagnostics()[1], 'the name of the dead')
        level, message, _ = bench.peer.diagnostics()
        assert level == 2
        assert 'front' not in message
        assert 'its sector' in message
    finally:
        if with_odometry:
            wheels.__exit__()


def test_a_blinded_camera_leaves_its_sector_unknown_and_is_named(make_bench: Callable) -> None:
    bench, cameras = make_bench()
    grids = bench.peer.listen_grids()
    cameras.connected()
    with Wheels(bench.peer):
        cameras.start()
        bench.until(lambda: grids and min(sides(grids[-1])) > 500, 'a grid of both')
        cameras.make['rear'] = lambda frame: image(np.full_like(scene(), 60), frame=frame)
        bench.until(lambda: sides(grids[-1])[1] == 0, 'the rear to be unknown', timeout=5.0)
        bench.until(lambda: 'rear: the picture' in bench.peer.diagnostics()[1], 'the reason')
        bench.until(lambda: sides(grids[-1])[0] > 500, 'the front is still seen')
        cameras.make['rear'] = image
        bench.until(lambda: min(sides(grids[-1])) > 500, 'a grid of both again')
        bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well')
        for name in NAMES:
            cameras.kill(name)
        bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to be unknown', timeout=5.0)


def test_a_fast_camera_does_not_starve_the_others(make_bench: Callable) -> None:
    bench, cameras = make_bench()
    masks = {n: bench.peer.listen(f'segmentation_node/{n}/mask', Image) for n in NAMES}
    cameras.connected()
    segmenter = bench.node._pipeline.segmenter
    segment = segmenter.segment

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return segment(*arguments)

    segmenter.segment = slow
    cameras.period = {'front': 0.01, 'rear': 0.1}
    cameras.start()
    bench.until(lambda: len(masks['front']) >= 2, 'the fast one')
    for heard in masks.values():
        heard.clear()
    bench.until(lambda: sum(map(len, masks.values())) >= 12, 'a dozen masks')
    counts = {n: len(masks[n]) for n in NAMES}
    assert counts['rear'] >= 4, f'starved: {counts}'
    assert counts['front'] >= 4, f'starved: {counts}'


def test_only_the_cameras_that_somebody_listens_to_are_subscribed(make_bench: Callable) -> None:
    bench, cameras = make_bench()
    bench.peer.listen('segmentation_node/front/mask', Image)
    bench.until(cameras.image['front'].get_subscription_count, 'the front to be subscribed')
    time.sleep(0.3)
    assert cameras.image['rear'].get_subscription_count() == 0
    bench.peer.listen('segmentation_node/drivable_grid', OccupancyGrid, LATCHED)
    bench.until(cameras.image['rear'].get_subscription_count, 'the rear to be subscribed')
    bench.peer.leave('segmentation_node/drivable_grid')
    bench.until(lambda: not cameras.image['rear'].get_subscription_count(), 'it to be left')
    assert cameras.image['front'].get_subscription_count() == 1


@pytest.fixture
def batching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, list[int]]:
    """A network on which several pictures at once are faster, and how many it ran on."""
    numbers: list[int] = []
    segment_batch = SemanticSegmenter.segment_batch

    def watched(self: SemanticSegmenter, pictures: Any) -> Any:
        numbers.append(len(pictures))
        return segment_batch(self, pictures)

    monkeypatch.setattr(semantic, '_BATCHING', ('cpu', 'openvino'))
    monkeypatch.setattr(SemanticSegmenter, 'segment_batch', watched)
    return str(write_tiny_bundle(tmp_path / 'several', pictures=None)), numbers


class Held:
    """Keeps a worker busy, so that pictures of all cameras wait."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.go = threading.Event()
        self._segmenter = bench.node._pipeline.segmenter
        self._segment = self._segmenter.segment
        self._segmenter.segment = self._wait

    def _wait(self, *arguments: Any) -> Any:
        assert self.go.wait(10)
        return self._segment(*arguments)

    def fill(self, cameras: Cameras) -> list[Image]:
        """Send a picture that is in work, then one of each camera that waits."""
        worker = self._bench.node._worker
        cameras.send('front')
        self._bench.until(lambda: worker.busy, 'the first to be in work')
        waiting = [cameras.send(name) for name in NAMES]
        self._bench.until(lambda: len(worker._slots) == len(NAMES), 'both to wait')
        return waiting


def test_pictures_that_wait_go_together_where_that_is_faster(
    make_bench: Callable, batching: tuple[str, list[int]]
) -> None:
    bundle, numbers = batching
    bench, cameras = make_bench(bundle)
    assert numbers == [2], 'warmed up on as many as there are cameras'
    masks = {n: bench.peer.listen(f'segmentation_node/{n}/mask', Image) for n in NAMES}
    grids = bench.peer.listen_grids()
    cameras.make['rear'] = lambda frame: image(np.ascontiguousarray(scene()[:, ::-1]), frame=frame)
    cameras.connected()
    held = Held(bench)
    held.fill(cameras)
    held.go.set()
    bench.until(lambda: len(masks['front']) == 2 and masks['rear'], 'all three masks')
    assert numbers == [2, 2]
    assert masks['front'][0].data == masks['front'][1].data, 'the same alone and together'
    assert masks['rear'][0].header.frame_id == 'rear_optical'
    mirrored = np.array(masks['rear'][0].data).reshape(90, 160)[:, ::-1]
    assert np.array_equal(mirrored, np.array(masks['front'][0].data).reshape(90, 160))
    bench.until(lambda: grids and min(sides(grids[-1])) > 500, 'a grid of both')
    bench.until(
        lambda: bench.peer.diagnostics()[2].get('frames published') == '3', 'three to count'
    )


def test_one_bad_picture_does_not_cost_the_others_theirs(
    make_bench: Callable, batching: tuple[str, list[int]]
) -> None:
    bench, cameras = make_bench(batching[0])
    masks = {n: bench.peer.listen(f'segmentation_node/{n}/mask', Image) for n in NAMES}
    cameras.connected()
    held = Held(bench)

    def broken(frame: str) -> Image:
        message = image(frame=frame)
        message.encoding = 'yuv9'
        return message

    cameras.make['rear'] = broken
    held.fill(cameras)
    held.go.set()
    bench.until(lambda: len(masks['front']) == 2, 'the masks of the good one')
    bench.until(lambda: 'yuv9' in bench.peer.diagnostics()[1], 'the bad one to be told')
    assert not masks['rear']


def test_a_failure_on_several_is_told_of_each(
    make_bench: Callable, batching: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, cameras = make_bench(batching[0])
    masks = {n: bench.peer.listen(f'segmentation_node/{n}/mask', Image) for n in NAMES}
    grids = bench.peer.listen_grids()
    cameras.connected()
    held = Held(bench)

    def fails(self: SemanticSegmenter, pictures: Any) -> Any:
        raise RuntimeError('out of memory')

    with monkeypatch.context() as broken:
        broken.setattr(SemanticSegmenter, 'segment_batch', fails)
        held.fill(cameras)
        held.go.set()
        bench.until(
            lambda: bench.peer.diagnostics()[1].count('out of memory') == 2, 'both to be told'
        )
        bench.until(lambda: grids and free_cells(grids[-1]) == 0, 'the grid to be unknown')
    cameras.start()
    bench.until(lambda: all(masks.values()), 'masks of both again')
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well')
