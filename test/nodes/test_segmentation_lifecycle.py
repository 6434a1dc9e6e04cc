"""Life cycle and parameters of the segmentation node, through its own services."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import PATIENCE, Bench, free_cells
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from tiny_bundle import write_tiny_bundle

from seg_perception.nodes.processes import NodeProcess, ros_arguments


@pytest.fixture
def bench(ros: None, model: str) -> Iterator[Bench]:
    with Bench(model=model) as bench:
        yield bench


def call(bench: Bench, service: Any, name: str, request: Any) -> Any:
    client = bench.peer.create_client(service, f'segmentation_node/{name}')
    try:
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(request)
        bench.until(future.done, f'{name} to answer')
        return future.result()
    finally:
        bench.peer.destroy_client(client)


def change(bench: Bench, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return call(bench, ChangeState, 'change_state', request).success


def state(bench: Bench) -> int:
    return call(bench, GetState, 'get_state', GetState.Request()).current_state.id


def topics(bench: Bench) -> set[str]:
    return {name for name, _ in bench.peer.get_topic_names_and_types()}


def test_whole_life_cycle(ros: None, model: str) -> None:
    with Bench(model=model, autostart=False) as bench:
        assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
        assert '/segmentation_node/mask' not in topics(bench)
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        assert state(bench) == State.PRIMARY_STATE_INACTIVE
        bench.until(lambda: '/segmentation_node/mask' in topics(bench), 'the mask topic')
        grids = bench.peer.listen_grids()
        time.sleep(0.3)
        assert bench.peer.image.get_subscription_count() == 0, 'works although inactive'

        assert change(bench, Transition.TRANSITION_ACTIVATE)
        assert state(bench) == State.PRIMARY_STATE_ACTIVE
        bench.connected()
        assert free_cells(bench.answer(grids)) > 0

        assert change(bench, Transition.TRANSITION_DEACTIVATE)
        bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to be withdrawn')
        bench.until(lambda: not bench.peer.image.get_subscription_count(), 'it to unsubscribe')

        assert change(bench, Transition.TRANSITION_ACTIVATE)
        grids.clear()
        bench.connected()
        assert free_cells(bench.answer(grids)) > 0, 'does not work the second time'

        assert change(bench, Transition.TRANSITION_DEACTIVATE)
        assert change(bench, Transition.TRANSITION_CLEANUP)
        assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        assert change(bench, Transition.TRANSITION_INACTIVE_SHUTDOWN)
        assert state(bench) == State.PRIMARY_STATE_FINALIZED
        assert bench.node.exit_code == 0


def test_shutdown_while_active_withdraws_the_grid(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    assert change(bench, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    bench.until(lambda: free_cells(grids[-1]) == 0, 'the grid to be withdrawn')


def test_thresholds_are_live(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    # The scene's confidence is 250 of 255.
    assert bench.set(min_confidence=0.99)[0].successful
    grids.clear()
    assert free_cells(bench.answer(grids)) == 0
    assert bench.set(min_confidence=0.5)[0].successful
    grids.clear()
    assert free_cells(bench.answer(grids)) > 0


def test_class_roles_are_live_and_announced(bench: Bench) -> None:
    grids, labels = bench.peer.listen_grids(), bench.peer.listen_labels()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0
    assert bench.set(class_roles=['road:obstacle'])[0].successful
    bench.until(lambda: len(labels) == 2, 'label info with the new role')
    grids.clear()
    grid = np.array(bench.answer(grids).data, np.int8)
    assert (grid != 0).all()
    assert (grid == 100).any()


def test_grid_size_is_live(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    bench.answer(grids)
    assert bench.set(**{'grid.resolution': 0.2})[0].successful
    grids.clear()
    bench.until(lambda: bench.answer(grids).info.width == 50, 'the coarser grid')
    assert len(grids[-1].data) == 50 * 50
    assert free_cells(grids[-1]) > 0


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('min_confidence', 1.5, 'in'),
        ('grid.resolution', 0.0, 'in'),
        ('grid.x_max', -3.0, 'grid.x_m'),
        ('stale_after', float('nan'), 'out of range'),
        ('class_roles', ['lawn:drivable'], 'wall, road, sky'),
        ('class_roles', ['road'], '<class>:<role>'),
        ('mask_size', 'huge', 'model, image'),
        ('model', 'another', 'cleanup'),
        ('provider', 'cuda', 'cleanup'),
    ],
)
def test_bad_parameters_are_refused_and_change_nothing(
    bench: Bench, name: str, value: Any, reason: str
) -> None:
    before = bench.node.get_parameter(name).value
    result = bench.set(**{name: value})[0]
    assert not result.successful
    assert reason in result.reason
    assert bench.node.get_parameter(name).value == before
    grids = bench.peer.listen_grids()
    bench.connected()
    assert free_cells(bench.answer(grids)) > 0


def test_wrong_parameters_at_start_leave_a_living_node(ros: None, model: str) -> None:
    with Bench(model=model, min_confidence=7.0, mask_size='huge') as bench:
        bench.until(lambda: 'min_confidence' in bench.peer.complaint(), 'the reason')
        assert state(bench) == State.PRIMARY_STATE_UNCONFIGURED
        assert bench.set(min_confidence=0.6)[0].successful
        assert not change(bench, Transition.TRANSITION_CONFIGURE), 'one is still wrong'
        bench.until(lambda: 'min_confidence' not in bench.peer.complaint(), 'one reason less')
        assert 'mask_size' in bench.peer.complaint()
        assert bench.set(mask_size='image')[0].successful
        assert change(bench, Transition.TRANSITION_CONFIGURE)
        assert change(bench, Transition.TRANSITION_ACTIVATE)
        masks = bench.peer.listen_masks()
        bench.connected()
        assert bench.answer(masks).width == 320


def test_model_may_be_changed_after_cleanup(bench: Bench, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / 'other', size=(45, 80))
    assert change(bench, Transition.TRANSITION_DEACTIVATE)
    assert change(bench, Transition.TRANSITION_CLEANUP)
    assert bench.set(model=str(other))[0].successful
    assert change(bench, Transition.TRANSITION_CONFIGURE)
    assert change(bench, Transition.TRANSITION_ACTIVATE)
    masks = bench.peer.listen_masks()
    bench.connected()
    assert bench.answer(masks).width == 80


def test_parameter_services_answer_while_the_network_runs(ros: None, tmp_path: Path) -> None:
    """In its own process, as users have it: nothing of the test shares its interpreter lock."""
    slow = write_tiny_bundle(tmp_path / 'slow', size=(240, 320), work=10)
    helper_model = write_tiny_bundle(tmp_path / 'tiny')
    with Bench(model=str(helper_model), autostart=False) as bench:
        arguments = ros_arguments(
            {'model': str(slow), 'provider': 'cpu', 'threads': 1, 'diagnostics_period': 0.1},
            name='slow_node',
        )
        with NodeProcess('segmentation_node', arguments):
            from sensor_msgs.msg import Image

            bench.peer.listen('slow_node/mask', Image)
            bench.connected()
            client = bench.peer.create_client(GetParameters, 'slow_node/get_parameters')
            assert client.wait_for_service(PATIENCE)
            waits = []
            for _ in range(30):
                bench.peer.send()
                start = time.monotonic()
                future = client.call_async(GetParameters.Request(names=['min_confidence']))
                bench.until(future.done, 'get_parameters to answer')
                waits.append(time.monotonic() - start)
                time.sleep(0.03)
            bench.until(lambda: bench.peer.heard['slow_node/mask'], 'a mask of the slow network')
            facts = bench.until(
                lambda: 'network p50 (ms)' in (f := bench.peer.diagnostics('slow_node')[2]) and f,
                'the timing of the slow network',
            )
            network = float(facts['network p50 (ms)'])
            assert network > 200.0, 'the network was too quick to show anything'
            # The median: a shared machine may stop the whole test for a moment.
            assert sorted(waits)[len(waits) // 2] < 0.1
