"""From a mask to the ground: which cells are free, which are occupied, which are unknown.

The promise is that no cell is free by mistake: it takes confident drivable pixels all over the
cell, and nothing that stands, or may stand, in the cell or before it on the way from the camera.
The first thing that stands on a bearing ends what is known there: where it meets the ground and
a footprint behind that is occupied, what lies beyond is unknown. Plain inverse perspective
mapping (``ProjectionOptions(occlusion=False)``) smears it over all the ground that it hides.
"""

from __future__ import annotations

import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.grid import GridSpec, GroundPlane, check_pose
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.ground_fan import Fan, foot_height, lay_out
from seg_perception.core.ground_observation import GroundObservation
from seg_perception.core.ground_options import ProjectionOptions, check_budget
from seg_perception.core.ground_view import View

#: A pose that moved less than this (metres and matrix entries of the rotation) keeps its table:
#: a tenth of a milliradian moves no cell.
POSE_TOLERANCE = 1e-4


class GroundProjector:
    """Maps masks of one camera onto a grid.

    Args:
        camera: model at the size of the mask (see ``CameraModel.scaled``).
        T_base_optical: float [4, 4], pose of the optical frame in the grid's frame.
        grid: the cells, in the base frame.
        max_cells_per_pixel: pixel budget, see :class:`ProjectionOptions`.
        plane: the ground, z = 0 of the base frame unless given.

    A pose from which no pixel sees the grid is no error: ``sees_ground`` tells.

    Raises:
        GroundError: the pose is no rigid transform, or the budget is not positive.
    """

    def __init__(
        self,
        camera: CameraModel,
        T_base_optical: np.ndarray,
        grid: GridSpec,
        *,
        max_cells_per_pixel: float = 16.0,
        plane: GroundPlane | None = None,
    ) -> None:
        self.camera = camera
        self.grid = grid
        self._plane = plane or GroundPlane()
        self._budget = max_cells_per_pixel
        check_budget(max_cells_per_pixel)
        self._fan: Fan | None = None
        self._view: View | None = None
        self._given: bytes | None = None
        self._pose = np.zeros((4, 4))
        self.set_pose(T_base_optical)

    def set_pose(self, T_base_optical: np.ndarray) -> bool:
        """Take a new pose of the camera; cheap while it only tilts and moves a little.

        Returns:
            Whether it differs enough from the one before to matter.

        Raises:
            GroundError: the pose is no rigid transform.
        """
        given = np.asarray(T_base_optical).tobytes()
        if given == self._given:  # most mounts are fixed
            return False
        pose = check_pose(T_base_optical)
        self._given = given
        if np.abs(pose - self._pose).max() <= POSE_TOLERANCE:
            return False
        self._pose = pose.copy()
        height = foot_height(pose, self._plane)
        if self._fan is None or not self._fan.serves(pose, height):
            self._fan = lay_out(self.camera, pose, self.grid, self._plane, self._budget)
        self._view = None
        if self._fan is not None:
            self._view = View.of(
                self._fan, self.camera, pose, self._plane, self.grid, self._budget
            )
        return True

    @property
    def visible_cells(self) -> int:
        """How many cells the camera sees at all, within the pixel budget."""
        return 0 if self._view is None else self._view.visible_cells

    @property
    def sees_ground(self) -> bool:
        """Whether the camera sees any cell."""
        return self.visible_cells > 0

    def observe(
        self,
        labels: np.ndarray,
        confidence: np.ndarray,
        classes: GroundClasses,
        options: ProjectionOptions | None = None,
        *,
        instances: np.ndarray | None = None,
    ) -> GroundObservation:
        """Map one mask onto the grid.

        Args:
            labels: uint8 [h, w], the size of the camera model.
            confidence: uint8 [h, w], 0..255 = 0..1.
            classes: what the labels mean.
            options: thresholds; the pixel budget in them has no effect here, it is part of
                the table.
            instances: uint16 [h, w], ids of objects, 0 = none: what one object covers has no
                gaps then.

        Returns:
            Cells -1 unknown, 0 free .. 100 occupied, and what else the frame tells.

        Raises:
            GroundError: an array is of another size or type.
        """
        options = options or ProjectionOptions()
        self._check_picture('labels', labels)
        self._check_picture('confidence', confidence)
        if instances is not None:
            self._check_picture('instances', instances, np.uint16)
        if self._view is None:
            return GroundObservation.unknown(self.grid)
        return self._view.observe(labels, confidence, classes, options, instances)

    def _check_picture(self, name: str, array: np.ndarray, dtype: type = np.uint8) -> None:
        expected = (self.camera.height, self.camera.width)
        if array.dtype != dtype or array.shape != expected:
            raise GroundError(
                f'{name} must be {np.dtype(dtype)} {expected}, the size the camera model was '
                f'scaled to, got {array.dtype} {array.shape}'
            )
