"""A picture in, a semantic mask out: the semantic bundle's graph around its session."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import cv2
import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.core.results import UNLABELLED, SemanticResult
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.bundle_segmenter import BundleSegmenter

#: Providers on which several pictures at once take clearly less time than one by one. A CPU gains
#: some hundredths (`make bench-models` tells), for which every picture would wait for all, and
#: TensorRT builds an engine, for minutes, for each number of pictures it has not met.
_BATCHING = ('cuda',)


class SemanticSegmenter(BundleSegmenter[SemanticResult]):
    """Runs a semantic bundle, see ``BundleSegmenter``.

    The picture is stretched to the network's size (no letterbox), so the mask covers the whole
    picture and its grid is the picture's, scaled per axis.
    """

    task = 'semantic'

    def __init__(
        self,
        bundle: Bundle,
        provider: str = 'auto',
        *,
        threads: int = 0,
        precision: str = 'auto',
        input_size: tuple[int, int] | None = None,
    ) -> None:
        """Verify and load the bundle.

        Args:
            bundle: of the task 'semantic'.
            provider, threads, precision: see ``open_session``.
            input_size: (height, width) at which a network of dynamic size runs, rounded to
                what it can take; None = the bundle's default, turned to the picture's shape.

        Raises:
            BundleError: checksum, tensors or classes are not as the bundle says, or the
                network has a fixed size and ``input_size`` is another.
            ProviderError: the named provider cannot be used here.
        """
        self._input_size = _check_input_size(bundle, input_size)
        self._scale = 1.0
        super().__init__(bundle, provider, threads=threads, precision=precision)
        # Label ids the set does not have become "unlabelled" in one table look-up.
        self._known = np.full(256, UNLABELLED, np.uint8)
        self._known[: len(self.labels)] = np.arange(len(self.labels), dtype=np.uint8)

    def at_scale(self, scale: float) -> SemanticSegmenter:
        """Return a segmenter on the same loaded network that runs it at another size.

        Args:
            scale: > 0, of both sides of the network's input as this segmenter has it.

        Raises:
            BundleError: the network has a fixed size.
        """
        fixed = self.bundle.input.size
        if fixed is not None:
            raise BundleError(
                f'the model {self.bundle.name!r} runs at {fixed[0]}x{fixed[1]} (height x width) '
                'only, so no other scale can be asked of it; take a network of dynamic size'
            )
        other = copy.copy(self)
        other._scale = self._scale * scale
        other.last_timing = {}
        return other

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) at which a picture of the given size is segmented.

        A dynamic network keeps the area of its default size and takes the picture's shape:
        equal cost for any camera, and next to no distortion.
        """
        spec = self.bundle.input
        if self._input_size is not None:
            rows, columns = map(float, self._input_size)
        else:
            rows, columns = spec.shaped_like(width, height)
        rows, columns = spec.fit(rows * self._scale, columns * self._scale)
        return columns, rows

    @property
    def takes_several(self) -> bool:
        """Whether the network can run on several pictures at once."""
        return self.session.inputs[0].shape[0] is None

    @property
    def batches(self) -> bool:
        """Whether several pictures at once take less time here than one by one."""
        return self.takes_several and self.provider in _BATCHING

    def warm_up_batches(self, width: int, height: int, most: int) -> None:
        """Run on 2, 3 .. `most` grey pictures at once: each number is a first one to a GPU.

        Args:
            width, height: in pixels, of the pictures to come.
        """
        grey = np.full((height, width, 3), 127, np.uint8)
        for number in range(2, most + 1):
            self.segment_batch([(grey, self.bundle.input.color)] * number)

    def segment_batch(self, pictures: Sequence[tuple[np.ndarray, str]]) -> list[SemanticResult]:
        """Run the network on several pictures at once; of several network sizes, on each size.

        Args:
            pictures: as for ``segment``: uint8 [H, W, 3] and the order of the channels.

        Returns:
            The results, in the pictures' order.

        Raises:
            ImageError: a picture is of another shape or type.
            BundleError: the network takes one picture only, fails, or gives what the bundle
                does not promise.
        """
        start = time.perf_counter()
        feeds = [self._feed(*picture) for picture in pictures]
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, feed in enumerate(feeds):
            by_size.setdefault(feed.shape, []).append(number)
        converted = time.perf_counter()
        name = self.bundle.input.name
        runs = [
            (numbers, self.session.run({name: np.stack([feeds[number] for number in numbers])}))
            for numbers in by_size.values()
        ]
        inferred = time.perf_counter()
        results: dict[int, SemanticResult] = {}
        for numbers, outputs in runs:
            for row, number in enumerate(numbers):
                mine = {output: array[row : row + 1] for output, array in outputs.items()}
                results[number] = self._read(mine, pictures[number][0].shape[1::-1])
        self._note(start, converted, inferred)
        return [results[number] for number in range(len(pictures))]

    def _check_outputs(self) -> None:
        for wanted in (self.bundle.output.labels, self.bundle.output.confidence):
            if wanted is not None:
                self._check_output(wanted, (1, None, None))

    def _fit(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        size = self.network_size(width, height)
        if size == (width, height):
            return image
        # Scores no worse than INTER_AREA down to a third of the size, at a tenth of its cost.
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)

    def _read(self, outputs: dict[str, np.ndarray], size: tuple[int, int]) -> SemanticResult:
        names = self.bundle.output
        labels = _plane(outputs, names.labels, self.bundle)
        if labels.max(initial=0) >= len(self.labels):
            labels = cv2.LUT(labels, self._known)
        if names.confidence is None:
            confidence = np.full_like(labels, 255)
        else:
            confidence = _plane(outputs, names.confidence, self.bundle)
            if confidence.shape != labels.shape:
                confidence = _resize_to(confidence, labels)
        if labels.max(initial=0) == UNLABELLED:
            confidence[labels == UNLABELLED] = 0
        return SemanticResult(labels, confidence, size)


def _resize_to(plane: np.ndarray, like: np.ndarray) -> np.ndarray:
    return cv2.resize(plane, like.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _check_input_size(bundle: Bundle, size: tuple[int, int] | None) -> tuple[int, int] | None:
    fixed = bundle.input.size
    if size is None:
        return None
    if len(size) != 2 or min(size) < 1:
        raise BundleError(f'input_size must be (height, width) in pixels, got {size!r}')
    if fixed is not None and tuple(size) != fixed:
        raise BundleError(
            f'the model {bundle.name!r} runs at {fixed[0]}x{fixed[1]} (height x width) only, '
            f'input_size asks for {size[0]}x{size[1]}; leave it out'
        )
    return bundle.input.fit(*size)


def _plane(outputs: dict[str, np.ndarray], name: str, bundle: Bundle) -> np.ndarray:
    array = outputs[name]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[0] != 1 or array.size == 0:
        raise BundleError(
            f'{bundle.model_path} gave {name}: {array.dtype} {list(array.shape)}, it must be '
            'uint8 [1, height, width]'
        )
    return array[0]
