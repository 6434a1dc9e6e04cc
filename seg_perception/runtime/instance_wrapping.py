"""Graph surgery: somebody's instance network becomes the deployed graph of an instance bundle.

    uint8 [1, H, W, 3] -> cast, transpose, normalise -> network -> suppression, mask crops ->
    boxes float32 [N, 4], labels int64 [N], scores float32 [N], masks float32 [N, S, S]

Suppression is part of the graph (ONNX NonMaxSuppression): masks are then made only of what is
kept, and every origin leaves the same few tensors to the code outside. Needs ``onnx``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seg_perception.runtime.graph_edit import FLOAT, move_away, needed
from seg_perception.runtime.instance_forms import InstanceOptions, SeparateForm, TableForm
from seg_perception.runtime.metadata import CLASSES_KEY, NETWORK_INPUT_KEY, classes_text
from seg_perception.runtime.wrapping import (
    IMAGE,
    OWN,
    GraphBuilder,
    Preprocessing,
    add_preprocessing,
    assemble,
    opset_of,
)

if TYPE_CHECKING:
    import onnx

INT64 = 7  # onnx.TensorProto.DataType
#: Tensors of the deployed graph.
OUTPUTS = ('boxes', 'labels', 'scores', 'masks')
_END = np.iinfo(np.int64).max


def wrap_instances(
    model: onnx.ModelProto,
    input_name: str,
    pre: Preprocessing,
    form: TableForm | SeparateForm,
    options: InstanceOptions,
    size: tuple[int, int] | None,
    class_names: Sequence[str],
) -> onnx.ModelProto:
    """Wrap a network, in place, into the deployed graph.

    Args:
        model: one image input, default-domain opset >= 13, every weight inside the file.
        input_name: of the network's image.
        pre: what to put before it.
        form, options: what it gives and what to make of it; nothing is left to find out.
        size: (height, width) of the input; None = dynamic.
        class_names: by id, kept in the file's metadata.
    """
    from onnx import helper

    taken = move_away(model.graph, (IMAGE, *OUTPUTS), f'{OWN}network/')
    input_name = taken.get(input_name, input_name)
    opset = opset_of(model)
    before, behind = GraphBuilder('pre', opset), GraphBuilder('post', opset)
    add_preprocessing(before, pre, input_name)
    post = _Post(behind, options, len(class_names), taken)
    sources = post.table(form) if isinstance(form, TableForm) else post.separate(form)
    own_side = isinstance(form, SeparateForm) and options.mask_form == 'box'
    side: str | int = 'side' if own_side else options.side
    shapes: list[tuple[str, int, list[str | int | None]]] = [
        ('boxes', FLOAT, ['objects', 4]),
        ('labels', INT64, ['objects']),
        ('scores', FLOAT, ['objects']),
        ('masks', FLOAT, ['objects', side, side]),
    ]
    outputs = [helper.make_tensor_value_info(*item) for item in shapes]
    props = {CLASSES_KEY: classes_text(class_names), NETWORK_INPUT_KEY: input_name}
    network = needed(model.graph.node, *sources)
    return assemble(model, before, network, behind, size, outputs, props)


class _Post:
    """Builds what comes behind the network."""

    def __init__(
        self, g: GraphBuilder, options: InstanceOptions, classes: int, taken: dict[str, str]
    ) -> None:
        self.g = g
        self.d = options
        self._classes = classes
        self._taken = taken

    def table(self, form: TableForm) -> list[str]:
        """Append the way from a table and prototypes; returns the network's outputs used."""
        g = self.g
        table, prototypes = self._source(form.table), self._source(form.prototypes)
        rows = g.add('Squeeze', g.cast(table, FLOAT), g.ints(0))
        if not form.rows_first:
            rows = g.add('Transpose', rows, perm=[1, 0])
        boxes = self._pixels(self._columns(rows, 0, 4))
        first = {'scores': 4, 'objectness': 5, 'final': 6}[form.kind]
        if form.kind == 'final':
            score = g.add('Squeeze', self._columns(rows, 4, 5), g.ints(1))
            label = g.cast(g.add('Squeeze', self._columns(rows, 5, 6), g.ints(1)), INT64)
            picked, labels, scores = self._best(score, label)
            coefficients = self._columns(rows, first, first + form.coefficients)
        else:
            scores_all = self._columns(rows, first, first + self._classes)
            if form.kind == 'objectness':
                scores_all = g.add('Mul', scores_all, self._columns(rows, 4, 5))
            picked, labels, scores = self._suppressed(boxes, scores_all)
            first += self._classes
            coefficients = self._columns(rows, first, first + form.coefficients)
        boxes = g.add('Gather', boxes, picked, axis=0)
        coefficients = g.add('Gather', coefficients, picked, axis=0)
        masks = self._from_prototypes(coefficients, g.cast(prototypes, FLOAT), boxes)
        self._outputs(boxes, labels, scores, masks)
        return [table, prototypes]

    def separate(self, form: SeparateForm) -> list[str]:
        """Append the way from separate outputs; returns the network's outputs used."""
        g, d = self.g, self.d
        names = (form.boxes, form.scores, form.labels, form.masks)
        sources = [None if name is None else self._source(name) for name in names]
        boxes, scores, labels, masks = (
            None if source is None else (g.add('Squeeze', source, g.ints(0)) if batch else source)
            for source, batch in zip(sources, form.batch_axis, strict=True)
        )
        assert boxes is not None
        assert scores is not None
        assert masks is not None
        boxes = self._pixels(g.cast(boxes, FLOAT))
        scores = g.cast(scores, FLOAT)
        if form.many_scores:
            scores = self._activated(scores)
            if d.suppress:
                picked, label, score = self._suppressed(boxes, scores)
            else:
                best = g.add('ArgMax', scores, axis=1, keepdims=0)
                picked, label, score = self._best(g.reduce_max(scores, 0), best)
        else:
            if d.score_kind != 'probabilities':
                scores = g.add('Sigmoid', scores)
            label = g.cast(labels, INT64) if labels is not None else self._zeros_like(scores)
            if d.label_offset:
                label = g.add('Sub', label, g.const(d.label_offset, np.int64))
            picked, label, score = self._best(scores, label)
        boxes = g.add('Gather', boxes, picked, axis=0)
        masks = g.add('Gather', g.cast(masks, FLOAT), picked, axis=0)
        masks = self._own_channel(masks, label, form)
        if d.mask_form == 'image':
            masks = self._crop(g.add('Unsqueeze', masks, g.ints(1)), boxes)
        if d.mask_logits:
            masks = g.add('Sigmoid', masks)
        self._outputs(boxes, label, score, masks)
        return [source for source in sources if source is not None]

    def _source(self, name: str) -> str:
        return self._taken.get(name, name)

    def _columns(self, value: str, start: int, end: int) -> str:
        g = self.g
        return g.add('Slice', value, g.ints(start), g.ints(end), g.ints(1))

    def _pixels(self, boxes: str) -> str:
        """Bring boxes [N, 4] of any format to x1, y1, x2, y2 in pixels of the input."""
        g, d = self.g, self.d
        if d.box_format == 'yxyx':
            boxes = g.add('Gather', boxes, g.ints(1, 0, 3, 2), axis=1)
        elif d.box_format != 'xyxy':
            first, sides = self._columns(boxes, 0, 2), self._columns(boxes, 2, 4)
            if d.box_format == 'cxcywh':
                first = g.add('Sub', first, g.add('Mul', sides, g.const(0.5)))
            boxes = g.add('Concat', first, g.add('Add', first, sides), axis=1)
        if d.normalised:
            boxes = g.add('Mul', boxes, self._sides_twice())
        return boxes

    def _sides_twice(self) -> str:
        """float32 [4]: width, height, width, height of the input."""
        g = self.g
        sides = g.add('Gather', g.add('Shape', IMAGE), g.ints(2, 1, 2, 1))
        return g.cast(sides, FLOAT)

    def _activated(self, scores: str) -> str:
        """Apply the activation to scores [N, classes + background]; drop the background."""
        g, d = self.g, self.d
        if d.score_kind == 'softmax':
            scores = g.add('Softmax', scores, axis=1)
        elif d.score_kind == 'sigmoid':
            scores = g.add('Sigmoid', scores)
        if d.background == 'first':
            return self._columns(scores, 1, _END)
        return self._columns(scores, 0, self._classes) if d.background == 'last' else scores

    def _suppressed(self, boxes: str, scores: str) -> tuple[str, str, str]:
        """Return rows, labels and scores that non-maximum suppression leaves of each class."""
        g, d = self.g, self.d
        kept = g.add(
            'NonMaxSuppression',
            g.add('Unsqueeze', boxes, g.ints(0)),
            g.add('Unsqueeze', g.add('Transpose', scores, perm=[1, 0]), g.ints(0)),
            g.ints(d.max_detections),
            g.const(np.array([d.min_overlap])),
            g.const(np.array([d.min_score])),
        )  # [M, 3]: picture, class, row
        label = g.add('Squeeze', self._columns(kept, 1, 2), g.ints(1))
        row = g.add('Squeeze', self._columns(kept, 2, 3), g.ints(1))
        where = g.add('Gather', kept, g.ints(2, 1), axis=1)
        score = g.add('GatherND', scores, where)
        best, label, score = self._best(score, label)
        return g.add('Gather', row, best, axis=0), label, score

    def _best(self, score: str, label: str) -> tuple[str, str, str]:
        """Return the indices, labels and scores of the best of [N], falling."""
        g = self.g
        count = g.add('Min', g.add('Shape', score), g.ints(self.d.max_detections))
        index = g.add('TopK', score, count, axis=0)
        label, score = (g.add('Gather', value, index, axis=0) for value in (label, score))
        return index, label, score

    def _zeros_like(self, scores: str) -> str:
        """int64 [N]: the one class that there is."""
        g = self.g
        return g.cast(g.add('Mul', scores, g.const(0.0)), INT64)

    def _own_channel(self, masks: str, label: str, form: SeparateForm) -> str:
        """Bring masks [N, channels, h, w] to [N, h, w], each of its own class."""
        g = self.g
        if form.mask_axes == 3:
            return masks
        if form.mask_channels == 1:
            return g.add('Squeeze', masks, g.ints(1))
        channel = label
        if form.mask_channels == self._classes + 1:  # torchvision: the first is background
            channel = g.add('Add', label, g.const(1, np.int64))
        return g.add('GatherND', masks, g.add('Unsqueeze', channel, g.ints(1)), batch_dims=1)

    def _from_prototypes(self, coefficients: str, prototypes: str, boxes: str) -> str:
        """Mix prototypes [1, n, h, w] by coefficients [K, n], cut each at its box: [K, S, S]."""
        g = self.g
        shape = g.add('Shape', prototypes)
        sides = g.add('Slice', shape, g.ints(2), g.ints(4), g.ints(0))
        n = g.add('Slice', shape, g.ints(1), g.ints(2), g.ints(0))
        flat = g.add('Concat', n, g.ints(-1), axis=0)
        mixed = g.add('MatMul', coefficients, g.add('Reshape', prototypes, flat))
        count = g.add('Slice', g.add('Shape', coefficients), g.ints(0), g.ints(1), g.ints(0))
        full = g.add('Concat', count, g.ints(1), sides, axis=0)
        return g.add('Sigmoid', self._crop(g.add('Reshape', mixed, full), boxes))

    def _crop(self, masks: str, boxes: str) -> str:
        """Resample masks [K, 1, h, w] of the whole input to the cells of their boxes: [K, S, S].

        RoiAlign with as many samples as a cell has pixels: the mean over the cell.
        """
        g, d = self.g, self.d
        sides = g.add('Gather', g.add('Shape', masks), g.ints(3, 2, 3, 2))
        ratio = g.add('Div', g.cast(sides, FLOAT), self._sides_twice())
        regions = g.add('Mul', boxes, ratio)
        extra = {'coordinate_transformation_mode': 'half_pixel'}
        if g.opset < 16:  # which had no such mode
            regions, extra = g.add('Sub', regions, g.const(0.5)), {}
        number = g.add('Gather', g.add('Shape', boxes), g.const(0, np.int64))
        index = g.add('Range', g.const(0, np.int64), number, g.const(1, np.int64))
        cut = g.add(
            'RoiAlign',
            masks,
            regions,
            index,
            output_height=d.side,
            output_width=d.side,
            sampling_ratio=0,
            spatial_scale=1.0,
            mode='avg',
            **extra,
        )
        return g.add('Squeeze', cut, g.ints(1))

    def _outputs(self, boxes: str, labels: str, scores: str, masks: str) -> None:
        for name, value in zip(OUTPUTS, (boxes, labels, scores, masks), strict=True):
            self.g.add('Identity', value, to=name)
