import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_perception.evaluation.metrics import ConfusionMatrix


def scores(truth, prediction, classes=3):
    matrix = ConfusionMatrix(classes)
    matrix.update(np.asarray(truth, np.uint8), np.asarray(prediction, np.uint8))
    return matrix.compute()


def test_by_hand():
    # class 0: 2 right, 1 missed; class 1: 1 right and one stolen from 0; 255 counts nowhere.
    found = scores([[0, 0, 0], [1, 255, 255]], [[0, 0, 1], [1, 0, 2]])
    assert found.iou[:2] == pytest.approx([2 / 3, 1 / 2])
    assert np.isnan(found.iou[2])
    assert found.miou == pytest.approx(7 / 12)
    assert found.pixel_accuracy == pytest.approx(3 / 4)
    assert found.pixels == 4


def test_an_absent_class_that_is_predicted_hurts_the_others_only():
    found = scores([[0, 0]], [[0, 2]])
    assert found.iou[2] == 0
    assert found.miou == pytest.approx(0.5), 'the mean is over classes that occur in the truth'


def test_unlabelled_is_a_miss():
    found = scores([[0, 0, 1]], [[0, 255, 1]])
    assert found.iou[:2] == pytest.approx([0.5, 1])
    assert found.pixel_accuracy == pytest.approx(2 / 3)


def test_nothing_counted_is_not_a_number():
    found = scores([[255]], [[0]])
    assert np.isnan(found.miou)
    assert np.isnan(found.pixel_accuracy)


labels = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 3, 255]))


@given(labels, labels)
def test_equals_the_definition(truth, prediction):
    found = scores(truth, prediction, classes=4)
    valid = truth != 255
    for label in range(4):
        a, b = (truth == label) & valid, (prediction == label) & valid
        union = (a | b).sum()
        if union:
            assert found.iou[label] == pytest.approx((a & b).sum() / union)
        else:
            assert np.isnan(found.iou[label])


@given(labels, labels)
def test_pieces_add_up_to_the_whole(truth, prediction):
    matrix = ConfusionMatrix(4)
    for rows in (slice(0, 2), slice(2, 6)):
        matrix.update(truth[rows], prediction[rows])
    whole = ConfusionMatrix(4)
    whole.update(truth, prediction)
    assert np.array_equal(matrix.counts, whole.counts)


@given(labels)
def test_the_truth_scores_full_marks(truth):
    found = scores(truth, truth, classes=4)
    assert np.isnan(found.miou) or found.miou == 1


def test_bad_input():
    with pytest.raises(ValueError, match='differ'):
        scores([[0, 1]], [[0], [1]])
    with pytest.raises(ValueError, match=r'outside 0\.\.2'):
        scores([[7]], [[0]])
    with pytest.raises(ValueError, match='classes'):
        ConfusionMatrix(256)
