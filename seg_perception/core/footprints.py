"""Where objects stand: the lower edges of their masks, seen through the camera on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError
from seg_perception.core.instances import Region
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances

#: Columns of a mask that are looked at, evenly spread.
COLUMNS = 16
#: A column's lowest pixel is a contact with the ground when it lies within this share of the
#: object's height above the lowest of all: wheels and feet, not bumpers and arms.
CONTACT_SHARE = 0.1


@dataclass(frozen=True)
class Footprint:
    """The part of the ground that an object stands on, as far as one picture shows it.

    Attributes:
        corners: float64 [4, 2], metres in the base frame: the near edge from the camera's left
            to its right, then the far edge back. Its depth is the class' usual one.
        index: of the object.
    """

    corners: np.ndarray
    index: int

    @property
    def centre(self) -> np.ndarray:
        """float64 [2], metres."""
        return self.corners.mean(axis=0)


def footprints(
    instances: Instances,
    regions: Sequence[Region],
    labels: LabelSet,
    camera: CameraModel,
    t_base_optical: np.ndarray,
    max_range: float = 60.0,
) -> list[Footprint]:
    """Return where the objects stand whose contact with the ground the picture shows.

    Left out are objects cut by the picture's lower edge (their contact is not in it), those that
    end above the horizon or farther than `max_range`, and classes that have no foot on the
    ground (``LabelClass.overhang`` with a footprint of 0).

    Args:
        instances: the objects.
        regions: their pixels (``core.instances.paste``).
        labels: the classes, for their depths (``LabelClass.footprint``).
        camera: calibration of the picture.
        t_base_optical: float [4, 4], the optical frame's pose in the base frame (z = 0 is the
            ground).
        max_range: metres from the camera.

    Raises:
        CameraModelError: the calibration is of another picture size.
    """
    if (camera.width, camera.height) != instances.image_size:
        raise CameraModelError(
            f'the calibration is for {camera.width}x{camera.height}, the picture has '
            f'{instances.image_size[0]}x{instances.image_size[1]}'
        )
    found = []
    for index, region in enumerate(regions):
        depth = labels.classes[int(instances.labels[index])].footprint
        bottom = _lowest_row(region)
        if depth <= 0 or bottom is None or bottom >= camera.height - 1:
            continue
        points = _on_ground(_contacts(region), camera, t_base_optical, max_range)
        if len(points):
            corners = _rectangle(points, t_base_optical[:2, 3], depth)
            found.append(Footprint(corners, index))
    return found


def _lowest_row(region: Region) -> int | None:
    rows = np.flatnonzero(region.mask.any(axis=1))
    return region.y + int(rows[-1]) if len(rows) else None


def _contacts(region: Region) -> np.ndarray:
    """float64 [n, 2]: pixel coordinates (u, v) of the lower edge where it touches the ground."""
    mask = region.mask
    columns = np.flatnonzero(mask.any(axis=0))
    if len(columns) > COLUMNS:
        columns = columns[np.linspace(0, len(columns) - 1, COLUMNS).round().astype(int)]
    lowest = len(mask) - 1 - mask[::-1, columns].argmax(axis=0)
    top = int(np.flatnonzero(mask.any(axis=1))[0])
    touching = lowest >= lowest.max() - CONTACT_SHARE * (lowest.max() - top)
    # The lower edge of the pixel, half a pixel below its centre.
    return np.stack([columns[touching] + region.x, lowest[touching] + region.y + 0.5], axis=1)


def _on_ground(
    uv: np.ndarray, camera: CameraModel, pose: np.ndarray, max_range: float
) -> np.ndarray:
    """float64 [n, 2]: where the rays of those pixels that see the ground meet it."""
    rays, valid = camera.rays(uv)
    directions = rays[valid] @ pose[:3, :3].T
    height = pose[2, 3]
    directions = directions[directions[:, 2] < -1e-6]
    distance = height / -directions[:, 2]
    points = pose[:2, 3] + directions[:, :2] * distance[:, None]
    return points[np.linalg.norm(points - pose[:2, 3], axis=1) <= max_range]


def _rectangle(points: np.ndarray, camera: np.ndarray, depth: float) -> np.ndarray:
    """float64 [4, 2]: across the line of sight as wide as the points, `depth` along it."""
    ahead = points.mean(axis=0) - camera
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
    left = np.array([-ahead[1], ahead[0]])
    along, across = (points - camera) @ ahead, (points - camera) @ left
    near = float(along.min())
    corners = [
        (near, across.max()),
        (near, across.min()),
        (near + depth, across.min()),
        (near + depth, across.max()),
    ]
    return np.array([camera + a * ahead + c * left for a, c in corners])
