"""Objects out of label maps: which regions are objects, and which are groups."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
for module in ('albumentations', 'pycocotools'):
    pytest.importorskip(module, reason='see requirements/train.txt')

from seg_perception.core.errors import DatasetError, TrainingError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.training.instance_trainer import GREY, without_groups  # noqa: E402
from seg_perception.training.regions import SMALLEST  # noqa: E402
from seg_perception.training.sources import open_regions  # noqa: E402

LABELS = LabelSet.named('street_objects')
CAR, PERSON = LABELS.index('car'), LABELS.index('person')
CLASSES = {8: 'car', 9: 'person', 10: 'person'}


@pytest.fixture
def street(tmp_path):
    """Return a function that writes a label map and opens it as objects."""

    def write(*boxes, **entry):
        ids = np.full((60, 120), 3, np.uint8)
        for own, x, y, width, height in boxes:
            ids[y : y + height, x : x + width] = own
        for folder, picture in (('images', np.full((60, 120, 3), 90, np.uint8)), ('labels', ids)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / 'a.png'), picture)
        values = {'root': tmp_path, 'kind': 'folder', 'classes': CLASSES}
        return open_regions({**values, **entry}, LABELS)

    return write


def test_each_region_of_a_class_is_an_object(street):
    data = street((8, 5, 10, 20, 12), (8, 60, 10, 30, 20), (9, 40, 10, 5, 20), (255, 0, 50, 9, 9))
    assert len(data) == 1
    image, objects = data[0]
    assert image.shape == (60, 120, 3)
    assert objects.labels.tolist() == [CAR, CAR, PERSON]
    assert objects.boxes.tolist() == [[5, 10, 25, 22], [60, 10, 90, 30], [40, 10, 45, 30]]
    assert objects.masks.sum((1, 2)).tolist() == [240, 600, 100]
    assert not objects.crowd.any()


def test_what_stands_before_an_object_hides_and_does_not_part_it(street):
    objects = street((8, 10, 10, 30, 20), (2, 20, 0, 2, 60))[0][1]
    assert objects.boxes.tolist() == [[10, 10, 40, 30]]
    assert objects.masks.sum() == 28 * 20, 'the pole is no part of the car'
    apart = street((8, 10, 10, 30, 20), (1, 20, 0, 6, 60))[0][1]
    assert apart.boxes.tolist() == [[10, 10, 20, 30], [26, 10, 40, 30]]


def test_ids_of_one_class_stay_apart(street):
    objects = street((9, 10, 10, 6, 20), (10, 16, 10, 8, 20))[0][1]
    assert objects.labels.tolist() == [PERSON, PERSON]
    assert objects.boxes.tolist() == [[10, 10, 16, 30], [16, 10, 24, 30]]


def test_rows_and_specks_are_groups(street):
    boxes = ((8, 0, 5, 61, 20), (9, 70, 5, 25, 20), (9, 100, 5, 4, 14))
    assert SMALLEST > 4 * 14
    assert street(*boxes)[0][1].crowd.tolist() == [True, False, True]
    assert street(*boxes, widest={'person': 1.2, 'car': 4})[0][1].crowd.tolist() == [
        *(False, True, True)
    ]


def test_groups_are_painted_over(street):
    image, objects = street((8, 0, 5, 80, 20), (9, 90, 5, 10, 30))[0]
    shown = without_groups(image, objects)
    assert (shown[5:25, :80] == GREY).all()
    assert (shown[25:] == 90).all()
    assert (shown[:, 80:] == 90).all()
    assert (image == 90).all(), 'the picture itself stays'
    alone, objects = street((9, 90, 5, 10, 30))[0]
    assert without_groups(alone, objects) is alone


def test_a_street_without_objects(street):
    objects = street()[0][1]
    assert objects.masks.shape == (0, 60, 120)
    assert objects.boxes.shape == (0, 4)
    assert objects.crowd.shape == (0,)


def test_what_cannot_be_opened(street, tmp_path):
    with pytest.raises(TrainingError, match="unknown 'cab'; known: person"):
        street(classes={8: 'cab'})
    with pytest.raises(TrainingError, match=r"unknown \['car', 'truck'\]"):
        street(classes={8: ['car', 'truck']})
    with pytest.raises(TrainingError, match="unknown 'cab'"):
        street(widest={'cab': 2})
    with pytest.raises(TrainingError, match="'car' is no label id"):
        street(classes={'car': 'car'})
    with pytest.raises(TrainingError, match='regions need classes'):
        street(classes={})
    data = street()
    (tmp_path / 'labels' / 'a.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=r'a\.png is not an 8-bit'):
        data[0]
