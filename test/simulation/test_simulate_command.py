"""``seg-perception simulate``: files that the rest of the package can read."""

import argparse

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip('panda3d')

from seg_perception.core.errors import SourceError
from seg_perception.simulation.commands import add_commands, parse_size
from seg_perception.simulation.layout import random_scene


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(['simulate', *words])
    return args.run(args)


@pytest.mark.parametrize('suffix', ['mp4', 'avi'])
def test_a_video_is_readable_and_has_its_camera_beside_it(tmp_path, suffix):
    out = tmp_path / f'street.{suffix}'
    words = ['--seed', '7', '--frames', '3', '--size', '160x120', '--supersample', '1']
    assert run(*words, '--out', str(out)) == 0
    capture = cv2.VideoCapture(str(out))
    pictures = []
    while True:
        found, picture = capture.read()
        if not found:
            break
        pictures.append(picture)
    assert len(pictures) == 3
    assert pictures[0].shape == (120, 160, 3)
    camera = yaml.safe_load((tmp_path / 'street_camera.yaml').read_text())
    assert (camera['image_width'], camera['image_height']) == (160, 120)
    K = np.array(camera['camera_matrix']['data']).reshape(3, 3)
    P = np.array(camera['projection_matrix']['data']).reshape(3, 4)
    np.testing.assert_array_equal(K, P[:, :3])
    assert K[0, 2] == 79.5
    rig = random_scene(7).camera
    mounting = yaml.safe_load((tmp_path / 'street_mounting.yaml').read_text())
    pose = mounting['/**']['ros__parameters']['camera_pose']
    assert pose == {'height': rig.height, 'pitch': rig.pitch, 'roll': rig.roll}


def test_a_folder_carries_truth_beside_its_pictures(tmp_path):
    out = tmp_path / 'drive'
    words = ['--seed', '7', '--frames', '2', '--size', '96x64', '--truth', '--out', str(out)]
    assert run(*words) == 0
    names = sorted(str(p.relative_to(out)) for p in out.rglob('*.png'))
    assert len(names) == 6
    depth = cv2.imread(str(out / 'depth_cm' / '000000.png'), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert depth[-1, 48] > 100
    assert len((out / 'T_odom_base.txt').read_text().splitlines()) == 2


def test_a_dataset_has_a_label_for_each_picture_and_only_known_ids(tmp_path):
    words = ['--dataset', str(tmp_path), '--count', '2', '--size', '96x64', '--seed', '0']
    assert run(*words) == 0
    images = sorted(p.stem for p in (tmp_path / 'images').glob('*.jpg'))
    labels = sorted((tmp_path / 'labels').glob('*.png'))
    assert images == [p.stem for p in labels]
    assert len(images) == 2
    for path in labels:
        ids = set(np.unique(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).tolist())
        assert ids <= {*range(11), 255}


@pytest.mark.parametrize('text', ['1280', '12x', 'axb', '8x8', '9000x100'])
def test_wrong_sizes_are_refused(text):
    with pytest.raises(SourceError, match='size'):
        parse_size(text)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--out', 'street.gif'], 'avi'),
        (['--out', 'x.mp4', '--truth'], 'folder'),
        (['--out', 'x.mp4', '--frames', '0'], 'at least one'),
        (['--out', 'x.mp4', '--supersample', '9'], 'supersample'),
        (['--dataset', 'x', '--count', '0'], 'at least one'),
    ],
)
def test_wrong_arguments_are_named(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        run(*words)
