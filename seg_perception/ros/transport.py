"""Fast DDS profile and allocator settings that let whole pictures pass in about 2 ms.

Everything here must happen before ``rclpy.init()``: Fast DDS reads its profile when the first
participant is made, and the allocator's thresholds count for buffers allocated afterwards.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from seg_perception.core.resources import share_dir

#: Fast DDS 3 (Kilted and later) reads the first name; it also takes the second, but warns.
#: Fast DDS 2 (Humble, Jazzy) knows the second only.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_FASTDDS_2_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')
_FIRST_RCLPY_WITH_FASTDDS_3 = 8  # rclpy 7 is Jazzy's, 9 is Kilted's

_MIB = 1 << 20
#: Shared memory of each process under config/fastdds_images.xml.
SEGMENT_MIB = 32
# mallopt(3) parameter numbers of glibc's malloc.h, and the values: keep picture-sized buffers in
# the heap and do not hand the heap back, so that a frame does not fault in fresh pages each time.
_MALLOC_OPTIONS = {
    -3: 32 * _MIB,  # M_MMAP_THRESHOLD: 32 MiB is the largest value glibc accepts
    -1: 256 * _MIB,  # M_TRIM_THRESHOLD
    -2: 16 * _MIB,  # M_TOP_PAD
}


@dataclass(frozen=True)
class TransportSetup:
    """What :func:`configure_transport` found or did, for the log and the diagnostics.

    Attributes:
        profile: the Fast DDS profile file in force, or None.
        profile_is_ours: False when the user's environment had named one already.
        allocator_tuned: True when glibc took all the mallopt settings.
        notes: sentences on anything that could not be set up.
    """

    profile: Path | None
    profile_is_ours: bool
    allocator_tuned: bool
    notes: tuple[str, ...] = ()


def configure_transport(profile: str | Path | None = None) -> TransportSetup:
    """Prepare this process (and its children) for image traffic. Never raises.

    Sets, each only where the user has set nothing: the Fast DDS profile variable to
    ``config/fastdds_images.xml``, ``AMENT_PREFIX_PATH`` to ``sys.prefix`` (the pip install has no
    setup.bash), and ``ROS_LOG_DIR`` to a temporary folder when the default one is not writable.
    Other middlewares ignore the Fast DDS variables.

    Args:
        profile: another profile file than the packaged one.
    """
    notes: list[str] = []
    _set_ament_prefix()
    _set_log_dir(notes)
    path, ours = _set_profile(profile, notes)
    return TransportSetup(path, ours, tune_allocator(), tuple(notes))


def tune_allocator() -> bool:
    """Keep glibc from handing picture-sized buffers back to the kernel; False without glibc."""
    if platform.libc_ver()[0] != 'glibc':
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in _MALLOC_OPTIONS.items())


def _set_profile(profile: str | Path | None, notes: list[str]) -> tuple[Path | None, bool]:
    for variable in PROFILE_VARIABLES:
        if os.environ.get(variable):
            chosen = Path(os.environ[variable])
            if not chosen.is_file():
                notes.append(f'{variable} names {chosen}, which does not exist: unset or mend it')
            return chosen, False
    try:
        chosen = Path(profile) if profile else share_dir() / 'config' / 'fastdds_images.xml'
    except FileNotFoundError as error:
        notes.append(f'no Fast DDS profile for images: {error}')
        return None, False
    if not chosen.is_file():
        notes.append(f'no Fast DDS profile for images: {chosen} does not exist')
        return None, False
    _check_shared_memory(notes)
    os.environ[profile_variable()] = str(chosen)
    return chosen, True


def profile_variable() -> str:
    """Return the name under which the installed Fast DDS looks for its profile."""
    distribution = os.environ.get('ROS_DISTRO')
    if distribution:
        return PROFILE_VARIABLES[distribution in _FASTDDS_2_DISTRIBUTIONS]
    try:
        major = int(importlib.metadata.version('rclpy').partition('.')[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return PROFILE_VARIABLES[0]
    return PROFILE_VARIABLES[major < _FIRST_RCLPY_WITH_FASTDDS_3]


def _check_shared_memory(notes: list[str]) -> None:
    """Docker gives 64 MiB of shared memory: too little for the segments of two processes."""
    try:
        space = os.statvfs('/dev/shm')
    except OSError:
        return
    free = space.f_bavail * space.f_frsize // _MIB
    if free < SEGMENT_MIB + 2:
        notes.append(
            f'/dev/shm has {free} MiB free, one process needs {SEGMENT_MIB}: images will go over '
            'UDP, slower; give a container --shm-size=512m or --ipc=host'
        )


def _set_ament_prefix() -> None:
    prefix = Path(sys.prefix)
    if not os.environ.get('AMENT_PREFIX_PATH') and (prefix / 'share' / 'ament_index').is_dir():
        os.environ['AMENT_PREFIX_PATH'] = str(prefix)


def _set_log_dir(notes: list[str]) -> None:
    """Without a writable log folder rclpy.init() fails; the order of look-up is rcl_logging's."""
    if os.environ.get('ROS_LOG_DIR'):
        return
    home = os.environ.get('ROS_HOME') or os.path.join(os.path.expanduser('~'), '.ros')
    nearest = next(p for p in (Path(home), *Path(home).absolute().parents) if p.exists())
    if os.access(nearest, os.W_OK | os.X_OK) and nearest.is_dir():
        return
    os.environ['ROS_LOG_DIR'] = tempfile.mkdtemp(prefix='ros_log_')
    notes.append(f'{home} is not writable: logs go to {os.environ["ROS_LOG_DIR"]}')
