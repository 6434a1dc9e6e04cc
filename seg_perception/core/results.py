"""What a model found in a picture, before anyone turns it into a message."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
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

    def at_size(self, width: int, height: int) -> SemanticResult:
        """Return mask and confidence at another size, ids never mixed."""
        size = (width, height)
        if self.size == size:
            return self
        return SemanticResult(
            labels=cv2.resize(self.labels, size, interpolation=cv2.INTER_NEAREST_EXACT),
            confidence=cv2.resize(self.confidence, size, interpolation=cv2.INTER_LINEAR),
            image_size=self.image_size,
        )


@dataclass(frozen=True)
class Instances:
    """Objects found in a picture, in no particular order.

    Attributes:
        labels: int32 [N], class ids of the model's label set, from 0.
        scores: float32 [N], 0..1.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels of the picture, as torchvision has them:
            0 is the left (upper) edge of the first pixel, width the right edge of the last.
            They may reach beyond the picture.
        masks: float32 [N, S, S], the probability that a part of the box is the object: the box
            divided into S x S equal cells. ``core.instances.paste`` makes pixels of them.
        image_size: (width, height) in pixels of the picture.
    """

    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, dtype, shape in (
            ('labels', np.int32, (None,)),
            ('scores', np.float32, (None,)),
            ('boxes', np.float32, (None, 4)),
            ('masks', np.float32, (None, None, None)),
        ):
            array = getattr(self, name)
            fits = array.ndim == len(shape) and all(
                wanted in (None, side) for side, wanted in zip(array.shape, shape, strict=True)
            )
            if array.dtype != dtype or not fits:
                raise ValueError(
                    f'{name} must be {np.dtype(dtype)} with {len(shape)} axes, got {array.dtype} '
                    f'{array.shape}'
                )
            if len(array) != len(self.labels):
                raise ValueError(f'{len(self.labels)} labels but {len(array)} {name}')
        if self.masks.shape[1] != self.masks.shape[2] or self.masks.shape[1] < 1:
            raise ValueError(f'masks must be square, got {self.masks.shape}')

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Instances:
        """Return some of them.

        Args:
            index: bool [N], or int [n] in the order wanted.
        """
        return Instances(
            self.labels[index],
            self.scores[index],
            self.boxes[index],
            self.masks[index],
            self.image_size,
        )

    @classmethod
    def none(cls, image_size: tuple[int, int], side: int = 28) -> Instances:
        """Return the result of a picture without objects."""
        return cls(
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros((0, 4), np.float32),
            np.zeros((0, side, side), np.float32),
            image_size,
        )


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map.

    Attributes:
        id: its pixel value, class * 1000 + instance.
        label: class id.
        instance: 1..999, or 0 for stuff (and for things that no detection counts).
        score: of the detection, 1.0 for stuff.
        area: in pixels.
        source: the id it has in the instance image, 0 for stuff.
    """

    id: int
    label: int
    instance: int
    score: float
    area: int
    source: int = 0


@dataclass(frozen=True)
class PanopticResult:
    """Each pixel's class and object.

    Attributes:
        ids: int32 [H, W], class * 1000 + instance, -1 = void (nothing is known).
        segments: those there are in ``ids``, each with at least a pixel.
    """

    ids: np.ndarray
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.ids.dtype != np.int32 or self.ids.ndim != 2:
            raise ValueError(f'ids must be int32 [H, W], got {self.ids.dtype} {self.ids.shape}')
