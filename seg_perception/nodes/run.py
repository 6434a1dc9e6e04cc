"""The life of a node's process: start, spin, and an orderly end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from seg_perception.core.errors import SegPerceptionError
from seg_perception.ros.transport import configure_transport


class RunnableNode(Protocol):
    """What :func:`run` asks of a node beside being one."""

    #: Set to an exit code when the node has done its work; None while it goes on.
    exit_code: int | None

    def begin(self) -> None:
        """Called once the node is built, before the first spin."""

    def end(self) -> None:
        """Called while the context is still valid: last words go out here."""


#: How long a signal may wait for the executor's wait set to return.
_TICK = 0.1


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Run one node until it is done, interrupted or shut down from outside.

    rclpy's own signal handlers invalidate the context at once, and a node could no longer
    withdraw its grid. Ours only raise a flag; the context stays valid until ``end`` returns.

    Returns:
        The exit code: 0 on SIGINT, SIGTERM or an outside shutdown, else the node's own.
    """
    transport = configure_transport()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    node = None
    try:
        node = make_node()
        for note in transport.notes:
            node.get_logger().warning(note)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.begin()
        while not stop and node.exit_code is None and rclpy.ok():
            _spin_once(executor, node)
        return node.exit_code or 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except SegPerceptionError as error:
        print(f'{error}', file=sys.stderr)
        return 2
    finally:
        if node is not None:
            if rclpy.ok():
                node.end()
            node.destroy_node()
        rclpy.try_shutdown()


def _spin_once(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin; an error in a callback (a message that does not deserialise, say) is no end."""
    try:
        executor.spin_once(timeout_sec=_TICK)
    except (KeyboardInterrupt, ExternalShutdownException):
        raise
    except Exception as error:
        node.get_logger().error(
            f'{type(error).__name__} in a callback, going on: {error}',
            throttle_duration_sec=10.0,
        )
