"""A thread with a mailbox of one: it always works on the newest item, never on a queue.

Several senders have a mailbox each and take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar('T')


class LatestWorker(Generic[T]):
    """Runs `fn` on the newest item submitted; what it replaces is dropped and counted.

    Items of different keys do not replace each other: the key that has waited longest is served
    next, so that no sender, however fast, keeps the others from their turn.

    Args:
        fn: called with each item in the worker's thread.
        name: of the thread.
        on_error: called there with the item and the exception that `fn` raised; without one
            the exception goes to `threading.excepthook`. The thread goes on in any case.
    """

    def __init__(
        self,
        fn: Callable[[T], object],
        name: str,
        on_error: Callable[[T, Exception], object] | None = None,
    ) -> None:
        self._fn = fn
        self._name = name
        self._on_error = on_error
        self._condition = threading.Condition()
        self._slots: dict[Hashable, T] = {}  # in the order of their turns
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._busy_since: float | None = None
        self._dropped = 0
        self._done = 0
        self._along = 0  # items that the one in work took along

    @property
    def dropped(self) -> int:
        """Items that a newer one replaced, or that were still waiting at the stop."""
        return self._dropped

    @property
    def done(self) -> int:
        """Items `fn` has returned from or failed on."""
        return self._done

    @property
    def busy(self) -> bool:
        """Whether `fn` is running now."""
        return self._busy_since is not None

    @property
    def busy_for(self) -> float:
        """Seconds for which `fn` has been running on its item; 0 when it is not."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def running(self) -> bool:
        """Whether items are taken: between start and stop."""
        return self._thread is not None and not self._stopping

    def start(self) -> bool:
        """Start the thread, also again after a stop.

        Returns:
            False when it runs already, or a stop that ran out of time has not ended yet.
        """
        with self._condition:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._stopping = False
            self._slots.clear()
            # A daemon: a network that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            return True

    def submit(self, item: T, key: Hashable = None) -> bool:
        """Hand over an item; never blocks.

        Args:
            item: for `fn`.
            key: of the sender; only its own older item is replaced, in the same place.

        Returns:
            True when an item was dropped for it, or (not running) it was dropped itself.
        """
        with self._condition:
            replaced = key in self._slots or not self.running
            if self.running:
                self._slots[key] = item
                self._condition.notify_all()
            self._dropped += replaced
            return replaced

    def take_waiting(self) -> list[T]:
        """Return all items that wait, in turn; `fn` is to work on them, too.

        Only for `fn`, in the worker's thread; what it raises is told of its own item alone.
        """
        with self._condition:
            items = list(self._slots.values())
            self._slots.clear()
            self._along = len(items)
            return items

    def stop(self, timeout: float = 5.0) -> bool:
        """Take no more items and wait for the one in work.

        Returns:
            False when it was still in work after `timeout` seconds; it ends when it is done.
        """
        with self._condition:
            self._stopping = True
            self._dropped += len(self._slots)
            self._slots.clear()
            thread = self._thread
            self._condition.notify_all()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing waits and nothing is in work; False when that took too long."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while self._slots or self.busy:
                if not self._condition.wait(max(deadline - time.monotonic(), 0.0)):
                    return False
        return True

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._slots and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                item = self._slots.pop(next(iter(self._slots)))
                self._busy_since = time.monotonic()
            try:
                self._work(item)
            finally:
                del item  # a 720p picture must not stay alive until the next one comes
                with self._condition:
                    self._busy_since = None
                    self._done += 1 + self._along
                    self._along = 0
                    self._condition.notify_all()

    def _work(self, item: T) -> None:
        try:
            self._fn(item)
        except Exception as error:
            try:
                if self._on_error is None:
                    raise
                self._on_error(item, error)
            except Exception as unhandled:
                thread = threading.current_thread()
                threading.excepthook(
                    threading.ExceptHookArgs(
                        (type(unhandled), unhandled, unhandled.__traceback__, thread)
                    )
                )
