"""A model whose mask anyone can predict: the class is the brightest colour channel.

Red pixels are class 0 ('wall', an obstacle), green ones class 1 ('road', drivable), blue ones
class 2 ('sky', ignored); the confidence is the brightest channel's value.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CLASSES = [
    {'id': 0, 'name': 'wall', 'color': [200, 0, 0], 'role': 'obstacle', 'cost': 100},
    {'id': 1, 'name': 'road', 'color': [0, 200, 0], 'role': 'drivable', 'cost': 0},
    {'id': 2, 'name': 'sky', 'color': [0, 0, 200], 'role': 'ignore', 'cost': 0},
]
WALL, ROAD, SKY = 0, 1, 2


def write_tiny_bundle(
    folder: Path,
    *,
    size: tuple[int, int] = (90, 160),
    pictures: int | None = 1,
    work: int = 0,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a bundle and return its folder.

    Args:
        folder: made if it is not there.
        size: (height, width) of the network's input.
        pictures: that the network takes at once; None = any number.
        work: number of wide convolutions that the graph computes beside its answer and that
            change nothing, to make it slow.
        changes: keys of model.yaml to replace (None removes one).
    """
    description = {
        'task': 'semantic',
        'architecture': 'brightest channel',
        'labels': {'name': 'tiny', 'classes': CLASSES},
        'classes': len(CLASSES),
        'input': {'name': 'image', 'color': 'rgb', 'size': list(size), 'multiple': 1},
        'output': {'labels': 'labels', 'confidence': 'confidence'},
    }
    return write_files(folder, _graph(size, pictures, work), description, changes)


def write_files(
    folder: Path, graph: bytes, description: dict[str, Any], changes: dict[str, Any] | None
) -> Path:
    """Write the files of a bundle; ``description`` without what all tiny ones share."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / 'model.onnx'
    model.write_bytes(graph)
    whole: dict[str, Any] = {
        'schema': 1,
        'name': folder.name,
        'file': model.name,
        'sha256': hashlib.sha256(graph).hexdigest(),
        'licence': {'code': 'Apache-2.0', 'weights': 'Apache-2.0', 'data': 'none'},
        'source': 'written by the tests',
        **description,
        **(changes or {}),
    }
    whole = {key: value for key, value in whole.items() if value is not None}
    (folder / 'model.yaml').write_text(yaml.safe_dump(whole, sort_keys=False))
    return folder


def _graph(size: tuple[int, int], pictures: int | None, work: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    height, width = size
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2]),
    ]
    initializers = []
    planes = 'planes'
    if work:
        planes = _add_work(nodes, initializers, work)
    nodes += [
        helper.make_node('ArgMax', [planes], ['ids'], axis=1, keepdims=0),
        helper.make_node('Cast', ['ids'], ['labels'], to=TensorProto.UINT8),
        helper.make_node('ReduceMax', ['planes'], ['best'], axes=[1], keepdims=0),
        helper.make_node('Cast', ['best'], ['confidence'], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        'brightest_channel',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, [pictures, height, width, 3])],
        [
            helper.make_tensor_value_info('labels', TensorProto.UINT8, [pictures, height, width]),
            helper.make_tensor_value_info(
                'confidence', TensorProto.UINT8, [pictures, height, width]
            ),
        ],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    return serialized(graph, {'seg_perception.classes': str(len(CLASSES))})


def serialized(graph: Any, props: dict[str, str] | None = None) -> bytes:
    """Return a checked model of a graph."""
    from onnx import checker, helper

    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], producer_name='seg_perception tests'
    )
    model.ir_version = 8
    helper.set_model_props(model, props or {})
    checker.check_model(model)
    return model.SerializeToString()


def _add_work(nodes: list, initializers: list, work: int) -> str:
    """Append convolutions whose result, times zero, is added to the planes."""
    from onnx import helper

    channels = 64
    initializers.append(('first', np.full((channels, 3, 1, 1), 1e-3, np.float32)))
    nodes.append(helper.make_node('Conv', ['planes', 'first'], ['busy0']))
    rng = np.random.default_rng(0)
    for i in range(work):
        weight = rng.normal(0, 0.02, (channels, channels, 3, 3)).astype(np.float32)
        initializers.append((f'busy_weight{i}', weight))
        nodes.append(
            helper.make_node(
                'Conv', [f'busy{i}', f'busy_weight{i}'], [f'busy{i + 1}'], pads=[1, 1, 1, 1]
            )
        )
    initializers.append(('last', np.full((3, channels, 1, 1), 1e-20, np.float32)))
    nodes.append(helper.make_node('Conv', [f'busy{work}', 'last'], ['nothing']))
    nodes.append(helper.make_node('Add', ['planes', 'nothing'], ['worked']))
    return 'worked'
