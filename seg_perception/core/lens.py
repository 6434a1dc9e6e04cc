"""Lens models: ray direction <-> position on the normalised image plane (unit focal length).

The formulas are OpenCV's (calib3d for plumb_bob and rational_polynomial, J. Kannala and
S. Brandt's model of the fisheye module for equidistant), restricted to where they can be
inverted: a polynomial that stops growing folds back, and from there on two rays share a pixel.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.polynomial import polynomial as poly

from seg_perception.core.errors import CameraModelError

_TABLE_SIZE = 2048  # starting points for Newton's method, which needs 2..4 steps from them
_NEWTON_STEPS = 15
_NEWTON_DONE = 1e-10
_WIDEST = 200.0  # tan of the widest angle looked at; a wider one needs an equidistant model


class Lens(Protocol):
    """Both directions of a lens; arrays are float64."""

    def distort(self, points: np.ndarray, min_depth: float) -> tuple[np.ndarray, np.ndarray]:
        """Points [N, 3] in the optical frame -> positions [N, 2], valid bool [N]."""

    def undistort(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions [N, 2] -> unit rays [N, 3], valid bool [N]. The caller checks closeness."""


def make_lens(model: str, coefficients: np.ndarray) -> Lens:
    """Choose the lens for CameraInfo's distortion_model and D.

    Raises:
        CameraModelError: unknown model, or a number of coefficients that it doesn't have.
    """
    lengths = {'plumb_bob': (0, 4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
    if model in ('', 'none'):
        if coefficients.any():
            raise CameraModelError(
                f'the calibration has distortion coefficients but distortion_model {model!r}; '
                f'set it to one of {", ".join(lengths)}'
            )
        return PinholeLens()
    if model not in lengths:
        raise CameraModelError(f'unknown distortion_model {model!r}; known: {", ".join(lengths)}')
    if coefficients.size not in lengths[model]:
        raise CameraModelError(
            f'D of a {model} camera must have {" or ".join(map(str, lengths[model]))} '
            f'coefficients, got {coefficients.size}'
        )
    if model == 'equidistant':
        return EquidistantLens(coefficients)
    if not coefficients.any():
        return PinholeLens()
    if coefficients[12:].any():
        raise CameraModelError(
            'D holds a tilted sensor (coefficients 13 and 14), which is not supported: '
            'calibrate without CALIB_TILTED_MODEL or use the rectified picture'
        )
    return PolynomialLens(coefficients)


class PinholeLens:
    """No distortion."""

    def distort(self, points: np.ndarray, min_depth: float) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        return points[:, :2] / points[:, 2:], points[:, 2] > min_depth

    def undistort(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        return _unit(positions), np.isfinite(positions).all(axis=1)


class PolynomialLens:
    """plumb_bob and rational_polynomial, with thin prism terms where D has 12 numbers.

    Args:
        coefficients: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]].
    """

    def __init__(self, coefficients: np.ndarray) -> None:
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = np.append(coefficients, np.zeros(12))[:12]
        self._above = np.array([1.0, k1, k2, k3])
        self._below = np.array([1.0, k4, k5, k6])
        self._tangential = p1, p2
        self._prism = s1, s2, s3, s4

    def distort(self, points: np.ndarray, min_depth: float) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        plane = points[:, :2] / points[:, 2:]
        in_front = points[:, 2] > min_depth
        return self._forward(plane), in_front & (np.hypot(*plane.T) < self.limit)

    def undistort(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        radii, grown = self._table
        distance = np.hypot(*positions.T)
        guess = np.interp(distance, grown, radii) / np.where(distance > 0, distance, 1.0)
        plane = positions * guess[:, None]
        active = np.arange(len(plane))
        for _ in range(_NEWTON_STEPS):
            error = self._forward(plane[active]) - positions[active]
            a, b, c, d = self._jacobian(plane[active])
            step = (
                np.column_stack(
                    [d * error[:, 0] - b * error[:, 1], a * error[:, 1] - c * error[:, 0]]
                )
                / (a * d - b * c)[:, None]
            )
            plane[active] -= step
            active = active[np.abs(step).max(axis=1, initial=0) > _NEWTON_DONE]
            if not active.size:
                break
        return _unit(plane), np.isfinite(plane).all(axis=1)

    @cached_property
    def limit(self) -> float:
        """Distance from the axis (tan of the angle) up to which the lens can be inverted.

        The radial part folds at the first root of its derivative (or pole); the tangential
        part moves that a little, by direction, so the Jacobian's sign is looked at as well.
        """
        slope = poly.polysub(
            poly.polymul(
                poly.polyadd(self._above, 2 * poly.polymulx(poly.polyder(self._above))),
                self._below,
            ),
            2 * poly.polymulx(poly.polymul(self._above, poly.polyder(self._below))),
        )
        squares = [_first_root(slope), _first_root(self._below)]
        radial = float(np.sqrt(min(squares)))
        if not any(self._tangential) and not any(self._prism):
            return radial
        radii = np.geomspace(1e-2, min(radial, _WIDEST), 256)
        turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        plane = (radii[:, None, None] * np.stack([np.cos(turns), np.sin(turns)], -1)).reshape(
            -1, 2
        )
        a, b, c, d = self._jacobian(plane)
        folded = ((a * d - b * c) <= 0).reshape(len(radii), -1).any(axis=1)
        return float(radii[max(int(folded.argmax()) - 1, 0)]) if folded.any() else radial

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Radii and what the radial part makes of them, growing."""
        end = min(self.limit, _WIDEST)
        radii = np.concatenate([np.linspace(0, min(end, 4.0), _TABLE_SIZE), [end]])
        grown = radii * poly.polyval(radii**2, self._above) / poly.polyval(radii**2, self._below)
        return radii, np.maximum.accumulate(grown)

    def _forward(self, plane: np.ndarray) -> np.ndarray:
        x, y = plane.T
        s = x * x + y * y
        p1, p2 = self._tangential
        s1, s2, s3, s4 = self._prism
        radial = poly.polyval(s, self._above) / poly.polyval(s, self._below)
        return np.column_stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x) + s * (s1 + s2 * s),
                y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y + s * (s3 + s4 * s),
            ]
        )

    def _jacobian(self, plane: np.ndarray) -> tuple[np.ndarray, ...]:
        """Rows of the derivative of ``_forward``: d(x'')/dx, d(x'')/dy, d(y'')/dx, d(y'')/dy."""
        x, y = plane.T
        s = x * x + y * y
        p1, p2 = self._tangential
        s1, s2, s3, s4 = self._prism
        above, below = poly.polyval(s, self._above), poly.polyval(s, self._below)
        radial = above / below
        slope = poly.polyval(s, poly.polyder(self._above)) / below
        slope = slope - above * poly.polyval(s, poly.polyder(self._below)) / below**2
        mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        prism_x, prism_y = 2 * (s1 + 2 * s2 * s), 2 * (s3 + 2 * s4 * s)
        return (
            radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x + x * prism_x,
            mixed + y * prism_x,
            mixed + x * prism_y,
            radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x + y * prism_y,
        )


class EquidistantLens:
    """Fisheye: distance on the image plane = theta (1 + k1 theta^2 + ... + k4 theta^8).

    Rays at and beyond 90 degrees from the axis are ordinary here.
    """

    def __init__(self, coefficients: np.ndarray) -> None:
        self._growth = np.zeros(10)
        self._growth[1] = 1.0
        self._growth[3::2] = coefficients
        self._slope = poly.polyder(self._growth)

    def distort(self, points: np.ndarray, min_depth: float) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        off_axis = np.hypot(points[:, 0], points[:, 1])
        angle = np.arctan2(off_axis, points[:, 2])
        grown = poly.polyval(angle, self._growth)
        scale = np.where(off_axis > 0, grown / np.where(off_axis > 0, off_axis, 1.0), 0.0)
        far_enough = np.hypot(off_axis, points[:, 2]) > min_depth
        return points[:, :2] * scale[:, None], far_enough & (angle < self.limit)

    def undistort(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Lens`."""
        angles = np.linspace(0, self.limit, _TABLE_SIZE)
        distance = np.hypot(*positions.T)
        angle = np.interp(distance, poly.polyval(angles, self._growth), angles)
        for _ in range(_NEWTON_STEPS):
            step = (poly.polyval(angle, self._growth) - distance) / poly.polyval(
                angle, self._slope
            )
            angle = np.clip(angle - step, 0, self.limit)
            if not (np.abs(step) > _NEWTON_DONE).any():
                break
        sideways = np.sin(angle) / np.where(distance > 0, distance, 1.0)
        rays = np.column_stack([positions * sideways[:, None], np.cos(angle)])
        return rays, np.isfinite(rays).all(axis=1)

    @cached_property
    def limit(self) -> float:
        """Angle from the axis in radians up to which the lens can be inverted."""
        return min(float(np.sqrt(_first_root(self._slope[::2]))), np.pi)


def _first_root(coefficients: np.ndarray) -> float:
    """Return the smallest positive real root of a polynomial (lowest power first), else inf."""
    roots = poly.polyroots(poly.polytrim(coefficients, tol=1e-30))
    real = roots.real[(np.abs(roots.imag) < 1e-9 * np.maximum(1, np.abs(roots.real)))]
    positive = real[real > 0]
    return float(positive.min()) if positive.size else np.inf


def _unit(plane: np.ndarray) -> np.ndarray:
    """Positions [N, 2] at depth 1 -> unit vectors [N, 3]."""
    rays = np.column_stack([plane, np.ones(len(plane))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
