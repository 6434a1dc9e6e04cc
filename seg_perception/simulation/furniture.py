"""Street furniture and plants as meshes: lamps, signs, lights, bollards, bins, trees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from seg_perception.simulation.mesh import (
    POLE,
    SIGN,
    TREE,
    UNLABELLED,
    Material,
    Mesh,
    box,
    ellipsoid,
    tube,
)

STEEL = (0.50, 0.52, 0.53)


@lru_cache(maxsize=256)
def prop_mesh(kind: str, variant: int) -> Mesh:
    """Return a prop standing at the origin, the road towards -y (signs face -x).

    Raises:
        KeyError: no such kind.
    """
    return {
        'lamp': _lamp,
        'sign': _sign,
        'light': _traffic_light,
        'bollard': _bollard,
        'bin': _bin,
        'post': _post,
        'tree': _tree,
        'far_tree': lambda v: _tree(v, 24, 1.6),
        'bare_tree': _bare_tree,
    }[kind](variant)


def _column(mesh: Mesh, a, b, r0: float, r1: float, tint=STEEL, label=POLE, sides=8) -> None:
    points, normals = tube(a, b, r0, r1, sides)
    mesh.add(points, Material('white', label=label), normals=normals, tint=tint)


def _lamp(variant: int) -> Mesh:
    del variant
    mesh = Mesh()
    _column(mesh, (0, 0, 0), (0, 0, 1.2), 0.10, 0.09)
    _column(mesh, (0, 0, 1.2), (0, 0, 7.8), 0.075, 0.05)
    _column(mesh, (0, 0, 7.75), (0, -1.5, 8.3), 0.045, 0.04)
    head = box((-0.14, -2.15, 8.24), (0.14, -1.45, 8.38), bottom=True)
    mesh.add(head, Material('white', label=POLE), tint=(0.62, 0.63, 0.64))
    return mesh


def _sign(variant: int) -> Mesh:
    mesh = Mesh()
    tall = 2.2 + 0.15 * (variant % 4)
    _column(mesh, (0, 0, 0), (0, 0, tall + 0.35), 0.035, 0.035)
    size = 0.62 if variant % 6 != 5 else 1.0
    half, z = size / 2, tall + 0.05
    face = [
        [
            (-0.045, half, z - half),
            (-0.045, -half, z - half),
            (-0.045, -half, z + half),
            (-0.045, half, z + half),
        ]
    ]
    mesh.add(face, Material(f'sign:{variant}', 'cutout', SIGN), normals=(-0.9, 0, 0.4))
    back = [
        [
            (0.045, -half * 0.8, z - half * 0.8),
            (0.045, half * 0.8, z - half * 0.8),
            (0.045, half * 0.8, z + half * 0.8),
            (0.045, -half * 0.8, z + half * 0.8),
        ]
    ]
    mesh.add(back, Material('white', label=SIGN), tint=(0.45, 0.46, 0.47))
    return mesh


def _traffic_light(variant: int) -> Mesh:
    mesh = Mesh()
    _column(mesh, (0, 0, 0), (0, 0, 3.4), 0.06, 0.055, (0.20, 0.21, 0.22))
    body = Material('white', label=SIGN)
    mesh.add(box((-0.28, -0.17, 2.4), (-0.04, 0.17, 3.35), bottom=True), body, tint=(0.07,) * 3)
    lamps = [((0.95, 0.12, 0.10), 3.19), ((0.95, 0.62, 0.08), 2.88), ((0.1, 0.9, 0.45), 2.57)]
    angle = np.linspace(0, 2 * np.pi, 11)
    for k, (tint, z) in enumerate(lamps):
        glow = np.array(tint) * (1.0 if k == variant % 3 else 0.16)
        ring = np.stack([np.full(11, -0.292), -0.1 * np.cos(angle), z + 0.1 * np.sin(angle)], 1)
        hub = np.broadcast_to([-0.292, 0, z], (10, 3))
        fan = np.stack([hub, ring[:-1], ring[1:], ring[1:]], axis=1)
        mesh.add(fan, body, normals=(-0.5, 0, 0.85), tint=np.clip(glow, 0, 1))
    return mesh


def _bollard(variant: int) -> Mesh:
    mesh = Mesh()
    tint = (0.12, 0.12, 0.13) if variant % 3 else (0.62, 0.62, 0.6)
    _column(mesh, (0, 0, 0), (0, 0, 0.95), 0.085, 0.075, tint)
    points, normals = ellipsoid((0, 0, 0.95), (0.085, 0.085, 0.06), 4, 8)
    mesh.add(points, Material('white', label=POLE), normals=normals, tint=tint)
    _column(mesh, (0, 0, 0.74), (0, 0, 0.84), 0.083, 0.083, (0.85, 0.85, 0.82))
    return mesh


def _post(variant: int) -> Mesh:
    del variant
    mesh = Mesh()
    _column(mesh, (0, 0, 0), (0, 0, 7.2), 0.14, 0.10, (0.36, 0.28, 0.22))
    mesh.add(
        box((-0.05, -0.7, 6.6), (0.05, 0.7, 6.75), bottom=True),
        Material('white', label=POLE),
        tint=(0.34, 0.27, 0.21),
    )
    return mesh


def _bin(variant: int) -> Mesh:
    mesh = Mesh()
    tint = [(0.10, 0.11, 0.12), (0.16, 0.30, 0.20), (0.20, 0.22, 0.36)][variant % 3]
    plain = Material('white', label=UNLABELLED)
    mesh.add(box((-0.25, -0.25, 0), (0.25, 0.25, 0.95), taper=1.1), plain, tint=tint)
    mesh.add(
        box((-0.3, -0.3, 0.95), (0.3, 0.3, 1.05), bottom=True), plain, tint=np.array(tint) * 1.4
    )
    return mesh


def _tree(variant: int, count: int = 64, spread: float = 1.0) -> Mesh:
    """A trunk with boughs, and a crown of leaf clumps shaded from the inside out."""
    rng = np.random.default_rng([variant, 5])
    mesh = Mesh()
    leaf = f'leaves:{variant // 10 + 5 * (variant % 2)}'
    bark = (0.30, 0.25, 0.20)
    trunk = rng.uniform(2.0, 3.2)
    _column(mesh, (0, 0, -0.1), (0, 0, trunk), 0.24, 0.15, bark, TREE, 9)
    radii = np.array([rng.uniform(1.9, 2.8), rng.uniform(1.9, 2.8), rng.uniform(2.0, 3.2)])
    centre = np.array([0, 0, trunk + radii[2] * 0.72])
    for _ in range(5):
        out = rng.normal(size=3) * radii * 0.4
        _column(mesh, (0, 0, trunk - 0.2), centre + out * [1, 1, 0.6], 0.10, 0.03, bark, TREE, 5)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = rng.uniform(0.45, 1.0, (count, 1)) ** 0.6
    lumps = 1 + 0.16 * np.sin(direction @ rng.normal(size=(3, 3)) * 4).sum(axis=1, keepdims=True)
    middle = centre + direction * radius * lumps * radii
    size = rng.uniform(0.75, 1.35, (count, 1, 1)) * 0.8 * spread
    a = rng.normal(size=(count, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, direction + 0.4 * rng.normal(size=(count, 3)))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    c = np.cross(a, b)
    corners = np.stack([-b - c, b - c, b + c, -b + c], axis=1) * size
    points = middle[:, None] + corners
    normals = (points - centre) / radii + [0, 0, 0.35]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    # Light fades towards the crown's inside and underside.
    depth = np.linalg.norm((points - centre) / radii, axis=-1)
    shade = np.clip(0.35 + 0.6 * depth, 0.35, 1.0) * rng.uniform(0.85, 1.1, (count, 1))
    mesh.add(points, Material(leaf, 'cutout', TREE), normals=normals, tint=shade[..., None])
    return mesh


def _bare_tree(variant: int) -> Mesh:
    rng = np.random.default_rng([variant, 6])
    mesh = Mesh()
    height = rng.uniform(7, 10)
    half = height * 0.5
    material = Material(f'branches:{variant}', 'glass', TREE)
    for k in range(2):
        angle = np.pi * k / 2
        x, y = half * np.cos(angle), half * np.sin(angle)
        card = [[(-x, -y, 0), (x, y, 0), (x, y, height), (-x, -y, height)]]
        mesh.add(card, material, normals=(0, 0, 1))
    _column(mesh, (0, 0, -0.1), (0, 0, height * 0.2), 0.15, 0.11, (0.30, 0.26, 0.22), TREE, 8)
    return mesh
