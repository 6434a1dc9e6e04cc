"""Whether a picture can show the ground at all: night, glare, a covered lens, an unsure network.

A network is no judge of its own input: the embedded model is surer of an even grey picture, a
lens full of mud, than of a street. So the picture's own statistics are judged beside the
confidence. The limits lie outside what the street pictures of four public data sets (camvid,
idd_lite, lums_road, udacity) and all but the oddest photographs show.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

import cv2
import numpy as np

from seg_perception.core.errors import ImageError

#: Statistics are of the picture at this (width, height): the same detail for any camera.
SIZE = (160, 90)
#: Luminance from which a pixel counts as saturated: what jpeg leaves of 255.
SATURATED = 250
#: A fault is over only when the picture is better than its limit by this share: one that hovers
#: about a limit would switch with every frame.
RELIEF = 0.2


class Fault(str, Enum):
    """Why a picture is not to be believed."""

    DARK = 'dark'
    GLARE = 'glare'
    COVERED = 'covered'
    BLURRED = 'blurred'
    UNSURE = 'unsure'


@dataclass(frozen=True)
class QualityLimits:
    """What a picture must have at least (at most) to be believed.

    Attributes:
        min_highlight: 0..255; luminance of the brightest twentieth. Below it is night without
            light.
        max_saturated: 0..1; share of saturated pixels in the lower half, where the ground is.
        min_contrast: 0..255; between the darkest and the brightest twentieth. Below it the lens
            is covered, or in fog.
        min_detail: 0..255; luminance step of the sharpest hundredth of pixels. Below it the
            lens is dirty, wet or out of focus.
        min_confidence: 0..1; the network's mean confidence.
        recovery: seconds for which all must be well before a fault is over.
    """

    min_highlight: float = 40.0
    max_saturated: float = 0.4
    min_contrast: float = 30.0
    min_detail: float = 12.0
    min_confidence: float = 0.45
    recovery: float = 0.5

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value >= 0):
                raise ImageError(f'{item.name} must be a number of at least 0, got {value!r}')


@dataclass(frozen=True)
class PictureStatistics:
    """What is measured of a picture; luminance 0..255.

    Attributes:
        mean: luminance.
        shadow, highlight: luminance of the darkest and the brightest twentieth.
        saturated: 0..1, share of the lower half.
        detail: luminance step between neighbours of the sharpest hundredth.
        confidence: 0..1, mean of the mask's.
        fingerprint: equal for equal pictures; the noise of a real camera never repeats itself.
    """

    mean: float
    shadow: float
    highlight: float
    saturated: float
    detail: float
    confidence: float
    fingerprint: int

    @property
    def contrast(self) -> float:
        return self.highlight - self.shadow


def measure(
    pixels: np.ndarray, color: str = 'rgb', confidence: np.ndarray | None = None
) -> PictureStatistics:
    """Measure a picture, in 0.4 ms at 1280x720.

    Args:
        pixels: uint8 [H, W, 3].
        color: order of its channels, 'rgb' or 'bgr'.
        confidence: uint8 [h, w] of the mask made from it, 0..255 = 0..1; None counts as 1.

    Raises:
        ImageError: the picture is of another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ImageError(
            f'a picture must be uint8 [height, width, 3], got {pixels.dtype} {list(pixels.shape)}'
        )
    # Nearest first: averaging all pixels of a large picture would cost 5 ms.
    double = (2 * SIZE[0], 2 * SIZE[1])
    small = cv2.resize(pixels, double, interpolation=cv2.INTER_NEAREST)
    code = cv2.COLOR_RGB2GRAY if color == 'rgb' else cv2.COLOR_BGR2GRAY
    grey = cv2.resize(cv2.cvtColor(small, code), SIZE, interpolation=cv2.INTER_AREA)
    histogram = np.bincount(grey.ravel(), minlength=256)
    lower = grey[SIZE[1] // 2 :]
    here = grey[:-1, :-1]
    steps = np.maximum(cv2.absdiff(grey[:-1, 1:], here), cv2.absdiff(grey[1:, :-1], here))
    return PictureStatistics(
        mean=float(histogram @ np.arange(256)) / grey.size,
        shadow=_percentile(histogram, 0.05),
        highlight=_percentile(histogram, 0.95),
        saturated=np.count_nonzero(lower >= SATURATED) / lower.size,
        detail=_percentile(np.bincount(steps.ravel(), minlength=256), 0.99),
        confidence=1.0 if confidence is None else float(cv2.mean(confidence)[0]) / 255.0,
        fingerprint=zlib.crc32(small.data),
    )


def _percentile(histogram: np.ndarray, share: float) -> float:
    cumulative = np.cumsum(histogram)
    return float(np.searchsorted(cumulative, share * cumulative[-1]))


def judge(
    statistics: PictureStatistics, limits: QualityLimits, relief: float = 0.0
) -> dict[Fault, str]:
    """Say what is wrong with a picture.

    Args:
        statistics: of the picture.
        limits: what it must have.
        relief: 0..1, by how much better than the limits it must be.

    Returns:
        For each fault, numbers in words. A dark picture has neither contrast nor detail, so it
        is called dark alone; likewise one with glare, and one that is covered.
    """
    more, less = 1.0 + relief, 1.0 - relief
    s = statistics
    found: dict[Fault, str] = {}
    if s.highlight < limits.min_highlight * more:
        found[Fault.DARK] = f'its brightest part has a luminance of {s.highlight:.0f} of 255'
    elif s.saturated > limits.max_saturated * less:
        found[Fault.GLARE] = f'{s.saturated:.0%} of its lower half is saturated'
    elif s.contrast < limits.min_contrast * more:
        found[Fault.COVERED] = f'its contrast is {s.contrast:.0f} of 255'
    elif s.detail < limits.min_detail * more:
        found[Fault.BLURRED] = f'its sharpest edges are steps of {s.detail:.0f} of 255'
    if s.confidence < limits.min_confidence * more:
        found[Fault.UNSURE] = f"the network's mean confidence is {s.confidence:.0%}"
    return found


class QualityMonitor:
    """Judges picture after picture, with hysteresis.

    A fault counts from its first frame on: one false free cell is worse than one lost frame. It
    is over when pictures have been better than the limits by RELIEF for ``recovery`` seconds.

    Args:
        limits: what pictures must have.
    """

    def __init__(self, limits: QualityLimits | None = None) -> None:
        self.limits = limits or QualityLimits()
        self._faults: dict[Fault, str] = {}
        self._well_since: float | None = None

    @property
    def faults(self) -> Mapping[Fault, str]:
        """The faults now in force, each with its numbers."""
        return self._faults

    def reset(self) -> None:
        """Forget the pictures judged so far."""
        self._faults = {}
        self._well_since = None

    def update(self, statistics: PictureStatistics, now: float) -> Mapping[Fault, str]:
        """Judge the next picture.

        Args:
            statistics: of the picture.
            now: seconds of any clock that goes on.

        Returns:
            The faults in force, empty when the picture can be believed.
        """
        # Where nothing is wrong the plain limits count; where something is, the stricter ones.
        found = judge(statistics, self.limits, RELIEF if self._faults else 0.0)
        if found:
            self._faults, self._well_since = found, None
        elif self._faults:
            if self._well_since is None or now < self._well_since:
                self._well_since = now
            if now - self._well_since >= self.limits.recovery:
                self.reset()
        return self._faults


class FreezeWatch:
    """Tells a camera that shows the same picture although the robot moves.

    Some drivers repeat the last picture, with fresh stamps, when the sensor has gone.
    """

    def __init__(self) -> None:
        self._fingerprint: int | None = None
        self._since = np.zeros(3)

    def reset(self) -> None:
        """Forget the pictures so far: the robot's position has jumped."""
        self._fingerprint = None

    def moved(self, fingerprint: int, position: np.ndarray) -> float:
        """Return how far the robot has moved under this very picture.

        Args:
            fingerprint: of the newest picture.
            position: float [3], m, in a frame that stays where it is.
        """
        if fingerprint != self._fingerprint:
            self._fingerprint, self._since = fingerprint, np.array(position, np.float64)
        return float(np.linalg.norm(position - self._since))
