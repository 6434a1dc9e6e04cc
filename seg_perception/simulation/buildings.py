"""Buildings as meshes: facades, roofs, parapets, chimneys, awnings."""

from __future__ import annotations

import numpy as np

from seg_perception.simulation.mesh import BUILDING, Material, Mesh, box
from seg_perception.simulation.scene import Building


def building_mesh(b: Building) -> Mesh:
    """Return a building: front at y = 0 facing -y, middle of the front at the origin."""
    mesh = Mesh()
    x0, x1, ground, top = -b.width / 2, b.width / 2, 3.2, b.height
    wall = Material(f'wall:{b.wall}', label=BUILDING)
    front = Material(f'facade:{b.wall}', label=BUILDING)
    base = Material(b.ground_floor, label=BUILDING)
    plain = Material('white', label=BUILDING)
    u0, bays = b.shift, b.width / 12
    mesh.add(
        [[(x0, 0, 0), (x1, 0, 0), (x1, 0, ground), (x0, 0, ground)]],
        base,
        # Kept off the picture's rim, where filtering would mix its top into its bottom. Walls
        # darken towards the pavement, which takes half of the sky from them.
        uv=[[u0, 0.012], [u0 + bays, 0.012], [u0 + bays, 0.988], [u0, 0.988]],
        tint=np.array([[0.78] * 3, [0.78] * 3, [1.0] * 3, [1.0] * 3]),
    )
    if b.storeys > 1:
        v = (b.storeys - 1) / 4
        uv = [[u0, 0], [u0 + bays, 0], [u0 + bays, v], [u0, v]]
        mesh.add([[(x0, 0, ground), (x1, 0, ground), (x1, 0, top), (x0, 0, top)]], front, uv=uv)
    for face, length in ((2, b.width), (0, b.depth), (1, b.depth)):
        quad = box((x0, 0, 0), (x1, b.depth, top))[face]
        sides = face != 2 and b.storeys > 1 and b.shift > 1
        uv = np.array([[0, 0], [length / 12, 0], [length / 12, top / 12], [0, top / 12]])
        if sides:
            uv[:, 1] -= ground / 12
        mesh.add(quad[None], front if sides else wall, uv=uv)
    _roof(mesh, b, wall, plain)
    if b.ground_floor.startswith('shop') and b.shift % 1 > 0.4:
        _awning(mesh, b, plain)
    return mesh


def _awning(mesh: Mesh, b: Building, plain: Material) -> None:
    colors = [(0.5, 0.12, 0.12), (0.14, 0.3, 0.2), (0.75, 0.7, 0.6), (0.2, 0.25, 0.4)]
    color = colors[int(b.shift * 4) % 4]
    x0, x1 = 0.4 - b.width / 2, b.width / 2 - 0.4
    z0, z1, out = 2.45, 2.95, -1.3
    top = [(x0, out, z0), (x1, out, z0), (x1, -0.02, z1), (x0, -0.02, z1)]
    mesh.add([top], plain, normals=(0, -0.5, 0.8), tint=color)
    flap = [(x0, out, z0 - 0.22), (x1, out, z0 - 0.22), (x1, out, z0), (x0, out, z0)]
    mesh.add([flap], plain, tint=np.array(color) * 0.9)


def _roof(mesh: Mesh, b: Building, wall: Material, plain: Material) -> None:
    if b.roof == 'flat':
        _flat_roof(mesh, b, wall, plain)
    else:
        _gabled_roof(mesh, b, wall, plain)


def _flat_roof(mesh: Mesh, b: Building, wall: Material, plain: Material) -> None:
    x0, x1, top = -b.width / 2, b.width / 2, b.height
    mesh.add(
        box((x0 - 0.12, -0.18, top - 0.1), (x1 + 0.12, b.depth, top + 0.3)),
        plain,
        tint=(0.74, 0.72, 0.69),
    )
    mesh.add(
        box((x0, -0.02, top + 0.3), (x1, b.depth, top + 0.9)),
        wall,
        uv=[[0, 0], [b.width / 12, 0], [b.width / 12, 0.05], [0, 0.05]],
    )
    if b.width > 8:
        mesh.add(box((x0 + 2, 3, top), (x0 + 4.5, 5.5, top + 2.2)), plain, tint=(0.6,) * 3)


def _gabled_roof(mesh: Mesh, b: Building, wall: Material, plain: Material) -> None:
    x0, x1, top = -b.width / 2, b.width / 2, b.height
    tiles = Material(f'roof:{b.wall % 4}', label=BUILDING)
    rise, eave = b.depth * 0.32, 0.35
    ridge, y1 = b.depth / 2, b.depth
    slope = np.hypot(rise, ridge) / 6
    uv = [[0, 0], [b.width / 6, 0], [b.width / 6, slope], [0, slope]]
    down = eave * rise / ridge
    for y, sign in ((-eave, 1), (y1 + eave, -1)):
        low = [(x0 - 0.2, y, top - down), (x1 + 0.2, y, top - down)]
        high = [(x1 + 0.2, ridge, top + rise), (x0 - 0.2, ridge, top + rise)]
        quad = [low + high] if sign > 0 else [low[::-1] + high[::-1]]
        mesh.add(quad, tiles, uv=uv)
    for x, sign in ((x0, -1), (x1, 1)):
        gable = [(x, 0, top), (x, y1, top), (x, ridge, top + rise), (x, ridge, top + rise)]
        mesh.add(
            [gable],
            wall,
            normals=(sign, 0, 0),
            uv=[[0, 0], [b.depth / 12, 0], [b.depth / 24, rise / 12], [b.depth / 24, rise / 12]],
        )
    # White fascia board under the eaves.
    mesh.add(
        box((x0 - 0.2, -eave, top - down - 0.18), (x1 + 0.2, -eave + 0.04, top - down)),
        plain,
        tint=(0.82, 0.82, 0.8),
    )
    for x in (x0 + 0.8, x1 - 0.8)[: 1 + int(b.shift * 4) % 2]:
        _chimney(mesh, x, ridge, top + rise, wall, plain)


def _chimney(mesh: Mesh, x: float, y: float, top: float, wall: Material, plain: Material) -> None:
    """Add a stack with two pots on a ridge that is ``top`` high."""
    mesh.add(
        box((x - 0.35, y - 0.5, top - 0.9), (x + 0.35, y + 0.5, top + 1.1)),
        wall,
        uv=[[0, 0], [0.06, 0], [0.06, 0.16], [0, 0.16]],
    )
    for pot in (y - 0.25, y + 0.25):
        mesh.add(
            box((x - 0.12, pot - 0.12, top + 1.1), (x + 0.12, pot + 0.12, top + 1.5), taper=0.8),
            plain,
            tint=(0.62, 0.36, 0.26),
        )
