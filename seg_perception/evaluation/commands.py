"""``seg-perception evaluate``: a model bundle's score on labelled pictures."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

import yaml

from seg_perception.core.errors import DatasetError, ParameterError
from seg_perception.evaluation.semantic import Evaluation, evaluate_each
from seg_perception.evaluation.strategies import Strategies, Tiles, Views, comparison, gains
from seg_perception.runtime.bundle import DESCRIPTION, Bundle
from seg_perception.runtime.engine import PRECISIONS
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.session import PROVIDERS

#: Dataset -> label set of its label maps; None: the model's own.
DATASETS = {'camvid': 'camvid', 'folder': None}


def add_commands(subparsers: Any) -> None:
    """Register ``evaluate`` with the main parser's sub-parsers."""
    parser = subparsers.add_parser(
        'evaluate',
        help='score a model on labelled pictures',
        description='Mean IoU, boundary IoU, pixel accuracy and IoU per class over '
        '<root>/<split>/images and labels, at the size of the pictures. 255 in a label map is '
        'ignored.',
    )
    add = parser.add_argument
    add('--model', required=True, help='name or path of a bundle')
    add(
        '--dataset',
        choices=sorted(DATASETS),
        required=True,
        help="camvid: its 11 classes; folder: label maps in the model's own ids",
    )
    add('--root', type=Path, required=True)
    add('--split', required=True, help='folder below the root, e.g. val')
    add('--json', type=Path, help='write the scores into this file')
    add('--provider', choices=PROVIDERS, default='auto')
    add('--precision', choices=PRECISIONS, default='auto')
    add('--threads', type=int, default=0, help='0 = all cores')
    add('--input-size', type=_size, metavar='HxW', help="default: the model's")
    add(
        '--tta',
        type=Views.parse,
        metavar='VIEWS',
        help='look at each picture again, mirrored (flip) and at other scales of the network '
        'input, and let the views vote: flip,0.75,1.25',
    )
    add(
        '--tile',
        type=Tiles.parse,
        metavar='SIZE,OVERLAP',
        help='segment in tiles of SIZE pixels (N or HxW) that share OVERLAP: 512,64',
    )
    add('--compare', action='store_true', help='score without --tta and --tile too, in turns')
    add('--record', metavar='NAME', help='keep miou and road IoU in model.yaml as dataset NAME')
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    """Score a bundle, print a table, and write it where asked."""
    from seg_perception.evaluation.dataset import FolderDataset

    strategies = Strategies(args.tta, args.tile)
    if args.compare and not strategies:
        raise ParameterError('--compare has nothing to compare: add --tta or --tile')
    bundle = Bundle.find(args.model)
    _check_labels(bundle, args.dataset)
    data = FolderDataset(args.root / args.split, len(bundle.labels))
    segmenter = SemanticSegmenter(
        bundle,
        args.provider,
        threads=args.threads,
        precision=args.precision,
        input_size=args.input_size,
    )
    found = evaluate_each(
        [strategies.around(segmenter), *([segmenter] if args.compare else [])], data
    )
    evaluation, plain = found[0], found[1] if args.compare else None
    print(_table(evaluation))
    if plain:
        print(comparison(strategies, plain, evaluation))
    if args.json:
        report = _summary(args, bundle, evaluation) | {'strategies': strategies.to_dict()}
        if plain:
            report['plain'] = _figures(plain)
            report['gain'] = gains(plain, evaluation)
        _write(args.json, json.dumps(report, indent=2) + '\n')
    if args.record:
        record(bundle, evaluation, args.record, _command(args))
    return 0


def record(bundle: Bundle, evaluation: Evaluation, dataset: str, command: str) -> None:
    """Put the scores into the bundle's model.yaml, in place of older ones of that dataset.

    Args:
        bundle: the model that was scored.
        evaluation: its scores.
        dataset: what to call the data.
        command: that measures them again.
    """
    path = bundle.root / DESCRIPTION
    description = yaml.safe_load(path.read_text(encoding='utf-8'))
    kept = [m for m in description.get('metrics') or [] if m['dataset'] != dataset]
    values = {'miou': evaluation.scores.miou, 'pixel_accuracy': evaluation.scores.pixel_accuracy}
    if 'road' in evaluation.per_class:
        values['road_iou'] = evaluation.per_class['road']
    description['metrics'] = kept + [
        {'name': name, 'value': round(value, 4), 'dataset': dataset, 'command': command}
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]
    _write(path, yaml.safe_dump(description, sort_keys=False, allow_unicode=True))


def _check_labels(bundle: Bundle, dataset: str) -> None:
    from seg_perception.core.labels import LabelSet

    name = DATASETS[dataset]
    if name is not None and bundle.labels.names != LabelSet.named(name).names:
        raise DatasetError(
            f'{bundle.name} has the label set {bundle.labels.name!r}, {dataset} is labelled with '
            f'{name!r}; only a model with the same classes can be scored on it'
        )


def _summary(args: argparse.Namespace, bundle: Bundle, evaluation: Evaluation) -> dict[str, Any]:
    return {
        'model': bundle.name,
        'dataset': args.dataset,
        'split': args.split,
        'images': evaluation.images,
        **_figures(evaluation),
        'provider': evaluation.provider,
        'network_size': list(evaluation.network_size),
    }


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        'miou': evaluation.scores.miou,
        'pixel_accuracy': evaluation.scores.pixel_accuracy,
        'boundary_iou': evaluation.boundary.miou,
        'per_class': evaluation.per_class,
        'seconds_per_image': evaluation.seconds_per_image,
        'network_ms_p50': evaluation.network_ms,
    }


def _table(evaluation: Evaluation) -> str:
    lines = [
        f'{name:>20}  {"absent" if iou is None else f"{100 * iou:6.2f}"}'
        for name, iou in evaluation.per_class.items()
    ]
    scores = evaluation.scores
    height, width = evaluation.network_size
    lines.append(f'{"mIoU":>20}  {100 * scores.miou:6.2f}')
    lines.append(f'{"boundary IoU":>20}  {100 * evaluation.boundary.miou:6.2f}')
    lines.append(f'{"pixel accuracy":>20}  {100 * scores.pixel_accuracy:6.2f}')
    lines.append(
        f'{evaluation.images} pictures, network at {height}x{width} on {evaluation.provider}: '
        f'{evaluation.network_ms:.1f} ms a picture, with all around it '
        f'{1e3 * evaluation.seconds_per_image:.1f} ms (medians)'
    )
    return '\n'.join(lines)


def _command(args: argparse.Namespace) -> str:
    parts = ['seg-perception evaluate', f'--model {args.model}', f'--dataset {args.dataset}']
    parts += [f'--root {args.root}', f'--split {args.split}']
    if args.input_size:
        parts.append(f'--input-size {args.input_size[0]}x{args.input_size[1]}')
    parts += Strategies(args.tta, args.tile).options()
    return ' '.join(parts)


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected HxW, e.g. 256x448, got {text!r}') from None
    return height, width


def _write(path: Path, text: str) -> None:
    """Write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'.{path.name}.partial')
    beside.write_text(text, encoding='utf-8')
    os.replace(beside, path)
