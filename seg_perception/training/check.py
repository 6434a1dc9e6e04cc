"""Reading a configuration's data once, before a long run stumbles over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import IGNORE
from seg_perception.evaluation.regions import ObjectDataset
from seg_perception.training.coarse import ClassGroups, MappedDataset
from seg_perception.training.config import TrainingConfig
from seg_perception.training.sources import open_entry, open_entry_objects
from seg_perception.zoo.registry import architecture


@dataclass(frozen=True)
class Finding:
    """What one data entry holds.

    Attributes:
        root: of the entry. pictures: how many can be used.
        content: what they show, most first: a class or set of classes with its share of the
            labelled pixels, or with the number of its objects.
        problems: what is wrong with the others, one message each.
    """

    root: str
    pictures: int
    content: list[str]
    problems: list[str]

    def lines(self) -> list[str]:
        """Return the finding for people."""
        first = f'{self.root}: {self.pictures} pictures; {", ".join(self.content) or "no labels"}'
        return [first, *(f'  cannot be used: {problem}' for problem in self.problems)]


def check_data(config: TrainingConfig) -> Iterable[Finding]:
    """Read every picture, label map and object of a configuration's data.

    Yields:
        A finding for each data entry, in their order.

    Raises:
        SegPerceptionError: an entry cannot be opened at all.
    """
    groups = ClassGroups(LabelSet.named(config.labels))
    finds_objects = architecture(config.architecture).task == 'instance'
    for entry in config.data:
        data = (
            open_entry_objects(entry, groups.labels)
            if finds_objects
            else open_entry(entry, groups)
        )
        counts, problems = np.zeros(256, np.int64), []
        for index in tqdm(range(len(data)), desc=entry['root'], leave=False, mininterval=1):
            try:
                counts += np.bincount(_ids(data, index), minlength=256)
            except DatasetError as error:
                problems.append(str(error))
        content = _objects(counts, groups.labels) if finds_objects else _shares(counts, groups)
        yield Finding(entry['root'], len(data) - len(problems), content, problems)


def _ids(data: MappedDataset | ObjectDataset, index: int) -> np.ndarray:
    """Return what a picture shows, an id a pixel or an object; of groups ``IGNORE``."""
    if isinstance(data, MappedDataset):
        return data[index][1].ravel()
    data.image(index)  # readable?
    objects = data.objects(index)
    return np.where(objects.crowd, IGNORE, objects.labels)


def _shares(counts: np.ndarray, groups: ClassGroups) -> list[str]:
    names = list(groups.labels.names)
    names += [' or '.join(names[i] for i in members) for members in groups.groups]
    counts = counts[:IGNORE]
    percent = 100 * counts / max(int(counts.sum()), 1)
    return [
        f'{names[i] if i < len(names) else "left to the teacher"} {percent[i]:.1f} %'
        for i in _most_first(counts)
    ]


def _objects(counts: np.ndarray, labels: LabelSet) -> list[str]:
    told = [f'{labels.names[i]} {counts[i]}' for i in _most_first(counts[:IGNORE])]
    return [*told, f'{counts[IGNORE]} groups and the like left out'] if counts[IGNORE] else told


def _most_first(counts: np.ndarray) -> list[int]:
    return [int(i) for i in np.argsort(-counts, kind='stable') if counts[i]]
