"""``seg-perception models``: list, check and import model bundles."""

from __future__ import annotations

import argparse
import statistics
import textwrap
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from seg_perception.core.arguments import height_width
from seg_perception.core.errors import BundleError, LabelSetError, SegPerceptionError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime import importer, instance_commands
from seg_perception.runtime.bundle import Bundle, bundle_folders
from seg_perception.runtime.engine import PRECISIONS
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.raw_network import KINDS, LAYOUTS, ImportOptions, probe_image
from seg_perception.runtime.schema import COLORS, TASKS
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.runtime.session import PROVIDERS

#: Timed runs of `models check`, after the warm-up.
CHECK_RUNS = 5


def add_commands(subparsers: Any) -> None:
    """Register ``models`` with the main parser's sub-parsers."""
    models = subparsers.add_parser(
        'models',
        help='model bundles: list, check, import',
        description='List, check and import model bundles.',
    )
    commands = models.add_subparsers(title='commands', metavar='COMMAND', required=True)
    _add_list(commands)
    _add_check(commands)
    _add_import(commands)


def _add_list(commands: Any) -> None:
    parser = commands.add_parser('list', help='what bundles there are, and where')
    parser.set_defaults(run=run_list)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        'check',
        help='load bundles, verify them, run a frame',
        description='Verify checksum, tensors and classes of bundles and run a frame on each. '
        'Exit code 1 if any of them fails.',
    )
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='name or path; default: every one'
    )
    parser.add_argument('--provider', choices=PROVIDERS, default='auto')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.set_defaults(run=run_check)


def _add_import(commands: Any) -> None:
    parser = commands.add_parser(
        'import',
        help="make a bundle of somebody's ONNX network",
        description='Wrap a semantic or instance ONNX network with its pre- and post-processing '
        'into a bundle, run it once, and keep it if that worked.',
    )
    add = parser.add_argument
    add('onnx', type=Path, help='the network')
    add('--task', choices=TASKS, default='semantic', help='what the network finds')
    add('--name', required=True, help='of the bundle')
    add(
        '--labels',
        required=True,
        help=f'classes of the channels: a label set ({", ".join(LabelSet.available())}), a YAML '
        'file, or names separated by commas',
    )
    add('--drivable', type=_names, help='with names: those one can drive on, e.g. road,mark')
    add('--ignore', type=_names, help='with names: those that say nothing about the ground')
    add('--color', choices=COLORS, default='rgb', help='channel order the network wants')
    add('--scale', type=_number, default=1.0, help='(pixel * scale - mean) / std; e.g. 1/255')
    add('--mean', type=_numbers, default=(0.0,), help='one number or three, separated by commas')
    add('--std', type=_numbers, default=(1.0,))
    add('--input', help="name of the network's input")
    add('--layout', choices=LAYOUTS, help='of the input')
    add('--size', type=height_width, metavar='HxW', help='fix the input; default: as in the file')
    add('--multiple', type=int, default=1, help='sides are multiple * n + offset')
    add('--offset', type=int, default=0)
    add('--default-size', type=height_width, metavar='HxW', help='of a dynamic network')
    add('--output', help='name of the output to take')
    add('--output-kind', choices=KINDS, default='logits')
    add('--channels', type=_indices, default=(), help='output channels to keep, e.g. 0,2,5')
    add('--label-stride', type=int, default=1, help='input pixels per mask pixel')
    add('--confidence-stride', type=int, default=4, help='finest confidence, in input pixels')
    add('--align-corners', action=argparse.BooleanOptionalAction, help='of the upsampling')
    for part in ('code', 'weights', 'data'):
        add(f'--licence-{part}', default='unknown', help=f'terms of the {part}')
    add('--source', default='', help='where it comes from')
    add('--architecture', default='')
    add('--out', type=Path, help='folder to put the bundle in; default: your models folder')
    add('--overwrite', action='store_true', help='replace a bundle of that name')
    instance_commands.add_arguments(parser)
    parser.set_defaults(run=run_import)


def run_list(args: argparse.Namespace) -> int:
    """Print a table of the bundles on the search paths."""
    rows = [('NAME', 'TASK', 'LABELS', 'INPUT', 'WEIGHTS', 'WHERE')]
    for folder in bundle_folders():
        try:
            bundle = Bundle.load(folder)
        except SegPerceptionError as error:
            rows.append((folder.name, 'BROKEN', '-', '-', '-', str(error)))
            continue
        labels = f'{bundle.labels.name} ({len(bundle.labels)})'
        licence = textwrap.shorten(bundle.licence['weights'], 24, placeholder=' ...')
        rows.append((folder.name, bundle.task, labels, _input_text(bundle), licence, str(folder)))
    if len(rows) == 1:
        looked = '\n  '.join(str(path) for path in Bundle.search_paths())
        print(f'No model bundle in\n  {looked}\n`seg-perception models import` makes one.')
        return 0
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print('  '.join(cell.ljust(width) for cell, width in cells).rstrip())
    return 0


