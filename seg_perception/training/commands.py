"""``seg-perception train``: a configuration to a checkpoint (and ``export``: to a bundle)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seg_perception.training.export_command import add_export, import_torch


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
    from seg_perception.training.distributed import processes
    from seg_perception.training.trainer import CHECKPOINT, Trainer

    if args.threads:
        torch.set_num_threads(args.threads)
    output = args.output or Path('out') / 'train' / config.name
    with processes(args.device) as (ours, device):
        trainer = Trainer(config, output, device, ours, args.accept_licence)
        resumed = not args.restart and trainer.resume()
        if resumed and ours.first:
            print(f'resumed {output / CHECKPOINT} at step {trainer.step}')
        trainer.fit()
        if ours.first:
            print(f'done: {output / CHECKPOINT}, step {trainer.step}')
    return 0
