"""Votes of several views, worked by hand."""

import numpy as np
import pytest

from seg_perception.runtime.strategy import Votes


def plane(*values):
    return np.array([values], np.uint8)


def test_by_hand():
    votes = Votes(1, 4)
    #            agree  outvoted  tie of 2 and 1  unlabelled
    votes.add(plane(3, 1, 2, 255), plane(100, 200, 90, 0))
    votes.add(plane(3, 2, 1, 7), plane(50, 90, 90, 80))
    votes.add(plane(3, 2, 4, 255), plane(30, 120, 1, 0))
    labels, confidence = votes.decide()
    assert labels.tolist() == [[3, 2, 1, 7]]
    # (100 + 50 + 30) / 3; (90 + 120) / 3; 90 / 3, the lower id; 80 / 3 for the two abstain.
    assert confidence.tolist() == [[60, 70, 30, 27]]


def test_weights_are_per_view_or_per_pixel():
    votes = Votes(1, 2)
    votes.add(plane(0, 0), plane(100, 100), 3.0)
    votes.add(plane(1, 1), plane(200, 200), np.array([[1, 9]], np.float32))
    labels, confidence = votes.decide()
    assert labels.tolist() == [[0, 1]]
    assert confidence.tolist() == [[75, 150]]  # 300 / 4, 1800 / 12


def test_where_nothing_voted_there_is_no_class():
    votes = Votes(1, 3)
    votes.add(plane(255), plane(0), column=1)
    labels, confidence = votes.decide()
    assert (labels == 255).all()
    assert (confidence == 0).all()
    assert votes.classes == []


def test_a_label_of_no_confidence_yields_to_any_other_but_stays():
    votes = Votes(1, 2)
    votes.add(plane(0, 0), plane(0, 0))
    votes.add(plane(255, 1), plane(0, 1))
    labels, confidence = votes.decide()
    assert labels.tolist() == [[0, 1]]
    assert confidence.tolist() == [[0, 0]]


@pytest.mark.parametrize('weight', [1.0, 1e-3, 3e-13])
def test_one_view_is_given_back(weight):
    """Every confidence and class, in a tile's faintest corner too."""
    labels, confidence = np.divmod(np.arange(255 * 256), 256)
    labels, confidence = (a.reshape(255, 256).astype(np.uint8) for a in (labels, confidence))
    votes = Votes(255, 256)
    votes.add(labels, confidence, weight)
    found = votes.decide()
    assert np.array_equal(found[0], labels)
    assert np.array_equal(found[1], confidence)


def test_shift_moves_rows_up_and_forgets_classes_out_of_sight():
    votes = Votes(3, 2)
    votes.add(np.array([[1, 1], [2, 2], [3, 3]], np.uint8), np.full((3, 2), 60, np.uint8))
    assert votes.decide(1)[0].tolist() == [[1, 1]]
    votes.shift(2)
    assert votes.classes == [3]
    votes.add(np.array([[3, 4]], np.uint8), np.full((1, 2), 90, np.uint8))
    labels, confidence = votes.decide()
    assert labels.tolist() == [[3, 4], [255, 255], [255, 255]]
    assert confidence.tolist() == [[75, 45], [0, 0], [0, 0]]
    votes.shift(5)
    assert votes.classes == []
