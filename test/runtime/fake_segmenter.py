"""A segmenter whose mask is a function of the picture, so that every result is known."""

from __future__ import annotations

import types
from collections.abc import Callable

import cv2
import numpy as np

from seg_perception.core.results import SemanticResult

#: Red is the class, green the confidence.
CLASS, CONFIDENCE = 0, 1


def read_colors(image):
    """Return (labels, confidence): what the picture's red and green channels say."""
    return image[..., CLASS].copy(), image[..., CONFIDENCE].copy()


class FakeSegmenter:
    """Answers with ``look(image)``; remembers the pictures it was shown.

    Args:
        look: uint8 [H, W, 3] RGB -> (labels, confidence), both uint8 [H, W].
        stride: pixels of the picture per pixel of the mask.
        scale: of the mask, as a network run at another size makes it.
    """

    provider = 'fake'
    labels = 'label set'

    def __init__(self, look: Callable = read_colors, stride: int = 1, scale: float = 1.0) -> None:
        self.look, self.stride, self.scale = look, stride, scale
        self.bundle = types.SimpleNamespace(name='fake')
        self.seen: list[np.ndarray] = []
        self.warmed: list[tuple[int, int]] = []
        self.last_timing: dict[str, float] = {}
        self.scaled: list[FakeSegmenter] = []

    def at_scale(self, scale: float) -> FakeSegmenter:
        self.scaled.append(FakeSegmenter(self.look, self.stride, self.scale * scale))
        return self.scaled[-1]

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        return tuple(max(1, round(side * self.scale / self.stride)) for side in (width, height))

    def warm_up(self, width: int, height: int) -> None:
        self.warmed.append((width, height))

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult:
        self.seen.append(image.copy())
        self.last_timing = {'convert': 1.0, 'network': 2.0, 'post': 0.5}
        height, width = image.shape[:2]
        rgb = image if color == 'rgb' else image[..., ::-1]
        planes = self.look(np.ascontiguousarray(rgb))
        size = self.network_size(width, height)
        if size != (width, height):
            planes = [cv2.resize(p, size, interpolation=cv2.INTER_NEAREST_EXACT) for p in planes]
        return SemanticResult(*planes, (width, height))


def picture(labels, confidence=200) -> np.ndarray:
    """Return the RGB picture that ``read_colors`` labels like this."""
    labels = np.asarray(labels, np.uint8)
    image = np.zeros((*labels.shape, 3), np.uint8)
    image[..., CLASS] = labels
    image[..., CONFIDENCE] = confidence
    return image


def noise(height, width, classes=5, seed=0) -> np.ndarray:
    """A picture of random classes (255 among them) and confidences, 0 among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes + 1, (height, width)).astype(np.uint8)
    labels[labels == classes] = 255
    confidence = rng.integers(0, 256, (height, width)).astype(np.uint8)
    confidence[labels == 255] = 0
    return picture(labels, confidence)
