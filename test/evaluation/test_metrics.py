import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_perception.evaluation.metrics import BoundaryIou, ConfusionMatrix


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


def boundary(truth, prediction, classes=3, ratio=0.1):
    scores = BoundaryIou(classes, ratio=ratio)
    scores.update(np.asarray(truth, np.uint8), np.asarray(prediction, np.uint8))
    return scores


def square(first, last, side=10):
    """Class 1 from row and column ``first`` to ``last``, class 0 around it."""
    labels = np.zeros((side, side), np.uint8)
    labels[first : last + 1, first : last + 1] = 1
    return labels


def test_boundary_by_hand():
    # Bands of one pixel (0.1 * 14.1 = 1.4). Class 1: rings of a 6x6 and a 4x4 square, 20 and
    # 12 pixels, which share nothing. Class 0: the picture's border, 36 pixels, in both, and
    # around the squares the rings of 8x8 and 6x6, 28 and 20, apart too.
    scores = boundary(square(2, 7), square(3, 6))
    assert scores.truth.tolist() == [36 + 28, 20, 0]
    assert scores.predicted.tolist() == [36 + 20, 12, 0]
    assert scores.hits.tolist() == [36, 0, 0]
    found = scores.compute()
    assert found.iou[:2] == pytest.approx([36 / (64 + 56 - 36), 0])
    assert np.isnan(found.iou[2]), 'absent'
    assert found.miou == pytest.approx((36 / 84) / 2)


def test_boundary_of_a_shifted_edge():
    # Bands of two pixels (0.14 * 14.1 = 1.98): of the truth's left half columns 0, 1, 3, 4 and
    # rows 0, 1, 8, 9; of the prediction's, one column narrower, columns 0..3.
    truth, prediction = np.ones((2, 10, 10), np.uint8)
    truth[:, :5] = 0
    prediction[:, :4] = 0
    scores = boundary(truth, prediction, ratio=0.14)
    assert scores.truth[0] == 50 - 6
    assert scores.predicted[0] == 40
    assert scores.hits[0] == 40 - 6, 'what both hold: columns 0..3 but for 6 pixels of column 2'


def test_what_is_ignored_has_no_say():
    truth = square(2, 7)
    truth[5:, :] = 255
    guesses = [np.where(truth == 255, guess, square(3, 6)) for guess in (0, 1, 2, 255)]
    found = [boundary(truth, guess) for guess in guesses]
    assert len({(*s.hits, *s.truth, *s.predicted) for s in found}) == 1
    # The void's edge is a boundary: of class 1's 3 rows of 6 only 4 pixels lie inside. Class 0
    # is nowhere two pixels from everything else.
    assert found[0].truth.tolist() == [50 - 18, 18 - 4, 0]


@given(labels)
def test_the_truth_has_the_truths_boundaries(truth):
    found = boundary(truth, np.where(truth == 255, 3, truth), classes=4).compute()
    assert np.isnan(found.miou) or found.miou == 1


def band_of_the_paper(mask, width):
    """The authors' mask_to_boundary."""
    grown = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(grown, np.ones((3, 3), np.uint8), iterations=width)
    return mask - eroded[1:-1, 1:-1]


@pytest.mark.parametrize('ratio', [0.02, 0.06, 0.2])
def test_boundaries_are_those_of_the_paper(ratio):
    """Blobs of four classes with holes of void in the truth and of no class in the prediction."""
    rng = np.random.default_rng(0)
    coarse = rng.choice([0, 1, 2, 3, 255], (2, 6, 8), p=[0.3, 0.3, 0.2, 0.15, 0.05])
    truth, prediction = np.kron(coarse, np.ones((7, 9), int)).astype(np.uint8)
    scores = boundary(truth, prediction, classes=4, ratio=ratio)
    width = max(1, round(ratio * float(np.hypot(*truth.shape))))
    valid = truth != 255
    for label in range(4):
        a, b = (
            band_of_the_paper(((map_ == label) & valid).astype(np.uint8), width) > 0
            for map_ in (truth, prediction)
        )
        assert (scores.truth[label], scores.predicted[label]) == (a.sum(), b.sum())
        assert scores.compute().iou[label] == pytest.approx((a & b).sum() / (a | b).sum())


def test_boundaries_of_pictures_add_up():
    pairs = [(square(2, 7), square(3, 7)), (square(1, 4), square(1, 5))]
    both = BoundaryIou(3, ratio=0.1)
    for pair in pairs:
        both.update(*pair)
    one, two = (boundary(*pair) for pair in pairs)
    assert both.hits.tolist() == (one.hits + two.hits).tolist()
    assert both.truth.tolist() == (one.truth + two.truth).tolist()


def test_bad_input_for_boundaries():
    with pytest.raises(ValueError, match='one picture'):
        boundary([0, 1], [0, 1])
    with pytest.raises(ValueError, match='differ'):
        boundary([[0, 1]], [[0], [1]])
    with pytest.raises(ValueError, match=r'outside 0\.\.2'):
        boundary([[7]], [[0]])
    with pytest.raises(ValueError, match='classes'):
        BoundaryIou(0)
    assert np.isnan(boundary([[255]], [[0]]).compute().miou)
