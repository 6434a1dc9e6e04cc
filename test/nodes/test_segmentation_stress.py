"""What goes wrong around the segmentation node's edges: hung networks, stopped clocks, races."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from harness import Bench, camera_info, free_cells, image, key, scene
from lifecycle_msgs.msg import State
from rclpy.lifecycle import TransitionCallbackReturn

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def bench(ros: None, model: str) -> Iterator[Bench]:
    with Bench(model=model, stale_after=0.6) as bench:
        yield bench


class Network:
    """Stands before the node's network: hangs or fails when told to."""

    def __init__(self, bench: Bench) -> None:
        segmenter = bench.node._pipeline.segmenter
        self._segment = segmenter.segment
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None
        segmenter.segment = self

    def __call__(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.go.wait(30.0)
        if self.error is not None:
            raise self.error
        return self._segment(*arguments)

    def hang(self) -> None:
        self.entered.clear()
        self.go.clear()


@pytest.fixture
def network(bench: Bench) -> Iterator[Network]:
    network = Network(bench)
    yield network
    network.go.set()


def test_hung_network_is_reported_and_the_grid_unknown(bench: Bench, network: Network) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    network.hang()
    deadline = time.monotonic() + 10.0
    while 'in work' not in bench.peer.complaint() and time.monotonic() < deadline:
        bench.peer.send()
        time.sleep(0.1)
    assert 'in work' in bench.peer.complaint(), 'a hung network is not reported'
    assert bench.peer.diagnostics()[0] == 2
    assert free_cells(grids[-1]) == 0
    network.go.set()
    grids.clear()
    bench.until(lambda: free_cells(bench.answer(grids)) > 0, 'free cells again')
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_deactivation_withdraws_the_grid_before_it_waits_for_the_worker(
    bench: Bench, network: Network
) -> None:
    grids, masks = bench.peer.listen_grids(), bench.peer.listen_masks()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    network.hang()
    bench.peer.send()
    assert network.entered.wait(5.0)
    masks.clear()
    threading.Timer(1.5, network.go.set).start()
    start = time.monotonic()
    leaving = threading.Thread(target=bench.node.trigger_deactivate)
    leaving.start()
    bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to be withdrawn', timeout=1.4)
    withdrawn = time.monotonic() - start
    leaving.join(10.0)
    assert withdrawn < 1.4, 'waited for the network first'
    time.sleep(0.3)
    assert free_cells(grids[-1]) == 0, 'the frame in work brought the free cells back'


def test_frame_still_in_work_refuses_activation_with_the_reason(
    bench: Bench, network: Network
) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    bench.answer(masks)
    network.hang()
    bench.peer.send()
    assert network.entered.wait(5.0)
    bench.node._worker.stop(0.1)  # as a deactivation whose wait ran out
    assert bench.node.trigger_deactivate() == SUCCESS
    assert bench.node.trigger_activate() == FAILURE
    assert bench.node._state_machine.current_state[0] == State.PRIMARY_STATE_INACTIVE
    bench.until(lambda: 'still' in bench.peer.complaint(), 'the reason')
    # A new configuration has a worker and publishers of its own; the old one harms nobody.
    assert bench.node.trigger_cleanup() == SUCCESS
    assert bench.node.trigger_configure() == SUCCESS
    assert bench.node.trigger_activate() == SUCCESS
    network.go.set()
    masks.clear()
    bench.connected()
    bench.answer(masks)
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_failing_network_is_reported_until_it_works_again(bench: Bench, network: Network) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    network.error = RuntimeError('out of memory')
    bench.peer.send()
    bench.until(lambda: 'out of memory' in bench.peer.diagnostics()[1], 'the failure')
    bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to become unknown')
    network.error = None
    grids.clear()
    assert free_cells(bench.answer(grids)) > 0
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'the failure to be over')


