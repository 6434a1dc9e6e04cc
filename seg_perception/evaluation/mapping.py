"""A model's classes as those of the dataset it is scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import yaml

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.resources import share_dir
from seg_perception.core.results import UNLABELLED


@dataclass(frozen=True)
class ClassMap:
    """Which class of a dataset each class of a model counts as.

    Attributes:
        labels: of the dataset.
        table: uint8 [256]: pixel value of the model's mask -> class of the dataset, 255 = none
            (a miss wherever the truth has a class).
        names: class of the model -> class of the dataset, None = none; only where they differ.
    """

    labels: LabelSet
    table: np.ndarray
    names: dict[str, str | None]


def class_map(model: LabelSet, dataset: LabelSet) -> ClassMap:
    """Map by equal names, then by ``config/labels/groups/<dataset>.yaml``.

    Raises:
        DatasetError: a class of the dataset has no counterpart in the model, so that the mean
            over its classes would say nothing about the model.
    """
    groups = _groups(dataset)
    table = np.full(256, UNLABELLED, np.uint8)
    names: dict[str, str | None] = {}
    for item in model.classes:
        name = item.name if item.name in dataset.names else groups.get(item.name)
        if name is not None:
            table[item.id] = dataset.index(name)
        if name != item.name:
            names[item.name] = name
    missing = [c.name for c in dataset.classes if c.id not in table[: len(model)]]
    if missing:
        raise DatasetError(
            f'the label set {model.name!r} has nothing that could be scored as '
            f'{", ".join(map(repr, missing))} of {dataset.name!r}; the model must have all its '
            'classes (or parts of them)'
        )
    return ClassMap(dataset, table, names)


def _groups(dataset: LabelSet) -> dict[str, str]:
    path = share_dir() / 'config' / 'labels' / 'groups' / f'{dataset.name}.yaml'
    if not path.is_file():
        return {}
    groups = yaml.safe_load(path.read_text(encoding='utf-8'))['groups']
    return {part: whole for whole, parts in groups.items() for part in parts}
