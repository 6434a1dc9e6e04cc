"""A torch Mask R-CNN as an instance segmenter, so that what scores bundles scores checkpoints."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances
from seg_perception.runtime.bundle_segmenter import check_image
from seg_perception.zoo.export_instance import DeployedMaskRcnn
from seg_perception.zoo.registry import architecture


class TorchInstanceSegmenter:
    """Finds objects with an undeployed network, in float32.

    Args:
        model: in eval mode.
        name: its architecture in the registry.
        labels: its classes, without torchvision's background.
        device: torch device name.

    Attributes:
        labels: as given. provider: what runs it.
        last_timing: milliseconds of the last ``segment``: 'network'.

    Raises:
        ModelError: the network finds no instances, or there is no such device.
    """

    def __init__(
        self, model: nn.Module, name: str, labels: LabelSet, *, device: str = 'cpu'
    ) -> None:
        if architecture(name).task != 'instance':
            raise ModelError(
                f'{name} is a network for {architecture(name).task!r}, it finds no instances'
            )
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ModelError('torch sees no GPU here; take --provider cpu')
        self.labels = labels
        self.provider = f'torch {device}'
        self.last_timing: dict[str, float] = {}
        self._device = torch.device(device)
        self._network = DeployedMaskRcnn(model).eval().to(self._device)

    @torch.inference_mode()
    def segment(self, image: np.ndarray, color: str = 'rgb') -> Instances:
        """Find the objects of one picture, uint8 [H,W,3].

        Raises:
            ImageError: the picture is of another shape or type.
        """
        check_image(image, color)
        if color == 'bgr':
            image = image[..., ::-1]
        start = time.perf_counter()
        picture = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        boxes, labels, scores, masks = (
            part.cpu().numpy() for part in self._network(picture[None])
        )
        self.last_timing = {'network': (time.perf_counter() - start) * 1e3}
        size = image.shape[1], image.shape[0]
        return Instances(labels.astype(np.int32), scores, boxes, masks, size)
