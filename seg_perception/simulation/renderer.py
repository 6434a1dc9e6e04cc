"""Renders a scene: the picture, and exact truth of it from one pass of face codes.

Every quad has a number. A flat-coloured pass writes each pixel's quad number; class, instance
and depth follow from tables, the depth from the quad's plane, so it is exact for planar faces
whatever the precision of the renderer's depth buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.simulation import panda
from seg_perception.simulation.development import Development, lit
from seg_perception.simulation.mesh import (
    SKY,
    Material,
    Mesh,
    Quads,
    face_normals,
    pose,
    quads_of_grid,
)
from seg_perception.simulation.people import PHASES, cyclist_mesh, pedestrian_mesh
from seg_perception.simulation.scene import Mover, Scene, mover_pose
from seg_perception.simulation.shadows import Shadows
from seg_perception.simulation.street import standing, static_mesh
from seg_perception.simulation.vehicles import vehicle_mesh

CHUNK = 30.0
_DECALS = ('road_decal', 'walk_decal')
_GROUND = ('land', 'road', 'walk')
_MOST_FACES = 1 << 21


@dataclass
class Rendered:
    """What one call of :meth:`StreetRenderer.render` gives; truth is None where not asked for.

    Attributes:
        image: uint8 [h,w,3] RGB.
        mask: uint8 [h,w] CamVid class ids, 255 unlabelled.
        instances: uint16 [h,w], 0 = none, else the mover's number.
        depth: float32 [h,w] m along the optical axis, inf where there is sky.
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    instances: np.ndarray | None = None
    depth: np.ndarray | None = None


class _Faces:
    """The table of quads: plane, label, instance, flags, and which node carries them."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._table: tuple[np.ndarray, ...] | None = None
        self.count = 1

    def add(self, quads: Quads, material: Material, node: int) -> np.ndarray:
        """Return the numbers [n] given to some quads."""
        n = len(quads)
        if self.count + n >= _MOST_FACES:
            raise SourceError('the scene has more than two million faces: make it shorter')
        points = quads.points.astype(np.float64)
        normal = face_normals(points)
        offset = np.einsum('nk,nk->n', normal, points.mean(axis=1))
        whole = np.ones(n, np.uint8)
        self._parts.append(
            (
                normal,
                offset,
                whole * np.uint8(material.label),
                whole * np.uint16(material.instance),
                whole * np.uint8(material.layer in _GROUND),
                whole * np.int32(node),
            )
        )
        self._table = None
        numbers = np.arange(self.count, self.count + n)
        self.count += n
        return numbers

    @property
    def table(self) -> tuple[np.ndarray, ...]:
        """Return normals, offsets, labels, instances, ground flags, nodes; row 0 is the sky."""
        if self._table is None:
            columns = [np.concatenate(c) for c in zip(*self._parts, strict=True)]
            sky: tuple = (np.zeros((1, 3)), 1.0, SKY, 0, 0, 0)
            self._table = tuple(
                np.concatenate([np.atleast_1d(np.asarray(first, c.dtype)), c])
                for first, c in zip(sky, columns, strict=True)
            )
        return self._table


def _codes_to_colour(numbers: np.ndarray) -> np.ndarray:
    """Return RGB [n,3] of face numbers, seven bits a channel: the lowest absorbs rounding."""
    bits = np.stack([numbers >> 14, numbers >> 7, numbers], axis=1) & 0x7F
    return (bits << 1 | 1).astype(np.uint8)


def _colour_to_codes(bgra: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(bgra).view(np.uint32)[..., 0]
    return (x >> 1 & 0x7F | x >> 2 & 0x3F80 | x >> 3 & 0x1FC000).astype(np.intp)


def _look_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return ``table[codes]``, by the quickest way NumPy has."""
    return np.take(table, codes, mode='clip')


