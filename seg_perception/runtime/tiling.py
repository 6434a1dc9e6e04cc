"""Pictures of any size through a segmenter in overlapping tiles of one size."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.core.errors import ParameterError
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.strategy import Ensemble, Segmenter, Stopwatch, Votes


class TiledSegmenter(Ensemble):
    """Segments a picture tile by tile and lets the tiles vote where they overlap.

    For pictures that lose what matters when they are shrunk to the network's size as a whole:
    each tile is shown to the network at the network's size. All tiles are of the one given
    size and lie within the picture; a picture smaller than a tile is continued by reflection.
    The mask is as large as the picture. A picture exactly as large as a tile gives what the
    inner segmenter gives, mask size included.

    Votes (see ``strategy``) are weighted by a window that rises as a squared sine over the
    overlap at each edge of a tile, so that a network's word counts less where it saw less of
    the surroundings. They are kept for one row of tiles only: 4 bytes * tile height * picture
    width for each class in sight, whatever the picture's height.

    Args:
        segmenter: shown the tiles.
        size: (height, width) of a tile in pixels of the picture.
        overlap: least number of pixels that neighbouring tiles share, 0 .. shorter side - 1.

    Raises:
        ParameterError: size or overlap cannot be used.
    """

    def __init__(self, segmenter: Segmenter, size: tuple[int, int], overlap: int) -> None:
        super().__init__(segmenter)
        if len(size) != 2 or min(size) < 1:
            raise ParameterError(f'a tile is (height, width) in pixels, at least 1; got {size!r}')
        if not 0 <= overlap < min(size):
            raise ParameterError(
                f'an overlap of {overlap} pixels does not fit tiles of {size[0]}x{size[1]} '
                f'(height x width): it must be 0..{min(size) - 1}'
            )
        self.size = (int(size[0]), int(size[1]))
        self.overlap = int(overlap)
        self._window = np.outer(ramps(size[0], overlap), ramps(size[1], overlap))

    def at_scale(self, scale: float) -> TiledSegmenter:
        """Return the same tiles, each shown to a network that sees them ``scale`` times as large.

        Raises:
            BundleError: the network has a fixed size.
        """
        return TiledSegmenter(self.segmenter.at_scale(scale), self.size, self.overlap)

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) at which a tile is segmented, of whatever picture."""
        return self.segmenter.network_size(self.size[1], self.size[0])

    def warm_up(self, width: int, height: int) -> None:
        """Run on a grey tile, so that the first picture is a fast one."""
        self.segmenter.warm_up(self.size[1], self.size[0])

    def _segment(self, image: np.ndarray, color: str, watch: Stopwatch) -> SemanticResult:
        if image.shape[:2] == self.size:
            return watch.segment(self.segmenter, image, color)
        height, width = image.shape[:2]
        image = _grow(image, self.size)
        tops = positions(image.shape[0], self.size[0], self.overlap)
        lefts = positions(image.shape[1], self.size[1], self.overlap)
        labels, confidence = (np.empty(image.shape[:2], np.uint8) for _ in range(2))
        votes = Votes(self.size[0], image.shape[1])
        for top, next_top in zip(tops, [*tops[1:], image.shape[0]], strict=True):
            for left in lefts:
                tile = image[top : top + self.size[0], left : left + self.size[1]]
                found = watch.segment(self.segmenter, tile, color)
                found = found.at_size(self.size[1], self.size[0])
                votes.add(found.labels, found.confidence, self._window, left)
            # No later tile reaches above the next row of tiles.
            rows = next_top - top
            labels[top:next_top], confidence[top:next_top] = votes.decide(rows)
            if next_top < image.shape[0]:
                votes.shift(rows)
        return SemanticResult(
            labels=np.ascontiguousarray(labels[:height, :width]),
            confidence=np.ascontiguousarray(confidence[:height, :width]),
            image_size=(width, height),
        )


def positions(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along an axis: evenly spaced, from its first to its last pixel.

    Args:
        length: of the axis in pixels, at least ``tile``.
        tile, overlap: in pixels; neighbours share at least ``overlap``.
    """
    step = tile - overlap
    gaps = -(-(length - tile) // step)
    return [(length - tile) * i // gaps for i in range(gaps)] + [length - tile]


def ramps(length: int, overlap: int) -> np.ndarray:
    """Return a tile's weights along an axis: float32 [length], 0 < w <= 1.

    They rise from either end as sin^2 over ``overlap`` pixels, so that two tiles which share
    exactly these add up to 1.
    """
    pixels = np.arange(length) + 0.5
    rise = np.ones(length)
    if overlap:
        rise = np.sin(np.pi / 2 * np.minimum(pixels / overlap, 1)) ** 2
    return (rise * rise[::-1]).astype(np.float32)


def _grow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Continue a picture that is smaller than ``size`` (height, width) by reflection."""
    below, right = (max(0, size[axis] - image.shape[axis]) for axis in range(2))
    if not below and not right:
        return image
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
