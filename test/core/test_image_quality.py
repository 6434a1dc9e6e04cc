"""Pictures that can't be believed are told from those that can, and do not flicker."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import ImageError
from seg_perception.core.image_quality import (
    Fault,
    FreezeWatch,
    QualityLimits,
    QualityMonitor,
    judge,
    measure,
)

LIMITS = QualityLimits()


def street(seed: int = 0) -> np.ndarray:
    """A picture with what streets have: a bright sky, a grey road, edges at every scale."""
    rng = np.random.default_rng(seed)
    picture = np.full((360, 640, 3), 95, np.uint8)
    picture[:150] = (200, 210, 225)
    for _ in range(60):
        x, y = rng.integers(0, 600), rng.integers(60, 330)
        cv2.rectangle(picture, (x, y), (x + 40, y + 25), rng.integers(20, 230, 3).tolist(), -1)
    return noisy(picture)


def noisy(picture: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0.0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def faults(picture: np.ndarray, confidence: int = 220) -> set[Fault]:
    mask = np.full((90, 160), confidence, np.uint8)
    return set(judge(measure(picture, 'bgr', mask), LIMITS))


def test_a_street_is_believed():
    for seed in range(5):
        assert faults(street(seed)) == set()


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (lambda p: noisy(p * 0.05), Fault.DARK),
        (lambda p: noisy(p * 0.0), Fault.DARK),
        (lambda p: np.clip(p * 3.0, 0, 255).astype(np.uint8), Fault.GLARE),
        (lambda p: np.full_like(p, 255), Fault.GLARE),
        (lambda p: noisy(np.full_like(p, 60)), Fault.COVERED),
        (lambda p: noisy(190 + p * 0.08), Fault.COVERED),
        (lambda p: noisy(cv2.GaussianBlur(p, (0, 0), 25), 2.0), Fault.BLURRED),
    ],
    ids=['night', 'black', 'overexposed', 'white', 'mud', 'fog', 'wet'],
)
def test_what_blinds_a_camera_has_a_name(spoil, expected):
    assert faults(spoil(street())) == {expected}


def test_an_unsure_network_is_a_fault_of_its_own():
    assert faults(street(), confidence=100) == {Fault.UNSURE}
    assert faults(noisy(street() * 0.02), confidence=40) == {Fault.DARK, Fault.UNSURE}


def test_channels_sizes_and_views():
    picture = street()
    rgb = measure(picture[..., ::-1], 'rgb')
    assert replace(rgb, fingerprint=0) == replace(measure(picture, 'bgr'), fingerprint=0)
    assert rgb.confidence == 1.0
    assert rgb.mean == pytest.approx(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).mean(), abs=2.0)
    large = cv2.resize(picture, (1920, 1080), interpolation=cv2.INTER_NEAREST)
    assert measure(large, 'bgr').detail == pytest.approx(measure(picture, 'bgr').detail, rel=0.2)
    assert measure(np.full((1, 1, 3), 128, np.uint8)).contrast == 0
    padded = np.zeros((360, 700, 3), np.uint8)
    padded[:, :640] = picture
    assert measure(padded[:, :640], 'bgr') == measure(picture, 'bgr')
    for wrong in (picture[..., 0], picture.astype(np.float32), picture[:0]):
        with pytest.raises(ImageError, match='uint8'):
            measure(wrong)


def test_the_same_picture_of_another_place_is_none():
    watch = FreezeWatch()
    same = measure(street(), 'bgr').fingerprint
    assert measure(street(), 'bgr').fingerprint == same
    assert watch.moved(same, np.array([5.0, 0.0, 0.0])) == 0.0
    assert watch.moved(same, np.array([5.0, 0.0, 0.0])) == 0.0, 'a robot that stands'
    assert watch.moved(same, np.array([5.0, 0.7, 0.0])) == pytest.approx(0.7)
    other = measure(street(1), 'bgr').fingerprint
    assert other != same
    assert watch.moved(other, np.array([9.0, 0.0, 0.0])) == 0.0
    watch.reset()
    assert watch.moved(other, np.array([99.0, 0.0, 0.0])) == 0.0


def test_a_fault_counts_at_once_and_ends_after_the_recovery():
    monitor = QualityMonitor(QualityLimits(recovery=0.5))
    good, dark = measure(street(), 'bgr'), measure(noisy(street() * 0.05), 'bgr')
    assert not monitor.update(good, 0.0)
    assert set(monitor.update(dark, 0.1)) == {Fault.DARK}
    assert 'luminance' in monitor.faults[Fault.DARK]
    assert monitor.update(good, 0.2), 'one good frame is not enough'
    assert monitor.update(good, 0.6)
    assert monitor.update(dark, 0.65)
    assert monitor.update(good, 0.7)
    assert not monitor.update(good, 1.2)
    assert not monitor.faults


def test_a_picture_at_the_limit_does_not_flicker():
    monitor = QualityMonitor(QualityLimits(min_confidence=0.5, recovery=0.0))
    good = street()

    def unsure(confidence: float, now: float) -> bool:
        mask = np.full((9, 16), round(confidence * 255), np.uint8)
        return bool(monitor.update(measure(good, 'bgr', mask), now))

    seen = [unsure(0.5 + 0.03 * (-1) ** i, float(i)) for i in range(20)]
    assert seen == [False] + [True] * 19
    assert not unsure(0.65, 20.0)


def test_a_clock_that_goes_back_does_not_hold_a_fault():
    monitor = QualityMonitor(QualityLimits(recovery=0.5))
    good, dark = measure(street(), 'bgr'), measure(noisy(street() * 0.05), 'bgr')
    monitor.update(dark, 100.0)
    monitor.update(good, 101.0)
    assert monitor.update(good, 1.0)
    assert not monitor.update(good, 1.6)


@pytest.mark.parametrize('name', ['min_highlight', 'recovery', 'max_saturated'])
def test_limits_are_checked(name):
    for value in (-1.0, float('nan')):
        with pytest.raises(ImageError, match=name):
            QualityLimits(**{name: value})


@pytest.mark.parametrize('folder', ['camvid/val/images', 'idd_lite/train/images', 'udacity'])
def test_real_streets_are_believed(shared_data, folder):
    paths = sorted((shared_data / folder).rglob('*.jpg'))
    paths = [p for p in paths if 'chessboards' not in p.parts]
    pictures = [cv2.imread(str(path)) for path in paths[:: max(1, len(paths) // 15)]]
    assert len(pictures) > 10
    assert [p for p in pictures if faults(p)] == []
