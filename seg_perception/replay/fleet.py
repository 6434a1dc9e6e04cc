"""Many bags: one a task, over the cores here or over a Ray cluster; failures kept apart."""

from __future__ import annotations

import dataclasses
import glob
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_perception.core.errors import SegPerceptionError, SourceError
from seg_perception.replay.interrupt import StopOnSignal
from seg_perception.replay.options import ReplayOptions
from seg_perception.replay.run import replay_bag
from seg_perception.ros.sources import BAG_SUFFIXES, natural_key

Done = Callable[['Outcome'], None]


@dataclass(frozen=True)
class Task:
    """One bag and the folder that its replay is written into."""

    bag: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its result, or the error that ended it."""

    task: Task
    result: dict[str, Any] | None
    error: str = ''


def find_bags(wishes: Sequence[str]) -> list[Path]:
    """Return the bags that paths and patterns name, sorted, none twice.

    A wish is a bag's folder, one .mcap or .db3 file, a folder with bags somewhere below it, or
    a pattern of such.

    Raises:
        SourceError: a wish names no bag.
    """
    found: dict[Path, None] = {}
    for wish in wishes:
        text = str(Path(wish).expanduser())
        paths = [Path(text)] if Path(text).exists() else map(Path, sorted(glob.glob(text)))
        bags = [bag for path in paths for bag in _bags_below(path)]
        if not bags:
            raise SourceError(f'{wish}: no bag there (a rosbag2 folder, .mcap or .db3)')
        found.update(dict.fromkeys(bags))
    return sorted(found, key=lambda bag: natural_key(str(bag)))


def _bags_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix in BAG_SUFFIXES:
            yield path
        return
    files = sorted(f for f in path.iterdir() if f.is_file() and f.suffix in BAG_SUFFIXES)
    if (path / 'metadata.yaml').is_file() or _is_split(files):
        yield path
        return
    yield from files
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        yield from _bags_below(folder)


def _is_split(files: list[Path]) -> bool:
    """Whether storage files are the parts of one recording: name_0, name_1, ..."""
    stems = {re.sub(r'_\d+$', '', file.stem) for file in files}
    return bool(files) and len(stems) == 1 and all(re.search(r'_\d+$', f.stem) for f in files)


def tasks_for(bags: Sequence[Path], output: Path) -> list[Task]:
    """Give each bag a folder of its own, named as the bag is."""
    taken: set[str] = set()
    tasks = []
    for bag in bags:
        name = folder = bag.resolve().stem if bag.is_file() else bag.resolve().name
        number = 2
        while folder in taken:
            folder, number = f'{name}_{number}', number + 1
        taken.add(folder)
        tasks.append(Task(bag, output / 'bags' / folder))
    return tasks


def run_here(
    options: ReplayOptions, tasks: Sequence[Task], jobs: int, done: Done, stop: StopOnSignal
) -> list[Outcome]:
    """Replay bags in processes of this machine.

    A process that dies takes no other bag with it: those it left are done again, each in a
    process of its own.

    Args:
        options: for all of them.
        tasks: what to do.
        jobs: processes at a time.
        done: told after each bag.
        stop: asked whether to go on; the bags in work are then closed as they are.
    """
    options = _with_threads(options, jobs)
    left = {task.bag: task for task in tasks}
    outcomes: list[Outcome] = []

    def take(outcome: Outcome) -> None:
        left.pop(outcome.task.bag)
        outcomes.append(outcome)
        done(outcome)

    try:
        _pool(options, list(left.values()), jobs, take, stop)
    except BrokenProcessPool:
        for task in list(left.values()):
            if stop.asked:
                break
            try:
                _pool(options, [task], 1, take, stop)
            except BrokenProcessPool:
                take(Outcome(task, None, 'its process died (out of memory, or a crash)'))
    return outcomes


def _pool(
    options: ReplayOptions,
    tasks: Sequence[Task],
    jobs: int,
    take: Callable[[Outcome], None],
    stop: StopOnSignal,
) -> None:
    # Spawned, not forked: networks and OpenCV keep threads that a fork would lose.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(min(jobs, len(tasks)), context) as pool:
        futures: dict[Future, Task] = {pool.submit(run_task, options, t): t for t in tasks}
        for future in as_completed(futures):
            if future.cancelled():
                continue
            take(future.result())
            if stop.asked:
                for other in futures:
                    other.cancel()


def run_task(options: ReplayOptions, task: Task) -> Outcome:
    """Replay one bag in this process; an error becomes part of the outcome."""
    with StopOnSignal() as stop:
        try:
            result = replay_bag(options, task.bag, task.output, stopping=lambda: stop.asked)
            return Outcome(task, result)
        except SegPerceptionError as error:
            return Outcome(task, None, str(error))
        except Exception as error:  # one bag's surprise must not end the others
            return Outcome(task, None, f'{type(error).__name__}: {error}')


def run_on_ray(
    options: ReplayOptions, tasks: Sequence[Task], address: str, done: Done, stop: StopOnSignal
) -> list[Outcome]:
    """Replay bags on a Ray cluster, one bag a task of one core.

    Bags and output lie on storage that every machine of the cluster sees under the same path,
    and this package is installed there.

    Args:
        options, tasks, done, stop: as in :func:`run_here`.
        address: of the cluster ('auto', 'ray://host:10001'), or 'local' for one made here.

    Raises:
        SourceError: Ray is not installed, or the cluster can't be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise SourceError("--ray needs 'ray': pip install ray") from error
    here = {'include_dashboard': False} if address == 'local' else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level='error', **here)
    except Exception as error:  # Ray has many, by what is wrong with the address
        raise SourceError(f'no Ray cluster at {address}: {error}') from error
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_ray_task)
        plain = _with_threads(options, os.cpu_count() or 1)
        absolute = [Task(task.bag.resolve(), task.output.resolve()) for task in tasks]
        waiting = {remote.remote(plain, a): t for a, t in zip(absolute, tasks, strict=True)}
        return _collect(ray, waiting, done, stop)
    finally:
        ray.shutdown()


def _ray_task(options: ReplayOptions, task: Task) -> Outcome:
    return run_task(options, task)


def _collect(ray: Any, waiting: dict, done: Done, stop: StopOnSignal) -> list[Outcome]:
    outcomes = []
    while waiting and not stop.asked:
        ready, _ = ray.wait(list(waiting), timeout=0.5)
        for reference in ready:
            task = waiting.pop(reference)
            try:
                outcome = ray.get(reference)
                outcome = Outcome(task, outcome.result, outcome.error)
            except Exception as error:  # the worker or its machine died
                outcome = Outcome(task, None, f'{type(error).__name__}: {error}')
            outcomes.append(outcome)
            done(outcome)
    for reference in waiting:
        ray.cancel(reference)
    return outcomes


def _with_threads(options: ReplayOptions, jobs: int) -> ReplayOptions:
    """Share the cores out, unless the parameters say how many threads a network takes."""
    if options.parameters().threads:
        return options
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    return dataclasses.replace(options, overrides=(*options.overrides, ('threads', threads)))
