"""One frame through everything that is not a message: image -> mask -> cells -> fused cells.

The live node and the offline replay run this same class, so what an evaluation measures is
what a robot gets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import GroundError
from seg_perception.core.fusion import GridFusion
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground import GroundProjector
from seg_perception.core.ground_classes import GroundClasses
from seg_perception.core.ground_observation import GroundObservation
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.strategy import Segmenter
from seg_perception.runtime.timing import Timing

#: Frames in which fused cells can be asked for.
FRAMES = ('base', 'odom')
_DEFAULT_RATES, _FLOOR = FusionOptions(), GroundPlane()


@dataclass(frozen=True)
class GridResult:
    """Cells of the ground, as one frame shows them or as all frames together do.

    Attributes:
        cells: int8 [spec.height, spec.width], -1 unknown, 0 free .. 100 occupied.
        spec: the grid the cells belong to.
        sees_ground: False when no pixel of the camera falls on the grid.
        observation: what the newest frame alone shows, in the robot's frame; None where none
            was added.
        frame: 'base': spec lies in the robot's frame; 'odom': in the odometry's.
        reset: why everything before this frame was forgotten; '' if it was not.
    """

    cells: np.ndarray
    spec: GridSpec
    sees_ground: bool
    observation: GroundObservation | None = None
    frame: str = 'base'
    reset: str = ''


class Pipeline:
    """Segments frames, projects the masks and adds them up.

    Keeps one projection table per camera, and the memory of the fused grid, between frames.

    Not thread-safe: one worker calls it.
    """

    def __init__(self, segmenter: Segmenter, labels: LabelSet | None = None) -> None:
        self.segmenter = segmenter
        self.timing = Timing()
        self.labels = labels or segmenter.labels
        self._projectors: dict[str, tuple[tuple, GroundProjector]] = {}
        self._fusion: GridFusion | None = None

    @property
    def labels(self) -> LabelSet:
        """The model's classes with the roles now in force."""
        return self._labels

    @labels.setter
    def labels(self, labels: LabelSet) -> None:
        self._labels = labels
        self._classes = {
            graded: GroundClasses.of(labels, graded=graded) for graded in (False, True)
        }

    def segment(self, pixels: np.ndarray, color: str) -> SemanticResult:
        """Segment one picture.

        Args:
            pixels: uint8 [H, W, 3].
            color: 'rgb' or 'bgr'.
        """
        start = time.perf_counter()
        result = self.segmenter.segment(pixels, color)
        self.timing.segmented(start, self.segmenter.last_timing)
        return result

    def project(
        self,
        result: SemanticResult,
        camera: CameraModel,
        t_base_optical: np.ndarray,
        grid: GridSpec,
        options: ProjectionOptions,
        *,
        camera_id: str = '',
        plane: GroundPlane | None = None,
        instances: np.ndarray | None = None,
    ) -> GridResult:
        """Map a mask onto the ground.

        Args:
            result: the mask to project.
            camera: calibration of the picture the mask was made from.
            t_base_optical: float [4, 4], the optical frame's pose in the grid's frame, at the
                picture's stamp.
            grid: where the cells lie.
            options: thresholds; with ``graded`` the cells carry the classes' costs.
            camera_id: which camera, where there are several: each keeps a table of its own.
            plane: the ground, z = 0 of the grid's frame unless given.
            instances: uint16 [h, w], ids of objects in the same picture at any size, 0 = none;
                sharpens what moving things cover.

        Raises:
            CameraModelError: the calibration is of another picture size.
            GroundError: the pose, grid or instance picture cannot be used.
        """
        start = time.perf_counter()
        projector = self._projector_for(
            camera_id, result, camera, t_base_optical, grid, options, plane or _FLOOR
        )
        observation = projector.observe(
            result.labels,
            result.confidence,
            self._classes[options.graded],
            options,
            instances=_instances_at(instances, result.size),
        )
        self.timing.measure('project', start)
        return GridResult(observation.cells, grid, projector.sees_ground, observation)

    def fuse(
        self,
        result: GridResult,
        t_odom_base: np.ndarray,
        stamp: float,
        *,
        options: FusionOptions | None = None,
        graded: bool = False,
        frame: str = 'base',
    ) -> GridResult:
        """Add one frame, of any camera, to what is known, and return all of it.

        Args:
            result: as :meth:`project` returned it.
            t_odom_base: float [4, 4], the robot's pose in the odometry's frame at the picture's
                stamp.
            stamp: of the picture, s.
            options: rates; other ones than before drop the memory, as another grid does.
            graded: give costs 0..100, not just 0 and 100; ask for it in the projection, too.
            frame: 'base' gives the cells around the robot at that pose, 'odom' a window of the
                odometry's frame that holds them, snapped to the resolution.

        Raises:
            GroundError: an unusable pose or stamp, or a result that no frame made.
        """
        start = time.perf_counter()
        if result.observation is None:
            raise GroundError('only what project() returned can be fused')
        options = options or _DEFAULT_RATES
        fusion = self._fusion
        if fusion is None or (fusion.spec, fusion.options, fusion.graded) != (
            result.observation.spec,
            options,
            graded,
        ):
            fusion = self._fusion = GridFusion(result.observation.spec, options, graded=graded)
        report = fusion.add(result.observation, t_odom_base, stamp)
        cells, spec = _read(fusion, t_odom_base, stamp, frame)
        self.timing.measure('fuse', start)
        return GridResult(
            cells, spec, result.sees_ground, result.observation, frame, report.reason
        )

    def fused(
        self, t_odom_base: np.ndarray, stamp: float, *, frame: str = 'base'
    ) -> GridResult | None:
        """Return what is known without a new frame; None before the first and after a reset.

        Raises:
            GroundError: an unusable pose or stamp.
        """
        if self._fusion is None or self._fusion.newest is None:
            return None
        cells, spec = _read(self._fusion, t_odom_base, stamp, frame)
        return GridResult(cells, spec, bool((cells >= 0).any()), None, frame)

    def reset_fusion(self) -> None:
        """Forget all frames: the fused grid is unknown until the next one."""
        if self._fusion is not None:
            self._fusion.reset()

    def _projector_for(
        self,
        camera_id: str,
        result: SemanticResult,
        camera: CameraModel,
        pose: np.ndarray,
        grid: GridSpec,
        options: ProjectionOptions,
        plane: GroundPlane,
    ) -> GroundProjector:
        key = (camera.fingerprint(), result.size, grid, options.max_cells_per_pixel, plane)
        known = self._projectors.get(camera_id)
        if known is not None and known[0] == key:
            known[1].set_pose(pose)
            return known[1]
        projector = GroundProjector(
            camera.scaled(*result.size),
            pose,
            grid,
            max_cells_per_pixel=options.max_cells_per_pixel,
            plane=plane,
        )
        self._projectors[camera_id] = key, projector
        return projector


def _read(
    fusion: GridFusion, t_odom_base: np.ndarray, stamp: float, frame: str
) -> tuple[np.ndarray, GridSpec]:
    if frame not in FRAMES:
        raise GroundError(f'frame must be one of {", ".join(FRAMES)}, got {frame!r}')
    if frame == 'odom':
        return fusion.odom_cells(t_odom_base, stamp)
    return fusion.cells(t_odom_base, stamp), fusion.spec


def _instances_at(instances: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """Return the picture of instance ids at the mask's size, ids never mixed."""
    if instances is None:
        return None
    if instances.ndim != 2 or instances.dtype != np.uint16 or not instances.size:
        raise GroundError(
            f'instances must be uint16 [h, w], got {instances.dtype} {instances.shape}'
        )
    if instances.shape == size[::-1]:
        return instances
    return cv2.resize(instances, size, interpolation=cv2.INTER_NEAREST)
