"""Builds the meshes of a scene: ground, buildings, street furniture, plants."""

from __future__ import annotations

import numpy as np

from seg_perception.simulation.buildings import building_mesh
from seg_perception.simulation.furniture import prop_mesh
from seg_perception.simulation.markings import add_markings
from seg_perception.simulation.mesh import (
    BUILDING,
    FENCE,
    PAVEMENT,
    ROAD,
    TREE,
    Material,
    Mesh,
    pose,
    quads_of_grid,
)
from seg_perception.simulation.noise import fractal
from seg_perception.simulation.road import KERB_HEIGHT, KERB_WIDTH, Road
from seg_perception.simulation.scene import Barrier, Scene

TILE = 4.0
FRONTAGE = 60.0
"""How far the ground beside the street is modelled, m from the centre line."""


def strip(
    road: Road,
    s: tuple[float, float],
    t: tuple[float, float],
    z: tuple[float, float] = (0.0, 0.0),
    *,
    steps: tuple[float, float] = (2.0, 2.0),
    tile: tuple[float, float] = (TILE, TILE),
) -> tuple[np.ndarray, np.ndarray]:
    """Return points [n,4,3] and uv [n,4,2] of a strip along the road, rising from z0 to z1."""
    rows = max(int(np.ceil((s[1] - s[0]) / steps[0])), 1) + 1
    columns = max(int(np.ceil(abs(t[1] - t[0]) / steps[1])), 1) + 1
    ss, tt = np.meshgrid(np.linspace(*s, rows), np.linspace(*t, columns), indexing='ij')
    x, y, _ = road.at(ss, tt)
    share = (tt - t[0]) / (t[1] - t[0]) if t[1] != t[0] else np.zeros_like(tt)
    grid = np.dstack([x, y, z[0] + (z[1] - z[0]) * share])
    uv = np.dstack([tt / tile[0], ss / tile[1]])
    return quads_of_grid(grid), quads_of_grid(uv)


def static_mesh(scene: Scene) -> Mesh:
    """Return everything that never moves, in the world frame."""
    mesh = Mesh()
    _land(scene, mesh)
    _skyline(scene, mesh)
    _carriageway(scene, mesh)
    for side in (1, -1):
        _roadside(scene, mesh, side)
    for building in scene.buildings:
        _place(scene, mesh, building_mesh(building), building.side, building.s, building.t)
    for barrier in scene.barriers:
        _barrier(scene, mesh, barrier)
    return mesh


def standing(scene: Scene) -> list[tuple[Mesh, np.ndarray, float]]:
    """Return (mesh, 4x4 transform, lighting yaw) of each prop, one by one."""
    found = []
    for prop in scene.props:
        x, y, heading = scene.road.at(prop.s, prop.t)
        side = 1 if prop.t > 0 else -1
        yaw = float(heading) + prop.yaw + (0.0 if side > 0 else np.pi)
        if prop.kind in ('sign', 'light'):
            yaw = float(heading) + prop.yaw
        on_land = abs(prop.t) > scene.road.edge(side)
        z = KERB_HEIGHT if on_land else 0.0
        found.append((prop_mesh(prop.kind, prop.variant), pose(x, y, z, yaw, prop.scale), yaw))
    return found


