"""How the robot moved: its pose at any stamp out of odometry's samples, and odometry's jumps."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum

import numpy as np

from seg_perception.core.errors import OdometryError

#: Stamps that are older than the newest by less than this were overtaken on their way; by more,
#: the clock has jumped back (seconds).
CLOCK_JUMP = 0.5
#: Seconds of silence after which a jump can no longer be told from motion.
BLIND = 1.0
#: m/s^2 and rad/s^2 by which a vehicle's motion can change between two samples.
_ACCELERATION, _ANGULAR_ACCELERATION = 15.0, 15.0
#: m/s and rad/s that a vehicle can have had where its speed is not known yet.
_SPEED, _ANGULAR_SPEED = 60.0, 6.0
#: A quaternion farther than this from length 1 was never normalised by its publisher.
QUATERNION_TOLERANCE = 1e-2


class Event(Enum):
    """What a sample of odometry brought."""

    GOOD = 'good'
    LATE = 'late'  # older than the newest: nothing new
    JUMP = 'jump'  # the robot cannot have moved so: what was known of the ground has shifted
    TIME_BACK = 'time back'  # the clock has been set back, or a bag loops
    GAP = 'gap'  # silent for so long that whether it jumped meanwhile can't be told


@dataclass(frozen=True)
class Motion:
    """Where the robot stood when an image was taken.

    Attributes:
        pose: float64 [4, 4], T_odom_base.
        frame_id: of the odometry.
    """

    pose: np.ndarray
    frame_id: str


@dataclass(frozen=True)
class MotionLimits:
    """When odometry's samples can be used.

    Attributes:
        max_gap: seconds between samples over which a pose is still interpolated, and for which
            it is extrapolated beyond the newest.
        jump_distance, jump_angle: m and rad by which a sample may differ from where the motion
            before it leads, beside what acceleration explains.
    """

    max_gap: float = 0.25
    jump_distance: float = 0.5
    jump_angle: float = 0.2

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value > 0):
                raise OdometryError(f'{item.name} must be a number above 0, got {value!r}')


@dataclass(frozen=True, order=True)
class Sample:
    """A pose at a time.

    Attributes:
        stamp: nanoseconds.
        position: float64 [3], m.
        rotation: float64 [4], unit quaternion x, y, z, w (geometry_msgs/Quaternion).
    """

    stamp: int
    position: np.ndarray = field(compare=False)
    rotation: np.ndarray = field(compare=False)

    @classmethod
    def create(cls, stamp: int, position: Sequence[float], rotation: Sequence[float]) -> Sample:
        """Check and normalise.

        Raises:
            OdometryError: not finite, or the quaternion is not of length 1.
        """
        p, q = np.array(position, np.float64), np.array(rotation, np.float64)
        if not (np.isfinite(p).all() and np.isfinite(q).all()):
            raise OdometryError('the pose holds NaN or infinity')
        length = float(np.linalg.norm(q))
        if abs(length - 1.0) > QUATERNION_TOLERANCE:
            raise OdometryError(f'the rotation is a quaternion of length {length:.3g}, not 1')
        return cls(stamp, p, q / length)

    def matrix(self) -> np.ndarray:
        """Return the pose as float64 [4, 4]."""
        pose = np.eye(4)
        pose[:3, :3] = rotation_matrix(self.rotation)
        pose[:3, 3] = self.position
        return pose


class PoseHistory:
    """The newest samples of odometry; gives the pose at a stamp between and shortly after them.

    Args:
        limits: see there.
        size: samples kept; 512 are 2.5 s at 200 Hz.
    """

    def __init__(self, limits: MotionLimits | None = None, size: int = 512) -> None:
        self.limits = limits or MotionLimits()
        self._samples: deque[Sample] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def newest(self) -> int | None:
        """Stamp of the newest sample, nanoseconds; None without one."""
        return self._samples[-1].stamp if self._samples else None

    def clear(self) -> None:
        """Forget all samples."""
        self._samples.clear()

    def add(self, sample: Sample) -> Event:
        """Take a sample; a jump, a step back or a long gap makes it the first of a new history."""
        if not self._samples:
            self._samples.append(sample)
            return Event.GOOD
        newest = self._samples[-1]
        if sample.stamp <= newest.stamp:
            if (newest.stamp - sample.stamp) / 1e9 < CLOCK_JUMP:
                return self._insert(sample)
            self._restart(sample)
            return Event.TIME_BACK
        if (sample.stamp - newest.stamp) / 1e9 > BLIND:
            self._restart(sample)
            return Event.GAP
        if self._jumps(sample):
            self._restart(sample)
            return Event.JUMP
        self._samples.append(sample)
        return Event.GOOD

    def at(self, stamp: int) -> np.ndarray:
        """Return the pose at a stamp (nanoseconds), float64 [4, 4].

        Between samples it is interpolated, beyond the newest it goes on at the same speed.

        Raises:
            OdometryError: before the oldest sample, in a gap, or too long after the newest.
        """
        if not self._samples:
            raise OdometryError('no odometry has come yet')
        i = bisect_left(self._samples, stamp, key=lambda s: s.stamp)
        if i == len(self._samples):
            return self._beyond(stamp)
        after = self._samples[i]
        if after.stamp == stamp:
            return after.matrix()
        if i == 0:
            raise OdometryError(
                f'the oldest odometry is {(after.stamp - stamp) / 1e9:.2f} s younger than the '
                'image'
            )
        before = self._samples[i - 1]
        gap = (after.stamp - before.stamp) / 1e9
        if gap > self.limits.max_gap:
            raise OdometryError(
                f'odometry had a gap of {gap:.2f} s at the image, more than '
                f'{self.limits.max_gap:g} s'
            )
        return between(before, after, (stamp - before.stamp) / (after.stamp - before.stamp))

    def _beyond(self, stamp: int) -> np.ndarray:
        newest = self._samples[-1]
        late = (stamp - newest.stamp) / 1e9
        if late > self.limits.max_gap:
            raise OdometryError(
                f'the newest odometry is {late:.2f} s older than the image, more than '
                f'{self.limits.max_gap:g} s'
            )
        return self._extrapolated(stamp)

    @property
    def _moving(self) -> bool:
        """Whether the last two samples tell a speed."""
        if len(self._samples) < 2:
            return False
        return (self._samples[-1].stamp - self._samples[-2].stamp) / 1e9 <= self.limits.max_gap

    def _extrapolated(self, stamp: int) -> np.ndarray:
        """Return the pose after the newest sample, at the speed of the last two."""
        newest = self._samples[-1]
        if not self._moving:
            return newest.matrix()
        before = self._samples[-2]
        return between(before, newest, (stamp - before.stamp) / (newest.stamp - before.stamp))

    def _insert(self, sample: Sample) -> Event:
        """Keep a sample that was overtaken; one that is there already is not taken twice."""
        i = bisect_left(self._samples, sample.stamp, key=lambda s: s.stamp)
        if self._samples[i].stamp != sample.stamp and len(self._samples) < (
            self._samples.maxlen or 0
        ):
            insort(self._samples, sample)
        return Event.LATE

    def _restart(self, sample: Sample) -> None:
        self._samples.clear()
        self._samples.append(sample)

    def _jumps(self, sample: Sample) -> bool:
        elapsed = (sample.stamp - self._samples[-1].stamp) / 1e9
        expected = self._extrapolated(sample.stamp)
        moved = float(np.linalg.norm(sample.position - expected[:3, 3]))
        turned = _angle(expected[:3, :3].T @ rotation_matrix(sample.rotation))
        if self._moving:
            distance = 0.5 * _ACCELERATION * elapsed**2
            angle = 0.5 * _ANGULAR_ACCELERATION * elapsed**2
        else:
            distance, angle = _SPEED * elapsed, _ANGULAR_SPEED * elapsed
        limits = self.limits
        return moved > limits.jump_distance + distance or turned > limits.jump_angle + angle


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return float64 [3, 3] of a unit quaternion x, y, z, w."""
    x, y, z, w = (float(value) for value in quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def turned_back(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the quaternion of the rotation a after the inverse of b, float64 [4] x, y, z, w."""
    v, w = a[:3], a[3]
    u, r = -b[:3], b[3]
    return np.array([*(w * u + r * v + np.cross(v, u)), w * r - v @ u])


def tilt_of(rotation: np.ndarray) -> tuple[float, float]:
    """Return (roll, pitch) in radians of a rotation [3, 3], fixed axes, roll first (REP 103).

    Pitch > 0 is nose down, roll > 0 leans right.
    """
    pitch = math.asin(min(1.0, max(-1.0, -float(rotation[2, 0]))))
    return math.atan2(float(rotation[2, 1]), float(rotation[2, 2])), pitch


def tilted(pose: np.ndarray, roll: float, pitch: float) -> np.ndarray:
    """Return a pose [4, 4] in the robot's frame as seen from that frame when it stands level.

    The robot leans by roll and pitch (as :func:`tilt_of` gives them) about its frame's origin.
    """
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    lean = np.eye(4)
    lean[:3, :3] = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array(
        [[1, 0, 0], [0, cr, -sr], [0, sr, cr]]
    )
    return lean @ pose


def between(a: Sample, b: Sample, share: float) -> np.ndarray:
    """Return the pose at a share of the way from a to b (above 1: beyond b), float64 [4, 4]."""
    rotation = _slerp(a.rotation, b.rotation, share)
    return Sample(0, a.position + share * (b.position - a.position), rotation).matrix()


def _slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Shoemake, "Animating rotation with quaternion curves", 1985."""
    cosine = float(a @ b)
    if cosine < 0.0:  # q and -q are the same rotation: take the shorter way
        b, cosine = -b, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-6:
        mixed = a + share * (b - a)
    else:
        mixed = math.sin((1.0 - share) * angle) * a + math.sin(share * angle) * b
    return mixed / np.linalg.norm(mixed)


def _angle(rotation: np.ndarray) -> float:
    """Return by how much a rotation [3, 3] turns, radians."""
    return math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1.0) / 2.0)))
