"""``seg-perception replay`` and ``simulate-bag``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from seg_perception.core.errors import ParameterError, SourceError

INTERRUPTED = 130
GATE_FAILED = 1


def add_commands(subparsers: Any) -> None:
    """Register ``replay`` and ``simulate-bag`` with the main parser's sub-parsers."""
    _add_replay(subparsers)
    _add_simulate_bag(subparsers)


def _add_replay(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        'replay',
        help='run recordings through the pipeline: a bag, scores and a report out',
        description="Runs the nodes' pipeline on every frame of rosbag2 recordings (mcap, "
        'sqlite3), without a ROS graph, and writes OUTPUT/bag (mcap), report.html and '
        'report.json. Several bags, a folder of bags or a pattern: one report of all.',
    )
    add = parser.add_argument
    add('bags', nargs='+', metavar='BAG', help='rosbag2 folder or file, folder of bags, pattern')
    add('--output', type=Path, required=True, metavar='DIR', help='folder for all results')
    add('--model', action='append', default=[], help='bundle; more than one: side by side')
    add('--instance-model', default='', help='bundle of the task instance: objects, too')
    add('--reference-model', default='', help='larger bundle that stands in for the truth')
    add(
        '--params-file',
        action='append',
        type=Path,
        default=[],
        metavar='YAML',
        help='parameters of segmentation_node and instance_node, as the live nodes take them',
    )
    add(
        '-p',
        '--param',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='one parameter, e.g. camera_pose.height:=1.3',
    )
    add(
        '--instance-param',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='one parameter of instance_node, e.g. min_score:=0.6',
    )
    add(
        '--camera',
        action='append',
        default=[],
        help='image topic or camera, also NAME=TOPIC; default: all',
    )
    add(
        '--truth',
        action='append',
        default=[],
        metavar='[CAMERA=]WHERE',
        help='folder of label maps (by stamp, frame number or order), topic:/name of a mask in '
        "the bag, or 'simulator' for a bag of simulate-bag",
    )
    add('--truth-labels', default='', help="label set of the truth; default: the model's")
    add('--truth-match', choices=('auto', 'stamp', 'order'), default='auto')
    add('--fail-under', default='', metavar='NAME=X,...', help='exit code 1 below, e.g. miou=0.6')
    add('--limit', type=int, default=0, help='frames a camera (0: all)')
    add('--pictures', type=int, default=4, help='frames of each kind in the report')
    add('--no-temporal', action='store_true', help='do not measure flicker (saves time)')
    add('--jobs', type=int, default=0, help='bags at a time (0: one per core)')
    add('--ray', default='', metavar='ADDRESS', help="spread bags over a Ray cluster ('local')")
    add('--resume', action='store_true', help='go on where an interrupted replay ended')
    add('--overwrite', action='store_true', help='replace the results of another replay')
    parser.set_defaults(run=run_replay)


def run_replay(args: argparse.Namespace) -> int:
    """Replay, report, and judge by the gate; returns the exit code."""
    from seg_perception.replay import fleet
    from seg_perception.replay.interrupt import StopOnSignal
    from seg_perception.replay.summary import (
        check_gate,
        failed,
        parse_gate,
        summarize,
        write_report,
    )
    from seg_perception.runtime.bundle import Bundle

    gate = parse_gate(args.fail_under)
    options = _options(args)
    options.check()
    for name in options.model_names():
        check_gate(gate, Bundle.find(name).labels)
    output = args.output.resolve()  # what an earlier replay wrote there is no recording
    bags = [b for b in fleet.find_bags(args.bags) if output not in b.resolve().parents]
    if not bags:
        raise SourceError(f'{", ".join(args.bags)}: nothing but what was written to {output}')
    with StopOnSignal() as stop:
        if len(bags) == 1 and not args.ray:
            tasks = [fleet.Task(bags[0], args.output)]
            outcomes = [_run_one(options, tasks[0], stop)]
        else:
            tasks = fleet.tasks_for(bags, args.output)
            outcomes = _run_many(args, options, tasks, stop)
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    failures = [{'bag': str(o.task.bag), 'error': o.error} for o in outcomes if o.error]
    for failure in failures:
        print(f'{failure["bag"]}: {failure["error"]}', file=sys.stderr)
    if not results:
        raise SourceError('no bag could be replayed')
    report = summarize(results, failures, args.pictures)
    report['interrupted'] |= len(outcomes) < len(tasks)
    pictures = {o.result['bag']: o.task.output / 'pictures' for o in outcomes if o.result}
    written = write_report(report, args.output, pictures)
    _tell(report, written)
    wrong = failed(report, gate)
    for line in wrong:
        print(f'--fail-under: {line}', file=sys.stderr)
    if report['interrupted']:
        print('interrupted: --resume goes on from here', file=sys.stderr)
        return INTERRUPTED
    return GATE_FAILED if wrong or (gate and failures) else 2 if failures else 0