def _input_text(bundle: Bundle) -> str:
    height, width = bundle.input.default_size
    return f'{height}x{width}' + ('' if bundle.input.size else ', any')


def run_check(args: argparse.Namespace) -> int:
    """Load and run bundles, a line each; return 1 if any fails."""
    names: list[Any] = args.names or bundle_folders()
    if not names:
        raise BundleError('no model bundle to check; `seg-perception models list` says where')
    failed = 0
    for name in names:
        try:
            print(f'ok    {Path(name).name}: {check_bundle(name, args.provider, args.precision)}')
        except SegPerceptionError as error:
            failed += 1
            print(f'FAIL  {Path(name).name}: {error}')
    return 1 if failed else 0


def check_bundle(name: str | Path, provider: str = 'auto', precision: str = 'auto') -> str:
    """Verify a bundle, run a frame of its default size, and say in a line how that went.

    Raises:
        SegPerceptionError: it cannot be loaded or run.
    """
    bundle = Bundle.find(name)
    kind = SemanticSegmenter if bundle.task == 'semantic' else InstanceSegmenter
    segmenter: SemanticSegmenter | InstanceSegmenter = kind(bundle, provider, precision=precision)
    height, width = bundle.input.default_size
    start = time.perf_counter()
    segmenter.warm_up(width, height)
    loaded = time.perf_counter() - start
    frame = probe_image(height, width)
    times = []
    for _ in range(CHECK_RUNS):
        segmenter.segment(frame, 'rgb')
        times.append(sum(segmenter.last_timing.values()))
    return (
        f'{segmenter.provider}, {statistics.median(times):.1f} ms at {height}x{width}, '
        f'{len(bundle.labels)} classes ({bundle.labels.name}), warm-up {loaded:.1f} s'
    )


def run_import(args: argparse.Namespace) -> int:
    """Make a bundle of an ONNX file."""
    options = ImportOptions(
        color=args.color,
        scale=args.scale,
        mean=args.mean,
        std=args.std,
        input_name=args.input,
        output_name=args.output,
        layout=args.layout,
        size=args.size,
        multiple=args.multiple,
        offset=args.offset,
        default_size=args.default_size,
        output_kind=args.output_kind,
        channels=args.channels,
        label_stride=args.label_stride,
        confidence_stride=args.confidence_stride,
        align_corners=args.align_corners,
    )
    licence = {
        'code': args.licence_code,
        'weights': args.licence_weights,
        'data': args.licence_data,
    }
    origin = importer.Origin(licence, args.source, args.architecture)
    if args.task == 'instance':
        bundle = instance_commands.run(args, _labels(args), options, origin)
    else:
        bundle = importer.import_semantic(
            args.onnx,
            args.name,
            args.out,
            labels=_labels(args),
            options=options,
            origin=origin,
            overwrite=args.overwrite,
        )
    print(f'{bundle.root}\nok    {args.name}: {check_bundle(bundle.root)}')
    return 0


def _labels(args: argparse.Namespace) -> LabelSet:
    if ',' not in args.labels:
        if args.drivable or args.ignore:
            raise LabelSetError(
                '--drivable and --ignore go with class names (--labels a,b,c); a label set has '
                'its roles, which the node parameter class_roles changes'
            )
        return importer.read_labels(args.labels)
    if not args.drivable and args.task == 'semantic':
        raise LabelSetError(
            'class names need --drivable: which of them can be driven on? The others are '
            'obstacles, or nothing (--ignore)'
        )
    return importer.labels_of_names(
        _names(args.labels), args.drivable or (), args.ignore or (), name=args.name
    )


def _parser(kind: str) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Make a ValueError of an argument's reader into argparse's message."""

    def decorate(read: Callable[[str], Any]) -> Callable[[str], Any]:
        def reader(text: str) -> Any:
            try:
                return read(text)
            except (ValueError, ZeroDivisionError):
                raise argparse.ArgumentTypeError(f'{text!r} is no {kind}') from None

        return reader

    return decorate


def _read_number(text: str) -> float:
    first, *rest = text.split('/')
    if len(rest) > 1:
        raise ValueError(text)
    return float(Fraction(first) / Fraction(rest[0])) if rest else float(first)


_number = _parser('number, e.g. 1/255 or 0.0039')(_read_number)


@_parser('list of numbers, e.g. 0.485,0.456,0.406')
def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_read_number(part) for part in text.split(','))


@_parser('list of channel indices, e.g. 0,2,5')
def _indices(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(','))


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()]
