"""Colours end up where they should, and the world is not mirrored."""

import numpy as np
import pytest

from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import blend, colorize, draw_grid

PALETTE = LabelSet.named('cityscapes').palette()


def test_colorize_is_the_palette():
    labels = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    colours = colorize(labels, PALETTE)
    assert colours.dtype == np.uint8
    assert (colours == PALETTE[labels]).all()


def test_blend_mixes_and_leaves_unlabelled_pixels():
    image = np.full((4, 6, 3), 200, np.uint8)
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 255
    mixed = blend(image, labels, PALETTE, 0.25)
    assert mixed[0, 0] == pytest.approx(0.75 * 200 + 0.25 * PALETTE[0].astype(float), abs=1)
    assert (mixed[:, 3:] == 200).all()
    assert (image == 200).all(), 'the picture itself must stay'
    assert (blend(image, labels, PALETTE, 0.0) == image).all()


def test_blend_enlarges_the_mask_without_mixing_ids():
    image = np.zeros((8, 8, 3), np.uint8)
    labels = np.array([[0, 13], [8, 10]], np.uint8)
    mixed = blend(image, labels, PALETTE, 1.0)
    assert (mixed == PALETTE[labels.repeat(4, 0).repeat(4, 1)]).all()


def test_draw_grid_has_forward_up_and_left_left():
    cells = np.full((3, 5), -1, np.int8)  # y: 3 cells, x: 5 cells
    cells[2, 4] = 100  # far, left
    cells[0, 0] = 0  # near, right
    picture = draw_grid(cells, scale=2)
    assert picture.shape == (10, 6, 3)
    red, pale, grey = picture[0, 0], picture[-1, -1], picture[0, -1]
    assert red[0] > 100 > red[1]
    assert pale.min() > 200
    assert (grey == picture[5, 2]).all()
    assert (picture[:2, :2] == red).all()
    half = draw_grid(np.array([[50]], np.int8), 1)[0, 0]
    assert red[1] < half[1] < pale[1]
