"""A whole evaluation as plain data, so that any process on any machine can do a part of it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from seg_perception.core.errors import DatasetError, ParameterError, SegPerceptionError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.mapping import ClassMap, class_map
from seg_perception.evaluation.semantic import Tally, count_picture, new_tallies
from seg_perception.evaluation.strategies import Strategies
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.strategy import Segmenter

#: Datasets by the name of their layout, and the label set of their label maps; None: the model's.
DATASETS = {'camvid': 'camvid', 'cityscapes': 'cityscapes', 'folder': None}
#: Endings of torch checkpoints; any other model is a bundle.
CHECKPOINTS = ('.pt', '.pth', '.ckpt')


class Opened(NamedTuple):
    """What a job needs in memory."""

    segmenters: list[Segmenter]
    data: FolderDataset
    classes: ClassMap | None


@dataclass(frozen=True)
class Part:
    """What came of some of a job's pictures: a tally per segmenter, and (picture, error)."""

    tallies: list[Tally]
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """A model, a dataset and how to run the one on the other.

    Attributes:
        model: name or path of a bundle, or path of a torch checkpoint.
        dataset, root, split: see ``evaluation.layouts.open_dataset``.
        provider, precision, threads: see ``runtime.session.open_session``; a checkpoint takes
            'auto' or 'cpu', or 'cuda'.
        input_size: (height, width) of the network; None = the model's.
        strategies: around the network.
        compare: run the plain network, too.
        checksum: sha256 of the model's file; '' = not compared.
    """

    model: str
    dataset: str
    root: Path
    split: str
    provider: str = 'auto'
    precision: str = 'auto'
    threads: int = 0
    input_size: tuple[int, int] | None = None
    strategies: Strategies = field(default_factory=Strategies)
    compare: bool = False
    checksum: str = ''

    @property
    def is_checkpoint(self) -> bool:
        """True for a torch checkpoint."""
        return self.model.endswith(CHECKPOINTS)

    @property
    def name(self) -> str:
        """Name of the model: the bundle's, or the checkpoint's path."""
        return self.model if self.is_checkpoint else Bundle.find(self.model).name

    def file_checksum(self) -> str:
        """Return the sha256 of the model's file on this machine.

        Raises:
            BundleError, DatasetError: it is not there.
        """
        path = Path(self.model) if self.is_checkpoint else Bundle.find(self.model).model_path
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DatasetError(f'cannot read {path}: {error.strerror}') from error

    def open(self) -> Opened:
        """Load the model and find the pictures.

        Raises:
            SegPerceptionError: either cannot be used, or they have no classes in common.
        """
        if self.checksum and self.file_checksum() != self.checksum:
            raise DatasetError(f'{self.model} is another file here than where the job was begun')
        name = DATASETS[self.dataset]
        if not self.is_checkpoint:
            # Before the network is loaded: the label sets are in model.yaml.
            self._classes(Bundle.find(self.model).labels, name)
        network = self._checkpoint() if self.is_checkpoint else self._bundle()
        classes = self._classes(network.labels, name)
        count = len(classes.labels if classes else network.labels)
        data = open_dataset(self.dataset, self.root, self.split, count)
        segmenters = [self.strategies.around(network), *([network] if self.compare else [])]
        return Opened(segmenters, data, classes)

    def _classes(self, labels: LabelSet, name: str | None) -> ClassMap | None:
        if name is None or labels.names == (dataset := LabelSet.named(name)).names:
            return None
        return class_map(labels, dataset)

    def _bundle(self) -> Segmenter:
        return SemanticSegmenter(
            Bundle.find(self.model),
            self.provider,
            threads=self.threads,
            precision=self.precision,
            input_size=self.input_size,
        )

    def _checkpoint(self) -> Segmenter:
        if self.provider not in ('auto', 'cpu', 'cuda'):
            raise ParameterError(
                f'a checkpoint is run by torch: --provider {self.provider} is for bundles'
            )
        try:
            import torch

            from seg_perception.zoo.checkpoint import read_network
            from seg_perception.zoo.segmenter import TorchSegmenter
        except ImportError as error:
            raise ParameterError(
                f'a checkpoint needs {error.name}: pip install -r requirements/train.txt'
            ) from error
        if self.threads:
            torch.set_num_threads(self.threads)
        found = read_network(Path(self.model))
        return TorchSegmenter(  # type: ignore[return-value]
            found.model,
            found.architecture,
            found.labels,
            found.default_size,
            input_size=self.input_size,
            device='cuda' if self.provider == 'cuda' else 'cpu',
        )


@lru_cache(maxsize=1)
def _opened(job: Job) -> Opened:
    return job.open()


def do_part(job: Job, indices: tuple[int, ...]) -> Part:
    """Score some of a job's pictures; what cannot be read is listed, and the rest goes on.

    The model stays loaded for the next part of the same job in this process.

    Raises:
        SegPerceptionError: model or dataset cannot be opened.
    """
    segmenters, data, classes = _opened(job)
    tallies = new_tallies(segmenters, _first_readable(data, indices), classes)
    failures = []
    for index in indices:
        try:
            count_picture(segmenters, data, index, tallies, classes)
        except SegPerceptionError as error:
            failures.append((data.name(index), str(error)))
    return Part(tallies, failures)


def _first_readable(data: FolderDataset, indices: tuple[int, ...]) -> FolderDataset:
    """Return a view of the data that begins with a picture to warm up on.

    Raises:
        DatasetError: none of these can be read; the message is the last one's.
    """
    last = None
    for index in indices:
        try:
            data[index]
        except DatasetError as error:
            last = error
            continue
        view = copy.copy(data)
        view.pairs = data.pairs[index : index + 1]
        return view
    raise last or DatasetError('a part without pictures')
