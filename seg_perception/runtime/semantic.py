"""A picture in, a semantic mask out: the semantic bundle's graph around its session."""

from __future__ import annotations

import copy
import time

import cv2
import numpy as np

from seg_perception.core.errors import BundleError, ImageError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import UNLABELLED, SemanticResult
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.engine import Session, TensorInfo
from seg_perception.runtime.metadata import check_metadata
from seg_perception.runtime.session import open_session

_COLORS = ('rgb', 'bgr')


class SemanticSegmenter:
    """Runs a semantic bundle. Not thread-safe: one worker calls it.

    The picture is stretched to the network's size (no letterbox), so the mask covers the whole
    picture and its grid is the picture's, scaled per axis.

    Attributes:
        bundle: the model.
        labels: its classes.
        provider: what runs it.
        session: the loaded network; ``session.tried`` says why better providers do not.
        last_timing: milliseconds of the last ``segment``: 'convert' (resize and colour),
            'network' (the graph, with normalisation and argmax), 'post' (checks, confidence).
    """

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
        if bundle.task != 'semantic':
            raise BundleError(
                f'{bundle.root} is a bundle for the task {bundle.task!r}, not semantic: name one '
                'that is (`seg-perception models list`); this one is for instance_node'
            )
        self.bundle = bundle
        self.labels: LabelSet = bundle.labels
        self.last_timing: dict[str, float] = {}
        self._input_size = _check_input_size(bundle, input_size)
        self._scale = 1.0
        bundle.verify()
        self.session = open_session(
            bundle.model_path, provider, threads=threads, precision=precision
        )
        check_tensors(bundle, self.session)
        check_metadata(bundle, self.session.metadata)
        # Label ids the set does not have become "unlabelled" in one table look-up.
        self._known = np.full(256, UNLABELLED, np.uint8)
        self._known[: len(self.labels)] = np.arange(len(self.labels), dtype=np.uint8)

    @property
    def provider(self) -> str:
        return self.session.provider

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

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult:
        """Segment one picture.

        Args:
            image: uint8 [H, W, 3]; a view with padded rows is fine.
            color: order of its channels, 'rgb' or 'bgr'.

        Raises:
            ImageError: the picture is of another shape or type.
            BundleError: the network fails or gives what the bundle does not promise.
        """
        check_image(image, color)
        height, width = image.shape[:2]
        start = time.perf_counter()
        pixels = self._convert(image, color)
        converted = time.perf_counter()
        outputs = self.session.run({self.bundle.input.name: pixels[np.newaxis]})
        inferred = time.perf_counter()
        labels, confidence = self._read(outputs)
        result = SemanticResult(labels, confidence, (width, height))
        self.last_timing = {
            'convert': (converted - start) * 1e3,
            'network': (inferred - converted) * 1e3,
            'post': (time.perf_counter() - inferred) * 1e3,
        }
        return result

    def _convert(self, image: np.ndarray, color: str) -> np.ndarray:
        """Return contiguous uint8 [h, w, 3] of the network's size and colour order."""
        height, width = image.shape[:2]
        size = self.network_size(width, height)
        if size != (width, height):
            # Scores no worse than INTER_AREA down to a third of the size, at a tenth of its cost.
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        if color != self.bundle.input.color:
            # After the resize: the swap then costs the small picture only.
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(image)

    def _read(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
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
        return labels, confidence


def _resize_to(plane: np.ndarray, like: np.ndarray) -> np.ndarray:
    return cv2.resize(plane, like.shape[::-1], interpolation=cv2.INTER_LINEAR)


def check_tensors(bundle: Bundle, session: Session) -> None:
    """Compare the graph's declared tensors with what the bundle says.

    Raises:
        BundleError: a tensor is missing, of another type or of another shape.
    """
    check_input(bundle, session)
    for wanted in (bundle.output.labels, bundle.output.confidence):
        if wanted is not None:
            check_output(bundle, session, wanted, (1, None, None))


def check_input(bundle: Bundle, session: Session) -> None:
    """Raise BundleError unless the graph's one input is the picture the bundle describes."""
    name, size = bundle.input.name, bundle.input.size or (None, None)
    given = {item.name: item for item in session.inputs}
    if list(given) != [name]:
        raise BundleError(
            f'{bundle.model_path} must have the one input {name!r}, it has: '
            f'{_list(session.inputs)}'
        )
    _check_tensor(bundle, given[name], (1, *size, 3))


def check_output(
    bundle: Bundle,
    session: Session,
    name: str,
    shape: tuple[int | None, ...],
    dtypes: tuple[str, ...] = ('uint8',),
) -> None:
    """Raise BundleError unless the graph has this output; None in `shape` = any side."""
    made = {item.name: item for item in session.outputs}
    if name not in made:
        raise BundleError(
            f'{bundle.model_path} has no output {name!r}, it has: {_list(session.outputs)}'
        )
    _check_tensor(bundle, made[name], shape, dtypes)


def _check_tensor(
    bundle: Bundle,
    info: TensorInfo,
    shape: tuple[int | None, ...],
    dtypes: tuple[str, ...] = ('uint8',),
) -> None:
    fits = len(info.shape) == len(shape) and all(
        None in pair or pair[0] == pair[1] for pair in zip(info.shape, shape, strict=True)
    )
    if not fits or info.dtype not in dtypes:
        wanted = TensorInfo(info.name, shape, dtypes[0])
        raise BundleError(
            f'{bundle.model_path} has the tensor {info}; the bundle needs {wanted}. A network '
            'with float tensors becomes a bundle by `seg-perception models import`'
        )


def check_image(image: np.ndarray, color: str) -> None:
    """Raise ImageError unless this is a picture, uint8 [H, W, 3] in 'rgb' or 'bgr' order."""
    if color not in _COLORS:
        raise ImageError(f'color must be one of {", ".join(_COLORS)}; got {color!r}')
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f'a picture must be uint8 [height, width, 3], got {image.dtype} {list(image.shape)}'
        )


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


def _list(tensors: tuple[TensorInfo, ...]) -> str:
    return '; '.join(map(str, tensors)) or 'none'
