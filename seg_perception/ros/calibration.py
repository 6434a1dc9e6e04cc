"""Calibration files in camera_calibration's YAML format <-> sensor_msgs/CameraInfo.

The format is that of camera_calibration's ost.yaml and of camera_calibration_parsers:
https://github.com/ros-perception/image_common/tree/rolling/camera_calibration_parsers
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from sensor_msgs.msg import CameraInfo

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError
from seg_perception.core.resources import PACKAGE, share_dir
from seg_perception.ros.messages import scaled_camera_info

#: Widths and heights whose ratios differ by less than this belong to the same camera:
#: drivers round the smaller sizes they offer to whole or even pixels.
ASPECT_TOLERANCE = 0.01


def calibration_path(url: str) -> Path:
    """Turn a plain path, ``file:///...`` or ``package://name/...`` into a path.

    Raises:
        CameraModelError: another scheme, or a package that is not installed.
    """
    scheme, found, rest = url.partition('://')
    if not found:
        return Path(url).expanduser()
    if scheme == 'file':
        if not rest.startswith('/'):
            raise CameraModelError(f'{url}: a file URL has three slashes: file:///home/...')
        return Path(rest)
    if scheme != 'package':
        raise CameraModelError(f'{url}: use a path, file:///... or package://<package>/...')
    package, _, inside = rest.partition('/')
    return _package_share(package, url) / inside


def _package_share(package: str, url: str) -> Path:
    if package == PACKAGE:
        return share_dir()
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package))
    except (ImportError, LookupError, ValueError, OSError) as error:
        raise CameraModelError(f'{url}: package {package} is not installed here') from error


def load_calibration(url: str, camera_name: str = '') -> CameraInfo:
    """Read a calibration file; header is left empty.

    Args:
        url: as in :func:`calibration_path`.
        camera_name: what the file's camera_name must be; empty = anything.

    Raises:
        CameraModelError: names the file, the key and what is wrong with it.
    """
    path = calibration_path(url)
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise CameraModelError(f'calibration {path}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise CameraModelError(f'calibration {path}: not a text file') from error
    try:
        # OpenCV's own YAML begins with a directive that YAML 1.1 readers refuse.
        loaded = yaml.safe_load(text.replace('%YAML:1.0', '', 1))
    except yaml.YAMLError as error:
        raise CameraModelError(f'calibration {path}: not YAML: {_line(error)}') from error
    try:
        info = calibration_from_dict(loaded)
        name = loaded.get('camera_name', '')
        if camera_name and name != camera_name:
            raise CameraModelError(f"camera_name is '{name}', not '{camera_name}'")
        return info
    except CameraModelError as error:
        raise CameraModelError(f'calibration {path}: {error}') from error


def calibration_from_dict(loaded: Any) -> CameraInfo:
    """Build a CameraInfo from the loaded YAML.

    rectification_matrix and projection_matrix may be absent (identity, and [K|0]).

    Raises:
        CameraModelError: names the key and what is wrong with it.
    """
    if not isinstance(loaded, dict):
        raise CameraModelError('not a mapping with image_width, image_height, camera_matrix, ...')
    width, height = (_positive_int(loaded, key) for key in ('image_width', 'image_height'))
    k = _matrix(loaded, 'camera_matrix', 9)
    if k is None:
        raise CameraModelError('camera_matrix is missing')
    model = loaded.get('distortion_model', 'plumb_bob')
    if not isinstance(model, str):
        raise CameraModelError(f'distortion_model must be a name, got {model!r}')
    d = _matrix(loaded, 'distortion_coefficients', None) or []
    r = _matrix(loaded, 'rectification_matrix', 9) or [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]
    p = _matrix(loaded, 'projection_matrix', 12)
    p = p or [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    # The model's own checks (focal lengths, number of coefficients, finite values).
    CameraModel.create(width, height, k, D=d, R=r, P=p, distortion_model=model)
    info = CameraInfo(width=width, height=height, distortion_model=model, d=d)
    info.k, info.r, info.p = k, r, p
    return info


def calibration_to_dict(info: CameraInfo, name: str = 'camera') -> dict[str, Any]:
    """The inverse of :func:`calibration_from_dict`: the mapping to write as YAML."""

    def matrix(values: Any, rows: int) -> dict[str, Any]:
        data = [float(v) for v in values]
        return {'rows': rows, 'cols': len(data) // rows, 'data': data}

    return {
        'image_width': int(info.width),
        'image_height': int(info.height),
        'camera_name': name,
        'camera_matrix': matrix(info.k, 3),
        'distortion_model': info.distortion_model,
        'distortion_coefficients': matrix(info.d, 1),
        'rectification_matrix': matrix(info.r, 3),
        'projection_matrix': matrix(info.p, 3),
    }


def save_calibration(info: CameraInfo, path: Path, name: str = 'camera') -> None:
    """Write a calibration file that camera_info_manager and :func:`load_calibration` read."""
    text = yaml.safe_dump(calibration_to_dict(info, name), sort_keys=False)
    path.write_text(text, encoding='utf-8')


def fit_calibration(info: CameraInfo, width: int, height: int) -> tuple[CameraInfo, bool]:
    """Fit a calibration to pictures of width x height pixels.

    Returns:
        The calibration, scaled where the pictures are a smaller or larger version of those it
        was made from, and whether it was scaled.

    Raises:
        CameraModelError: the pictures have another shape, so they are not just scaled.
    """
    if (info.width, info.height) == (width, height):
        return info, False
    ratio = (info.width * height) / (info.height * width)
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise CameraModelError(
            f'the calibration is for {info.width}x{info.height}, the pictures are '
            f'{width}x{height}: another aspect ratio, so they were cropped or come from another '
            'camera; calibrate at their size'
        )
    return scaled_camera_info(info, width, height), True


def uncalibrated(width: int, height: int) -> CameraInfo:
    """What drivers publish without a calibration: the size, and K[0] = 0 (CameraInfo.msg)."""
    return CameraInfo(width=width, height=height)


def _positive_int(loaded: dict, key: str) -> int:
    value = loaded.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CameraModelError(f'{key} must be a positive whole number, got {value!r}')
    return value


def _matrix(loaded: dict, key: str, length: int | None) -> list[float] | None:
    """The numbers of a {rows, cols, data} entry, or None where the key is absent."""
    entry = loaded.get(key)
    if entry is None:
        return None
    data = entry.get('data') if isinstance(entry, dict) else None
    if not isinstance(data, list):
        raise CameraModelError(f'{key} must have rows, cols and data: [...]')
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in data):
        raise CameraModelError(f'{key}.data must be numbers, got {data}')
    rows, cols = entry.get('rows'), entry.get('cols')
    stated = rows * cols if isinstance(rows, int) and isinstance(cols, int) else len(data)
    if len(data) != (length or stated) or stated != len(data):
        raise CameraModelError(
            f'{key}.data has {len(data)} numbers, {length or stated} belong there '
            f'(rows {rows}, cols {cols})'
        )
    if not all(math.isfinite(v) for v in data):
        raise CameraModelError(f'{key}.data is not finite: {data}')
    return [float(v) for v in data]


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, 'problem_mark', None)
    problem = getattr(error, 'problem', None) or str(error)
    return f'line {mark.line + 1}: {problem}' if mark else problem
