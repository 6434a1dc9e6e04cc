"""Third-party ONNX files: reading them and finding out what they take and give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_perception.core.errors import BundleError
from seg_perception.runtime.graph_edit import FLOAT, FLOAT16, UINT8, check_opset
from seg_perception.runtime.wrapping import Preprocessing

if TYPE_CHECKING:
    import onnx

_INPUT_TYPES: dict[int, type] = {FLOAT: np.float32, FLOAT16: np.float16, UINT8: np.uint8}
#: Axes of class ids that must have one element, by layout and rank.
_UNIT_AXES: dict[tuple[str, int], tuple[int, ...]] = {
    ('nchw', 2): (),
    ('nchw', 3): (0,),
    ('nchw', 4): (0, 1),
    ('nhwc', 4): (0, 3),
}


@dataclass(frozen=True)
class OutputForm:
    """Shape of a network's output: layout, channels (0 for class ids), height, width."""

    layout: str
    channels: int
    height: int
    width: int


def read(path: Path) -> onnx.ModelProto:
    """Load a network, weights beside the file included, at an opset the wrapping can use.

    Raises:
        BundleError: it is missing, no ONNX, damaged, or too large for one file.
    """
    import onnx

    if not path.is_file():
        raise BundleError(f'no model file {path}')
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf and onnx raise classes of their own
        raise BundleError(
            f'{path} cannot be read as ONNX: {error}. It is damaged, no ONNX file, or lacks the '
            'weights file that belongs beside it'
        ) from error
    if not model.graph.node:
        raise BundleError(f'{path} has no network in it: damaged, or no ONNX file')
    # No onnx.checker: it refuses files that every engine runs (outputs without a shape).
    model = check_opset(model)
    # Old exporters list weights as inputs, whose values a caller might replace.
    weights = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """Serialise into one file.

    Raises:
        BundleError: it exceeds protobuf's 2 GB.
    """
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise BundleError('the network is larger than 2 GB and would not fit one file') from error


def input_of(model: onnx.ModelProto, name: str | None) -> onnx.ValueInfoProto:
    """Return the image input: the only one, which ``name`` may confirm."""
    import onnx

    inputs = {item.name: item for item in model.graph.input}
    listed = ', '.join(inputs) or 'none'
    if name is not None and name not in inputs:
        raise BundleError(f'the network has no input {name!r}; it has: {listed}')
    if len(inputs) != 1:
        raise BundleError(f'the network must have one input, the image; it has: {listed}')
    (item,) = inputs.values()
    if item.type.tensor_type.elem_type not in _INPUT_TYPES:
        kind = onnx.TensorProto.DataType.Name(item.type.tensor_type.elem_type)
        raise BundleError(f'the input {item.name!r} is {kind}; it must be float or uint8')
    return item


def output_of(model: onnx.ModelProto, name: str | None) -> str:
    """Return the name of the scores: the one asked for, or the only one."""
    names = [item.name for item in model.graph.output]
    if name is None and len(names) != 1:
        raise BundleError(
            f'the network has the outputs {", ".join(names)}; say which to take (--output)'
        )
    if name is not None and name not in names:
        raise BundleError(f'the network has no output {name!r}; it has: {", ".join(names)}')
    return name or names[0]


def layout_of(item: onnx.ValueInfoProto, given: str | None) -> str:
    """Return 'nchw' or 'nhwc': as given, or where the three channels are."""
    sides = _sides(item)
    if len(sides) != 4 or sides[0] not in (1, None):
        raise BundleError(
            f'the input {item.name!r} has the shape {_text(sides)}; it must be one picture, '
            '[1, 3, height, width] or [1, height, width, 3]'
        )
    axes = {'nchw': 1, 'nhwc': 3}
    # An axis that is declared to have three elements outranks one of any size.
    fits = [name for name, axis in axes.items() if sides[axis] == 3] or [
        name for name, axis in axes.items() if sides[axis] is None
    ]
    if not fits:
        raise BundleError(
            f'the input {item.name!r} has the shape {_text(sides)}: no axis has the 3 channels of '
            'a picture'
        )
    if given is None and len(fits) == 2:
        raise BundleError(
            f'the input {item.name!r} has the shape {_text(sides)}: say its layout (--layout)'
        )
    if given is not None and given not in fits:
        raise BundleError(f'the input {item.name!r} {_text(sides)} does not fit layout {given}')
    return given or fits[0]


def size_of(item: onnx.ValueInfoProto, layout: str) -> tuple[int | None, int | None]:
    """Return the declared (height, width), None = dynamic."""
    sides = _sides(item)
    return (sides[2], sides[3]) if layout == 'nchw' else (sides[1], sides[2])


def check_preprocessing(pre: Preprocessing) -> None:
    """Refuse a normalisation that an integer input cannot take."""
    plain = pre.scale == 1 and set(pre.mean) == {0} and set(pre.std) == {1}
    if pre.dtype == UINT8 and not plain:
        raise BundleError(
            'the network takes uint8 pixels as they are: leave out scale, mean and std'
        )


