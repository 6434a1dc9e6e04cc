"""A picture in, separate objects out: the instance bundle's graph around its session."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.core.results import Instances
from seg_perception.runtime.bundle_segmenter import BundleSegmenter
from seg_perception.runtime.schema import InputSpec

#: Grey of the border round a letterboxed picture, as Ultralytics' networks are trained with.
BORDER = 114
_INTEGERS, _FLOATS = ('int64', 'int32'), ('float32',)


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the network's input.

    Attributes:
        size: (width, height) of the input in pixels.
        scale: pixels of the input per pixel of the picture, (x, y).
        offset: (x, y) of the picture's corner in the input.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, spec: InputSpec, width: int, height: int) -> Placement:
        """Return how a picture of the given size is brought to what a network takes."""
        if spec.resize == 'none':
            return cls((width, height))
        rows, columns = spec.fit(*spec.shaped_like(width, height))
        if spec.resize == 'stretch':
            return cls((columns, rows), (columns / width, rows / height))
        scale = min(columns / width, rows / height)
        inner = max(round(width * scale), 1), max(round(height * scale), 1)
        offset = (columns - inner[0]) // 2, (rows - inner[1]) // 2
        return cls((columns, rows), (inner[0] / width, inner[1] / height), offset)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the picture, uint8 [H, W, 3], at the input's size."""
        height, width = image.shape[:2]
        inner = round(width * self.scale[0]), round(height * self.scale[1])
        if inner != (width, height):
            image = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
        if inner == self.size:
            return image
        framed = np.full((self.size[1], self.size[0], 3), BORDER, np.uint8)
        x, y = self.offset
        framed[y : y + inner[1], x : x + inner[0]] = image
        return framed

    def undo(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes float32 [N, 4] of the input in pixels of the picture."""
        if self.scale == (1.0, 1.0) and self.offset == (0, 0):
            return boxes
        return ((boxes - np.tile(self.offset, 2)) / np.tile(self.scale, 2)).astype(np.float32)


class InstanceSegmenter(BundleSegmenter[Instances]):
    """Runs an instance bundle, see ``BundleSegmenter``.

    Its result is all that the network gives and that makes sense (a class of the label set,
    finite numbers, a box with an extent), whatever its score.
    """

    task = 'instance'

    def _fit(self, image: np.ndarray) -> np.ndarray:
        return Placement.of(self.bundle.input, image.shape[1], image.shape[0]).apply(image)

    def _check_outputs(self) -> None:
        names = self.bundle.output
        for name, dtypes, shape in (
            (names.labels, _INTEGERS, (None,)),
            (names.scores, _FLOATS, (None,)),
            (names.boxes, _FLOATS, (None, 4)),
            (names.masks, _FLOATS, (None, None, None)),
        ):
            self._check_output(name or '', shape, dtypes)

    def _read(self, outputs: dict[str, np.ndarray], size: tuple[int, int]) -> Instances:
        names = self.bundle.output
        labels = self._output(outputs, names.labels, _INTEGERS, 1)
        scores = self._output(outputs, names.scores, _FLOATS, 1)
        boxes = self._output(outputs, names.boxes, _FLOATS, 2)
        masks = self._output(outputs, names.masks, _FLOATS, 3)
        if not len(labels) == len(scores) == len(boxes) == len(masks) or boxes.shape[1] != 4:
            self._refuse(
                f'{len(labels)} labels, {len(scores)} scores, boxes {list(boxes.shape)} and '
                f'{len(masks)} masks: they must be of the same N objects, boxes [N, 4]'
            )
        if masks.shape[1] != masks.shape[2] or not masks.shape[1]:
            self._refuse(f'masks {list(masks.shape)}, they must be [N, S, S]')
        with np.errstate(invalid='ignore'):
            sound = (labels >= 0) & (labels < len(self.labels)) & np.isfinite(scores)
            sound &= np.isfinite(boxes).all(axis=1)
            sound &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        labels, scores, boxes, masks = (a[sound] for a in (labels, scores, boxes, masks))
        boxes = Placement.of(self.bundle.input, *size).undo(boxes)
        return Instances(labels.astype(np.int32), scores.clip(0.0, 1.0), boxes, masks, size)

    def _output(
        self,
        outputs: dict[str, np.ndarray],
        name: str | None,
        dtypes: tuple[str, ...],
        rank: int,
    ) -> np.ndarray:
        assert name is not None  # the schema asks for all four
        array = outputs[name]
        if array.dtype.name not in dtypes or array.ndim != rank:
            self._refuse(
                f'{name}: {array.dtype} {list(array.shape)}, it must be {dtypes[0]} with {rank} '
                'axes'
            )
        return array

    def _refuse(self, what: str) -> None:
        raise BundleError(f'{self.bundle.model_path} gave {what}')
