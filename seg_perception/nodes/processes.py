"""Nodes as child processes: what the demo, the benchmarks and the end-to-end tests start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

Value = str | int | float | bool | Sequence[str]


def ros_arguments(
    parameters: Mapping[str, Value] | None = None,
    remappings: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
    params_files: Sequence[Path] = (),
) -> list[str]:
    """Return the ``--ros-args`` of a node's command line.

    Later parameter files win over earlier ones, and `parameters` over all of them.
    """
    arguments = ['--ros-args']
    for path in params_files:
        arguments += ['--params-file', str(path)]
    for key, value in (parameters or {}).items():
        arguments += ['-p', f'{key}:={_yaml(value)}']
    rules = dict(remappings or {})
    if name is not None:
        rules['__node'] = name
    for source, target in rules.items():
        arguments += ['-r', f'{source}:={target}']
    return arguments


def _yaml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, (int, float)):
        return repr(value)
    return '[' + ', '.join(_yaml(item) for item in value) + ']'


class NodeProcess:
    """A node of this package in a process of its own, stopped as Ctrl-C stops it.

    Args:
        module: the node's module in ``seg_perception.nodes``, e.g. 'segmentation_node'.
        arguments: its command line, see :func:`ros_arguments`.
        log: where its output goes; None leaves it on this process's streams.
        environment: variables on top of this process's.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        log: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = module
        self._process = subprocess.Popen(
            [sys.executable, '-m', f'seg_perception.nodes.{module}', *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log is not None else None,
            env={**os.environ, **(environment or {})},
            # A Ctrl-C in the terminal reaches the parent alone, which then stops us in order.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._process.poll()

    def stop(self, timeout: float = 10.0) -> int:
        """Interrupt the process, kill it if it has not ended by `timeout` seconds."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
