"""The life of a node's process: arguments that can't be used, and signals at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Peer
from helpers import spin_until, wait_until
from rclpy.executors import SingleThreadedExecutor
from tiny_bundle import write_tiny_bundle

from seg_perception.nodes.processes import ros_arguments


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / 'log.txt'


@pytest.fixture
def start(log: Path) -> Iterator:
    processes = []

    def start(arguments: list[str]) -> subprocess.Popen:
        with log.open('wb') as file:
            process = subprocess.Popen(
                [sys.executable, '-m', 'seg_perception.nodes.segmentation_node', *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize('text', ['/**:\n  ros__parameters:\n  model: [', '[]'])
def test_parameter_file_that_does_not_parse_is_told_in_a_line(
    start, log: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / 'broken.yaml'
    path.write_text(text)
    assert start(['--ros-args', '--params-file', str(path)]).wait(30.0) == 2
    said = log.read_text()
    assert 'broken.yaml' in said
    assert 'Traceback' not in said


def test_misspelt_parameter_is_told(start, log: Path, tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / 'tiny')
    given = {'model': str(model), 'provider': 'cpu', 'camera_pose.hight': 0.3, 'others': 1}
    process = start(ros_arguments(given))
    assert wait_until(lambda: "did you mean 'camera_pose.height'" in log.read_text(), 30.0)
    assert "'others'" not in log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30.0) == 0


def test_interrupt_while_the_model_warms_up_ends_the_node_in_time(
    start, log: Path, tmp_path: Path
) -> None:
    slow = write_tiny_bundle(tmp_path / 'slow', size=(480, 640), work=60)
    process = start(ros_arguments({'model': str(slow), 'provider': 'cpu', 'threads': 1}))
    assert wait_until(lambda: 'warming up' in log.read_text(), 30.0)
    time.sleep(0.2)
    start_of_end = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60.0) in (0, 1)  # 1 where even one pass takes longer than the grace
    assert time.monotonic() - start_of_end < 14.0
    assert 'Traceback' not in log.read_text()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ended_node_leaves_no_free_cells_behind(
    ros: None, start, tmp_path: Path, number: signal.Signals
) -> None:
    """What a publisher's end overtakes is lost, unless the node waits until it has arrived."""
    arguments = ros_arguments(
        {'model': str(write_tiny_bundle(tmp_path / 'tiny')), 'provider': 'cpu', 'threads': 1}
    )
    peer = Peer()
    grids = peer.listen_grids()
    executor = SingleThreadedExecutor()
    executor.add_node(peer)

    def sees_free(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            peer.send()
            executor.spin_once(timeout_sec=0.03)
            if grids and 0 in grids[-1].data:
                return True
        return False

    for _ in range(3):
        process = start(arguments)
        assert sees_free(30.0)
        sees_free(0.2)
        process.send_signal(number)
        assert process.wait(30.0) == 0
        assert spin_until(executor, lambda: 0 not in grids[-1].data, 3.0)
        grids.clear()
    peer.destroy_node()


def test_a_network_that_still_runs_is_not_torn_down(tmp_path: Path) -> None:
    """The interpreter's own end would abort with exit code -6; exit handlers show it ran."""
    code = (
        'import atexit, rclpy, sys\n'
        'from rclpy.node import Node\n'
        'from seg_perception.nodes.run import run\n'
        'class Stub(Node):\n'
        '    exit_code, still_working = 3, sys.argv[1] == "busy"\n'
        '    begin = end = lambda self: None\n'
        'atexit.register(print, "torn down")\n'
        'sys.exit(run(lambda: Stub("stub"), []))\n'
    )
    for state, said in (('busy', ''), ('idle', 'torn down\n')):
        done = subprocess.run(
            [sys.executable, '-c', code, state], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 3, done.stderr
        assert done.stdout == said
