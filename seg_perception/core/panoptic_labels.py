"""One set of classes for a panoptic map, out of those of a mask and those of instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from seg_perception.core.errors import LabelSetError
from seg_perception.core.labels import LabelSet


@dataclass(frozen=True)
class PanopticLabels:
    """The classes of a panoptic map.

    Attributes:
        labels: the mask's classes under their own ids, then those that only the instances have.
        of_instance: panoptic class id by class id of the instances.
        things: classes that are counted, the values of ``of_instance``.
    """

    labels: LabelSet
    of_instance: Mapping[int, int]

    @property
    def things(self) -> frozenset[int]:
        return frozenset(self.of_instance.values())


def merge_labels(
    mask: LabelSet, instances: LabelSet, renamed: Mapping[str, str] | None = None
) -> PanopticLabels:
    """Bring the classes of mask and instances together by name.

    Args:
        mask: classes of the semantic mask.
        instances: classes of the instances.
        renamed: mask class by instance class, where the names differ.

    Raises:
        LabelSetError: `renamed` names a class that is not there, or there are more than 255.
    """
    renamed = renamed or {}
    for instance_class in renamed:
        instances.index(instance_class)
    classes, of_instance = list(mask.classes), {}
    for item in instances.classes:
        name = renamed.get(item.name)
        if name is not None:
            of_instance[item.id] = mask.index(name)
        elif item.name in mask.names:
            of_instance[item.id] = mask.index(item.name)
        else:
            of_instance[item.id] = len(classes)
            classes.append(dataclasses.replace(item, id=len(classes) % 255))
    if len(classes) > 255:
        raise LabelSetError(
            f'mask and instances have {len(classes)} classes together, a panoptic map can have '
            '255: give equal ones the same name (same_classes)'
        )
    name = mask.name if len(classes) == len(mask) else f'{mask.name} and {instances.name}'
    return PanopticLabels(LabelSet(name, tuple(classes)), of_instance)
