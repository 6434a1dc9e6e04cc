"""Grid scores of cells small enough to work out by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.evaluation.grid import GridScores, contacts_found

SPEC = GridSpec(0.1, 0.0, 0.5, -0.2, 0.2)  # 5 cells ahead, 4 across
U, F, X = -1, 0, 100


@dataclass
class Truth:
    cells: np.ndarray
    visible: np.ndarray | None
    contacts: np.ndarray | None


def grid(*rows):
    """Return cells by rows, the right-hand row (y_min) first."""
    return np.array(rows, np.int8)


def truth(cells, visible=None, contacts=()):
    visible = np.ones(cells.shape, bool) if visible is None else visible
    return Truth(cells, visible, np.array(contacts, float).reshape(-1, 2))


#: A thing (X) fills two cells of the third column, its edge cuts (U) a third; behind it is road.
STREET = grid(
    [F, F, F, F, F],
    [F, F, X, F, F],
    [F, F, X, F, F],
    [F, F, U, F, F],
)
SEEN = STREET == F
SEEN[1:3, 3:] = False


def scored(cells, **options):
    scores = GridScores(SPEC)
    scores.update(cells, truth(STREET, SEEN, **options))
    return scores.compute()


def test_the_perfect_grid_is_perfect():
    cells = np.where(SEEN, STREET, U).astype(np.int8)
    cells[STREET == X] = X
    found = scored(cells, contacts=[[0.2, -0.05], [0.2, 0.05]])
    assert found.free_recall == 1
    assert found.false_free_rate == 0
    assert found.occupied_recall == 1
    assert found.smear_m2 == 0
    assert found.frames == 1


def test_a_free_cell_on_a_thing_is_false_and_one_that_its_edge_cuts_is_not_counted():
    everything = np.zeros(STREET.shape, np.int8)
    found = scored(everything)
    # 20 marked free, one cut: 2 of 19 are under the thing.
    assert found.false_free_rate == pytest.approx(2 / 19)
    assert found.free_recall == 1


def test_recall_counts_only_free_ground_that_is_seen():
    cells = grid(
        [F, F, U, U, U],
        [F, F, X, U, U],
        [F, F, X, U, U],
        [F, F, U, U, U],
    )
    # Seen and free: 17 road cells less 4 hidden. Marked free: the 8 before the thing.
    assert scored(cells).free_recall == pytest.approx(8 / 13)


def test_smear_is_hidden_free_ground_marked_occupied():
    cells = grid(
        [F, F, F, F, F],
        [F, F, X, X, X],
        [F, F, X, X, U],
        [F, F, X, F, F],
    )
    assert scored(cells).smear_m2 == pytest.approx(3 * 0.01)
    wide = cells.copy()
    wide[0, 2] = X  # seen: a false alarm, but no smear
    assert scored(wide).smear_m2 == pytest.approx(3 * 0.01)


def test_a_contact_is_found_within_its_reach_only():
    spec = GridSpec(0.1, 0.0, 2.0, 0.0, 1.0)
    occupied = np.zeros(spec.shape, bool)
    occupied[5, 10] = True  # its middle: (1.05, 0.55)
    contacts = np.array([[0.76, 0.55], [0.74, 0.55], [1.25, 0.77], [1.30, 0.80], [1.05, 0.55]])
    assert contacts_found(occupied, contacts, spec).tolist() == [True, False, True, False, True]
    # At the grid's edge, and none at all.
    assert not contacts_found(occupied, np.array([[0.0, 0.0], [1.999, 0.999]]), spec).any()
    assert contacts_found(occupied, np.zeros((0, 2)), spec).shape == (0,)


def test_shares_are_over_all_frames_not_means_of_frames():
    scores = GridScores(SPEC)
    few = np.zeros(STREET.shape, bool)
    few[0, 0] = True
    nothing = np.full(STREET.shape, U, np.int8)
    scores.update(nothing, truth(STREET, few), ms=1.0)
    scores.update(np.zeros(STREET.shape, np.int8), truth(STREET, SEEN), ms=3.0)
    assert scores.compute().free_recall == pytest.approx(13 / 14)
    assert scores.compute().ms_per_frame == 2.0


@pytest.mark.parametrize(('cost', 'free', 'occupied'), [(20, 1, 0), (50, 0, 0), (80, 0, 1)])
def test_a_graded_cell_is_free_when_cheap_and_occupied_when_dear(cost, free, occupied):
    cells = np.full(STREET.shape, cost, np.int8)
    found = scored(cells, contacts=[[0.2, 0.0]])
    assert (found.free_recall, found.occupied_recall) == (free, occupied)


def test_flicker_is_the_share_of_cells_that_change_within_a_sequence():
    scores = GridScores(SPEC)
    cells = np.zeros(STREET.shape, np.int8)
    scores.update_still(cells, first=True)
    changed = cells.copy()
    changed[0, :3] = X
    changed[1, 0] = U
    changed[2, 0] = 10  # still free
    scores.update_still(changed)
    scores.update_still(changed)
    assert scores.compute().flicker == pytest.approx(4 / 40)
    # Another scene is no change.
    scores.update_still(np.full(STREET.shape, X, np.int8), first=True)
    assert scores.compute().flicker == pytest.approx(4 / 40)


def test_what_was_never_there_scores_nan():
    figures = GridScores(SPEC).compute()
    assert np.isnan([figures.free_recall, figures.flicker, figures.ms_per_frame]).all()
    empty = grid(*[[X] * 5] * 4)
    scores = GridScores(SPEC)
    scores.update(empty, truth(empty))
    assert np.isnan([scores.compute().free_recall, scores.compute().occupied_recall]).all()


def test_wrong_shapes_and_a_truth_without_a_camera_are_named():
    scores = GridScores(SPEC)
    with pytest.raises(GroundError, match=r'cells is \(3, 3\)'):
        scores.update(np.zeros((3, 3), np.int8), truth(STREET))
    with pytest.raises(GroundError, match='no camera'):
        scores.update(STREET, Truth(STREET, None, None))
    with pytest.raises(GroundError, match='the grid'):
        scores.update_still(np.zeros((3, 3), np.int8))
