"""What encoders of segmentation_models_pytorch need to take others' pretrained weights."""

from __future__ import annotations

from torch import nn

#: BatchNorm epsilon of TensorFlow's EfficientNets; PyTorch's default is 1e-5.
TENSORFLOW_EPSILON = 1e-3


def use_tensorflow_norms(model: nn.Module) -> nn.Module:
    """Give an EfficientNet-Lite encoder the BatchNorm epsilon its weights were trained with.

    The library leaves PyTorch's default, which changes what ImageNet weights compute where a
    running variance is small. Other encoders are left as they are.
    """
    if 'efficientnet_lite' in model.name:
        for module in model.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = TENSORFLOW_EPSILON
    return model
