"""The package as colcon and pip install it: does the executable that launch looks for run?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = 'seg_perception'
COLCON = Path(sys.executable).with_name('colcon')
LEFT_OUT = shutil.ignore_patterns(
    '.git', '.venv', 'build', 'install', 'log', 'out', '.*_cache', '.hypothesis', '__pycache__',
    '*.egg-info',
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT, tmp_path / 'src' / NAME, ignore=LEFT_OUT)
    return tmp_path


def run_executable(path: Path, environment: dict[str, str], log: Path) -> None:
    """Start a node as `ros2 run` does, wait until it is up, interrupt it: it must end with 0."""
    arguments = ['--ros-args', '-p', 'model:=no_such_model']
    with log.open('wb') as stream:
        process = subprocess.Popen(
            [str(path), *arguments],
            env={**os.environ, **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=path.parent,
        )
        try:
            end = time.monotonic() + 150.0  # it compiles its kernels, maybe on a busy machine
            # The node's own answer: it is up, looked for the model, and stays unconfigured.
            while "no model bundle 'no_such_model'" not in log.read_text():
                assert process.poll() is None, f'{path} ended early:\n{log.read_text()}'
                assert time.monotonic() < end, f'{path} did not come up:\n{log.read_text()}'
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()


def prefix_environment(prefix: Path) -> dict[str, str]:
    """What sourcing the prefix's setup.bash sets, as far as it matters here."""
    site = next(prefix.glob('lib/python3*/site-packages'))
    path = os.pathsep.join([str(site), os.environ.get('PYTHONPATH', '')])
    bin_dir = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    return {'PYTHONPATH': path, 'AMENT_PREFIX_PATH': str(prefix), 'PATH': bin_dir}


def check_share(prefix: Path) -> None:
    share = prefix / 'share' / NAME
    for expected in (
        share / 'package.xml',
        share / 'launch' / 'camera.launch.py',
        share / 'config' / 'labels' / 'cityscapes.yaml',
        share / 'config' / 'segmentation.yaml',
        share / 'config' / 'instance.yaml',
        share / 'config' / 'panoptic.yaml',
        prefix / 'share/ament_index/resource_index/packages' / NAME,
    ):
        assert expected.is_file(), f'{expected} was not installed'
    assert list((share / 'models').glob('*/model.yaml')), 'no model bundle was installed'


def share_as_seen(environment: dict[str, str]) -> Path:
    code = 'from seg_perception.core.resources import share_dir; print(share_dir())'
    done = subprocess.run(
        [sys.executable, '-P', '-c', code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd='/',
    )
    return Path(done.stdout.strip())


@pytest.mark.skipif(not COLCON.exists(), reason='colcon is not installed in this environment')
@pytest.mark.parametrize('arguments', [[], ['--symlink-install']], ids=['plain', 'symlink'])
def test_colcon_build(workspace: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [str(COLCON), 'build', *arguments],
        cwd=workspace,
        env={**os.environ, 'PATH': f'{COLCON.parent}{os.pathsep}{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    prefix = workspace / 'install' / NAME
    check_share(prefix)
    environment = prefix_environment(prefix)
    if arguments:
        # setup.bash puts the develop install's build folder on the path.
        environment['PYTHONPATH'] = str(workspace / 'build' / NAME)
        assert share_as_seen(environment) == workspace / 'src' / NAME
    else:
        assert share_as_seen(environment) == prefix / 'share' / NAME
    # In a new place the segmentation node compiles for half a minute: once is enough.
    node = 'instance_node' if arguments else 'segmentation_node'
    run_executable(prefix / 'lib' / NAME / node, environment, workspace / 'node.log')
    for other in ('segmentation_node', 'instance_node', 'panoptic_node', 'image_source_node'):
        assert os.access(prefix / 'lib' / NAME / other, os.X_OK), f'no executable {other}'


def test_pip_install(workspace: Path) -> None:
    prefix = workspace / 'prefix'
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps']
    # Without it pip would first remove the package from the environment the tests run in.
    command += ['--ignore-installed']
    command += ['--no-build-isolation', '--prefix', str(prefix), str(workspace / 'src' / NAME)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    check_share(prefix)
    environment = prefix_environment(prefix)
    assert share_as_seen(environment) == prefix / 'share' / NAME
    executable = prefix / 'lib' / NAME / 'instance_node'
    run_executable(executable, environment, workspace / 'node.log')
    assert os.access(prefix / 'bin' / 'seg-perception', os.X_OK)
