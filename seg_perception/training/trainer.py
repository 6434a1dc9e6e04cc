"""The training loop: one config in, checkpoints out, resumable at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_perception.core.errors import ModelError, TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import IGNORE, FolderDataset
from seg_perception.evaluation.metrics import ConfusionMatrix, SegmentationScores
from seg_perception.training import losses
from seg_perception.training.checkpoint import load_checkpoint, save_checkpoint
from seg_perception.training.class_weights import class_weights
from seg_perception.training.coarse import ClassGroups, CoarseLoss, MappedDataset
from seg_perception.training.config import TrainingConfig
from seg_perception.training.dataset import MixedStream, Source, training_augmentation
from seg_perception.zoo.pretrained import load_encoder
from seg_perception.zoo.registry import architecture, build

CHECKPOINT = 'checkpoint.pt'
LOG = 'log.jsonl'


class Trainer:
    """Trains one network as its configuration says.

    Args:
        config: the run.
        output: folder of the run; gets ``checkpoint.pt`` and ``log.jsonl``.
        device: torch device name.

    Raises:
        SegPerceptionError: configuration, data or weights cannot be used.

    What depends on the task lies in the class attributes and in ``_dataset``, ``_stream``,
    ``_loss``, ``_train_mode``, ``_batch_loss`` and ``_validation_record``, which
    ``InstanceTrainer`` replaces.
    """

    #: Task of the networks that this class trains.
    task = 'semantic'
    #: Module that the encoder weights go into, and that ``encoder_factor`` slows down.
    encoder_name = 'encoder'
    #: Makes a batch of what the stream draws; None = stacked tensors.
    collate: Callable | None = None

    def __init__(self, config: TrainingConfig, output: Path, device: str = 'cpu') -> None:
        self.config = config
        self.output = Path(output)
        self.device = torch.device(device)
        self.labels = LabelSet.named(config.labels)
        self.entry = architecture(config.architecture)
        if self.entry.task != self.task:
            raise TrainingError(
                f'{config.architecture} is a network for {self.entry.task!r}, '
                f'this trains {self.task!r} ones'
            )
        torch.manual_seed(config.seed)
        model = build(config.architecture, len(self.labels), **config.options)
        if config.encoder_weights:
            if config.encoder_weights not in self.entry.encoder_weights:
                fitting = ', '.join(self.entry.encoder_weights) or 'none'
                raise TrainingError(
                    f'encoder_weights {config.encoder_weights!r} do not fit '
                    f'{config.architecture}; known to fit: {fitting}'
                )
            load_encoder(model.get_submodule(self.encoder_name), config.encoder_weights)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        if config.initial:
            self._load_initial(Path(config.initial))
        self.frozen = self._freeze()
        self.average = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.optimizer = self._optimizer()
        self.step = 0
        self.seconds = 0.0
        self.groups = ClassGroups(self.labels)
        self.sources = [Source(self._dataset(entry), entry['share']) for entry in config.data]
        self.loss = self._loss().to(self.device)

    def _load_initial(self, path: Path) -> None:
        state = load_checkpoint(path)
        try:
            self.model.load_state_dict(state['average'])
        except (KeyError, RuntimeError) as error:
            raise TrainingError(
                f'initial: {path} does not fit {self.config.architecture}: {error}'
            ) from error

    def _dataset(self, entry: dict) -> MappedDataset:
        classes = entry.get('classes')
        # Ids that `classes` does not name are ignored, so any of them may occur.
        known = len(self.labels) if classes is None else IGNORE
        folder = FolderDataset(Path(entry['root']), known, cache=True)
        table = None if classes is None else self.groups.table(classes)
        return MappedDataset(folder, table, len(self.labels), entry.get('exclude', ()))

    def _freeze(self) -> list[nn.Module]:
        try:
            frozen = [self.model.get_submodule(name) for name in self.config.freeze]
        except AttributeError as error:
            raise TrainingError(f'freeze: {error}') from error
        for module in frozen:
            module.requires_grad_(False)
        return frozen

    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW; biases and norms are not decayed, the encoder learns more slowly."""
        config = self.config
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                in_encoder = name.startswith(f'{self.encoder_name}.')
                factor = config.encoder_factor if in_encoder else 1.0
                decay = config.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((factor, decay), []).append(parameter)
        return torch.optim.AdamW(
            {'params': members, 'factor': factor, 'weight_decay': decay}
            for (factor, decay), members in groups.items()
        )

    def _loss(self) -> nn.Module:
        config, weight = self.config, None
        if config.class_weight_exponent:
            # Of the first dataset: it is the real one, which the score is taken on.
            weight = torch.from_numpy(
                class_weights(
                    self.sources[0].data, config.class_weights, config.class_weight_exponent
                )
            )
        made = {
            'cross_entropy': losses.CrossEntropyLoss(weight),
            'dice': losses.DiceLoss(),
            'focal': losses.FocalLoss(config.focal_gamma, weight),
            'ohem': losses.OhemLoss(config.ohem_threshold, config.ohem_share, weight),
        }
        total = losses.WeightedSum([(factor, made[key]) for key, factor in config.loss.items()])
        return CoarseLoss(total, self.groups.membership()) if self.groups.groups else total

    def rate(self, step: int) -> float:
        """Return the learning rate factor (0..1) of a step."""
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        span = max(self.config.steps - self.config.warmup, 1)
        left = max(1 - (step - self.config.warmup) / span, 0.0)
        if self.config.schedule == 'poly':
            return left**0.9
        return 0.5 * (1 - float(np.cos(np.pi * left)))

    def fit(self) -> None:
        """Train from the current step to the last one."""
        config = self.config
        self.output.mkdir(parents=True, exist_ok=True)
        loader = self._loader()
        bar = tqdm(total=config.steps, initial=self.step, unit='step', mininterval=5)
        began, spent, window = time.monotonic(), self.seconds, []
        for images, targets in loader:
            window.append(self._train_step(images, targets))
            self.step += 1
            self.seconds = spent + time.monotonic() - began
            bar.update()
            last = self.step == config.steps
            if self.step % config.checkpoint_every == 0 or last:
                record = {'loss': float(np.mean(window)), 'rate': self.rate(self.step - 1)}
                bar.set_postfix(loss=f'{record["loss"]:.3f}')
                window = []
                self.save()
                if config.validation and (self.step % config.validate_every == 0 or last):
                    record |= self._validation_record(bar)
                self._log(record)
        bar.close()

    def _loader(self) -> DataLoader:
        # The stream is already shuffled; workers must not fight the network for the cores.
        return DataLoader(
            self._stream(),
            batch_size=self.config.batch,
            collate_fn=self.collate,
            num_workers=self.config.workers,
            worker_init_fn=_single_thread,
            # Forking after OpenCV or OpenMP ran threads leaves workers that wait for ever.
            multiprocessing_context='spawn' if self.config.workers else None,
        )

    def _stream(self) -> MixedStream:
        """Return the draws from the current step to the last one."""
        config = self.config
        return MixedStream(
            self.sources,
            training_augmentation(*config.crop, config.scale),
            self.entry.mean,
            self.entry.std,
            seed=config.seed,
            start=self.step * config.batch,
            length=(config.steps - self.step) * config.batch,
        )

    def _train_mode(self) -> None:
        self.model.train()
        for module in self.frozen:
            module.eval()

    def _train_step(self, images: torch.Tensor, targets: torch.Tensor) -> float:
        self._train_mode()
        for group in self.optimizer.param_groups:
            group['lr'] = self.config.learning_rate * group['factor'] * self.rate(self.step)
        # Dropout depends on (seed, step) alone: a resumed run goes on exactly.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        loss = self._batch_loss(images, targets)
        value = loss.item()
        if not np.isfinite(value):
            raise TrainingError(
                f'the loss is {value} at step {self.step}; lower learning_rate or use fp32'
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self._update_average()
        return value

    def _batch_loss(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits = self.model(images)
        return self.loss(logits, targets.to(self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == 'bf16'
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        # Short memory at first, or the average keeps the random start for long.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)

    def averaged_model(self) -> nn.Module:
        """Return a copy of the network in eval mode that carries the averaged weights."""
        model = build(self.config.architecture, len(self.labels), **self.config.options)
        model.load_state_dict(self.average)
        return model.to(self.device, memory_format=torch.channels_last).eval()

    def validate(self) -> SegmentationScores:
        """Score the averaged weights on the validation folder at its own image size."""
        if self.config.validation is None:
            raise TrainingError('the configuration names no validation folder')
        data = FolderDataset(Path(self.config.validation), len(self.labels))
        return score_module(self.averaged_model(), data, self.config.architecture)

    def _validation_record(self, bar: tqdm) -> dict:
        scores = self.validate()
        bar.write(f'step {self.step}: mIoU {100 * scores.miou:.2f}')
        iou = dict(zip(self.labels.names, scores.iou.round(4).tolist(), strict=True))
        return {'miou': scores.miou, 'pixel_accuracy': scores.pixel_accuracy, 'iou': iou}

    def _log(self, record: dict) -> None:
        line = {'step': self.step, 'seconds': round(self.seconds, 1), **record}
        with (self.output / LOG).open('a', encoding='utf-8') as log:
            log.write(json.dumps(line) + '\n')

    def save(self) -> None:
        """Write the checkpoint of this moment."""
        save_checkpoint(
            self.output / CHECKPOINT,
            {
                'config': self.config.to_dict(),
                'step': self.step,
                'seconds': self.seconds,
                'model': self.model.state_dict(),
                'average': self.average,
                'optimizer': self.optimizer.state_dict(),
            },
        )

    def resume(self) -> bool:
        """Go on from the run's checkpoint; return False when there is none.

        Raises:
            TrainingError: the checkpoint belongs to another network.
        """
        path = self.output / CHECKPOINT
        if not path.is_file():
            return False
        state = load_checkpoint(path)
        if state['config']['architecture'] != self.config.architecture:
            raise TrainingError(
                f'{path} holds a {state["config"]["architecture"]}, '
                f'the configuration asks for a {self.config.architecture}'
            )
        try:
            self.model.load_state_dict(state['model'])
            self.average = {k: v.to(self.device) for k, v in state['average'].items()}
            self.optimizer.load_state_dict(state['optimizer'])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f'{path} does not fit the configuration: {error}') from error
        self.step, self.seconds = state['step'], state['seconds']
        return True


def load_network(path: Path) -> tuple[nn.Module, TrainingConfig, int]:
    """Return (network with the averaged weights in eval mode, its configuration, its step).

    Raises:
        TrainingError, ModelError: damaged checkpoint, or one whose weights fit no network.
    """
    state = load_checkpoint(path)
    config = TrainingConfig.from_dict(state['config'])
    model = build(config.architecture, len(LabelSet.named(config.labels)), **config.options)
    try:
        model.load_state_dict(state['average'])
    except RuntimeError as error:
        raise ModelError(f'{path}: {error}') from error
    return model.eval(), config, state['step']


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


def _single_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
