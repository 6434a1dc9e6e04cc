"""Instance networks such as others export, small enough to predict.

Their weights hold the objects: each network gives the same boxes, scores and masks whatever
the picture, but for the scores of the last object, which are the picture's mean red.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

#: Input of the networks, in pixels: (height, width).
SIZE = (64, 96)
#: Centre x, y, width, height; class; score. The second overlaps the first, in the same class.
OBJECTS = [
    (24.0, 24.0, 32.0, 24.0, 0, 0.9),
    (25.0, 25.0, 32.0, 24.0, 0, 0.8),
    (70.0, 40.0, 20.0, 30.0, 1, 0.7),
    (70.0, 40.0, 20.0, 30.0, 2, 0.01),
]
CLASSES = 3
STRIDE, COEFFICIENTS = 4, 2


def table_rows(kind: str) -> np.ndarray:
    """float32 [N, columns] of YOLO's kind: 'scores', 'objectness' or 'final'."""
    rows = []
    for cx, cy, w, h, label, score in OBJECTS:
        classes = [0.0] * CLASSES
        classes[label] = score
        # The first prototype is the left half of the picture, the second all of it.
        coefficients = [0.0, 1.0] if label else [1.0, 0.0]
        if kind == 'final':
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            rows.append([*box, score, label, *coefficients])
        elif kind == 'objectness':
            rows.append([cx, cy, w, h, 0.5, *(2 * c for c in classes), *coefficients])
        else:
            rows.append([cx, cy, w, h, *classes, *coefficients])
    return np.array(rows, np.float32)


def prototypes() -> np.ndarray:
    """float32 [1, 2, h, w]: logits, +8 inside and -8 outside."""
    height, width = SIZE[0] // STRIDE, SIZE[1] // STRIDE
    planes = np.full((1, COEFFICIENTS, height, width), 8.0, np.float32)
    planes[0, 0, :, width // 4 :] = -8.0  # inside are the first 24 of 96 pixels
    return planes


def write_table(
    path: Path,
    *,
    kind: str = 'scores',
    rows_first: bool = False,
    opset: int = 17,
    only: slice = slice(None),
    size: Any = SIZE,
) -> Path:
    """Write a network with a table [1, columns, N] and prototypes; `only` takes some objects."""
    rows = table_rows(kind)[only]
    values = rows if rows_first else rows.T
    return write_constants(
        path, {'output0': values[None], 'output1': prototypes()}, opset=opset, size=size
    )


def write_constants(
    path: Path, outputs: dict[str, np.ndarray], *, opset: int = 17, size: Any = SIZE
) -> Path:
    """Write a network that gives these outputs (plus nothing of the picture)."""
    constants = [
        numpy_helper.from_array(np.array(0, np.float32), 'zero'),
        *(numpy_helper.from_array(array, f'{name}_value') for name, array in outputs.items()),
    ]
    nodes = [
        helper.make_node('ReduceMean', ['images'], ['mean'], keepdims=0),
        helper.make_node('Mul', ['mean', 'zero'], ['nothing']),
    ]
    made = []
    for name, array in outputs.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        nodes.append(helper.make_node('Cast', ['nothing'], [f'{name}_zero'], to=dtype))
        nodes.append(helper.make_node('Add', [f'{name}_value', f'{name}_zero'], [name]))
        made.append(helper.make_tensor_value_info(name, dtype, list(array.shape)))
    graph = helper.make_graph(
        nodes,
        'detector',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, *size])],
        made,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    model.ir_version = 8
    save(model, path)
    return path
