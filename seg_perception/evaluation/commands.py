"""``seg-perception evaluate``: a model's score on labelled pictures."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from seg_perception.core.arguments import height_width
from seg_perception.core.errors import ParameterError
from seg_perception.evaluation.coco import KIND
from seg_perception.evaluation.distributed import Outcome, RayExecutor, evaluate_in_parts
from seg_perception.evaluation.failures import mask_sheet
from seg_perception.evaluation.job import CHECKPOINTS, DATASETS, Job
from seg_perception.evaluation.object_commands import (
    add_options,
    check_options,
    object_options,
    run_objects,
)
from seg_perception.evaluation.output import write_output
from seg_perception.evaluation.semantic import Evaluation, evaluate_each
from seg_perception.evaluation.sheet import check_suffix, save_sheet
from seg_perception.evaluation.strategies import Strategies, Tiles, Views, comparison, gains
from seg_perception.runtime.bundle import DESCRIPTION, Bundle
from seg_perception.runtime.engine import PRECISIONS
from seg_perception.runtime.session import PROVIDERS


def add_commands(subparsers: Any) -> None:
    """Register ``evaluate`` with the main parser's sub-parsers."""
    parser = subparsers.add_parser(
        'evaluate',
        help='score a model on labelled pictures',
        description='Mean IoU, boundary IoU, pixel accuracy and IoU per class at the size of the '
        'pictures. 255 in a label map is ignored, classes that do not occur are left out.',
    )
    add = parser.add_argument
    add('--model', required=True, help='name or path of a bundle, or path of a torch checkpoint')
    add(
        '--dataset',
        choices=sorted([*DATASETS, KIND]),
        required=True,
        help='camvid: its 11 classes, cityscapes: its 19, as distributed or as <root>/<split>/'
        "images and labels; folder: the latter in the model's own ids; coco: objects, as "
        '<root>/<split>/images and instances.json or as distributed',
    )
    add('--root', type=Path, required=True)
    add('--split', required=True, help='folder below the root, e.g. val')
    add('--json', type=Path, help='write the scores into this file')
    add('--provider', choices=PROVIDERS, default='auto')
    add('--precision', choices=PRECISIONS, default='auto')
    add('--threads', type=int, default=0, help='0 = all cores')
    add('--input-size', type=height_width, metavar='HxW', help="default: the model's")
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
    add(
        '--ray',
        metavar='ADDRESS',
        help='share the work out over the machines of a Ray cluster (auto, host:port), or the '
        'cores of this one (local); what cannot be scored is listed, and the rest goes on',
    )
    add('--record', metavar='NAME', help='keep the figures in model.yaml as dataset NAME')
    add(
        '--failures',
        type=Path,
        metavar='FILE',
        help='draw the pictures that score least into this .jpg or .png, with truth and errors',
    )
    add('--show', type=int, default=6, metavar='N', help='how many of them; default 6')
    add_options(add)
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    """Score a model, print a table, and write it where asked; 1 if pictures were left out."""
    check_options(args)
    if args.record and args.model.endswith(CHECKPOINTS):
        raise ParameterError('--record writes into a model.yaml; a checkpoint has none')
    if args.show < 1:
        raise ParameterError(f'--show must be 1 at least, got {args.show}')
    if args.failures:
        check_suffix(args.failures)
    if args.task != 'semantic':
        return _run_objects(args)
    strategies = Strategies(args.tta, args.tile)
    if args.compare and not strategies:
        raise ParameterError('--compare has nothing to compare: add --tta or --tile')
    job = Job(
        model=args.model,
        dataset=args.dataset,
        root=args.root,
        split=args.split,
        provider=args.provider,
        precision=args.precision,
        threads=args.threads,
        input_size=args.input_size,
        strategies=strategies,
        compare=args.compare,
    )
    outcome = _evaluate(job, args.ray)
    evaluation, *others = outcome.evaluations
    plain = others[0] if others else None
    print(_table(evaluation))
    if plain:
        print(comparison(strategies, plain, evaluation))
    for picture, reason in outcome.failures:
        print(f'not scored: {picture}: {reason}', file=sys.stderr)
    if args.json:
        report = _summary(args, job, evaluation) | {'strategies': strategies.to_dict()}
        if plain:
            report['plain'] = _figures(plain)
            report['gain'] = gains(plain, evaluation)
        if args.ray:
            report['failures'] = [{'picture': p, 'error': e} for p, e in outcome.failures]
        write_output(args.json, f'{json.dumps(_finite(report), indent=2)}\n'.encode())
    if args.record:
        record(Bundle.find(args.model), evaluation, args.record, _command(args))
    if args.failures:
        segmenters, data, classes = job.open()
        sheet = mask_sheet(segmenters[0], data, classes, evaluation.per_picture, args.show)
        save_sheet(args.failures, sheet)
    return 1 if outcome.failures else 0


def _run_objects(args: argparse.Namespace) -> int:
    text, report, figures = run_objects(args)
    print(text)
    if args.json:
        write_output(args.json, f'{json.dumps(_finite(report), indent=2)}\n'.encode())
    if args.record:
        record_values(Bundle.find(args.model), figures, args.record, _command(args))
    return 0


def _evaluate(job: Job, ray: str | None) -> Outcome:
    if ray is None:
        segmenters, data, classes = job.open()
        return Outcome(evaluate_each(segmenters, data, classes), [])
    executor = RayExecutor(ray, job.threads or 1)
    try:
        return evaluate_in_parts(dataclasses.replace(job, threads=job.threads or 1), executor)
    finally:
        executor.close()


def record(bundle: Bundle, evaluation: Evaluation, dataset: str, command: str) -> None:
    """Put the scores into the bundle's model.yaml, in place of older ones of that dataset.

    Args:
        bundle: the model that was scored.
        evaluation: its scores.
        dataset: what to call the data.
        command: that measures them again.
    """
    values = {'miou': evaluation.scores.miou, 'pixel_accuracy': evaluation.scores.pixel_accuracy}
    if 'road' in evaluation.per_class:
        values['road_iou'] = evaluation.per_class['road']
    record_values(bundle, values, dataset, command)


def record_values(
    bundle: Bundle, values: Mapping[str, float | None], dataset: str, command: str
) -> None:
    """As ``record``, for figures by name; None and NaN are left out."""
    path = bundle.root / DESCRIPTION
    description = yaml.safe_load(path.read_text(encoding='utf-8'))
    kept = [m for m in description.get('metrics') or [] if m['dataset'] != dataset]
    description['metrics'] = kept + [
        {'name': name, 'value': round(value, 4), 'dataset': dataset, 'command': command}
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_output(path, text.encode())


def _summary(args: argparse.Namespace, job: Job, evaluation: Evaluation) -> dict[str, Any]:
    return {
        'model': job.name,
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
    parts += object_options(args)
    return ' '.join(parts)


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
