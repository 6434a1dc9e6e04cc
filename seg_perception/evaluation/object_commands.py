"""``seg-perception evaluate --task instance`` and ``panoptic``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seg_perception.core.errors import ParameterError
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic import FusionRules, Quality
from seg_perception.evaluation.coco import KIND
from seg_perception.evaluation.failures import object_sheet
from seg_perception.evaluation.instances import (
    AveragePrecision,
    InstanceEvaluation,
    InstanceFinder,
    evaluate_instances,
)
from seg_perception.evaluation.job import CHECKPOINTS, Job
from seg_perception.evaluation.panoptic import (
    PanopticEvaluation,
    PanopticTruth,
    evaluate_panoptic,
)
from seg_perception.evaluation.regions import ObjectDataset, open_objects
from seg_perception.evaluation.sheet import save_sheet
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter

TASKS = ('semantic', 'instance', 'panoptic')
#: Options that only label maps have a use for.
_SEMANTIC = ('tta', 'tile', 'compare', 'ray', 'input_size')


def add_options(add: Any) -> None:
    """Add the options of objects to the parser of ``evaluate``."""
    add(
        '--task',
        choices=TASKS,
        default='semantic',
        help='instance: COCO box and mask AP; panoptic: PQ of --model and --instances together',
    )
    add('--instances', metavar='MODEL', help='panoptic: the network that finds the objects')
    add(
        '--categories',
        type=_pairs,
        default={},
        metavar='NAME:CLASS,...',
        help="instance, panoptic: the data's categories that the model calls otherwise: van:truck;"
        ' for label maps the ids whose regions are objects: 8:car,9:person',
    )
    add(
        '--same-classes',
        type=_pairs,
        default={},
        metavar='INSTANCE:MASK,...',
        help='panoptic: classes of the two models that are one: person:pedestrian',
    )
    add(
        '--min-score',
        type=float,
        default=FusionRules.min_score,
        help='panoptic: least score of an object',
    )


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        ParameterError: naming them.
    """
    objects = args.task != 'semantic'
    regions = args.task == 'instance' and args.categories
    if objects != (args.dataset == KIND) and not regions:
        where = {
            'semantic': f'label maps are not read from --dataset {KIND}',
            'panoptic': f'objects are read from --dataset {KIND}',
            'instance': f'objects are read from --dataset {KIND}, or from label maps where '
            '--categories says which ids they are',
        }
        raise ParameterError(
            f'--task {args.task} does not go with --dataset {args.dataset}: {where[args.task]}'
        )
    unfit = [key for key in _SEMANTIC if getattr(args, key)] if objects else []
    if args.task == 'panoptic' and args.failures:
        unfit.append('failures')
    if args.task != 'panoptic':
        unfit += [key for key in ('instances', 'same_classes') if getattr(args, key)]
    if unfit:
        options = ', '.join(f'--{key.replace("_", "-")}' for key in unfit)
        raise ParameterError(f'--task {args.task} has no use for {options}')
    if args.task == 'panoptic' and not args.instances:
        raise ParameterError('--task panoptic needs --instances, the model that finds the objects')
    if not 0 <= args.min_score <= 1:
        raise ParameterError(f'--min-score must be in 0..1, got {args.min_score}')


def object_options(args: argparse.Namespace) -> list[str]:
    """Return these options as they were given, for the command that measures again."""
    if args.task == 'semantic':
        return []
    parts = [f'--task {args.task}']
    for key in ('instances', 'categories', 'same_classes'):
        value = getattr(args, key)
        if isinstance(value, dict):
            value = ','.join(f'{left}:{right}' for left, right in value.items())
        if value:
            parts.append(f'--{key.replace("_", "-")} {value}')
    if args.task == 'panoptic' and args.min_score != FusionRules.min_score:
        parts.append(f'--min-score {args.min_score:g}')
    return parts


def run_objects(args: argparse.Namespace) -> tuple[str, dict[str, Any], dict[str, float]]:
    """Evaluate; return what to print, what to write, and the figures worth recording.

    Raises:
        SegPerceptionError: a model or the data cannot be used.
    """
    if args.task == 'instance':
        return _run_instance(args)
    return _run_panoptic(args)


def _run_instance(args: argparse.Namespace) -> tuple[str, dict[str, Any], dict[str, float]]:
    finder = open_finder(args.model, args)
    data = _objects(args, finder.labels)
    found = evaluate_instances(finder, data)
    if args.failures:
        save_sheet(args.failures, object_sheet(finder, data, found.entries, args.show))
    report = {
        **_head(args),
        'images': found.images,
        'detections': found.detections,
        'box': found.box.figures(),
        'mask': found.mask.figures(),
        'per_class': _per_class(found),
        'not_scored': data.left_out,
        'provider': found.provider,
        'seconds_per_image': found.seconds_per_image,
        'network_ms_p50': found.network_ms,
    }
    return _instance_table(found, data), report, {'box_ap': found.box.ap, 'mask_ap': found.mask.ap}