def _land(scene: Scene, mesh: Mesh) -> None:
    """The ground beyond everything, so that no gap shows the sky below the horizon.

    Left out under the street itself, where drawing it would be wasted.
    """
    road = scene.road
    x, y, _ = road.at(road.length / 2)
    reach, step = 900.0, 50.0
    line = np.stack(road.at(np.arange(road.start + 10, road.length - 10, 10.0)), axis=1)[:, :2]

    def cells(corner: np.ndarray, size: float) -> np.ndarray:
        """Return quads [n,4,3] with their lower corners at [n,2]."""
        square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
        quads = corner[:, None] + square
        return np.dstack([quads, np.full(quads.shape[:2], -0.05)])

    def gap(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest and farthest distance of quads' corners to the street."""
        far = np.linalg.norm(quads[:, :, None, :2] - line, axis=3).min(axis=2)
        return far.min(axis=1), far.max(axis=1)

    axis = np.arange(-reach, reach, step)
    coarse = np.stack(np.meshgrid(axis + x, axis + y), axis=-1).reshape(-1, 2)
    quads = cells(coarse, step)
    touching = gap(quads)[0] < FRONTAGE + step
    offsets = np.stack(np.meshgrid(*[np.arange(0, step, 10.0)] * 2), axis=-1).reshape(-1, 2)
    fine = (coarse[touching][:, None] + offsets).reshape(-1, 2)
    small = cells(fine, 10.0)
    quads = np.concatenate([quads[~touching], small[gap(small)[1] > FRONTAGE - 5]])
    mesh.add(
        quads,
        Material('grass', 'land', TREE),
        uv=quads[..., :2] / TILE,
        normals=(0, 0, 1),
        tint=(0.9, 0.9, 0.9),
    )


def _skyline(scene: Scene, mesh: Mesh) -> None:
    """Woods far off, all around: no street ends at a bare horizon."""
    rng = np.random.default_rng([scene.seed, 41])
    x, y, _ = scene.road.at(scene.road.length / 2)
    angle = np.linspace(0, 2 * np.pi, 41)
    radius = (scene.road.length / 2 + 260.0) * (1 + 0.05 * np.sin(3 * angle))
    height = np.clip(rng.normal(24, 7, 41), 12, 40)
    height[-1] = height[0]
    ring = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    low = np.column_stack([ring, np.full(41, -1.0)])
    high = np.column_stack([ring, height])
    u = angle * 9 / np.pi
    uv = np.stack([np.column_stack([u, u * 0 + 0.02]), np.column_stack([u, u * 0 + 0.98])])
    mesh.add(
        quads_of_grid(np.stack([low, high])),
        Material('treeline', 'cutout', TREE),
        uv=quads_of_grid(uv),
        normals=(0, 0, 1),
        tint=(0.8, 0.8, 0.8),
    )


def _asphalt_tint(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Return tints [n,4,3] of asphalt: old and new stretches, polished tracks, oily middles."""
    rng = np.random.default_rng(scene.marks['wear'])
    field = fractal(rng, 256, 5, 5)
    index = (points[..., :2] * 4.0).astype(int) % 256
    return scene.marks['tone'] * (1 + 0.16 * field[index[..., 1], index[..., 0]])


def _carriageway(scene: Scene, mesh: Mesh) -> None:
    road = scene.road
    asphalt = Material('asphalt', 'road', ROAD)
    points, uv = strip(
        road, (road.start, road.length), (-road.edge(-1), road.edge(1)), steps=(1.5, 0.6)
    )
    tint = _asphalt_tint(scene, points)
    t = uv[..., 0] * TILE
    for lane in range(road.lanes):
        for ahead in (True, False):
            off = t - road.lane_centre(lane, ahead)
            tracks = np.exp(-(((np.abs(off) - 0.75) / 0.33) ** 2))
            tint = tint * (1 + 0.05 * tracks - 0.05 * np.exp(-((off / 0.3) ** 2)))
    for side in (1, -1):
        gutter = np.clip(1 - (road.edge(side) - t * side) / 0.7, 0, 1)
        tint = tint * (1 - 0.16 * gutter)
    mesh.add(points, asphalt, uv=uv, normals=(0, 0, 1), tint=tint[..., None])
    for street in road.side_streets:
        near, far = road.edge(street.side), road.edge(street.side) + street.reach
        points, uv = strip(
            road,
            (street.start, street.end),
            (street.side * near, street.side * far),
            steps=(1.0, 3.0),
        )
        tint = _asphalt_tint(scene, points)[..., None] * 0.96
        mesh.add(points, asphalt, uv=uv, normals=(0, 0, 1), tint=tint)
    add_markings(scene, mesh)


def _roadside(scene: Scene, mesh: Mesh, side: int) -> None:
    road, k = scene.road, 0 if side > 0 else 1
    rng = np.random.default_rng([scene.seed, 31, k])
    walk_texture = 'paving:0' if scene.style == 'suburb' else f'paving:{int(rng.integers(8))}'
    walk = Material(walk_texture, 'walk', PAVEMENT)
    stone = Material('kerb', 'walk', PAVEMENT)
    grass = Material('grass', 'walk', TREE)
    beyond = FRONTAGE
    edge = road.edge(side)
    front = grass if scene.frontage == 'grass' else walk
    tone = float(rng.uniform(0.7, 0.95))
    for s0, s1 in road.stretches(side):
        a, b = edge, edge + KERB_WIDTH
        for t0, t1, z0, z1, material, tint in (
            (a, a + 0.02, 0.0, KERB_HEIGHT, stone, 0.72),
            (a + 0.02, b, KERB_HEIGHT, KERB_HEIGHT, stone, 0.95),
            (b, b + road.verge[k], KERB_HEIGHT, KERB_HEIGHT, grass, 1.0),
            (b + road.verge[k], road.outer(side), KERB_HEIGHT, KERB_HEIGHT, walk, tone),
            (road.outer(side), beyond, KERB_HEIGHT, KERB_HEIGHT, front, tone),
        ):
            if t1 - t0 < 1e-3:
                continue
            tile = (2.4, 2.4) if material is walk else (TILE, 2.0 if material is stone else TILE)
            points, uv = strip(
                road, (s0, s1), (side * t0, side * t1), (z0, z1), steps=(2.0, 4.0), tile=tile
            )
            flat = z0 == z1
            normal = (0, 0, 1) if flat else None
            mesh.add(points, material, uv=uv, normals=normal, tint=(tint,) * 3)
        # The kerb turns into the side street: a face at each end of the stretch.
        for s in (s0, s1):
            if road.start < s < road.length:
                x, y, _ = road.at(np.full(2, s), side * np.array([edge, beyond]))
                wall = np.array(
                    [
                        [x[0], y[0], 0],
                        [x[1], y[1], 0],
                        [x[1], y[1], KERB_HEIGHT],
                        [x[0], y[0], KERB_HEIGHT],
                    ]
                )
                mesh.add(
                    wall[None], stone, uv=[[0, 0], [0, 25], [0.1, 25], [0.1, 0]], tint=(0.7,) * 3
                )


def _place(scene: Scene, mesh: Mesh, part: Mesh, side: int, s: float, t: float) -> None:
    x, y, heading = scene.road.at(s, t)
    mesh.merge(part, pose(x, y, KERB_HEIGHT, float(heading) + (0 if side > 0 else np.pi)))


def _barrier(scene: Scene, mesh: Mesh, barrier: Barrier) -> None:
    rows = max(int(np.ceil((barrier.s1 - barrier.s0) / 2.0)), 1) + 1
    s = np.linspace(barrier.s0, barrier.s1, rows)
    thick = {'hedge': 0.7, 'wall': 0.24, 'planks': 0.0, 'railing': 0.0}[barrier.kind]
    material = {
        'hedge': Material(f'hedge:{barrier.variant % 4}', label=TREE),
        'wall': Material(f'wall:{barrier.variant}', label=BUILDING),
        'planks': Material('planks', label=FENCE),
        'railing': Material('railing', 'cutout', FENCE),
    }[barrier.kind]
    tall = {'hedge': 2.0, 'wall': 12.0, 'planks': barrier.height, 'railing': barrier.height}
    out = 1 if barrier.t > 0 else -1
    low, high = KERB_HEIGHT, KERB_HEIGHT + barrier.height

    def wall(t0: float, t1: float, z0: float, z1: float, normal=None) -> None:
        a = np.stack((*scene.road.at(s, t0)[:2], np.full(rows, z0)), axis=1)
        b = np.stack((*scene.road.at(s, t1)[:2], np.full(rows, z1)), axis=1)
        width = {'hedge': 2.0, 'wall': 12.0, 'planks': 2.0, 'railing': 1.5}[barrier.kind]
        v0, v1 = 0.0, (abs(z1 - z0) + abs(t1 - t0)) / tall[barrier.kind]
        uv = np.stack(
            [
                np.stack([s / width, np.full(rows, v0)], 1),
                np.stack([s / width, np.full(rows, v1)], 1),
            ]
        )
        points = quads_of_grid(np.stack([a, b]))
        if normal is None:
            _, _, heading = scene.road.at(s, 0.0)
            n = np.stack([np.sin(heading), -np.cos(heading), np.zeros(rows)], 1)
            side = out if t0 == t_near else -out
            normal = quads_of_grid(np.stack([n, n]) * side)
        mesh.add(points, material, uv=quads_of_grid(uv), normals=normal)

    t_near, t_far = barrier.t, barrier.t + out * thick
    wall(t_near, t_near, low, high)
    if thick:
        wall(t_far, t_far, low, high)
        wall(t_near, t_far, high, high, (0, 0, 1))
        for k in (0, -1):
            x, y, heading = scene.road.at(s[k], np.array([t_near, t_far]))
            end = [(x[0], y[0], low), (x[1], y[1], low), (x[1], y[1], high), (x[0], y[0], high)]
            sign = -1 if k == 0 else 1
            facing = (
                sign * np.cos(heading[0]) if np.ndim(heading) else sign * np.cos(heading),
                sign * np.sin(heading[0]) if np.ndim(heading) else sign * np.sin(heading),
                0,
            )
            h = barrier.height / tall[barrier.kind]
            mesh.add(
                [end],
                material,
                uv=[[0, 0], [thick / 2, 0], [thick / 2, h], [0, h]],
                normals=facing,
            )
