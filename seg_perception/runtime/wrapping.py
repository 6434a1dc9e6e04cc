"""Graph surgery: a float network becomes the deployed graph of a semantic bundle.

    uint8 [1, H, W, 3] -> cast, transpose, normalise -> network -> labels uint8 [1, H', W'],
                                                                   confidence uint8 [1, h, w]

The form of each part was chosen by timing it in ONNX Runtime and OpenVINO (docs/bundles.md).
Needs the package ``onnx``; nothing that runs a network imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_perception.core.results import UNLABELLED
from seg_perception.runtime.graph_edit import (
    FLOAT,
    FLOAT16,
    UINT8,
    drop_unused,
    move_away,
    needed,
)
from seg_perception.runtime.metadata import (
    CLASSES_KEY,
    NETWORK_INPUT_KEY,
    NETWORK_OUTPUT_KEY,
    classes_text,
)

if TYPE_CHECKING:
    import onnx

#: Tensors of the deployed graph.
IMAGE, LABELS, CONFIDENCE = 'image', 'labels', 'confidence'
#: Prefix of the names of nodes and tensors that are ours.
OWN = 'seg_perception/'
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Preprocessing:
    """How the network wants its pixels: ``(pixel * scale - mean) / std`` per channel.

    Attributes:
        layout: 'nchw' or 'nhwc'.
        dtype: of the network's input, FLOAT, FLOAT16 or UINT8.
        scale, mean, std: mean and std have one value or three, in the network's channel order.
    """

    layout: str
    dtype: int = FLOAT
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Postprocessing:
    """What the network gives and what shall be made of it.

    Attributes:
        kind: 'logits', 'softmax' (probabilities) or 'labels' (class ids).
        layout: of scores: 'nchw' or 'nhwc'.
        rank: of the output tensor; scores have 4 (3 = without the batch axis).
        channels: of the scores, before the selection; one = the probability of the second class.
        classes: of the label set.
        stride: input pixels per output pixel.
        resize: the scores must be interpolated to the mask's size.
        select: channels to keep, in the order of the label set; empty = all.
        label_stride: input pixels per pixel of the mask; the scores are interpolated to it.
        confidence_stride: the confidence is as fine as the network's output, but no finer.
        align_corners: how the network's grid lies on its input: corners on corners (inputs of
            16 n + 1 pixels) or, as usual, half pixels.
    """

    kind: str
    layout: str
    rank: int
    channels: int
    classes: int
    stride: int
    resize: bool
    select: tuple[int, ...] = ()
    label_stride: int = 1
    confidence_stride: int = 4
    align_corners: bool = False


class GraphBuilder:
    """Collects nodes and constants under names no network uses."""

    def __init__(self, part: str, opset: int) -> None:
        self.prefix = f'{OWN}{part}/'
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: np.ndarray | Sequence[int] | float, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        name = f'{self.prefix}const_{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def add(self, op: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Append a node; return its output (of TopK the indices), which ``to`` may name."""
        from onnx import helper

        name = to or f'{self.prefix}{op.lower()}_{len(self.nodes)}'
        names = [name] if op != 'TopK' else [f'{name}_values', name]
        self.nodes.append(helper.make_node(op, list(inputs), names, name, **attributes))
        return name

    def cast(self, value: str, dtype: int, to: str | None = None) -> str:
        from onnx import helper

        name = to or f'{self.prefix}cast_{len(self.nodes)}'
        self.nodes.append(helper.make_node('Cast', [value], [name], name, to=dtype))
        return name

    def reduce_max(self, value: str, keepdims: int) -> str:
        if self.opset >= 18:
            return self.add('ReduceMax', value, self.ints(1), keepdims=keepdims)
        return self.add('ReduceMax', value, axes=[1], keepdims=keepdims)


