"""Evaluations in parts: the parts add up to the whole, and what cannot be scored is listed."""

import argparse
import json
import sys

import cv2
import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.core.errors import DatasetError, ProviderError
from seg_perception.evaluation import distributed
from seg_perception.evaluation.commands import add_commands
from seg_perception.evaluation.distributed import LocalExecutor, evaluate_in_parts, split
from seg_perception.evaluation.job import Job, do_part
from seg_perception.evaluation.semantic import evaluate_each
from seg_perception.evaluation.strategies import Strategies, Views

SIZE = (45, 80)


@pytest.fixture
def data(tmp_path):
    """Nine noisy pictures of three classes, with void."""
    folder = tmp_path / 'data' / 'val'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(9):
        coarse = rng.integers(0, 3, (5, 8), np.uint8)
        truth = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_NEAREST)
        image = np.zeros((*SIZE, 3), np.uint8)
        for label in range(3):
            image[..., 2 - label][truth == label] = 150
        image = np.clip(image + rng.normal(0, 60, image.shape), 0, 255).astype(np.uint8)
        truth[rng.random(SIZE) < 0.1] = 255
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{i}.png'), truth)
    return folder.parent


@pytest.fixture
def job(data, tmp_path):
    bundle = write_tiny_bundle(tmp_path / 'tiny', size=SIZE)
    flip = Strategies(Views(True, ()), None)
    return Job(str(bundle), 'folder', data, 'val', 'cpu', threads=1, strategies=flip, compare=True)


def figures(evaluation):
    scores, boundary = evaluation.scores, evaluation.boundary
    return (scores.iou.tolist(), scores.miou, scores.pixels, boundary.iou.tolist())


def test_parts_are_a_partition():
    for count, workers in ((1, 1), (9, 2), (100, 3), (5000, 8)):
        parts = split(count, workers)
        assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, split(5000, 8))) == 64


def test_parts_add_up_exactly(job):
    segmenters, data, classes = job.open()
    whole = evaluate_each(segmenters, data, classes)
    outcome = evaluate_in_parts(job, LocalExecutor())
    assert outcome.failures == []
    assert [figures(e) for e in outcome.evaluations] == [figures(e) for e in whole]
    assert outcome.evaluations[0].images == 9
    assert outcome.evaluations[0].per_picture == whole[0].per_picture
    assert sorted(whole[0].per_picture) == list(range(9))


def test_what_cannot_be_scored_is_listed(job):
    folder = job.root / 'val'
    (folder / 'images' / '4.png').write_bytes(b'no picture')
    cv2.imwrite(str(folder / 'labels' / '7.png'), np.full(SIZE, 9, np.uint8))
    outcome = evaluate_in_parts(job, LocalExecutor())
    assert [picture for picture, _ in outcome.failures] == ['4', '7']
    assert 'cannot be read' in outcome.failures[0][1]
    assert 'label 9' in outcome.failures[1][1]
    assert [e.images for e in outcome.evaluations] == [7, 7]


def test_a_part_that_is_lost_costs_its_pictures_only(job):
    class Unreliable(LocalExecutor):
        def run(self, job, parts):
            for indices in parts:
                yield indices, 'the machine died' if 5 in indices else do_part(job, indices)

    outcome = evaluate_in_parts(job, Unreliable())
    assert outcome.failures == [(str(i), 'the machine died') for i in range(4, 8)]
    assert outcome.evaluations[0].images == 5


def test_nothing_to_score(job):
    for path in (job.root / 'val' / 'images').iterdir():
        path.write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'not one of 9 pictures.*cannot be read'):
        evaluate_in_parts(job, LocalExecutor())


def test_another_model_on_another_machine(job):
    with pytest.raises(DatasetError, match='another file here'):
        do_part(Job(job.model, 'folder', job.root, 'val', 'cpu', checksum='0' * 64), (0,))


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ProviderError, match="pip install 'ray'"):
        distributed.RayExecutor('local')


def test_by_ray_on_this_machine(job, tmp_path, capsys):
    pytest.importorskip('ray', reason='needs Ray: pip install -r requirements/train.txt')
    (job.root / 'val' / 'images' / '4.png').write_bytes(b'no picture')
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    command = ['evaluate', '--model', job.model, '--dataset', 'folder', '--root', str(job.root)]
    command += ['--split', 'val', '--provider', 'cpu', '--tta', 'flip', '--compare']
    out = tmp_path / 'scores.json'
    args = parser.parse_args([*command, '--ray', 'local', '--json', str(out)])
    assert args.run(args) == 1, 'a picture is missing'
    report = json.loads(out.read_text())
    local = evaluate_in_parts(job, LocalExecutor())
    assert report['images'] == 8
    assert report['failures'][0]['picture'] == '4'
    assert report['miou'] == local.evaluations[0].scores.miou
    assert report['plain']['miou'] == local.evaluations[1].scores.miou
    assert 'not scored: 4' in capsys.readouterr().err
