"""What runs a bundle of whatever task: loaded, compared with its description, and timed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import cv2
import numpy as np

from seg_perception.core.errors import BundleError, ImageError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.engine import TensorInfo
from seg_perception.runtime.metadata import check_metadata
from seg_perception.runtime.session import open_session

_COLORS = ('rgb', 'bgr')

Result = TypeVar('Result')


class BundleSegmenter(ABC, Generic[Result]):
    """Runs a bundle. Not thread-safe: one worker calls it.

    Attributes:
        task: of the bundles that the class runs.
        bundle: the model.
        labels: its classes.
        provider: what runs it.
        session: the loaded network; ``session.tried`` says why better providers do not.
        last_timing: milliseconds of the last ``segment``: 'convert' (resize and colour),
            'network' (the graph, with normalisation and suppression or argmax), 'post' (checks,
            and what brings the outputs to the picture).
    """

    task: str

    def __init__(
        self,
        bundle: Bundle,
        provider: str = 'auto',
        *,
        threads: int = 0,
        precision: str = 'auto',
    ) -> None:
        """Verify and load the bundle.

        Args:
            bundle: of the class's task.
            provider, threads, precision: see ``open_session``.

        Raises:
            BundleError: checksum, tensors or classes are not as the bundle says.
            ProviderError: the named provider cannot be used here.
        """
        if bundle.task != self.task:
            raise BundleError(
                f'{bundle.root} is a bundle for the task {bundle.task!r}, not {self.task}: name '
                f'one that `seg-perception models list` shows as {self.task}'
            )
        self.bundle = bundle
        self.labels: LabelSet = bundle.labels
        self.last_timing: dict[str, float] = {}
        bundle.verify()
        self.session = open_session(
            bundle.model_path, provider, threads=threads, precision=precision
        )
        self._check_input()
        self._check_outputs()
        check_metadata(bundle, self.session.metadata)

    @property
    def provider(self) -> str:
        return self.session.provider

    def warm_up(self, width: int, height: int) -> None:
        """Run twice on a grey picture of this size, so that the first frame is a fast one.

        Args:
            width, height: in pixels, of the pictures to come.

        Raises:
            BundleError: the network fails or gives what the bundle does not promise.
        """
        grey = np.full((height, width, 3), 127, np.uint8)
        for _ in range(2):
            self.segment(grey, self.bundle.input.color)

    def segment(self, image: np.ndarray, color: str = 'rgb') -> Result:
        """Run the network on one picture.

        Args:
            image: uint8 [H, W, 3]; a view with padded rows is fine.
            color: order of its channels, 'rgb' or 'bgr'.

        Raises:
            ImageError: the picture is of another shape or type.
            BundleError: the network fails or gives what the bundle does not promise.
        """
        start = time.perf_counter()
        feed = self._feed(image, color)[np.newaxis]
        converted = time.perf_counter()
        outputs = self.session.run({self.bundle.input.name: feed})
        inferred = time.perf_counter()
        result = self._read(outputs, image.shape[1::-1])
        self._note(start, converted, inferred)
        return result

    def _feed(self, image: np.ndarray, color: str) -> np.ndarray:
        """Return a picture as the network takes it: uint8 [h, w, 3], contiguous.

        Raises:
            ImageError: it is of another shape or type.
        """
        check_image(image, color)
        pixels = self._fit(image)
        if color != self.bundle.input.color:
            # After the resize: the swap then costs the small picture only.
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(pixels)

    def _note(self, start: float, converted: float, inferred: float) -> None:
        """Keep how long the stages took, of these moments and now."""
        self.last_timing = {
            'convert': (converted - start) * 1e3,
            'network': (inferred - converted) * 1e3,
            'post': (time.perf_counter() - inferred) * 1e3,
        }

    @abstractmethod
    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return a picture, uint8 [H, W, 3], at the size the network takes."""

    @abstractmethod
    def _read(self, outputs: dict[str, np.ndarray], size: tuple[int, int]) -> Result:
        """Check the outputs and bring them to a picture of this (width, height)."""

    @abstractmethod
    def _check_outputs(self) -> None:
        """Raise BundleError unless the graph declares the outputs that the bundle names."""

    def _check_input(self) -> None:
        """Raise BundleError unless the graph's one input is the picture the bundle describes."""
        spec, given = self.bundle.input, {item.name: item for item in self.session.inputs}
        if list(given) != [spec.name]:
            raise BundleError(
                f'{self.bundle.model_path} must have the one input {spec.name!r}, it has: '
                f'{_list(self.session.inputs)}'
            )
        self._check_tensor(given[spec.name], (1, *(spec.size or (None, None)), 3))

    def _check_output(
        self, name: str, shape: tuple[int | None, ...], dtypes: tuple[str, ...] = ('uint8',)
    ) -> None:
        """Raise BundleError unless the graph has this output; None in `shape` = any side."""
        made = {item.name: item for item in self.session.outputs}
        if name not in made:
            raise BundleError(
                f'{self.bundle.model_path} has no output {name!r}, it has: '
                f'{_list(self.session.outputs)}'
            )
        self._check_tensor(made[name], shape, dtypes)

    def _check_tensor(
        self, info: TensorInfo, shape: tuple[int | None, ...], dtypes: tuple[str, ...] = ('uint8',)
    ) -> None:
        fits = len(info.shape) == len(shape) and all(
            None in pair or pair[0] == pair[1] for pair in zip(info.shape, shape, strict=True)
        )
        if not fits or info.dtype not in dtypes:
            wanted = TensorInfo(info.name, shape, dtypes[0])
            raise BundleError(
                f'{self.bundle.model_path} has the tensor {info}; the bundle needs {wanted}. A '
                'network with float tensors becomes a bundle by `seg-perception models import`'
            )


def check_image(image: np.ndarray, color: str) -> None:
    """Raise ImageError unless this is a picture, uint8 [H, W, 3] in 'rgb' or 'bgr' order."""
    if color not in _COLORS:
        raise ImageError(f'color must be one of {", ".join(_COLORS)}; got {color!r}')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f'a picture must be uint8 [height, width, 3], got {image.dtype} {list(image.shape)}'
        )


def _list(tensors: tuple[TensorInfo, ...]) -> str:
    return '; '.join(map(str, tensors)) or 'none'
