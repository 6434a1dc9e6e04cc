"""`make bench` runs and writes what it promises; its figures are for quiet machines to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_bench_writes_every_figure(tmp_path: Path) -> None:
    output = tmp_path / 'bench.json'
    command = [sys.executable, '-m', 'benchmark.chain', '--output', str(output), '--rounds', '1']
    command += ['--frames', '25', '--input-size', '96x160', '--provider', 'cpu']
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert report['provider'] == 'cpu'
    assert report['network_size'] == [96, 160]
    assert report['sent'] == report['baseline']['sent'] == 25
    assert 0 <= report['lost'] < 25
    for latency in (report['latency_ms'], report['baseline']['latency_ms']):
        assert 0 < latency['p50'] <= latency['p99']
    assert report['network_ms_p50'] > 0
    assert set(report['stages_ms_p50']) >= {'transport', 'convert', 'network', 'project'}
    assert all(value >= 0 for value in report['stages_ms_p50'].values()), 'a stage was not found'
    ratio = report['baseline']['latency_ms']['p50'] / report['latency_ms']['p50']
    assert abs(report['baseline_ratio'] - ratio) < 0.01
    assert 'stamp to mask p50' in done.stdout
