"""COCO's objects as label maps for semantic training."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('pycocotools', reason='see requirements/train.txt')

from seg_perception.core.labels import LabelSet
from seg_perception.training.coarse import ClassGroups
from seg_perception.training.sources import open_entry


def square(number, category, x, y, side, **more):
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {
        'id': number,
        'image_id': 1,
        'category_id': category,
        'segmentation': [corners],
        'bbox': [x, y, side, side],
        'area': side * side,
        'iscrowd': 0,
        **more,
    }


@pytest.fixture
def coco(tmp_path):
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / 'a.png'), np.zeros((40, 60, 3), np.uint8))
    crowd = np.zeros(40 * 60, int)
    crowd[-400:] = 1  # run lengths go down the columns: the last ten of them
    document = {
        'images': [
            {'id': number, 'file_name': 'a.png', 'width': 60, 'height': 40} for number in (1, 2)
        ],
        'categories': [
            {'id': 3, 'name': 'car'},
            {'id': 4, 'name': 'motorcycle'},
            {'id': 9, 'name': 'boat'},
        ],
        'annotations': [
            square(1, 4, 10, 10, 8),
            square(2, 3, 5, 5, 20),
            square(3, 9, 30, 5, 5),
            square(
                4,
                *(3, 50, 0, 10),
                segmentation={'size': [40, 60], 'counts': [2000, 400]},
                iscrowd=1,
            ),
        ],
    }
    (tmp_path / 'instances.json').write_text(json.dumps(document))
    return tmp_path


def test_smaller_objects_lie_in_front_and_all_else_is_ignored(coco):
    groups = ClassGroups(LabelSet.named('camvid'))
    entry = {'root': str(coco), 'share': 1, 'kind': 'coco'}
    data = open_entry({**entry, 'classes': {'motorcycle': 'bicyclist'}}, groups)
    assert len(data) == 1, 'nothing is known about the second picture'
    image, labels = data[0]
    car, rider = groups.labels.index('car'), groups.labels.index('bicyclist')
    assert image.shape == (40, 60, 3)
    assert labels[14, 14] == rider
    assert labels[7, 7] == car
    assert (labels == rider).sum() == pytest.approx(64, abs=18)
    assert labels[7, 32] == 255, 'a boat is no class of CamVid'
    assert (labels[:, 50:] == 255).all(), 'a crowd'
    assert labels[35, 5] == 255, 'nobody said what this is'
    assert groups.groups == []
