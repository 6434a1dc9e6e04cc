"""Calibration files: there and back, and what is wrong with a bad one is named."""

import copy

import numpy as np
import pytest
import yaml

from seg_perception.core.errors import CameraModelError
from seg_perception.core.resources import share_dir
from seg_perception.ros.calibration import (
    calibration_path,
    calibration_to_dict,
    fit_calibration,
    load_calibration,
    save_calibration,
    uncalibrated,
)
from seg_perception.ros.messages import camera_model

# What camera_calibration's `ost.yaml` looks like, numbers of a real 1280x720 camera.
OST = """
image_width: 1280
image_height: 720
camera_name: hood
camera_matrix:
  rows: 3
  cols: 3
  data: [1158.77, 0.0, 669.64, 0.0, 1154.08, 388.08, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.25678, 0.04338, -0.00069, 0.00013, -0.11503]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [1050.5, 0, 671.1, 0, 0, 1100.5, 387.2, 0, 0, 0, 1, 0]
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / 'ost.yaml'
    file.write_text(OST)
    return file


def test_a_file_becomes_camera_info_and_a_file_again(path, tmp_path):
    info = load_calibration(str(path))
    assert (info.width, info.height, info.distortion_model) == (1280, 720, 'plumb_bob')
    assert info.k[4] == 1154.08
    assert info.p[0] == 1050.5
    again = tmp_path / 'again.yaml'
    save_calibration(info, again, 'hood')
    assert load_calibration(again.as_uri(), 'hood') == info
    assert calibration_to_dict(info, 'hood') == yaml.safe_load(OST)


def test_opencvs_yaml_directive_and_missing_r_and_p_are_taken(path):
    loaded = yaml.safe_load(OST)
    del loaded['rectification_matrix'], loaded['projection_matrix']
    path.write_text('%YAML:1.0\n---\n' + yaml.safe_dump(loaded))
    info = load_calibration(str(path))
    assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(info.p) == [1158.77, 0, 669.64, 0, 0, 1154.08, 388.08, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image_width': None}, 'image_width must be a positive whole number'),
        ({'image_height': -720}, 'image_height'),
        ({'image_height': '720'}, 'image_height'),
        ({'camera_matrix': None}, 'camera_matrix is missing'),
        ({'camera_matrix': {'rows': 3, 'cols': 3, 'data': [1.0] * 8}}, 'has 8 numbers, 9 belong'),
        ({'camera_matrix': {'rows': 3, 'cols': 3, 'data': [0.0] * 9}}, 'uncalibrated'),
        ({'camera_matrix': [1.0] * 9}, 'camera_matrix must have rows, cols and data'),
        ({'distortion_model': 'fancy'}, 'fancy'),
        ({'distortion_model': 7}, 'distortion_model'),
        (
            {'distortion_coefficients': {'rows': 1, 'cols': 3, 'data': [0.1, 0.2, 0.3]}},
            'plumb_bob',
        ),
        (
            {'distortion_coefficients': {'rows': 1, 'cols': 5, 'data': [0.1, 'x', 0, 0, 0]}},
            'distortion_coefficients.data must be numbers',
        ),
        (
            {'projection_matrix': {'rows': 3, 'cols': 4, 'data': [float('nan')] * 12}},
            'projection_matrix.data is not finite',
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(path, change, message):
    loaded = yaml.safe_load(OST) | copy.deepcopy(change)
    path.write_text(yaml.safe_dump({k: v for k, v in loaded.items() if v is not None}))
    with pytest.raises(CameraModelError, match=message) as caught:
        load_calibration(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [('a: [1', 'not YAML: line 1'), ('', 'not a mapping'), ('[1, 2]', 'not a mapping')],
)
def test_what_is_no_calibration_at_all_is_refused(path, text, message):
    path.write_text(text)
    with pytest.raises(CameraModelError, match=message):
        load_calibration(str(path))


def test_urls(path):
    assert calibration_path('/a/b.yaml') == calibration_path('file:///a/b.yaml')
    package_url = 'package://seg_perception/config/labels/camvid.yaml'
    assert calibration_path(package_url) == share_dir() / 'config' / 'labels' / 'camvid.yaml'
    for url, message in [
        ('file://a/b.yaml', 'three slashes'),
        ('http://a/b.yaml', 'package://'),
        ('package://no_such_package/b.yaml', 'no_such_package is not installed'),
    ]:
        with pytest.raises(CameraModelError, match=message):
            calibration_path(url)
    with pytest.raises(CameraModelError, match='No such file'):
        load_calibration(str(path) + '.gone')
    with pytest.raises(CameraModelError, match="'hood', not 'rear'"):
        load_calibration(str(path), 'rear')


def test_a_smaller_version_of_the_picture_keeps_the_rays(path):
    info = load_calibration(str(path))
    assert fit_calibration(info, 1280, 720) == (info, False)
    half, scaled = fit_calibration(info, 640, 360)
    assert scaled
    # Pixel edges coincide: edge (0, 0) and the far corner see the same directions.
    corners, half_corners = np.array([[-0.5, -0.5], [1279, 719]]), None
    half_corners = (corners + 0.5) / 2 - 0.5
    rays, _ = camera_model(info).rays(corners)
    half_rays, _ = camera_model(half).rays(half_corners)
    np.testing.assert_allclose(half_rays, rays, atol=1e-9)


def test_another_aspect_ratio_is_refused(path):
    info = load_calibration(str(path))
    with pytest.raises(CameraModelError, match='1280x720, the pictures are 640x480'):
        fit_calibration(info, 640, 480)
    fit_calibration(info, 426, 240)  # 240p: rounded to whole pixels


def test_uncalibrated_says_so():
    info = uncalibrated(640, 480)
    assert info.k[0] == 0
    with pytest.raises(CameraModelError, match='uncalibrated'):
        camera_model(info)
