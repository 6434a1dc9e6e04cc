"""Camera models: there and back, against OpenCV, and where the lens can't be inverted."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError

K = [400.0, 0, 319.5, 0, 410.0, 239.5, 0, 0, 1]
BARREL = (-0.32, 0.11, 0.0012, -0.0008, -0.014)
RATIONAL = (1.9, 0.75, 0.0004, -0.0003, 0.03, 2.25, 1.3, 0.17)
PRISM = (*RATIONAL, 0.001, -0.0005, 0.0008, 0.0002)
FISHEYE = (-0.012, 0.006, -0.004, 0.0007)
LENSES = {
    'pinhole': ('plumb_bob', ()),
    'no model': ('', (0.0, 0.0)),
    'plumb_bob': ('plumb_bob', BARREL),
    'plumb_bob of 4': ('plumb_bob', BARREL[:4]),
    'pincushion': ('plumb_bob', (0.2, 0.05, 0, 0, 0)),
    'rational': ('rational_polynomial', RATIONAL),
    'rational with prism': ('rational_polynomial', PRISM),
    'fisheye': ('equidistant', FISHEYE),
    'ideal fisheye': ('equidistant', (0, 0, 0, 0)),
}


def camera(lens: str = 'pinhole', width: int = 640, height: int = 480) -> CameraModel:
    model, coefficients = LENSES[lens]
    return CameraModel.create(width, height, K, coefficients, distortion_model=model)


def pixel_grid(model: CameraModel, step: int = 7) -> np.ndarray:
    v, u = np.mgrid[0 : model.height : step, 0 : model.width : step]
    return np.column_stack([u.ravel(), v.ravel()]).astype(float)


@pytest.mark.parametrize('lens', LENSES)
def test_every_pixel_has_a_ray_that_projects_back(lens):
    model = camera(lens)
    uv = pixel_grid(model)
    rays, valid = model.rays(uv)
    assert valid.all()
    assert np.linalg.norm(rays, axis=1) == pytest.approx(1.0)
    back, inside = model.project(rays * 7.3)
    assert inside.all()
    assert np.abs(back - uv).max() < 1e-3


@pytest.mark.parametrize('lens', LENSES)
@settings(max_examples=40, deadline=None)
@given(u=st.floats(-0.49, 639.49), v=st.floats(-0.49, 479.49), depth=st.floats(0.05, 500))
def test_project_and_reproject(lens, u, v, depth):
    model = camera(lens)
    rays, valid = model.rays(np.array([[u, v]]))
    assert valid.all()
    uv, inside = model.project(rays * depth)
    assert inside.all()
    assert uv[0] == pytest.approx((u, v), abs=1e-3)


@pytest.mark.parametrize('lens', LENSES)
def test_projection_agrees_with_opencv(lens):
    model = camera(lens)
    rng = np.random.default_rng(3)
    points = rng.uniform((-3, -2, 4), (3, 2, 9), (500, 3))
    zero = np.zeros(3)
    if model.distortion_model == 'equidistant':
        fisheye = getattr(cv2, 'fisheye', None)
        if fisheye is None:
            pytest.skip('this OpenCV has no fisheye module')
        truth, _ = fisheye.projectPoints(points[:, None], zero, zero, model.K, model.D)
    else:
        truth, _ = cv2.projectPoints(points[:, None], zero, zero, model.K, model.D)
    uv, valid = model.project(points)
    assert valid.sum() > 300
    assert np.abs(uv - truth[:, 0])[valid].max() < 1e-6


def test_behind_the_camera_is_not_valid():
    for lens in ('pinhole', 'plumb_bob'):
        _, valid = camera(lens).project(np.array([[0, 0, -1.0], [0, 0, 0.0], [0.1, 0.1, -5]]))
        assert not valid.any()


def test_outside_the_picture_is_valid_only_without_clip():
    model = camera()
    beside = np.array([[10.0, 0, 5], [0, -10, 5]])
    assert not model.project(beside)[1].any()
    assert model.project(beside, clip=False)[1].all()


def test_picture_covers_half_a_pixel_around_the_outer_centres():
    model = camera()
    uv = np.array([[-0.5, -0.5], [639.49, 479.49], [-0.51, 0], [639.5, 0], [0, 479.5]])
    assert model.inside(uv).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize('lens', ['plumb_bob', 'rational', 'fisheye'])
def test_points_that_fold_back_into_the_picture_are_not_valid(lens):
    """Sweep a point away from the axis: the valid ones only ever move outwards."""
    model = {
        'plumb_bob': CameraModel.create(640, 480, K, (-0.4, 0.05, 1e-3, 1e-3, 0)),
        'rational': CameraModel.create(
            640, 480, K, (-0.4, 0, 0, 0, 0, 0.01, 0, 0), distortion_model='rational_polynomial'
        ),
        'fisheye': CameraModel.create(
            640, 480, K, (-0.2, 0, 0, 0), distortion_model='equidistant'
        ),
    }[lens]
    angles = np.linspace(0, np.radians(89.5), 4000)
    points = np.column_stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)])
    uv, valid = model.project(points, clip=False)
    assert valid[:200].all()
    assert not valid[-1]
    assert (np.diff(valid.astype(int)) <= 0).all(), 'validity must end once and for all'
    assert (np.diff(uv[valid, 0]) > 0).all()
    if lens != 'fisheye':
        folded, _ = cv2.projectPoints(
            points[~valid][:, None], np.zeros(3), np.zeros(3), *_kd(model)
        )
        inside = model.inside(folded[:, 0])
        assert inside.any(), 'the test must hold points that OpenCV folds into the picture'


def _kd(model: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    return model.K, model.D


def test_pixels_that_no_ray_reaches_are_not_valid():
    model = CameraModel.create(1280, 480, K, (-0.4, 0.05, 0, 0, 0))
    rays, valid = model.rays(np.array([[319.5, 239.5], [1279, 239.5]]))
    assert valid.tolist() == [True, False]
    assert np.isnan(rays[1]).all()
    assert not np.isnan(rays[0]).any()


def test_fisheye_sees_beyond_ninety_degrees():
    model = CameraModel.create(
        1400, 1400, [400, 0, 700, 0, 400, 700, 0, 0, 1], (0,) * 4, distortion_model='equidistant'
    )
    angle = np.radians(95)
    uv, valid = model.project(np.array([[np.sin(angle), 0, np.cos(angle)], [0, 0, -1.0]]))
    assert valid.tolist() == [True, False]
    assert uv[0] == pytest.approx((700 + 400 * angle, 700))
    rays, valid = model.rays(uv[:1])
    assert valid.all()
    assert rays[0] == pytest.approx((np.sin(angle), 0, np.cos(angle)))


@pytest.mark.parametrize('lens', ['pinhole', 'plumb_bob', 'fisheye'])
@pytest.mark.parametrize('size', [(320, 240), (448, 256), (1280, 960), (641, 481)])
def test_scaled_moves_pixels_as_a_resize_does(lens, size):
    model = camera(lens)
    small = model.scaled(*size)
    assert (small.width, small.height) == size
    points = np.random.default_rng(1).uniform((-2, -1, 5), (2, 1, 9), (100, 3))
    uv, _ = model.project(points, clip=False)
    scaled, _ = small.project(points, clip=False)
    expected = (uv + 0.5) * np.array(size) / (640, 480) - 0.5
    assert scaled == pytest.approx(expected)
    assert pytest.approx(model.K) == small.scaled(640, 480).K
    # The projection matrix of the rectified picture moves in the same way.
    assert small.P[:, :3] == pytest.approx(small.K)


def test_scaled_agrees_with_a_real_resize():
    """The centre of a blob in a picture halved by area averaging is where scaled() puts it."""
    picture = np.zeros((480, 640), np.float32)
    picture[100:110, 200:214] = 1
    v, u = np.nonzero(picture)
    small = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)
    vs, us = np.mgrid[0:240, 0:320]
    centre = np.array([(us * small).sum(), (vs * small).sum()]) / small.sum()
    model = camera()
    ray, _ = model.rays(np.array([[u.mean(), v.mean()]]))
    assert model.scaled(320, 240).project(ray)[0][0] == pytest.approx(centre, abs=1e-3)


def test_rectified_is_the_pinhole_of_p():
    p_matrix = [350.0, 0, 300, -42, 0, 350, 220, 0, 0, 0, 1, 0]
    model = CameraModel.create(640, 480, K, BARREL, P=p_matrix).rectified()
    uv, _ = model.project(np.array([[1.0, 0.5, 4]]))
    assert uv[0] == pytest.approx((300 + 350 / 4, 220 + 350 * 0.5 / 4))
    assert not model.D.any()


def test_fingerprint_tells_calibrations_apart():
    assert camera('plumb_bob') == camera('plumb_bob')
    assert hash(camera('plumb_bob')) == hash(camera('plumb_bob'))
    others = [camera('plumb_bob').scaled(320, 240), camera('pinhole'), camera('fisheye')]
    assert len({camera('plumb_bob'), *others}) == 4


def test_a_model_cannot_be_changed_behind_its_fingerprint():
    with pytest.raises(ValueError, match='read-only'):
        camera().K[0, 0] = 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'K': [0.0] * 9}, r'uncalibrated .*run camera_calibration'),
        ({'K': [400.0] * 8}, 'K .* has 8 numbers, expected 9'),
        ({'K': [float('nan'), *K[1:]]}, 'K .* NaN'),
        ({'K': [-400.0, *K[1:]]}, 'focal lengths of K must be positive'),
        ({'K': [*K[:8], 0]}, 'must have the form'),
        ({'K': 'nonsense'}, 'not numeric'),
        ({'width': 0}, '0x480'),
        ({'height': -3}, '640x-3'),
        ({'width': 640.5}, 'whole numbers'),
        ({'D': (0.1, 0.2, 0.3)}, '0 or 4 or 5 coefficients, got 3'),
        ({'D': (float('inf'), 0, 0, 0, 0)}, 'D .* NaN or infinity'),
        ({'D': (0.1,) * 5, 'distortion_model': 'rational_polynomial'}, '8 or 12 or 14.*got 5'),
        ({'D': (0.1,) * 14, 'distortion_model': 'rational_polynomial'}, 'tilted sensor'),
        ({'D': (), 'distortion_model': 'equidistant'}, 'must have 4 coefficients, got 0'),
        ({'distortion_model': 'omni'}, 'unknown distortion_model'),
        ({'D': (0.1,) * 5, 'distortion_model': ''}, 'set it to one of'),
        ({'R': [1, 0, 0, 0, 2, 0, 0, 0, 1]}, 'no rotation'),
        ({'R': [1, 0, 0]}, 'R .* has 3 numbers'),
        ({'P': [0.0] * 11 + [1]}, 'focal lengths of P'),
    ],
)
def test_bad_calibrations_are_refused(change, message):
    good = {'width': 640, 'height': 480, 'K': K, 'D': BARREL}
    with pytest.raises(CameraModelError, match=message):
        CameraModel.create(**{**good, **change})


def test_unset_rectification_is_filled_in():
    model = CameraModel.create(640, 480, K, BARREL, R=[0.0] * 9, P=[0.0] * 12)
    assert pytest.approx(np.eye(3)) == model.R
    assert model.P[:, :3] == pytest.approx(model.K)
