"""Strategies of an evaluation: what was asked for, and what it gains and costs."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

from seg_perception.evaluation.semantic import Evaluation
from seg_perception.runtime.strategy import Segmenter
from seg_perception.runtime.tiling import TiledSegmenter
from seg_perception.runtime.tta import TtaSegmenter


@dataclass(frozen=True)
class Views:
    """Views of test-time augmentation beside the picture itself.

    Attributes:
        flip: mirror images too.
        scales: of further views.
    """

    flip: bool
    scales: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Views:
        """Read ``flip,0.75,1.25``: 'flip' and scales in any order.

        Raises:
            argparse.ArgumentTypeError: a part is neither.
        """
        parts = [part.strip() for part in text.split(',')]
        try:
            scales = tuple(float(part) for part in parts if part != 'flip')
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected 'flip' and scales, e.g. flip,0.75,1.25, got {text!r}"
            ) from None
        return cls('flip' in parts, scales)

    def __str__(self) -> str:
        return ','.join([*(['flip'] if self.flip else []), *(f'{s:g}' for s in self.scales)])


@dataclass(frozen=True)
class Tiles:
    """Tiles of one size.

    Attributes:
        size: (height, width) in pixels of the picture.
        overlap: pixels that neighbours share at least.
    """

    size: tuple[int, int]
    overlap: int

    @classmethod
    def parse(cls, text: str) -> Tiles:
        """Read ``SIZE,OVERLAP`` with the size as N (a square) or HxW: 256,32 or 256x448,32.

        Raises:
            argparse.ArgumentTypeError: it reads otherwise.
        """
        try:
            size, overlap = text.lower().split(',')
            sides = [int(part) for part in size.split('x')]
            height, width = sides * 2 if len(sides) == 1 else sides
            return cls((height, width), int(overlap))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f'expected SIZE,OVERLAP in pixels, e.g. 512,64 or 256x448,64, got {text!r}'
            ) from None

    def __str__(self) -> str:
        return f'{self.size[0]}x{self.size[1]},{self.overlap}'


@dataclass(frozen=True)
class Strategies:
    """What is put around the network; tiles outside, so that only one tile's votes are kept."""

    views: Views | None = None
    tiles: Tiles | None = None

    def __bool__(self) -> bool:
        return self.views is not None or self.tiles is not None

    def around(self, segmenter: Segmenter) -> Segmenter:
        """Return the segmenter with the strategies around it.

        Raises:
            ParameterError: an overlap or scale cannot be used.
            BundleError: scales are asked of a network of fixed size.
        """
        if self.views:
            segmenter = TtaSegmenter(segmenter, scales=self.views.scales, flip=self.views.flip)
        if self.tiles:
            segmenter = TiledSegmenter(segmenter, self.tiles.size, self.tiles.overlap)
        return segmenter

    def options(self) -> list[str]:
        """Return the command line options that ask for these strategies."""
        asked = (('--tta', self.views), ('--tile', self.tiles))
        return [f'{option} {value}' for option, value in asked if value is not None]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; None for what is not used."""
        views, tiles = self.views, self.tiles
        return {
            'tta': views and {'flip': views.flip, 'scales': list(views.scales)},
            'tile': tiles and {'size': list(tiles.size), 'overlap': tiles.overlap},
        }


def gains(plain: Evaluation, evaluation: Evaluation) -> dict[str, float]:
    """Return what strategies gain (differences of scores, 0..1) and cost (ratio of times)."""
    return {
        'miou': evaluation.scores.miou - plain.scores.miou,
        'boundary_iou': evaluation.boundary.miou - plain.boundary.miou,
        'pixel_accuracy': evaluation.scores.pixel_accuracy - plain.scores.pixel_accuracy,
        'time_ratio': evaluation.seconds_per_image / plain.seconds_per_image,
    }


def comparison(strategies: Strategies, plain: Evaluation, evaluation: Evaluation) -> str:
    """Return a table for people: scores and time, plain and with the strategies, per class too."""
    title = ' '.join(strategies.options()).replace('--', '')
    lines = [f'{"":>20}  {"plain":>7}  {"with":>7}  {"gain":>7}   with = {title}']
    rows = [
        ('mIoU', plain.scores.miou, evaluation.scores.miou),
        ('boundary IoU', plain.boundary.miou, evaluation.boundary.miou),
        ('pixel accuracy', plain.scores.pixel_accuracy, evaluation.scores.pixel_accuracy),
    ]
    rows += [(name, iou, evaluation.per_class[name]) for name, iou in plain.per_class.items()]
    lines += [_line(*row) for row in rows]
    seconds = (plain.seconds_per_image, evaluation.seconds_per_image)
    lines.append(
        f'{"seconds a picture":>20}  {seconds[0]:7.3f}  {seconds[1]:7.3f}  '
        f'{seconds[1] / seconds[0]:6.2f}x'
    )
    return '\n'.join(lines)


def _line(name: str, plain: float | None, found: float | None) -> str:
    cells = [
        'absent' if value is None or math.isnan(value) else f'{100 * value:.2f}'
        for value in (plain, found)
    ]
    gain = '' if 'absent' in cells else f'{100 * (found - plain):+.2f}'
    return f'{name:>20}  {cells[0]:>7}  {cells[1]:>7}  {gain:>7}'.rstrip()
