"""The compiled loops against the same said in NumPy."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from seg_perception.core import fusion_kernels, ground_kernels, sight_kernels, window_kernels
from seg_perception.core.compiled import NONE, U8, compiled, filled
from seg_perception.core.ground_codes import (
    BEHIND,
    DOUBTED,
    FLAT,
    FOOTED,
    FOOTPRINT_CODE,
    HIDDEN_BEHIND,
    IS_OCCUPIED,
    NEAR_EDGE,
    NOTHING,
    OUTSIDE,
    REAR_BEHIND,
    STANDING,
    TOO_FEW,
    UNSEEN,
)
from seg_perception.core.ground_observation import FREE, HIDDEN, LEFT, OCCUPIED_MOVING, UNKNOWN


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def windows(values, along, across, what):
    """What a function makes of the values in each window, the last row and column repeated."""
    nr, nb = values.shape
    found = np.empty(values.shape, np.int64)
    for r in range(nr):
        rows = np.clip(np.arange(r - along[r], r + along[r] + 1), 0, nr - 1)
        for b in range(nb):
            columns = np.clip(np.arange(b - across[r], b + across[r] + 1), 0, nb - 1)
            found[r, b] = what(values[np.ix_(rows, columns)])
    return found


def test_windows_of_any_size(rng):
    values = rng.integers(0, 9, (23, 41)).astype(np.uint8)
    along, across = rng.integers(0, 4, 23), rng.integers(0, 14, 23)
    worst, sums = np.empty_like(values), np.empty(values.shape, np.int32)
    window_kernels.window_worst(values, along, across, worst)
    window_kernels.window_sums(values.astype(np.uint16), along, across, sums)
    inner = np.zeros(values.shape, bool)
    for r, reach in enumerate(across):
        inner[r, reach : 41 - reach] = True
    assert (worst == windows(values, along, across, np.max))[inner].all()
    assert (sums == windows(values, along, across, np.sum))[inner].all()


@pytest.mark.parametrize('across', [3, 5, 40])
def test_windows_wider_than_the_fan_hold_all_of_it(rng, across):
    values = rng.integers(0, 9, (2, 7)).astype(np.uint8)
    along = np.zeros(2, np.int64)
    worst, sums = np.empty_like(values), np.empty(values.shape, np.int32)
    window_kernels.window_worst(values, along, np.full(2, across), worst)
    window_kernels.window_sums(values.astype(np.uint16), along, np.full(2, across), sums)
    assert (worst == values.max(axis=1, keepdims=True)).all()
    assert (sums == values.sum(axis=1, keepdims=True)).all()


@pytest.mark.parametrize(('along', 'across'), [(0, 0), (0, 1), (2, 1), (3, 3)])
def test_nodes_read_the_pixels_around_their_own(rng, along, across):
    codes = rng.choice([0, 1, 3, 240, 255], (30, 50)).astype(np.uint8)
    at = rng.integers(5 * 50, 25 * 50, (12, 17)).astype(np.int32)
    at[3, 4:9] = -1
    nodes = np.empty(at.shape, np.uint8)
    zones = np.array([(0, 5, along, across, 5, 25), (5, 12, along, across, 5, 25)])
    ground_kernels.read_nodes(codes, zones, at, nodes)
    kernel = np.ones((2 * along + 1, 2 * across + 1), np.uint8)
    near = cv2.dilate(codes, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)
    expected = np.where(at < 0, OUTSIDE, near.ravel()[at])
    sides = (at % 50 < across) | (at % 50 >= 50 - across)
    assert (nodes == expected)[~sides].all()
    assert (nodes[sides] >= expected[sides]).all()


def test_marks_follow_one_another_along_a_bearing():
    nodes = np.array([[0, FOOTED, 0]] * 9, np.uint8)
    ends, cuts = (
        np.array([2, 9, 0], np.int16),
        np.array([[4, 9, 0], [5, 9, 0], [7, 9, 0]], np.int16),
    )
    sight_kernels.mark(nodes, ends, cuts, np.full(3, FOOTPRINT_CODE, np.uint8))
    assert nodes[:, 0].tolist() == [0, 0, 7, 7, REAR_BEHIND, HIDDEN_BEHIND, HIDDEN_BEHIND, 4, 4]
    assert (nodes[:, 1] == NOTHING).all()  # what hangs there hides some ground, and that is all
    assert (nodes[:, 2] == BEHIND).all()


def test_verdicts_are_the_worst_and_what_is_added_to_it(rng):
    nodes = rng.choice([0, NOTHING, FLAT, FOOTPRINT_CODE], (20, 40), p=[0.9, 0.06, 0.02, 0.02])
    nodes = nodes.astype(np.uint8)
    around, within = np.full(20, 2), np.full(20, 1)
    few, enough, edge = np.full(20, 2), np.full(20, 3), 2
    verdicts = np.empty_like(nodes)
    ground_kernels.judge(nodes, around, around, within, within, few, enough, edge, verdicts)
    weights = np.select([nodes == FLAT, nodes >= FOOTPRINT_CODE], [1, 8], 0)
    worst = windows(nodes, around, around, np.max)
    expected = worst + IS_OCCUPIED * (windows(weights, within, within, np.sum) >= 3)
    near = windows(worst, np.full(20, edge), within, np.max)
    expected += NEAR_EDGE * (near >= FLAT)
    missing = windows((nodes == NOTHING).astype(int), around, around, np.sum)
    expected += TOO_FEW * ((worst == NOTHING) & (missing > 2))
    assert len(np.unique(expected)) > 8, 'hardly anything to compare'
    assert (verdicts[:, 4:-4] == expected[:, 4:-4]).all()


def test_what_moves_casts_doubt_on_the_cells_around_it(rng):
    kinds = np.full((40, 60), FREE, np.uint8)
    kinds[rng.random((40, 60)) < 0.3] = UNKNOWN
    kinds[[0, 20, 33], [2, 30, 59]] = OCCUPIED_MOVING
    unseen = np.where((kinds == UNKNOWN) & (rng.random((40, 60)) < 0.5), HIDDEN, 0)
    node_of = np.where(unseen, UNSEEN, 0).astype(np.int32)
    near = cv2.dilate((kinds == OCCUPIED_MOVING).view(np.uint8), np.ones((11, 11), np.uint8)) > 0
    expected = np.where(near, kinds | unseen, kinds)
    expected[near & (kinds == FREE)] = LEFT
    moving = np.array([0, 34, 2, 60])
    ground_kernels.doubt_around_moving(node_of, 5, moving, kinds)
    assert {LEFT, HIDDEN, FREE} <= set(expected.ravel().tolist())
    assert (kinds == expected).all()


@pytest.mark.parametrize('yaw', [0.0, 0.5, 1.6, 3.1, -2.0])
def test_the_window_takes_and_gives_the_nearest_cells(rng, yaw):
    evidence = rng.integers(1, 8, (20, 30)).astype(np.uint8)
    window = np.zeros((64, 64), np.uint8)
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    to_grid = np.column_stack([turn, (14.7, 10.2) - turn @ (31.6, 32.3)])
    same = np.arange(256, dtype=np.uint8)
    fusion_kernels.take(evidence, np.ascontiguousarray(to_grid), same, window)
    column, row = np.meshgrid(np.arange(64), np.arange(64))
    u, v = np.floor(np.einsum('ij,jrc->irc', turn, [column, row]) + to_grid[:, 2:, None] + 0.5)
    inside = (u >= 0) & (u < 30) & (v >= 0) & (v < 20)
    expected = np.zeros_like(window)
    expected[inside] = evidence[v[inside].astype(int), u[inside].astype(int)]
    assert inside.sum() > 500
    assert (window == expected).all()

    table = same.copy()
    table[0] = 99
    cells = np.empty((20, 30), np.uint8)
    back = np.linalg.inv(np.vstack([to_grid, (0, 0, 1)]))[:2]
    fusion_kernels.read_out(window, np.ascontiguousarray(back), table, cells)
    # Rounding there and back may end one cell further, not more.
    assert (cells == evidence).mean() > 0.6
    assert (cells[1:-1, 1:-1] != 99).all()


def test_what_lies_outside_the_window_is_the_tables_first():
    window, table = np.ones((8, 8), np.uint8), np.arange(256, dtype=np.uint8) + np.uint8(7)
    for offset in ((-20.0, 0.0), (20.0, 0.0), (0.0, 20.0), (100.0, -100.0)):
        cells = np.zeros((8, 8), np.uint8)
        to_window = np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]])
        fusion_kernels.read_out(window, to_window, table, cells)
        assert (cells == 7).all()
    fusion_kernels.read_out(window, np.array([[1.0, 0, 4.0], [0, 1.0, 0]]), table, cells)
    assert (cells[:, :4] == 8).all()
    assert (cells[:, 4:] == 7).all()


@pytest.mark.parametrize('size', [(1, 3), (4, 5), (7, 64), (33, 31)])
def test_pixels_mean_what_their_class_does_or_less(rng, size):
    code_of = rng.choice([0, NOTHING, FLAT, FOOTED, STANDING], 256).astype(np.uint8)
    labels = np.repeat(rng.integers(0, 256, size), 5, axis=1).astype(np.uint8)[:, : size[1]]
    labels = np.ascontiguousarray(labels)
    confidence = rng.integers(0, 256, size).astype(np.uint8)
    for picture in (labels, confidence, code_of):
        picture.flags.writeable = False  # as those in messages are
    codes = np.empty(size, np.uint8)
    ground_kernels.write_codes(labels, confidence, code_of, 128, codes)
    less = np.where(code_of == STANDING, DOUBTED, NOTHING)
    assert (codes == np.where(confidence >= 128, code_of[labels], less[labels])).all()


def test_without_a_place_to_keep_it_a_loop_is_compiled_all_the_same():
    space: dict = {}
    exec(
        'def one(values):\n    values[0] = 1\n', space
    )  # of no file, which nothing can lie beside
    values = np.zeros(1, np.uint8)
    compiled(NONE, filled(U8, 1))(space['one'])(values)
    assert values[0] == 1


def test_a_first_start_says_why_it_takes_long(tmp_path):
    program = (
        'from seg_perception.core.compiled import NONE, U8, compiled, filled\n'
        'def nothing(values):\n    values[0] = 1\n'
        'compiled(NONE, filled(U8, 1))(nothing)\n'
    )
    source = tmp_path / 'program.py'
    source.write_text(program)
    told = [
        subprocess.run([sys.executable, source], capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert 'compiling what maps pixels onto the ground' in told[0]
    assert told[1] == ''
