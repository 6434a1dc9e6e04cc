"""What a model found in a picture, before anyone turns it into a message."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Pixel value of "no class": the same number as the usual ignore_index of training.
UNLABELLED = 255


@dataclass(frozen=True)
class SemanticResult:
    """A semantic mask that covers the whole picture it was made from.

    Attributes:
        labels: uint8 [h, w], class ids of the model's label set; 255 = unlabelled.
        confidence: uint8 [h, w], 0..255 = 0..1, the softmax probability of the label.
        image_size: (width, height) in pixels of the picture. The mask's pixel grid is the
            picture's, scaled by w / width and h / height independently (no letterbox).
    """

    labels: np.ndarray
    confidence: np.ndarray
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, array in (('labels', self.labels), ('confidence', self.confidence)):
            if array.dtype != np.uint8 or array.ndim != 2:
                raise ValueError(f'{name} must be uint8 [h, w], got {array.dtype} {array.shape}')
        if self.labels.shape != self.confidence.shape:
            raise ValueError(
                f'labels {self.labels.shape} and confidence {self.confidence.shape} differ in size'
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the mask in pixels."""
        return self.labels.shape[1], self.labels.shape[0]
