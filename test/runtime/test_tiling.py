"""Tiles: a mask of the whole picture, whatever its size; seams by the window's arithmetic."""

import numpy as np
import pytest
from fake_segmenter import FakeSegmenter, noise, picture
from tiny_bundle import write_tiny_bundle

from seg_perception.core.errors import ImageError, ParameterError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.tiling import TiledSegmenter, positions, ramps


def numbered():
    """A segmenter that calls everything in its n-th tile class n, at confidence 200."""
    count = iter(range(255))

    def look(image):
        shape = image.shape[:2]
        return np.full(shape, next(count), np.uint8), np.full(shape, 200, np.uint8)

    return FakeSegmenter(look)


SIZES = [(64, 96), (65, 97), (200, 301), (64, 500), (500, 96), (63, 95), (7, 300), (300, 5)]


@pytest.mark.parametrize('overlap', [0, 1, 16, 40, 63])
@pytest.mark.parametrize('size', [*SIZES, (1, 1), (1, 200), (2, 2)])
def test_tiles_that_agree_give_the_mask_of_the_whole_picture(size, overlap):
    """Every pixel's own class and confidence, 0 and 255 among them; all tiles of one size."""
    inner = FakeSegmenter()
    image = noise(*size)
    result = TiledSegmenter(inner, (64, 96), overlap).segment(image)
    assert result.image_size == (size[1], size[0])
    assert np.array_equal(result.labels, image[..., 0])
    assert np.array_equal(result.confidence, image[..., 1])
    assert {tile.shape for tile in inner.seen} == {(64, 96, 3)}


def test_a_picture_as_large_as_a_tile_is_the_inner_segmenters_business():
    inner = FakeSegmenter(stride=4)
    image = noise(64, 96)
    found, wanted = TiledSegmenter(inner, (64, 96), 16).segment(image), inner.segment(image)
    assert found.size == (24, 16)
    assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(found.confidence, wanted.confidence)
    assert found.image_size == wanted.image_size


def test_a_seam_by_hand():
    """Two tiles of 8 that share 4 columns: sin^2 and cos^2 at an eighth's odd multiples."""
    result = TiledSegmenter(numbered(), (8, 8), 4).segment(picture(np.zeros((8, 12))))
    assert result.labels.tolist() == [[0] * 6 + [1] * 6] * 8
    # The share of the nearer tile: cos^2(pi / 16) = 0.9619, cos^2(3 pi / 16) = 0.6913.
    far, near = round(200 * 0.9619), round(200 * 0.6913)
    row = [200] * 4 + [far, near, near, far] + [200] * 4
    assert result.confidence.tolist() == [row] * 8


def test_a_corner_of_four_tiles_belongs_to_the_nearest():
    labels = TiledSegmenter(numbered(), (8, 8), 4).segment(picture(np.zeros((12, 12)))).labels
    wanted = np.repeat(np.repeat([[0, 1], [2, 3]], 6, axis=0), 6, axis=1)
    assert np.array_equal(labels, wanted)


def test_rows_of_tiles_reach_down_only_as_far_as_they_were_shown():
    """Five rows of tiles, votes scrolled between them: each row of the mask counts two at most."""
    labels = TiledSegmenter(numbered(), (8, 4), 2).segment(picture(np.zeros((32, 4)))).labels
    assert labels[:, 0].tolist() == [0] * 7 + [1] * 6 + [2] * 6 + [3] * 6 + [4] * 7


def test_an_unlabelled_seam_is_filled_by_the_tile_that_knows():
    def right_half_unknown(image):
        labels, confidence = image[..., 0].copy(), image[..., 1].copy()
        labels[:, 4:], confidence[:, 4:] = 255, 0
        return labels, confidence

    tiled = TiledSegmenter(FakeSegmenter(right_half_unknown), (8, 8), 4)
    result = tiled.segment(picture(np.full((8, 12), 3)))
    assert result.labels[0].tolist() == [3] * 8 + [255] * 4
    assert result.confidence[0, :4].tolist() == [200] * 4
    assert result.confidence[0, 4:8].tolist() == [8, 62, 138, 192], 'only its own weight counts'
    assert not result.confidence[0, 8:].any()


def test_coarse_masks_of_tiles_meet_at_the_right_places():
    """Blocks of 4 pixels, masks at a quarter of the size: the tiles' masks fit together."""
    blocks = np.random.default_rng(0).integers(0, 5, (12, 28))
    image = picture(np.kron(blocks, np.ones((4, 4))))
    result = TiledSegmenter(FakeSegmenter(stride=4), (32, 48), 16).segment(image)
    assert np.array_equal(result.labels, image[..., 0])
    assert (result.confidence == 200).all()


