"""Ground for every test: a ROS domain of its own, image transport set up, data where it is."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# Domains whose ports stay below Linux' ephemeral range (docs.ros.org, "The ROS_DOMAIN_ID").
_DOMAINS = (*range(1, 102), *range(215, 233))
_held = []  # the lock lives as long as its file is open


def _own_domain() -> int:
    """Return a ROS domain that no other test process of this user holds."""
    folder = Path(tempfile.gettempdir()) / f'seg_perception_test_domains_{os.getuid()}'
    folder.mkdir(exist_ok=True)
    start = os.getpid() % len(_DOMAINS)
    for domain in (*_DOMAINS[start:], *_DOMAINS[:start]):
        lock = (folder / str(domain)).open('w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        return domain
    raise RuntimeError(f'all ROS domains are held by other test runs ({folder})')


# At import, since rclpy and Fast DDS read their environment once; children inherit it.
os.environ['ROS_DOMAIN_ID'] = str(_own_domain())
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ['ROS_LOG_DIR'] = tempfile.mkdtemp(prefix='seg_perception_test_log_')

from seg_perception.ros.transport import configure_transport  # noqa: E402

configure_transport()


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of data and third-party models beside the checkout."""
    path = ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip(f'needs the data folder {path.name}/ beside the checkout, which is not there')
    return path


@pytest.fixture(scope='session')
def shared_data(shared: Path) -> Path:
    """Its data sets."""
    return _inside(shared, 'data')


@pytest.fixture(scope='session')
def shared_models(shared: Path) -> Path:
    """Its third-party models."""
    return _inside(shared, 'models')


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_dir():
        pytest.skip(f'needs {folder.name}/{name}/ beside the checkout, which is not there')
    return path


@pytest.fixture
def ros():
    """rclpy, initialised for one test."""
    rclpy = pytest.importorskip('rclpy', reason='needs rclpy: make test installs it')
    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture
def make_node(ros):
    """Return a function that makes plain nodes, destroyed when the test ends."""
    nodes = []

    def make(name: str, **options):
        node = ros.create_node(name, **options)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
