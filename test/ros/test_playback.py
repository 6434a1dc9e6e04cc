"""Pacing without drift, and reading ahead without surprises."""

import threading
import time

import pytest

from seg_perception.ros.playback import Pacer, ReadAhead

MS = 1_000_000


class Clock:
    """A clock that only moves when somebody sleeps (or works); also the event slept on."""

    def __init__(self, oversleep_ns: int = 0):
        self.now = 5_000 * MS
        self.oversleep_ns = oversleep_ns
        self.stopped = False

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += round(seconds * 1e9) + self.oversleep_ns
        return self.stopped

    def is_set(self) -> bool:
        return self.stopped


def play(pacer: Pacer, clock: Clock, offsets, work=lambda index: 0) -> list[float]:
    """Moments, in ms after the first, at which pictures with the given offsets go out."""
    moments = []
    for index, offset in enumerate(offsets):
        clock.now += work(index)
        assert pacer.wait(offset, clock)
        moments.append(clock.now / MS)
    return [moment - moments[0] for moment in moments]


def test_oversleeping_and_work_do_not_add_up():
    clock = Clock(oversleep_ns=MS)
    offsets = [round(i * 1e9 / 30) for i in range(3001)]
    pacer = Pacer(round(1e9 / 30), clock)
    moments = play(pacer, clock, offsets, work=lambda index: 10 * MS)
    assert moments[-1] == pytest.approx(100_000.0, abs=1.1)
    assert pacer.late == 0


def test_one_late_picture_does_not_delay_the_next():
    clock = Clock()
    pacer = Pacer(40 * MS, clock)
    offsets = [i * 40 * MS for i in range(5)]
    moments = play(pacer, clock, offsets, work=lambda index: 70 * MS if index == 2 else 0)
    assert moments == [0, 40, 110, 120, 160]
    assert pacer.late == 1


def test_a_source_that_hangs_is_not_followed_by_a_burst():
    clock = Clock()
    pacer = Pacer(40 * MS, clock)
    offsets = [i * 40 * MS for i in range(5)]
    moments = play(pacer, clock, offsets, work=lambda index: 1000 * MS if index == 2 else 0)
    assert moments == [0, 40, 1040, 1080, 1120]
    assert pacer.late == 1


def test_uneven_recordings_keep_their_spacing_and_start_anywhere():
    clock = Clock()
    moments = play(Pacer(40 * MS, clock), clock, [7 * MS, 10 * MS, 300 * MS])
    assert moments == [0, 3, 293]


def test_stopping_ends_the_wait():
    clock = Clock()
    pacer = Pacer(40 * MS, clock)
    assert pacer.wait(0, clock)
    clock.stopped = True
    assert not pacer.wait(40 * MS, clock)
    assert not pacer.wait(0, clock)


def test_reading_ahead_is_bounded_and_in_order():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    ahead = ReadAhead(items(), depth=3)
    time.sleep(0.1)
    assert len(made) <= 3 + 1  # what waits for a place has been made too
    assert list(ahead) == list(range(20))


def test_an_error_arrives_in_its_place():
    def items():
        yield 1
        raise ValueError('broken')

    taken = []
    with pytest.raises(ValueError, match='broken'):
        taken.extend(ReadAhead(items(), depth=2))
    ahead = iter(ReadAhead(items(), depth=2))
    assert next(ahead) == 1


def test_closing_ends_the_thread_and_the_iterator():
    release = threading.Event()

    def items():
        number = 0
        while True:
            yield number
            number += 1
            release.wait(0.001)

    ahead = ReadAhead(items(), depth=2)
    iterator = iter(ahead)
    assert next(iterator) == 0
    assert ahead.close()
    assert list(iterator) in ([], [1])
