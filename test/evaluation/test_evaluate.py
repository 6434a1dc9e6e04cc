import argparse
import json

import cv2
import numpy as np
import pytest
import yaml
from tiny_bundle import ROAD, SKY, WALL, write_tiny_bundle

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.commands import add_commands
from seg_perception.runtime.bundle import Bundle

SIZE = (90, 160)


@pytest.fixture
def data(tmp_path):
    """Pictures the tiny model labels perfectly, but for one of 1 part in 2 unlike its truth."""
    folder = tmp_path / 'data' / 'val'
    (folder / 'images').mkdir(parents=True)
    (folder / 'labels').mkdir()
    for number, mistake in enumerate((False, True)):
        truth = np.full(SIZE, ROAD, np.uint8)
        truth[:30] = SKY
        truth[30:60, :80] = WALL
        image = np.zeros((*SIZE, 3), np.uint8)  # BGR for OpenCV
        for label, channel in ((WALL, 2), (ROAD, 1), (SKY, 0)):
            image[..., channel][truth == label] = 200
        if mistake:
            truth[30:60, :80] = ROAD
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{number}.png'), truth)
    return folder.parent


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / 'tiny', size=SIZE)


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(['evaluate', '--provider', 'cpu', *map(str, arguments)])
    return args.run(args)


def test_the_report_is_what_the_masks_say(bundle, data, tmp_path, capsys):
    out = tmp_path / 'deep' / 'scores.json'
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'val']
    assert run(*arguments, '--json', out) == 0
    report = json.loads(out.read_text())
    wall, all_pixels = 30 * 80, SIZE[0] * SIZE[1]
    road = all_pixels - 30 * SIZE[1] - wall
    assert report['model'] == 'tiny'
    assert (report['dataset'], report['split'], report['images']) == ('folder', 'val', 2)
    assert report['per_class']['wall'] == pytest.approx(1 / 2)
    assert report['per_class']['road'] == pytest.approx(2 * road / (2 * road + wall))
    assert report['per_class']['sky'] == 1
    assert report['miou'] == pytest.approx(np.mean(list(report['per_class'].values())))
    assert report['pixel_accuracy'] == pytest.approx(1 - wall / (2 * all_pixels))
    assert '2 pictures, network at 90x160 on cpu' in capsys.readouterr().out


def test_recorded_scores_take_the_place_of_older_ones(bundle, data):
    path = bundle / 'model.yaml'
    description = yaml.safe_load(path.read_text())
    other = {'name': 'miou', 'value': 0.1, 'dataset': 'other', 'command': 'x'}
    description['metrics'] = [other, {**other, 'dataset': 'mine'}]
    path.write_text(yaml.safe_dump(description))
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'val']
    run(*arguments, '--record', 'mine')
    loaded = Bundle.load(bundle)
    loaded.verify()
    values = {(m.dataset, m.name): m.value for m in loaded.metrics}
    assert values['other', 'miou'] == 0.1
    assert values['mine', 'miou'] > 0.7
    assert len(values) == len(loaded.metrics) == 4
    assert 'seg-perception evaluate' in loaded.metrics[-1].command


def test_a_model_of_other_classes_is_not_scored(bundle, data):
    with pytest.raises(DatasetError, match=r"'tiny'.*'camvid'"):
        run('--model', bundle, '--dataset', 'camvid', '--root', data, '--split', 'val')


def test_a_split_that_is_not_there(bundle, data):
    with pytest.raises(DatasetError, match='test'):
        run('--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'test')
