"""Soups of textured quads: what every thing in the street is made of.

A quad is the one primitive: its four corners carry position, normal, texture coordinate and
tint. A triangle is a quad whose last two corners coincide. Quads are kept in groups that share
a material, so the renderer can upload each group as one array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
"""CamVid's eleven class ids; grass and hedges are TREE there (its 'VegetationMisc')."""
UNLABELLED = 255
PERSON, BICYCLE, MOTOR_CAR, BUS, TRUCK = 1, 2, 3, 6, 8
"""COCO's category ids of the things there are (https://cocodataset.org); 0 is no thing."""

# Drawing order. The ground layers are painted one over the other without depth tests against
# each other, so decals (markings, patches) never fight with the surface they lie on.
# The hull is drawn in the truth alone: gaps that annotators close.
LAYERS = ('land', 'road', 'road_decal', 'walk', 'walk_decal', 'solid', 'cutout', 'glass', 'hull')


@dataclass(frozen=True)
class Material:
    """What a group of quads shares.

    Attributes:
        texture: name in the scene's texture bank.
        layer: one of LAYERS.
        label: CamVid class id, or 255.
        instance: 0 for stuff, else the scene-wide number of the thing.
        kind: COCO category id, 0 for stuff; a rider and the bicycle share an instance, not a kind.
    """

    texture: str = 'white'
    layer: str = 'solid'
    label: int = UNLABELLED
    instance: int = 0
    kind: int = 0


@dataclass
class Quads:
    """n quads: points and normals [n,4,3] (m), uv [n,4,2], tint [n,4,3] in 0..1, float32."""

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    tint: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def face_normals(points: np.ndarray) -> np.ndarray:
    """Return unit normals [n,3] of quads [n,4,3], counter-clockwise seen from outside.

    The cross product of the diagonals is right for triangles (a repeated corner) too.
    """
    normal = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


@dataclass
class Mesh:
    """Quads grouped by material, in one frame."""

    groups: dict[Material, list[Quads]] = field(default_factory=dict)

    def add(
        self,
        points: np.ndarray,
        material: Material,
        *,
        uv: np.ndarray | None = None,
        normals: np.ndarray | None = None,
        tint: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0),
    ) -> Mesh:
        """Add quads [n,4,3]; normals default to the faces', uv to the whole texture."""
        points = np.asarray(points, np.float32).reshape(-1, 4, 3)
        n = len(points)
        if n == 0:
            return self
        if normals is None:
            normals = np.repeat(face_normals(points)[:, None], 4, axis=1)
        if uv is None:
            uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        quads = Quads(
            points,
            np.broadcast_to(np.asarray(normals, np.float32), (n, 4, 3)),
            np.broadcast_to(np.asarray(uv, np.float32), (n, 4, 2)),
            np.broadcast_to(np.asarray(tint, np.float32), (n, 4, 3)),
        )
        self.groups.setdefault(material, []).append(quads)
        return self

    def items(self) -> Iterator[tuple[Material, Quads]]:
        """Yield each material with all its quads in one block."""
        for material, parts in self.groups.items():
            yield (
                material,
                Quads(
                    *(
                        np.concatenate([getattr(p, name) for p in parts])
                        for name in ('points', 'normals', 'uv', 'tint')
                    )
                ),
            )

    def merge(self, other: Mesh, transform: np.ndarray | None = None, **material) -> Mesh:
        """Add another mesh, moved by a 4x4 transform (rotation may be scaled).

        Keyword arguments replace fields of every material (``instance=7``).
        """
        for key, parts in other.groups.items():
            if material:
                key = Material(**{**key.__dict__, **material})
            for q in parts:
                points, normals = q.points, q.normals
                if transform is not None:
                    turn = transform[:3, :3].astype(np.float32)
                    points = points @ turn.T + transform[:3, 3].astype(np.float32)
                    scale = np.cbrt(abs(float(np.linalg.det(turn)))) or 1.0
                    normals = normals @ (turn.T / scale)
                self.groups.setdefault(key, []).append(Quads(points, normals, q.uv, q.tint))
        return self

    def all_points(self) -> np.ndarray:
        """Return every corner, [n,3] float32."""
        parts = [q.points.reshape(-1, 3) for group in self.groups.values() for q in group]
        return np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)


def pose(x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Return a 4x4 transform: yaw (rad, about z) and scale, then translation (m)."""
    c, s = np.cos(yaw) * scale, np.sin(yaw) * scale
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, scale, z], [0, 0, 0, 1.0]])


def box(
    low: Sequence[float], high: Sequence[float], *, bottom: bool = False, taper: float = 1.0
) -> np.ndarray:
    """Return the faces [5 or 6,4,3] of an axis-aligned box; the top is scaled by ``taper``.

    Order: front (+x), back (-x), left (+y), right (-y), top, then bottom where asked.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    a, b = (x1 - cx) * taper, (y1 - cy) * taper
    lower = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)]
    upper = [
        (cx - a, cy - b, z1),
        (cx + a, cy - b, z1),
        (cx + a, cy + b, z1),
        (cx - a, cy + b, z1),
    ]
    faces = [
        [lower[1], lower[2], upper[2], upper[1]],
        [lower[3], lower[0], upper[0], upper[3]],
        [lower[2], lower[3], upper[3], upper[2]],
        [lower[0], lower[1], upper[1], upper[0]],
        upper,
    ]
    if bottom:
        faces.append(lower[::-1])
    return np.array(faces, np.float32)


def tube(
    start: Sequence[float], end: Sequence[float], r0: float, r1: float, sides: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and smooth normals [sides,4,3] of a tapered tube, open at both ends."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    helper = np.array([1.0, 0, 0]) if abs(axis[2]) > 0.9 else np.array([0, 0, 1.0])
    u = np.cross(helper, axis)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
    low, high = a + r0 * ring, b + r1 * ring
    points = np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)
    normals = np.stack([ring[:-1], ring[1:], ring[1:], ring[:-1]], axis=1)
    return points.astype(np.float32), normals.astype(np.float32)


def ellipsoid(
    centre: Sequence[float], radii: Sequence[float], rows: int = 5, columns: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and normals [rows*columns,4,3] of an ellipsoid."""
    lat = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
    lon = np.linspace(0, 2 * np.pi, columns + 1)
    unit = np.stack(
        [
            np.cos(lat)[:, None] * np.cos(lon),
            np.cos(lat)[:, None] * np.sin(lon),
            np.repeat(np.sin(lat)[:, None], columns + 1, axis=1),
        ],
        axis=-1,
    )
    grid = quads_of_grid(unit)
    normals = grid / np.asarray(radii)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    points = grid * np.asarray(radii) + np.asarray(centre)
    return points.astype(np.float32), normals.astype(np.float32)


def quads_of_grid(grid: np.ndarray) -> np.ndarray:
    """Return the quads [(r-1)*(c-1),4,k] between the nodes of a grid [r,c,k]."""
    corners = [grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]]
    return np.stack(corners, axis=2).reshape(-1, 4, grid.shape[-1])


def grid_normals(grid: np.ndarray) -> np.ndarray:
    """Return smooth unit normals [r,c,3] of a surface given as a grid of points [r,c,3]."""
    du, dv = np.gradient(grid, axis=1), np.gradient(grid, axis=0)
    normal = np.cross(du, dv)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
