"""Reading a configuration's data once, before a long run stumbles over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import IGNORE
from seg_perception.training.coarse import ClassGroups
from seg_perception.training.config import TrainingConfig
from seg_perception.training.sources import open_entry


@dataclass(frozen=True)
class Finding:
    """What one data entry holds.

    Attributes:
        root: of the entry. pictures: how many can be used.
        shares: class or set of classes -> its share of the labelled pixels, largest first.
        problems: what is wrong with the others, one message each.
    """

    root: str
    pictures: int
    shares: dict[str, float]
    problems: list[str]

    def lines(self) -> list[str]:
        """Return the finding for people."""
        told = ', '.join(f'{name} {100 * share:.1f} %' for name, share in self.shares.items())
        first = f'{self.root}: {self.pictures} pictures; {told or "no labels"}'
        return [first, *(f'  cannot be used: {problem}' for problem in self.problems)]


def check_data(config: TrainingConfig) -> Iterable[Finding]:
    """Read every picture and label map of a semantic configuration's data.

    Yields:
        A finding for each data entry, in their order.

    Raises:
        SegPerceptionError: an entry cannot be opened at all.
    """
    groups = ClassGroups(LabelSet.named(config.labels))
    for entry in config.data:
        data = open_entry(entry, groups)
        counts, problems = np.zeros(256, np.int64), []
        for index in tqdm(range(len(data)), desc=entry['root'], leave=False, mininterval=1):
            try:
                counts += np.bincount(data[index][1].ravel(), minlength=256)
            except DatasetError as error:
                problems.append(str(error))
        yield Finding(entry['root'], len(data) - len(problems), _shares(counts, groups), problems)


def _shares(counts: np.ndarray, groups: ClassGroups) -> dict[str, float]:
    names = list(groups.labels.names)
    names += [' or '.join(names[i] for i in members) for members in groups.groups]
    counts = counts[:IGNORE]
    total = max(int(counts.sum()), 1)
    order = [int(i) for i in np.argsort(-counts, kind='stable') if counts[i]]
    return {
        names[i] if i < len(names) else 'left to the teacher': counts[i] / total for i in order
    }
