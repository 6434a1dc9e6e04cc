"""``seg-perception train``: a configuration to a checkpoint (and ``export``: to a bundle)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_perception.training.export_command import add_export, import_torch

if TYPE_CHECKING:
    from seg_perception.training.config import TrainingConfig


def add_commands(subparsers: Any) -> None:
    """Register ``train`` and ``export`` with the main parser's sub-parsers."""
    _add_train(subparsers)
    add_export(subparsers)


def _add_train(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        'train',
        help='train a network',
        description='Train as a configuration says; goes on where a stopped run left off. On '
        'several GPUs: torchrun --nproc-per-node 4 -m seg_perception.cli train --device cuda ...',
    )
    parser.add_argument('--config', type=Path, required=True, help='YAML, see config/train')
    parser.add_argument('--output', type=Path, help='folder of the run; default out/train/<name>')
    parser.add_argument('--device', default='cpu', help='torch device: cpu, cuda, cuda:1, ...')
    parser.add_argument('--threads', type=int, default=0, help='CPU threads; 0 = all')
    parser.add_argument(
        '--restart', action='store_true', help='begin anew although there is a checkpoint'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='only read all training data, and list what cannot be used',
    )
    parser.add_argument(
        '--accept-licence',
        action='store_true',
        help='use encoder weights whose licence forbids commercial use, for what it allows',
    )
    parser.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> int:
    """Train; return 0 when the last step was reached."""
    from seg_perception.training.config import TrainingConfig

    config = TrainingConfig.load(args.config)
    torch = import_torch()
    if args.check:
        return _check(config)
    from seg_perception.training.distributed import processes
    from seg_perception.training.instance_trainer import InstanceTrainer
    from seg_perception.training.trainer import CHECKPOINT, Trainer
    from seg_perception.zoo.registry import architecture

    kind = InstanceTrainer if architecture(config.architecture).task == 'instance' else Trainer
    if args.threads:
        torch.set_num_threads(args.threads)
    output = args.output or Path('out') / 'train' / config.name
    with processes(args.device) as (ours, device):
        trainer = kind(config, output, device, ours, args.accept_licence)
        resumed = not args.restart and trainer.resume()
        if resumed and ours.first:
            print(f'resumed {output / CHECKPOINT} at step {trainer.step}')
        trainer.fit()
        if ours.first:
            print(f'done: {output / CHECKPOINT}, step {trainer.step}')
    return 0


def _check(config: TrainingConfig) -> int:
    """Print what the data entries hold; return 1 if some of it cannot be used."""
    from seg_perception.training.check import check_data

    problems = 0
    for finding in check_data(config):
        print('\n'.join(finding.lines()))
        problems += len(finding.problems)
    if problems:
        print(f"{problems} in all: mend them, or name their stems in the entry's exclude")
    return 1 if problems else 0
