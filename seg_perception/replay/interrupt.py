"""Ctrl-C between two frames, so that what is being written is closed whole."""

from __future__ import annotations

import signal
import threading
from typing import Any


class StopOnSignal:
    """While entered, the first SIGINT or SIGTERM is a request; the second one ends the process.

    Outside the main thread, where Python gives no signals, it never asks.

    Attributes:
        asked: whether the signal has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
