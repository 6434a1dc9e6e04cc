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

from seg_perception.simulation import panda
from seg_perception.simulation.development import Development, lit
from seg_perception.simulation.faces import (
    Faces,
    codes_to_colour,
    colour_to_codes,
    depth_of,
    look_up,
)
from seg_perception.simulation.mesh import (
    Material,
    Mesh,
    Quads,
    pose,
    quads_of_grid,
)
from seg_perception.simulation.people import cyclist_mesh, pedestrian_mesh, stride_phase
from seg_perception.simulation.scene import Mover, Scene, mover_pose
from seg_perception.simulation.shadows import Shadows
from seg_perception.simulation.street import standing, static_mesh
from seg_perception.simulation.vehicles import vehicle_mesh

# Sides of the squares, m, in which static quads are culled together, by layer.
_CHUNK = {
    'land': 1e6,
    'road': 60.0,
    'road_decal': 60.0,
    'walk': 60.0,
    'walk_decal': 60.0,
    'solid': 40.0,
    'cutout': 40.0,
    'glass': 40.0,
}
SIGHT = 200.0
"""Movers farther from the camera than this, m, are a few pixels in haze and not drawn."""
_HOLES = ('cutout', 'glass')
_DECALS = ('road_decal', 'walk_decal')


@dataclass
class Rendered:
    """What one call of :meth:`StreetRenderer.render` gives; truth is None where not asked for.

    Attributes:
        image: uint8 [h,w,3] RGB.
        mask: uint8 [h,w] CamVid class ids, 255 unlabelled.
        instances: uint16 [h,w], 0 = none, else the mover's number.
        kinds: uint8 [h,w], COCO category id of the thing, 0 = none.
        depth: float32 [h,w] m along the optical axis, inf where there is sky.
        ground: bool [h,w], the pixel shows the ground itself and nothing that stands on it.
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    instances: np.ndarray | None = None
    kinds: np.ndarray | None = None
    depth: np.ndarray | None = None
    ground: np.ndarray | None = None


class _Chunk:
    """Quads that are culled together, by what draws them: few geometries draw fast."""

    def __init__(self) -> None:
        self._colour: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
        self._code: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}

    def add(
        self,
        material: Material,
        quads: Quads,
        color: np.ndarray,
        numbers: np.ndarray | None,
        rows: np.ndarray,
    ) -> None:
        """Add some rows of quads with their colours and face numbers."""
        points, uv = quads.points[rows], quads.uv[rows]
        key = material.texture, material.layer
        if material.layer != 'hull':
            self._colour.setdefault(key, []).append((points, color[rows], uv))
        if numbers is None:
            return
        # Codes need a texture only for its holes.
        key = (material.texture if material.layer in _HOLES else 'white', material.layer)
        flat = np.repeat(codes_to_colour(numbers[rows])[:, None], 4, axis=1)
        self._code.setdefault(key, []).append((points, flat, uv))

    def hang(self, colour_root: Any, code_root: Any) -> tuple[Any, Any]:
        """Attach geometry to both graphs; return the two paths."""
        paths = []
        for root, parts, state in (
            (colour_root, self._colour, panda.colour_state),
            (code_root, self._code, panda.code_state),
        ):
            node = panda.core().GeomNode('quads')
            for key, pieces in parts.items():
                columns = [np.concatenate(c) for c in zip(*pieces, strict=True)]
                node.addGeom(panda.geometry(*columns), state(*key))
            paths.append(root.attachNewNode(node))
        return paths[0], paths[1]


class StreetRenderer:
    """Draws one scene from any pose at any time.

    Args:
        scene: the street.
        width, height: of the picture.
        camera_matrix: [3,3] pinhole; from the scene's camera rig where None.
        supersample: the picture is drawn this many times larger and averaged.
        truth_scale: how much finer than the picture truth is drawn.

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
        truth_scale: int = 1,
    ):
        p3d = panda.core()
        self.scene, self.width, self.height = scene, width, height
        if camera_matrix is None:
            f = width / 2 / np.tan(scene.camera.fov / 2)
            camera_matrix = [[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]
        self.K = np.array(camera_matrix, np.float64)
        k = supersample
        self._whole = float(k).is_integer() or k > 2
        big = round(width * k), round(height * k)
        self._colour = panda.Canvas(*big)
        self._codes = panda.Canvas(width, height)
        self._fine_K, self._fine = self.K, self._codes
        fx, fy, cx, cy = self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]
        kx, ky = big[0] / width, big[1] / height
        self._colour.set_lens(fx * kx, fy * ky, (cx + 0.5) * kx - 0.5, (cy + 0.5) * ky - 0.5)
        self._codes.set_lens(fx, fy, cx, cy)
        if truth_scale > 1:
            n, m = truth_scale, (truth_scale - 1) / 2
            self._fine = panda.Canvas(width * n, height * n)
            self._fine_K = np.diag([n, n, 1.0]) @ self.K + [[0, 0, m], [0, 0, m], [0, 0, 0]]
            self._fine.set_lens(n * fx, n * fy, n * cx + m, n * cy + m)
        self._colour_root, self._code_root = p3d.NodePath('colour'), p3d.NodePath('codes')
        self._faces = Faces()
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
        chunks: dict[tuple, _Chunk] = {}
        for material, quads in mesh.items():
            color, numbers = self._shade(quads, material, 0, 0.0)
            cell = np.floor(quads.points.mean(axis=1)[:, :2] / _CHUNK[material.layer]).astype(int)
            order = np.lexsort((cell[:, 1], cell[:, 0]))
            cuts = np.flatnonzero(np.any(np.diff(cell[order], axis=0) != 0, axis=1)) + 1
            for rows in np.split(order, cuts):
                key = (_CHUNK[material.layer], *cell[rows[0]])
                chunk = chunks.setdefault(key, _Chunk())
                chunk.add(material, quads, color, numbers, rows)
        for chunk in chunks.values():
            chunk.hang(self._colour_root, self._code_root)

    def _shade(
        self, quads: Quads, material: Material, node: int, yaw: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the vertex colours of quads and their face numbers, None for decals."""
        gloss = 0.35 if material.texture.startswith('vehicle') else 0.0
        color = lit(quads.normals, quads.tint, self.scene.light, yaw, gloss)
        numbers = None if material.layer in _DECALS else self._faces.add(quads, material, node)
        return color, numbers

    def _upload(
        self, mesh: Mesh, node: int, centre: np.ndarray | None = None, yaw: float = 0.0
    ) -> tuple[Any, Any]:
        """Hang a mesh into both graphs, about a centre; return the two paths."""
        chunk = _Chunk()
        for material, quads in mesh.items():
            color, numbers = self._shade(quads, material, node, yaw)
            if centre is not None:
                quads = Quads(quads.points - centre, quads.normals, quads.uv, quads.tint)
            chunk.add(material, quads, color, numbers, np.arange(len(quads)))
        paths = chunk.hang(self._colour_root, self._code_root)
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
            white = np.full((len(quads), 4, 3), 255, np.uint8)
            node.addGeom(
                panda.geometry(quads.points, white, quads.uv),
                panda.colour_state(material.texture, 'sky'),
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

    def _advance(self, time: float, eye: np.ndarray) -> None:
        """Move every mover to where it is at a time, s; those too far to matter are hidden."""
        for colour, codes, _ in self._figures.values():
            colour.hide()
            codes.hide()
        for index, mover in enumerate(self.scene.movers):
            where, yaw = mover_pose(self.scene, mover, time)
            if where is None or np.hypot(*(where[:2, 3] - eye[:2])) > SIGHT:
                continue
            phase = 0 if mover.kind == 'vehicle' else stride_phase(mover, time)
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
            truth: also give mask, instances, depth and ground, ``truth_scale`` times finer.
            frame: number that varies the sensor noise.
        """
        eye = world_optical[:3, 3]
        self._advance(time, eye)
        self._sky.setPos(*(float(v) for v in eye))
        big = self._colour.render(self._colour_root, world_optical)
        # Averaging is fast by whole factors only; up to twofold, linear reads every pixel too.
        way = cv2.INTER_AREA if self._whole else cv2.INTER_LINEAR
        image = cv2.resize(big, (self.width, self.height), interpolation=way)
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
        codes = colour_to_codes(self._codes.render(self._code_root, world_optical))
        table, poses = self._faces.table, np.stack(self._poses)
        planes = self._faces.inverse_depth(self.K, poses, world_optical)
        shadow = self._shadows.draw(self.K, world_optical, time, self.width, self.height)
        # Haze is smooth: every other pixel's depth is enough for it.
        coarse = depth_of(planes, codes, 2)
        image = self._develop(image, coarse, shadow, look_up(table.ground, codes), frame)
        if not truth:
            return Rendered(image)
        if self._fine is not self._codes:
            codes = colour_to_codes(self._fine.render(self._code_root, world_optical))
            planes = self._faces.inverse_depth(self._fine_K, poses, world_optical)
        columns = table.label, table.instance, table.kind
        labels, instances, kinds = (look_up(column, codes) for column in columns)
        ground = (look_up(table.ground, codes) > 0) & (instances == 0)
        return Rendered(image, labels, instances, kinds, depth_of(planes, codes), ground)

    def close(self) -> None:
        """Free the buffers and the scene graph."""
        for canvas in {self._colour, self._codes, self._fine}:
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