def normalise(image: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Do in NumPy what the deployed graph does before the network, for uint8 [h, w, 3]."""
    pixels = image[np.newaxis]
    if pre.dtype != UINT8:
        floats = (pixels * pre.scale - np.array(pre.mean)) / np.array(pre.std)
        pixels = floats.astype(_INPUT_TYPES[pre.dtype])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if pre.layout == 'nchw' else pixels)


def describe_output(
    values: np.ndarray, layout: str, kind: str, classes: int, select: tuple[int, ...]
) -> OutputForm:
    """Find channels, height and width in an output.

    Args:
        values: the output, of one picture.
        layout: of the input, which decides where the shape does not.
        kind: 'logits', 'softmax' or 'labels'.
        classes: of the label set.
        select: channels to keep.

    Raises:
        BundleError: the shape is none of the kind, or has other channels than the label set.
    """
    if kind == 'labels':
        return _describe_ids(values, select)
    if not np.issubdtype(values.dtype, np.floating):
        raise BundleError(
            f'the output is {values.dtype}: no scores. Class ids are --output-kind labels'
        )
    if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[0] != 1):
        raise BundleError(
            f'the output has the shape {list(values.shape)}; scores must be [1, classes, height, '
            'width] or [1, height, width, classes]'
        )
    sides = values.shape[-3:]
    axes = {'nchw': 0, 'nhwc': 2}
    if select:
        wanted, axes = list(range(max(select) + 1, 1 + max(sides))), {layout: axes[layout]}
    else:
        # One channel is enough for two classes.
        wanted = [classes, 1] if classes == 2 else [classes]
    fits = [name for name, axis in axes.items() if sides[axis] in wanted]
    if not fits:
        raise BundleError(
            f'the output {list(values.shape)} has {sides[0 if layout == "nchw" else 2]} channels, '
            + (f'channel {max(select)} is asked for' if select else f'the label set {classes}')
        )
    if select and len(select) != classes:
        raise BundleError(
            f'{len(select)} channels are selected, the label set has {classes} classes'
        )
    found = layout if layout in fits else fits[0]
    height, width = sides[1:] if found == 'nchw' else sides[:2]
    return OutputForm(found, sides[0 if found == 'nchw' else 2], height, width)


def _describe_ids(values: np.ndarray, select: tuple[int, ...]) -> OutputForm:
    if select:
        raise BundleError('channels can be selected from scores, not from class ids')
    shape = values.shape
    layout = 'nhwc' if values.ndim == 4 and shape[3] == 1 and shape[1] != 1 else 'nchw'
    unit = _UNIT_AXES.get((layout, values.ndim))
    if unit is None or any(shape[axis] != 1 for axis in unit):
        raise BundleError(
            f'the output has the shape {list(shape)}; class ids must be [1, height, width], with '
            'one channel at most (scores: --output-kind logits or softmax)'
        )
    height, width = (side for axis, side in enumerate(shape) if axis not in unit)
    return OutputForm(layout, 0, height, width)


def check_values(values: np.ndarray, kind: str, form: OutputForm) -> None:
    """Refuse logits called probabilities and the other way round: both ruin the confidence."""
    if not np.all(np.isfinite(values)):
        raise BundleError(
            'the network gives NaN or infinity on a test picture; scale, mean or std may be wrong'
        )
    if kind == 'labels':
        return
    within = values.min() >= -1e-3 and values.max() <= 1 + 1e-3
    if kind == 'softmax' and not within:
        raise BundleError(
            f'the output lies in {values.min():.3g}..{values.max():.3g}: no probabilities. Call '
            'it logits (--output-kind logits)'
        )
    axis = values.ndim - (3 if form.layout == 'nchw' else 1)
    sums = values.sum(axis=axis, dtype=np.float64)
    if kind == 'logits' and form.channels > 1 and within and np.allclose(sums, 1, atol=1e-2):
        raise BundleError(
            'the output adds up to 1 over the classes: these are probabilities. Call it softmax '
            '(--output-kind softmax)'
        )


def stride_of(form: OutputForm, size: tuple[int, int]) -> int:
    """Return input pixels per output pixel."""
    strides = [round(size[0] / form.height), round(size[1] / form.width)]
    if strides[0] != strides[1] or strides[0] < 1:
        raise BundleError(
            f'the output is {form.height}x{form.width} for an input of {size[0]}x{size[1]}: it '
            'does not cover the picture evenly'
        )
    return strides[0]


def _sides(item: onnx.ValueInfoProto) -> list[int | None]:
    shape: Any = item.type.tensor_type.shape
    return [side.dim_value if side.HasField('dim_value') else None for side in shape.dim]


def _text(sides: list[int | None]) -> str:
    return '[' + ', '.join('?' if side is None else str(side) for side in sides) + ']'
