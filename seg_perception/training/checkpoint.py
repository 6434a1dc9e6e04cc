"""Checkpoints: tensors and plain values in one file, replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_perception.core.errors import ModelError, TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.training.config import TrainingConfig
from seg_perception.zoo.checkpoint import VERSION, load_checkpoint
from seg_perception.zoo.registry import build

__all__ = ['VERSION', 'load_checkpoint', 'load_network', 'save_checkpoint']


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a kill at any moment leaves the old or the new file whole.

    Raises:
        TrainingError: the disk is full or the folder cannot be written; the old file stays.
    """
    beside = path.with_suffix('.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open('wb') as file:
            torch.save({'version': VERSION, **state}, file)
            file.flush()
            # Renamed before it is on the disk, a power cut could leave an empty checkpoint.
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
        beside.unlink(missing_ok=True)
        kept = f'; the one of before is still there: {path}' if path.is_file() else ''
        raise TrainingError(f'{beside} cannot be written: {error}{kept}') from error


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
