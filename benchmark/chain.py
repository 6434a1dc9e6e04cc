"""`make bench`: the latency of the real chain, split into its parts, beside a usual node.

Camera process -> segmentation node -> listener of mask and grid, at 1280x720 and 30 Hz, over
DDS; the same network called bare; and `benchmark.baseline_node` in place of our node. Rounds
alternate between the two, so that a busy moment of the machine hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE = '1280x720'
START_TIMEOUT = 120.0
QUIET = 3.0
#: Stages of our node's work as its diagnostics name them, in the order of the chain.
STAGES = ('decode', 'convert', 'network', 'post', 'publish_mask', 'project', 'publish_grid')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('out/bench.json'))
    parser.add_argument('--model', default='', help="bundle; default: the node's own default")
    parser.add_argument('--provider', default='auto')
    parser.add_argument('--input-size', help="HxW of the network; default: the bundle's")
    parser.add_argument('--frames', type=int, default=300, help='a round')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(100, 230))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    with tempfile.TemporaryDirectory() as folder:
        report = measure(options, Path(folder))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    print_table(report)
    print(f'\n{options.output}')
    return 0


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all rounds and put the figures together."""
    from seg_perception.ros.parameters import SegmentationParameters
    from seg_perception.runtime.bundle import Bundle

    model = options.model or SegmentationParameters().model
    network = folder / 'network.onnx'
    bare = bare_network(options, model, network)
    height, width = bare['size']
    ours_command = [sys.executable, '-m', 'seg_perception.nodes.segmentation_node', '--ros-args']
    ours_command += ['-p', f"model:='{model}'", '-p', f"provider:='{options.provider}'"]
    ours_command += ['-p', 'camera_pose.pitch:=0.05', '-r', 'image:=camera/image_raw']
    ours_command += ['-r', 'camera_info:=camera/camera_info']
    ours_command += ['-p', f'input_size:=[{height}, {width}]']
    usual_command = [sys.executable, '-m', 'benchmark.baseline_node', '--network', str(network)]
    usual_command += ['--size', f'{height}x{width}']
    ours, usual, bare_ms = Tally(), Tally(), list(bare['ms'])
    for i in range(options.rounds):
        print(f'Round {i + 1} of {options.rounds}: our node ...', flush=True)
        ours.add(one_round('segmentation_node', ours_command, options.frames, folder))
        bare_ms += bare_network(options, model, network)['ms']
        print(f'Round {i + 1} of {options.rounds}: the usual node ...', flush=True)
        usual.add(one_round('baseline_node', usual_command, options.frames, folder))
    network_ms = float(np.percentile(bare_ms, 50))
    latency, usual_latency = ours.latency(), usual.latency()
    return {
        'model': Bundle.find(model).name,
        'provider': bare['provider'],
        'network_size': [height, width],
        'camera': {'size': SIZE, 'rate_hz': 30},
        'network_ms_p50': round(network_ms, 2),
        'overhead_ms_p50': round(latency['p50'] - network_ms, 2),
        'latency_ms': latency,
        'grid_latency_ms': ours.grid_latency(),
        'stages_ms_p50': ours.stages(),
        'sent': ours.sent,
        'lost': ours.lost,
        'baseline': {'latency_ms': usual_latency, 'sent': usual.sent, 'lost': usual.lost},
        'baseline_ratio': round(usual_latency['p50'] / latency['p50'], 2),
    }


def bare_network(options: argparse.Namespace, model: str, extracted: Path) -> dict[str, Any]:
    """Time the network alone in a process of its own; write it without our ends."""
    command = [sys.executable, '-m', 'benchmark.bare', '--model', model]
    command += ['--provider', options.provider, '--extract', str(extracted)]
    if options.input_size:
        command += ['--input-size', options.input_size]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


