"""Mask R-CNN (He et al., ICCV 2017, arXiv:1703.06870) on torchvision, without a download.

Normalisation, resizing and the thresholds of detection are inside these networks.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

#: Last layers of MobileNetV2 at strides 8, 16 and 32, and their channels.
_STAGES = {'6': 32, '13': 96, '18': 1280}
#: Anchor sides in pixels at strides 8, 16, 32 and 64: half an octave apart.
_ANCHORS = ((24, 34), (48, 68), (96, 136), (192, 272))


def maskrcnn_resnet50(classes: int, *, min_size: int = 800, max_size: int = 1333) -> nn.Module:
    """Return torchvision's Mask R-CNN on ResNet-50 with a feature pyramid.

    Args:
        classes: number of object classes; background is added as torchvision's label 0, so
            that the label set's class i is the network's label i + 1.
        min_size, max_size: pixels the shorter side is scaled to, and the longer limited to.

    Returns:
        A module: list of float32 [3,H,W] RGB on the 0..1 scale, any sizes (in training with a
        list of torchvision's targets) -> list of {boxes, labels, scores, masks} (in training a
        dictionary of losses).
    """
    return maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        min_size=min_size,
        max_size=max_size,
    )


def maskrcnn_mobilenetv2(
    classes: int,
    *,
    min_size: int = 320,
    max_size: int = 640,
    width: int = 128,
    proposals: int = 200,
) -> nn.Module:
    """Return a light Mask R-CNN: MobileNetV2 with a pyramid of strides 8 to 64.

    Lighter also behind the backbone: pyramid and mask head have ``width`` channels instead of
    256, two mask convolutions instead of four, a box head of 512 instead of 1024, and fewer
    proposals; in training, too, where a CPU takes half the time for a picture of 128 regions that
    it takes for torchvision's 512.

    Args:
        classes, min_size, max_size: as for ``maskrcnn_resnet50``.
        width: channels of pyramid and mask head.
        proposals: regions that reach the heads at inference.

    Returns:
        A module as ``maskrcnn_resnet50`` returns.
    """
    backbone = BackboneWithFPN(
        mobilenet_v2(weights=None).features,
        {layer: str(level) for level, layer in enumerate(_STAGES)},
        list(_STAGES.values()),
        width,
        extra_blocks=LastLevelMaxPool(),
    )
    levels = [str(level) for level in range(len(_STAGES))]
    return MaskRCNN(
        backbone,
        num_classes=None,  # the predictors below know it
        min_size=min_size,
        max_size=max_size,
        rpn_anchor_generator=AnchorGenerator(_ANCHORS, ((0.5, 1.0, 2.0),) * len(_ANCHORS)),
        rpn_pre_nms_top_n_test=2 * proposals,
        rpn_post_nms_top_n_test=proposals,
        rpn_pre_nms_top_n_train=4 * proposals,
        rpn_post_nms_top_n_train=2 * proposals,
        box_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(width * 7 * 7, 512),
        box_predictor=FastRCNNPredictor(512, classes + 1),
        mask_roi_pool=MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(width, (width, width), 1),
        mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
    )
