"""int8 by calibration: the convolutional part of a deployed graph in 8-bit arithmetic.

Static quantisation in QDQ form (Jacob et al., CVPR 2018, arXiv:1712.05877): activations uint8
with a zero point, weights int8 per channel, ranges measured on real pictures. What lies before
and behind the network stays as it was: its input is uint8 already, and interpolating quantised
logits would turn close decisions.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx

from seg_perception.core.errors import ExportError
from seg_perception.runtime.graph_edit import needed

#: Nodes that a network of attention has and a convolutional one has not.
_ATTENTION = {'Softmax', 'LayerNormalization', 'Attention', 'MultiHeadAttention'}
#: Fewer pictures do not show the range of the activations.
LEAST_PICTURES = 8


def quantize(
    graph: onnx.ModelProto,
    ends: tuple[str, str],
    pictures: Sequence[np.ndarray],
    name: str,
    keep_float: Sequence[str] = (),
) -> onnx.ModelProto:
    """Return a quantised copy of a deployed graph.

    Args:
        graph: float32, one uint8 input [1,H,W,3].
        ends: names of the tensors between which the network lies.
        pictures: uint8 [H,W,3] in the graph's colour order, of sizes it takes.
        name: of the architecture, for messages.
        keep_float: shell patterns of names of nodes to leave as they are.

    Raises:
        ExportError: a pattern that fits no node, too few pictures, or a network of attention
            (no faster in int8, and less exact: docs/export.md).
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if len(pictures) < LEAST_PICTURES:
        raise ExportError(
            f'{len(pictures)} pictures to calibrate int8 on; it needs {LEAST_PICTURES} at least, '
            'of the kind the model will see (a hundred are usual)'
        )
    inside = needed(graph.graph.node, ends[1], behind=ends[0])
    found = ', '.join(sorted({node.op_type for node in inside} & _ATTENTION))
    if found:
        raise ExportError(
            f'{name}: int8 is for convolutional networks; this one has {found}. '
            'Export it as fp32 (OpenVINO takes bf16 by itself where the CPU has it) or fp16'
        )
    kept = _kept(inside, keep_float, ends[1])
    with tempfile.TemporaryDirectory(prefix='seg_perception_int8_') as folder, _quiet():
        prepared, made = Path(folder) / 'prepared.onnx', Path(folder) / 'int8.onnx'
        quant_pre_process(graph, str(prepared), skip_symbolic_shape=True)
        ready = onnx.load(prepared)
        quantization.quantize_static(
            ready,
            str(made),
            _Reader(pictures, ready.graph.input[0].name),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=[
                node.name for node in needed(ready.graph.node, ends[1], behind=ends[0])
            ],
            nodes_to_exclude=kept,
            # Of the whole range: outliers are what a class that is rarely seen looks like.
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(made)


def _kept(nodes: Sequence[onnx.NodeProto], patterns: Sequence[str], output: str) -> list[str]:
    """Return names of the nodes that stay float32: the asked for, and the one with the logits.

    256 steps would make ties of logits, and it is the last layer: hardly any of the time.
    """
    kept = {node.name for node in nodes if output in node.output}
    for pattern in patterns:
        found = {node.name for node in nodes if fnmatchcase(node.name, pattern)}
        if not found:
            raise ExportError(f'no node of the network is called {pattern!r} (keep_float)')
        kept |= found
    return sorted(kept)


class _Reader:
    """Calibration pictures in the form onnxruntime.quantization asks for."""

    def __init__(self, pictures: Sequence[np.ndarray], name: str) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = (
            {name: picture[np.newaxis]} for picture in pictures
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice (use quant_pre_process, which we did) out of the output."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
