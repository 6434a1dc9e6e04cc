"""The score of a torch network on labelled pictures."""

from __future__ import annotations

import cv2
import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.metrics import ConfusionMatrix, SegmentationScores
from seg_perception.zoo.registry import architecture


@torch.inference_mode()
def score_module(model: nn.Module, data: FolderDataset, name: str) -> SegmentationScores:
    """Score a torch network: resize to its multiple, predict, upsample logits, argmax.

    Args:
        model: in eval mode.
        data: pictures and truth.
        name: architecture, which knows normalisation and multiple.
    """
    entry = architecture(name)
    device = next(model.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (entry.mean, entry.std))
    matrix = ConfusionMatrix(data.classes)
    for index in range(len(data)):
        image, truth = data[index]
        height, width = (
            max(round(side / entry.multiple), 1) * entry.multiple for side in truth.shape
        )
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
        logits = model(((pixels - mean) / std)[None].contiguous(memory_format=torch.channels_last))
        logits = F.interpolate(logits, truth.shape, mode='bilinear', align_corners=False)
        matrix.update(truth, logits.argmax(1)[0].byte().cpu().numpy())
    return matrix.compute()
