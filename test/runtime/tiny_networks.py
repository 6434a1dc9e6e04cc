"""Float networks such as others export, small enough to predict: the brightest channel wins.

Logits are ``GAIN * normalised channel``: with the normalisation undone right, class i is the
channel i of the picture (in the network's colour order), and a wrong one shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

#: Logits per unit of normalised brightness.
GAIN = 8.0


def write_network(
    path: Path,
    *,
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    layout: str = 'nchw',
    size: Sequence[int | str] = ('height', 'width'),
    kind: str = 'logits',
    classes: int = 3,
    stride: int = 1,
    bias: Sequence[float] | None = None,
    ids_shape: str = 'nhw',
    weights_are_inputs: bool = False,
    external: bool = False,
    extra_output: bool = False,
    extra_input: bool = False,
    input_name: str = 'x',
    output_name: str = 'y',
) -> Path:
    """Write a network and return its path.

    Args:
        kind: 'logits', 'softmax' or 'ids' (int64 class ids).
        classes: output channels; beyond the third they never win. 1 = red minus green.
        stride: input pixels per output pixel, by average pooling.
        bias: added to the logits, one per class.
        ids_shape: axes of the ids: 'hw', 'nhw', 'nchw' or 'nhwc'.
    """
    floats = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    weight, offset = _classifier(classes, bias)
    constants = {'w': weight.astype(floats), 'b': offset.astype(floats)}
    nodes: list[Any] = []

    def add(op: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f't{len(nodes)}'], **attributes))
        return f't{len(nodes) - 1}'

    value = input_name
    if layout == 'nhwc':
        value = add('Transpose', [value], perm=[0, 3, 1, 2])
    if dtype == TensorProto.UINT8:
        value = add('Cast', [value], to=TensorProto.FLOAT)
    if stride > 1:
        value = add('AveragePool', [value], kernel_shape=[stride] * 2, strides=[stride] * 2)
    value = add('Conv', [value, 'w', 'b'])
    if kind == 'softmax':
        value = add('Softmax', [value], axis=1) if opset >= 13 else _old_softmax(add, value)
    if kind == 'ids':
        value = _ids(add, constants, value, ids_shape)
    elif layout == 'nhwc':
        value = add('Transpose', [value], perm=[0, 2, 3, 1])
    nodes.append(helper.make_node('Identity', [value], [output_name]))

    sides = [1, 3, *size] if layout == 'nchw' else [1, *size, 3]
    inputs = [helper.make_tensor_value_info(input_name, dtype, sides)]
    made = TensorProto.INT64 if kind == 'ids' else _float_of(dtype)
    outputs = [helper.make_tensor_value_info(output_name, made, None)]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    if weights_are_inputs:
        inputs += [
            helper.make_tensor_value_info(item.name, item.data_type, item.dims)
            for item in initializers
        ]
    if extra_output:
        nodes.append(helper.make_node('Relu', ['t0'], ['other']))
        outputs.append(helper.make_tensor_value_info('other', _float_of(dtype), None))
    if extra_input:
        inputs.append(helper.make_tensor_value_info('second', dtype, [1]))
    model = helper.make_model(
        helper.make_graph(nodes, 'tiny', inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid('', opset)],
    )
    model.ir_version = 3 if weights_are_inputs else 8
    if external:
        save(model, path, save_as_external_data=True, size_threshold=0, location='weights.bin')
    else:
        save(model, path)
    return path


def _float_of(dtype: int) -> int:
    return TensorProto.FLOAT16 if dtype == TensorProto.FLOAT16 else TensorProto.FLOAT


def _classifier(classes: int, bias: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """1x1 convolution [classes, 3, 1, 1] and its bias [classes]."""
    weight = np.zeros((classes, 3, 1, 1))
    offset = np.full(classes, -100.0)
    for i in range(min(classes, 3)):
        weight[i, i] = GAIN
        offset[i] = 0.0
    if classes == 1:
        weight[0, 1] = -GAIN
    return weight, np.array(bias, float) if bias is not None else offset


def _old_softmax(add: Any, value: str) -> str:
    """Softmax over channels before opset 13, which knew the last axis only."""
    value = add('Transpose', [value], perm=[0, 2, 3, 1])
    value = add('Softmax', [value], axis=3)
    return add('Transpose', [value], perm=[0, 3, 1, 2])


def _ids(add: Any, constants: dict[str, np.ndarray], value: str, shape: str) -> str:
    value = add('ArgMax', [value], axis=1, keepdims=int(shape in ('nchw', 'nhwc')))
    if shape == 'nhwc':
        value = add('Transpose', [value], perm=[0, 2, 3, 1])
    if shape == 'hw':
        constants['axis0'] = np.array([0], np.int64)
        value = add('Squeeze', [value, 'axis0'])
    return value
