"""fp16: the network of a deployed graph in half precision, for GPUs."""

from __future__ import annotations

import onnx

from seg_perception.runtime.graph_edit import drop_unused, needed


def to_half(graph: onnx.ModelProto, ends: tuple[str, str]) -> onnx.ModelProto:
    """Return a copy whose network computes in float16 and whose weights take half the space.

    Pre- and post-processing stay float32: 0..255 minus the mean is exact there, and the winner
    of interpolated logits is decided without a further rounding.

    Args:
        graph: float32.
        ends: names of the tensors between which the network lies.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    inside = needed(copy.graph.node, ends[1], behind=ends[0])
    # On its own: the converter writes files no engine loads where two nodes that stay float32
    # read one tensor.
    network = convert_float_to_float16(_alone(copy, inside, ends), keep_io_types=True)
    names = {node.name for node in inside}
    last = max(i for i, node in enumerate(copy.graph.node) if node.name in names)
    before = [n for n in copy.graph.node[:last] if n.name not in names]
    behind = [n for n in copy.graph.node[last:] if n.name not in names]
    merged = [*before, *network.graph.node, *behind]
    shared = set().union(*(node.input for node in (*before, *behind)))
    weights = [
        *network.graph.initializer,
        *(item for item in copy.graph.initializer if item.name in shared),
    ]
    del copy.graph.node[:], copy.graph.initializer[:], copy.graph.value_info[:]
    copy.graph.node.extend(merged)
    copy.graph.initializer.extend(weights)
    drop_unused(copy.graph)
    return copy


def _alone(
    graph: onnx.ModelProto, nodes: list[onnx.NodeProto], ends: tuple[str, str]
) -> onnx.ModelProto:
    """Return the network as a model of its own: float32 in, float32 out."""
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ['n', 'c', 'h', 'w'])
        for name in ends
    ]
    body = onnx.helper.make_graph(nodes, 'network', ports[:1], ports[1:], graph.graph.initializer)
    drop_unused(body)
    return onnx.helper.make_model(
        body, opset_imports=graph.opset_import, ir_version=graph.ir_version
    )
