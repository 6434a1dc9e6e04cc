"""The faces of a scene by number: what a picture of face numbers says about each pixel."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.simulation.mesh import SKY, Material, Quads, face_normals
from seg_perception.simulation.panda import FAR

# What shows the ground in the picture: through the hull, which only truth knows, it is seen.
_GROUND = ('land', 'road', 'walk', 'hull')
_MOST_FACES = 1 << 21


class FaceTable(NamedTuple):
    """One row a face; row 0 is the sky.

    Attributes:
        normal: [n,3] and offset [n]: the plane normal . p = offset, in its node's frame.
        label: uint8 [n] class id; instance: uint16 [n]; kind: uint8 [n] COCO category id or 0;
            ground: uint8 [n], 1 for ground.
        node: int32 [n], which pose carries it.
    """

    normal: np.ndarray
    offset: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    kind: np.ndarray
    ground: np.ndarray
    node: np.ndarray


class Faces:
    """Numbers faces as they are added."""

    def __init__(self) -> None:
        self._parts: list[FaceTable] = []
        self._table: FaceTable | None = None
        self.count = 1

    def add(self, quads: Quads, material: Material, node: int) -> np.ndarray:
        """Return the numbers [n] given to some quads.

        Raises:
            SourceError: more faces than the codes can number.
        """
        n = len(quads)
        if self.count + n >= _MOST_FACES:
            raise SourceError('the scene has more than two million faces: make it shorter')
        points = quads.points.astype(np.float64)
        normal = face_normals(points)
        self._parts.append(
            FaceTable(
                normal,
                np.einsum('nk,nk->n', normal, points.mean(axis=1)),
                np.full(n, material.label, np.uint8),
                np.full(n, material.instance, np.uint16),
                np.full(n, material.kind, np.uint8),
                np.full(n, material.layer in _GROUND, np.uint8),
                np.full(n, node, np.int32),
            )
        )
        self._table = None
        numbers = np.arange(self.count, self.count + n)
        self.count += n
        return numbers

    @property
    def table(self) -> FaceTable:
        """All faces so far."""
        if self._table is None:
            columns = [np.concatenate(c) for c in zip(*self._parts, strict=True)]
            sky = (np.zeros((1, 3)), 1.0, SKY, 0, 0, 0, 0)
            rows = zip(sky, columns, strict=True)
            self._table = FaceTable(
                *(np.concatenate([np.atleast_1d(np.asarray(a, c.dtype)), c]) for a, c in rows)
            )
        return self._table

    def inverse_depth(
        self, camera_matrix: np.ndarray, poses: np.ndarray, world_optical: np.ndarray
    ) -> np.ndarray:
        """Return float32 [3,n]: a face's 1/z at pixel (u, v) is a*u + b*v + c.

        A plane seen by a pinhole has an inverse depth that is linear in the picture.

        Args:
            camera_matrix: [3,3]; poses: [k,4,4] of the nodes; world_optical: 4x4 of the camera.
        """
        normal, offset, node = self.table.normal, self.table.offset, self.table.node
        moving = np.flatnonzero(node)
        n, d = normal.copy(), offset.copy()
        turn, shift = poses[node[moving], :3, :3], poses[node[moving], :3, 3]
        n[moving] = np.einsum('nij,nj->ni', turn, normal[moving])
        d[moving] += np.einsum('ni,ni->n', n[moving], shift)
        gap = d - n @ world_optical[:3, 3]
        gap = np.where(np.abs(gap) < 1e-6, 1e-6, gap)
        slope = n @ (world_optical[:3, :3] @ np.linalg.inv(camera_matrix)) / gap[:, None]
        return np.ascontiguousarray(slope.T, np.float32)


def depth_of(planes: np.ndarray, codes: np.ndarray, step: int = 1) -> np.ndarray:
    """Return float32 [h,w] depth, m, inf in the sky: each ray met with its face's plane.

    Args:
        planes: as of :meth:`Faces.inverse_depth`; codes: [h,w] face numbers.
        step: take every step-th pixel only.
    """
    h, w = codes.shape
    codes = np.ascontiguousarray(codes[::step, ::step])
    a, b, c = (look_up(column, codes) for column in planes)
    a *= np.arange(0, w, step, dtype=np.float32)
    b *= np.arange(0, h, step, dtype=np.float32)[:, None]
    cv2.add(a, b, dst=a)
    cv2.add(a, c, dst=a)
    # Sky, and the hair's breadth of pixels whose centre misses a face seen edge-on.
    depth = cv2.divide(1.0, np.maximum(a, np.float32(1e-9), out=a))
    depth[depth > FAR] = np.inf
    return depth


def codes_to_colour(numbers: np.ndarray) -> np.ndarray:
    """Return RGB [n,3] of face numbers, seven bits a channel: the lowest absorbs rounding."""
    bits = np.stack([numbers >> 14, numbers >> 7, numbers], axis=1) & 0x7F
    return (bits << 1 | 1).astype(np.uint8)


def colour_to_codes(bgra: np.ndarray) -> np.ndarray:
    """Return the face numbers [h,w] of a picture uint8 [h,w,4] of their colours."""
    x = np.ascontiguousarray(bgra).view(np.uint32)[..., 0]
    return (x >> 1 & 0x7F | x >> 2 & 0x3F80 | x >> 3 & 0x1FC000).astype(np.intp)


def look_up(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return ``table[codes]``, by the quickest way NumPy has."""
    return np.take(table, codes, mode='clip')
