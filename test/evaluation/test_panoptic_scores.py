"""PQ of a mask and an instance network together."""

import json
import shutil

import cv2
import numpy as np
import pytest
from test_instance_scores import LEFT, RIGHT, Oracle, run, write
from tiny_bundle import ROAD, SKY, WALL, write_tiny_bundle
from tiny_instances import CAR, write_tiny_instances

from seg_perception.core.errors import DatasetError, LabelSetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic_labels import merge_labels
from seg_perception.core.results import SemanticResult
from seg_perception.evaluation.coco import CocoDataset, Objects
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.panoptic import PanopticTruth, evaluate_panoptic, true_segments

pytest.importorskip('pycocotools', reason='see requirements/train.txt')

SAME = {'person': 'pedestrian', 'bicycle': 'bicyclist', 'bus': 'car', 'truck': 'car'}


class LabelOracle:
    """Gives the label map that belongs to a picture."""

    provider = 'truth'

    def __init__(self, data):
        self.data = data
        self.labels = LabelSet.named('camvid')

    def segment(self, image, color='rgb'):
        pairs = (self.data[k] for k in range(len(self.data)))
        labels = next(truth for picture, truth in pairs if np.array_equal(picture, image))
        size = image.shape[1], image.shape[0]
        return SemanticResult(labels, np.full_like(labels, 255), size)


def test_the_truth_of_a_rendered_street_scores_fully(rendered_street, rendered):
    stuff = FolderDataset(rendered_street, 11)
    truth = PanopticTruth(stuff, rendered)
    found = evaluate_panoptic(LabelOracle(stuff), Oracle(rendered, 112), truth, renamed=SAME)
    # Masks go through 112x112 cells on the way: not to the pixel, but every segment is found.
    assert found.means['all'].rq > 0.97
    assert found.means['stuff'].pq > 0.93
    # Most of the 21 cars are a few pixels high here: a pixel of outline costs them much.
    assert found.means['things'].rq == 1
    assert found.means['things'].sq > 0.65
    assert found.per_class['car'].tp >= 2
    assert found.per_class['road'].pq > 0.98
    assert found.images == 2


def test_true_segments():
    merged = merge_labels(LabelSet.named('camvid'), LabelSet.named('street_objects'), SAME)
    road, car = merged.labels.index('road'), merged.labels.index('car')
    labels = np.full((6, 10), road, np.uint8)
    labels[0] = 255
    labels[5] = car  # of which no object is known
    masks = np.zeros((3, 6, 10), np.uint8)
    masks[0, 2:5, 2:8] = masks[1, 3, 3:5] = masks[2, 1:4, :] = 1
    street = LabelSet.named('street_objects')
    ids = np.array([street.index('truck'), street.index('person'), street.index('car')])
    objects = Objects(ids, np.zeros((3, 4), np.float32), masks, np.array([False, False, True]))
    truth, classes, crowds = true_segments(labels, objects, merged)
    assert (truth[0] == -1).all()
    assert (truth[5] == -1).all(), 'a car that is no object is void'
    assert truth[4, 0] == road
    assert classes[truth[2, 2]] == car, 'a truck counts as the mask calls it'
    assert classes[truth[3, 3]] == merged.labels.index('pedestrian')
    assert truth[3, 3] != truth[3, 5], 'the small one is in front'
    assert crowds == [truth[1, 0]]
    assert truth[2, 2] not in crowds, 'the group is behind'


@pytest.fixture
def data(tmp_path):
    """A picture whose upper half is sky and lower half road, with two cars of which one is found.

    The tiny mask network sees the brightest channel, the instance network the written objects.
    """
    root = write(
        tmp_path / 'data' / 'val', [[('car', LEFT), ('car', RIGHT)]], [[(CAR, 250, LEFT)]]
    )
    path = root / 'images' / '0.png'
    picture = cv2.imread(str(path))
    labels = np.full(picture.shape[:2], ROAD, np.uint8)
    labels[:90] = SKY
    picture[:90, 3:, 0] = picture[90:, 3:, 1] = 200
    cv2.imwrite(str(path), picture)
    (root / 'labels').mkdir()
    cv2.imwrite(str(root / 'labels' / '0.png'), labels)
    return root.parent


def arguments(tmp_path, data, *more):
    mask = write_tiny_bundle(tmp_path / 'mask', size=(180, 320))
    objects = write_tiny_instances(tmp_path / 'objects')
    wanted = ['--task', 'panoptic', '--model', mask, '--instances', objects]
    return [*wanted, '--dataset', 'coco', '--root', data, '--split', 'val', *more]


def test_the_report(tmp_path, data, capsys):
    out = tmp_path / 'pq.json'
    assert run(*arguments(tmp_path, data, '--json', out, '--record', 'mine')) == 0
    report = json.loads(out.read_text())
    car = report['per_class']['car']
    assert (car['tp'], car['fp'], car['fn']) == (1, 0, 1)
    assert car['rq'] == pytest.approx(2 / 3)
    assert car['sq'] > 0.9
    assert report['per_class']['road']['pq'] > 0.97
    # The missed car hides some sky, and the first columns of the picture are the wall's.
    assert 0.8 < report['per_class']['sky']['sq'] < 0.86
    assert report['things']['pq'] == pytest.approx(car['pq'])
    classes = report['per_class'].values()
    assert report['all']['pq'] == pytest.approx(np.mean([one['pq'] for one in classes]))
    assert report['providers'] == ['cpu', 'cpu']
    assert 'PQ' in capsys.readouterr().out
    assert 'pq' in (tmp_path / 'mask' / 'model.yaml').read_text()


def test_classes_that_are_not_there(tmp_path, data):
    with pytest.raises(LabelSetError, match='lorry'):
        run(*arguments(tmp_path, data, '--same-classes', 'car:lorry'))


def test_both_truths_must_be_of_the_same_pictures(tmp_path, data):
    folder = data / 'val'
    for kind, suffix in (('images', 'png'), ('labels', 'png')):
        shutil.copy(folder / kind / f'0.{suffix}', folder / kind / f'1.{suffix}')
    stuff = FolderDataset(folder, WALL + 3)
    things = CocoDataset(folder, LabelSet.named('street_objects'))
    with pytest.raises(DatasetError, match='no picture of 1 label maps, the first: 1'):
        PanopticTruth(stuff, things).pairs()
