"""Rigid transforms between named frames over time: what tf2 answers, from a recording."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

import numpy as np

from seg_perception.core.errors import ExtrinsicsError

#: A quaternion farther than this from length 1 was never normalised by its publisher.
QUATERNION_TOLERANCE = 1e-2
_MAX_DEPTH = 100


@dataclass
class _Edge:
    """Poses of a child frame in its parent, sorted by time; one for ever where static."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[tuple[float, ...]] = field(default_factory=list)  # x y z, qx qy qz qw

    def add(self, stamp_ns: int, pose: tuple[float, ...]) -> None:
        if self.static:
            self.stamps, self.poses = [stamp_ns], [pose]
            return
        if not self.stamps or stamp_ns > self.stamps[-1]:
            self.stamps.append(stamp_ns)
            self.poses.append(pose)
            return
        at = bisect.bisect_left(self.stamps, stamp_ns)
        if self.stamps[at] == stamp_ns:
            self.poses[at] = pose
        else:
            self.stamps.insert(at, stamp_ns)
            self.poses.insert(at, pose)

    def at(self, stamp_ns: int, child: str) -> np.ndarray:
        """Return the pose as float64 [4, 4]; between two samples interpolated, as in tf2."""
        if self.static or stamp_ns == 0:
            return _matrix(self.poses[-1])
        after = bisect.bisect_left(self.stamps, stamp_ns)
        if after < len(self.stamps) and self.stamps[after] == stamp_ns:
            return _matrix(self.poses[after])
        if after == 0 or after == len(self.stamps):
            side = self.stamps[0] - stamp_ns if after == 0 else stamp_ns - self.stamps[-1]
            where = 'before the first' if after == 0 else 'after the last'
            raise ExtrinsicsError(
                f"the transform from '{child}' to '{self.parent}' is not known: asked for "
                f'{side / 1e9:.3f} s {where} of its recorded samples'
            )
        before = after - 1
        share = (stamp_ns - self.stamps[before]) / (self.stamps[after] - self.stamps[before])
        return _matrix(_between(self.poses[before], self.poses[after], share))


class TransformTree:
    """Transforms between frames, looked up at a time (REP 105 frames, tf2's rules).

    A static transform holds for ever; a moving one between its first and last sample:
    translation is interpolated linearly, rotation along the great circle. Outside of that
    nothing is made up.
    """

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def __len__(self) -> int:
        return len(self._edges)

    @property
    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        return sorted({*self._edges, *(edge.parent for edge in self._edges.values())})

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: tuple[float, float, float],
        rotation: tuple[float, float, float, float],
        *,
        static: bool = False,
    ) -> None:
        """Add one sample.

        Args:
            parent, child: frames; the pose is the child's in the parent.
            stamp_ns: of the sample.
            translation: x, y, z, m.
            rotation: quaternion x, y, z, w of length 1.
            static: holds for ever.

        Raises:
            ExtrinsicsError: not finite, no unit quaternion, a frame in itself, or a frame that
                was given another parent before.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        frames = f"the transform from '{child}' to '{parent}'"
        pose = (*map(float, translation), *map(float, rotation))
        if not parent or not child or parent == child:
            raise ExtrinsicsError(f'{frames} needs two different frames')
        if not all(math.isfinite(value) for value in pose):
            raise ExtrinsicsError(f'{frames} holds NaN or infinity: mend what publishes it')
        length = math.sqrt(sum(value * value for value in pose[3:]))
        if abs(length - 1.0) > QUATERNION_TOLERANCE:
            raise ExtrinsicsError(
                f'{frames} has a quaternion of length {length:.3g}, not 1: mend what publishes it'
            )
        edge = self._edges.get(child)
        if edge is None:
            edge = self._edges[child] = _Edge(parent, static)
        if edge.parent != parent:
            raise ExtrinsicsError(
                f"'{child}' has two parents, '{edge.parent}' and '{parent}': the first is kept"
            )
        edge.add(stamp_ns, (*pose[:3], *(value / length for value in pose[3:])))

    def has_parent(self, frame: str) -> bool:
        """Whether the frame's pose in another one was given."""
        return frame in self._edges

    def knows(self, target: str, source: str) -> bool:
        """Whether the two frames are connected, at whatever time."""
        mine, other = self._ancestors(source.lstrip('/')), self._ancestors(target.lstrip('/'))
        return bool(set(mine) & set(other)) and {target.lstrip('/'), source.lstrip('/')} <= set(
            self.frames
        )

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """Return T_target_source float64 [4, 4]: takes points of the source frame to the target.

        Args:
            target, source: frames.
            stamp_ns: when; 0 = the newest there is of each transform.

        Raises:
            ExtrinsicsError: a frame is unknown, they are not connected, or not at that time.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        if target == source:
            return np.eye(4)
        if not self.knows(target, source):
            raise ExtrinsicsError(
                f"no transform from '{source}' to '{target}'; known frames: "
                f'{", ".join(self.frames) or "none"}'
            )
        up, down = self._ancestors(source), self._ancestors(target)
        common = next(frame for frame in up if frame in down)
        from_source = self._climb(up[: up.index(common)], stamp_ns)
        from_target = self._climb(down[: down.index(common)], stamp_ns)
        return _inverse(from_target) @ from_source

    def _ancestors(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        chain = [frame]
        while chain[-1] in self._edges and len(chain) < _MAX_DEPTH:
            chain.append(self._edges[chain[-1]].parent)
            if chain[-1] in chain[:-1]:
                raise ExtrinsicsError(f"the transforms go in a circle at '{chain[-1]}'")
        return chain

    def _climb(self, chain: list[str], stamp_ns: int) -> np.ndarray:
        """Pose of the chain's first frame in the parent of its last."""
        pose = np.eye(4)
        for frame in chain:
            pose = self._edges[frame].at(stamp_ns, frame) @ pose
        return pose


def _between(a: tuple[float, ...], b: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Interpolate two poses: translation linearly, rotation by slerp."""
    translation = tuple(p + share * (q - p) for p, q in zip(a[:3], b[:3], strict=True))
    p, q = np.array(a[3:]), np.array(b[3:])
    cosine = float(p @ q)
    if cosine < 0:  # q and -q are one rotation: take the short way
        q, cosine = -q, -cosine
    if cosine > 0.9995:
        mixed = p + share * (q - p)
    else:
        angle = math.acos(cosine)
        mixed = (math.sin((1 - share) * angle) * p + math.sin(share * angle) * q) / math.sin(angle)
    mixed = mixed / np.linalg.norm(mixed)
    return (*translation, *map(float, mixed))


def _matrix(pose: tuple[float, ...]) -> np.ndarray:
    x, y, z, w = pose[3:]
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = pose[:3]
    return matrix


def _inverse(pose: np.ndarray) -> np.ndarray:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse
