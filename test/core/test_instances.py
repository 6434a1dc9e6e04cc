"""Masks pasted into pictures, the image of ids, and what counts."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import LabelSetError, ParameterError
from seg_perception.core.instances import Region, Selection, id_image, paste, select
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances

LABELS = LabelSet.named('street_objects')


def instances(boxes, scores=None, labels=None, masks=None, size=(100, 60)) -> Instances:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Instances(
        np.zeros(count, np.int32) if labels is None else np.array(labels, np.int32),
        np.linspace(0.9, 0.5, count).astype(np.float32)
        if scores is None
        else np.array(scores, np.float32),
        boxes,
        np.ones((count, 28, 28), np.float32) if masks is None else masks,
        size,
    )


def torchvision_paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """torchvision.models.detection.roi_heads.paste_masks_in_image for one mask, in NumPy."""
    side = len(mask)
    padded = np.pad(mask, 1)
    scale = np.float32((side + 2) / side)
    half = (box[2:] - box[:2]) * np.float32(0.5) * scale
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    x1, y1, x2, y2 = (int(v) for v in (*(centre - half), *(centre + half)))
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)

    def sample(pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.maximum((np.arange(pixels) + 0.5) * ((side + 2) / pixels) - 0.5, 0)
        low = at.astype(int)
        return low, np.minimum(low + 1, side + 1), at - low

    (r0, r1, fy), (c0, c1, fx) = sample(height), sample(width)
    upper = padded[r0][:, c0] * (1 - fx) + padded[r0][:, c1] * fx
    lower = padded[r1][:, c0] * (1 - fx) + padded[r1][:, c1] * fx
    soft = upper * (1 - fy[:, None]) + lower * fy[:, None]
    whole = np.zeros((size[1], size[0]))
    xa, xb, ya, yb = max(x1, 0), min(x2 + 1, size[0]), max(y1, 0), min(y2 + 1, size[1])
    if xb > xa and yb > ya:
        whole[ya:yb, xa:xb] = soft[ya - y1 : yb - y1, xa - x1 : xb - x1]
    return whole > 0.5


def painted(region: Region, size: tuple[int, int]) -> np.ndarray:
    whole = np.zeros((size[1], size[0]), bool)
    region.of(whole)[...] = region.mask
    return whole


def test_pastes_as_torchvision_does():
    rng = np.random.default_rng(1)
    count, size = 60, (100, 60)
    low = rng.uniform(-20, 90, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.3, 80, (count, 2))], axis=1)
    boxes[0] = [0, 0, 100, 60]
    boxes[1] = [20.5, 10.5, 20.7, 10.6]
    masks = [cv2.GaussianBlur(m, (0, 0), 2) for m in rng.random((count, 28, 28), np.float32)]
    given = instances(boxes, masks=np.array(masks), size=size)
    wrong = total = 0
    for region, mask, box in zip(paste(given), given.masks, given.boxes, strict=True):
        truth = torchvision_paste(mask, box, size)
        wrong += (painted(region, size) != truth).sum()
        total += truth.sum()
    assert total > 10000
    assert wrong <= total / 1000, 'all but one pixel in a thousand must agree'


@pytest.mark.parametrize(
    'box',
    [[-50, -50, -10, -10], [200, 10, 220, 30], [10, 70, 30, 90], [1e9, 1e9, 2e9, 2e9]],
)
def test_boxes_outside_the_picture_have_no_pixels(box):
    assert paste(instances([box]))[0].area == 0


def test_boxes_across_the_border_are_cut_there():
    (corner,) = paste(instances([[90, 50, 130, 90]]))
    assert (corner.x, corner.y) == (88, 48)
    assert corner.mask.shape == (12, 12)
    (whole,) = paste(instances([[-1e5, -1e5, 1e5, 1e5]]))
    assert whole.mask.shape == (60, 100)
    assert whole.mask.all(), 'of a box of 40 gigapixels only the visible part is computed'


def test_a_huge_box_is_pasted_alike_both_ways():
    mask = np.linspace(0, 1, 28, dtype=np.float32)[None].repeat(28, 0)[None]
    (part,) = paste(instances([[-300, -300, 340, 340]], masks=mask))
    truth = torchvision_paste(mask[0], np.float32([-300, -300, 340, 340]), (100, 60))
    assert (part.mask == truth).all()
    assert 0 < part.area < 6000


@pytest.mark.parametrize('box', [[np.nan, 0, 10, 10], [0, 0, np.inf, 10], [50, 20, 40, 30]])
def test_what_is_no_box_has_no_pixels(box):
    given = instances([box, [10, 10, 20, 20]])
    assert [r.area > 0 for r in paste(given)] == [False, True]
    kept, regions = select(given, Selection.of(LABELS, 0.0))
    assert len(kept) == len(regions) == 1


def test_none_at_all():
    nothing = Instances.none((100, 60))
    assert paste(nothing) == []
    assert not id_image(nothing, []).any()
    assert len(select(nothing, Selection.of(LABELS, 0.5))[0]) == 0


def test_the_better_score_lies_on_top():
    given = instances([[10, 10, 50, 50], [30, 10, 70, 50]], scores=[0.6, 0.8])
    image = id_image(given, paste(given), np.array([7, 65535]))
    assert image.dtype == np.uint16
    assert image[30, 20] == 7
    assert image[30, 40] == image[30, 60] == 65535
    assert image[30, 90] == 0
    with pytest.raises(ValueError, match='65535'):
        id_image(given, paste(given), np.array([1, 65536]))


def test_selection_by_score_class_area_and_number():
    boxes = [[10, 10, 30, 30], [40, 10, 60, 30], [70, 10, 90, 30], [10, 40, 12, 42]]
    given = instances(boxes, scores=[0.5, 0.9, 0.4, 0.95], labels=[0, 2, 2, 2])
    chosen = Selection.of(LABELS, 0.45, class_scores=['person:0.6'], min_area=50)
    kept, regions = select(given, chosen)
    assert kept.scores.tolist() == pytest.approx([0.9])
    assert regions[0].area > 300
    low = Selection.of(LABELS, 0.1, classes=['person', 'bus'])
    assert select(given, low)[0].labels.tolist() == [0]
    best = select(given, Selection.of(LABELS, 0.0, max_detections=2))[0]
    assert best.scores.tolist() == pytest.approx([0.95, 0.9])


def test_wrong_selections_say_what_is_wrong():
    with pytest.raises(LabelSetError, match='person, bicycle'):
        Selection.of(LABELS, 0.5, classes=['lamp'])
    with pytest.raises(ParameterError, match='<class>:<score>'):
        Selection.of(LABELS, 0.5, class_scores=['person'])
    with pytest.raises(ParameterError, match=r'in 0\.\.1'):
        Selection.of(LABELS, 0.5, class_scores=['person:1.2'])
    with pytest.raises(LabelSetError, match='class 9'):
        select(instances([[0, 0, 9, 9]], labels=[9]), Selection.of(LABELS, 0.5))


def test_fifty_objects_of_a_720p_picture_take_a_few_milliseconds():
    rng = np.random.default_rng(0)
    centre, sides = rng.uniform([0, 0], [1280, 720], (50, 2)), rng.uniform(20, 260, (50, 2))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
    masks = np.array([cv2.GaussianBlur(m, (0, 0), 2) for m in rng.random((50, 28, 28))])
    given = instances(boxes, masks=masks.astype(np.float32), size=(1280, 720))
    times = []
    for _ in range(30):
        start = time.perf_counter()
        id_image(given, paste(given))
        times.append(time.perf_counter() - start)
    # The best of many: shared machines stop a process now and then. 3 ms on a core of its own.
    assert min(times) < 0.009
