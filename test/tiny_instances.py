"""An instance model whose objects anyone can predict: they are written in the picture.

Each row of the picture holds one object in its first pixels: (class + 1, score, 0), then the
corners (x1, y1, 0) and (x2, y2, 0), in tens of pixels. A row whose first pixel is black holds
none. Masks are the disc inscribed in the box. Boxes are in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import serialized, write_files

CLASSES = [
    {'id': 0, 'name': 'person', 'color': [255, 0, 0], 'role': 'obstacle', 'cost': 100},
    {'id': 1, 'name': 'car', 'color': [0, 0, 255], 'role': 'obstacle', 'cost': 100},
    {'id': 2, 'name': 'sign', 'color': [0, 255, 0], 'role': 'ignore', 'cost': 0},
]
PERSON, CAR, SIGN = 0, 1, 2
#: Cells of a mask's side, and pixels per unit of a written coordinate.
SIDE, UNIT = 28, 10


def write_tiny_instances(
    folder: Path, *, work: int = 0, shift: float = 0.0, changes: dict[str, Any] | None = None
) -> Path:
    """Write a bundle and return its folder.

    Args:
        folder: made if it is not there.
        work: number of wide convolutions beside the answer, to make it slow.
        shift: pixels by which every box is moved to the left: beyond the picture, say.
        changes: keys of model.yaml to replace (None removes one).
    """
    description = {
        'task': 'instance',
        'architecture': 'reads objects from pixels',
        'labels': {'name': 'tiny objects', 'classes': CLASSES},
        'classes': len(CLASSES),
        'input': {'name': 'image', 'color': 'rgb', 'size': None, 'default_size': [180, 320]},
        'output': {name: name for name in ('boxes', 'labels', 'scores', 'masks')},
    }
    return write_files(folder, _graph(work, shift), description, changes)


def picture_of(
    objects: Sequence[tuple[int, int, int, int, int, int]],
    width: int = 320,
    height: int = 180,
) -> np.ndarray:
    """Return a picture, uint8 [height, width, 3], that holds the given objects.

    Args:
        objects: (class, score 0..255, x1, y1, x2, y2), corners in tens of pixels, 0..255.
        width, height: of the picture, in pixels.
    """
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[:, 0] = 0
    for row, (label, score, x1, y1, x2, y2) in zip(picture, objects, strict=False):
        row[0], row[1], row[2] = (label + 1, score, 0), (x1, y1, 0), (x2, y2, 0)
    return picture


def _graph(work: int, shift: float) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    constants: list[tuple[str, np.ndarray]] = [
        ('zero', np.array(0, np.float32)),
        ('one_i', np.array(1, np.int64)),
        ('axis0', np.array([0], np.int64)),
        ('s0', np.array([0], np.int64)),
        ('s1', np.array([1], np.int64)),
        ('s2', np.array([2], np.int64)),
        ('s3', np.array([3], np.int64)),
        ('axis1', np.array([1], np.int64)),
        ('unit', np.array(UNIT, np.float32)),
        ('shift', np.array([shift, 0, shift, 0], np.float32)),
        ('full', np.array(255, np.float32)),
        ('corner_axes', np.array([1, 2], np.int64)),
        ('two', np.array([2], np.int64)),
        ('four', np.array([-1, 4], np.int64)),
        ('disc', _disc()),
        ('ones3', np.array([1, 1], np.int64)),
    ]
    nodes = [
        helper.make_node('Squeeze', ['image', 'axis0'], ['rows8']),
        helper.make_node('Cast', ['rows8'], ['rows'], to=TensorProto.FLOAT),  # [H, W, 3]
        helper.make_node('Slice', ['rows', 's0', 's3', 'axis1'], ['head']),  # [H, 3, 3]
        helper.make_node('Slice', ['head', 's0', 's1', 'axis1'], ['first']),
        helper.make_node('Slice', ['first', 's0', 's1', 'two'], ['classes3']),
        helper.make_node('Squeeze', ['classes3', 'corner_axes'], ['classes']),  # [H]
        helper.make_node('Greater', ['classes', 'zero'], ['present']),
        helper.make_node('NonZero', ['present'], ['index2']),
        helper.make_node('Squeeze', ['index2', 'axis0'], ['index']),
        helper.make_node('Gather', ['head', 'index'], ['found']),  # [N, 3, 3]
        helper.make_node('Gather', ['classes', 'index'], ['raw']),
        helper.make_node('Cast', ['raw'], ['raw_i'], to=TensorProto.INT64),
        helper.make_node('Sub', ['raw_i', 'one_i'], ['labels']),
        helper.make_node('Slice', ['found', 's0', 's1', 'axis1'], ['f0']),
        helper.make_node('Slice', ['f0', 's1', 's2', 'two'], ['score3']),
        helper.make_node('Squeeze', ['score3', 'corner_axes'], ['score255']),
        helper.make_node('Div', ['score255', 'full'], ['scores_']),
        helper.make_node('Slice', ['found', 's1', 's3', 'axis1'], ['corners3']),
        helper.make_node('Slice', ['corners3', 's0', 's2', 'two'], ['corners']),  # [N, 2, 2]
        helper.make_node('Reshape', ['corners', 'four'], ['units']),
        helper.make_node('Mul', ['units', 'unit'], ['pixels']),
        helper.make_node('Sub', ['pixels', 'shift'], ['boxes']),
        helper.make_node('Shape', ['index'], ['n']),
        helper.make_node('Concat', ['n', 'ones3'], ['many'], axis=0),
        helper.make_node('Expand', ['disc', 'many'], ['masks']),
    ]
    nodes += _work(constants, work)
    outputs = {
        'boxes': (TensorProto.FLOAT, [None, 4]),
        'labels': (TensorProto.INT64, [None]),
        'scores': (TensorProto.FLOAT, [None]),
        'masks': (TensorProto.FLOAT, [None, SIDE, SIDE]),
    }
    graph = helper.make_graph(
        nodes,
        'written_objects',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, [1, 'height', 'width', 3])],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    return serialized(graph)


def _disc() -> np.ndarray:
    """float32 [1, SIDE, SIDE]: 1 inside the circle that touches the sides, 0 outside."""
    at = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    return (at[:, None] ** 2 + at**2 < 0.25).astype(np.float32)[None]


def _work(constants: list[tuple[str, np.ndarray]], work: int) -> list[Any]:
    """Convolutions whose result, times zero, is added to the scores."""
    from onnx import helper

    if not work:
        return [helper.make_node('Identity', ['scores_'], ['scores'])]
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node('Unsqueeze', ['rows', 'axis0'], ['batch']),
        helper.make_node('Transpose', ['batch'], ['planes'], perm=[0, 3, 1, 2]),
    ]
    last, channels = 'planes', 3
    for i in range(work):
        weight = rng.normal(0, 0.02, (64, channels, 3, 3)).astype(np.float32)
        constants.append((f'weight{i}', weight))
        nodes.append(
            helper.make_node('Conv', [last, f'weight{i}'], [f'busy{i}'], pads=[1, 1, 1, 1])
        )
        last, channels = f'busy{i}', 64
    constants.append(('tiny', np.array(1e-30, np.float32)))
    return [
        *nodes,
        helper.make_node('ReduceMean', [last], ['mean'], keepdims=0),
        helper.make_node('Mul', ['mean', 'tiny'], ['nothing']),
        helper.make_node('Add', ['scores_', 'nothing'], ['scores']),
    ]
