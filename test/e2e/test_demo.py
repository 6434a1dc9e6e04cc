"""`seg-perception demo` as a newcomer runs it, on a video of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from harness import scene
from tiny_bundle import write_tiny_bundle

FRAMES = 25


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10.0, (320, 180))
    for _ in range(FRAMES):
        writer.write(np.ascontiguousarray(scene()[..., ::-1]))
    writer.release()
    return path


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'seg_perception.cli', 'demo', *arguments]
    # A domain of its own, as on a machine where nothing is set.
    environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=110)


def test_demo_on_a_video(video: Path, tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / 'tiny')
    output = tmp_path / 'demo'
    done = run_demo('--video', str(video), '--model', str(model), '--output', str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((output / 'summary.json').read_text())
    assert summary['frames_sent'] == FRAMES
    assert 0 < summary['frames_masked'] <= FRAMES
    assert summary['frames_dropped'] == FRAMES - summary['frames_masked']
    assert summary['model'] == 'tiny'
    assert summary['provider'] in ('cpu', 'openvino', 'cuda', 'tensorrt')
    assert 0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p99']
    assert summary['fps'] > 0
    assert 'assuming a lens' in done.stdout
    for path in summary['files']:
        assert Path(path).stat().st_size > 1000
        assert path in done.stdout
    drawn = cv2.VideoCapture(str(output / 'demo.mp4'))
    assert int(drawn.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    picture = cv2.imread(next(p for p in summary['files'] if p.endswith('.png')))
    # Left the camera with the wall's red over it, right the grid with free cells.
    assert picture[-40, 40, 2] > picture[-40, 40, 1] + 50


def test_demo_says_what_is_wrong(video: Path, tmp_path: Path) -> None:
    missing = run_demo('--video', str(tmp_path / 'none.mp4'), '--output', str(tmp_path / 'a'))
    assert missing.returncode == 2
    assert 'none.mp4' in missing.stderr
    assert 'Traceback' not in missing.stderr
    model = run_demo('--video', str(video), '--model', 'nothing', '--output', str(tmp_path / 'b'))
    assert model.returncode == 2
    assert "no model bundle 'nothing'" in model.stderr
