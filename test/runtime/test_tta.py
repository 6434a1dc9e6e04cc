"""Test-time augmentation: views come back to where they were, and vote by the rule."""

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter, noise, picture, read_colors
from tiny_bundle import write_tiny_bundle

from seg_perception.core.errors import BundleError, ImageError, ParameterError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.tiling import TiledSegmenter
from seg_perception.runtime.tta import TtaSegmenter


@pytest.mark.parametrize('size', [(48, 64), (37, 53), (1, 1), (1, 9), (9, 1)])
def test_flips_are_flipped_back(size):
    """A pixel's class is its colour in either view: both agree, 255 and 0 among them."""
    inner = FakeSegmenter()
    image = noise(*size)
    result = TtaSegmenter(inner, flip=True).segment(image)
    assert np.array_equal(inner.seen[1], image[:, ::-1]), 'the second view is the mirror image'
    assert np.array_equal(result.labels, image[..., 0])
    assert np.array_equal(result.confidence, image[..., 1])
    assert result.image_size == (size[1], size[0])


def test_a_flip_by_hand():
    """A segmenter that sees class 1 in its left half only, and says 2 in the right half."""

    def by_place(image):
        _, confidence = read_colors(image)
        labels = np.full(image.shape[:2], 2, np.uint8)
        labels[:, :2] = 1
        confidence[:, :2] //= 2
        return labels, confidence

    result = TtaSegmenter(FakeSegmenter(by_place), flip=True).segment(
        picture(np.zeros((1, 4)), 200)
    )
    # Each pixel gets 100 for class 1 from one view and 200 for class 2 from the other.
    assert result.labels.tolist() == [[2, 2, 2, 2]]
    assert result.confidence.tolist() == [[100, 100, 100, 100]]


def test_without_augmentation_the_inner_result_is_given_back():
    inner = FakeSegmenter(stride=3)
    image = noise(40, 64)
    for tta in (TtaSegmenter(inner), TtaSegmenter(inner, scales=[1, 1.0])):
        assert tta.views == 1
        found, wanted = tta.segment(image), inner.segment(image)
        assert np.array_equal(found.labels, wanted.labels)
        assert np.array_equal(found.confidence, wanted.confidence)
        assert (found.size, found.image_size) == (wanted.size, wanted.image_size)
    assert not inner.scaled


@pytest.mark.parametrize('stride', [1, 2])
def test_scales_keep_the_size_of_the_mask(stride):
    """Blocks of 8 pixels: what the scaled masks say is the same, on the same grid."""
    blocks = np.random.default_rng(1).integers(0, 4, (5, 7))
    image = picture(np.kron(blocks, np.ones((8, 8))), 120)
    inner = FakeSegmenter(stride=stride)
    tta = TtaSegmenter(inner, scales=[0.5, 1.5], flip=True)
    result = tta.segment(image)
    assert (tta.views, tta.scales) == (6, (1.0, 0.5, 1.5))
    assert [s.scale for s in inner.scaled] == [0.5, 1.5]
    assert all(len(s.seen) == 2 for s in (inner, *inner.scaled))
    assert all(seen.shape == image.shape for s in inner.scaled for seen in s.seen)
    assert result.image_size == (56, 40)
    assert result.size == (56 // stride, 40 // stride)
    assert np.array_equal(result.labels, np.kron(blocks, np.ones((8 // stride, 8 // stride))))
    assert (result.confidence == 120).all()


def test_scales_that_disagree():
    inner = FakeSegmenter()
    tta = TtaSegmenter(inner, scales=[2])
    inner.scaled[0].look = lambda image: (
        np.full(image.shape[:2], 9, np.uint8),
        image[..., 2] + 60,
    )
    result = tta.segment(picture([[1, 255]], [[100, 0]]))
    assert result.labels.tolist() == [[1, 9]]
    assert result.confidence.tolist() == [[50, 30]]


@pytest.mark.parametrize('scale', [0, -1, 0.01, 100, float('nan'), float('inf')])
def test_bad_scales(scale):
    with pytest.raises(ParameterError, match='scale'):
        TtaSegmenter(FakeSegmenter(), scales=[scale])


def test_bad_pictures():
    with pytest.raises(ImageError, match='uint8'):
        TtaSegmenter(FakeSegmenter(), flip=True).segment(np.zeros((4, 4), np.uint8))


def test_the_rest_of_a_segmenters_interface():
    inner = FakeSegmenter(stride=2)
    tta = TtaSegmenter(inner, scales=[0.5], flip=True)
    assert (tta.provider, tta.labels, tta.bundle) == ('fake', 'label set', inner.bundle)
    assert tta.network_size(64, 48) == (32, 24)
    tta.warm_up(64, 48)
    assert inner.warmed == inner.scaled[0].warmed == [(64, 48)]
    tta.segment(noise(48, 64))
    assert (tta.last_timing['convert'], tta.last_timing['network']) == (4, 8)
    assert tta.last_timing['post'] >= 2
    assert tta.at_scale(2).network_size(64, 48) == (64, 48)


@pytest.mark.parametrize('outer', ['tiles', 'views'])
def test_with_tiles_either_way_round(outer):
    image = noise(70, 110)
    if outer == 'tiles':
        both = TiledSegmenter(TtaSegmenter(FakeSegmenter(), scales=[2], flip=True), (32, 48), 8)
    else:
        both = TtaSegmenter(TiledSegmenter(FakeSegmenter(), (32, 48), 8), scales=[2], flip=True)
    result = both.segment(image)
    assert np.array_equal(result.labels, image[..., 0])
    assert np.array_equal(result.confidence, image[..., 1])


def test_scales_reach_a_real_network(tmp_path):
    """Scales share one loaded network and change what it is run at; a fixed one says no."""
    fixed = SemanticSegmenter(Bundle.load(write_tiny_bundle(tmp_path / 'fixed')), 'cpu')
    with pytest.raises(BundleError, match=r'90x160.*dynamic'):
        TtaSegmenter(fixed, scales=[0.5])
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, :80, 0], image[:, 80:, 1] = 200, 100
    result = TtaSegmenter(fixed, flip=True).segment(image)
    assert (result.labels[:, :80] == 0).all()
    assert (result.labels[:, 80:] == 1).all()