def wrap_semantic(
    model: onnx.ModelProto,
    input_name: str,
    output_name: str,
    pre: Preprocessing,
    post: Postprocessing,
    size: tuple[int, int] | None,
    class_names: Sequence[str],
) -> onnx.ModelProto:
    """Wrap a network, in place, into the deployed graph.

    Args:
        model: one image input and any number of outputs, default-domain opset >= 13, every
            weight inside the file.
        input_name, output_name: of the network's image and scores.
        pre, post: what to put before and behind it.
        size: (height, width) of the input; None = dynamic.
        class_names: by id, kept in the file's metadata.

    Returns:
        The model: ``image`` uint8 [1, H, W, 3] to ``labels`` uint8 [1, H', W'] and, unless the
        network gives labels only, ``confidence`` uint8 [1, h, w].
    """
    from onnx import helper

    taken = move_away(model.graph, (IMAGE, LABELS, CONFIDENCE), f'{OWN}network/')
    input_name, output_name = (taken.get(name, name) for name in (input_name, output_name))
    opset = opset_of(model)
    before, behind = GraphBuilder('pre', opset), GraphBuilder('post', opset)
    add_preprocessing(before, pre, input_name)
    outputs = [
        helper.make_tensor_value_info(name, UINT8, [1, None, None])
        for name in _add_post(behind, post, output_name, size)
    ]
    props = {
        CLASSES_KEY: classes_text(class_names),
        NETWORK_INPUT_KEY: input_name,
        NETWORK_OUTPUT_KEY: output_name,
    }
    network = needed(model.graph.node, output_name)
    return assemble(model, before, network, behind, size, outputs, props)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default domain's opset."""
    return next(item.version for item in model.opset_import if item.domain in ('', 'ai.onnx'))


def assemble(
    model: onnx.ModelProto,
    before: GraphBuilder,
    network: Sequence[onnx.NodeProto],
    behind: GraphBuilder,
    size: tuple[int, int] | None,
    outputs: Sequence[onnx.ValueInfoProto],
    props: dict[str, str],
) -> onnx.ModelProto:
    """Put a deployed graph together, in place of the network's own.

    Args:
        model: whose graph is replaced.
        before, network, behind: the nodes.
        size: (height, width) of ``image``; None = dynamic.
        outputs: of the whole.
        props: the file's metadata.
    """
    from onnx import helper

    graph, (height, width) = model.graph, size or ('height', 'width')
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*before.nodes, *network, *behind.nodes])
    graph.initializer.extend([*before.constants, *behind.constants])
    graph.input.append(helper.make_tensor_value_info(IMAGE, UINT8, [1, height, width, 3]))
    graph.output.extend(outputs)
    drop_unused(graph)
    model.ir_version = max(model.ir_version, 4)  # before 4, weights had to be inputs
    helper.set_model_props(model, props)
    return model


def add_preprocessing(g: GraphBuilder, pre: Preprocessing, network_input: str) -> None:
    """Append the nodes from ``image``, uint8 [1, H, W, 3], to what the network takes."""
    value = IMAGE
    if pre.dtype != UINT8:
        value = g.cast(value, FLOAT)
    nchw = pre.layout == 'nchw'
    if nchw:
        value = g.add('Transpose', value, perm=[0, 3, 1, 2])
    if pre.dtype != UINT8:
        shape = (1, -1, 1, 1) if nchw else (1, 1, 1, -1)
        std = np.array(pre.std, np.float64)
        factor = (pre.scale / std).reshape(shape)
        shift = (-np.array(pre.mean, np.float64) / std).reshape(shape)
        if np.any(factor != 1):
            value = g.add('Mul', value, g.const(factor))
        if np.any(shift != 0):
            value = g.add('Add', value, g.const(shift))
    if pre.dtype == FLOAT16:
        value = g.cast(value, FLOAT16)
    g.add('Identity', value, to=network_input)


def _add_post(
    g: GraphBuilder, post: Postprocessing, value: str, size: tuple[int, int] | None
) -> list[str]:
    if post.kind == 'labels':
        _labels_of_ids(g, post, value, size)
        return [LABELS]
    value = _scores(g, post, value)
    if post.classes == 2:
        _outputs_of_two(g, post, value, size)
    else:
        _outputs_of_many(g, post, value, size)
    return [LABELS, CONFIDENCE]


def _scores(g: GraphBuilder, post: Postprocessing, value: str) -> str:
    """Bring the output to float32 [1, classes, h, w]."""
    value = g.cast(value, FLOAT)
    if post.rank == 3:
        value = g.add('Unsqueeze', value, g.ints(0))
    if post.layout == 'nhwc':
        value = g.add('Transpose', value, perm=[0, 3, 1, 2])
    if post.select:
        value = g.add('Gather', value, g.ints(*post.select), axis=1)
    elif post.channels == 1 and post.kind == 'softmax':
        value = g.add('Concat', g.add('Sub', g.const(1.0), value), value, axis=1)
    elif post.channels == 1:
        # softmax([0, x]) is [1 - sigmoid(x), sigmoid(x)].
        value = g.add('Concat', g.add('Mul', value, g.const(0.0)), value, axis=1)
    return value


