"""A Mask R-CNN as a deployed graph: uint8 picture in; boxes, classes, scores and masks out.

The picture comes in at its own size: torchvision's resizing is part of the graph. Masks leave it
as 28x28 probabilities and are pasted outside, inside their boxes only, because pasting whole
pictures inside the graph costs more than the network when there is much to see.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops.boxes import batched_nms, clip_boxes_to_image, remove_small_boxes

from seg_perception.core.errors import ExportError
from seg_perception.runtime.metadata import CLASSES_KEY, classes_text
from seg_perception.zoo.export import INPUT, trace
from seg_perception.zoo.registry import architecture, build

OUTPUTS = ('boxes', 'labels', 'scores', 'masks')
#: How far a detection may lie from torch's: pixels, probability, share of the box's pixels.
BOX_TOLERANCE, SCORE_TOLERANCE, MASK_TOLERANCE = 0.01, 1e-4, 0.01
#: Largest share of detections that may lie farther off, or be missing or made up: rounding may
#: turn a suppression that hangs on the last bit.
MAX_DIFFERENCE = 0.005


@dataclass(frozen=True)
class ExportedInstances:
    """An exported graph that was compared with its origin.

    Attributes:
        model: the ONNX file.
        architecture: name in the registry; multiple: sides must be multiples of it.
        difference: share of detections that differ from torch's, 0..1.
        detections: number of torch's detections on ``pictures`` pictures.
        pictures: number of pictures compared.
        task, output: as in model.yaml.
    """

    model: bytes
    architecture: str
    multiple: int
    difference: float
    detections: int
    pictures: int
    task: str = 'instance'
    output: Mapping[str, str] = field(default_factory=lambda: {name: name for name in OUTPUTS})


class DeployedMaskRcnn(nn.Module):
    """A torchvision Mask R-CNN from a picture's bytes to detections.

    Input: uint8 [1,H,W,3] RGB.
    Output: boxes float32 [N,4] x1, y1, x2, y2 in pixels of the input; labels int64 [N], ids of
    the label set (torchvision's background is not among them); scores float32 [N], falling;
    masks float32 [N,28,28], probability of the box's own class.
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model
        # Tensors with an axis: a number divided by a tensor is multiplied by its reciprocal (and
        # rounded twice), and what has no axis is exported as float32.
        sizes = (model.transform.min_size[-1], model.transform.max_size)
        self.min_size, self.max_size = (
            torch.tensor([size], dtype=torch.float64) for size in sizes
        )

    def forward(
        self, image: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        network, transform = self.model, self.model.transform
        pixels = transform.normalize(image[0].permute(2, 0, 1).float() / 255)
        sized = _resized(pixels, self._size(pixels))
        height, width = sized.shape[-2:]
        images = ImageList(
            transform.batch_images([sized], transform.size_divisible), [(height, width)]
        )
        maps = network.backbone(images.tensors)
        proposals, _ = network.rpn(images, maps)
        heads, sizes = network.roi_heads, images.image_sizes
        logits, shifts = heads.box_predictor(
            heads.box_head(heads.box_roi_pool(maps, proposals, sizes))
        )
        boxes, labels, scores = self._detections(logits, shifts, proposals, sizes[0])
        masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(maps, [boxes], sizes)))
        real = torch.where(labels < logits.shape[-1])[0]
        boxes, labels, scores, masks = boxes[real], labels[real], scores[real], masks[real]
        own = masks.sigmoid()[torch.arange(labels.shape[0], device=labels.device), labels]
        boxes = resize_boxes(boxes, sized.shape[-2:], image.shape[1:3])
        return boxes, labels - 1, scores, own

    def _detections(
        self,
        logits: torch.Tensor,
        shifts: torch.Tensor,
        proposals: list[torch.Tensor],
        size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return boxes, labels and scores, the best first, as torchvision's heads do.

        If there is room, the last is a blank one of a class that does not exist: with nothing
        to suppress, OpenVINO's suppression gives a row of whatever lies in memory.
        """
        heads, classes = self.model.roi_heads, logits.shape[-1]
        boxes = clip_boxes_to_image(heads.box_coder.decode(shifts, proposals), size)
        scores = logits.softmax(-1)
        labels = torch.arange(classes, device=logits.device).view(1, -1).expand_as(scores)
        # Without background; every class of a proposal is a candidate of its own.
        boxes, scores, labels = (
            boxes[:, 1:].reshape(-1, 4),
            scores[:, 1:].reshape(-1),
            labels[:, 1:].reshape(-1),
        )
        kept = torch.where(scores > heads.score_thresh)[0]
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        kept = remove_small_boxes(boxes, min_size=1e-2)
        boxes = torch.cat([boxes[kept], boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]])])
        scores = torch.cat([scores[kept], scores.new_zeros(1)])
        labels = torch.cat([labels[kept], labels.new_full((1,), classes)])
        kept = batched_nms(boxes, scores, labels, heads.nms_thresh)[: heads.detections_per_img]
        return boxes[kept], labels[kept], scores[kept]

    def _size(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return int64 [2]: the (height, width) that torchvision resizes to.

        In float64, as torchvision computes it in Python: its own graph does so in float32, and
        is a pixel off at one size in a few dozen.
        """
        sides = shape_as_tensor(pixels)[-2:].double()
        low, high = sides.amin(0, keepdim=True), sides.amax(0, keepdim=True)
        scale = torch.minimum(self.min_size / low, self.max_size / high)
        return torch.floor(sides * scale).long()


def _resize(pixels: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    sides = [int(size[0]), int(size[1])]
    return F.interpolate(pixels[None], size=sides, mode='bilinear', align_corners=False)[0]


with warnings.catch_warnings():
    warnings.simplefilter('ignore', FutureWarning)
    #: A script, because tracing would keep the size of the example.
    _resized = torch.jit.script(_resize)


def deploy(model: nn.Module, name: str, classes: int, options: dict | None = None) -> nn.Module:
    """Return a deployed copy of ``model`` (``zoo.registry`` architecture ``name``) in eval mode.

    Raises:
        ExportError: the network finds no instances.
    """
    if architecture(name).task != 'instance':
        raise ExportError(f'{name}: a network for {architecture(name).task!r} finds no instances')
    copy = build(name, classes, **(options or {}))
    copy.load_state_dict(model.state_dict())
    return DeployedMaskRcnn(copy).eval()


def export_instances(
    model: nn.Module,
    name: str,
    class_names: Sequence[str],
    pictures: Iterable[np.ndarray],
    options: dict | None = None,
) -> ExportedInstances:
    """Export a Mask R-CNN and compare the graph with torchvision on real pictures.

    Args:
        model: in eval mode, on the CPU.
        name: its architecture in the registry; ``options`` those it was built with.
        class_names: by label id; written into the file.
        pictures: uint8 [H,W,3] RGB of any sizes: the graph is dynamic.

    Raises:
        ExportError: no picture to compare on, torchvision finds nothing on any, or more than
            ``MAX_DIFFERENCE`` of the detections differ from torchvision's own.
    """
    pictures = list(pictures)
    if not pictures:
        raise ExportError('no picture to compare the exported graph with torch on')
    payload = _to_onnx(deploy(model, name, len(class_names), options), class_names)
    wrong, detections = _differences(payload, model, pictures)
    if not detections:
        raise ExportError(
            f'{name}: torch itself finds nothing on {len(pictures)} pictures, so there is nothing '
            'to compare the exported graph by; give pictures that show objects (--pictures)'
        )
    if wrong > MAX_DIFFERENCE * detections:
        raise ExportError(
            f'{name}: {wrong} of {detections} detections on {len(pictures)} pictures differ from '
            f'torch; {100 * MAX_DIFFERENCE:.1f} % are allowed'
        )
    multiple = architecture(name).multiple
    return ExportedInstances(
        payload, name, multiple, wrong / detections, detections, len(pictures)
    )


def _to_onnx(deployed: nn.Module, class_names: Sequence[str]) -> bytes:
    dynamic = {
        INPUT: {1: 'height', 2: 'width'},
        **{name: {0: 'detections'} for name in OUTPUTS},
    }
    graph = trace(deployed, (120, 160), OUTPUTS, dynamic)
    onnx.helper.set_model_props(graph, {CLASSES_KEY: classes_text(class_names)})
    return graph.SerializeToString()


def _differences(
    payload: bytes, model: nn.Module, pictures: Sequence[np.ndarray]
) -> tuple[int, int]:
    """Return (how many detections differ, how many torch finds) over all pictures."""
    session = onnxruntime.InferenceSession(payload, providers=['CPUExecutionProvider'])
    wrong = total = 0
    for picture in pictures:
        found = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: picture[None]}), strict=True))
        with torch.inference_mode():
            expected = model([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])[0]
        missing, invented = compare(found, expected, picture.shape[:2])
        wrong += missing + invented
        total += len(expected['boxes'])
    return wrong, total


