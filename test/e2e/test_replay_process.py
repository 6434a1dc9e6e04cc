"""The replay as a process: stopped by Ctrl-C, killed outright, and finished in the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_writer import info, write_bag
from tiny_bundle import write_tiny_bundle

FRAMES = 30


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    pytest.importorskip('onnx', reason='needs onnx to make a model: make test installs it')
    folder = tmp_path_factory.mktemp('recording')
    topics = {
        '/camera/image_raw': [i % 250 for i in range(FRAMES)],
        '/camera/camera_info': [info(1_700_000_000_000_000_000)] * FRAMES,
    }
    return write_bag(folder / 'bag', topics), write_tiny_bundle(folder / 'slow', work=4)


def start(recording, out: Path, *options: str) -> subprocess.Popen:
    bag, model = recording
    command = [
        sys.executable,
        '-m',
        'seg_perception.cli',
        'replay',
        str(bag),
        '--output',
        str(out),
    ]
    command += ['--model', str(model), '-p', 'provider:=cpu', '-p', 'threads:=1', *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_in_the_middle(process: subprocess.Popen, out: Path, number: int, records: int) -> int:
    """Send a signal once so many answers of the network are on disk."""
    journal = out / 'journal/model0.journal'
    deadline = time.monotonic() + 60
    while not journal.is_file() or journal.stat().st_size < records:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, 'the replay does not get on'
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(30)


def masks(bag: Path) -> int:
    from rosbags.highlevel import AnyReader

    with AnyReader([bag]) as reader:
        return sum(1 for c, _, _ in reader.messages() if c.topic == '/segmentation_node/mask')


def test_ctrl_c_leaves_a_whole_bag_and_resume_goes_on(recording, tmp_path):
    out = tmp_path / 'out'
    process = start(recording, out)
    assert end_in_the_middle(process, out, signal.SIGINT, 2000) == 130
    _, told = process.communicate()
    assert '--resume goes on' in told
    first = masks(out / 'bag')
    assert 0 < first < FRAMES
    assert 'Not complete' in (out / 'report.html').read_text()

    process = start(recording, out, '--resume')  # the power fails
    grown = (out / 'journal/model0.journal').stat().st_size + 1000
    assert end_in_the_middle(process, out, signal.SIGKILL, grown) == -signal.SIGKILL
    process.communicate()

    process = start(recording, out, '--resume')
    told, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert f'{FRAMES} frames of 1 bag' in told
    assert masks(out / 'bag') == FRAMES
    assert not (out / 'journal').exists()
    assert 'Not complete' not in (out / 'report.html').read_text()
