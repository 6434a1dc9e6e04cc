import pickle

import cv2
import numpy as np
import pytest

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.dataset import FolderDataset


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    for stem, value in (('b', 1), ('a', 0)):
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 2] = 200  # red in OpenCV's order
        cv2.imwrite(str(tmp_path / 'images' / f'{stem}.png'), image)
        cv2.imwrite(str(tmp_path / 'labels' / f'{stem}.png'), np.full((4, 6), value, np.uint8))
    return tmp_path


def test_pairs_in_order_of_their_names_as_rgb(root):
    data = FolderDataset(root, 2)
    assert [data.name(i) for i in range(len(data))] == ['a', 'b']
    image, labels = data[1]
    assert image[0, 0].tolist() == [200, 0, 0]
    assert labels.tolist() == np.ones((4, 6)).tolist()


def test_a_pickled_dataset_leaves_its_pictures_behind(root):
    data = FolderDataset(root, 2, cache=True)
    assert data[0] is data[0]
    size = len(pickle.dumps(FolderDataset(root, 2, cache=True)))
    assert len(pickle.dumps(data)) == size
    assert len(pickle.loads(pickle.dumps(data))) == 2


def test_missing_folders_and_labels(root, tmp_path):
    with pytest.raises(DatasetError, match='nowhere'):
        FolderDataset(tmp_path / 'nowhere', 2)
    (root / 'labels' / 'b.png').unlink()
    with pytest.raises(DatasetError, match=r'1 label maps are missing.*b\.png'):
        FolderDataset(root, 2)
    for path in (root / 'images').iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match='holds no'):
        FolderDataset(root, 2)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda r: (r / 'images' / 'a.png').write_bytes(b'x'), r'images/a\.png cannot be read'),
        (lambda r: (r / 'labels' / 'a.png').write_bytes(b'x'), r'labels/a\.png is not an 8-bit'),
        (
            lambda r: cv2.imwrite(str(r / 'labels' / 'a.png'), np.zeros((4, 6, 3), np.uint8)),
            'single-channel',
        ),
        (
            lambda r: cv2.imwrite(str(r / 'labels' / 'a.png'), np.zeros((4, 5), np.uint8)),
            'is 5x4, its picture 6x4',
        ),
        (
            lambda r: cv2.imwrite(str(r / 'labels' / 'a.png'), np.full((4, 6), 7, np.uint8)),
            r'holds label 7; allowed are 0\.\.1 and 255',
        ),
    ],
)
def test_a_pair_that_cannot_be_used_is_named(root, change, message):
    change(root)
    with pytest.raises(DatasetError, match=message):
        FolderDataset(root, 2)[0]
