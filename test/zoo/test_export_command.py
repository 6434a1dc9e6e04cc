"""`seg-perception export`: from a checkpoint to a bundle, or a clear error and nothing written."""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import (  # noqa: E402
    BundleError,
    DatasetError,
    ExportError,
    ModelError,
)
from seg_perception.runtime.bundle import Bundle  # noqa: E402
from seg_perception.training.checkpoint import save_checkpoint  # noqa: E402
from seg_perception.training.config import TrainingConfig  # noqa: E402
from seg_perception.training.export_command import add_export  # noqa: E402
from seg_perception.zoo.registry import build  # noqa: E402

NAME, OPTIONS = 'unet2015_bilinear', {'width': 8}
SIZE = (48, 64)


def picture(seed):
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(blobs, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """Ten labelled pictures."""
    folder = tmp_path_factory.mktemp('street')
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for seed in range(10):
        cv2.imwrite(str(folder / 'images' / f'{seed}.png'), picture(seed))
        truth = np.full(SIZE, seed % 11, np.uint8)
        cv2.imwrite(str(folder / 'labels' / f'{seed}.png'), truth)
    return folder


@pytest.fixture(scope='module')
def checkpoint(street, tmp_path_factory):
    """Of a network that gives one class everywhere: whatever is rounded, it stays that."""
    torch.manual_seed(0)
    network = build(NAME, 11, **OPTIONS).eval()
    with torch.no_grad():
        network.head.bias[3] += 50
    return save(tmp_path_factory.mktemp('run') / 'checkpoint.pt', street, network)


def save(path, street, network, **changes):
    config = TrainingConfig(
        name='tiny',
        architecture=NAME,
        options=OPTIONS,
        labels='camvid',
        data=[{'root': str(street), 'share': 1.0}],
        validation=str(street),
        default_size=SIZE,
        licence={'weights': 'test', 'data': 'test'},
    )
    values = {**config.to_dict(), **changes}
    weights = network.state_dict()
    save_checkpoint(path, {'config': values, 'step': 7, 'model': weights, 'average': weights})
    return path


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_export(parser.add_subparsers())
    args = parser.parse_args(['export', *map(str, arguments)])
    return args.run(args)


def test_int8_from_the_command_line(checkpoint, street, tmp_path, capsys):
    command = ['--checkpoint', checkpoint, '--output', tmp_path / 'tiny', '--precision', 'int8']
    assert run(*command, '--calibration', street / 'images', '--default-size', '32x64') == 0
    bundle = Bundle.load(tmp_path / 'tiny')
    assert bundle.precision == 'int8'
    assert bundle.input.default_size == (32, 64)
    assert 'step 7' in bundle.source
    told = capsys.readouterr().out
    assert 'int8' in told
    assert '+0.00 points' in told


@pytest.mark.parametrize(
    ('more', 'error', 'message'),
    [
        (['--precision', 'int8'], ExportError, '--calibration'),
        (['--calibration', '{street}/images'], ExportError, 'belong to --precision int8'),
        (['--pictures', '{street}/nowhere'], ExportError, 'nowhere is no folder with'),
        (['--size', '40x64'], ExportError, 'multiples of 16'),
        (
            ['--precision', 'int8', '--calibration', '{street}'],
            ExportError,
            'is no folder with',
        ),
        (
            ['--precision', 'int8', '--calibration', '{street}/images', '--labelled', '{tmp}'],
            DatasetError,
            'expected images/ and labels/',
        ),
    ],
)
def test_what_cannot_be_exported(checkpoint, street, tmp_path, more, error, message):
    places = [text.format(street=street, tmp=tmp_path) for text in more]
    with pytest.raises(error, match=message):
        run('--checkpoint', checkpoint, '--output', tmp_path / 'tiny', *places)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_read(checkpoint, tmp_path):
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / 'a.jpg').write_bytes(b'no picture')
    with pytest.raises(ExportError, match=r'a\.jpg cannot be read'):
        run('--checkpoint', checkpoint, '--pictures', tmp_path / 'pictures')


def test_a_checkpoint_of_another_architecture(street, tmp_path):
    network = build(NAME, 11, **OPTIONS)
    path = save(tmp_path / 'other.pt', street, network, architecture='unet2015_transposed')
    with pytest.raises(ModelError, match=r'other\.pt'):
        run('--checkpoint', path, '--output', tmp_path / 'tiny')
    assert not (tmp_path / 'tiny').exists()


def test_a_full_disk_leaves_the_old_bundle(checkpoint, tmp_path, monkeypatch):
    output = tmp_path / 'tiny'
    run('--checkpoint', checkpoint, '--output', output)
    before = (output / 'model.yaml').read_bytes()
    write = Path.write_bytes

    def full(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(BundleError, match=r'tiny: No space left on device \(1\.1 MB are needed'):
        run('--checkpoint', checkpoint, '--output', output, '--overwrite', '--size', '48x64')
    assert (output / 'model.yaml').read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ['tiny'], 'nothing half-written is left'
    Bundle.load(output).verify()


def test_a_killed_export_leaves_no_bundle(tmp_path):
    """Killed while the bundle is checked: what there is has no bundle's name."""
    code = f"""
import os, signal, sys
from pathlib import Path
from seg_perception.runtime.bundle import write_bundle
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from tiny_bundle import write_tiny_bundle
import yaml
made = write_tiny_bundle(Path({str(tmp_path)!r}) / 'made')
description = yaml.safe_load((made / 'model.yaml').read_text())
for key in ('schema', 'file', 'sha256'):
    del description[key]
write_bundle(Path({str(tmp_path)!r}) / 'models' / 'tiny', (made / 'model.onnx').read_bytes(),
             description, check=lambda bundle: os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, '-c', code], check=False, timeout=60)
    assert done.returncode == -9
    left = [path.name for path in (tmp_path / 'models').iterdir()]
    assert len(left) == 1
    assert left[0].startswith('.tiny-')
    with pytest.raises(BundleError):
        Bundle.find(str(tmp_path / 'models' / 'tiny'))