def compare(
    found: Mapping[str, np.ndarray], expected: Mapping[str, torch.Tensor], size: tuple[int, int]
) -> tuple[int, int]:
    """Pair a graph's detections with torchvision's.

    Two are the same when they have the same class, boxes within ``BOX_TOLERANCE`` pixels, scores
    within ``SCORE_TOLERANCE``, and masks that differ, once pasted and cut at 0.5, in at most
    ``MASK_TOLERANCE`` of the box's pixels.

    Args:
        found: arrays as ``DeployedMaskRcnn`` gives them.
        expected: boxes, labels (background = 0), scores, masks [N,1,H,W] of torchvision.
        size: (height, width) of the picture.

    Returns:
        (how many of torchvision's have no counterpart, how many of the graph's).
    """
    masks = torch.from_numpy(found['masks'])[:, None]
    masks = paste_masks_in_image(masks, torch.from_numpy(found['boxes']), size).numpy() > 0.5
    left = set(range(len(found['boxes'])))
    missing = 0
    for i, box in enumerate(expected['boxes'].numpy()):
        same = [
            k
            for k in left
            if found['labels'][k] == int(expected['labels'][i]) - 1
            and abs(found['scores'][k] - float(expected['scores'][i])) <= SCORE_TOLERANCE
            and np.abs(found['boxes'][k] - box).max() <= BOX_TOLERANCE
        ]
        area = max(float((box[2] - box[0]) * (box[3] - box[1])), 1.0)
        mask = expected['masks'][i].numpy() > 0.5
        twin = next((k for k in same if (masks[k] != mask).sum() <= MASK_TOLERANCE * area), None)
        if twin is None:
            missing += 1
        else:
            left.remove(twin)
    return missing, len(left)