class Tally:
    """What was heard in all rounds of one node."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        self._mask_ms: list[float] = []
        self._grid_ms: list[float] = []
        self._facts: list[dict[str, str]] = []

    def add(self, heard: Any) -> None:
        self.sent += len(heard.sent)
        self.lost += len(heard.sent) - len(heard.masks)
        self._mask_ms += [(t - stamp) / 1e6 for stamp, t in heard.masks.items()]
        self._grid_ms += [(t - stamp) / 1e6 for stamp, t in heard.grids.items()]
        self._facts.append(heard.facts)

    def latency(self) -> dict[str, float]:
        return percentiles(self._mask_ms)

    def grid_latency(self) -> dict[str, float]:
        return percentiles(self._grid_ms)

    def stages(self) -> dict[str, float]:
        """Median over rounds of the node's own median of each stage, and of the way to it."""
        stages = {
            'transport': self._fact('latency from stamp') - self._fact('latency from arrival')
        }
        stages |= {stage: self._fact(stage) for stage in STAGES}
        return {name: round(value, 2) for name, value in stages.items()}

    def _fact(self, name: str) -> float:
        values = [float(facts.get(f'{name} p50 (ms)', 'nan')) for facts in self._facts]
        return float(np.nanmedian(values))


def percentiles(values: list[float]) -> dict[str, float]:
    return {f'p{rank}': round(float(np.percentile(values, rank)), 2) for rank in (50, 99)}


def one_round(node: str, command: list[str], frames: int, folder: Path) -> Any:
    """Start node and camera, listen to the end; returns what was heard."""
    import rclpy

    from seg_perception.nodes.recorder import Recorder
    from seg_perception.ros.transport import configure_transport

    configure_transport()
    rclpy.init()
    recorder = Recorder(folder, node=node)
    log = (folder / 'log').open('wb')
    process = subprocess.Popen(command, stdout=log, stderr=log)
    camera = None
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while recorder.heard.label_info is None:
            rclpy.spin_once(recorder, timeout_sec=0.1)
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f'{node} did not start:\n{(folder / "log").read_text()}')
        # Our node takes the calibration, too; the recorder counts frames by it.
        listeners = 2 if node == 'segmentation_node' else 1
        command = [sys.executable, '-m', 'benchmark.camera', '--frames', str(frames)]
        command += ['--size', SIZE, '--info-listeners', str(listeners)]
        camera = subprocess.Popen(command)
        _listen(recorder, camera)
        return recorder.heard
    finally:
        for child in (camera, process):
            if child is not None and child.poll() is None:
                child.send_signal(signal.SIGINT)
                child.wait(20)
        log.close()
        recorder.close()
        recorder.destroy_node()
        rclpy.try_shutdown()


def _listen(recorder: Any, camera: subprocess.Popen) -> None:
    """Spin until the camera has ended and nothing has come for a while."""
    import rclpy

    heard, count, last = recorder.heard, 0, time.monotonic()
    while camera.poll() is None or time.monotonic() - last < QUIET:
        rclpy.spin_once(recorder, timeout_sec=0.1)
        if len(heard.masks) != count:
            count, last = len(heard.masks), time.monotonic()
        if camera.poll() is not None and heard.sent and heard.sent[-1] in heard.masks:
            return


def print_table(report: dict[str, Any]) -> None:
    ours, usual = report['latency_ms'], report['baseline']['latency_ms']
    print(f'\n{report["model"]} on {report["provider"]}, {SIZE} at 30 Hz; milliseconds\n')
    print('| | stamp to mask p50 | p99 | lost |')
    print('|---|---|---|---|')
    lost = f'{report["lost"]} of {report["sent"]}'
    print(f'| segmentation_node | {ours["p50"]} | {ours["p99"]} | {lost} |')
    print(
        f'| usual node | {usual["p50"]} | {usual["p99"]} | '
        f'{report["baseline"]["lost"]} of {report["baseline"]["sent"]} |'
    )
    print(
        f'\nratio {report["baseline_ratio"]}; network bare {report["network_ms_p50"]}, everything '
        f'else {report["overhead_ms_p50"]}; stamp to grid {report["grid_latency_ms"]["p50"]}'
    )
    print('stages p50: ' + ', '.join(f'{k} {v}' for k, v in report['stages_ms_p50'].items()))


if __name__ == '__main__':
    sys.exit(main())
