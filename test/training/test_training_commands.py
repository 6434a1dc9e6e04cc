import argparse
import json
import re

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import ExportError, ModelError  # noqa: E402
from seg_perception.evaluation.commands import add_commands as add_evaluation  # noqa: E402
from seg_perception.evaluation.dataset import FolderDataset  # noqa: E402
from seg_perception.runtime.bundle import Bundle  # noqa: E402
from seg_perception.training.checkpoint import load_network  # noqa: E402
from seg_perception.training.commands import add_commands  # noqa: E402
from seg_perception.training.scoring import score_module  # noqa: E402
from seg_perception.training.trainer import CHECKPOINT  # noqa: E402
from seg_perception.zoo.registry import build  # noqa: E402


def run(*arguments, code=0):
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    add_commands(subparsers)
    add_evaluation(subparsers)
    args = parser.parse_args([str(argument) for argument in arguments])
    assert args.run(args) == code


def write_config(path, street, **changes):
    values = {
        'name': 'tiny_street',
        'architecture': 'deeplabv3plus_mobilenetv2',
        'labels': 'camvid',
        'options': {'decoder_channels': 32},
        'data': [{'root': str(street), 'share': 1.0}],
        'validation': str(street),
        'crop': [64, 64],
        'batch': 2,
        'steps': 6,
        'warmup': 1,
        'precision': 'fp32',
        'learning_rate': 0.003,
        'ema': 0.5,
        'default_size': [96, 128],
        'tensorboard': False,
        'licence': {'weights': 'a test', 'data': 'drawn by the test'},
        **changes,
    }
    path.write_text(yaml.safe_dump(values))
    return path


def test_from_a_configuration_to_a_scored_bundle(street, tmp_path):
    config = write_config(tmp_path / 'c.yaml', street)
    checkpoint = tmp_path / 'run' / CHECKPOINT
    run('train', '--config', config, '--output', checkpoint.parent)
    run('train', '--config', config, '--output', checkpoint.parent)  # nothing left to do
    run('export', '--checkpoint', checkpoint, '--output', tmp_path / 'bundle')
    bundle = Bundle.load(tmp_path / 'bundle')
    assert bundle.licence['data'] == 'drawn by the test'
    assert 'step 6' in bundle.source

    out = tmp_path / 'scores.json'
    run(
        *('evaluate', '--model', bundle.root, '--dataset', 'camvid', '--provider', 'cpu'),
        *('--root', street.parent, '--split', street.name, '--json', out),
    )
    model, loaded, _ = load_network(checkpoint)
    by_torch = score_module(model, FolderDataset(street, 11), loaded.architecture)
    assert json.loads(out.read_text())['miou'] == pytest.approx(by_torch.miou, abs=0.005)


def test_all_that_is_wrong_with_the_data_is_listed_at_once(street, tmp_path, capsys):
    config = write_config(tmp_path / 'c.yaml', street)
    run('train', '--config', config, '--check')
    assert re.search(r'4 pictures; (sky|road) [5-8]\d\.\d %', capsys.readouterr().out)
    (street / 'images' / '000.png').write_bytes(b'no picture')
    cv2.imwrite(str(street / 'labels' / '001.png'), np.zeros((5, 5), np.uint8))
    cv2.imwrite(str(street / 'labels' / '002.png'), np.full((96, 128), 77, np.uint8))
    run('train', '--config', config, '--check', code=1)
    said = capsys.readouterr().out
    for part in ('1 pictures', 'images/000.png cannot be read', '001.png is 5x5', 'label 77'):
        assert part in said
    assert '3 in all' in said
    assert not (tmp_path / 'run').exists()


def test_a_bundle_without_terms_is_not_written(street, tmp_path):
    changes = {'architecture': 'fastscnn', 'options': {}, 'licence': {}, 'validation': None}
    config = write_config(tmp_path / 'c.yaml', street, steps=1, **changes)
    run('train', '--config', config, '--output', tmp_path / 'run')
    with pytest.raises(ExportError, match='licence'):
        run('export', '--checkpoint', tmp_path / 'run' / CHECKPOINT, '--output', tmp_path / 'b')
    assert not (tmp_path / 'b').exists()


def test_published_weights_become_a_bundle_that_says_under_what_terms(street, tmp_path):
    safetensors = pytest.importorskip('safetensors.torch', reason='see requirements/train.txt')
    network = build('segformer_b0', 19)
    safetensors.save_file(network.state_dict(), tmp_path / 'model.safetensors')
    export = ('export', '--pretrained', 'segformer_b0_cityscapes')
    weights = ('--weights', tmp_path / 'model.safetensors', '--default-size', '96x128')
    output = ('--output', tmp_path / 'bundle', '--pictures', street / 'images')
    with pytest.raises(ModelError, match='--accept-licence'):
        run(*export, *weights, *output)
    assert not (tmp_path / 'bundle').exists()
    run(*export, *weights, *output, '--accept-licence')
    bundle = Bundle.load(tmp_path / 'bundle')
    assert len(bundle.labels) == 19
    assert 'non-commercial' in bundle.licence['weights']
    assert 'Cityscapes' in bundle.licence['data']
    assert 'from a file' in bundle.source


def test_options_of_published_weights_with_a_checkpoint(tmp_path):
    with pytest.raises(ExportError, match='belong to --pretrained'):
        run('export', '--checkpoint', tmp_path / 'c.pt', '--labels', 'camvid')
