"""A trained network as a deployed graph: uint8 picture in, labels and confidence out.

Everything around the network is inside the graph, so that every runtime does it the same way
and nobody has to know how the network was trained.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
from seg_perception.zoo.deployable import Deployable, deployable
from seg_perception.zoo.registry import Architecture, architecture, build

OPSET = 17
#: Largest share of pixels whose label may differ between torch and the exported graph.
MAX_DIFFERENCE = 0.005
INPUT, LABELS, CONFIDENCE = 'image', 'labels', 'confidence'


@dataclass(frozen=True)
class Exported:
    """An exported graph that was compared with its origin.

    Attributes:
        model: the ONNX file.
        architecture: name in the registry; multiple: sides must be multiples of it.
        difference: share of label pixels that differ from torch's, 0..1.
        pictures: number of pictures compared.
    """

    model: bytes
    architecture: str
    multiple: int
    difference: float
    pictures: int


class DeployedNetwork(nn.Module):
    """A network with its pre- and post-processing.

    Input: uint8 [1,H,W,3] RGB, H and W multiples of the architecture's.
    Output: labels uint8 [1,H,W]; confidence uint8 [1,h,w], softmax probability times 255 at
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
) -> Exported:
    """Export a network and compare the graph with torch on real pictures.

    Args:
        model: in eval mode, on the CPU.
        name: its architecture in the registry; ``options`` those it was built with.
        class_names: by label id; written into the file.
        pictures: uint8 [H,W,3] RGB with sides the architecture can take. They may differ in
            size: the graph is dynamic.

    Raises:
        ExportError: no picture to compare on, or more than ``MAX_DIFFERENCE`` of the label
            pixels differ from the original network's (not from the deployed torch module's:
            the folding is part of what is checked).
    """
    entry = architecture(name)
    pictures = list(pictures)
    if not pictures:
        raise ExportError('no picture to compare the exported graph with torch on')
    deployed = deploy(model, name, len(class_names), options)
    graph = _to_onnx(deployed, entry.multiple)
    _annotate(graph, class_names)
    payload = graph.SerializeToString()
    difference = _difference(payload, model, entry, pictures)
    if difference > MAX_DIFFERENCE:
        raise ExportError(
            f'{name}: the exported graph gives another label for {100 * difference:.2f} % of the '
            f'pixels of {len(pictures)} pictures; {100 * MAX_DIFFERENCE:.1f} % are allowed'
        )
    return Exported(payload, name, entry.multiple, difference, len(pictures))


def _to_onnx(deployed: nn.Module, multiple: int) -> onnx.ModelProto:
    buffer = io.BytesIO()
    example = torch.zeros(1, 4 * multiple, 5 * multiple, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The TorchScript exporter is the one that takes dynamic sizes quickly and completely.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            deployed,
            (example,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[LABELS, CONFIDENCE],
            dynamic_axes={
                INPUT: {1: 'height', 2: 'width'},
                LABELS: {1: 'height', 2: 'width'},
                CONFIDENCE: {1: 'confidence_height', 2: 'confidence_width'},
            },
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _annotate(graph: onnx.ModelProto, class_names: Sequence[str]) -> None:
    """Say in the file what its channels are and between which tensors the network lies."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    convolution = next(node for node in graph.graph.node if node.op_type == 'Conv')
    winner = next(node for node in graph.graph.node if node.op_type == 'TopK')
    logits = winner.input[0]
    while made_by[logits].op_type == 'Resize':
        logits = made_by[logits].input[0]
    for key, value in (
        (CLASSES_KEY, classes_text(class_names)),
        (NETWORK_INPUT_KEY, convolution.input[0]),
        (NETWORK_OUTPUT_KEY, logits),
    ):
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value


def _difference(
    payload: bytes, model: nn.Module, entry: Architecture, pictures: Sequence[np.ndarray]
) -> float:
    """Return the share of label pixels that differ."""
    session = onnxruntime.InferenceSession(payload, providers=['CPUExecutionProvider'])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (entry.mean, entry.std))
    wrong = total = 0
    for picture in pictures:
        labels, _ = session.run([LABELS, CONFIDENCE], {INPUT: picture[None]})
        with torch.inference_mode():
            pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
            expected = model(((pixels - mean) / std)[None]).argmax(1).byte().numpy()
        wrong += int((labels != expected).sum())
        total += expected.size
    return wrong / total
