"""Augmentation by table, and patches with enough foreground."""

import numpy as np
import pytest

pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import TrainingError
from seg_perception.training.augmentation import (
    DEFAULTS,
    augmentation_settings,
    training_augmentation,
)
from seg_perception.training.patches import PatchSampler

NOTHING = dict.fromkeys(DEFAULTS, 0)


def checked(size=64):
    """Return squares of 8 pixels in two greys, and which is which."""
    labels = (np.indices((size, size)) // 8).sum(0) % 2
    return np.repeat((labels * 200)[..., None], 3, 2).astype(np.uint8), labels.astype(np.uint8)


def test_without_chances_only_scale_and_crop_are_left():
    image, labels = checked()
    cut = training_augmentation(64, 64, (1.0, 1.0), NOTHING)(image=image, mask=labels)
    assert np.array_equal(cut['image'], image)
    assert np.array_equal(cut['mask'], labels)


def test_elastic_bends_picture_and_labels_alike():
    image, labels = checked()
    steps = training_augmentation(
        64, 64, (1.0, 1.0), {**NOTHING, 'elastic': {'p': 1, 'alpha': 60, 'sigma': 6}}
    )
    steps.set_random_seed(1)
    bent = steps(image=image, mask=labels)
    inside = bent['mask'] != 255
    assert set(np.unique(bent['mask'])) <= {0, 1, 255}
    assert (bent['mask'] != labels)[inside].mean() > 0.05, 'nothing was bent'
    grey = bent['image'][..., 0][inside] > 100
    assert (grey == bent['mask'][inside]).mean() > 0.97


def test_settings_are_changed_one_by_one():
    settings = augmentation_settings({'flip': 0, 'affine': {'degrees': 10}})
    assert settings['flip'] == {'p': 0}
    assert settings['affine'] == {**DEFAULTS['affine'], 'degrees': 10}
    assert settings['jpeg'] == DEFAULTS['jpeg']
    assert DEFAULTS['flip'] == {'p': 0.5}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rain': 1}, 'no step .rain.; known: flip'),
        ({'flip': {'q': 1}}, "flip has no 'q'; known: p"),
        ({'flip': 1.5}, 'chance of 1.5'),
        ({'blur': 'much'}, 'must be >= 0'),
        (['flip'], 'must map'),
    ],
)
def test_unknown_steps_and_values_are_named(changes, message):
    with pytest.raises(TrainingError, match=message):
        augmentation_settings(changes)


@pytest.fixture
def field():
    """A large empty picture with one small field of class 2, its position in the colours."""
    labels = np.zeros((400, 600), np.uint8)
    labels[300:340, 500:560] = 2
    rows, columns = np.indices(labels.shape)
    image = np.stack([rows // 2, columns // 4, labels], 2).astype(np.uint8)
    return image, labels


def test_every_patch_shows_enough_and_not_always_the_same(field):
    sampler = PatchSampler((100, 120), np.arange(256) == 2, 0.1)
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(30):
        image, labels = sampler(*field, rng)
        assert labels.shape == (100, 120)
        assert (labels == 2).mean() >= 0.1
        assert np.array_equal(image[..., 2], labels), 'picture and labels of one window'
        corners.add(tuple(image[0, 0]))
    assert len(corners) > 10


def test_without_a_share_patches_come_from_everywhere(field):
    sampler = PatchSampler((100, 120), np.zeros(256, bool), 0.0)
    rng = np.random.default_rng(0)
    corners = np.array([sampler(*field, rng)[0][0, 0, :2] for _ in range(200)])
    assert (corners.min(0) <= [10, 10]).all()
    assert (corners.max(0) >= [140, 110]).all(), 'rows up to 300 / 2, columns up to 480 / 4'


def test_where_no_patch_shows_enough_the_best_one_is_taken(field):
    sampler = PatchSampler((100, 120), np.arange(256) == 2, 0.9)
    _, labels = sampler(*field, np.random.default_rng(0))
    assert (labels == 2).sum() == 40 * 60, 'the whole field fits into one patch'


def test_a_picture_smaller_than_a_patch_is_taken_whole(field):
    image, labels = field[0][:50], field[1][:50]
    cut = PatchSampler((100, 120), np.arange(256) == 2, 0.5)(
        image, labels, np.random.default_rng(0)
    )
    assert cut[1].shape == (50, 120)
