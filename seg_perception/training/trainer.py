"""The training loop: one config in, checkpoints out, resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_perception.core.errors import TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import CocoDataset
from seg_perception.evaluation.dataset import IGNORE, FolderDataset
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.metrics import SegmentationScores
from seg_perception.training import assembly
from seg_perception.training.augmentation import training_augmentation
from seg_perception.training.checkpoint import load_checkpoint, save_checkpoint
from seg_perception.training.class_weights import class_weights
from seg_perception.training.coarse import TEACHER_ONLY, ClassGroups, MappedDataset
from seg_perception.training.config import TrainingConfig
from seg_perception.training.dataset import MixedStream, Source
from seg_perception.training.distillation import Distillation
from seg_perception.training.distributed import Processes
from seg_perception.training.patches import PatchSampler
from seg_perception.training.run_log import LOG, RunLog
from seg_perception.training.scoring import score_module
from seg_perception.training.sources import open_entry
from seg_perception.zoo.registry import architecture, build

__all__ = ['CHECKPOINT', 'LOG', 'Trainer']

CHECKPOINT = 'checkpoint.pt'
_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class Trainer:
    """Trains one network as its configuration says.

    Args:
        config: the run.
        output: folder of the run; gets ``checkpoint.pt``, ``log.jsonl`` and ``tensorboard/``.
        device: torch device name.
        processes: this process among those of the run; each takes its part of every batch.
        accept_licence: the user accepts terms of encoder weights that forbid commercial use.

    Raises:
        SegPerceptionError: configuration, data or weights cannot be used.

    What depends on the task lies in the class attributes and in ``_dataset``, ``_loss``,
    ``_open``, ``_train_mode``, ``_batch_loss`` and ``_validation_record``, which
    ``InstanceTrainer`` replaces. In training, ``self.parallel`` is called: it is the network, or
    the network with what averages gradients over processes around it.
    """

    #: Task of the networks that this class trains.
    task = 'semantic'
    #: Module that the encoder weights go into, and that ``encoder_factor`` slows down.
    encoder_name = 'encoder'
    #: Draws and augments the pictures.
    stream: type[MixedStream] = MixedStream
    #: Makes a batch of what the stream draws; None = stacked tensors.
    collate: Callable | None = None

    def __init__(
        self,
        config: TrainingConfig,
        output: Path,
        device: str = 'cpu',
        processes: Processes | None = None,
        accept_licence: bool = False,
    ) -> None:
        self.config = config
        self.output = Path(output)
        self.device = torch.device(device)
        self.processes = processes or Processes()
        self.processes.share(config.batch)
        self.labels = LabelSet.named(config.labels)
        self.entry = architecture(config.architecture)
        if self.entry.task != self.task:
            raise TrainingError(
                f'{config.architecture} is a network for {self.entry.task!r}, '
                f'this trains {self.task!r} ones'
            )
        self.groups = ClassGroups(self.labels)
        self._build(accept_licence)
        self.average = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.optimizer = assembly.make_optimizer(self.model, config, self.encoder_name)
        # From 2^10: the usual 2^16 overflows in the first steps, which are then skipped.
        self.scaler = torch.amp.GradScaler(
            self.device.type, init_scale=2.0**10, enabled=config.precision == 'fp16'
        )
        self.step = 0
        self.seconds = 0.0
        self.sources = [Source(self._dataset(entry), entry['share']) for entry in config.data]
        self.loss = self._loss().to(self.device)
        self.teacher = self._teacher()

    def _build(self, accept_licence: bool) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        model = build(config.architecture, len(self.labels), **config.options)
        assembly.fill_encoder(model, self.encoder_name, config, accept_licence)
        if config.initial:
            assembly.load_initial(model, config)
        if self.device.type == 'cuda':
            # One crop size: the search for the fastest kernels pays.
            torch.backends.cudnn.benchmark = True
            if self.processes.world > 1:
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.frozen = assembly.freeze(self.model, config.freeze)
        self.parallel = self.processes.wrap(self.model)

    def _dataset(self, entry: dict) -> MappedDataset:
        return open_entry(entry, self.groups)

    def _loss(self) -> nn.Module:
        config, weight = self.config, None
        if config.class_weight_exponent:
            # Of the first dataset: it is the real one, which the score is taken on.
            weight = torch.from_numpy(
                class_weights(
                    self.sources[0].data, config.class_weights, config.class_weight_exponent
                )
            )
        return assembly.make_loss(config, weight, self.groups)

    def _teacher(self) -> Distillation | None:
        wanted = self.config.teacher
        if wanted is None:
            return None
        teacher = Distillation.load(
            wanted['checkpoint'],
            self.config.architecture,
            self.labels,
            wanted.get('factor', 1.0),
            wanted.get('temperature', 1.0),
        )
        return teacher.to(self.device, memory_format=torch.channels_last)

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
        """Train from the current step to the last one.

        Raises:
            TrainingError: the loss is no number any more, or nothing can be written.
            DatasetError: a picture or label map cannot be used.
        """
        config, first = self.config, self.processes.first
        log = self._open_log() if first else None
        bar = tqdm(
            total=config.steps, initial=self.step, unit='step', mininterval=5, disable=not first
        )
        began, spent, window = time.monotonic(), self.seconds, []
        for batch in self._loader():
            window.append(self._train_step(*batch))
            self.step += 1
            self.seconds = spent + time.monotonic() - began
            bar.update()
            last = self.step == config.steps
            if self.step % config.checkpoint_every == 0 or last:
                record = {'loss': self._mean(window), 'rate': self.rate(self.step - 1)}
                bar.set_postfix(loss=f'{record["loss"]:.3f}')
                window = []
                validate = config.validation and (self.step % config.validate_every == 0 or last)
                if log:
                    self.save()
                    if validate:
                        record |= self._validation_record(bar)
                    log.write(self.step, {'seconds': round(self.seconds, 1), **record})
                if validate:
                    self.processes.wait()
        bar.close()
        if log:
            log.close()

    def _open_log(self) -> RunLog:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f'{self.output} cannot be made: {error}') from error
        return RunLog(self.output, self.step, self.config.tensorboard)

    def _mean(self, losses: list[torch.Tensor]) -> float:
        """Return the mean loss of some steps; read here alone, so that a GPU need not wait."""
        mean = self.processes.mean(torch.stack(losses).mean().item(), self.device)
        if not np.isfinite(mean):
            raise TrainingError(
                f'the loss is {mean} within the {len(losses)} steps before step {self.step}; '
                'lower learning_rate or use fp32'
            )
        return mean

    def _loader(self) -> DataLoader:
        config = self.config
        batches = self.processes.batches(config.batch, config.steps - self.step)
        return DataLoader(
            self._stream(),
            batch_sampler=batches,  # the stream is already shuffled
            collate_fn=self.collate,
            num_workers=config.workers,
            pin_memory=self.device.type == 'cuda',
            # Workers must not fight the network for the cores.
            worker_init_fn=_single_thread,
            # Forking after OpenCV or OpenMP ran threads leaves workers that wait for ever.
            multiprocessing_context='spawn' if config.workers else None,
        )

    def _stream(self) -> MixedStream:
        """Return the draws, of all processes, from the current step to the last one."""
        config = self.config
        return self.stream(
            self.sources,
            training_augmentation(*config.crop, config.scale, config.augmentation),
            self.entry.mean,
            self.entry.std,
            seed=config.seed,
            start=self.step * config.batch,
            length=(config.steps - self.step) * config.batch,
            patch=self._patch(),
        )

    def _patch(self) -> PatchSampler | None:
        wanted = self.config.patch
        if wanted is None:
            return None
        table = assembly.foreground_table(wanted['foreground'], self.labels, self.groups)
        return PatchSampler(tuple(wanted['size']), np.array(table), wanted['share'])

    def _train_mode(self) -> None:
        self.parallel.train()
        for module in self.frozen:
            module.eval()

    def _train_step(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Take a step and return its loss, a scalar on the device."""
        self._train_mode()
        for group in self.optimizer.param_groups:
            group['lr'] = self.config.learning_rate * group['factor'] * self.rate(self.step)
        # Dropout depends on (seed, step, process) alone: a resumed run goes on exactly.
        torch.manual_seed(
            self.config.seed * 1_000_003 + self.step + 7_919_000_003 * self.processes.rank
        )
        loss = self._batch_loss(images, targets)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._update_average()
        return loss.detach()

    def _batch_loss(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        images = images.to(self.device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)
        targets = targets.to(self.device, non_blocking=True)
        with self._autocast():
            logits = self.parallel(images)
        if self.teacher is None:
            return self.loss(logits, targets)
        with self._autocast():
            taught = self.teacher(images, logits, targets)
        return taught + self.loss(logits, targets.masked_fill(targets == TEACHER_ONLY, IGNORE))

    def _autocast(self) -> torch.autocast:
        dtype = _DTYPES.get(self.config.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Short memory at first, or the average keeps the random start for long.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averages, values = [], []
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                averages.append(self.average[key])
                values.append(value)
            else:
                self.average[key].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def averaged_model(self) -> nn.Module:
        """Return a copy of the network in eval mode that carries the averaged weights."""
        model = build(self.config.architecture, len(self.labels), **self.config.options)
        model.load_state_dict(self.average)
        return model.to(self.device, memory_format=torch.channels_last).eval()

    def validation_data(self) -> FolderDataset | CocoDataset:
        """Open what the configuration names as validation.

        Raises:
            TrainingError, DatasetError: nothing is named, or it cannot be used.
        """
        named = self.config.validation
        if named is None:
            raise TrainingError('the configuration names no validation folder')
        return self._open(named if isinstance(named, dict) else {'root': named})

    def _open(self, entry: dict) -> FolderDataset:
        kind = entry.get('kind', 'folder')
        return open_dataset(kind, Path(entry['root']), entry.get('split'), len(self.labels))

    def validate(self) -> SegmentationScores:
        """Score the averaged weights on the validation folder at its own image size."""
        data = self.validation_data()
        return score_module(self.averaged_model(), data, self.config.architecture)

    def _validation_record(self, bar: tqdm) -> dict:
        scores = self.validate()
        bar.write(f'step {self.step}: mIoU {100 * scores.miou:.2f}')
        iou = dict(zip(self.labels.names, scores.iou.round(4).tolist(), strict=True))
        return {'miou': scores.miou, 'pixel_accuracy': scores.pixel_accuracy, 'iou': iou}

    def save(self) -> None:
        """Write the checkpoint of this moment.

        Raises:
            TrainingError: the disk is full; the checkpoint before stays as it was.
        """
        save_checkpoint(
            self.output / CHECKPOINT,
            {
                'config': self.config.to_dict(),
                'step': self.step,
                'seconds': self.seconds,
                'model': self.model.state_dict(),
                'average': self.average,
                'optimizer': self.optimizer.state_dict(),
                'scaler': self.scaler.state_dict(),
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
            # Empty where the run had another precision until now.
            if self.scaler.is_enabled() and state.get('scaler'):
                self.scaler.load_state_dict(state['scaler'])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f'{path} does not fit the configuration: {error}') from error
        self.step, self.seconds = state['step'], state['seconds']
        return True


def _single_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
