"""Sun shadows on the ground: what stands, projected along the light and drawn in the picture."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.simulation.mesh import pose
from seg_perception.simulation.road import KERB_HEIGHT
from seg_perception.simulation.scene import Mover, Scene, mover_pose
from seg_perception.simulation.vehicle_textures import OUTLINES

REACH = 130.0
"""Shadows farther from the camera than this, m, are left out: they cover a few pixels."""
_NEAR = 0.3


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


class Shadows:
    """Convex shadow polygons of a scene on the ground plane."""

    def __init__(self, scene: Scene):
        self.scene = scene
        light = scene.light
        self.active = light.sun > 0.05
        sun = light.direction
        self._lean = -sun[:2] / max(sun[2], 0.2)
        self._static: list[np.ndarray] = []
        if self.active:
            self._cast_static()
        self._outlines = _Outlines(self._static)

    def _cast(self, points: np.ndarray) -> np.ndarray:
        """Return the shadow polygon [n,2] of points [m,3]."""
        return _hull(points[:, :2] + points[:, 2:3] * self._lean)

    def _cast_static(self) -> None:
        road = self.scene.road
        for b in self.scene.buildings:
            x, y, heading = road.at(b.s, b.t)
            turn = pose(x, y, 0, float(heading) + (0 if b.side > 0 else np.pi))
            w, top = b.width / 2, b.height + (0.9 if b.roof == 'flat' else 0)
            local = [(u, v, z) for u in (-w, w) for v in (0, b.depth) for z in (0, top)]
            if b.roof != 'flat':
                ridge = b.height + b.depth * 0.32
                local += [(-w, b.depth / 2, ridge), (w, b.depth / 2, ridge)]
            self._static.append(self._cast(_move(np.array(local), turn)))
        for p in self.scene.props:
            x, y, heading = road.at(p.s, p.t)
            if abs(p.t) > 34:
                continue
            yaw = float(heading) + (0.0 if p.t > 0 else np.pi)
            turn = pose(x, y, 0, yaw, p.scale)
            for local in _prop_points(p.kind, p.variant):
                self._static.append(self._cast(_move(local, turn)))
        for b in self.scene.barriers:
            s = np.arange(b.s0, b.s1, 4.0)
            for a, c in zip(s, np.append(s[1:], b.s1), strict=True):
                x, y, _ = road.at(np.array([a, c]), b.t)
                flat = np.stack([x, y], axis=1)
                points = np.concatenate(
                    [np.column_stack([flat, [0, 0]]), np.column_stack([flat, [b.height] * 2])]
                )
                self._static.append(self._cast(points))

    def _cast_movers(self, time: float, eye: np.ndarray) -> list[np.ndarray]:
        found = []
        for mover in self.scene.movers:
            where, _ = mover_pose(self.scene, mover, time)
            if where is None or np.hypot(*(where[:2, 3] - eye[:2])) > REACH:
                continue
            where = where.copy()
            where[2, 3] = 0
            found += [self._cast(_move(p, where)) for p in _mover_points(mover)]
        return found

    def draw(
        self,
        camera_matrix: np.ndarray,
        world_optical: np.ndarray,
        time: float,
        width: int,
        height: int,
    ) -> np.ndarray | None:
        """Return uint8 [h,w], 255 where the ground would lie in shadow; None without a sun."""
        if not self.active:
            return None
        picture = np.zeros((height, width), np.uint8)
        movers = _Outlines(self._cast_movers(time, world_optical[:3, 3]))
        for outlines in (self._outlines, movers):
            for polygon in outlines.seen(camera_matrix, world_optical, width, height):
                cv2.fillConvexPoly(picture, polygon, 255, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(picture, (5, 5), 0)


class _Outlines:
    """Convex polygons on the ground in one array, so that all are projected at once."""

    def __init__(self, polygons: list[np.ndarray]):
        flat = np.concatenate(polygons) if polygons else np.zeros((0, 2))
        height = np.full((len(flat), 1), 0.5 * KERB_HEIGHT)
        self.points = np.hstack([flat, height])
        self.first = np.cumsum([0, *(len(p) for p in polygons)])

    def seen(self, camera_matrix, world_optical, width, height):
        """Yield those in view as int32 [n,2] pixels in 1/16."""
        if len(self.first) < 2:
            return
        optical = (self.points - world_optical[:3, 3]) @ world_optical[:3, :3]
        uvw = optical @ camera_matrix.T
        z = optical[:, 2]
        ahead = np.maximum(z, _NEAR)
        uv = uvw[:, :2] / ahead[:, None]
        start = self.first[:-1]
        nearest = np.minimum.reduceat(z, start)
        farthest = np.maximum.reduceat(z, start)
        low, high = np.minimum.reduceat(uv, start), np.maximum.reduceat(uv, start)
        inside = (high > 0).all(axis=1) & (low < (width, height)).all(axis=1)
        whole = nearest > _NEAR
        wanted = (farthest > _NEAR) & (nearest < REACH) & (inside | ~whole)
        pixels = np.clip(uv * 16, -4e5, 4e5).round().astype(np.int32)
        for k in np.flatnonzero(wanted):
            piece = slice(self.first[k], self.first[k + 1])
            yield pixels[piece] if whole[k] else _clipped(camera_matrix, optical[piece])


def _move(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points @ transform[:3, :3].T + transform[:3, 3]


def _clipped(camera_matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return int32 [n,2] pixels in 1/16 of a polygon [n,3] cut off at the near plane."""
    kept = []
    for k in range(len(points)):
        a, b = points[k], points[(k + 1) % len(points)]
        if a[2] > _NEAR:
            kept.append(a)
        if (a[2] > _NEAR) != (b[2] > _NEAR):
            kept.append(a + (b - a) * (_NEAR - a[2]) / (b[2] - a[2]))
    uv = np.array(kept) @ camera_matrix.T
    return np.clip(uv[:, :2] / uv[:, 2:3] * 16, -4e5, 4e5).round().astype(np.int32)


