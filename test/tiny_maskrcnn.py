"""A Mask R-CNN small enough for a test, with weights that make it see things.

Untrained weights give every box nearly the same score: whatever decides between them is
rounding. Here each layer's outputs are scaled to the spread that training gives them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from seg_perception.zoo.registry import build

NAME = 'maskrcnn_mobilenetv2_fpn'
OPTIONS = {'min_size': 96, 'max_size': 160, 'width': 16, 'proposals': 16}


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Return uint8 [H,W,3] pictures of coloured blobs."""
    rng = np.random.default_rng(0)
    return [
        cv2.resize(
            rng.integers(0, 256, (5, 7, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC
        )
        for size in sizes
    ]


def tensor(picture: np.ndarray) -> torch.Tensor:
    """Return float32 [3,H,W] 0..1, as torchvision's detectors take it."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255


@torch.no_grad()
def seeing_network(classes: int) -> torch.nn.Module:
    """Return the network in eval mode."""
    torch.manual_seed(0)
    network = build(NAME, classes, **OPTIONS)
    seen = [tensor(picture) for picture in pictures((120, 160), (96, 96))]
    network.train()
    for _ in range(8):
        network.backbone(network.transform(seen)[0].tensors)
    network.eval()
    levels = list(network.backbone(network.transform(seen)[0].tensors).values())
    objectness, shifts = network.rpn.head(levels)
    network.rpn.head.cls_logits.weight *= 2 / objectness[0].std()
    network.rpn.head.bbox_pred.weight *= 0.3 / shifts[0].std()
    heads, given = network.roi_heads, {}
    hooks = [
        layer.register_forward_hook(lambda *call, key=key: given.update({key: call[-1]}))
        for key, layer in (('box', heads.box_predictor), ('mask', heads.mask_predictor))
    ]
    threshold, heads.score_thresh = heads.score_thresh, 0.0
    network(seen[:1])
    heads.score_thresh = threshold
    for hook in hooks:
        hook.remove()
    _spread(heads.box_predictor.cls_score, given['box'][0], 6.0)
    _spread(heads.mask_predictor.mask_fcn_logits, given['mask'], 3.0)
    heads.box_predictor.bbox_pred.weight *= 0.5 / given['box'][1].std()
    return network


def _spread(layer: torch.nn.Module, outputs: torch.Tensor, wanted: float) -> None:
    """Give a last layer's outputs mean 0 and a spread, channel by channel."""
    axes = [axis for axis in range(outputs.ndim) if axis != 1]
    factor = wanted / outputs.std()
    layer.weight *= factor
    layer.bias.copy_((layer.bias - outputs.mean(axes)) * factor)
