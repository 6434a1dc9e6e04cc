"""Fusion over time: what is remembered, what is forgotten, and what is never believed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.core.errors import GroundError
from seg_perception.core.fusion import GridFusion
from seg_perception.core.fusion_options import FusionEvent, FusionOptions
from seg_perception.core.grid import GridSpec
from seg_perception.core.ground_observation import (
    EDGE,
    EVIDENCE,
    FREE,
    HIDDEN,
    LEFT,
    OCCUPIED,
    OCCUPIED_MOVING,
    REAR,
    UNKNOWN,
    GroundObservation,
)

SPEC = GridSpec(0.2, 0, 8, -4, 4)
CELL = (20, 15)  # x 3.0..3.2, y 0..0.2


def pose(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    c, s = math.cos(yaw), math.sin(yaw)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:2, 3] = x, y
    return matrix


def shows(kind: int, where: tuple = (slice(None), slice(None)), cost: int | None = None):
    kinds = np.zeros(SPEC.shape, np.uint8)
    kinds[where] = kind
    cells = SPEC.unknown()
    value = {FREE: 0, EDGE: 0, LEFT: 0, OCCUPIED: 100, OCCUPIED_MOVING: 100}.get(kind, -1)
    cells[where] = value if cost is None else cost
    return GroundObservation(SPEC, cells, kinds)


def after(*observations, step: float = 1 / 30, options: FusionOptions | None = None) -> int:
    """Value of the cell after frames of a robot that stands."""
    fusion = GridFusion(SPEC, options)
    for i, observation in enumerate(observations):
        fusion.add(observation, pose(), i * step)
    return int(fusion.cells(pose(), (len(observations) - 1) * step)[CELL])


def test_what_was_never_seen_is_unknown():
    fusion = GridFusion(SPEC)
    assert (fusion.cells(pose(), 0.0) == -1).all()
    fusion.add(shows(0), pose(), 0.0)
    assert (fusion.cells(pose(), 0.0) == -1).all()


def test_one_frame_is_enough_for_an_unknown_cell():
    assert after(shows(FREE)) == 0
    assert after(shows(OCCUPIED)) == 100


@pytest.mark.parametrize('kind', [OCCUPIED, OCCUPIED_MOVING])
def test_a_fresh_contact_wins_over_any_number_of_old_frees(kind):
    assert after(*[shows(FREE)] * 100, shows(kind)) == 100


def test_one_free_frame_does_not_clear_what_stands():
    seen = [shows(OCCUPIED)] * 10
    assert after(*seen, shows(FREE)) == 100
    assert after(*seen, *[shows(FREE)] * 15) == 0


def test_what_moves_is_let_go_sooner_than_what_stands():
    frees = [shows(FREE)] * 3
    assert after(*[shows(OCCUPIED_MOVING)] * 10, *frees) == 0
    assert after(*[shows(OCCUPIED)] * 10, *frees) == 100


def test_where_something_moved_off_is_free_at_once_only_if_it_is_seen_close_by():
    stood = [shows(OCCUPIED_MOVING)] * 5
    assert after(*stood, shows(LEFT)) == 0
    assert after(*stood, shows(FREE)) == -1, 'it may have been missed in this one frame'
    assert after(*stood, shows(FREE), shows(FREE)) == 0


def test_frames_from_one_place_do_not_take_back_what_begins_beside_a_free_cell():
    assert after(*[shows(EDGE)] * 3) == 0
    assert after(shows(OCCUPIED), *[shows(EDGE)] * 30) == 100
    fusion = GridFusion(SPEC)
    for i in range(10):
        fusion.add(shows(EDGE if i else OCCUPIED), pose(0.4 * i), i / 10)
    assert fusion.cells(pose(3.6), 0.9)[20, 5] == 0


def trembling(kinds: tuple[int, ...], frames: int, seed: int = 0) -> list[GroundObservation]:
    """Frames in each of which each cell shows any of some kinds; which, differs by the cell."""
    rng = np.random.default_rng(seed)
    often = rng.uniform(0.1, 0.9, SPEC.shape)
    seen = []
    for _ in range(frames):
        first = rng.random(SPEC.shape) < often
        evidence = np.where(first, kinds[0], rng.choice(kinds[1:], SPEC.shape))
        seen.append(GroundObservation(SPEC, SPEC.unknown(), evidence.astype(np.uint8)))
    return seen


@pytest.mark.parametrize(
    ('kinds', 'settles_as'),
    [
        ((EDGE, OCCUPIED_MOVING), {100}),  # its near side
        ((REAR, OCCUPIED_MOVING), {100, -1}),  # its far side
        ((HIDDEN, OCCUPIED_MOVING), {100, -1}),
        ((EDGE, HIDDEN, OCCUPIED_MOVING), {100, -1, 0}),  # a corner
        ((EDGE, HIDDEN), {0, -1}),
        ((UNKNOWN, OCCUPIED), {100}),  # about the last that a pixel is fine enough for
        ((EDGE, OCCUPIED), {100}),
    ],
)
def test_what_trembles_before_a_robot_that_stands_settles(kinds, settles_as):
    fusion, last, changed = GridFusion(SPEC), None, []
    for i, observation in enumerate(trembling(kinds, 40)):
        fusion.add(observation, pose(), i / 10)
        cells = fusion.cells(pose(), i / 10)
        changed.append(0.0 if last is None else (cells != last).mean())
        last = cells
    assert np.mean(changed[10:]) < 0.04
    assert set(np.unique(last)) <= settles_as


@pytest.mark.parametrize('kind', [OCCUPIED, OCCUPIED_MOVING])
def test_an_obstacle_shows_in_its_first_frame_whatever_was_seen_before(kind):
    fusion = GridFusion(SPEC)
    seen = [trembling(tuple(range(EVIDENCE)), 4, seed) for seed in range(6)]
    for i, observation in enumerate([frame for frames in seen for frame in frames]):
        fusion.add(observation, pose(), i / 10)
        now = i / 10 + 0.05
        fusion.add(shows(kind, (slice(i % 2, None, 2),)), pose(), now)
        assert (fusion.cells(pose(), now)[i % 2 :: 2] == 100).all()


@pytest.mark.parametrize('other', [EDGE, HIDDEN, REAR, LEFT, UNKNOWN])
@pytest.mark.parametrize('kind', [OCCUPIED, OCCUPIED_MOVING])
@pytest.mark.parametrize('ground', [FREE, LEFT])
def test_what_trembled_and_moved_off_is_soon_free(kind, other, ground):
    fusion = GridFusion(SPEC)
    seen = [*trembling((kind, other), 30), *[shows(ground)] * 6]
    for i, observation in enumerate(seen):
        fusion.add(observation, pose(), i / 10)
    assert (fusion.cells(pose(), 3.5) == 0).all()


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'hold': 1.0},
        {'hold': 0.1, 'most': 10.0},
        {'miss': 0.4, 'free_at': 0.9},
        {'hit': 1.5, 'most': 1.5, 'free_at': 0.1},
    ],
)
def test_no_option_makes_a_cell_stick(options):
    fusion = GridFusion(SPEC, FusionOptions(**options))
    last = trembling(tuple(range(EVIDENCE)), 30)
    # Half of the cells are seen free from here on, the other half not at all.
    last += [shows(FREE, (slice(None), slice(20)))] * 70
    for i, observation in enumerate(last):
        fusion.add(observation, pose(), i / 10)
    assert (fusion.cells(pose(), 9.9)[:, :20] == 0).all()
    for i in range(100, 800):
        fusion.add(shows(UNKNOWN), pose(), i / 10)
    assert (fusion.cells(pose(), 79.9) == -1).all()


def test_what_came_back_to_where_it_was_has_not_moved():
    stood = [shows(OCCUPIED_MOVING), shows(LEFT), shows(OCCUPIED_MOVING)]
    assert after(*stood, shows(LEFT)) == 100
    assert after(*stood, *[shows(LEFT)] * 6) == 0
    # Another thing, much later, is another thing.
    assert after(*stood[:2], *[shows(FREE)] * 90, *stood[2:], shows(LEFT)) == 0


def test_an_outline_is_no_reason_to_doubt_once_the_robot_has_moved():
    fusion = GridFusion(SPEC)
    for i in range(20):
        fusion.add(shows(EDGE if i % 4 else OCCUPIED_MOVING), pose(), i / 10)
        assert fusion.cells(pose(), i / 10)[CELL] == 100
    for i in range(4):
        fusion.add(shows(EDGE), pose(0.4 + 0.4 * i), 2 + i / 10)
    assert fusion.cells(pose(1.6), 2.3)[20, 5] == 0


def test_ground_that_was_hidden_is_not_free_by_an_edge_that_trembles():
    hidden = [shows(HIDDEN)] * 5
    assert after(*hidden, shows(EDGE)) == -1
    assert after(*hidden, shows(EDGE), shows(FREE)) == 0
    assert after(*hidden, *[shows(EDGE)] * 100) == 0, 'what hid it has gone'


def test_what_trembled_is_no_sooner_free_than_the_options_say():
    slow = FusionOptions(miss=0.4, free_at=0.9)
    stood = [shows(OCCUPIED_MOVING), shows(EDGE)]
    assert [after(*stood, *[shows(FREE)] * n, options=slow) for n in range(5)] == [
        *[100, 100],
        *[-1, -1],
        0,
    ]


def test_behind_something_that_moves_an_old_free_does_not_last():
    old = [shows(FREE)] * 50
    assert after(*old, shows(0), shows(0), shows(0)) == 0
    assert after(*old, *[shows(HIDDEN)] * 3) == -1
    assert after(*[shows(HIDDEN)] * 50) == -1, 'hidden is unknown, not occupied'


@pytest.mark.parametrize(
    ('kind', 'lasts', 'gone'),
    [(FREE, 1.5, 12.0), (OCCUPIED, 5.0, 40.0), (OCCUPIED_MOVING, 0.4, 3)],
)
def test_all_decays_to_unknown_in_its_own_time(kind, lasts, gone):
    fusion = GridFusion(SPEC)
    for i in range(30):
        fusion.add(shows(kind), pose(), i / 30)
    known = {}
    for i in range(1, 420):
        now = 29 / 30 + i * 0.1
        fusion.add(shows(0), pose(), now)
        known[i * 0.1] = fusion.cells(pose(), now)[CELL] >= 0
    assert all(held for age, held in known.items() if age <= lasts)
    assert not any(held for age, held in known.items() if age >= gone)


def test_cells_stay_where_they_are_while_the_robot_moves_and_turns():
    fusion = GridFusion(SPEC)
    fusion.add(shows(FREE), pose(), 0.0)
    block = (slice(19, 22), slice(14, 17))  # around (3.1, 0.1)
    fusion.add(shows(OCCUPIED, block), pose(), 0.01)
    for i in range(60):  # on the spot and along, far beyond the window's margin
        where = pose(0.02 * i, 0.005 * i, 0.005 * i)
        fusion.add(shows(0), where, 0.01 + i / 60)
    last, now = where, 0.01 + 59 / 60
    cells = fusion.cells(last, now)
    local = np.linalg.inv(last) @ (3.1, 0.1, 0, 1)
    iy, ix = int((local[1] + 4) / 0.2), int(local[0] / 0.2)
    assert cells[iy, ix] == 100
    assert 6 <= (cells == 100).sum() <= 12, 'nothing smears'
    in_odom, spec = fusion.odom_cells(last, now)
    assert in_odom[int((0.1 - spec.y_min) / 0.2), int((3.1 - spec.x_min) / 0.2)] == 100
    assert spec.x_min / 0.2 == pytest.approx(round(spec.x_min / 0.2)), 'snapped'


def test_far_from_the_odometrys_origin_nothing_is_lost():
    fusion = GridFusion(SPEC)
    where = pose(5.2e5, -4.1e6, 2.0)
    fusion.add(shows(FREE), where, 1.7e9)
    assert (fusion.cells(where, 1.7e9)[2:-2, 2:-2] == 0).all()


@pytest.mark.parametrize(
    ('where', 'stamp', 'event'),
    [
        (pose(8.0), 1.05, FusionEvent.JUMP),
        (pose(yaw=2.0), 1.05, FusionEvent.JUMP),
        (pose(), 0.2, FusionEvent.TIME_BACK),
        (pose(), 9.0, FusionEvent.GAP),
    ],
)
def test_jumps_and_gaps_forget_everything(where, stamp, event):
    fusion = GridFusion(SPEC)
    fusion.add(shows(FREE), pose(), 1.0)
    assert (fusion.cells(where, stamp) == -1).all(), 'nor is it given out meanwhile'
    report = fusion.add(shows(0), where, stamp)
    assert report.event is event
    assert report.was_reset
    assert report.reason
    assert (fusion.cells(where, stamp) == -1).all()
    assert not fusion.add(shows(FREE), where, stamp + 0.05).was_reset


def test_old_cells_are_not_given_out_when_no_frame_comes():
    fusion = GridFusion(SPEC, FusionOptions(stale_after=0.5))
    fusion.add(shows(FREE), pose(), 1.0)
    assert (fusion.cells(pose(), 1.4) == 0).all()
    assert (fusion.cells(pose(), 1.6) == -1).all()
    assert (fusion.odom_cells(pose(), 1.6)[0] == -1).all()


def test_two_cameras_fill_one_grid_whatever_the_order_of_their_stamps():
    fusion = GridFusion(SPEC)
    left, right = (slice(20, None),), (slice(None, 20),)
    for i in range(5):
        fusion.add(shows(FREE, left), pose(0.1 * i), i * 0.1)
        report = fusion.add(shows(OCCUPIED, right), pose(0.1 * i - 0.03), i * 0.1 - 0.03)
        assert report.event is FusionEvent.GOOD
    cells = fusion.cells(pose(0.4), 0.4)
    assert (cells[22:, 2:36] == 0).all()
    assert (cells[:18, 2:36] == 100).all()


def test_costs_are_kept_where_asked_for():
    fusion = GridFusion(SPEC, graded=True)
    fusion.add(shows(FREE, (slice(0, 20),), 12), pose(), 0.0)
    fusion.add(shows(OCCUPIED, (slice(20, 40),), 60), pose(), 0.05)
    cells = fusion.cells(pose(), 0.05)
    assert (cells[:20] == 12).all()
    assert (cells[20:] == 60).all()
    for i in range(20):
        fusion.add(shows(OCCUPIED, (slice(20, 40),), 100), pose(), 0.1 + i / 30)
    assert (fusion.cells(pose(), 0.8)[20:] >= 99).all()


@pytest.mark.parametrize('kind', [OCCUPIED, OCCUPIED_MOVING])
def test_a_fresh_obstacle_costs_what_it_costs_in_its_first_frame(kind):
    fusion = GridFusion(SPEC, graded=True)
    for i in range(20):
        fusion.add(shows(FREE), pose(), i / 30)
    fusion.add(shows(kind), pose(), 0.7)
    assert (fusion.cells(pose(), 0.7) == 100).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_cell_is_free_only_if_it_was_seen_free_since_it_was_last_seen_occupied(seed):
    rng = np.random.default_rng(seed)
    fusion, free_since = GridFusion(SPEC), np.zeros(SPEC.shape, bool)
    for i in range(12):
        kinds = rng.integers(0, EVIDENCE, SPEC.shape).astype(np.uint8)
        fusion.add(GroundObservation(SPEC, SPEC.unknown(), kinds), pose(), i / 20)
        free_since |= np.isin(kinds, (FREE, EDGE, LEFT))
        free_since &= (kinds != OCCUPIED) & (kinds != OCCUPIED_MOVING)
        assert not ((fusion.cells(pose(), i / 20) == 0) & ~free_since).any()


@pytest.mark.parametrize(
    'change',
    [
        {'hit': 0},
        {'decay_free': -1},
        {'hold': 1.5},
        {'stale_after': math.nan},
        {'miss': 30},
        {'hit': 1.0},
        {'most': 0.5},
    ],
)
def test_options_that_make_no_sense_are_refused(change):
    with pytest.raises(GroundError, match=f'fusion .*{next(iter(change))}'):
        FusionOptions(**change)


def test_bad_input_is_refused():
    fusion = GridFusion(SPEC)
    with pytest.raises(GroundError, match='not of'):
        fusion.add(GroundObservation.unknown(GridSpec(0.2, 0, 4, -4, 4)), pose(), 0.0)
    with pytest.raises(GroundError, match='pose'):
        fusion.add(shows(FREE), np.diag([1.0, 1, 2, 1]), 0.0)
    with pytest.raises(GroundError, match='stamp'):
        fusion.add(shows(FREE), pose(), math.nan)
