"""The processes of one run: alone, or started together by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from seg_perception.core.errors import TrainingError

#: How long a process waits for the others; the first one validates and writes alone meanwhile.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: 0..world-1; rank 0 validates, logs and writes.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Return how many of a batch's draws this process takes.

        Raises:
            TrainingError: the batch cannot be divided evenly.
        """
        if batch % self.world:
            raise TrainingError(
                f'batch {batch} cannot be divided among {self.world} processes; it counts the '
                'pictures of all of them together'
            )
        return batch // self.world

    def batches(self, batch: int, steps: int) -> list[range]:
        """Return, for every step, the numbers of the draws that this process takes."""
        each = self.share(batch)
        firsts = (step * batch + self.rank * each for step in range(steps))
        return [range(first, first + each) for first in firsts]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the module to call in training, which averages gradients over processes."""
        if self.world == 1:
            return model
        on_gpu = next(model.parameters()).device.type == 'cuda'
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[torch.cuda.current_device()] if on_gpu else None
        )

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean of a number over the processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.item() / self.world

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the other processes of the run, if torchrun started this one.

    Args:
        device: torch device as asked for; a plain ``cuda`` becomes this process's own GPU.

    Yields:
        This process among all, and its device.

    Raises:
        TrainingError: more processes than GPUs.
    """
    world = int(os.environ.get('WORLD_SIZE', '1'))
    if world == 1:
        yield Processes(), device
        return
    local = int(os.environ.get('LOCAL_RANK', '0'))
    if device == 'cuda':
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f'process {local} of this machine finds {torch.cuda.device_count()} GPUs; start '
                'no more processes than there are (torchrun --nproc-per-node)'
            )
        torch.cuda.set_device(local)
        device = f'cuda:{local}'
    dist.init_process_group('nccl' if device.startswith('cuda') else 'gloo', timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), world), device
    finally:
        dist.destroy_process_group()
