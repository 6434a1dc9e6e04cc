"""Settings that must be in place before rclpy starts."""

import os
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from seg_perception.core.resources import share_dir
from seg_perception.ros import transport

PROFILE = share_dir() / 'config' / 'fastdds_images.xml'
VARIABLES = (*transport.PROFILE_VARIABLES, 'AMENT_PREFIX_PATH', 'ROS_LOG_DIR', 'ROS_HOME')


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment in which nothing is set up, and a writable home."""
    for name in (*VARIABLES, 'ROS_DISTRO'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    return monkeypatch


def test_everything_is_set_where_nothing_was(bare):
    setup = transport.configure_transport()
    assert setup.profile == PROFILE
    assert setup.profile_is_ours
    assert os.environ[transport.profile_variable()] == str(PROFILE)
    assert 'ROS_LOG_DIR' not in os.environ
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        assert os.environ['AMENT_PREFIX_PATH'] == sys.prefix


@pytest.mark.parametrize('variable', transport.PROFILE_VARIABLES)
def test_the_user_s_own_settings_stay(bare, tmp_path, variable):
    own = tmp_path / 'own.xml'
    own.write_text('<dds/>')
    bare.setenv(variable, str(own))
    bare.setenv('AMENT_PREFIX_PATH', '/opt/ros/somewhere')
    setup = transport.configure_transport()
    assert setup.profile == own
    assert not setup.profile_is_ours
    assert [os.environ.get(v) for v in transport.PROFILE_VARIABLES].count(None) == 1
    assert os.environ['AMENT_PREFIX_PATH'] == '/opt/ros/somewhere'


def test_a_profile_that_is_not_there_is_told(bare):
    bare.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/nowhere/x.xml')
    assert 'does not exist' in transport.configure_transport().notes[0]


@pytest.mark.parametrize(
    ('distribution', 'variable'),
    [
        ('jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('kilted', 'FASTDDS_DEFAULT_PROFILES_FILE'),
        ('rolling', 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_each_distribution_gets_the_name_it_reads(bare, distribution, variable):
    bare.setenv('ROS_DISTRO', distribution)
    transport.configure_transport()
    assert os.environ[variable] == str(PROFILE)


@pytest.mark.parametrize(
    ('version', 'variable'),
    [
        ('7.1.4', 'FASTRTPS_DEFAULT_PROFILES_FILE'),
        ('9.1.2', 'FASTDDS_DEFAULT_PROFILES_FILE'),
    ],
)
def test_without_a_sourced_ros_the_version_of_rclpy_tells(bare, version, variable):
    bare.setattr(transport.importlib.metadata, 'version', lambda name: version)
    assert transport.profile_variable() == variable


def test_an_unwritable_home_gets_another_log_folder(bare, tmp_path):
    bare.setattr(os, 'access', lambda *args: False)
    setup = transport.configure_transport()
    assert any('not writable' in note for note in setup.notes)
    assert stat.S_ISDIR(os.stat(os.environ['ROS_LOG_DIR']).st_mode)
    os.rmdir(os.environ['ROS_LOG_DIR'])


def test_too_little_shared_memory_is_told(bare):
    real = os.statvfs('/dev/shm')

    class Small:
        f_bavail, f_frsize = (10 << 20) // real.f_frsize, real.f_frsize

    bare.setattr(os, 'statvfs', lambda path: Small)
    assert any('--shm-size' in note for note in transport.configure_transport().notes)


def test_without_glibc_the_allocator_is_left_alone(bare):
    bare.setattr(transport.platform, 'libc_ver', lambda: ('', ''))
    assert transport.tune_allocator() is False


def test_the_profile_holds_what_was_measured():
    tree = ElementTree.parse(PROFILE)
    text = {element.tag.rpartition('}')[2]: element.text for element in tree.iter()}
    assert int(text['segment_size']) == transport.SEGMENT_MIB << 20
    assert int(text['receiveBufferSize']) >= 4 << 20
    assert text['useBuiltinTransports'] == 'false'


SEGMENT = """
import os, sys
before = set(os.listdir('/dev/shm'))
from seg_perception.ros.transport import configure_transport
setup = configure_transport()
import rclpy
rclpy.init()
node = rclpy.create_node('segment_probe')
new = {name for name in os.listdir('/dev/shm') if name not in before}
sizes = [os.stat('/dev/shm/' + name).st_size for name in new]
print('largest', max(sizes, default=0), 'tuned', setup.allocator_tuned)
node.destroy_node()
rclpy.shutdown()
"""


@pytest.mark.skipif(not os.path.isdir('/dev/shm'), reason='needs Linux shared memory')
def test_fast_dds_takes_the_profile():
    """A participant under the profile really makes a 32 MiB segment, and nothing complains."""
    environment = {k: v for k, v in os.environ.items() if k not in transport.PROFILE_VARIABLES}
    environment['PYTHONPATH'] = os.pathsep.join(sys.path)
    # LOCALHOST adds a segment of its own beside the profile's.
    environment.pop('ROS_AUTOMATIC_DISCOVERY_RANGE', None)
    done = subprocess.run(
        [sys.executable, '-c', SEGMENT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    words = done.stdout.split()
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp'):
        pytest.skip('another middleware is in use')
    assert int(words[1]) >= transport.SEGMENT_MIB << 20, done.stderr
    assert 'deprecated' not in done.stderr
    assert 'Error' not in done.stderr
