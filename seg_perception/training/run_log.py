"""What a run tells while it goes: a line of JSON and TensorBoard's curves per record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seg_perception.core.errors import TrainingError

LOG = 'log.jsonl'
CURVES = 'tensorboard'


class RunLog:
    """The log of a run's folder.

    Args:
        folder: of the run; gets ``log.jsonl`` and ``tensorboard/``.
        step: steps done before; curves of a later moment (a run that was killed) are withdrawn.
        curves: write TensorBoard's files if it is installed.
    """

    def __init__(self, folder: Path, step: int, curves: bool) -> None:
        self.path = folder / LOG
        self.curves = _writer(folder / CURVES, step) if curves else None

    def write(self, step: int, record: dict[str, Any]) -> None:
        """Append a record: numbers, and mappings of name -> number, by name.

        Raises:
            TrainingError: the disk is full or the file cannot be written.
        """
        try:
            with self.path.open('a', encoding='utf-8') as log:
                log.write(json.dumps({'step': step, **record}) + '\n')
            if self.curves:
                for name, value in _flat(record):
                    self.curves.add_scalar(name, value, step)
                self.curves.flush()
        except OSError as error:
            raise TrainingError(f'{self.path} cannot be written: {error}') from error

    def close(self) -> None:
        """End the curves' file."""
        if self.curves:
            self.curves.close()


def _writer(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print('no TensorBoard curves: pip install tensorboard (log.jsonl has the same numbers)')
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _flat(record: dict[str, Any]) -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for name, value in record.items():
        values = value.items() if isinstance(value, dict) else [(None, value)]
        for key, number in values:
            if isinstance(number, (int, float)) and number == number:
                numbers.append((f'{name}/{key}' if key else name, float(number)))
    return numbers
