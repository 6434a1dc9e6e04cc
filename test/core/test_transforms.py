"""Transforms over time: the way tf2 answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.core.errors import ExtrinsicsError
from seg_perception.core.transforms import TransformTree

LEVEL = (0.0, 0.0, 0.0, 1.0)


def yaw(angle: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


@pytest.fixture
def tree():
    """odom -> base (moving) -> camera (static), and an arm that hangs on the base."""
    tree = TransformTree()
    tree.add('odom', 'base', 1000, (0, 0, 0), yaw(0.0))
    tree.add('odom', 'base', 3000, (4, 0, 0), yaw(math.pi / 2))
    tree.add('base', 'camera', 5, (0, 0, 1.5), LEVEL, static=True)
    tree.add('base', '/arm', 2000, (0, 1, 0), LEVEL)
    return tree


def test_between_samples_it_is_interpolated_along_the_chain(tree):
    pose = tree.lookup('odom', 'camera', 2000)
    assert pose[:3, 3] == pytest.approx([2, 0, 1.5])
    assert math.atan2(pose[1, 0], pose[0, 0]) == pytest.approx(math.pi / 4)
    assert np.linalg.inv(tree.lookup('camera', 'odom', 2000)) == pytest.approx(pose)
    assert tree.lookup('camera', 'arm', 2000)[:3, 3] == pytest.approx([0, 1, -1.5])
    assert tree.lookup('base', 'base', 7).tolist() == np.eye(4).tolist()


def test_samples_may_come_out_of_order_and_zero_means_the_newest(tree):
    tree.add('odom', 'base', 2000, (9, 0, 0), yaw(0.0))
    tree.add('odom', 'base', 2000, (3, 0, 0), yaw(0.0))  # the same again: the later word counts
    assert tree.lookup('odom', 'base', 1500)[0, 3] == pytest.approx(1.5)
    assert tree.lookup('odom', 'base', 0)[0, 3] == pytest.approx(4)


@pytest.mark.parametrize(('stamp', 'words'), [(999, 'before the first'), (3001, 'after the last')])
def test_outside_of_the_samples_nothing_is_made_up(tree, stamp, words):
    with pytest.raises(ExtrinsicsError, match=words):
        tree.lookup('odom', 'camera', stamp)
    assert tree.lookup('base', 'camera', stamp)[2, 3] == 1.5  # static ones hold for ever


def test_unknown_frames_and_islands_are_named(tree):
    tree.add('map', 'tower', 0, (0, 0, 0), LEVEL, static=True)
    for target in ('nowhere', 'tower'):
        assert not tree.knows(target, 'camera')
        with pytest.raises(ExtrinsicsError, match="from 'camera' to"):
            tree.lookup(target, 'camera', 2000)
    assert tree.knows('odom', '/camera')


@pytest.mark.parametrize(
    ('parent', 'child', 'place', 'turn', 'words'),
    [
        ('a', 'b', (0, 0, math.nan), LEVEL, 'NaN'),
        ('a', 'b', (0, 0, 0), (0, 0, 0, 2), 'length 2'),
        ('a', 'a', (0, 0, 0), LEVEL, 'two different'),
        ('', 'b', (0, 0, 0), LEVEL, 'two different'),
        ('odom', 'camera', (0, 0, 0), LEVEL, 'two parents'),
    ],
)
def test_samples_that_make_no_sense_are_refused(tree, parent, child, place, turn, words):
    with pytest.raises(ExtrinsicsError, match=words):
        tree.add(parent, child, 1, place, turn)


def test_a_circle_ends():
    tree = TransformTree()
    tree.add('a', 'b', 1, (0, 0, 0), LEVEL)
    tree.add('b', 'a', 1, (0, 0, 0), LEVEL)
    with pytest.raises(ExtrinsicsError, match='circle'):
        tree.lookup('a', 'b', 1)
