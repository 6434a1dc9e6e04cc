"""`make bench-models`: what every embedded model costs here, beside the usual way to run it.

For each bundle and each provider that loads: the bare network (float planes in, scores out), the
whole way from a camera's uint8 picture to a uint8 mask, and the naive way with the same network:
NumPy normalisation, ONNX Runtime as it comes, scores enlarged to the network's input size in
float, argmax. Where the graph takes several pictures: also some at once, as several cameras give.
They take turns in one process, so that a busy moment of the machine hits all; read the ratios.
Memory is the growth of each way's peak in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmark.bare import extract_network
from seg_perception.core.arguments import height_width
from seg_perception.core.errors import SegPerceptionError
from seg_perception.core.resources import share_dir
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.session import AUTO_ORDER

#: ONNX Runtime's name of the engine that the naive way takes beside each provider.
NAIVE_ENGINES = {
    'cpu': 'CPUExecutionProvider',
    'openvino': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'CUDAExecutionProvider',
}
_MEMORY_RUNS = 3
_AT_ONCE = 4  # pictures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--output', type=Path, default=Path('out/bench_models.json'))
    add('--model', action='append', help='name or path of a bundle; default: all embedded ones')
    add('--provider', action='append', choices=AUTO_ORDER, help='default: all that load')
    add('--camera', type=height_width, default=(720, 1280), metavar='HxW', help='of the pictures')
    add(
        '--input-size',
        type=height_width,
        metavar='HxW',
        help="of the networks; default: each one's",
    )
    add('--threads', type=int, default=0, help='0 = all cores')
    add('--rounds', type=int, default=5)
    add('--runs', type=int, default=10, help='of each way in a round')
    add('--child', choices=('time', 'ours', 'naive'), help=argparse.SUPPRESS)
    add('--network', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_CHILDREN[options.child](options)))
        return 0
    report = measure(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    print(table(report))
    print(f'\n{options.output}')
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every bundle on every provider; say why a provider is not there."""
    names = options.model or [
        str(path.parent) for path in sorted((share_dir() / 'models').glob('*/model.yaml'))
    ]
    rows: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            bundle = Bundle.find(name)
            network = Path(folder) / f'{number}.onnx'
            try:
                if bundle.task == 'semantic':
                    extract_network(bundle, network)
            except SegPerceptionError as error:
                absent[bundle.name] = str(error)
                continue
            for provider in options.provider or AUTO_ORDER:
                print(f'{bundle.name} on {provider} ...', file=sys.stderr, flush=True)
                try:
                    rows.append(_row(options, bundle, provider, network))
                except SegPerceptionError as error:
                    absent[f'{bundle.name} on {provider}'] = str(error)
    return {
        'camera': list(options.camera),
        'cpus': len(os.sched_getaffinity(0)),
        'models': rows,
        'not_run': absent,
    }


def _row(
    options: argparse.Namespace, bundle: Bundle, provider: str, network: Path
) -> dict[str, Any]:
    row = _child('time', options, bundle, provider, network)
    row['memory_mb'] = _child('ours', options, bundle, provider, network)['mb']
    if bundle.task == 'semantic':
        row['naive_memory_mb'] = _child('naive', options, bundle, provider, network)['mb']
    return {
        'model': bundle.name,
        'task': bundle.task,
        'precision': bundle.precision or None,
        'file_mb': round(bundle.model_path.stat().st_size / 1e6, 1),
        'provider': provider,
        **row,
    }


