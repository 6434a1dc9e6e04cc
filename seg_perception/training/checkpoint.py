"""Checkpoints: tensors and plain values in one file, replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from seg_perception.core.errors import TrainingError

VERSION = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a kill at any moment leaves the old or the new file whole."""
    beside = path.with_suffix('.partial')
    torch.save({'version': VERSION, **state}, beside)
    os.replace(beside, path)


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
