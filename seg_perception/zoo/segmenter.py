"""A torch network as a segmenter, so that what scores bundles scores checkpoints too."""

from __future__ import annotations

import copy
import time

import cv2
import numpy as np
import torch
from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.bundle_segmenter import check_image
from seg_perception.runtime.schema import InputSpec
from seg_perception.zoo.registry import architecture


class TorchSegmenter:
    """Segments pictures with an undeployed network: float32, no folding, whole softmax.

    Pictures take the way they take to a bundle (stretched to the network's size, labels at that
    size), so the two differ in the network only. The confidence is the full-size softmax's
    maximum; a bundle's is interpolated from its quarter-size one.

    Args:
        model: in eval mode.
        name: its architecture in the registry.
        labels: classes of its channels.
        default_size: (height, width) it is best run at.
        input_size: (height, width) to run at, rounded to what it can take; None = the default's
            area in the picture's shape.
        device: torch device name.

    Raises:
        ModelError: not a semantic network, or no such device.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        labels: LabelSet,
        default_size: tuple[int, int],
        *,
        input_size: tuple[int, int] | None = None,
        device: str = 'cpu',
    ) -> None:
        entry = architecture(name)
        if entry.task != 'semantic':
            raise ModelError(f'{name} is a network for {entry.task!r}, not a semantic one')
        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ModelError('torch sees no GPU here; take --provider cpu')
        self.labels = labels
        self.provider = f'torch {device}'
        self.last_timing: dict[str, float] = {}
        self._device = torch.device(device)
        self._model = model.to(self._device)
        self._spec = InputSpec('image', 'rgb', None, entry.multiple, 0, default_size)
        self._input_size = self._spec.fit(*input_size) if input_size else None
        self._scale = 1.0
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(3, 1, 1)
            for values in (entry.mean, entry.std)
        )

    def at_scale(self, scale: float) -> TorchSegmenter:
        """Return a segmenter with the same network that runs it at another size (> 0)."""
        other = copy.copy(self)
        other._scale = self._scale * scale
        other.last_timing = {}
        return other

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) at which a picture of the given size is segmented."""
        rows, columns = self._input_size or self._spec.shaped_like(width, height)
        rows, columns = self._spec.fit(rows * self._scale, columns * self._scale)
        return columns, rows

    def warm_up(self, width: int, height: int) -> None:
        """Run once on a grey picture of this size in pixels."""
        self.segment(np.full((height, width, 3), 127, np.uint8))

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult:
        """Segment a picture, uint8 [H, W, 3] in 'rgb' or 'bgr' order.

        Raises:
            ImageError: the picture is of another shape or type.
        """
        check_image(image, color)
        height, width = image.shape[:2]
        start = time.perf_counter()
        pixels = cv2.resize(
            image, self.network_size(width, height), interpolation=cv2.INTER_LINEAR
        )
        if color == 'bgr':
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        converted = time.perf_counter()
        with torch.inference_mode():
            planes = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).float() / 255
            logits = self._model(((planes - self._mean) / self._std)[None])[0]
            labels = logits.argmax(0).byte().cpu().numpy()
            best = (255 * logits.softmax(0).amax(0) + 0.5).byte().cpu().numpy()
        self.last_timing = {
            'convert': (converted - start) * 1e3,
            'network': (time.perf_counter() - converted) * 1e3,
            'post': 0.0,
        }
        return SemanticResult(labels, best, (width, height))
