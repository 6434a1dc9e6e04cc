"""A blind camera's sector turns unknown, what another camera looks at stays."""

import math

import numpy as np
import pytest

from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec
from seg_perception.core.sectors import Sectors, merged

SPEC = GridSpec(0.5, -5.0, 5.0, -5.0, 5.0)
X, Y = np.meshgrid(np.arange(SPEC.width) * 0.5 - 4.75, np.arange(SPEC.height) * 0.5 - 4.75)


@pytest.fixture
def sectors():
    sectors = Sectors()
    sectors.note('front', SPEC, X > 1)
    sectors.note('left', SPEC, (Y > 1) & (X < 3))
    return sectors


def test_only_what_no_other_camera_sees_is_lost(sectors):
    cells = np.zeros(SPEC.shape, np.int8)
    sectors.blank(cells, SPEC, {'front'})
    np.testing.assert_array_equal(cells == -1, (X > 1) & ~((Y > 1) & (X < 3)))
    sectors.blank(cells, SPEC, {'front', 'left'})
    np.testing.assert_array_equal(cells == -1, (X > 1) | ((Y > 1) & (X < 3)))


def test_nobody_blind_changes_nothing(sectors):
    cells = np.zeros(SPEC.shape, np.int8)
    sectors.blank(cells, SPEC, set())
    sectors.blank(cells, SPEC, {'never heard of'})
    assert (cells == 0).all()


def test_frames_add_up_and_are_forgotten(sectors):
    sectors.note('front', SPEC, X < -4)
    cells = np.zeros(SPEC.shape, np.int8)
    sectors.blank(cells, SPEC, {'front'})
    assert (cells[(X < -4) & (Y < 1)] == -1).all()
    sectors.forget('front')
    cells[:] = 0
    sectors.blank(cells, SPEC, {'front'})
    assert (cells == 0).all()


@pytest.mark.parametrize('yaw', [0.0, math.pi / 2, 0.7, -2.5])
def test_in_the_odometry_s_frame(sectors, yaw):
    pose = np.eye(4)
    c, s = math.cos(yaw), math.sin(yaw)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:2, 3] = 103.2, -41.7
    window = GridSpec(0.5, 95.0, 111.0, -50.0, -34.0)
    cells = np.zeros(window.shape, np.int8)
    sectors.blank(cells, window, {'front'}, pose)
    xs, ys = np.meshgrid(
        window.x_min + 0.25 + 0.5 * np.arange(window.width),
        window.y_min + 0.25 + 0.5 * np.arange(window.height),
    )
    dx, dy = xs - 103.2, ys + 41.7
    ahead, left = c * dx + s * dy, -s * dx + c * dy
    inside = (np.abs(ahead) < 5) & (np.abs(left) < 5)
    lost = inside & (ahead > 1) & ~((left > 1) & (ahead < 3))
    assert (cells[lost] == -1).all(), 'an old free is left'
    far = (ahead < 0) | (np.abs(left) > 6) | (ahead > 6)
    assert (cells[far] == 0).all()


def test_another_grid_starts_anew(sectors):
    other = GridSpec(1.0, -5.0, 5.0, -5.0, 5.0)
    with pytest.raises(GroundError, match='sectors'):
        sectors.blank(np.zeros(other.shape, np.int8), other, {'front'})
    sectors.note('left', other, np.ones(other.shape, bool))
    cells = np.zeros(other.shape, np.int8)
    sectors.blank(cells, other, {'front'})
    assert (cells == 0).all()


def test_merged_takes_the_dearest():
    a = np.array([[-1, 0, 100, 0, -1]], np.int8)
    b = np.array([[-1, 100, 0, -1, 40]], np.int8)
    np.testing.assert_array_equal(merged([a, b]), [[-1, 100, 100, 0, 40]])
    np.testing.assert_array_equal(merged([a]), a)
