"""fp16: the network of a deployed graph in half precision, for GPUs."""

from __future__ import annotations

import onnx

from seg_perception.runtime.graph_edit import needed


def to_half(graph: onnx.ModelProto, ends: tuple[str, str]) -> onnx.ModelProto:
    """Return a copy whose network computes in float16 and whose weights take half the space.

    Pre- and post-processing stay float32: 0..255 minus the mean is exact there, and the winner
    of interpolated logits is decided without a further rounding.

    Args:
        graph: float32.
        ends: names of the tensors between which the network lies.
    """
    from onnxruntime.transformers.float16 import (
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    inside = {node.name for node in needed(copy.graph.node, ends[1], ends[0])}
    around = [node.name for node in copy.graph.node if node.name not in inside]
    return convert_float_to_float16(
        copy,
        keep_io_types=True,
        op_block_list=DEFAULT_OP_BLOCK_LIST,
        node_block_list=around,
    )
