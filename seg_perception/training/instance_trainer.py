"""Training of networks that find objects: torchvision's Mask R-CNN in the common loop."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from seg_perception.core.errors import TrainingError
from seg_perception.evaluation.coco import Objects
from seg_perception.evaluation.instances import InstanceEvaluation, evaluate_instances
from seg_perception.evaluation.regions import ObjectDataset
from seg_perception.training.config import TrainingConfig
from seg_perception.training.dataset import MixedStream
from seg_perception.training.sources import open_entry_objects
from seg_perception.training.trainer import Trainer
from seg_perception.zoo.instance_segmenter import TorchInstanceSegmenter

#: An object of fewer pixels in the crop is not asked for: nothing of it is left at stride 8.
MIN_PIXELS = 24
#: What stands in for groups, RGB: the mean of ImageNet, zero to the network.
GREY = (124, 116, 104)
#: Configuration keys that only label maps have a use for.
_SEMANTIC_KEYS = ('loss', 'class_weight_exponent', 'teacher', 'patch')

Target = dict[str, torch.Tensor]


class ObjectPictures:
    """A dataset of objects as pairs of picture and objects."""

    def __init__(self, data: ObjectDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Objects]:
        """Return (uint8 [H,W,3] RGB, the objects)."""
        return self.data.image(index), self.data.objects(index)


class InstanceStream(MixedStream):
    """Draws of pictures and objects; order and augmentation as ``MixedStream`` has them."""

    def __getitem__(self, item: int) -> tuple[torch.Tensor, Target]:
        """Return (float32 [3,h,w] RGB 0..1, torchvision's target) of a draw.

        The target: boxes float32 [N,4] x1, y1, x2, y2 in pixels, round what the crop left of
        the masks; labels int64 [N], 0 being background; masks uint8 [N,h,w].
        """
        image, objects = self.draw(item)
        image = without_groups(image, objects)
        masks, labels = objects.masks[~objects.crowd], objects.labels[~objects.crowd]
        if len(masks):
            crop = self.augmentation(image=image, masks=masks)
            # What is moved in from outside is 255, not 1.
            seen = np.asarray(crop['masks']) == 1
        else:
            crop = self.augmentation(image=image)
            seen = np.zeros((0, *crop['image'].shape[:2]), bool)
        large = seen.sum((1, 2)) >= MIN_PIXELS
        seen, labels = seen[large], labels[large]
        pixels = torch.from_numpy(np.ascontiguousarray(crop['image'].transpose(2, 0, 1)))
        target = {
            'boxes': torch.from_numpy(boxes_around(seen)),
            'labels': torch.from_numpy(labels + 1),
            'masks': torch.from_numpy(seen.astype(np.uint8)),
        }
        return pixels.float() / 255, target


def without_groups(image: np.ndarray, objects: Objects) -> np.ndarray:
    """Return the picture, uint8 [H,W,3], with its groups painted over.

    Not asked for but shown, they would teach that their members are background.
    """
    if not objects.crowd.any():
        return image
    covered = objects.masks[objects.crowd].any(0)
    return np.where(covered[..., None], np.array(GREY, np.uint8), image)


def boxes_around(masks: np.ndarray) -> np.ndarray:
    """Return float32 [N,4], x1, y1, x2, y2: the edges of what bool masks [N,H,W] cover."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def as_lists(draws: list[tuple[torch.Tensor, Target]]) -> tuple[list[torch.Tensor], list[Target]]:
    """Make a batch: pictures and targets in two lists."""
    images, targets = zip(*draws, strict=True)
    return list(images), list(targets)


class InstanceTrainer(Trainer):
    """Trains a Mask R-CNN; see ``Trainer``.

    Data entries are folders with ``instances.json`` and ``images/`` (or COCO's own layout);
    their ``classes`` map category names to class names. Entries whose ``kind`` is a layout of
    label maps give ``evaluation.regions``; their ``classes`` map ids to class names.

    Raises:
        SegPerceptionError: configuration, data or weights cannot be used.
    """

    task = 'instance'
    encoder_name = 'backbone.body'
    stream = InstanceStream
    collate = staticmethod(as_lists)

    def __init__(self, config: TrainingConfig, *args: object, **kwargs: object) -> None:
        defaults = {f.name: f for f in TrainingConfig.__dataclass_fields__.values()}
        for key in _SEMANTIC_KEYS:
            default = defaults[key]
            unset = default.default_factory() if key == 'loss' else default.default
            if getattr(config, key) != unset:
                raise TrainingError(
                    f'{key} is for label maps; {config.architecture} brings its own losses'
                )
        super().__init__(config, *args, **kwargs)

    def _dataset(self, entry: dict) -> ObjectPictures:
        return ObjectPictures(self._open(entry))

    def _open(self, entry: dict) -> ObjectDataset:
        return open_entry_objects(entry, self.labels)

    def _loss(self) -> nn.Module:
        return nn.Identity()  # the network computes its own losses

    def validate(self) -> InstanceEvaluation:
        """Score the averaged weights on the validation pictures."""
        finder = TorchInstanceSegmenter(
            self.averaged_model(), self.config.architecture, self.labels, device=str(self.device)
        )
        return evaluate_instances(finder, self.validation_data())

    def _validation_record(self, bar: tqdm) -> dict:
        found = self.validate()
        box, mask = found.box, found.mask
        bar.write(f'step {self.step}: box AP {100 * box.ap:.2f}, mask AP {100 * mask.ap:.2f}')
        return {
            'box_ap': box.ap,
            'mask_ap': mask.ap,
            'box_ap50': box.ap50,
            'ap': dict(box.per_class),
        }

    def _train_mode(self) -> None:
        super()._train_mode()
        if self.config.encoder_weights or self.config.initial:
            # A batch of two pictures says too little about the mean of a channel.
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _batch_loss(self, images: list[torch.Tensor], targets: list[Target]) -> torch.Tensor:
        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [
            {k: v.to(self.device, non_blocking=True) for k, v in t.items()} for t in targets
        ]
        with self._autocast():
            losses = self.parallel(images, targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()
