"""The life of a node's process: start, spin, and an orderly end."""

from __future__ import annotations

import difflib
import os
import signal
import socket
import sys
import threading
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
#: Seconds after a signal in which the node ends in order; launch kills after 10.
GRACE = 8.0


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Run one node until it is done, interrupted or shut down from outside.

    rclpy's own signal handlers invalidate the context at once, and a node could no longer
    withdraw its grid. Ours only raise a flag; the context stays valid until ``end`` returns.

    Args:
        make_node: returns a node that is a :class:`RunnableNode`, too.
        args: of the process, as for ``rclpy.init``.

    Returns:
        The exit code: 0 on SIGINT, SIGTERM or an outside shutdown, 2 on arguments that cannot
        be used, else the node's own.
    """
    transport = configure_transport()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # a parameter file that does not parse, say
        print(f'{error}', file=sys.stderr)
        return 2
    stop: list[int] = []
    starting = True

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.append(number)
        if starting:  # nothing is published yet that would have to be withdrawn
            raise KeyboardInterrupt

    ended = _end_in_time()
    node, code = None, 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        node = make_node()
        for note in (*transport.notes, *_misspelt(node)):
            node.get_logger().warning(note)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.begin()
        starting = False
        while not stop and node.exit_code is None and rclpy.ok():
            _spin_once(executor, node)
        code = node.exit_code or 0
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except SegPerceptionError as error:
        print(f'{error}', file=sys.stderr)
        code = 2
    finally:
        starting = False
        if node is not None:
            if rclpy.ok():
                node.end()
            node.destroy_node()
        rclpy.try_shutdown()
        ended.set()
    if getattr(node, 'still_working', False):
        # The interpreter's own end would tear a network down that runs, which aborts.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _end_in_time() -> threading.Event:
    """End the process ``GRACE`` seconds after a signal, unless the event returned is set by then.

    Python runs signal handlers between two of its own instructions, so never while a network
    is compiled (minutes, with TensorRT) or hangs; the wake-up socket is written at once.
    """
    ended = threading.Event()
    wakes, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with wakes, woken:  # both live as long as this thread
            wakes.recv(1)
            if not ended.wait(GRACE):
                print(f'no orderly end within {GRACE:g} s of a signal: killed', file=sys.stderr)
                os._exit(1)

    threading.Thread(target=watch, name='end in time', daemon=True).start()
    return ended


def _misspelt(node: Node) -> list[str]:
    """Return a line on each parameter given that the node lacks but has one much like it.

    rclpy takes no notice of them; files for several nodes may well hold quite other ones.
    """
    given = getattr(node, '_parameter_overrides', {})
    known = list(getattr(node, '_parameters', {}))
    lines = []
    for name in sorted(set(given) - set(known)):
        like = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if like and not name.startswith('qos_overrides.'):
            lines.append(f"no parameter '{name}' here; did you mean '{like[0]}'?")
    return lines


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
