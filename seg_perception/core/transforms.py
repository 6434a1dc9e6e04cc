"""Rigid transforms between named frames over time: what tf2 answers, from a recording."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np

from seg_perception.core.errors import ExtrinsicsError, OdometryError
from seg_perception.core.motion import Sample, between

_MAX_DEPTH = 100


@dataclass
class _Edge:
    """Poses of a child frame in its parent, sorted by time; one for ever where static."""

    parent: str
    static: bool
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        if self.static:
            self.samples = [sample]
        elif not self.samples or sample.stamp > self.samples[-1].stamp:
            self.samples.append(sample)
        else:
            at = bisect.bisect_left(self.samples, sample)
            same = self.samples[at].stamp == sample.stamp
            self.samples[at : at + same] = [sample]

    def at(self, stamp_ns: int, child: str) -> np.ndarray:
        """Return the pose as float64 [4, 4]; between two samples interpolated, as in tf2."""
        samples = self.samples
        if self.static or stamp_ns == 0:
            return samples[-1].matrix()
        after = bisect.bisect_left(samples, stamp_ns, key=lambda sample: sample.stamp)
        if after < len(samples) and samples[after].stamp == stamp_ns:
            return samples[after].matrix()
        if after in (0, len(samples)):
            nearest = samples[0 if after == 0 else -1].stamp
            where = 'before the first' if after == 0 else 'after the last'
            raise ExtrinsicsError(
                f"the transform from '{child}' to '{self.parent}' is not known: asked for "
                f'{abs(nearest - stamp_ns) / 1e9:.3f} s {where} of its recorded samples'
            )
        a, b = samples[after - 1], samples[after]
        return between(a, b, (stamp_ns - a.stamp) / (b.stamp - a.stamp))


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
        if not parent or not child or parent == child:
            raise ExtrinsicsError(f'{frames} needs two different frames')
        try:
            sample = Sample.create(stamp_ns, translation, rotation)
        except OdometryError as error:
            raise ExtrinsicsError(f'{frames}: {error}: mend what publishes it') from error
        edge = self._edges.get(child)
        if edge is None:
            edge = self._edges[child] = _Edge(parent, static)
        if edge.parent != parent:
            raise ExtrinsicsError(
                f"'{child}' has two parents, '{edge.parent}' and '{parent}': the first is kept"
            )
        edge.add(sample)

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


def _inverse(pose: np.ndarray) -> np.ndarray:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse
