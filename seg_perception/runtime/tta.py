"""Test-time augmentation: several looks at one picture, mirrored and at other sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np

from seg_perception.core.errors import ParameterError
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.strategy import Ensemble, Segmenter, Stopwatch, Votes

#: Scales beyond these show a network nothing it could know.
SCALES = (0.25, 4.0)


class TtaSegmenter(Ensemble):
    """Segments a picture as it is, mirrored and at other scales, and lets the masks vote.

    Every view has the same weight (see ``strategy`` for the vote). The mask has the size of the
    inner segmenter's own. A scale is that of the network's input: a network which takes any
    size sees the whole picture larger or smaller. Without a flip and other scales than 1 the
    result is the inner segmenter's.

    Around pictures too large for a network, put it inside the tiles:
    ``TiledSegmenter(TtaSegmenter(segmenter, ...), ...)`` keeps the votes of one tile only.

    Args:
        segmenter: shown the views.
        scales: of further views beside the picture's own, which is always there.
        flip: look at each view's mirror image (left and right) too. Not for label sets that
            tell left from right.

    Raises:
        ParameterError: a scale is out of range.
        BundleError: scales are asked of a network of fixed size.
    """

    def __init__(
        self, segmenter: Segmenter, *, scales: Iterable[float] = (), flip: bool = False
    ) -> None:
        super().__init__(segmenter)
        self.scales = (1.0, *sorted({_check_scale(scale) for scale in scales} - {1.0}))
        self.flip = flip
        self._segmenters = [
            segmenter if scale == 1 else segmenter.at_scale(scale) for scale in self.scales
        ]

    @property
    def views(self) -> int:
        """How often the network runs for a picture."""
        return len(self.scales) * (1 + self.flip)

    def at_scale(self, scale: float) -> TtaSegmenter:
        """Return the same views, each ``scale`` times as large.

        Raises:
            BundleError: the network has a fixed size.
        """
        return TtaSegmenter(self.segmenter.at_scale(scale), scales=self.scales[1:], flip=self.flip)

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) at which the picture itself is segmented (scale 1)."""
        return self.segmenter.network_size(width, height)

    def warm_up(self, width: int, height: int) -> None:
        """Run on a grey picture at every scale, so that the first picture is a fast one."""
        for segmenter in self._segmenters:
            segmenter.warm_up(width, height)

    def _segment(self, image: np.ndarray, color: str, watch: Stopwatch) -> SemanticResult:
        plain = watch.segment(self.segmenter, image, color)
        if self.views == 1:
            return plain
        width, height = plain.size
        votes = Votes(height, width)
        votes.add(plain.labels, plain.confidence)
        mirrored = cv2.flip(image, 1) if self.flip else None
        # Both views of a scale in a row: a provider may keep few sizes compiled.
        for segmenter in self._segmenters:
            if segmenter is not self.segmenter:
                found = watch.segment(segmenter, image, color).at_size(width, height)
                votes.add(found.labels, found.confidence)
            if mirrored is not None:
                found = watch.segment(segmenter, mirrored, color).at_size(width, height)
                votes.add(cv2.flip(found.labels, 1), cv2.flip(found.confidence, 1))
        labels, confidence = votes.decide()
        return SemanticResult(labels, confidence, plain.image_size)


def _check_scale(scale: float) -> float:
    if not math.isfinite(scale) or not SCALES[0] <= scale <= SCALES[1]:
        raise ParameterError(f'a scale must be {SCALES[0]:g}..{SCALES[1]:g}, got {scale!r}')
    return float(scale)
