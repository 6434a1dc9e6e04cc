"""Streets by seed: reproducible, different, without impossible starts."""

import numpy as np
import pytest

pytest.importorskip('panda3d')

from seg_perception.core.errors import SourceError
from seg_perception.simulation import panda
from seg_perception.simulation.drive import frames
from seg_perception.simulation.layout import STYLES, random_scene
from seg_perception.simulation.textures import silhouette, texture


def shot(seed, **options):
    size = {'width': 160, 'height': 120, 'supersample': 1} | options
    return next(frames(seed, 1, **size))


def test_the_same_seed_gives_the_same_bytes_and_another_another():
    first, again, other = shot(7), shot(7), shot(42)
    for name in ('image', 'mask', 'instances', 'depth'):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).any(axis=2).mean() > 0.5
    assert (first.mask != other.mask).mean() > 0.05


def test_truth_is_left_out_where_it_is_not_asked_for():
    with_truth, without = shot(7), shot(7, truth=False)
    assert without.mask is None
    assert without.depth is None
    np.testing.assert_array_equal(with_truth.image, without.image)


@pytest.mark.parametrize('seed', range(40))
def test_a_scene_starts_with_room_for_the_camera(seed):
    scene = random_scene(seed)
    assert scene == random_scene(seed)
    assert scene.style in STYLES
    assert [m.instance for m in scene.movers] == list(range(1, len(scene.movers) + 1))
    for mover in scene.movers:
        length, width = mover.footprint
        apart = abs(mover.s) - length / 2 > 0.4
        beside = abs(mover.t - scene.ego_t) - width / 2 > 0.3
        assert apart or beside, mover


def test_a_drive_s_own_lane_stays_clear():
    scene = random_scene(7, length=260)
    for time in np.arange(0, 8, 0.25):
        at = scene.ego_speed * time
        for mover in scene.movers:
            s, t, _ = mover.at(time)
            length, width = mover.footprint
            inside = abs(s - at) < length / 2 + 0.3 and abs(t - scene.ego_t) < width / 2 + 0.3
            assert not inside, (time, mover)


def test_pictures_are_of_a_street():
    frame = shot(42, width=320, height=240)
    share = np.bincount(frame.mask.ravel(), minlength=256) / frame.mask.size
    assert share[3] > 0.1
    assert share[255] < 0.05
    assert 40 < frame.image.mean() < 210
    assert frame.image.std() > 20


@pytest.mark.parametrize('name', ['asphalt', 'wall:0', 'paving:1', 'grass'])
def test_ground_and_wall_textures_tile(name):
    image = texture(name).astype(float)
    for axis in (0, 1):
        rolled = np.roll(image, 1, axis)
        step = np.abs(image - rolled).mean(axis=(1 - axis, 2))
        # Joints between stones are steps too: the seam is none of its own.
        assert step[0] <= 1.15 * step[1:].max() + 2


def test_labels_fill_the_gaps_between_twigs_and_bars():
    assert (silhouette('railing') == 255).all()
    twigs = texture('branches:1')[..., 3] > 127
    assert (silhouette('branches:1') > 0).mean() > 1.3 * twigs.mean()


@pytest.mark.parametrize('wrong', [{'n': 0}, {'rate': 0.0}, {'width': 8}])
def test_senseless_drives_are_refused(wrong):
    options = {'n': 1, 'rate': 30.0, 'width': 64, 'height': 64} | wrong
    with pytest.raises(SourceError, match='cannot simulate'):
        next(frames(1, options.pop('n'), options.pop('rate'), **options))


def test_a_wrong_style_is_named():
    with pytest.raises(SourceError, match='high_street'):
        random_scene(1, style='moon')


def test_without_panda3d_the_error_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'panda3d', None)
    panda.core.cache_clear()
    try:
        with pytest.raises(SourceError, match='pip install panda3d'):
            panda.core()
    finally:
        panda.core.cache_clear()
