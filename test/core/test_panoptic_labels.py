"""Classes of a mask and of instances brought together by name."""

from __future__ import annotations

import pytest

from seg_perception.core.errors import LabelSetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic_labels import merge_labels

CITY, OBJECTS = LabelSet.named('cityscapes'), LabelSet.named('street_objects')


def test_equal_names_are_one_class_and_others_are_added():
    merged = merge_labels(CITY, LabelSet.named('coco'))
    assert merged.labels.classes[: len(CITY)] == CITY.classes
    car, chair = LabelSet.named('coco').index('car'), LabelSet.named('coco').index('chair')
    assert merged.of_instance[car] == CITY.index('car')
    assert merged.labels.names[merged.of_instance[chair]] == 'chair'
    assert merged.of_instance[chair] >= len(CITY)
    assert merged.things == set(merged.of_instance.values())


def test_a_set_that_adds_nothing_leaves_the_masks():
    assert merge_labels(CITY, OBJECTS).labels == CITY


def test_renamed_classes():
    merged = merge_labels(CITY, OBJECTS, {'truck': 'bus'})
    assert merged.of_instance[OBJECTS.index('truck')] == CITY.index('bus')
    with pytest.raises(LabelSetError, match='lorry'):
        merge_labels(CITY, OBJECTS, {'lorry': 'bus'})
    with pytest.raises(LabelSetError, match='vehicle'):
        merge_labels(CITY, OBJECTS, {'truck': 'vehicle'})


def test_too_many_classes_together():
    names = [{'id': i, 'name': f'n{i}', 'color': [0, 0, 0], 'role': 'ignore'} for i in range(252)]
    many = LabelSet.from_dict({'name': 'many', 'classes': names})
    with pytest.raises(LabelSetError, match='258'):
        merge_labels(many, OBJECTS)
