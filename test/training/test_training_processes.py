"""A run of several processes, and one that is killed in between."""

import multiprocessing
import os
import socket
import time
from contextlib import redirect_stdout

import pytest
import yaml

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('transformers', reason='see requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.cli import main  # noqa: E402
from seg_perception.core.errors import TrainingError  # noqa: E402
from seg_perception.training.checkpoint import load_checkpoint  # noqa: E402
from seg_perception.training.config import TrainingConfig  # noqa: E402
from seg_perception.training.distributed import Processes, processes  # noqa: E402
from seg_perception.training.trainer import CHECKPOINT, LOG, Trainer  # noqa: E402


def test_processes_share_every_batch_without_gap_or_overlap():
    whole = Processes().batches(6, 4)
    parts = [Processes(rank, 3).batches(6, 4) for rank in range(3)]
    for step in range(4):
        assert [n for part in parts for n in part[step]] == list(whole[step])
    assert list(whole[1]) == [6, 7, 8, 9, 10, 11]


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(TrainingError, match='batch 4 cannot be divided among 3'):
        Processes(0, 3).share(4)


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('LOCAL_RANK', str(torch.cuda.device_count()))
    with pytest.raises(TrainingError, match='GPUs; start no more'), processes('cuda'):
        pass


def run(config, output, rank, world, port):
    """What torchrun starts."""
    os.environ.update(
        {
            'RANK': str(rank),
            'LOCAL_RANK': str(rank),
            'WORLD_SIZE': str(world),
            'MASTER_ADDR': '127.0.0.1',
            'MASTER_PORT': str(port),
        }
    )
    with (output.parent / f'said_{rank}').open('w') as said, redirect_stdout(said):
        code = main(['train', '--threads', '1', '--config', str(config), '--output', str(output)])
    os._exit(code)


def start(config, output, rank=0, world=1, port=0):
    # Forked from a process that has imported torch once and never ran a thread.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['seg_perception.training.trainer', 'transformers'])
    process = context.Process(target=run, args=(config, output, rank, world, port))
    process.start()
    return process


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(300)
def test_killed_alone_and_finished_by_two(street, tmp_path):
    """The same weights as one unbroken process, but for the rounding of sums."""
    config = tmp_path / 'config.yaml'
    values = {
        'name': 'shared',
        'architecture': 'segformer_b0',
        'labels': 'camvid',
        'options': {'drop_path': 0.0, 'head_dropout': 0.0},
        # A norm over half of the batch is another one.
        'freeze': ['decode_head.batch_norm'],
        'data': [{'root': str(street), 'share': 1.0}],
        'crop': [64, 64],
        'scale': [1.0, 1.0],
        # What is moved in from outside is ignored, and would weigh the halves differently.
        'augmentation': {'affine': 0},
        'batch': 2,
        'steps': 40,
        'warmup': 1,
        'precision': 'fp32',
        'checkpoint_every': 1,
        'workers': 0,
        'tensorboard': False,
    }
    config.write_text(yaml.safe_dump(values))
    killed = start(config, tmp_path / 'run')
    try:
        deadline = time.monotonic() + 90
        while not (tmp_path / 'run' / LOG).is_file():
            assert killed.is_alive(), 'ended before its first checkpoint'
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        killed.kill()
        killed.join()
    reached = load_checkpoint(tmp_path / 'run' / CHECKPOINT)['step']
    assert 1 <= reached < 38

    # Both ways end two steps later.
    values['steps'] = reached + 2
    config.write_text(yaml.safe_dump(values))
    port = free_port()
    pair = [start(config, tmp_path / 'run', rank, 2, port) for rank in range(2)]
    try:
        for process in pair:
            process.join(100)
        assert [process.exitcode for process in pair] == [0, 0]
    finally:
        for process in pair:
            process.kill()
    said = [(tmp_path / f'said_{rank}').read_text() for rank in range(2)]
    assert f'at step {reached}' in said[0]
    assert 'done' in said[0]
    assert said[1] == '', 'the first process alone speaks'

    unbroken = Trainer(TrainingConfig.from_dict(values), tmp_path / 'unbroken')
    unbroken.fit()
    state = load_checkpoint(tmp_path / 'run' / CHECKPOINT)
    assert state['step'] == reached + 2
    begin = Trainer(TrainingConfig.from_dict(values), tmp_path).model.state_dict()
    for key, value in unbroken.model.state_dict().items():
        # A key's bias has no gradient but rounding, which AdamW blows up to full steps.
        if value.is_floating_point() and not key.endswith('k_proj.bias'):
            moved = (value - begin[key]).abs().mean()
            assert (state['model'][key] - value).abs().mean() <= 0.05 * moved + 1e-7, key