class StreetRenderer:
    """Draws one scene from any pose at any time.

    Args:
        scene: the street.
        width, height: of the picture.
        camera_matrix: [3,3] pinhole; from the scene's camera rig where None.
        supersample: the picture is drawn this many times larger and averaged.

    Raises:
        SourceError: Panda3D is missing, or the scene is too large.
    """

    def __init__(
        self,
        scene: Scene,
        width: int,
        height: int,
        *,
        camera_matrix: np.ndarray | None = None,
        supersample: float = 2.0,
    ):
        p3d = panda.core()
        self.scene, self.width, self.height = scene, width, height
        if camera_matrix is None:
            f = width / 2 / np.tan(scene.camera.fov / 2)
            camera_matrix = [[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]
        self.K = np.array(camera_matrix, np.float64)
        k = supersample
        big = round(width * k), round(height * k)
        self._colour = panda.Canvas(*big)
        self._codes = panda.Canvas(width, height)
        fx, fy, cx, cy = self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]
        kx, ky = big[0] / width, big[1] / height
        self._colour.set_lens(fx * kx, fy * ky, (cx + 0.5) * kx - 0.5, (cy + 0.5) * ky - 0.5)
        self._codes.set_lens(fx, fy, cx, cy)
        self._colour_root, self._code_root = p3d.NodePath('colour'), p3d.NodePath('codes')
        self._faces = _Faces()
        self._poses: list[np.ndarray] = [np.eye(4)]
        self._figures: dict[tuple[int, int], tuple[Any, Any, int]] = {}
        self._develop = Development(scene.light, width, height, scene.seed)
        self._shadows = Shadows(scene)
        self._build_static()
        self._build_sky()

    # -- building ------------------------------------------------------------------------

    def _build_static(self) -> None:
        """Upload what never moves, in square chunks so that whole ones can be culled."""
        mesh = static_mesh(self.scene)
        for part, where, _ in standing(self.scene):
            if any(m.layer == 'glass' for m in part.groups):
                world = Mesh().merge(part, where)
                self._upload(world, 0, where[:3, 3])
            else:
                mesh.merge(part, where)
        chunks: dict[tuple[int, int], Mesh] = {}
        for material, quads in mesh.items():
            cell = np.floor(quads.points.mean(axis=1)[:, :2] / CHUNK).astype(int)
            order = np.lexsort((cell[:, 1], cell[:, 0]))
            cell = cell[order]
            cuts = np.flatnonzero(np.any(np.diff(cell, axis=0) != 0, axis=1)) + 1
            for rows in np.split(order, cuts):
                key = tuple(np.floor(quads.points[rows[0]].mean(axis=0)[:2] / CHUNK).astype(int))
                piece = Quads(
                    quads.points[rows], quads.normals[rows], quads.uv[rows], quads.tint[rows]
                )
                chunks.setdefault(key, Mesh()).groups.setdefault(material, []).append(piece)
        for chunk in chunks.values():
            self._upload(chunk, 0)

    def _upload(
        self, mesh: Mesh, node: int, centre: np.ndarray | None = None, yaw: float = 0.0
    ) -> tuple[Any, Any]:
        """Hang a mesh into both graphs; return the two paths."""
        p3d = panda.core()
        colour, codes = p3d.GeomNode('colour'), p3d.GeomNode('codes')
        for material, quads in mesh.items():
            if centre is not None:
                quads = Quads(quads.points - centre, quads.normals, quads.uv, quads.tint)
            gloss = 0.35 if material.texture.startswith('vehicle') else 0.0
            shade = lit(quads.normals, quads.tint, self.scene.light, yaw, gloss)
            colour.addGeom(
                panda.quads_geom(quads, shade),
                panda.colour_state(material.texture, material.layer),
            )
            if material.layer in _DECALS:
                continue
            world = quads if centre is None else Quads(quads.points + centre, *[quads.uv] * 3)
            numbers = self._faces.add(world, material, node)
            codes.addGeom(
                panda.quads_geom(quads, _codes_to_colour(numbers)),
                panda.code_state(material.texture, material.layer),
            )
        paths = self._colour_root.attachNewNode(colour), self._code_root.attachNewNode(codes)
        if centre is not None:
            for path in paths:
                path.setPos(*(float(v) for v in centre))
        return paths

    def _build_sky(self) -> None:
        """A dome around the camera, drawn first; the code pass leaves it at zero."""
        lon = np.linspace(0, 2 * np.pi, 33)
        lat = np.concatenate([[-0.02], np.linspace(0, 1, 13) ** 1.5]) * np.pi / 2
        grid = np.stack(
            [
                np.cos(lat)[:, None] * np.cos(lon),
                np.cos(lat)[:, None] * np.sin(lon),
                np.repeat(np.sin(lat)[:, None], len(lon), axis=1),
            ],
            axis=-1,
        )
        v = np.clip(np.sin(np.clip(lat, 0, None)), 0.004, 0.996)
        uv = np.dstack(np.broadcast_arrays(lon[None] / (2 * np.pi) * 2, v[:, None]))
        mesh = Mesh().add(
            _quads32(grid) * 850.0, Material(self.scene.light.sky, 'sky'), uv=_quads32(uv)
        )
        p3d = panda.core()
        node = p3d.GeomNode('sky')
        for material, quads in mesh.items():
            white = np.full((len(quads), 3), 255, np.uint8)
            node.addGeom(
                panda.quads_geom(quads, white), panda.colour_state(material.texture, 'sky')
            )
        self._sky = self._colour_root.attachNewNode(node)

    # -- moving things -------------------------------------------------------------------

    def _figure(self, index: int, mover: Mover, phase: int, yaw: float) -> tuple[Any, Any, int]:
        """Return the paths and node number of a mover in a phase of its stride, made once."""
        key = (index, phase)
        if key not in self._figures:
            mesh = Mesh()
            if mover.kind == 'vehicle':
                source = vehicle_mesh(mover.variant)
            elif mover.kind == 'cyclist':
                source = cyclist_mesh(mover.variant, phase)
            else:
                source = pedestrian_mesh(mover.variant, phase)
            mesh.merge(source, pose(0, 0, 0, 0, mover.scale), instance=mover.instance)
            length, width = mover.footprint
            spread = (1.12, 1.35) if mover.kind == 'vehicle' else (1.5, 1.5)
            a, b = length / 2 * spread[0] * 1.5, width / 2 * spread[1] * 1.35
            blob = [[(-a, -b, 0), (a, -b, 0), (a, b, 0), (-a, b, 0)]]
            mesh.add(np.array(blob), Material('blob', 'walk_decal'), normals=(0, 0, 1))
            self._poses.append(np.eye(4))
            number = len(self._poses) - 1
            self._figures[key] = (*self._upload(mesh, number, yaw=yaw), number)
        return self._figures[key]

    def _advance(self, time: float) -> None:
        """Move every mover to where it is at a time, s."""
        for colour, codes, _ in self._figures.values():
            colour.hide()
            codes.hide()
        for index, mover in enumerate(self.scene.movers):
            where, yaw = mover_pose(self.scene, mover, time)
            if where is None:
                continue
            phase = 0
            if mover.kind != 'vehicle' and (mover.speed or mover.drift):
                distance = (abs(mover.speed) + abs(mover.drift)) * time
                cycle = 1.5 if mover.kind == 'pedestrian' else 4.5
                phase = int((distance / cycle + mover.instance * 0.37) * PHASES) % PHASES
            elif mover.kind == 'pedestrian':
                phase = (mover.instance % 2) * 4
            colour, codes, number = self._figure(index, mover, phase, yaw)
            self._poses[number] = where
            state = panda.transform_of(where)
            for path in (colour, codes):
                path.setTransform(state)
                path.show()

    # -- drawing -------------------------------------------------------------------------

    def render(
        self, world_optical: np.ndarray, time: float = 0.0, *, truth: bool = True, frame: int = 0
    ) -> Rendered:
        """Draw the scene.

        Args:
            world_optical: 4x4 pose of the camera's optical frame in the world.
            time: s since the scene's start.
            truth: also give mask, instances and depth.
            frame: number that varies the sensor noise.
        """
        self._advance(time)
        eye = world_optical[:3, 3]
        self._sky.setPos(*(float(v) for v in eye))
        big = self._colour.render(self._colour_root, world_optical)
        image = cv2.resize(big, (self.width, self.height), interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
        codes = _colour_to_codes(self._codes.render(self._code_root, world_optical))
        normals, offsets, labels, instances, ground, nodes = self._faces.table
        depth = self._depth(codes, normals, offsets, nodes, world_optical)
        shadow = self._shadows.draw(self.K, world_optical, time, self.width, self.height)
        image = self._develop(image, depth, shadow, _look_up(ground, codes), frame)
        if not truth:
            return Rendered(image)
        return Rendered(image, _look_up(labels, codes), _look_up(instances, codes), depth)

    def _depth(
        self,
        codes: np.ndarray,
        normals: np.ndarray,
        offsets: np.ndarray,
        nodes: np.ndarray,
        world_optical: np.ndarray,
    ) -> np.ndarray:
        """Return float32 [h,w] depth: where each pixel's ray meets its face's plane."""
        poses = np.stack(self._poses)
        turn, shift = poses[:, :3, :3], poses[:, :3, 3]
        moving = nodes > 0
        n = normals.copy()
        d = offsets.copy()
        n[moving] = np.einsum('nij,nj->ni', turn[nodes[moving]], normals[moving])
        d[moving] += np.einsum('ni,ni->n', n[moving], shift[nodes[moving]])
        scale = d - n @ world_optical[:3, 3]
        scale = np.where(np.abs(scale) < 1e-6, 1e-6, scale)
        inverse = (n @ world_optical[:3, :3] @ np.linalg.inv(self.K)) / scale[:, None]
        table = np.ascontiguousarray(inverse.T, np.float32)
        a, b, c = (_look_up(column, codes) for column in table)
        a *= np.arange(self.width, dtype=np.float32)
        b *= np.arange(self.height, dtype=np.float32)[:, None]
        cv2.add(a, b, dst=a)
        cv2.add(a, c, dst=a)
        # Sky, and the hair's breadth of pixels whose centre misses a face seen edge-on.
        depth = cv2.divide(1.0, np.maximum(a, np.float32(1e-9), out=a))
        depth[depth > panda.FAR] = np.inf
        return depth

    def close(self) -> None:
        """Free the buffers and the scene graph."""
        for canvas in (self._colour, self._codes):
            canvas.close()
        self._colour_root.removeNode()
        self._code_root.removeNode()
        self._figures.clear()

    def __enter__(self) -> StreetRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _quads32(grid: np.ndarray) -> np.ndarray:
    """Return quads of a grid with float32 corners."""
    return quads_of_grid(grid).astype(np.float32)
