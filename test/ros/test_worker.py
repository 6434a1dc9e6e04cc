"""The mailbox of one: newest wins, nothing waits, nothing kills the thread."""

import threading
import weakref

import pytest
from helpers import wait_until

from seg_perception.ros.worker import LatestWorker


class Gate:
    """Work that waits to be let through."""

    def __init__(self):
        self.seen = []
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, item):
        self.seen.append(item)
        self.started.release()
        assert self.go.acquire(timeout=5)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def worker(gate):
    worker = LatestWorker(gate, 'test')
    worker.start()
    yield worker
    for _ in range(10):
        gate.go.release()
    worker.stop()


def test_newest_wins_and_what_it_replaces_is_counted(worker, gate):
    assert worker.submit(0) is False
    assert gate.started.acquire(timeout=5)
    assert worker.busy
    assert [worker.submit(i) for i in (1, 2, 3)] == [False, True, True]
    assert worker.dropped == 2
    gate.go.release()
    gate.go.release()
    assert worker.wait_idle(5)
    assert gate.seen == [0, 3]
    assert (worker.done, worker.busy) == (2, False)


def test_senders_take_turns_and_each_has_its_newest(worker, gate):
    worker.submit('a0', 'a')
    assert gate.started.acquire(timeout=5)
    assert not worker.submit('a1', 'a')
    assert not worker.submit('b1', 'b')
    assert worker.submit('a2', 'a'), 'replaces the older one of its own'
    assert not worker.submit('c1', 'c')
    assert worker.submit('b2', 'b')
    gate.go.release()  # a0 is done, a2 in work
    assert gate.started.acquire(timeout=5)
    for i in range(20):  # a fast sender waits for its turn behind the others
        worker.submit(f'a{3 + i}', 'a')
    for _ in range(4):
        gate.go.release()
    assert worker.wait_idle(5)
    assert gate.seen == ['a0', 'a2', 'b2', 'c1', 'a22']
    assert worker.dropped == 2 + 19


def test_work_may_take_what_waits_along():
    seen = []
    first = threading.Event()

    def work(item):
        assert first.wait(5)
        seen.append([item, *worker.take_waiting()])

    worker = LatestWorker(work, 'test')
    worker.start()
    worker.submit('a0', 'a')
    assert wait_until(lambda: worker.busy)
    for item in ('b0', 'a1', 'c0', 'b1'):
        worker.submit(item, item[0])
    first.set()
    assert worker.wait_idle(5)
    worker.stop()
    assert seen == [['a0', 'b1', 'a1', 'c0']]
    assert (worker.done, worker.dropped) == (4, 1)


def test_stop_drops_what_waits_and_finishes_what_runs(worker, gate):
    worker.submit('runs')
    assert gate.started.acquire(timeout=5)
    worker.submit('waits')
    assert worker.stop(timeout=0.05) is False  # still in work
    gate.go.release()
    assert worker.stop(timeout=5) is True
    assert gate.seen == ['runs']
    assert worker.dropped == 1
    assert worker.submit('late') is True
    assert worker.dropped == 2


def test_it_can_be_started_again_but_not_twice(worker, gate):
    assert worker.start() is False
    worker.stop()
    assert worker.start() is True
    worker.submit('again')
    assert gate.started.acquire(timeout=5)


def test_errors_go_to_on_error_and_the_thread_goes_on():
    seen, errors = [], []

    def work(item):
        if item == 'bad':
            raise ValueError('no good')
        seen.append(item)

    worker = LatestWorker(work, 'test', lambda item, error: errors.append((item, str(error))))
    worker.start()
    for item in ('bad', 'good'):
        worker.submit(item)
        assert worker.wait_idle(5)
    worker.stop()
    assert errors == [('bad', 'no good')]
    assert seen == ['good']


@pytest.mark.parametrize('handler', [None, lambda item, error: 1 / 0])
def test_even_an_unhandled_error_does_not_end_it(handler, monkeypatch):
    hooked = []
    monkeypatch.setattr(threading, 'excepthook', hooked.append)
    worker = LatestWorker(lambda item: item['missing'], 'test', handler)
    worker.start()
    for _ in range(2):
        worker.submit({})
        assert worker.wait_idle(5)
    assert worker.running
    worker.stop()
    assert len(hooked) == 2


def test_a_finished_item_is_let_go():
    class Picture:
        pass

    worker = LatestWorker(lambda item: None, 'test')
    worker.start()
    picture = Picture()
    alive = weakref.ref(picture)
    worker.submit(picture)
    del picture
    assert wait_until(lambda: alive() is None)
    worker.stop()


def test_stop_from_within_the_work_does_not_wait_for_itself():
    worker = LatestWorker(lambda item: worker.stop(), 'test')
    worker.start()
    worker.submit(1)
    assert wait_until(lambda: not worker.running)
