"""Ids that last: drops, panning, classes, jumps of the clock, more objects than ids."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.core.errors import ProviderError
from seg_perception.core.results import Instances
from seg_perception.runtime import tracking
from seg_perception.runtime.tracking import Tracker, TrackingOptions

pytest.importorskip('edgefirst.tracker', reason='needs edgefirst-tracker: make test installs it')
STEP = 66_000_000  # nanoseconds between pictures
SIZE = (1280, 720)


def instances(boxes, labels=None, scores=None) -> Instances:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Instances(
        np.zeros(count, np.int32) if labels is None else np.array(labels, np.int32),
        np.full(count, 0.9, np.float32) if scores is None else np.array(scores, np.float32),
        boxes,
        np.ones((count, 28, 28), np.float32),
        SIZE,
    )


def test_ids_last_through_motion_drops_and_shuffling():
    rng = np.random.default_rng(0)
    tracker = Tracker()
    count = 12
    centre = np.stack([np.arange(count) * 100.0 + 50, rng.uniform(100, 600, count)], axis=1)
    speed, half = rng.normal(0, 3, (count, 2)), rng.uniform(20, 40, (count, 2))
    owners: dict[int, set[int]] = {}
    for picture in range(60):
        centre += speed + np.array([4, 0])  # the camera turns
        seen = rng.permutation(np.flatnonzero(rng.random(count) > 0.1))
        noise = rng.normal(0, 1, (len(seen), 4))
        boxes = np.concatenate([centre - half, centre + half], axis=1)[seen] + noise
        ids = tracker.update(instances(boxes), picture * STEP)
        assert len(set(ids.tolist())) == len(ids)
        for owner, i in zip(seen, ids, strict=True):
            owners.setdefault(int(owner), set()).add(int(i))
    switches = sum(len(ids) - 1 for ids in owners.values())
    assert switches <= 1, 'of some 650 boxes'


def test_an_object_is_remembered_for_a_while_only():
    tracker = Tracker(TrackingOptions(memory=0.5))
    here, gone = instances([[100, 100, 200, 300]]), instances([])
    first = tracker.update(here, 0)[0]
    tracker.update(gone, STEP)
    assert tracker.update(here, 2 * STEP)[0] == first
    for i in range(3, 12):
        tracker.update(gone, i * STEP)
    assert tracker.update(here, 12 * STEP)[0] != first


def test_classes_never_swap_ids():
    tracker = Tracker()
    rider, cycle = [100, 100, 160, 260], [95, 120, 165, 270]
    person, bicycle = tracker.update(instances([rider, cycle], labels=[0, 1]), 0)
    assert tracker.update(instances([cycle], labels=[1]), STEP).tolist() == [bicycle]
    assert tracker.update(instances([rider], labels=[0]), 2 * STEP).tolist() == [person]


def test_after_a_reset_nothing_is_recognised_and_no_id_is_used_again_at_once():
    tracker = Tracker()
    here = instances([[100, 100, 200, 300]])
    first = tracker.update(here, 100 * STEP)[0]
    tracker.reset()
    assert tracker.update(here, 0)[0] == first + 1


def test_a_stamp_that_stands_still_or_goes_back_a_little_does_no_harm():
    tracker = Tracker()
    here = instances([[100, 100, 200, 300]])
    ids = [tracker.update(here, stamp)[0] for stamp in (STEP, STEP, 0, 2 * STEP)]
    assert len(set(ids)) == 1


def test_ids_stay_in_their_range_and_start_again():
    tracker = Tracker(TrackingOptions(max_id=5, memory=0.2))
    seen = set()
    for i in range(40):
        boxes = [[x * 200, i % 2 * 300, x * 200 + 90, i % 2 * 300 + 90] for x in range(5)]
        ids = tracker.update(instances(boxes), i * STEP).tolist()
        assert len(set(ids)) == 5
        seen |= set(ids)
    assert seen == {1, 2, 3, 4, 5}
    with pytest.raises(ValueError, match='6 objects'):
        tracker.update(instances([[0, 0, 9, 9]] * 6), 0)


def test_boxes_that_make_no_sense_get_an_id_and_spoil_nothing():
    tracker = Tracker()
    good = [100, 100, 200, 300]
    first = tracker.update(instances([good]), 0)[0]
    bad = instances([[np.nan, 0, 1, 1], [5, 5, 5, 5], [1e30, 0, 2e30, 9], good])
    ids = tracker.update(bad, STEP)
    assert len(set(ids.tolist())) == 4
    assert ids.min() >= 1
    assert ids[3] == first
    assert tracker.update(instances([good]), 2 * STEP)[0] == first


def test_none_and_a_thousand():
    tracker = Tracker(TrackingOptions(max_id=1000))
    assert tracker.update(instances([]), 0).shape == (0,)
    grid = np.stack(np.meshgrid(np.arange(40) * 30, np.arange(25) * 28), -1).reshape(-1, 2)
    many = instances(np.concatenate([grid, grid + 20], axis=1))
    first = tracker.update(many, STEP)
    assert len(set(first.tolist())) == 1000
    assert (tracker.update(many, 2 * STEP) == first).all()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'edgefirst.tracker', None)
    with pytest.raises(ProviderError, match='pip install edgefirst-tracker'):
        tracking.Tracker()
