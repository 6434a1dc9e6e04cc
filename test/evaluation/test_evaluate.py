import argparse
import json

import cv2
import numpy as np
import pytest
import yaml
from tiny_bundle import ROAD, SKY, WALL, write_tiny_bundle

from seg_perception.core.errors import BundleError, DatasetError, ParameterError
from seg_perception.evaluation.commands import add_commands
from seg_perception.evaluation.strategies import Tiles, Views
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
    assert 0 < report['boundary_iou'] < 1
    assert report['strategies'] == {'tta': None, 'tile': None}
    assert report['seconds_per_image'] * 1e3 >= report['network_ms_p50'] > 0
    assert not {'plain', 'gain'} & set(report)
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
    with pytest.raises(DatasetError, match=r"'tiny' has nothing.*'pole', 'pavement'.*'camvid'"):
        run('--model', bundle, '--dataset', 'camvid', '--root', data, '--split', 'val')


def test_a_split_that_is_not_there(bundle, data):
    with pytest.raises(DatasetError, match='test'):
        run('--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'test')


def test_the_pictures_it_does_worst_on(bundle, data, tmp_path):
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'val']
    out = tmp_path / 'out' / 'failures.jpg'
    assert run(*arguments, '--failures', out, '--show', 1) == 0
    one = cv2.imread(str(out))
    run(*arguments, '--failures', out)
    two = cv2.imread(str(out))
    assert two.shape[0] > one.shape[0], 'a row more: there are two pictures'
    # Red (BGR) where the truth is another: on the first row alone.
    wrong = (two[..., 2] > 180) & (two[..., 0] < 90) & (two[..., 1] < 90)
    rows = np.flatnonzero(wrong[:, -300:].any(1))
    assert rows.size
    assert rows.max() < one.shape[0]


def test_sheets_that_are_not_drawn(bundle, data, tmp_path):
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'val']
    with pytest.raises(DatasetError, match=r'\.png'):
        run(*arguments, '--failures', tmp_path / 'sheet.txt')
    with pytest.raises(ParameterError, match='--show must be 1'):
        run(*arguments, '--failures', tmp_path / 'sheet.png', '--show', 0)
    objects = ['--task', 'panoptic', '--instances', 'x', '--dataset', 'coco', '--root', data]
    with pytest.raises(ParameterError, match='no use for --failures'):
        run('--model', bundle, *objects, '--split', 'val', '--failures', 'sheet.png')


@pytest.fixture
def stripes(tmp_path):
    """A picture of road and wall in turns, a pixel each, twice the size of the network's."""
    truth = np.full(SIZE, ROAD, np.uint8)
    truth[:, ::2] = WALL
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 2][truth == WALL] = image[..., 1][truth == ROAD] = 200
    folder = tmp_path / 'stripes' / 'val'
    for name, array in (('images', image), ('labels', truth)):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / '0.png'), array)
    return folder.parent


def test_tiles_find_what_shrinking_the_picture_loses(stripes, tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / 'small', size=(45, 80))
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', stripes, '--split', 'val']
    out = tmp_path / 'scores.json'
    arguments += ['--tile', '45x80,7', '--tta', 'flip', '--compare', '--json', out]
    run(*arguments, '--record', 'stripes')
    report = json.loads(out.read_text())
    assert (report['miou'], report['boundary_iou'], report['pixel_accuracy']) == (1, 1, 1)
    # Mixed by the resize, road and wall are equally bright: all of it is the first class.
    assert report['plain']['per_class'] == {'wall': 0.5, 'road': 0, 'sky': None}
    assert report['gain']['miou'] == pytest.approx(0.75)
    assert report['gain']['pixel_accuracy'] == pytest.approx(0.5)
    ratio = report['seconds_per_image'] / report['plain']['seconds_per_image']
    assert report['gain']['time_ratio'] == pytest.approx(ratio)
    assert report['strategies'] == {
        'tta': {'flip': True, 'scales': []},
        'tile': {'size': [45, 80], 'overlap': 7},
    }
    text = capsys.readouterr().out
    assert 'with = tta flip tile 45x80,7' in text
    assert '+75.00' in text
    assert '--tta flip --tile 45x80,7' in Bundle.load(bundle).metrics[-1].command


def test_strategies_that_cannot_be_used(bundle, data):
    arguments = ['--model', bundle, '--dataset', 'folder', '--root', data, '--split', 'val']
    with pytest.raises(ParameterError, match='nothing to compare'):
        run(*arguments, '--compare')
    with pytest.raises(ParameterError, match='overlap of 64'):
        run(*arguments, '--tile', '64,64')
    with pytest.raises(BundleError, match=r'90x160.*only'):
        run(*arguments, '--tta', '0.75')


def test_how_strategies_are_written():
    assert Views.parse('0.75,flip,1.25') == Views(True, (0.75, 1.25))
    assert str(Views.parse('0.75,flip,1.25')) == 'flip,0.75,1.25'
    assert Views.parse('2') == Views(False, (2.0,))
    assert Tiles.parse('512,64') == Tiles((512, 512), 64)
    assert Tiles.parse('256X448, 32') == Tiles((256, 448), 32)


@pytest.mark.parametrize('text', ['', 'flop', 'flip,', '0.5;flip'])
def test_views_that_cannot_be_read(text):
    with pytest.raises(argparse.ArgumentTypeError, match='flip'):
        Views.parse(text)


@pytest.mark.parametrize('text', ['', '512', '512,', '1x2x3,4', '512,64,2', 'a,b', '1.5,0'])
def test_tiles_that_cannot_be_read(text):
    with pytest.raises(argparse.ArgumentTypeError, match='SIZE,OVERLAP'):
        Tiles.parse(text)
