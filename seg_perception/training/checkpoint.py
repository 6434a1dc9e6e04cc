"""Checkpoints: tensors and plain values in one file, replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from seg_perception.zoo.checkpoint import VERSION, load_checkpoint

__all__ = ['VERSION', 'load_checkpoint', 'save_checkpoint']


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then rename: a kill at any moment leaves the old or the new file whole."""
    beside = path.with_suffix('.partial')
    torch.save({'version': VERSION, **state}, beside)
    os.replace(beside, path)
