"""A model with other classes than the dataset: which of them counts as which."""

import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.mapping import class_map

CAMVID, CITYSCAPES = LabelSet.named('camvid'), LabelSet.named('cityscapes')


def with_more(*names):
    """CamVid's classes in another order, and more."""
    classes = [dict(item) for item in CAMVID.to_dict()['classes'][::-1]]
    template = classes[0]
    classes += [{**template, 'name': name} for name in names]
    for i, item in enumerate(classes):
        item['id'] = i
    return LabelSet.from_dict({'name': 'street', 'classes': classes})


def test_a_set_that_contains_the_eleven_is_scored_as_them():
    street = with_more('truck', 'lane marking', 'dragon')
    found = class_map(street, CAMVID)
    for name in CAMVID.names:
        assert found.table[street.index(name)] == CAMVID.index(name)
    assert found.table[street.index('truck')] == CAMVID.index('car')
    assert found.table[street.index('lane marking')] == CAMVID.index('road')
    assert found.table[street.index('dragon')] == 255
    assert np.all(found.table[len(street) :] == 255)
    assert found.names == {'truck': 'car', 'lane marking': 'road', 'dragon': None}


def test_cityscapes_holds_parts_of_all_eleven():
    found = class_map(CITYSCAPES, CAMVID)
    assert 255 not in found.table[:19]
    assert found.names['rider'] == 'bicyclist'
    assert found.names['sidewalk'] == 'pavement'
    assert found.names['traffic light'] == 'sign'


def test_a_class_that_the_model_lacks():
    with pytest.raises(DatasetError, match=r"'camvid' has nothing.*'wall', 'traffic light'"):
        class_map(CAMVID, CITYSCAPES)
