"""Reading and changing ONNX graphs in place: names, dead nodes, opsets. Needs ``onnx``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from seg_perception.core.errors import BundleError

if TYPE_CHECKING:
    import onnx

#: onnx.TensorProto.DataType
FLOAT, UINT8, FLOAT16 = 1, 2, 10
_GRAPH, _GRAPHS = 5, 10  # onnx.AttributeProto.AttributeType


def subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == _GRAPH:
            yield attribute.g
        elif attribute.type == _GRAPHS:
            yield from attribute.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Names a node reads, those of its branches and loops included."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        names.update(item.name for item in graph.output)
        for inner in graph.node:
            names |= reads(inner)
    return names


def needed(
    nodes: Sequence[onnx.NodeProto], *outputs: str, behind: str = ''
) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in order; only those ``behind`` a tensor if named."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= reads(node) - {behind}
    return kept[::-1]


def drop_unused(graph: onnx.GraphProto) -> None:
    used = set().union(*(reads(node) for node in graph.node))
    made = {name for node in graph.node for name in node.output}
    for tensors, names in ((graph.initializer, used), (graph.value_info, made)):
        kept = [item for item in tensors if item.name in names]
        del tensors[:]
        tensors.extend(kept)


def uses(graph: onnx.GraphProto, name: str) -> bool:
    tensors = (graph.input, graph.output, graph.initializer, graph.value_info)
    return any(item.name == name for group in tensors for item in group) or any(
        name in reads(node) | set(node.output) for node in graph.node
    )


def move_away(graph: onnx.GraphProto, names: Iterable[str], prefix: str) -> dict[str, str]:
    """Free names that tensors have taken; return what these are called now, by their old names."""
    moved = {name: f'{prefix}{name}' for name in names if uses(graph, name)}
    for old, new in moved.items():
        rename(graph, old, new)
    return moved


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a tensor another name wherever it is made or read."""
    for group in (graph.input, graph.output, graph.initializer, graph.value_info):
        for item in group:
            if item.name == old:
                item.name = new
    for annotation in graph.quantization_annotation:
        if annotation.tensor_name == old:
            annotation.tensor_name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
        for inner in subgraphs(node):
            rename(inner, old, new)


def check_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model at a default-domain opset the wrapping's nodes exist in (>= 13).

    Raises:
        BundleError: an older one that ``onnx.version_converter`` cannot lift.
    """
    from onnx import version_converter

    versions = [item.version for item in model.opset_import if item.domain in ('', 'ai.onnx')]
    if not versions:
        raise BundleError('the file names no ONNX opset: it is no ONNX model')
    if versions[0] >= 13:
        return model
    try:
        return version_converter.convert_version(model, 13)
    except Exception as error:  # the converter raises whatever its C++ raises
        raise BundleError(
            f'the network uses ONNX opset {versions[0]}, which cannot be lifted to 13 ({error}); '
            'export it again with opset 13 or newer'
        ) from error
