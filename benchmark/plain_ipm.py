"""Plain inverse perspective mapping, as the usual packages do it: the baseline of the grid.

Every cell takes the class of the pixel that its middle projects to; what stands is thereby laid
down on the ground behind it. No evidence is weighed, nothing is hidden, nothing remembered.
"""

from __future__ import annotations

import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import DRIVABLE_CODE, OBSTACLE_CODE


class PlainIpm:
    """Maps masks of one camera in one pose.

    Args:
        camera: at the size of the masks.
        T_base_optical: 4x4 pose of the optical frame in the grid's frame.
        grid: the cells.
    """

    def __init__(self, camera: CameraModel, T_base_optical: np.ndarray, grid: GridSpec) -> None:
        x = grid.x_min + (np.arange(grid.width) + 0.5) * grid.resolution
        y = grid.y_min + (np.arange(grid.height) + 0.5) * grid.resolution
        gx, gy = np.meshgrid(x, y)
        ground = np.stack([gx.ravel(), gy.ravel(), np.zeros(gx.size), np.ones(gx.size)], axis=1)
        optical = ground @ np.linalg.inv(T_base_optical).T
        uv, self._seen = camera.project(optical[:, :3])
        u, v = np.rint(np.where(self._seen[:, None], uv, 0)).astype(np.int64).T
        self._pixel = v * camera.width + u
        self._shape = grid.shape

    def project(self, labels: np.ndarray, role_table: np.ndarray) -> np.ndarray:
        """Return int8 [height, width]: -1 unknown, 0 free, 100 occupied.

        Args:
            labels: uint8 [h, w]; role_table: ``LabelSet.role_table()``.
        """
        value = np.full(256, -1, np.int8)
        value[role_table == DRIVABLE_CODE] = 0
        value[role_table == OBSTACLE_CODE] = 100
        cells = value[labels.reshape(-1)[self._pixel]]
        cells[~self._seen] = -1
        return cells.reshape(self._shape)