def _child(
    what: str, options: argparse.Namespace, bundle: Bundle, provider: str, network: Path
) -> dict[str, Any]:
    command = [sys.executable, '-m', 'benchmark.models', '--child', what]
    command += ['--model', str(bundle.root), '--provider', provider, '--network', str(network)]
    command += ['--camera', _text(options.camera), '--threads', str(options.threads)]
    command += ['--rounds', str(options.rounds), '--runs', str(options.runs)]
    if options.input_size:
        command += ['--input-size', _text(options.input_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['no reason given']
        raise SegPerceptionError(lines[-1].split('Error: ', 1)[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _camera_picture(height: int, width: int) -> np.ndarray:
    """Smooth noise, uint8 BGR [height, width, 3]: neither constant nor white."""
    coarse = np.random.default_rng(1).integers(0, 255, (18, 32, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _time(options: argparse.Namespace) -> dict[str, Any]:
    """Time all ways in turns; medians in milliseconds."""
    segmenter = _segmenter(options)
    picture = _camera_picture(*options.camera)
    semantic = segmenter.bundle.task == 'semantic'
    ways: dict[str, Callable[[], Any]] = {'whole': lambda: segmenter.segment(picture, 'bgr')}
    size: tuple[int, int] | None = None
    if semantic:
        width, height = segmenter.network_size(options.camera[1], options.camera[0])
        size = (height, width)
        naive = Naive(options.network, options.provider[0], size, options.threads)
        ways |= {'bare': _bare(options, *size), 'naive': lambda: naive.segment(picture)}
        if segmenter.takes_several:
            several = [(picture, 'bgr')] * _AT_ONCE
            ways['at_once'] = lambda: segmenter.segment_batch(several)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(2):
        for way in ways.values():
            way()
    for _ in range(options.rounds):
        for name, way in ways.items():
            for _ in range(options.runs):
                start = time.perf_counter()
                way()
                times[name].append((time.perf_counter() - start) * 1e3)
                if not semantic:  # its ends cannot be cut off: the graph as it is
                    times.setdefault('bare', []).append(segmenter.last_timing['network'])
    medians = {f'{name}_ms': round(float(np.median(values)), 2) for name, values in times.items()}
    result: dict[str, Any] = {'network_size': list(size) if size else None, **medians}
    result['overhead_ms'] = round(medians['whole_ms'] - medians['bare_ms'], 2)
    if semantic:
        result['naive_ratio'] = round(medians['naive_ms'] / medians['whole_ms'], 2)
    if 'at_once_ms' in medians:
        one_by_one = _AT_ONCE * medians['whole_ms']
        result['at_once_ratio'] = round(one_by_one / medians['at_once_ms'], 2)
    return result


def _segmenter(options: argparse.Namespace) -> Any:
    bundle = Bundle.load(options.model[0])
    if bundle.task == 'instance':
        from seg_perception.runtime.instance import InstanceSegmenter

        return InstanceSegmenter(bundle, options.provider[0], threads=options.threads)
    from seg_perception.runtime.semantic import SemanticSegmenter

    return SemanticSegmenter(
        bundle, options.provider[0], threads=options.threads, input_size=options.input_size
    )


def _bare(options: argparse.Namespace, height: int, width: int) -> Callable[[], Any]:
    from seg_perception.runtime.session import open_session

    session = open_session(options.network, options.provider[0], threads=options.threads)
    planes = np.random.default_rng(0).normal(0, 50, (1, 3, height, width)).astype(np.float32)
    return lambda: session.run({session.inputs[0].name: planes})


class Naive:
    """The usual pipeline around a float network.

    Args:
        network: ONNX, float32 [1,3,h,w] to scores [1,C,h',w'].
        provider: decides on GPU or CPU.
        size: (height, width) of its input.
        threads: 0 = all cores.
    """

    def __init__(
        self, network: Path, provider: str, size: tuple[int, int], threads: int = 0
    ) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(network), settings, providers=[NAIVE_ENGINES[provider]]
        )
        self._input = self._session.get_inputs()[0].name
        self._size = size

    def segment(self, picture: np.ndarray) -> np.ndarray:
        """Return uint8 [h,w] labels of a uint8 BGR [H,W,3] picture."""
        height, width = self._size
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        small = cv2.resize(rgb, (width, height)).astype(np.float32)
        # The exported network normalises inside; the usual arithmetic, with neutral numbers.
        small = (small - np.zeros(3, np.float32)) / np.ones(3, np.float32)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1)[np.newaxis])
        scores = self._session.run(None, {self._input: planes})[0][0].astype(np.float32)
        full = np.stack([cv2.resize(plane, (width, height)) for plane in scores])
        return full.argmax(axis=0).astype(np.uint8)


def _memory_of_ours(options: argparse.Namespace) -> dict[str, float]:
    picture = _camera_picture(*options.camera)
    before = _now_mb()
    segmenter = _segmenter(options)
    for _ in range(_MEMORY_RUNS):
        segmenter.segment(picture, 'bgr')
    return {'mb': round(_peak_mb() - before, 1)}


def _memory_of_naive(options: argparse.Namespace) -> dict[str, float]:
    picture = _camera_picture(*options.camera)
    width, height = _segmenter_size(options)
    before = _now_mb()
    naive = Naive(options.network, options.provider[0], (height, width), options.threads)
    for _ in range(_MEMORY_RUNS):
        naive.segment(picture)
    return {'mb': round(_peak_mb() - before, 1)}


def _segmenter_size(options: argparse.Namespace) -> tuple[int, int]:
    spec = Bundle.load(options.model[0]).input
    rows, columns = options.input_size or spec.shaped_like(options.camera[1], options.camera[0])
    rows, columns = spec.fit(rows, columns)
    return columns, rows


def _peak_mb() -> float:
    """Return the peak of this process's memory since the last call, and start a new peak.

    Of /proc, because the peak that getrusage knows begins with the parent's.
    """
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    peak = next(line for line in status.splitlines() if line.startswith('VmHWM'))
    with contextlib.suppress(OSError):  # not allowed: the peak goes on from the start
        Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')
    return int(peak.split()[1]) / 1024


def _now_mb() -> float:
    """Return what this process holds in memory, from which peaks begin to count."""
    _peak_mb()
    return _peak_mb()


_CHILDREN = {'time': _time, 'ours': _memory_of_ours, 'naive': _memory_of_naive}


def table(report: dict[str, Any]) -> str:
    """Return the report for people, as Markdown."""
    height, width = report['camera']
    lines = [
        f'\nCamera {width}x{height}, {report["cpus"]} CPU cores; medians in ms, memory in MB\n',
        '| model | file | provider | network | bare | uint8 to uint8 | naive | ratio '
        f'| {_AT_ONCE} at once, ratio | memory | naive |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in report['models']:
        size = 'x'.join(map(str, row['network_size'] or ['its own']))
        ratio = f'{row["naive_ratio"]:.2f}' if 'naive_ratio' in row else '–'
        lines.append(
            f'| {row["model"]} | {row["precision"] or ""} {row["file_mb"]} MB | {row["provider"]} '
            f'| {size} | {row["bare_ms"]:.1f} | {row["whole_ms"]:.1f} '
            f'| {row.get("naive_ms", "–")} | {ratio} | {row.get("at_once_ratio", "–")} '
            f'| {row["memory_mb"]:.0f} '
            f'| {row.get("naive_memory_mb", "–")} |'
        )
    lines += [f'\nnot run: {name}: {why}' for name, why in report['not_run'].items()]
    return '\n'.join(lines)


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'


if __name__ == '__main__':
    sys.exit(main())
