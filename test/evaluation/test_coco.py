import json

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.coco import CocoDataset

pytest.importorskip('pycocotools', reason='see requirements/train.txt')

STREET = LabelSet.named('street_objects')


def document():
    """Two pictures of 20x12: a car as a polygon, a van as run lengths, a group of people."""
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    runs = {'size': [12, 20], 'counts': [24, 24, 192]}  # the third and fourth columns
    return {
        'images': [
            {'id': 7, 'file_name': 'a.png', 'width': 20, 'height': 12},
            {'id': 9, 'file_name': 'b.png', 'width': 20, 'height': 12},
        ],
        'categories': [
            {'id': 3, 'name': 'Car'},
            {'id': 50, 'name': 'van'},
            {'id': 1, 'name': 'person'},
            {'id': 99, 'name': 'kite'},
        ],
        'annotations': [
            {
                'id': 1,
                'image_id': 7,
                'category_id': 3,
                'bbox': [2, 2, 4, 4],
                'segmentation': square,
            },
            {
                'id': 2,
                'image_id': 7,
                'category_id': 50,
                'bbox': [2, 0, 2, 12],
                'segmentation': runs,
            },
            {
                'id': 3,
                'image_id': 7,
                'category_id': 1,
                'bbox': [0, 0, 20, 12],
                'segmentation': {'size': [12, 20], 'counts': [0, 240]},
                'iscrowd': 1,
            },
            {
                'id': 4,
                'image_id': 7,
                'category_id': 99,
                'bbox': [2, 2, 4, 4],
                'segmentation': square,
            },
        ],
    }


def write(root, described, pictures=('a', 'b'), size=(12, 20)):
    (root / 'images').mkdir(parents=True)
    for name in pictures:
        cv2.imwrite(
            str(root / 'images' / f'{name}.png'), np.full((*size, 3), (30, 20, 10), np.uint8)
        )
    (root / 'instances.json').write_text(json.dumps(described))
    return root


def test_objects_in_the_ids_of_the_label_set(tmp_path):
    data = CocoDataset(write(tmp_path / 'x', document()), STREET, classes={'van': 'truck'})
    objects = data.objects(0)
    names = [STREET.names[label] for label in objects.labels]
    assert names == ['car', 'truck', 'person']
    assert objects.boxes.tolist() == [[2, 2, 6, 6], [2, 0, 4, 12], [0, 0, 20, 12]]
    assert objects.crowd.tolist() == [False, False, True]
    assert objects.masks.sum((1, 2)).tolist() == [16, 24, 240]
    assert objects.masks[0, 2:6, 2:6].all()
    assert objects.masks[1, :, 2:4].all()
    assert data.left_out == ['kite']
    assert data.image(0)[0, 0].tolist() == [10, 20, 30], 'RGB'
    assert data.objects(1).masks.shape == (0, 12, 20)


def test_layouts(tmp_path):
    write(tmp_path / 'mine' / 'val', document())
    assert len(CocoDataset(tmp_path / 'mine', STREET, 'val')) == 2
    assert CocoDataset(tmp_path / 'mine', STREET, 'val', exclude=['a']).name(0) == 'b.png'
    theirs = tmp_path / 'coco'
    write(theirs, document())
    (theirs / 'images').rename(theirs / 'val2017')
    (theirs / 'annotations').mkdir()
    (theirs / 'instances.json').rename(theirs / 'annotations' / 'instances_val2017.json')
    assert CocoDataset(theirs, STREET, 'val2017').image(1).shape == (12, 20, 3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: d.pop('annotations'), "no list 'annotations'"),
        (lambda d: d['images'][1].pop('width'), r"images\[1\] lacks 'width'"),
        (lambda d: d['images'].append({**d['images'][0], 'file_name': 'c.png'}), r'c\.png'),
        (lambda d: d['images'].clear(), 'lists no picture'),
        (lambda d: d['categories'].__setitem__(slice(None), [{'id': 1, 'name': 'kite'}]), 'kite'),
    ],
)
def test_files_that_cannot_be_used(tmp_path, change, message):
    described = document()
    change(described)
    with pytest.raises(DatasetError, match=message):
        CocoDataset(write(tmp_path / 'x', described), STREET)


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ({'size': [5, 5], 'counts': [0, 25]}, 'annotation 1 is 5x5, its picture 20x12'),
        ({'counts': [1]}, 'annotation 1 cannot be read'),
        ([], 'annotation 1 cannot be read'),
        ('all of it', 'annotation 1 cannot be read'),
    ],
)
def test_masks_that_cannot_be_read_are_named(tmp_path, segmentation, message):
    described = document()
    described['annotations'][0]['segmentation'] = segmentation
    data = CocoDataset(write(tmp_path / 'x', described), STREET)
    with pytest.raises(DatasetError, match=message):
        data.objects(0)


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    data = CocoDataset(write(tmp_path / 'x', document(), size=(12, 24)), STREET)
    with pytest.raises(DatasetError, match=r'a\.png is 24x12, instances\.json says 20x12'):
        data.image(0)
    (tmp_path / 'x' / 'images' / 'b.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'b\.png cannot be read'):
        data.image(1)


def test_what_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r'instances_val\.json'):
        CocoDataset(tmp_path, STREET, 'val')
    root = write(tmp_path / 'x', document())
    with pytest.raises(DatasetError, match=r"no category \['lorry'\]"):
        CocoDataset(root, STREET, classes={'lorry': 'truck'})
    with pytest.raises(DatasetError, match=r"unknown \['spaceship'\]"):
        CocoDataset(root, STREET, classes={'van': 'spaceship'})
    (root / 'instances.json').write_text('{')
    with pytest.raises(DatasetError, match='JSON'):
        CocoDataset(root, STREET)
