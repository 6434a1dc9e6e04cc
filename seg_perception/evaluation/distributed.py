"""An evaluation in parts: in this process, or on many machines by Ray (https://www.ray.io)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from seg_perception.core.errors import DatasetError, ProviderError, SegPerceptionError
from seg_perception.evaluation.job import Job, Part, do_part
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.semantic import Evaluation

#: Pictures of a part: enough to be worth sending, few enough to lose little.
LEAST, MOST = 4, 64
#: Parts a worker gets, so that a slow one holds up nobody for long.
ROUNDS = 4

Indices = tuple[int, ...]


class Executor(Protocol):
    """Does the parts of a job, somewhere."""

    @property
    def workers(self) -> int:
        """How many parts are done at a time."""

    def run(self, job: Job, parts: Sequence[Indices]) -> Iterator[tuple[Indices, Part | str]]:
        """Yield every part's pictures with what came of them, or why nothing did; any order."""


class LocalExecutor:
    """One part after the other in this process."""

    workers = 1

    def run(self, job: Job, parts: Sequence[Indices]) -> Iterator[tuple[Indices, Part | str]]:
        for indices in parts:
            try:
                yield indices, do_part(job, indices)
            except SegPerceptionError as error:
                yield indices, str(error)


class RayExecutor:
    """Parts as tasks of a Ray cluster; a part whose machine dies is done again elsewhere.

    Model and pictures must lie under the same paths on every machine (a shared file system),
    and the same version of this package must be installed there.

    Args:
        address: of the cluster, ``auto``, or ``local`` to start one on this machine.
        cpus: of one task; its network runs on as many threads.

    Raises:
        ProviderError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, address: str, cpus: int = 1) -> None:
        # Ray would report its use to its makers; whoever wants that sets the variable.
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        try:
            import ray
        except ImportError as error:
            raise ProviderError(
                f"--ray needs Ray, on every machine of the cluster ({error}): pip install 'ray'; "
                'without it leave --ray out'
            ) from error
        self._ray, self._cpus = ray, cpus
        options: dict[str, Any] = {'logging_level': 'error', 'log_to_driver': False}
        if address == 'local':
            options['include_dashboard'] = False
        try:
            ray.init(address=address, **options)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and gRPC's
            raise ProviderError(
                f'no Ray cluster answers at {address!r}: {error}. Start one (`ray start --head`), '
                "or take --ray local for this machine's cores"
            ) from error
        self.workers = max(1, int(ray.cluster_resources().get('CPU', 1)) // cpus)

    def run(self, job: Job, parts: Sequence[Indices]) -> Iterator[tuple[Indices, Part | str]]:
        ray = self._ray
        remote = ray.remote(num_cpus=self._cpus, max_retries=2)(do_part)
        waiting = {remote.remote(job, indices): indices for indices in parts}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            indices = waiting.pop(done[0])
            try:
                yield indices, ray.get(done[0])
            except Exception as error:  # Ray's own classes, and whatever a task raised
                yield indices, _reason(error)

    def close(self) -> None:
        """Leave the cluster; end one that was started here."""
        self._ray.shutdown()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a job: an evaluation per segmenter, and (picture, error) of the rest."""

    evaluations: list[Evaluation]
    failures: list[tuple[str, str]]


def evaluate_in_parts(job: Job, executor: Executor) -> Outcome:
    """Do a job in parts; their counts add up to those of the whole exactly.

    Raises:
        DatasetError: no picture could be scored; the message has the first reason.
        SegPerceptionError: model or dataset cannot be found on this machine.
    """
    job = dataclasses.replace(job, checksum=job.file_checksum(), root=Path(job.root).absolute())
    # 255: only the names are wanted here, and the labels' range is checked where they are read.
    data = open_dataset(job.dataset, job.root, job.split, 255)
    parts = split(len(data), executor.workers)
    tallies: list = []
    failures: list[tuple[str, str]] = []
    with tqdm(total=len(data), unit='picture', mininterval=1, leave=False) as bar:
        for indices, found in executor.run(job, parts):
            bar.update(len(indices))
            if isinstance(found, str):
                failures += [(data.name(index), found) for index in indices]
                continue
            failures += found.failures
            if not tallies:
                tallies = found.tallies
                continue
            for tally, other in zip(tallies, found.tallies, strict=True):
                tally.merge(other)
    if not tallies or not tallies[0].seconds:
        reason = failures[0][1] if failures else 'there is none'
        raise DatasetError(f'not one of {len(data)} pictures could be scored: {reason}')
    return Outcome([tally.evaluation() for tally in tallies], sorted(failures))


def split(count: int, workers: int) -> list[Indices]:
    """Return parts of 0..count-1: every index once, neighbours together."""
    size = min(max(LEAST, -(-count // (workers * ROUNDS))), MOST)
    return [tuple(range(i, min(i + size, count))) for i in range(0, count, size)]


def _reason(error: Exception) -> str:
    """The task's own words: Ray wraps them in a traceback."""
    cause = getattr(error, 'cause', None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
