"""Fusion of stuff and things, COCO's colours, and panoptic quality against hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.core.panoptic import (
    FusionRules,
    PanopticQuality,
    Quality,
    Thing,
    from_rgb,
    fuse,
    rgb_to_id,
    to_rgb,
)

ROAD, SKY, CAR, PERSON = 0, 1, 2, 3
THINGS = {CAR, PERSON}


def halves() -> np.ndarray:
    """Sky above road, 10 x 10."""
    labels = np.full((10, 10), ROAD, np.uint8)
    labels[:5] = SKY
    return labels


def test_things_lie_on_stuff():
    instances = np.zeros((10, 10), np.uint16)
    instances[4:8, 2:6] = 7
    result = fuse(halves(), instances, {7: Thing(CAR, 0.9)}, THINGS)
    assert (result.ids[4:8, 2:6] == 2007).all()
    assert result.ids[0, 0] == 1000
    assert result.ids[9, 9] == 0
    found = {s.id: (s.label, s.instance, s.area, s.source) for s in result.segments}
    assert found == {2007: (CAR, 7, 16, 7), 1000: (SKY, 0, 46, 0), 0: (ROAD, 0, 38, 0)}


def test_thing_pixels_that_nobody_counts_are_void_or_a_group():
    labels = halves()
    labels[0, 0] = CAR
    labels[9, 9] = 255
    nothing = np.zeros((10, 10), np.uint16)
    result = fuse(labels, nothing, {}, THINGS)
    assert result.ids[0, 0] == result.ids[9, 9] == -1
    assert {s.label for s in result.segments} == {ROAD, SKY}
    grouped = fuse(labels, nothing, {}, THINGS, FusionRules(group_things=True))
    assert grouped.ids[0, 0] == 2000
    assert grouped.ids[9, 9] == -1


def test_a_thing_mostly_covered_by_better_ones_is_left_out():
    instances = np.zeros((10, 10), np.uint16)
    instances[:, :4] = 1
    instances[:, 4:6] = 2
    things = {1: Thing(CAR, 0.9, 40), 2: Thing(CAR, 0.8, 60)}  # 20 of its 60 pixels are seen
    result = fuse(halves(), instances, things, THINGS)
    assert (result.ids[:, :4] == 2001).all()
    assert result.ids[0, 5] == 1000
    assert result.ids[9, 5] == 0
    kept = fuse(halves(), instances, things, THINGS, FusionRules(min_visible=0.3))
    assert (kept.ids[:, 4:6] == 2002).all()


def test_low_scores_unknown_ids_and_little_stuff_are_left_out():
    labels = halves()
    labels[0, :3] = 4  # three pixels of another stuff
    instances = np.zeros((10, 10), np.uint16)
    instances[8, 8], instances[9, 9] = 5, 6
    result = fuse(labels, instances, {5: Thing(CAR, 0.3)}, THINGS, FusionRules(min_stuff_area=4))
    assert result.ids[8, 8] == result.ids[9, 9] == 0
    assert (result.ids[0, :3] == -1).all()


def test_ids_beyond_999_stay_in_their_class():
    instances = np.zeros((10, 10), np.uint16)
    instances[0, 0], instances[0, 1], instances[0, 2] = 1, 1000, 65535
    things = {1: Thing(CAR, 0.9), 1000: Thing(CAR, 0.8), 65535: Thing(PERSON, 0.7)}
    result = fuse(halves(), instances, things, THINGS)
    assert result.ids[0, :3].tolist() == [2001, 2002, 3000 + 65534 % 999 + 1]
    assert {s.source for s in result.segments if s.instance} == {1, 1000, 65535}


def test_the_mask_is_brought_to_the_size_of_the_instances():
    labels = np.array([[SKY], [ROAD]], np.uint8)
    result = fuse(labels, np.zeros((40, 60), np.uint16), {}, THINGS)
    assert (result.ids[:20] == 1000).all()
    assert (result.ids[20:] == 0).all()


def test_a_thousand_and_more_of_one_class_get_as_many_numbers_as_there_are():
    instances = np.arange(1, 1601, dtype=np.uint16).reshape(40, 40)
    things = {i: Thing(CAR, 1 - i / 3200) for i in range(1, 1601)}
    result = fuse(np.full((40, 40), SKY, np.uint8), instances, things, THINGS)
    cars = [s for s in result.segments if s.label == CAR]
    assert len(cars) == len({s.id for s in cars}) == 999
    assert result.ids.max() == 2999


def test_rgb_is_cocos_and_comes_back():
    ids = np.array([[-1, 0, 999], [18001, 2000, 254_999]], np.int32)
    rgb = to_rgb(ids)
    assert rgb.dtype == np.uint8
    assert rgb[0, 0].tolist() == [0, 0, 0]
    assert rgb[0, 1].tolist() == [1000 % 256, 1000 // 256, 0]
    assert rgb_to_id(rgb)[1, 2] == 255_999
    assert (from_rgb(rgb) == ids).all()


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """One row of pixels from (id, length) runs."""
    return np.concatenate([np.full(length, i, np.int32) for i, length in runs])[None]


def quality(predicted: np.ndarray, truth: np.ndarray, **options) -> dict[str, Quality]:
    metric = PanopticQuality(4, THINGS)
    classes = [
        {int(i): int(i) // 1000 for i in np.unique(a) if i >= 0} for a in (predicted, truth)
    ]
    metric.update(predicted, classes[0], truth, classes[1], **options)
    return metric.compute()


def test_a_perfect_map_scores_one():
    truth = strip((0, 5), (2001, 3), (2002, 2))
    found = quality(truth, truth)
    assert found['all'] == Quality(1, 1, 1, 3, 0, 0, 2)
    assert found['things'].tp == 2
    assert found['stuff'].tp == 1


def test_hand_worked_case():
    """Road: 6 of 8 pixels hit, union 8, IoU 3/4. Cars: one of IoU 4/5, one missed, one made up."""
    truth = strip((0, 8), (2001, 4), (2002, 4))
    predicted = strip((0, 6), (2009, 2), (2001, 5), (3001, 3))
    found = quality(predicted, truth)
    metric = PanopticQuality(4, THINGS)
    metric.update(predicted, {0: 0, 2009: 2, 2001: 2, 3001: 3}, truth, {0: 0, 2001: 2, 2002: 2})
    each = metric.per_class()
    assert each[ROAD] == Quality(0.75, 0.75, 1.0, 1, 0, 0)
    assert each[CAR] == Quality(0.4, 0.8, 0.5, 1, 1, 1)
    assert each[PERSON] == Quality(0.0, 0.0, 0.0, 0, 1, 0)
    assert found['all'].pq == pytest.approx((0.75 + 0.4 + 0.0) / 3)
    assert found['things'].pq == pytest.approx(0.2)
    assert found['things'].rq == pytest.approx(0.25)
    assert found['things'].sq == pytest.approx(0.4)
    assert (found['all'].tp, found['all'].fp, found['all'].fn) == (2, 2, 1)


def test_an_overlap_of_exactly_half_is_no_match():
    found = quality(strip((0, 2), (2001, 2)), strip((2001, 4)))
    assert (found['things'].tp, found['things'].fp, found['things'].fn) == (0, 1, 1)


def test_void_neither_helps_nor_harms():
    """Of 4 predicted pixels 2 lie on void: the union counts 4 true + 2 seen - 2 shared."""
    truth = strip((-1, 2), (2001, 3))
    predicted = strip((2001, 4), (-1, 1))
    assert quality(predicted, truth)['things'].pq == pytest.approx(2 / 3)
    mostly_void = quality(strip((2005, 3), (0, 2)), strip((-1, 2), (0, 3)))
    assert mostly_void['things'].fp == 0


def test_crowds_are_neither_missed_nor_matched():
    truth = strip((2001, 4), (2000, 4))
    found = quality(strip((2001, 4), (2007, 4)), truth, crowds={2000})
    assert found['things'] == Quality(1, 1, 1, 1, 0, 0)


def test_matches_the_reference_on_random_maps():
    """Against a plain transcription of the paper's definition, segment by segment."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        blocks = rng.choice([0, 1000, 2001, 2002, 3001], (6, 6))
        truth = np.kron(blocks, np.ones((4, 4), np.int32)).astype(np.int32)
        shift = np.roll(truth, rng.integers(0, 3), 1)
        predicted = np.where(rng.random(truth.shape) < 0.05, 3001, shift).astype(np.int32)
        tp, iou_sum, fp, fn = 0, 0.0, 0, 0
        for label in range(4):
            p_ids = [i for i in np.unique(predicted) if i // 1000 == label]
            t_ids = [i for i in np.unique(truth) if i // 1000 == label]
            ious = {
                (p, t): ((predicted == p) & (truth == t)).sum()
                / ((predicted == p) | (truth == t)).sum()
                for p in p_ids
                for t in t_ids
            }
            hits = [pair for pair, iou in ious.items() if iou > 0.5]
            tp, iou_sum = tp + len(hits), iou_sum + sum(ious[h] for h in hits)
            fp, fn = fp + len(p_ids) - len(hits), fn + len(t_ids) - len(hits)
        metric = PanopticQuality(4)
        classes = {i: i // 1000 for i in (0, 1000, 2001, 2002, 3001)}
        metric.update(predicted, classes, truth, classes)
        found = metric.compute()['all']
        assert (found.tp, found.fp, found.fn) == (tp, fp, fn)
        total = sum(q.sq * q.tp for q in metric.per_class().values())
        assert total == pytest.approx(iou_sum)


def test_pictures_add_up_and_classes_never_seen_are_left_out():
    metric = PanopticQuality(4, THINGS)
    for predicted in (strip((2001, 4)), strip((2002, 1), (0, 3))):
        truth = strip((2001, 4))
        metric.update(predicted, {2001: 2, 2002: 2, 0: 0}, truth, {2001: 2})
    assert metric.compute()['things'] == Quality(0.5, 1.0, 0.5, 1, 1, 1)
    assert PanopticQuality(4).compute()['all'].classes == 0


@pytest.mark.parametrize(
    ('predicted', 'classes', 'reason'),
    [
        (np.zeros((1, 3), np.int32), {0: 0}, 'height, width'),
        (strip((5, 4)), {}, 'segment 5'),
        (strip((5, 4)), {5: 4}, 'class 4'),
    ],
)
def test_what_cannot_be_scored_is_said(predicted, classes, reason):
    with pytest.raises(DatasetError, match=reason):
        PanopticQuality(4).update(predicted, classes, strip((0, 4)), {0: 0})
