"""Masks and instances brought together by stamp: exact, nearest, late, jumping."""

from __future__ import annotations

import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_perception.ros.messages import stamp_from_ns
from seg_perception.ros.pairing import Pairing


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pairing(clock: Clock) -> Pairing:
    return Pairing(memory=3.0, max_difference=0.1, now=clock)


def image(milliseconds: int) -> Image:
    return Image(header=Header(stamp=stamp_from_ns(milliseconds * 1_000_000)))


def instances(pairing: Pairing, milliseconds: int) -> None:
    pairing.put_instances(image(milliseconds))
    pairing.put_detections(milliseconds, milliseconds * 1_000_000)


def test_equal_stamps_in_any_order(pairing: Pairing) -> None:
    pairing.put_detections('facts', 33_000_000)
    pairing.put_instances(image(33))
    assert pairing.take() is None
    pairing.put_mask(image(33))
    pair = pairing.take()
    assert pair.detections == 'facts'
    assert pair.difference == 0.0
    assert pairing.take() is None, 'once only'


def test_a_slow_instance_network_finds_the_mask_of_long_ago(pairing: Pairing, clock: Clock):
    for i in range(60):
        pairing.put_mask(image(i * 33))
        clock.now += 0.033
    instances(pairing, 10 * 33)
    assert pairing.take().difference == 0.0


def test_the_nearest_is_taken_when_the_right_one_will_not_come(pairing: Pairing) -> None:
    pairing.put_mask(image(960))
    instances(pairing, 1000)
    assert pairing.take() is None, 'its own mask may yet come'
    pairing.put_mask(image(1030))
    assert pairing.take().difference == pytest.approx(0.03)


def test_or_when_it_is_late(pairing: Pairing, clock: Clock) -> None:
    pairing.put_mask(image(960))
    instances(pairing, 1000)
    clock.now += 0.2
    assert pairing.take().difference == pytest.approx(-0.04)


def test_nothing_near_is_no_pair_and_counted(pairing: Pairing, clock: Clock) -> None:
    pairing.put_mask(image(0))
    instances(pairing, 500)
    clock.now += 1.0
    assert pairing.take() is None
    assert pairing.waiting_for(0.5) == 'mask'
    clock.now += 5.0
    assert pairing.take() is None
    assert pairing.unmatched == 1
    assert pairing.waiting_for(0.5) == ''


def test_missing_detections_are_told(pairing: Pairing, clock: Clock) -> None:
    pairing.put_mask(image(0))
    pairing.put_instances(image(0))
    clock.now += 1.0
    assert pairing.take() is None
    assert pairing.waiting_for(0.5) == 'detections'


def test_the_newest_wins_and_what_it_overtakes_is_counted(pairing: Pairing) -> None:
    for i in range(3):
        pairing.put_mask(image(i * 33))
        instances(pairing, i * 33)
    assert pairing.take().detections == 66
    assert pairing.unmatched == 2
    assert pairing.take() is None


def test_a_clock_that_jumps_back_starts_anew(pairing: Pairing) -> None:
    pairing.put_mask(image(100_000))
    instances(pairing, 99_000)
    pairing.put_mask(image(0))
    instances(pairing, 0)
    assert pairing.take().detections == 0
    assert pairing.jumps == 1


def test_memory_is_bounded(pairing: Pairing) -> None:
    for i in range(1000):
        pairing.put_mask(image(i))
    instances(pairing, 900)
    assert pairing.take().difference == 0.0
    instances(pairing, 100)
    assert pairing.take() is None
