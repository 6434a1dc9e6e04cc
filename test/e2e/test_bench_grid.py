"""`make bench-grid` runs and writes what it promises; its baseline is plain geometry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.plain_ipm import PlainIpm
from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec, pose_from_mounting

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    'free_recall',
    'false_free_rate',
    'occupied_recall',
    'smear_m2',
    'ms_per_frame',
    'flicker',
}


def test_plain_ipm_lays_what_stands_down_on_the_ground_behind_it():
    camera = CameraModel.create(320, 240, [200, 0, 159.5, 0, 200, 119.5, 0, 0, 1])
    grid = GridSpec(0.1, 0.0, 20.0, -5.0, 5.0)
    ipm = PlainIpm(camera, pose_from_mounting(0, 0, 1.5, 0, 0.1, 0), grid)
    roles = np.zeros(256, np.uint8)
    roles[[0, 1]] = 1, 2  # drivable, obstacle
    labels = np.zeros((240, 320), np.uint8)
    assert set(np.unique(ipm.project(labels, roles))) == {-1, 0}
    # A post in the middle, from above the horizon down to where the ground is 6 m away.
    foot = np.array(
        [[0, 1.5 * np.cos(0.1) - 6 * np.sin(0.1), 6 * np.cos(0.1) + 1.5 * np.sin(0.1)]]
    )
    v = int(camera.project(foot)[0][0, 1])
    labels[:v, 158:162] = 1
    cells = ipm.project(labels, roles)
    middle = cells[50]
    assert middle[30] == 0
    assert middle[57] == 0
    assert (middle[63:] == 100).all(), 'smeared to the end of the grid'
    assert middle[0] == -1, 'below the picture'
    labels[:] = 7
    assert (ipm.project(labels, roles) == -1).all(), 'a class without a role says nothing'


@pytest.mark.timeout(300)
def test_bench_grid_writes_every_figure(tmp_path):
    pytest.importorskip('panda3d')
    output = tmp_path / 'grid.json'
    command = [sys.executable, '-m', 'benchmark.grid', '--output', str(output), '--frames', '3']
    command += ['--drives', '1', '--size', '320x180', '--provider', 'cpu']
    command += ['--cache', str(tmp_path / 'frames'), '--pictures', str(tmp_path / 'pictures')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(output.read_text())
    assert set(report) == {
        'true_masks',
        'default_model',
        'plain_ipm',
        'single_frame',
        'frames',
        'seed',
    }
    assert (report['frames'], report['seed']) == (3, 900_000)
    for way in ('true_masks', 'default_model', 'plain_ipm', 'single_frame'):
        assert set(report[way]) == KEYS
        assert 0 <= report[way]['free_recall'] <= 1
        assert report[way]['ms_per_frame'] > 0
    # Even of three small pictures: what hides the ground behind it does not fill it.
    assert report['plain_ipm']['free_recall'] > 0.8
    assert report['single_frame']['smear_m2'] < 0.5 * report['plain_ipm']['smear_m2']
    assert 'plain IPM, true masks' in done.stdout
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 3
    kept = {path.name for path in (tmp_path / 'frames').iterdir()}
    assert len(kept) == 2, 'a drive and a street to stand in'
