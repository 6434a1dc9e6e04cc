"""Reading checkpoints: the trained network in a file that ``seg-perception train`` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_perception.core.errors import ModelError, TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.zoo.registry import build

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what is needed to use it.

    Attributes:
        model: with the averaged weights, in eval mode, on the CPU.
        name: of the run; architecture: in the registry, built with ``options``.
        labels: classes of its channels.
        default_size: (height, width) in pixels it is best run at.
        step: optimiser steps done.
    """

    model: nn.Module
    name: str
    architecture: str
    options: dict[str, Any]
    labels: LabelSet
    default_size: tuple[int, int]
    step: int


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without unpickling anything but tensors and plain values.

    Raises:
        TrainingError: missing, truncated, or not a checkpoint of this package.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f'{path} does not exist') from None
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise TrainingError(f'{path} cannot be read as a checkpoint: {error}') from error
    if not isinstance(state, dict) or state.get('version') != VERSION:
        raise TrainingError(f'{path} is not a version {VERSION} checkpoint of seg_perception')
    return state


def read_network(path: Path) -> Checkpoint:
    """Build the network of a checkpoint, with its averaged weights.

    Raises:
        TrainingError: the file is missing, damaged, or no checkpoint of this package.
        ModelError: its weights do not fit the architecture it names.
        LabelSetError: its label set is not known here.
    """
    state = load_checkpoint(path)
    try:
        config, average = state['config'], state['average']
        labels = LabelSet.named(config['labels'])
        model = build(config['architecture'], len(labels), **config['options'])
        model.load_state_dict(average)
        size = tuple(int(side) for side in config['default_size'])
        return Checkpoint(
            model.eval(),
            config['name'],
            config['architecture'],
            config['options'],
            labels,
            (size[0], size[1]),
            state['step'],
        )
    except KeyError as error:
        raise TrainingError(f'{path}: the checkpoint lacks {error}') from error
    except RuntimeError as error:  # of load_state_dict: it lists every tensor
        told = str(error).strip().splitlines()
        raise ModelError(
            f'{path}: its weights do not fit {config["architecture"]} with {len(labels)} classes: '
            f'{" ".join(line.strip() for line in told[:2])} ({len(told) - 1} complaints in all)'
        ) from error
