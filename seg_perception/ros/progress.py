"""Progress for whoever watches: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """Counts pictures; shows how many of how many, and the rate.

    Args:
        total: pictures to come, None where nobody knows.
        log: takes the lines where standard error is no terminal.
        period: seconds between lines.
    """

    def __init__(self, total: int | None, log: Callable[[str], None], period: float = 5.0):
        self._total = total
        self._log = log
        self._period = period
        self._bar = _bar(total) if sys.stderr.isatty() else None
        self._began = self._last = time.monotonic()
        self._done = self._done_last = 0

    def step(self, late: int = 0) -> None:
        """Count one picture; ``late`` of all came too late."""
        self._done += 1
        if self._bar is not None:
            if late:
                self._bar.set_postfix(late=late, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last >= self._period:
            rate = (self._done - self._done_last) / (now - self._last)
            of = f' of {self._total}' if self._total else ''
            self._log(f'{self._done}{of} pictures, {rate:.1f} a second, {late} late')
            self._last, self._done_last = now, self._done

    def close(self) -> float:
        """End the display; returns the mean rate in pictures a second."""
        if self._bar is not None:
            self._bar.close()
        seconds = time.monotonic() - self._began
        return self._done / seconds if seconds > 0 else 0.0


def _bar(total: int | None):
    """A tqdm bar; None where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit=' pictures', dynamic_ncols=True, file=sys.stderr)
