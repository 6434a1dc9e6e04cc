"""SegFormer (Xie et al., NeurIPS 2021, arXiv:2105.15203) on transformers, without a download."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.core.errors import ModelError
from seg_perception.zoo.deployable import Deployable

#: Table 6 of the paper: channels of the four stages, blocks per stage, width of the head.
SIZES = {
    'b0': ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    'b1': ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    'b2': ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    'b3': ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    'b4': ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    'b5': ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}


def segformer(
    size: str, classes: int, *, drop_path: float = 0.1, head_dropout: float = 0.1
) -> nn.Module:
    """Return SegFormer, randomly initialised.

    Args:
        size: a key of ``SIZES``.
        classes: number of output channels.
        drop_path: largest share of residual branches dropped in training (stochastic depth).
        head_dropout: dropout share before the classifier, training only.

    Returns:
        A ``SegFormer``.

    Raises:
        ModelError: transformers is not installed.
    """
    try:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError as error:
        raise ModelError(
            f'SegFormer needs {error.name}: pip install -r requirements/train.txt'
        ) from error
    hidden_sizes, depths, width = SIZES[size]
    config = SegformerConfig(
        hidden_sizes=hidden_sizes,
        depths=depths,
        decoder_hidden_size=width,
        num_labels=classes,
        drop_path_rate=drop_path,
        classifier_dropout_prob=head_dropout,
    )
    network = SegformerForSemanticSegmentation(config)
    draw_convolutions(network)
    return SegFormer(network)


@torch.no_grad()
def draw_convolutions(network: nn.Module) -> None:
    """Draw the weights of the convolutions as the authors' code does: normal, by their fan-out.

    transformers gives every weight a deviation of 0.02. For the nine of a depthwise convolution
    that is a twentieth of what hands its input on: without pretrained weights the feed-forward
    halves of the blocks hardly pass anything, and training from nothing hardly begins.

    Args:
        network: a ``SegformerForSemanticSegmentation``.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            fan_out = height * width * module.out_channels // module.groups
            module.weight.normal_(0.0, math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                module.bias.zero_()
    # Few outputs of many inputs: by the fan-out the first probabilities would be extreme.
    network.decode_head.classifier.weight.normal_(0.0, 0.01)


class SegFormer(nn.Module):
    """A transformers SegFormer as a network of this package.

    Input: float32 [N,3,H,W] normalised RGB, H and W multiples of 32. Output: float32 logits
    [N,classes,H,W], the bilinear upsampling of what ``quarter_logits`` returns.

    Args:
        model: a ``SegformerForSemanticSegmentation``, whose encoder and head are taken over.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder = model.segformer
        self.decode_head = model.decode_head

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return the four stages' maps, float32 [N,C_i,H/s,W/s] for s = 4, 8, 16, 32."""
        return _stages(self.encoder, pixels)

    def quarter_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [N,classes,H/4,W/4].

        What ``decode_head`` returns, with projections and fusing convolution multiplied into one
        matrix a stage first, and upsampling last (see ``FoldedSegFormer``): for B0 the head is
        most of a training step's work otherwise.
        """
        head = self.decode_head
        total = None
        for projection, share, feature in zip(
            head.linear_projections, _shares(head), self.features(pixels), strict=True
        ):
            weight, bias = share @ projection.proj.weight, share @ projection.proj.bias
            branch = F.conv2d(feature, weight[:, :, None, None], bias)
            total = branch if total is None else total + _upsampled(branch, total)
        return head.classifier(head.dropout(head.activation(head.batch_norm(total))))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return F.interpolate(
            self.quarter_logits(pixels),
            size=pixels.shape[2:],
            mode='bilinear',
            align_corners=False,
        )

    def deployable(self) -> Deployable:
        """Return the network up to its quarter-size logits, with a folded head."""
        return Deployable(FoldedSegFormer(self), 4)


class FoldedSegFormer(nn.Module):
    """A SegFormer up to its quarter-size logits, the head folded; for inference.

    The head computes ``relu(norm(fuse(concat(up(L_i x_i)))))``. Upsampling acts on each channel
    alone and keeps constants, so it commutes with the linear layers L_i, the 1x1 convolution
    ``fuse`` and the norm, which in inference is affine. Hence ``relu(sum(up(W_i x_i)) + b)``
    with four 1x1 convolutions, applied before the upsampling, where there are fewer pixels.
    """

    def __init__(self, model: SegFormer) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.branches = fold_head(model.decode_head)
        self.classifier = model.decode_head.classifier

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = _stages(self.encoder, pixels)
        total = self.branches[0](features[0])
        for branch, feature in zip(self.branches[1:], features[1:], strict=True):
            total = total + _upsampled(branch(feature), total)
        return self.classifier(total.relu())


@torch.no_grad()
def fold_head(head: nn.Module) -> nn.ModuleList:
    """Fold projections, fuse convolution and BatchNorm of a SegFormer head.

    Args:
        head: a ``SegformerDecodeHead``; its running statistics are used.

    Returns:
        One 1x1 convolution per stage, finest first, computed in float64. The first carries the
        whole bias: the upsampling of the others would only copy it.
    """
    norm = head.batch_norm
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - gain * norm.running_mean.double()
    branches = nn.ModuleList()
    for projection, share in zip(head.linear_projections, _shares(head), strict=True):
        linear = projection.proj
        share = gain[:, None] * share.double()
        bias += share @ linear.bias.double()
        branch = nn.Conv2d(linear.in_features, len(gain), 1, bias=not branches)
        branch.weight.copy_((share @ linear.weight.double())[:, :, None, None])
        branches.append(branch)
    branches[0].bias.copy_(bias)
    return branches


def _shares(head: nn.Module) -> list[torch.Tensor]:
    """Return the fusing convolution's matrices [width, width] by stage, finest first."""
    matrix = head.linear_fuse.weight[:, :, 0, 0]
    # The head concatenates the coarsest stage first.
    return list(reversed(matrix.chunk(len(head.linear_projections), 1)))


def _upsampled(feature: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(feature, size=like.shape[2:], mode='bilinear', align_corners=False)


def _stages(encoder: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    features = []
    for stage in encoder.stages:
        pixels = stage(pixels)
        features.append(pixels)
    return features
