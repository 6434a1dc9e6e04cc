"""What goes into the robot's ground with each frame, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GridSpec, GroundPlane
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.image_quality import QualityLimits
from seg_perception.core.motion import Motion
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.pipeline import GridResult


class Whereabouts(Protocol):
    """Where robot and camera were. Stamps are nanoseconds of the pictures' clock; 0 = none."""

    def robot(self, stamp: int) -> Motion | None:
        """The robot's pose; None where it has no odometry. Raises OdometryError."""

    def lead(self, stamp: int) -> float:
        """Seconds by which the newest odometry is younger than a stamp."""

    def camera(self, name: str, frame_id: str, stamp: int, motion: Motion | None) -> np.ndarray:
        """T_base_optical above level ground, float64 [4, 4].

        Raises ExtrinsicsError, OdometryError.
        """

    def take_interruption(self) -> str:
        """Why what is known of the ground must be forgotten, once; '' = it need not."""

    def clear(self) -> None:
        """Forget the past: the clock has jumped back."""


class GroundSettings(Protocol):
    """What is used of the segmentation node's parameters, which say more of each."""

    @property
    def quality_enabled(self) -> bool: ...
    @property
    def quality_max_frozen(self) -> float: ...
    @property
    def stale_after(self) -> float: ...
    @property
    def grid_frame_id(self) -> str: ...
    @property
    def grid_publish_in(self) -> str: ...
    @property
    def grid_graded(self) -> bool: ...
    @property
    def fusion_enabled(self) -> bool: ...
    @property
    def quality_limits(self) -> QualityLimits: ...
    @property
    def grid_spec(self) -> GridSpec: ...
    @property
    def plane(self) -> GroundPlane: ...
    @property
    def projection(self) -> ProjectionOptions: ...
    @property
    def fusion(self) -> FusionOptions: ...


@dataclass(frozen=True)
class Sight:
    """A frame on its way to the ground.

    Attributes:
        camera: its name; '' is the only one.
        frame_id: of the picture.
        stamp: of the picture, ns.
        arrival: when it came in, s of the clock that :class:`SharedGround` has.
        pixels, color: uint8 [H, W, 3], 'rgb' or 'bgr'.
        result: the picture's mask.
        model: the picture's calibration; None where there is none that fits: its ground is
            unknown.
        instances: gives uint16 [h, w], ids of objects in the picture, 0 = none; or None. Asked
            last, because it may wait.
    """

    camera: str
    frame_id: str
    stamp: int
    arrival: float
    pixels: np.ndarray
    color: str
    result: SemanticResult
    model: CameraModel | None
    instances: Callable[[], np.ndarray | None] = lambda: None


@dataclass(frozen=True)
class Reason:
    """Why the ground is unknown.

    Attributes:
        text: for people, says what to do.
        brief: the same without the figures that change from frame to frame.
    """

    text: str
    brief: str


@dataclass
class GroundUpdate:
    """What a frame makes known of the ground.

    Attributes:
        spec, frame_id: where the cells lie, in the robot's frame or the odometry's.
        cells: int8 [spec.height, spec.width], -1 unknown, 0 free .. 100 occupied; None when the
            frame shows nothing trustworthy.
        left_to_others: without cells: other cameras see, and their next frames say what is
            known. Else all of the ground is unknown.
        around: int8, the same on the grid of the settings, in the robot's frame; where it was
            asked for.
        frame: what the frame alone shows.
        alone: whether the cells are those of the frame alone, neither fused nor merged.
        motion: where the robot stood; None without odometry.
        problems: what was judged: 'picture', 'odometry', 'transform', 'camera_pose'; None where
            it was well.
        picture: the verdict on the picture in a word or two; '' where it was not judged.
        events: names and texts of what happened and is over.
        blind: of several cameras, those that show nothing now; None where nobody looked.
    """

    spec: GridSpec
    frame_id: str
    cells: np.ndarray | None = None
    left_to_others: bool = False
    around: np.ndarray | None = None
    frame: GridResult | None = None
    alone: bool = False
    motion: Motion | None = None
    problems: dict[str, Reason | None] = field(default_factory=dict)
    picture: str = ''
    events: list[tuple[str, str]] = field(default_factory=list)
    blind: tuple[str, ...] | None = None

    def complain(self, subject: str, text: str, brief: str = '') -> None:
        """Say what is wrong."""
        self.problems[subject] = Reason(text, brief or text)