def _prop_points(kind: str, variant: int) -> list[np.ndarray]:
    """Return point sets whose shadows together are the prop's shadow."""

    def stick(a, b, r):
        around = np.array([[r, 0, 0], [-r, 0, 0], [0, r, 0], [0, -r, 0]])
        return np.concatenate([np.array(a) + around, np.array(b) + around])

    if kind == 'lamp':
        return [stick((0, 0, 0), (0, 0, 7.8), 0.06), stick((0, 0, 7.8), (0, -2, 8.3), 0.08)]
    if kind in ('sign', 'light', 'post', 'bollard'):
        top = {'sign': 2.6, 'light': 3.4, 'post': 7.2, 'bollard': 0.95}[kind]
        return [stick((0, 0, 0), (0, 0, top), 0.06)]
    if kind == 'bin':
        return [stick((0, 0, 0), (0, 0, 1.0), 0.3)]
    rng = np.random.default_rng([variant, 8])
    sets = [stick((0, 0, 0), (0, 0, 3.4), 0.15)]
    if kind == 'bare_tree':
        for _ in range(26):
            a = np.array([*rng.normal(0, 0.5, 2), rng.uniform(2, 4)])
            b = np.add(a, (*rng.normal(0, 1.4, 2), rng.uniform(1.5, 3.5)))
            sets.append(stick(a, b, 0.05))
        return sets
    for _ in range(22):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        centre = np.array([0, 0, 4.4]) + direction * [2.1, 2.1, 2.1] * rng.uniform(0.3, 1)
        radius = rng.uniform(0.45, 0.95)
        angle = np.linspace(0, 2 * np.pi, 8)[:-1] + rng.uniform(0, 1)
        ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(7)], axis=1)
        sets.append(centre + radius * ring * rng.uniform(0.8, 1.2, (7, 1)))
    return sets


def _mover_points(mover: Mover) -> list[np.ndarray]:
    length, width = mover.footprint
    a, b = length / 2, width / 2
    if mover.kind == 'vehicle':
        outline = OUTLINES[mover.variant // 100]
        belt, top = outline.belt * outline.height, outline.height
        body = [(x, y, z) for x in (-a, a) for y in (-b, b) for z in (0, belt * 0.95)]
        x0 = -a + length * (0.12 if top < 2 else 0.01)
        x1 = a - length * ((0.4 if top < 2 else 0.25) if outline.name != 'bus' else 0.01)
        cabin = [
            (x, y, z) for x in (x0, x1) for y in (-b * 0.75, b * 0.75) for z in (belt * 0.8, top)
        ]
        return [np.array(body), np.array(cabin)]
    low, high = (0.25, 1.7) if mover.kind == 'pedestrian' else (0.2, 1.7)
    trunk = [(x, y, z) for x in (-0.15, 0.15) for y in (-0.22, 0.22) for z in (0.8, high)]
    legs = [(x, y, z) for x in (-low, low) for y in (-0.1, 0.1) for z in (0,)] + [(0, 0, 0.9)]
    if mover.kind == 'cyclist':
        wheel = [(x, 0, z) for x in (-a, a) for z in (0, 0.68)] + [(0, 0.05, 0.6)]
        return [np.array(trunk), np.array(wheel)]
    return [np.array(trunk), np.array(legs)]
