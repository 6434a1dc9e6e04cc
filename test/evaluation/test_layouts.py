"""Datasets as they are downloaded."""

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import find_pictures
from seg_perception.evaluation.layouts import CityscapesDataset, open_dataset


def picture(path, values=None):
    """Write a picture, or a label map of the given ids in a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = np.full((1, 6, 3), 90, np.uint8) if values is None else np.array([values], np.uint8)
    assert cv2.imwrite(str(path), made)


@pytest.fixture
def cityscapes(tmp_path):
    for city, number in (('aachen', 0), ('bochum', 1)):
        stem = f'{city}/{city}_{number:06}_000019'
        picture(tmp_path / 'leftImg8bit' / 'train' / f'{stem}_leftImg8bit.png')
        # road, sidewalk, car, bicycle; ego vehicle and license plate (-1) count nowhere.
        labels = tmp_path / 'gtFine' / 'train' / stem
        picture(labels.with_name(f'{labels.name}_gtFine_labelIds.png'), [7, 8, 26, 33, 1, 255])
    return tmp_path


def test_cityscapes_ids_become_train_ids(cityscapes):
    data = open_dataset('cityscapes', cityscapes, 'train', 19)
    assert len(data) == 2
    image, labels = data[1]
    assert image.shape == (1, 6, 3)
    names = LabelSet.named('cityscapes').names
    assert [names[i] for i in labels[0, :4]] == ['road', 'sidewalk', 'car', 'bicycle']
    assert labels[0, 4:].tolist() == [255, 255]


def test_train_ids_that_were_made_are_taken_as_they_are(cityscapes):
    stem = cityscapes / 'gtFine' / 'train' / 'aachen' / 'aachen_000000_000019_gtFine'
    picture(stem.with_name(f'{stem.name}_labelTrainIds.png'), [0, 1, 13, 18, 255, 255])
    assert CityscapesDataset(cityscapes, 'train')[0][1][0].tolist() == [0, 1, 13, 18, 255, 255]


def test_what_is_missing_of_cityscapes_is_named(cityscapes):
    with pytest.raises(DatasetError, match='leftImg8bit/val'):
        open_dataset('cityscapes', cityscapes, 'val', 19)
    with pytest.raises(DatasetError, match='needs a split'):
        open_dataset('cityscapes', cityscapes, None, 19)
    next((cityscapes / 'gtFine').rglob('bochum*labelIds.png')).unlink()
    with pytest.raises(DatasetError, match=r'bochum_000001_000019_leftImg8bit\.png has no'):
        open_dataset('cityscapes', cityscapes, 'train', 19)


def test_camvid_in_both_layouts(tmp_path):
    picture(tmp_path / 'segnet' / 'val' / 'a.png')
    picture(tmp_path / 'segnet' / 'valannot' / 'a.png', [0, 3, 10, 11, 11, 3])
    data = open_dataset('camvid', tmp_path / 'segnet', 'val', 11)
    assert data[0][1][0].tolist() == [0, 3, 10, 255, 255, 3]
    picture(tmp_path / 'ours' / 'val' / 'images' / 'a.png')
    picture(tmp_path / 'ours' / 'val' / 'labels' / 'a.png', [0, 3, 10, 255, 255, 3])
    assert open_dataset('camvid', tmp_path / 'ours', 'val', 11)[0][1][0, 2] == 10
    (tmp_path / 'segnet' / 'valannot' / 'a.png').unlink()
    with pytest.raises(DatasetError, match=r'valannot/a\.png'):
        open_dataset('camvid', tmp_path / 'segnet', 'val', 11)


def test_unknown_kinds_and_empty_folders(tmp_path):
    with pytest.raises(DatasetError, match='cityscapes'):
        open_dataset('kitti', tmp_path, None, 5)
    with pytest.raises(DatasetError, match=r'no \.jpg or \.png'):
        find_pictures(tmp_path)
    with pytest.raises(DatasetError, match='not a folder'):
        find_pictures(tmp_path / 'nowhere')