def _run_panoptic(args: argparse.Namespace) -> tuple[str, dict[str, Any], dict[str, float]]:
    job = Job(
        model=args.model,
        dataset='folder',
        root=args.root,
        split=args.split,
        provider=args.provider,
        precision=args.precision,
        threads=args.threads,
    )
    opened = job.open()
    finder = open_finder(args.instances, args)
    truth = PanopticTruth(opened.data, _objects(args, finder.labels))
    rules = FusionRules(min_score=args.min_score)
    found = evaluate_panoptic(
        opened.segmenters[0], finder, truth, renamed=args.same_classes, rules=rules
    )
    report = {
        **_head(args),
        'instances': args.instances,
        'images': found.images,
        **{kind: vars(quality) for kind, quality in found.means.items()},
        'per_class': {name: vars(quality) for name, quality in found.per_class.items()},
        'providers': list(found.providers),
    }
    return _panoptic_table(found), report, {'pq': found.means['all'].pq}


def open_finder(model: str, args: argparse.Namespace) -> InstanceFinder:
    """Load a bundle or a torch checkpoint that finds objects.

    Raises:
        SegPerceptionError: it cannot be used, or is for another task.
    """
    if not model.endswith(CHECKPOINTS):
        return InstanceSegmenter(
            Bundle.find(model), args.provider, threads=args.threads, precision=args.precision
        )
    if args.provider not in ('auto', 'cpu', 'cuda'):
        raise ParameterError(
            f'a checkpoint is run by torch: --provider {args.provider} is for bundles'
        )
    try:
        import torch

        from seg_perception.zoo.checkpoint import read_network
        from seg_perception.zoo.instance_segmenter import TorchInstanceSegmenter
    except ImportError as error:
        raise ParameterError(
            f'a checkpoint needs {error.name}: pip install -r requirements/train.txt'
        ) from error
    if args.threads:
        torch.set_num_threads(args.threads)
    found = read_network(Path(model))
    device = 'cuda' if args.provider == 'cuda' else 'cpu'
    return TorchInstanceSegmenter(found.model, found.architecture, found.labels, device=device)


def _objects(args: argparse.Namespace, labels: LabelSet) -> ObjectDataset:
    classes = args.categories
    if args.dataset != KIND:
        classes = {int(key) if key.isdecimal() else key: name for key, name in classes.items()}
    return open_objects(args.dataset, args.root, args.split, labels, classes)


def _head(args: argparse.Namespace) -> dict[str, Any]:
    name = args.model if args.model.endswith(CHECKPOINTS) else Bundle.find(args.model).name
    return {'model': name, 'task': args.task, 'dataset': args.dataset, 'split': args.split}


def _per_class(found: InstanceEvaluation) -> dict[str, dict[str, float | int | None]]:
    return {
        name: {
            'box_ap': found.box.per_class.get(name),
            'mask_ap': found.mask.per_class.get(name),
            'objects': count,
        }
        for name, count in found.truth.items()
    }


def _percent(value: float | None) -> str:
    return '     -' if value is None or value != value else f'{100 * value:6.2f}'


def _instance_table(found: InstanceEvaluation, data: ObjectDataset) -> str:
    lines = [f'{"":>20}  box AP  mask AP  objects']
    for name, values in _per_class(found).items():
        box, mask = _percent(values['box_ap']), _percent(values['mask_ap'])
        lines.append(f'{name:>20}  {box}   {mask}  {values["objects"]:7}')
    rows = zip(_rows(found.box), _rows(found.mask), strict=True)
    lines += [f'{name:>20}  {_percent(box)}   {_percent(mask)}' for (name, box), (_, mask) in rows]
    lines.append(
        f'{found.images} pictures on {found.provider}: {found.network_ms:.1f} ms a picture, with '
        f'all around it {1e3 * found.seconds_per_image:.1f} ms (medians)'
    )
    if data.left_out:
        lines.append(f'not scored, the model has no such class: {", ".join(data.left_out)}')
    return '\n'.join(lines)


def _rows(precision: AveragePrecision) -> list[tuple[str, float]]:
    return [(name.replace('_', ' '), value) for name, value in precision.figures().items()]


def _panoptic_table(found: PanopticEvaluation) -> str:
    def row(name: str, quality: Quality) -> str:
        figures = '  '.join(_percent(value) for value in (quality.pq, quality.sq, quality.rq))
        return f'{name:>20}  {figures}  {quality.tp:5} {quality.fp:5} {quality.fn:5}'

    lines = [f'{"":>20}      PQ      SQ      RQ     tp    fp    fn']
    lines += [row(name, quality) for name, quality in found.per_class.items()]
    lines += [row(kind, quality) for kind, quality in found.means.items()]
    lines.append(f'{found.images} pictures on {" and ".join(found.providers)}')
    return '\n'.join(lines)


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.split(':') for part in text.split(',')]
    if not all(len(pair) == 2 and pair[0].strip() and pair[1].strip() for pair in pairs):
        raise argparse.ArgumentTypeError(f"write 'name:name,...', got {text!r}")
    return {left.strip(): right.strip() for left, right in pairs}
