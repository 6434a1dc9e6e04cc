"""Objects out of label maps: which regions are objects, and which are groups."""

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.layouts import open_dataset
from seg_perception.evaluation.regions import SMALLEST, RegionDataset

LABELS = LabelSet.named('street_objects')
CAR, PERSON = LABELS.index('car'), LABELS.index('person')
CLASSES = {8: 'car', 9: 'person', 10: 'person'}


@pytest.fixture
def street(tmp_path):
    """Return a function that writes a label map and opens it as objects."""

    def write(*boxes, classes=CLASSES, exclude=()):
        ids = np.full((60, 120), 3, np.uint8)
        for own, x, y, width, height in boxes:
            ids[y : y + height, x : x + width] = own
        for folder, picture in (('images', np.full((60, 120, 3), 90, np.uint8)), ('labels', ids)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / 'a.png'), picture)
        return RegionDataset(open_dataset('folder', tmp_path, None, 255), LABELS, classes, exclude)

    return write


def test_each_region_of_a_class_is_an_object(street):
    data = street((8, 5, 10, 20, 12), (8, 60, 10, 30, 20), (9, 40, 10, 5, 20), (255, 0, 50, 9, 9))
    assert len(data) == 1
    image, objects = data.image(0), data.objects(0)
    assert data.name(0) == 'a'
    assert image.shape == (60, 120, 3)
    assert objects.labels.tolist() == [CAR, CAR, PERSON]
    assert objects.boxes.tolist() == [[5, 10, 25, 22], [60, 10, 90, 30], [40, 10, 45, 30]]
    assert objects.masks.sum((1, 2)).tolist() == [240, 600, 100]
    assert not objects.crowd.any()


def test_what_stands_before_an_object_hides_and_does_not_part_it(street):
    objects = street((8, 10, 10, 30, 20), (2, 20, 0, 2, 60)).objects(0)
    assert objects.boxes.tolist() == [[10, 10, 40, 30]]
    assert objects.masks.sum() == 28 * 20, 'the pole is no part of the car'
    apart = street((8, 10, 10, 30, 20), (1, 20, 0, 6, 60)).objects(0)
    assert apart.boxes.tolist() == [[10, 10, 20, 30], [26, 10, 40, 30]]


def test_ids_of_one_class_stay_apart(street):
    objects = street((9, 10, 10, 6, 20), (10, 16, 10, 8, 20)).objects(0)
    assert objects.labels.tolist() == [PERSON, PERSON]
    assert objects.boxes.tolist() == [[10, 10, 16, 30], [16, 10, 24, 30]]


def test_rows_and_specks_are_groups(street):
    boxes = ((8, 0, 5, 51, 20), (8, 0, 30, 50, 20), (9, 60, 5, 25, 20), (9, 90, 5, 24, 20))
    specks = ((9, 100, 30, 4, 14), (9, 110, 30, 4, 15))
    assert SMALLEST == 4 * 15
    crowd = street(*boxes, *specks).objects(0).crowd.tolist()
    assert crowd == [True, False, True, False, True, False]


def test_a_street_without_objects(street):
    objects = street().objects(0)
    assert objects.masks.shape == (0, 60, 120)
    assert objects.boxes.shape == (0, 4)
    assert objects.crowd.shape == (0,)


def test_what_cannot_be_opened(street, tmp_path):
    with pytest.raises(DatasetError, match="unknown class 'cab'; known: person"):
        street(classes={8: 'cab'})
    with pytest.raises(DatasetError, match=r"unknown class \['car', 'truck'\]"):
        street(classes={8: ['car', 'truck']})
    for own in ('car', 255, -1):
        with pytest.raises(DatasetError, match=f'{own!r} is no label id'):
            street(classes={own: 'car'})
    with pytest.raises(DatasetError, match='objects of the ids that classes name'):
        street(classes={})
    with pytest.raises(DatasetError, match='exclude leaves no picture'):
        street(exclude=['a*'])
    data = street()
    (tmp_path / 'labels' / 'a.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=r'a\.png is not an 8-bit'):
        data.objects(0)
