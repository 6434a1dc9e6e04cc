"""Camera models: from a point before the lens to a pixel, and from a pixel back to a ray.

The models are those of sensor_msgs/CameraInfo (``plumb_bob``, ``rational_polynomial``,
``equidistant``), which are OpenCV's (calib3d and fisheye). They are written out here, without
OpenCV, because its functions fold back silently: past the point where a polynomial stops
growing, they map a ray far outside the picture onto a pixel inside it, and ground that the
camera can't see would get that pixel's label.

Pixel coordinates: the centre of the first pixel is (0, 0), so a picture covers
[-0.5, width - 0.5) x [-0.5, height - 0.5).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seg_perception.core.errors import CameraModelError
from seg_perception.core.lens import Lens, make_lens

#: A ray counts only if it projects back onto its pixel this closely (pixels).
RAY_TOLERANCE = 1e-3
_MIN_DEPTH = 1e-6  # m: nearer to the camera's plane, a division means nothing


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A calibrated camera; build it with :meth:`create`.

    Attributes:
        width, height: picture size in pixels.
        K: float64 [3, 3], intrinsics of the raw picture, pixels.
        D: float64 [n], distortion coefficients in the order of CameraInfo.
        R: float64 [3, 3], rectification rotation (CameraInfo.R).
        P: float64 [3, 4], projection matrix of the rectified picture (CameraInfo.P).
        distortion_model: plumb_bob, rational_polynomial or equidistant.
    """

    width: int
    height: int
    K: np.ndarray
    D: np.ndarray
    R: np.ndarray
    P: np.ndarray
    distortion_model: str
    _lens: Lens = field(repr=False)

    @classmethod
    def create(
        cls,
        width: int,
        height: int,
        K: Any,
        D: Any = (),
        R: Any = None,
        P: Any = None,
        distortion_model: str = 'plumb_bob',
    ) -> CameraModel:
        """Validate a calibration as it comes in a CameraInfo.

        Args:
            width, height: picture size in pixels.
            K: 9 numbers.
            D: coefficients; none or all zero means no distortion.
            R: 9 numbers; None or all zero means identity.
            P: 12 numbers; None or all zero means K without distortion.
            distortion_model: '' and 'none' mean no distortion, and then D must be zero.

        Raises:
            CameraModelError: naming what is wrong with the calibration.
        """
        if int(width) != width or int(height) != height or width < 1 or height < 1:
            raise CameraModelError(
                f'the camera calibration is for a picture of {width}x{height} pixels; '
                'width and height must be whole numbers of at least 1'
            )
        k_matrix = _intrinsics(K)
        d_vector = _array(D, 'D')
        lens = make_lens(distortion_model, d_vector)
        if distortion_model in ('', 'none'):
            distortion_model, d_vector = 'plumb_bob', np.zeros(0)
        r_matrix = _rectification(R)
        p_matrix = _projection(P, k_matrix)
        for array in (k_matrix, d_vector, r_matrix, p_matrix):
            array.setflags(write=False)
        return cls(
            int(width), int(height), k_matrix, d_vector, r_matrix, p_matrix, distortion_model, lens
        )

    def fingerprint(self) -> Hashable:
        """Return what identifies the calibration: equal for equal models, fit for a dict key."""
        arrays = (self.K, self.D, self.R, self.P)
        return (self.width, self.height, self.distortion_model, *(a.tobytes() for a in arrays))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraModel) and self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def scaled(self, width: int, height: int) -> CameraModel:
        """Return the model of the same picture resized to width x height pixels.

        A resize keeps the picture's edges, not the centres of its corner pixels, so
        u' = (u + 0.5) * width / self.width - 0.5, and v' likewise.

        Raises:
            CameraModelError: a size below 1.
        """
        if width < 1 or height < 1:
            raise CameraModelError(f'cannot scale a camera to {width}x{height} pixels')
        sx, sy = width / self.width, height / self.height
        resize = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
        return CameraModel.create(
            width, height, resize @ self.K, self.D, self.R, resize @ self.P, self.distortion_model
        )

    def rectified(self) -> CameraModel:
        """Return the model of the rectified picture (image_rect): K = P[:, :3], no distortion.

        Its optical frame is the rectified camera's own: the baseline that P[0, 3] of a stereo
        pair's right camera holds is dropped, since it belongs to the left camera's frame.
        """
        return CameraModel.create(self.width, self.height, self.P[:, :3])

    def inside(self, uv: np.ndarray) -> np.ndarray:
        """Return bool [N]: which pixel coordinates [N, 2] lie in the picture."""
        u, v = uv[:, 0], uv[:, 1]
        return (u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5)

    def project(self, points: np.ndarray, *, clip: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Project points in the optical frame (z ahead, x right, y down) into the raw picture.

        Args:
            points: float [N, 3], metres.
            clip: whether a point must also fall inside the picture to be valid.

        Returns:
            uv float64 [N, 2] in pixels (NaN where not valid), and valid bool [N]: the point
            is in front of the camera, the lens model still grows there, and (with ``clip``)
            the pixel is inside the picture.
        """
        points = np.asarray(points, np.float64).reshape(-1, 3)
        with np.errstate(all='ignore'):
            distorted, valid = self._lens.distort(points, _MIN_DEPTH)
            uv = distorted @ self.K[:2, :2].T + self.K[:2, 2]
            valid &= np.isfinite(uv).all(axis=1)
            if clip:
                valid &= self.inside(uv)
        uv[~valid] = np.nan
        return uv, valid

    def rays(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions from which pixels of the raw picture get their light.

        Args:
            uv: float [N, 2], pixels.

        Returns:
            rays float64 [N, 3], unit vectors in the optical frame (NaN where not valid), and
            valid bool [N]: the ray projects back onto the pixel within ``RAY_TOLERANCE``.
        """
        uv = np.asarray(uv, np.float64).reshape(-1, 2)
        with np.errstate(all='ignore'):
            distorted = np.linalg.solve(self.K[:2, :2], (uv - self.K[:2, 2]).T).T
            rays, valid = self._lens.undistort(distorted)
            back, projects = self.project(rays, clip=False)
            error = np.hypot(*(back - uv).T)
            valid &= projects & (error < RAY_TOLERANCE)
        rays[~valid] = np.nan
        return rays, valid


def _array(values: Any, name: str, size: int | None = None) -> np.ndarray:
    try:
        array = np.array([] if values is None else values, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise CameraModelError(f'{name} of the camera calibration is not numeric') from error
    if size is not None and array.size != size:
        raise CameraModelError(
            f'{name} of the camera calibration has {array.size} numbers, expected {size}'
        )
    if not np.isfinite(array).all():
        raise CameraModelError(
            f'{name} of the camera calibration holds NaN or infinity: {array.tolist()}; '
            'calibrate the camera again (camera_calibration)'
        )
    return array


def _intrinsics(values: Any) -> np.ndarray:
    matrix = _array(values, 'K', 9).reshape(3, 3)
    if matrix[0, 0] == 0:
        raise CameraModelError(
            'the camera is uncalibrated (K[0] is 0): run camera_calibration and give its file '
            'to the camera driver as camera_info_url'
        )
    if matrix[0, 0] < 0 or matrix[1, 1] <= 0:
        raise CameraModelError(
            f'focal lengths of K must be positive, got {matrix[0, 0]:g} and {matrix[1, 1]:g}'
        )
    if matrix[1, 0] != 0 or not np.allclose(matrix[2], (0, 0, 1)):
        raise CameraModelError(
            f'K must have the form [fx s cx; 0 fy cy; 0 0 1], got {matrix.tolist()}'
        )
    return matrix


def _rectification(values: Any) -> np.ndarray:
    if values is None or not np.any(values):
        return np.eye(3)
    matrix = _array(values, 'R', 9).reshape(3, 3)
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3) or np.linalg.det(matrix) < 0:
        raise CameraModelError(f'R of the camera calibration is no rotation: {matrix.tolist()}')
    return matrix


def _projection(values: Any, k_matrix: np.ndarray) -> np.ndarray:
    if values is None or not np.any(values):
        return np.column_stack([k_matrix, np.zeros(3)])
    matrix = _array(values, 'P', 12).reshape(3, 4)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise CameraModelError(
            f'focal lengths of P must be positive, got {matrix[0, 0]:g} and {matrix[1, 1]:g}; '
            'leave P all zero if the camera has no rectification'
        )
    return matrix
