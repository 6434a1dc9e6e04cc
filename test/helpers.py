"""What several node tests need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.executors import Executor, SingleThreadedExecutor


def spin_until(
    nodes: Executor | Any | Iterable[Any],
    predicate: Callable[[], Any],
    timeout: float = 10.0,
) -> Any:
    """Spin until the predicate holds.

    Discovery mostly takes 0.1 s, and 2 to 3 s now and then, so do not be sparing with time.

    Args:
        nodes: an executor that has its nodes, a node, or several nodes.
        predicate: asked after each callback, and every 20 ms.
        timeout: seconds.

    Returns:
        What the predicate returned last: false when the time ran out.
    """
    if isinstance(nodes, Executor):
        return _spin(nodes, predicate, timeout)
    executor = SingleThreadedExecutor()
    several = list(nodes) if isinstance(nodes, Iterable) else [nodes]
    for node in several:
        executor.add_node(node)
    try:
        return _spin(executor, predicate, timeout)
    finally:
        for node in several:
            executor.remove_node(node)
        executor.shutdown()


def _spin(executor: Executor, predicate: Callable[[], Any], timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while not (result := predicate()) and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.02)
    return result


def wait_until(predicate: Callable[[], Any], timeout: float = 5.0) -> Any:
    """Wait without spinning; returns what the predicate returned last."""
    deadline = time.monotonic() + timeout
    while not (result := predicate()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return result
