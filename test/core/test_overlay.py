"""Colours end up where they should, and the world is not mirrored."""

import numpy as np
import pytest

from seg_perception.core.instances import Region
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import (
    blend,
    colorize,
    colorize_panoptic,
    draw_grid,
    draw_objects,
    id_colors,
)

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


def test_panoptic_colours_are_the_class_in_a_shade_for_each_object():
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[254] = (200, 100, 50), (10, 200, 90)
    ids = np.array([[-1, 1000, 1001], [1002, 254_999, 254_000]], np.int32)
    shown = colorize_panoptic(ids, palette)
    assert shown[0, 0].tolist() == [0, 0, 0], 'void'
    assert shown[0, 1].tolist() == [200, 100, 50]
    assert shown[1, 2].tolist() == [10, 200, 90]
    first, second = shown[0, 2].astype(int), shown[1, 0].astype(int)
    assert (first != second).any()
    for shade in (first, second):
        assert 0.5 <= shade[0] / 200 <= 1.0
        assert shade[0] / 200 == pytest.approx(shade[1] / 100, abs=0.02)


def test_objects_are_tinted_where_they_are_and_boxed():
    picture = np.full((40, 60, 3), 100, np.uint8)
    region = Region(10, 10, np.ones((10, 10), bool))
    boxes = np.array([[8.0, 8.0, 30.0, 30.0]])
    shown = draw_objects(picture, [region], boxes, np.array([3]), ['car 3'], 0.5)
    color = id_colors(np.array([3]))[0].astype(int)
    assert abs(shown[15, 15].astype(int) - (100 + color) // 2).max() <= 1
    assert (shown[25, 25] == 100).all()
    assert (shown[30, 20] == color).all(), 'the box'
    assert (picture == 100).all(), 'the picture itself stays'
    nothing = np.zeros((0, 4))
    assert (draw_objects(picture, [], nothing, np.zeros(0, int), [], 0.5) == picture).all()


def test_neighbouring_ids_differ_in_colour():
    colors = id_colors(np.arange(1, 50)).astype(int)
    assert np.abs(np.diff(colors, axis=0)).max(axis=1).min() > 60