def test_a_small_picture_is_continued_by_reflection():
    inner = FakeSegmenter()
    TiledSegmenter(inner, (4, 5), 0).segment(picture([[1, 2, 3], [4, 5, 6]]))
    assert inner.seen[0][..., 0].tolist() == [
        [1, 2, 3, 2, 1],
        [4, 5, 6, 5, 4],
        [1, 2, 3, 2, 1],
        [4, 5, 6, 5, 4],
    ]


def test_colour_order_views_and_the_picture_itself():
    padded = np.zeros((100, 230, 3), np.uint8)
    padded[:, :200] = noise(100, 200)[..., ::-1]
    before = padded.copy()
    result = TiledSegmenter(FakeSegmenter(), (64, 64), 8).segment(padded[:, :200], 'bgr')
    assert np.array_equal(result.labels, before[:, :200, 2])
    assert np.array_equal(padded, before), 'the picture is not written to'


def test_memory_is_for_a_row_of_tiles(monkeypatch):
    from seg_perception.runtime import tiling

    made = []

    class Counted(tiling.Votes):
        def __init__(self, height, width):
            super().__init__(height, width)
            made.append((height, width))

        def shift(self, rows):
            super().shift(rows)
            assert len(self.classes) <= 1, 'classes out of sight cost nothing'

    monkeypatch.setattr(tiling, 'Votes', Counted)
    labels = np.repeat(np.arange(20), 40)[:, np.newaxis].repeat(50, axis=1)
    result = TiledSegmenter(FakeSegmenter(), (40, 40), 0).segment(picture(labels))
    assert made == [(40, 50)]
    assert np.array_equal(result.labels, labels)


@pytest.mark.parametrize('overlap', [4, 6, 9, -1])
def test_an_overlap_that_does_not_fit(overlap):
    with pytest.raises(ParameterError, match=rf'overlap of {overlap} .*4x9.*0\.\.3'):
        TiledSegmenter(FakeSegmenter(), (4, 9), overlap)


def test_bad_sizes_and_pictures():
    with pytest.raises(ParameterError, match='height, width'):
        TiledSegmenter(FakeSegmenter(), (0, 9), 0)
    tiled = TiledSegmenter(FakeSegmenter(), (4, 4), 0)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))):
        with pytest.raises(ImageError, match='uint8'):
            tiled.segment(wrong)
    with pytest.raises(ImageError, match='color'):
        tiled.segment(np.zeros((4, 4, 3), np.uint8), 'hsv')


def test_positions_cover_the_axis_and_share_what_was_asked():
    for length in range(10, 80):
        for overlap in range(10):
            found = positions(length, 10, overlap)
            assert (found[0], found[-1]) == (0, length - 10)
            steps = np.diff(found)
            assert (steps > 0).all()
            assert (steps <= 10 - overlap).all()
    assert positions(10, 10, 3) == [0]
    assert positions(11, 10, 9) == [0, 1]


def test_windows_add_up_to_one():
    window = ramps(20, 8).astype(float)
    assert window[-8:] + window[:8] == pytest.approx(np.ones(8))
    assert (window[8:12] == 1).all()
    assert (ramps(9, 8) > 0).all()
    assert (ramps(5, 0) == 1).all()


def test_the_rest_of_a_segmenters_interface():
    inner = FakeSegmenter(stride=2)
    tiled = TiledSegmenter(inner, (64, 96), 8)
    assert (tiled.provider, tiled.labels, tiled.bundle) == ('fake', 'label set', inner.bundle)
    assert tiled.network_size(1000, 700) == (48, 32)
    tiled.warm_up(1000, 700)
    assert inner.warmed == [(96, 64)]
    assert tiled.at_scale(0.5).network_size(1000, 700) == (24, 16)
    tiled.segment(noise(64, 192))
    tiles = len(inner.seen)
    assert tiles == 3
    assert (tiled.last_timing['convert'], tiled.last_timing['network']) == (tiles, 2 * tiles)
    assert tiled.last_timing['post'] >= 0.5 * tiles


def test_around_a_real_network(tmp_path):
    """The brightest channel, whatever tile a pixel is seen in; a fixed size of input."""
    bundle = Bundle.load(write_tiny_bundle(tmp_path / 'tiny', size=(40, 60)))
    network = SemanticSegmenter(bundle, 'cpu')
    image = np.random.default_rng(0).integers(0, 256, (131, 190, 3), np.uint8)
    result = TiledSegmenter(network, (40, 60), 12).segment(image)
    assert np.array_equal(result.labels, image.argmax(2))
    assert np.array_equal(result.confidence, image.max(2))
