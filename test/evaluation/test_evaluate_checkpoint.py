"""A checkpoint and the bundle exported from it: scored by the same command, with one result."""

import argparse
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError, ParameterError, TrainingError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.evaluation.commands import add_commands  # noqa: E402
from seg_perception.zoo import bundle, export  # noqa: E402
from seg_perception.zoo.checkpoint import VERSION  # noqa: E402
from seg_perception.zoo.registry import architecture, build  # noqa: E402

NAME, OPTIONS = 'unet2015_bilinear', {'width': 8}
CAMVID = LabelSet.named('camvid')
SIZE = (48, 64)


def picture(seed):
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(blobs, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    entry = architecture(NAME)
    network = build(NAME, len(CAMVID), **OPTIONS)
    pixels = np.stack([(picture(seed) / 255 - entry.mean) / entry.std for seed in range(4)])
    pixels = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        for _ in range(8):
            network.train()(pixels)
        network.eval().head.bias -= network(pixels).mean((0, 2, 3))
        network.head.weight *= 20
    return network


@pytest.fixture(scope='module')
def folder(model, tmp_path_factory):
    """Pictures whose truth is mostly what the network says, a checkpoint of it and its bundle."""
    folder = tmp_path_factory.mktemp('scored')
    for name in ('images', 'labels'):
        (folder / 'val' / name).mkdir(parents=True)
    predict = export._torch_predictor(model, architecture(NAME))
    for seed in range(4):
        truth = predict(picture(seed)).copy()
        truth[:10] = seed
        truth[20:23] = 255
        shown = cv2.cvtColor(picture(seed), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / 'val' / 'images' / f'{seed}.png'), shown)
        cv2.imwrite(str(folder / 'val' / 'labels' / f'{seed}.png'), truth)
    torch.save(state(model), folder / 'net.pt')
    exported = export.export(model, NAME, CAMVID.names, [picture(9)], OPTIONS)
    terms = {'code': 'Apache-2.0', 'weights': 'test', 'data': 'none'}
    bundle.write(
        folder / 'net', exported, labels='camvid', default_size=SIZE, licence=terms, source='test'
    )
    return folder


def state(model, **changes):
    config = {
        'name': 'tiny',
        'architecture': NAME,
        'options': OPTIONS,
        'labels': 'camvid',
        'default_size': list(SIZE),
        **changes,
    }
    return {'version': VERSION, 'config': config, 'average': model.state_dict(), 'step': 3}


def run(folder, name, *more):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    out = folder / 'scores.json'
    command = ['evaluate', '--model', str(folder / name), '--dataset', 'camvid', '--threads', '1']
    command += ['--root', str(folder), '--split', 'val', '--json', str(out), *more]
    args = parser.parse_args(command)
    assert args.run(args) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize('more', [(), ('--tta', 'flip'), ('--tile', '32,8')])
def test_both_agree(folder, more):
    network = run(folder, 'net.pt', *more)
    deployed = run(folder, 'net', '--provider', 'cpu', *more)
    assert set(network) == set(deployed)
    assert network['provider'] == 'torch cpu'
    assert deployed['provider'] == 'cpu'
    assert 0.2 < deployed['miou'] < 1
    assert network['network_size'] == deployed['network_size']
    assert network['miou'] == pytest.approx(deployed['miou'], abs=0.002)
    assert network['pixel_accuracy'] == pytest.approx(deployed['pixel_accuracy'], abs=0.002)
    for name, iou in deployed['per_class'].items():
        assert network['per_class'][name] == pytest.approx(iou, abs=0.01)


def test_a_checkpoint_of_another_architecture(folder, model, tmp_path):
    torch.save(state(model, architecture='unet2015_transposed'), tmp_path / 'other.pt')
    with pytest.raises(ModelError, match=r'other\.pt.*do not fit unet2015_transposed'):
        run(folder, tmp_path / 'other.pt')


def test_checkpoints_that_cannot_be_read(folder, tmp_path):
    whole = (folder / 'net.pt').read_bytes()
    (tmp_path / 'cut.pt').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r'cut\.pt cannot be read'):
        run(folder, tmp_path / 'cut.pt')
    with pytest.raises(TrainingError, match='does not exist'):
        run(folder, tmp_path / 'nowhere.pt')
    with pytest.raises(ParameterError, match='run by torch'):
        run(folder, 'net.pt', '--provider', 'openvino')
    with pytest.raises(ParameterError, match='--record'):
        run(folder, 'net.pt', '--record', 'x')
