"""A trained network as a deployed graph: uint8 picture in, labels and confidence out.

Everything around the network is inside the graph, so that every runtime does it the same way
and nobody has to know how the network was trained.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.core.errors import ExportError
from seg_perception.runtime.metadata import (
    CLASSES_KEY,
    NETWORK_INPUT_KEY,
    NETWORK_OUTPUT_KEY,
    classes_text,
)
from seg_perception.runtime.schema import PRECISIONS
from seg_perception.zoo.deployable import Deployable, deployable
from seg_perception.zoo.half import to_half
from seg_perception.zoo.quantize import quantize
from seg_perception.zoo.registry import Architecture, architecture, build

OPSET = 17
#: Largest share of pixels whose label may differ between torch and the exported graph.
MAX_DIFFERENCE = 0.005
#: Largest loss of mean IoU (0..1) of an int8 graph against torch.
MAX_LOSS = 0.01
INPUT, LABELS, CONFIDENCE = 'image', 'labels', 'confidence'

#: Labels uint8 [H,W] of a picture uint8 [H,W,3], and the mean IoU (0..1) of such a function.
Predict = Callable[[np.ndarray], np.ndarray]
Score = Callable[[Predict], float]


@dataclass(frozen=True)
class Form:
    """What is asked of an exported graph.

    Attributes:
        precision: 'fp32', 'fp16' or 'int8'.
        size: (height, width) of the input in pixels; None = any multiples.
        calibration: for int8, uint8 [H,W,3] RGB pictures whose activations set the ranges.
        keep_float: for int8, shell patterns of node names that stay float32.
        score: for int8, mean IoU on labelled pictures.
    """

    precision: str = 'fp32'
    size: tuple[int, int] | None = None
    calibration: Sequence[np.ndarray] = ()
    keep_float: Sequence[str] = ()
    score: Score | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ExportError(
                f'unknown precision {self.precision!r}; known: {", ".join(PRECISIONS)}'
            )
        if self.precision == 'int8' and self.score is None:
            raise ExportError(
                'an int8 graph is judged by its mean IoU: it needs labelled pictures (--labelled)'
            )
        if self.precision != 'int8' and (self.calibration or self.keep_float):
            raise ExportError('only int8 is calibrated, and can keep nodes in float')


@dataclass(frozen=True)
class Exported:
    """An exported graph that was compared with its origin.

    Attributes:
        model: the ONNX file.
        architecture: name in the registry; multiple: sides must be multiples of it.
        difference: share of label pixels that differ from torch's, 0..1.
        pictures: number of pictures compared.
        precision, size: as asked for in ``Form``.
        miou: for int8, mean IoU (0..1) of torch and of the graph.
        task, output: as in model.yaml.
    """

    model: bytes
    architecture: str
    multiple: int
    difference: float
    pictures: int
    precision: str = 'fp32'
    size: tuple[int, int] | None = None
    miou: tuple[float, float] | None = None
    task: str = 'semantic'
    output: Mapping[str, str] = field(
        default_factory=lambda: {'labels': LABELS, 'confidence': CONFIDENCE}
    )


class DeployedNetwork(nn.Module):
    """A network with its pre- and post-processing.

    Input: uint8 [N,H,W,3] RGB, H and W multiples of the architecture's.
    Output: labels uint8 [N,H,W]; confidence uint8 [N,h,w], softmax probability times 255 at
    the resolution of the network's own logits (a softmax at full size costs as much as a third
    of the network and tells nothing that interpolating does not).

    The division by 255 and by the standard deviation is folded into the first convolution.
    The mean is not: the convolution pads with zeros, which must stay the mean colour.
    """

    def __init__(self, parts: Deployable, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = parts.network
        self.stride = parts.stride
        self.align_corners = parts.align_corners
        self.register_buffer('mean', 255 * torch.tensor(mean).view(1, 3, 1, 1))
        scale = 1 / (255 * torch.tensor(std))
        first = next(m for m in self.network.modules() if isinstance(m, nn.Conv2d))
        if first.in_channels != 3:
            raise ExportError(f'the first convolution takes {first.in_channels} channels, not 3')
        with torch.no_grad():
            first.weight.mul_(scale.view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = image.permute(0, 3, 1, 2).float() - self.mean
        logits = full = self.network(pixels)
        if self.stride > 1:
            full = F.interpolate(
                logits,
                scale_factor=float(self.stride),
                mode='bilinear',
                align_corners=self.align_corners,
            )
        # TopK and 1 / sum(exp(x - max)) are argmax and the softmax's maximum, in the forms that
        # OpenVINO and ONNX Runtime run faster behind a Resize.
        labels = full.topk(1, 1).indices.squeeze(1).to(torch.uint8)
        total = (logits - logits.amax(1, keepdim=True)).exp().sum(1)
        return labels, (255 / total + 0.5).to(torch.uint8)


def deploy(model: nn.Module, name: str, classes: int, options: dict | None = None) -> nn.Module:
    """Return a deployed copy of ``model`` (``zoo.registry`` architecture ``name``) in eval mode.

    Raises:
        ExportError: the network gives no label map, or its head cannot be split.
    """
    entry = architecture(name)
    if entry.task != 'semantic':
        raise ExportError(f'{name}: a network for {entry.task!r} gives no label map')
    copy = build(name, classes, **(options or {}))
    copy.load_state_dict(model.state_dict())
    return DeployedNetwork(deployable(copy.eval(), name), entry.mean, entry.std).eval()


def export(
    model: nn.Module,
    name: str,
    class_names: Sequence[str],
    pictures: Iterable[np.ndarray],
    options: dict | None = None,
    form: Form | None = None,
) -> Exported:
    """Export a network and compare the graph with torch on real pictures.

    Args:
        model: in eval mode, on the CPU.
        name: its architecture in the registry; ``options`` those it was built with.
        class_names: by label id; written into the file.
        pictures: uint8 [H,W,3] RGB with sides the graph can take. They may differ in size
            where the graph is dynamic.
        form: precision and size; default fp32, dynamic.

    Raises:
        ExportError: no picture to compare on, a size the architecture cannot take, or more than
            ``MAX_DIFFERENCE`` of the label pixels differ from the original network's (not from
            the deployed torch module's: the folding is part of what is checked). For int8 in
            its place: the mean IoU falls by more than ``MAX_LOSS``.
    """
    entry = architecture(name)
    form = form or Form()
    pictures = list(pictures)
    if not pictures:
        raise ExportError('no picture to compare the exported graph with torch on')
    if form.size and any(side < 1 or side % entry.multiple for side in form.size):
        raise ExportError(
            f'{name} takes sides that are multiples of {entry.multiple}: {form.size}'
        )
    deployed = deploy(model, name, len(class_names), options)
    graph = _to_onnx(deployed, entry.multiple, form.size)
    ends = _ends(graph)
    if form.precision == 'int8':
        graph = quantize(graph, ends, form.calibration, name, form.keep_float)
    elif form.precision == 'fp16':
        graph = to_half(graph, ends)
    _annotate(graph, class_names, ends[0])
    payload = graph.SerializeToString()
    session = onnxruntime.InferenceSession(payload, providers=['CPUExecutionProvider'])
    torch_, onnx_ = _torch_predictor(model, entry), _onnx_predictor(session)
    difference = _difference(torch_, onnx_, pictures)
    if form.size is None:
        _check_batch(name, session, onnx_, pictures[0])
    miou = None
    if form.precision == 'int8':
        miou = _check_score(name, form.score, torch_, onnx_)
    elif difference > MAX_DIFFERENCE:
        raise ExportError(
            f'{name}: the exported {form.precision} graph gives another label for '
            f'{100 * difference:.2f} % of the pixels of {len(pictures)} pictures; '
            f'{100 * MAX_DIFFERENCE:.1f} % are allowed'
        )
    return Exported(
        payload,
        name,
        entry.multiple,
        difference,
        len(pictures),
        precision=form.precision,
        size=form.size,
        miou=miou,
    )


def _to_onnx(
    deployed: nn.Module, multiple: int, size: tuple[int, int] | None = None
) -> onnx.ModelProto:
    dynamic = {
        INPUT: {0: 'batch', 1: 'height', 2: 'width'},
        LABELS: {0: 'batch', 1: 'height', 2: 'width'},
        CONFIDENCE: {0: 'batch', 1: 'confidence_height', 2: 'confidence_width'},
    }
    example = size or (4 * multiple, 5 * multiple)
    return trace(deployed, example, (LABELS, CONFIDENCE), None if size else dynamic)


def trace(
    deployed: nn.Module,
    size: tuple[int, int],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]] | None,
) -> onnx.ModelProto:
    """Return a checked graph of a module that takes pictures, uint8 [N,H,W,3].

    Args:
        deployed: in eval mode, on the CPU.
        size: (height, width) of the example, a single picture.
        outputs: names, in the module's order.
        dynamic: names of the axes of any length, by tensor and axis; None = none are.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is the one that takes dynamic sizes, and torchvision's
        # detectors, quickly and completely; it warns of every size it meets.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            deployed,
            (torch.zeros(1, *size, 3, dtype=torch.uint8),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes=dynamic,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _ends(graph: onnx.ModelProto) -> tuple[str, str]:
    """Return the names of the tensors between which the network lies."""
    convolution = next(node for node in graph.graph.node if node.op_type == 'Conv')
    return convolution.input[0], _logits(graph)


def _logits(graph: onnx.ModelProto) -> str:
    """Return what the post-processing begins with: scores at the network's own resolution."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    winner = next(node for node in graph.graph.node if node.op_type == 'TopK')
    logits = winner.input[0]
    while made_by[logits].op_type == 'Resize':
        logits = made_by[logits].input[0]
    return logits


def _annotate(graph: onnx.ModelProto, class_names: Sequence[str], network_input: str) -> None:
    """Say in the file what its channels are and between which tensors the network lies."""
    props = {
        CLASSES_KEY: classes_text(class_names),
        NETWORK_INPUT_KEY: network_input,
        NETWORK_OUTPUT_KEY: _logits(graph),
    }
    onnx.helper.set_model_props(graph, props)


def _torch_predictor(model: nn.Module, entry: Architecture) -> Predict:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (entry.mean, entry.std))

    def predict(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
            return model(((pixels - mean) / std)[None]).argmax(1)[0].byte().numpy()

    return predict


def _onnx_predictor(session: onnxruntime.InferenceSession) -> Predict:
    def predict(picture: np.ndarray) -> np.ndarray:
        return session.run([LABELS], {INPUT: picture[None]})[0][0]

    return predict


def _difference(expected: Predict, found: Predict, pictures: Sequence[np.ndarray]) -> float:
    """Return the share of label pixels that differ."""
    wrong = sum(int((found(picture) != expected(picture)).sum()) for picture in pictures)
    return wrong / sum(picture.shape[0] * picture.shape[1] for picture in pictures)


def _check_batch(
    name: str, session: onnxruntime.InferenceSession, alone: Predict, picture: np.ndarray
) -> None:
    """Raise ExportError if pictures that are run at once get other labels than one by one."""
    pair = [picture, np.ascontiguousarray(picture[::-1, ::-1])]
    together = session.run([LABELS], {INPUT: np.stack(pair)})[0]
    wrong = np.mean(together != np.stack([alone(one) for one in pair]))
    if wrong > MAX_DIFFERENCE:
        raise ExportError(
            f'{name}: of two pictures at once {100 * wrong:.2f} % of the pixels get another label '
            f'than one by one; {100 * MAX_DIFFERENCE:.1f} % are allowed'
        )


def _check_score(
    name: str, score: Score | None, expected: Predict, found: Predict
) -> tuple[float, float]:
    assert score is not None  # Form asks for it
    before, after = score(expected), score(found)
    if not before - after <= MAX_LOSS:  # NaN is refused, too
        raise ExportError(
            f'{name}: int8 lowers the mean IoU from {100 * before:.2f} to {100 * after:.2f}, by '
            f'{100 * (before - after):.2f} points; {100 * MAX_LOSS:.0f} is allowed. Calibrate on '
            'more pictures of the kind it will see, or keep some nodes in float (--keep-float)'
        )
    return before, after
