"""Cars, vans and buses: a lofted body with painted atlas, on wheels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from seg_perception.simulation.mesh import (
    BUS,
    CAR,
    MOTOR_CAR,
    TRUCK,
    Material,
    Mesh,
    grid_normals,
    quads_of_grid,
    tube,
)
from seg_perception.simulation.vehicle_textures import (
    ATLAS,
    END_ROWS,
    OUTLINES,
    SIDE_ROWS,
    TOP_ROWS,
    Outline,
    top_at,
)


def _stations(o: Outline) -> np.ndarray:
    """Return x fractions at which the body is cut: the outline's nodes and some between."""
    nodes = np.array([x for x, _ in o.top])
    return np.unique(np.concatenate([nodes, np.linspace(0.02, 0.98, 9)]).round(4))


def _section(o: Outline, x: float) -> np.ndarray:
    """Return the half cross-section at x, [6,2] of (y, z) in m from sill to roof centre."""
    top = float(top_at(o, np.array([x]))[0]) * o.height
    belt = min(o.belt * o.height, top * 0.985)
    end = abs(x - 0.5) * 2
    half = o.width / 2 * (1 - (0.10 if o.height < 2.6 else 0.015) * end**4)
    sill = 0.17 + 0.10 * max(end - 0.8, 0) * 5 * 0.4
    leaned = half * 0.98 - o.tumble * max(top - belt, 0) - 0.02
    return np.array(
        [
            (half * 0.95, sill),
            (half, min(0.36 * o.height, belt * 0.8)),
            (half * 0.98, belt),
            (leaned, top - 0.035 - 0.02 * (top > belt * 1.2)),
            (leaned - 0.12, top),
            (0.0, top + 0.025),
        ]
    )


def _body(o: Outline, mesh: Mesh, paint: Material) -> None:
    xs = _stations(o)
    half = np.stack([_section(o, x) for x in xs])  # [s,6,2]
    x = np.repeat((xs * o.length - o.length / 2)[:, None], 6, axis=1)
    left = np.dstack([x, half[..., 0], half[..., 1]])
    right = left * np.array([1, -1, 1])
    for grid, mirrored in ((left, False), (right, True)):
        normals = grid_normals(grid) * (1 if mirrored else -1)
        for rows, top in ((slice(0, 4), False), (slice(3, 6), True)):
            part, normal = grid[:, rows], normals[:, rows]
            u = part[..., 0] / o.length + 0.5
            if top:
                v = TOP_ROWS[0] + (0.5 - part[..., 1] / o.width) * (TOP_ROWS[1] - TOP_ROWS[0])
            else:
                v = SIDE_ROWS[0] + (1 - part[..., 2] / o.height) * (SIDE_ROWS[1] - 1)
            uv = np.dstack([np.clip(u, 0.002, 0.998), 1 - v / ATLAS])
            mesh.add(
                quads_of_grid(part), paint, uv=quads_of_grid(uv), normals=quads_of_grid(normal)
            )


def _ends(o: Outline, mesh: Mesh, paint: Material) -> None:
    for front in (True, False):
        half = _section(o, 1.0 if front else 0.0)
        x = o.length / 2 if front else -o.length / 2
        sign = 1 if front else -1
        rows = []
        for y in (half[:, 0], -half[:, 0]):
            rows.append(np.stack([np.full(6, x), y * sign, half[:, 1]], axis=1))
        # A slight bulge towards the middle keeps the face from looking sawn off.
        middle = rows[0] * [1, 0, 1] + [0.04 * sign, 0, 0]
        for a, b in ((rows[1], middle), (middle, rows[0])):
            grid = np.stack([a, b], axis=1)
            across = (grid[..., 1] * sign / o.width + 0.5) * (ATLAS / 2 - 4) + 2
            u = (across + (0 if front else ATLAS / 2)) / ATLAS
            v = END_ROWS[0] + (1 - np.clip(grid[..., 2] / o.height, 0, 1)) * (
                END_ROWS[1] - END_ROWS[0] - 1
            )
            mesh.add(
                quads_of_grid(grid),
                paint,
                uv=quads_of_grid(np.dstack([u, 1 - v / ATLAS])),
                normals=(sign, 0, 0.1),
            )