def _outputs_of_two(
    g: GraphBuilder, post: Postprocessing, scores: str, size: tuple[int, int] | None
) -> None:
    """Two classes need no argmax: the sign of the difference decides."""
    first = g.add('Gather', scores, g.ints(0), axis=1)
    second = g.add('Gather', scores, g.ints(1), axis=1)
    lead = g.add('Sub', second, first)
    wide = _resize(g, post, lead, 1, size)
    wins = g.cast(g.add('Greater', wide, g.const(0.0)), UINT8)
    g.add('Squeeze', wins, g.ints(1), to=LABELS)
    lead = g.add('Abs', _thin(g, post, lead))
    if post.kind == 'logits':
        best = g.add('Sigmoid', lead)
    else:  # p and 1 - p: the larger is (1 + |difference|) / 2
        best = g.add('Add', g.add('Mul', lead, g.const(0.5)), g.const(0.5))
    _confidence(g, g.add('Squeeze', g.add('Mul', best, g.const(255.0)), g.ints(1)))


def _outputs_of_many(
    g: GraphBuilder, post: Postprocessing, scores: str, size: tuple[int, int] | None
) -> None:
    wide = _resize(g, post, scores, post.classes, size)
    if wide == scores:
        index = g.add('ArgMax', scores, axis=1, keepdims=0)
    else:
        # OpenVINO takes twice as long for ArgMax behind Resize (it picks a padded layout).
        index = g.add('Squeeze', g.add('TopK', wide, g.ints(1), axis=1), g.ints(1))
    g.cast(index, UINT8, to=LABELS)
    thin = _thin(g, post, scores)
    if post.kind == 'softmax':
        _confidence(g, g.add('Mul', g.reduce_max(thin, 0), g.const(255.0)))
        return
    # max(softmax(x)) = 1 / sum(exp(x - max(x))): ONNX Runtime's Softmax over any axis but the
    # last is nine times slower.
    shifted = g.add('Sub', thin, g.reduce_max(thin, 1))
    total = g.add('ReduceSum', g.add('Exp', shifted), g.ints(1), keepdims=0)
    _confidence(g, g.add('Div', g.const(255.0), total))


def _labels_of_ids(
    g: GraphBuilder, post: Postprocessing, value: str, size: tuple[int, int] | None
) -> None:
    """Bring class ids of any type and rank to uint8; what no class has becomes 255."""
    if post.rank == 4:
        value = g.add('Squeeze', value, g.ints(1 if post.layout == 'nchw' else 3))
    elif post.rank == 2:
        value = g.add('Unsqueeze', value, g.ints(0))
    value = g.cast(value, FLOAT)
    known = g.add(
        'And',
        g.add('GreaterOrEqual', value, g.const(0.0)),
        g.add('Less', value, g.const(float(post.classes))),
    )
    value = g.add('Where', known, value, g.const(float(UNLABELLED)))
    if post.resize:
        value = g.add('Unsqueeze', value, g.ints(1))
        value = _resize(g, post, value, 1, size, mode='nearest')
        value = g.add('Squeeze', value, g.ints(1))
    g.cast(value, UINT8, to=LABELS)


def _resize(
    g: GraphBuilder,
    post: Postprocessing,
    value: str,
    channels: int,
    size: tuple[int, int] | None,
    mode: str = 'linear',
) -> str:
    """Interpolate [1, channels, h, w] to the mask's size; the value itself if it has it."""
    if not post.resize:
        return value
    if size is not None:
        sizes = g.ints(1, channels, *(side // post.label_stride for side in size))
    else:
        sides = g.add('Gather', g.add('Shape', IMAGE), g.ints(1, 2))
        if post.label_stride > 1:
            sides = g.add('Div', sides, g.ints(post.label_stride))
        sizes = g.add('Concat', g.ints(1, channels), sides, axis=0)
    grid = 'align_corners' if post.align_corners else 'half_pixel'
    extra = {'nearest_mode': 'round_prefer_floor'} if mode == 'nearest' else {}
    return g.add(
        'Resize', value, '', '', sizes, mode=mode, coordinate_transformation_mode=grid, **extra
    )


def _thin(g: GraphBuilder, post: Postprocessing, value: str) -> str:
    """Keep every k-th pixel of scores that are finer than the confidence needs to be."""
    step = post.confidence_stride // post.stride
    if step <= 1:
        return value
    start, end = g.ints(step // 2, step // 2), g.ints(_END, _END)
    return g.add('Slice', value, start, end, g.ints(2, 3), g.ints(step, step))


def _confidence(g: GraphBuilder, scaled: str) -> None:
    """Round 0..255 to uint8; Clip keeps probabilities a hair above 1 from wrapping round."""
    rounded = g.add('Add', scaled, g.const(0.5))
    clipped = g.add('Clip', rounded, g.const(0.0), g.const(255.0))
    g.cast(clipped, UINT8, to=CONFIDENCE)