def test_idle_and_inactive_nodes_do_not_complain_of_past_frames(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    bench.answer(masks)
    broken = image()
    broken.encoding = 'rgb17'
    bench.peer.send(broken)
    bench.until(lambda: 'rgb17' in bench.peer.diagnostics()[1], 'the complaint')
    bench.peer.leave('segmentation_node/mask')
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'an idle node to be well')
    assert 'rgb17' in bench.peer.diagnostics()[2]['last error']
    bench.peer.listen_masks()
    bench.connected()
    bench.until(lambda: 'no image' in bench.peer.diagnostics()[1], 'the camera to be missed')
    bench.node.trigger_deactivate()
    bench.until(lambda: bench.peer.diagnostics()[:2] == (0, 'inactive'), 'inactive, and well')


def test_unforeseen_errors_in_configure_are_told(
    ros: None, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bench(model=model, autostart=False) as bench:
        with monkeypatch.context() as patch:
            from seg_perception.nodes import segmentation_node as module

            def fail(*_: Any) -> None:
                raise MemoryError('no room')

            patch.setattr(module.Bundle, 'find', fail)
            assert bench.node.trigger_configure() == FAILURE
        bench.until(lambda: 'no room' in bench.peer.complaint(), 'the reason in diagnostics')
        assert bench.node.trigger_configure() == SUCCESS
        assert bench.node.trigger_activate() == SUCCESS
        masks = bench.peer.listen_masks()
        bench.connected()
        bench.answer(masks)


def test_stopped_simulation_clock_stops_neither_work_nor_watch(ros: None, model: str) -> None:
    """With use_sim_time and no /clock, timers on the node's clock never fire."""
    with Bench(model=model, stale_after=0.6, use_sim_time=True) as bench:
        grids = bench.peer.listen_grids()
        bench.connected()
        assert free_cells(bench.answer(grids)) > 0
        bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to become unknown', timeout=5.0)
        bench.until(lambda: 'no image' in bench.peer.complaint(), 'the stopped camera')


def test_rectified_is_live_with_a_calibration_sent_once(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    info = camera_info()
    info.p[5] = 2 * info.p[5]  # the rectified picture has another focal length than the raw one
    bench.peer.camera_info.publish(info)
    bench.until(lambda: bench.node._handler._calibration, 'the calibration')

    def grid() -> np.ndarray:
        grids.clear()
        sent = image()
        bench.peer.image.publish(sent)
        bench.until(lambda: any(key(g) == key(sent) for g in grids), 'the grid')
        return np.array(next(g for g in grids if key(g) == key(sent)).data, np.int8)

    raw = grid()
    assert bench.set(rectified=True)[0].successful
    rectified = grid()
    assert (raw == 0).any()
    assert (rectified == 0).any()
    assert (raw != rectified).any(), 'the old calibration stayed in force'


def test_raised_rate_holds_at_once(ros: None, model: str) -> None:
    with Bench(model=model, stale_after=60.0, max_rate=0.02) as bench:
        masks = bench.peer.listen_masks()
        bench.connected()
        bench.answer(masks)
        masks.clear()
        bench.peer.send()
        time.sleep(0.5)
        assert not masks, 'a second picture within 50 s'
        assert bench.set(max_rate=100.0)[0].successful
        bench.answer(masks)


def test_rate_too_low_for_a_fresh_grid_is_refused(bench: Bench) -> None:
    result = bench.set(max_rate=1.0)[0]
    assert not result.successful
    assert 'stale_after' in result.reason


def test_masks_alone_need_no_calibration(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    for _ in range(3):
        bench.peer.image.publish(image())
        time.sleep(0.1)
    bench.until(lambda: masks, 'masks')
    time.sleep(0.3)
    assert bench.peer.diagnostics()[0] == 0, bench.peer.diagnostics()[1]


def test_late_and_unstamped_pictures_are_no_jumps_of_time(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    bench.answer(masks)
    now = time.time()
    for back in (0.0, 0.02, 0.01, 0.05):
        bench.answer(masks, lambda back=back: image(stamp=now - back))
    assert bench.peer.diagnostics()[2].get('time jumps', '0') == '0'
    unstamped = image()
    unstamped.header.stamp.sec = unstamped.header.stamp.nanosec = 0
    bench.answer(masks, lambda: unstamped)
    bench.until(lambda: 'no stamp' in bench.peer.diagnostics()[1], 'the missing stamp')
    bench.answer(masks)
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


def test_every_frame_received_is_accounted_for(bench: Bench, network: Network) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    bench.answer(masks)
    assert bench.set(max_rate=20.0)[0].successful
    broken = image()
    broken.encoding = 'rgb17'
    for i in range(60):
        network.error = RuntimeError('now and then') if i % 10 == 3 else None
        bench.peer.send(broken if i % 10 == 5 else None)
        time.sleep(0.01)
    network.error = None
    bench.until(lambda: bench.node._worker.wait_idle(0.1), 'the worker to be idle')

    def balanced() -> bool:
        counts = {
            name: int(value)
            for name, value in bench.peer.diagnostics()[2].items()
            if name.startswith('frames ')
        }
        assert counts, 'no counts in diagnostics'
        return counts.pop('frames received') == sum(counts.values())

    bench.until(balanced, 'the counts to add up', timeout=5.0)


def test_listeners_come_and_go_and_the_node_goes_on(bench: Bench) -> None:
    grids = []
    stop = threading.Event()

    def camera() -> None:
        while not stop.wait(0.02):
            bench.peer.send()

    sending = threading.Thread(target=camera)
    sending.start()
    try:
        for i in range(60):
            grids = bench.peer.listen_grids()
            if i % 3 == 0:
                bench.set(**{'grid.resolution': (0.1, 0.2, 0.25)[i // 3 % 3]})
            time.sleep(0.03)
            bench.peer.leave('segmentation_node/drivable_grid')
    finally:
        stop.set()
        sending.join()
    assert all(len(g.data) == g.info.width * g.info.height for g in grids)
    grids = bench.peer.listen_grids()
    bench.connected()
    grids.clear()
    bench.until(lambda: free_cells(bench.answer(grids)) > 0, 'a grid after all that')


def test_activated_and_deactivated_again_and_again_under_load(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    stop = threading.Event()

    def camera() -> None:
        while not stop.wait(0.01):
            bench.peer.send()

    sending = threading.Thread(target=camera)
    sending.start()
    try:
        from lifecycle_msgs.msg import Transition
        from test_segmentation_lifecycle import change

        for _ in range(15):
            assert change(bench, Transition.TRANSITION_DEACTIVATE)
            bench.until(lambda: not grids or free_cells(grids[-1]) == 0, 'the withdrawn grid')
            grids.clear()
            time.sleep(0.1)
            assert not any(free_cells(g) for g in grids), 'a free grid of an inactive node'
            assert change(bench, Transition.TRANSITION_ACTIVATE)
            time.sleep(0.1)
    finally:
        stop.set()
        sending.join()
    grids.clear()
    bench.until(lambda: free_cells(bench.answer(grids)) > 0, 'a grid after all that')


@pytest.mark.parametrize('size', [(1, 1), (3, 20000), (20000, 1), (2, 3)])
def test_pictures_of_odd_sizes_become_masks(bench: Bench, size: tuple[int, int]) -> None:
    height, width = size
    masks, grids = bench.peer.listen_masks(), bench.peer.listen_grids()
    bench.connected()
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 1] = 250
    sent = image(pixels)

    def heard() -> bool:
        bench.peer.send(sent, info=camera_info(width, height, focal=float(max(width, 2))))
        time.sleep(0.2)
        return any(key(m) == key(sent) for m in masks) and any(key(g) == key(sent) for g in grids)

    bench.until(heard, 'mask and grid')
    bench.answer(masks, lambda: image(scene()))


def test_refused_qos_override_of_the_image_is_told_and_the_node_lives(
    ros: None, model: str
) -> None:
    override = {'qos_overrides./image.subscription.depth': 'deep'}
    with Bench(model=model, **override) as bench:
        bench.peer.listen_grids()
        bench.until(lambda: 'qos_overrides./image' in bench.peer.diagnostics()[1], 'the reason')
        assert bench.peer.diagnostics()[0] == 2
        assert bench.set(min_confidence=0.6)[0].successful
