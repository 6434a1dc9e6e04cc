"""Somebody's network before it is wrapped: its file, what it wants, and what it gives bare."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_perception.core.errors import BundleError, ProviderError
from seg_perception.runtime import network_file, schema
from seg_perception.runtime.session import open_session
from seg_perception.runtime.wrapping import IMAGE, Preprocessing

if TYPE_CHECKING:
    import onnx

KINDS = ('logits', 'softmax', 'labels')
LAYOUTS = ('nchw', 'nhwc')
#: Area of a dynamic network's default size when none is given: 360 x 640 pixels.
_DEFAULT_SIZE = (360, 640)


@dataclass(frozen=True)
class ImportOptions:
    """What a network wants and gives. None = read from the file, or tried out.

    Attributes:
        color: 'rgb' or 'bgr', order of the network's channels.
        scale, mean, std: the network gets ``(pixel * scale - mean) / std``, pixel 0..255; mean
            and std have one value or three, in the network's channel order.
        input_name, output_name: of the tensors; None = the only one.
        layout: of the input, 'nchw' or 'nhwc'.
        size: (height, width) in pixels; None = the network's own, or dynamic.
        multiple, offset: sides that a dynamic network takes: multiple * n + offset.
        default_size: (height, width) a dynamic network is best run at.
        output_kind: 'logits', 'softmax' (probabilities) or 'labels' (class ids).
        channels: indices of the output channels to keep, in the label set's order. The others
            can win no pixel: leaving out a "background" makes its pixels something else.
        label_stride: input pixels per mask pixel, 1 = the mask is as fine as the input.
        confidence_stride: the finest confidence, in input pixels.
        align_corners: how logits coarser than the input are interpolated; None = True for
            sizes of multiple * n + 1, whose grids meet at the corners.
    """

    color: str = 'rgb'
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    input_name: str | None = None
    output_name: str | None = None
    layout: str | None = None
    size: tuple[int, int] | None = None
    multiple: int = 1
    offset: int = 0
    default_size: tuple[int, int] | None = None
    output_kind: str = 'logits'
    channels: tuple[int, ...] = ()
    label_stride: int = 1
    confidence_stride: int = 4
    align_corners: bool | None = None

    def __post_init__(self) -> None:
        schema.choice(self.color, schema.COLORS, 'color')
        schema.choice(self.output_kind, KINDS, 'output kind')
        if self.layout is not None:
            schema.choice(self.layout, LAYOUTS, 'layout')
        schema.whole(self.multiple, 'multiple', 1, 1024)
        schema.whole(self.offset, 'offset', 0, 1024)
        schema.whole(self.label_stride, 'label stride', 1, 64)
        schema.whole(self.confidence_stride, 'confidence stride', 1, 64)
        for name, values in (('mean', self.mean), ('std', self.std)):
            if len(values) not in (1, 3) or not np.all(np.isfinite(values)):
                raise BundleError(f'{name} must be one number or three, got {list(values)}')
        if not np.isfinite(self.scale) or self.scale == 0 or 0 in self.std:
            raise BundleError('scale and std must not be 0: every pixel would look the same')
        if len(set(self.channels)) != len(self.channels) or min(self.channels, default=0) < 0:
            raise BundleError(
                f'channels must be different indices from 0, got {list(self.channels)}'
            )


@dataclass(frozen=True)
class RawNetwork:
    """A network as it came, in memory.

    Attributes:
        model: the graph, at an opset that can be wrapped.
        input_name: of its image.
        pre: what its pixels go through.
        options: what was said of it.
        size: (height, width) that the deployed graph has; None = dynamic.
        default_size: (height, width) it is best run at.
    """

    model: onnx.ModelProto
    input_name: str
    pre: Preprocessing
    options: ImportOptions
    size: tuple[int, int] | None
    default_size: tuple[int, int]

    @classmethod
    def open(cls, path: Path, options: ImportOptions) -> RawNetwork:
        """Read a network's file.

        Raises:
            BundleError: onnx is not installed, the file cannot be read, or the network takes
                something else than the options say.
        """
        _require_onnx()
        model = network_file.read(path)
        source = network_file.input_of(model, options.input_name)
        layout = network_file.layout_of(source, options.layout)
        size = _fixed_size(network_file.size_of(source, layout), options)
        dtype = source.type.tensor_type.elem_type
        pre = Preprocessing(layout, dtype, options.scale, options.mean, options.std)
        network_file.check_preprocessing(pre)
        return cls(model, source.name, pre, options, size, size or _usual_size(options))

    def run(self) -> dict[str, np.ndarray]:
        """Run the network once, bare: what its outputs really look like.

        Raises:
            BundleError: it does not run at its default size.
        """
        with tempfile.TemporaryDirectory(prefix='seg_perception-') as work:
            file = Path(work) / 'network.onnx'
            file.write_bytes(network_file.to_bytes(self.model))
            try:
                session = open_session(file, 'cpu')
            except ProviderError:
                session = open_session(file, precision='fp32')
            height, width = self.default_size
            picture = probe_image(height, width)
            try:
                return session.run({self.input_name: network_file.normalise(picture, self.pre)})
            except BundleError as error:
                raise BundleError(
                    f'the network does not run at {height}x{width} (height x width): {error}. '
                    'Give the size it takes (--size, or --multiple and --default-size)'
                ) from error

    def input_spec(self) -> dict[str, Any]:
        """Return model.yaml's key ``input`` of the wrapped graph."""
        return {
            'name': IMAGE,
            'color': self.options.color,
            'size': list(self.size) if self.size else None,
            'multiple': self.options.multiple,
            'offset': self.options.offset,
            'default_size': list(self.default_size),
        }


def probe_image(height: int, width: int) -> np.ndarray:
    """Return a picture with something of everything: uint8 [height, width, 3]."""
    y = np.linspace(0, 1, height)[:, None, None]
    x = np.linspace(0, 1, width)[None, :, None]
    phase = np.arange(3)
    waves = 0.5 + 0.25 * (np.sin(9 * x + phase) + np.cos(7 * y - phase))
    noise = np.random.default_rng(0).random((height, width, 3))
    return (255 * (0.8 * waves + 0.2 * noise)).clip(0, 255).astype(np.uint8)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise BundleError(
            f'importing needs the package onnx ({error}); install it: pip install onnx'
        ) from error


def _fixed_size(
    declared: tuple[int | None, int | None], options: ImportOptions
) -> tuple[int, int] | None:
    """Return the (height, width) the deployed graph shall have, None = dynamic."""
    for side, wanted in zip(declared, options.size or declared, strict=True):
        if side is not None and side != wanted:
            raise BundleError(
                f'the network takes {_sides(declared)} (height x width) only, the asked size is '
                f'{_sides(options.size or declared)}'
            )
    size = options.size or declared
    if size[0] is None and size[1] is None:
        return None
    if size[0] is None or size[1] is None:
        raise BundleError(
            f'the network fixes one side of its input only ({_sides(size)}); give both (--size)'
        )
    return size[0], size[1]


def _sides(size: tuple[int | None, int | None]) -> str:
    return 'x'.join('?' if side is None else str(side) for side in size)


def _usual_size(options: ImportOptions) -> tuple[int, int]:
    spec = schema.InputSpec(
        '', options.color, None, options.multiple, options.offset, _DEFAULT_SIZE
    )
    return options.default_size or spec.fit(*_DEFAULT_SIZE)