def _wheels(o: Outline, mesh: Mesh, plain: Material) -> None:
    r, tread = o.wheel_radius, 0.2
    angle = np.linspace(0, 2 * np.pi, 15)
    for fraction in o.wheels:
        x = fraction * o.length - o.length / 2
        for side in (1, -1):
            outer = side * (o.width / 2 - 0.01)
            points, normals = tube((x, outer - side * tread, r), (x, outer, r), r, r, 14)
            mesh.add(points, plain, normals=normals, tint=(0.10, 0.10, 0.105))
            for radius, tint, shift in (
                (r, 0.12, 0.0),
                (r * 0.66, 0.55, 0.012),
                (r * 0.2, 0.25, 0.02),
            ):
                ring = np.stack(
                    [
                        x + radius * np.cos(angle),
                        np.full_like(angle, outer + side * shift),
                        r + radius * np.sin(angle),
                    ],
                    axis=1,
                )
                hub = np.broadcast_to([x, outer + side * shift, r], ring[:-1].shape)
                fan = np.stack([hub, ring[:-1], ring[1:], ring[1:]], axis=1)
                spokes = np.where(np.arange(14) % 3 == 0, 0.45, 1.0)[:, None, None]
                if radius != r * 0.66:
                    spokes = np.ones((14, 1, 1))
                shade = np.full((14, 4, 3), tint) * spokes
                mesh.add(fan, plain, normals=(0, side, 0.2), tint=shade)


def vehicle_outline(variant: int) -> np.ndarray:
    """Return the body seen from above without mirrors, convex [n,2] (x forward, y left), m."""
    o = OUTLINES[variant // 100]
    xs = np.unique(np.concatenate([_stations(o), [0.0, 1.0]]))
    half = np.array([_section(o, x)[:, 0].max() for x in xs])
    x = xs * o.length - o.length / 2
    return np.concatenate([np.stack([x, -half], 1), np.stack([x, half], 1)[::-1]])


def _skirt(variant: int, mesh: Mesh, kind: int) -> None:
    """Close the gap between body and ground in the truth alone, as annotators do.

    Ground seen between the wheels is no place to drive; a mask that calls it road would free
    cells beneath the vehicle.
    """
    outline = vehicle_outline(variant)
    ring = np.concatenate([outline, outline[:1]])
    walls = np.stack([np.insert(ring, 2, z, axis=1) for z in (0.0, 0.24)])
    mesh.add(quads_of_grid(walls), Material('white', 'hull', CAR, kind=kind))


@lru_cache(maxsize=64)
def vehicle_mesh(variant: int) -> Mesh:
    """Return the vehicle ``outline * 100 + paint``: x forward, z up, origin on the ground below
    its middle."""
    outline = OUTLINES[variant // 100]
    mesh = Mesh()
    kind = {'bus': BUS, 'van': TRUCK}.get(outline.name, MOTOR_CAR)
    paint = Material(f'vehicle:{variant}', label=CAR, kind=kind)
    plain = Material('white', label=CAR, kind=kind)
    _body(outline, mesh, paint)
    _ends(outline, mesh, paint)
    _wheels(outline, mesh, plain)
    _skirt(variant, mesh, kind)
    a, b = outline.length * 0.46, outline.width * 0.46
    z = 0.19
    under = [[(-a, -b, z), (-a, b, z), (a, b, z), (a, -b, z)]]
    mesh.add(np.array(under), plain, tint=(0.03, 0.03, 0.03))
    if outline.height < 2.6:
        for side in (1, -1):
            x = (outline.screen[1] - 0.03) * outline.length - outline.length / 2
            y, z = side * (outline.width / 2 + 0.09), outline.belt * outline.height + 0.08
            corners = [
                (x, y - 0.09, z - 0.08),
                (x, y + 0.09, z - 0.06),
                (x, y + 0.09, z + 0.07),
                (x, y - 0.09, z + 0.07),
            ]
            mesh.add(np.array([corners]), plain, normals=(-0.8, 0, 0.5), tint=(0.12, 0.12, 0.13))
    return mesh


def vehicle_size(variant: int) -> tuple[float, float, float]:
    """Return length, width, height in m."""
    outline = OUTLINES[variant // 100]
    return outline.length, outline.width, outline.height