def _options(args: argparse.Namespace) -> Any:
    from seg_perception.replay.options import ReplayOptions
    from seg_perception.ros.parameter_files import parse_override

    return ReplayOptions(
        models=tuple(args.model),
        instance_model=args.instance_model,
        reference=args.reference_model,
        params_files=tuple(path.resolve() for path in args.params_file),
        overrides=tuple(parse_override(text) for text in args.param),
        instance_overrides=tuple(parse_override(text) for text in args.instance_param),
        cameras=tuple(args.camera),
        truth=tuple(args.truth),
        truth_labels=args.truth_labels,
        truth_match=args.truth_match,
        limit=args.limit,
        temporal=not args.no_temporal,
        pictures=args.pictures,
        resume=args.resume,
        overwrite=args.overwrite,
    )


def _run_one(options: Any, task: Any, stop: Any) -> Any:
    """Replay one bag in this process, with a bar of its frames."""
    from tqdm import tqdm

    from seg_perception.replay.fleet import Outcome
    from seg_perception.replay.run import replay_bag

    slow = 0.2 if sys.stderr.isatty() else 10.0  # a log is not a terminal
    with tqdm(unit='frame', desc='replay', mininterval=slow, dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = replay_bag(
            options, task.bag, task.output, progress=progress, stopping=lambda: stop.asked
        )
    return Outcome(task, result)


def _run_many(args: argparse.Namespace, options: Any, tasks: list, stop: Any) -> list:
    from tqdm import tqdm

    from seg_perception.replay.fleet import run_here, run_on_ray

    if args.jobs < 0:
        raise ParameterError(f'--jobs {args.jobs}: use a number from 0')
    jobs = args.jobs or os.cpu_count() or 1
    with tqdm(total=len(tasks), unit='bag', desc='replay', dynamic_ncols=True) as bar:

        def done(outcome: Any) -> None:
            bar.update()
            if outcome.error:
                bar.write(f'{outcome.task.bag}: {outcome.error}', file=sys.stderr)

        if args.ray:
            return run_on_ray(options, tasks, args.ray, done, stop)
        return run_here(options, tasks, jobs, done, stop)


_TOLD = (
    *('miou', 'drivable_iou', 'boundary_iou', 'agreement', 'consistency', 'flicker', 'ece'),
    *('free_recall', 'false_free_rate', 'occupied_recall'),
)


def _tell(report: dict[str, Any], written: list[Path]) -> None:
    frames = report['frames']
    print(f'{frames["read"]} frames of {len(report["bags"])} bag(s)')
    for bag in report['bags']:
        for text in (*bag['damage'], *bag['warnings']):
            print(f'  {bag["name"]}: {text}')
    for model in report['models']:
        figures = [f'{n} {100 * model[n]:.2f} %' for n in _TOLD if model[n] is not None]
        if model['smear_m2'] is not None:
            figures.append(f'smear_m2 {model["smear_m2"]:.1f}')
        scores = ', '.join(figures) or 'no scores'
        print(f'{model["name"]} on {model["provider"]}: {scores}')
        for text, count in model['problems'].items():
            print(f'  {count} frames: {text}')
    objects = report['objects']
    if objects is not None:
        print(f'{objects["name"]} on {objects["provider"]}: {_objects_line(objects)}')
    for path in written:
        print(f'  {path}')


def _objects_line(objects: dict[str, Any]) -> str:
    line = f'{objects["found"]} objects'
    if objects['pq'] is None:
        return line
    if objects['ap'] is not None:
        line += f', mask AP {100 * objects["ap"]:.2f} %'
    return f'{line}, PQ {100 * objects["pq"]:.2f} % against {objects["scored"]} frames'


# --------------------------------------------------------------------------- simulate-bag


def _add_simulate_bag(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        'simulate-bag',
        help='record a rendered drive as a rosbag2 with exact truth',
        description='Writes images, camera_info, /tf, /tf_static, /odom and the truth (masks, '
        'instances, grid) of a rendered drive: a recording to try `replay` on.',
    )
    add = parser.add_argument
    add('bag', type=Path, help='folder to make')
    add('--seed', type=int, default=7, help='which street')
    add('--frames', type=int, default=90)
    add('--rate', type=float, default=10.0, help='frames a second')
    add('--size', default='640x360', help='WIDTHxHEIGHT')
    add('--jpeg', action='store_true', help='CompressedImage in place of Image')
    parser.set_defaults(run=run_simulate_bag)


def run_simulate_bag(args: argparse.Namespace) -> int:
    """Record a drive."""
    from tqdm import tqdm

    from seg_perception.replay.simulated import record_drive

    with tqdm(total=args.frames, unit='frame', desc='rendering') as bar:
        record_drive(
            args.bag,
            seed=args.seed,
            frames=args.frames,
            rate=args.rate,
            size=args.size,
            jpeg=args.jpeg,
            progress=bar.update,
        )
    print(f'{args.frames} frames in {args.bag}; replay them with --truth simulator')
    return 0
