"""`make bench-models` measures what it promises; its figures are for quiet machines to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tiny_bundle import write_tiny_bundle

from seg_perception.core.resources import share_dir

ROOT = Path(__file__).resolve().parents[2]


def test_every_way_is_measured(tmp_path: Path) -> None:
    model = next((share_dir() / 'models').glob('*street*/model.yaml')).parent
    # Has no metadata that says where its network lies: told, and the rest goes on.
    other = write_tiny_bundle(tmp_path / 'tiny')
    output = tmp_path / 'bench.json'
    command = [sys.executable, '-m', 'benchmark.models', '--output', str(output)]
    command += ['--model', str(model), '--model', str(other), '--provider', 'cpu']
    command += ['--provider', 'tensorrt', '--input-size', '64x96', '--rounds', '1', '--runs', '2']
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    (row,) = report['models']
    assert (row['model'], row['provider']) == (model.name, 'cpu')
    assert row['network_size'] == [64, 96]
    assert 0 < row['bare_ms'] <= row['whole_ms'] * 2
    assert abs(row['naive_ratio'] - row['naive_ms'] / row['whole_ms']) < 0.01
    assert row['memory_mb'] > row['file_mb'] / 2
    assert row['naive_memory_mb'] > row['file_mb'] / 2
    assert set(report['not_run']) == {f'{model.name} on tensorrt', 'tiny'}
    assert f'| {model.name} |' in done.stdout
