"""Where the things of a scene stand: their outlines on the ground."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from seg_perception.simulation.mesh import pose
from seg_perception.simulation.people import cyclist_mesh, pedestrian_mesh, stride_phase
from seg_perception.simulation.scene import Building, Mover, Scene, mover_pose
from seg_perception.simulation.vehicles import vehicle_outline

_RADII = {
    'lamp': 0.1,
    'post': 0.14,
    'sign': 0.05,
    'light': 0.08,
    'bollard': 0.1,
    'bin': 0.3,
    'tree': 0.24,
    'bare_tree': 0.15,
    'far_tree': 0.24,
}
_THICKNESS = {'hedge': 0.7, 'wall': 0.24, 'planks': 0.04, 'railing': 0.04}


def footprints(scene: Scene, time: float) -> list[np.ndarray]:
    """Return what stands on the ground at a time: convex polygons [n,2] in the world, m.

    A vehicle's or person's footprint is its outline seen from straight above (without mirrors):
    what a planner must not touch. Other overhanging parts (crowns, lamp arms, awnings) are none.
    """
    found = [_building(scene, b) for b in scene.buildings]
    for prop in scene.props:
        x, y, _ = (float(v) for v in scene.road.at(prop.s, prop.t))
        angle = np.linspace(0, 2 * np.pi, 9)[:-1]
        radius = _RADII[prop.kind] * prop.scale
        found.append(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1))
    for b in scene.barriers:
        out = 1 if b.t > 0 else -1
        for s in np.arange(b.s0, b.s1, 2.0):
            end = min(s + 2.0, b.s1)
            found.append(scene.road.polygon(s, end, b.t, b.t + out * _THICKNESS[b.kind]))
    for mover in scene.movers:
        where, _ = mover_pose(scene, mover, time)
        if where is not None:
            outline = _mover_outline(mover, time) * mover.scale
            found.append(outline @ where[:2, :2].T + where[:2, 3])
    return found


def _building(scene: Scene, b: Building) -> np.ndarray:
    x, y, heading = (float(v) for v in scene.road.at(b.s, b.t))
    turn = pose(x, y, 0, heading + (0 if b.side > 0 else np.pi))
    corner = np.array([[-1, 0], [1, 0], [1, 2], [-1, 2]]) * (b.width / 2, b.depth / 2)
    return corner @ turn[:2, :2].T + turn[:2, 3]


def _mover_outline(mover: Mover, time: float) -> np.ndarray:
    """Return the convex outline [n,2] of a mover in its own frame, m, at scale 1."""
    if mover.kind == 'vehicle':
        return vehicle_outline(mover.variant)
    return _figure_outline(mover.kind, mover.variant, stride_phase(mover, time))


@lru_cache(maxsize=512)
def _figure_outline(kind: str, variant: int, phase: int) -> np.ndarray:
    mesh = (cyclist_mesh if kind == 'cyclist' else pedestrian_mesh)(variant, phase)
    return cv2.convexHull(np.ascontiguousarray(mesh.all_points()[:, :2]))[:, 0]
