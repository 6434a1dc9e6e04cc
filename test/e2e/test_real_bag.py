"""The whole chain on a real drive: bag -> source process -> node process -> mask and grid."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_perception.nodes.processes import NodeProcess, ros_arguments
from seg_perception.nodes.recorder import Recorder

TOPICS = {'image': 'camera/image_raw', 'camera_info': 'camera/camera_info'}
ROAD, MARK = 1, 3
FRAMES = 40


@pytest.fixture(scope='module')
def road_model(shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open Model Zoo's road segmentation, imported as a user would."""
    folder = tmp_path_factory.mktemp('models')
    network = shared_models / 'road_segmentation_adas_0001/road_segmentation_adas_0001.onnx'
    command = [sys.executable, '-m', 'seg_perception.cli', 'models', 'import', str(network)]
    command += ['--name', 'road', '--out', str(folder), '--color', 'bgr', '--multiple', '32']
    command += ['--default-size', '256x448', '--output-kind', 'softmax']
    command += ['--labels', 'background,road,curb,mark', '--drivable', 'road,mark']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / 'road'


def spin_until(recorder: Recorder, condition: Any, timeout: float) -> bool:
    import rclpy

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        rclpy.spin_once(recorder, timeout_sec=0.05)
        if condition():
            return True
    return False


def test_bag_to_mask_and_grid(
    ros: Any, shared_data: Path, road_model: Path, tmp_path: Path
) -> None:
    bag = shared_data / 'udacity/bag/solidWhiteRight'
    if not bag.is_dir():
        pytest.skip(f'needs {bag.name}, which is not in the data folder')
    recorder = Recorder(tmp_path / 'recorded')
    heard = recorder.heard
    node_arguments = ros_arguments(
        {
            'model': str(road_model),
            'provider': 'cpu',
            'camera_pose.height': 1.25,
            'camera_pose.pitch': -0.03,
            'grid.x_max': 30.0,
            'diagnostics_period': 0.2,
        },
        TOPICS,
    )
    source_arguments = ros_arguments(
        {
            'kind': 'bag',
            'uri': str(bag),
            'limit': FRAMES,
            'rate': 5.0,
            'wait_for_subscribers': 1,
            'wait_for_camera_info_subscribers': 2,
        },
        {'image_raw': TOPICS['image'], 'camera_info': TOPICS['camera_info']},
    )
    with NodeProcess('segmentation_node', node_arguments) as node:
        assert spin_until(recorder, lambda: heard.label_info, 40), 'the node did not start'
        with NodeProcess('image_source_node', source_arguments) as source:
            assert spin_until(recorder, lambda: source.exit_code is not None, 60)
            assert source.exit_code == 0
        spin_until(recorder, lambda: heard.sent[-1] in heard.masks, 5)
        assert node.exit_code is None, 'the node ended with its source'
        assert len(heard.sent) == FRAMES
        # A busy machine drops frames, and says so; none is lost without a word.
        spin_until(recorder, lambda: heard.facts.get('frames received') == str(FRAMES), 5)
        assert len(heard.masks) + int(heard.facts['frames dropped']) == FRAMES
        assert len(heard.masks) >= FRAMES // 3
        assert set(heard.masks) <= set(heard.sent), 'stamps were not kept'
        assert heard.facts['provider'] == 'cpu'
        # What the node says goes unknown once the camera is gone.
        assert spin_until(recorder, lambda: 'no image' in heard.health, 10)
        assert spin_until(recorder, lambda: set(recorder.grid_message.data) == {-1}, 10)
        assert node.stop() == 0
    check_road(recorder)
    recorder.close()
    recorder.destroy_node()


def check_road(recorder: Recorder) -> None:
    heard = recorder.heard
    shares, free_ahead = [], []
    for stamp in sorted(heard.masks)[5:]:
        mask = recorder.masks.read(stamp)
        height, width = mask.shape
        lane = mask[int(0.8 * height) : int(0.9 * height), int(0.4 * width) : int(0.6 * width)]
        shares.append(np.isin(lane, (ROAD, MARK)).mean())
        if stamp in recorder.grids:
            cells = recorder.grids.read(stamp)
            # Own lane, 8 to 15 m ahead: rows are y from -10 m, columns are x from 0 m.
            free_ahead.append((cells[95:105, 80:150] == 0).mean())
    assert np.median(shares) > 0.95
    assert len(free_ahead) > 0.8 * len(shares)
    assert np.median(free_ahead) > 0.9
