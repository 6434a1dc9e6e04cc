"""One frame through everything that is not a message: image -> mask -> drivable cells.

The live node and the offline replay run this same class, so what an evaluation measures is
what a robot gets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.ground import GridSpec, GroundProjector, ProjectionOptions
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.strategy import Segmenter

#: A pose that moved less than this (metres and matrix entries of the rotation) keeps its
#: table: building one takes a few frames' time, and a tenth of a milliradian moves no cell.
POSE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class GridResult:
    """Cells of the ground as one frame shows them.

    Attributes:
        cells: int8 [grid.height, grid.width], -1 unknown, 0 free .. 100 occupied.
        spec: the grid the cells belong to.
        sees_ground: False when no pixel of the camera falls on the grid.
    """

    cells: np.ndarray
    spec: GridSpec
    sees_ground: bool


@dataclass
class Timing:
    """Milliseconds a stage of the last frame took."""

    stages: dict[str, float] = field(default_factory=dict)

    def measure(self, stage: str, since: float) -> float:
        now = time.perf_counter()
        self.stages[stage] = (now - since) * 1e3
        return now


class Pipeline:
    """Segments frames and projects the masks; keeps the projection table between frames.

    Not thread-safe: one worker calls it.
    """

    def __init__(self, segmenter: Segmenter, labels: LabelSet | None = None) -> None:
        self.segmenter = segmenter
        self.timing = Timing()
        self.labels = labels or segmenter.labels
        self._projector: GroundProjector | None = None
        self._projector_key: tuple | None = None
        self._projector_pose: np.ndarray | None = None

    @property
    def labels(self) -> LabelSet:
        """The model's classes with the roles now in force."""
        return self._labels

    @labels.setter
    def labels(self, labels: LabelSet) -> None:
        self._labels = labels
        self._roles = labels.role_table()

    def segment(self, pixels: np.ndarray, color: str) -> SemanticResult:
        """Segment one picture.

        Args:
            pixels: uint8 [H, W, 3].
            color: 'rgb' or 'bgr'.
        """
        start = time.perf_counter()
        result = self.segmenter.segment(pixels, color)
        self.timing.measure('segment', start)
        self.timing.stages.update(self.segmenter.last_timing)
        return result

    def project(
        self,
        result: SemanticResult,
        camera: CameraModel,
        t_base_optical: np.ndarray,
        grid: GridSpec,
        options: ProjectionOptions,
    ) -> GridResult:
        """Map a mask onto the ground.

        Args:
            result: the mask to project.
            camera: calibration of the picture the mask was made from.
            t_base_optical: float [4, 4], the optical frame's pose in the grid's frame.
            grid: where the cells lie.
            options: thresholds.

        Raises:
            CameraModelError: the calibration is of another picture size.
            GroundError: the pose or grid cannot be used.
        """
        start = time.perf_counter()
        projector = self._projector_for(result, camera, t_base_optical, grid, options)
        if projector.sees_ground:
            cells = projector.project(result.labels, result.confidence, self._roles, options)
        else:
            cells = projector.unknown()
        self.timing.measure('project', start)
        return GridResult(cells, grid, projector.sees_ground)

    def _projector_for(
        self,
        result: SemanticResult,
        camera: CameraModel,
        pose: np.ndarray,
        grid: GridSpec,
        options: ProjectionOptions,
    ) -> GroundProjector:
        key = (camera.fingerprint(), result.size, grid, options.max_cells_per_pixel)
        same_pose = self._projector_pose is not None and np.allclose(
            pose, self._projector_pose, rtol=0.0, atol=POSE_TOLERANCE
        )
        if self._projector is None or key != self._projector_key or not same_pose:
            self._projector = GroundProjector(
                camera.scaled(*result.size),
                pose,
                grid,
                max_cells_per_pixel=options.max_cells_per_pixel,
            )
            self._projector_key = key
            self._projector_pose = np.array(pose, dtype=np.float64)
        return self._projector


def at_size(result: SemanticResult, width: int, height: int) -> SemanticResult:
    """Return the result with mask and confidence at another size, ids never mixed."""
    if result.size == (width, height):
        return result
    size = (width, height)
    return SemanticResult(
        labels=cv2.resize(result.labels, size, interpolation=cv2.INTER_NEAREST_EXACT),
        confidence=cv2.resize(result.confidence, size, interpolation=cv2.INTER_LINEAR),
        image_size=result.image_size,
    )
