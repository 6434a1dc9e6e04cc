import numpy as np
import pytest

from seg_perception.core.errors import TrainingError
from seg_perception.training.class_weights import (
    class_weights,
    count_pixels,
    inverse_frequency_weights,
    median_frequency_weights,
)


class Pictures(list):
    """Label maps given as lists of ids; the pictures themselves do not matter."""

    classes = 4

    def __getitem__(self, index):
        return None, np.array([super().__getitem__(index)], np.uint8)


@pytest.fixture
def pictures():
    """Ten labelled pixels each: 8 + 2 of classes 0 and 1, 5 + 5 of 0 and 2; one ignored."""
    return Pictures([[0] * 8 + [1] * 2 + [255], [0] * 5 + [2] * 5])


def test_counts_leave_ignored_pixels_out(pictures):
    assert count_pixels(pictures).tolist() == [[8, 2, 0, 0], [5, 0, 5, 0]]


def test_inverse_frequency_by_hand(pictures):
    # Frequencies 13/20, 2/20, 5/20: inverses 20/13, 10, 4, whose mean is 202/39.
    expected = np.array([20 / 13, 10, 4]) / (202 / 39)
    weights = class_weights(pictures, 'inverse', 1.0)
    assert weights[:3] == pytest.approx(expected)
    assert weights[3] == 1, 'absent'
    roots = np.sqrt([20 / 13, 10, 4])
    assert class_weights(pictures, 'inverse', 0.5)[:3] == pytest.approx(roots / roots.mean())


def test_median_frequency_by_hand(pictures):
    # Where they occur: 13 of 20, 2 of 10 and 5 of 10 pixels. The median is 1/2.
    weights = class_weights(pictures, 'median', 1.0)
    assert weights == pytest.approx([10 / 13, 2.5, 1, 1])
    assert class_weights(pictures, 'median', 0.5) == pytest.approx(np.sqrt(weights))


def test_inverse_favours_the_rare():
    weights = inverse_frequency_weights(np.array([900, 90, 0, 10]), exponent=1.0)
    assert weights[3] / weights[0] == pytest.approx(90)
    assert weights[[0, 1, 3]].mean() == pytest.approx(1)
    flat = inverse_frequency_weights(np.array([900, 90, 10]), exponent=0.0)
    assert flat == pytest.approx(np.ones(3))


def test_median_does_not_take_the_seldom_seen_for_small():
    # Class 1 fills the one picture in ten that shows it.
    counts = np.array([[100, 0]] * 9 + [[0, 100]])
    assert median_frequency_weights(counts) == pytest.approx([1, 1])
    assert inverse_frequency_weights(counts.sum(0), 1.0)[1] > 1.5


@pytest.mark.parametrize('kind', ['inverse', 'median'])
def test_nothing_labelled_weighs_nothing(kind):
    assert class_weights(Pictures([[255, 255]]), kind, 1.0).tolist() == [1] * 4


def test_an_unknown_kind(pictures):
    with pytest.raises(TrainingError, match='inverse, median'):
        class_weights(pictures, 'log', 1.0)
