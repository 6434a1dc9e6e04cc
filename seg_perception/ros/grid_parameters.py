"""Parameters of the trusted grid: where it lies, what it remembers, when it is not believed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from seg_perception.core.errors import GroundError, ParameterError
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GridSpec
from seg_perception.core.image_quality import QualityLimits
from seg_perception.ros.parameter_scheme import parameter

_DEFAULTS = QualityLimits()
_FUSION = FusionOptions()


@dataclass(frozen=True)
class GridParameters:
    """Extent, frame and kind of the grid."""

    grid_enabled: bool = parameter(
        True, 'Publish ~/drivable_grid.', group='grid', reconfigure=True
    )
    grid_frame_id: str = parameter(
        'base_link',
        "The robot's frame, in which the extent below is given: x ahead, y left, z = 0 on the "
        'ground (REP 105 base_link or base_footprint).',
        group='grid',
        reconfigure=True,
    )
    grid_publish_in: str = parameter(
        'auto',
        "Frame in which the grid is published: the robot's, or the odometry's (axes along it, "
        'cells snapped to the resolution, so that cells stay where they are while the robot '
        "moves). auto takes the odometry's where there is odometry.",
        group='grid',
        choices=('auto', 'odom', 'base'),
    )
    grid_resolution: float = parameter(
        0.1, 'Side of a cell.', group='grid', unit='m', low=0.01, high=10.0
    )
    grid_x_min: float = parameter(
        0.0, 'Near edge of the grid.', group='grid', unit='m', low=-500.0, high=500.0
    )
    grid_x_max: float = parameter(
        40.0, 'Far edge of the grid.', group='grid', unit='m', low=-500.0, high=500.0
    )
    grid_y_min: float = parameter(
        -10.0, 'Right edge of the grid.', group='grid', unit='m', low=-500.0, high=500.0
    )
    grid_y_max: float = parameter(
        10.0, 'Left edge of the grid.', group='grid', unit='m', low=-500.0, high=500.0
    )
    grid_graded: bool = parameter(
        False,
        'Cells carry 1..99 from the cost of their class and the confidence in it; false: 0 free '
        'and 100 occupied only.',
        group='grid',
    )
    grid_slope_pitch: float = parameter(
        0.0,
        "Slope of the ground along x in the robot's frame; positive falls ahead.",
        group='grid',
        unit='rad',
        low=-0.7,
        high=0.7,
    )
    grid_slope_roll: float = parameter(
        0.0,
        "Slope of the ground along y in the robot's frame; positive falls to the right.",
        group='grid',
        unit='rad',
        low=-0.7,
        high=0.7,
    )
    grid_slope_offset: float = parameter(
        0.0,
        "Height of the ground at the robot frame's origin.",
        group='grid',
        unit='m',
        low=-10.0,
        high=10.0,
    )

    @cached_property
    def grid_spec(self) -> GridSpec:
        """The grid's extent.

        Raises:
            ParameterError: it has no extent, too many cells, or no whole number of them.
        """
        for axis in ('x', 'y'):
            low, high = getattr(self, f'grid_{axis}_min'), getattr(self, f'grid_{axis}_max')
            if low >= high:
                raise ParameterError(
                    f"'grid.{axis}_min' ({low:g}) must be below 'grid.{axis}_max' ({high:g}): to "
                    'move both, set them in one request (ros2 param load, or '
                    'set_parameters_atomically), or the one that widens the grid first'
                )
        try:
            return GridSpec(
                resolution=self.grid_resolution,
                x_min=self.grid_x_min,
                x_max=self.grid_x_max,
                y_min=self.grid_y_min,
                y_max=self.grid_y_max,
            )
        except GroundError as error:
            raise ParameterError(f"'grid.*': {error}") from error


@dataclass(frozen=True)
class OdometryParameters(ABC):
    """Where the robot's motion comes from, and what it does to the camera's pose."""

    odometry_source: str = parameter(
        'auto',
        'Where the motion of the robot comes from: tf2, a nav_msgs/Odometry on `odom`, or none '
        "(each grid is then one frame's). auto takes tf2 where it is installed and knows the "
        'robot, else the topic where somebody publishes it, else none; once there is odometry, '
        'its loss makes the grid unknown. Diagnostics say which is in use.',
        group='odometry',
        choices=('auto', 'tf', 'topic', 'none'),
        reconfigure=True,
    )
    odometry_frame_id: str = parameter(
        'odom',
        "Frame of tf2's odometry (REP 105); a topic names its own.",
        group='odometry',
        reconfigure=True,
    )
    odometry_timeout: float = parameter(
        0.05,
        "How long to wait for odometry at the image's stamp.",
        group='odometry',
        unit='s',
        low=0.0,
        high=1.0,
    )
    odometry_max_gap: float = parameter(
        0.25,
        'Odometry older than the image by more than this, or with a longer gap around it, makes '
        'the grid unknown; up to it the pose is extrapolated.',
        group='odometry',
        unit='s',
        low=0.01,
        high=5.0,
    )
    odometry_jump_distance: float = parameter(
        0.5,
        'A pose farther than this from where the motion before it leads is a jump: the grid '
        'starts anew.',
        group='odometry',
        unit='m',
        low=0.01,
        high=100.0,
    )
    odometry_jump_angle: float = parameter(
        0.2, '... and so is one turned by more.', group='odometry', unit='rad', low=0.01, high=3.2
    )
    tilt_source: str = parameter(
        'none',
        'What tells roll and pitch of the robot against the ground, beside the mounting of the '
        'camera: the odometry, a sensor_msgs/Imu on `imu`, or none (it stands level).',
        group='tilt',
        choices=('none', 'odometry', 'imu'),
        reconfigure=True,
    )
    tilt_time_constant: float = parameter(
        0.0,
        'Tilt that lasts longer than this is taken for the slope of the road, on which the robot '
        'stands level; 0 = all tilt counts (even ground).',
        group='tilt',
        unit='s',
        low=0.0,
        high=600.0,
    )

    @property
    @abstractmethod
    def base_frame(self) -> str:
        """The robot's frame."""


@dataclass(frozen=True)
class FusionParameters:
    """What the grid remembers."""

    fusion_enabled: bool = parameter(
        True,
        "Fuse frames over time where there is odometry; false: each grid is one frame's.",
        group='fusion',
    )
    fusion_decay_free: float = parameter(
        _FUSION.decay_free,
        'Time constant in which free ground out of sight is forgotten.',
        group='fusion',
        unit='s',
        low=0.01,
        high=600.0,
    )
    fusion_decay_static: float = parameter(
        _FUSION.decay_static,
        'The same for obstacles that stand.',
        group='fusion',
        unit='s',
        low=0.01,
        high=600.0,
    )
    fusion_decay_moving: float = parameter(
        _FUSION.decay_moving,
        'The same for obstacles that move (vehicles, people).',
        group='fusion',
        unit='s',
        low=0.01,
        high=600.0,
    )


@dataclass(frozen=True)
class QualityParameters:
    """When a picture is not believed (core/image_quality.py)."""

    quality_enabled: bool = parameter(
        True,
        'Judge the pictures: while one is too dark, saturated, covered, blurred or unsure, its '
        'camera shows nothing of the ground.',
        group='quality',
    )
    quality_min_highlight: float = parameter(
        _DEFAULTS.min_highlight,
        'Dark: the brightest twentieth of the picture has a luminance below this.',
        group='quality',
        low=0.0,
        high=255.0,
    )
    quality_max_saturated: float = parameter(
        _DEFAULTS.max_saturated,
        'Glare: more than this share of the lower half is saturated.',
        group='quality',
        low=0.0,
        high=1.0,
    )
    quality_min_contrast: float = parameter(
        _DEFAULTS.min_contrast,
        'Covered: the luminance of brightest and darkest twentieth differs by less.',
        group='quality',
        low=0.0,
        high=255.0,
    )
    quality_min_detail: float = parameter(
        _DEFAULTS.min_detail,
        'Blurred: the sharpest hundredth of the picture has steps of luminance below this.',
        group='quality',
        low=0.0,
        high=255.0,
    )
    quality_min_confidence: float = parameter(
        _DEFAULTS.min_confidence,
        "Unsure: the network's mean confidence is below this.",
        group='quality',
        low=0.0,
        high=1.0,
    )
    quality_max_frozen: float = parameter(
        1.0,
        'Frozen: the robot has moved this far by its odometry, and the picture is the same to '
        'the last bit (a driver that repeats it); 0 = not watched.',
        group='quality',
        unit='m',
        low=0.0,
        high=1000.0,
    )
    quality_recovery: float = parameter(
        _DEFAULTS.recovery,
        'How long pictures must be good before the camera is believed again.',
        group='quality',
        unit='s',
        low=0.0,
        high=60.0,
    )

    @cached_property
    def quality_limits(self) -> QualityLimits:
        """What a picture must have."""
        return QualityLimits(
            min_highlight=self.quality_min_highlight,
            max_saturated=self.quality_max_saturated,
            min_contrast=self.quality_min_contrast,
            min_detail=self.quality_min_detail,
            min_confidence=self.quality_min_confidence,
            recovery=self.quality_recovery,
        )


@dataclass(frozen=True)
class ScanParameters:
    """Shape of ~/obstacle_scan."""

    scan_angle_min: float = parameter(
        -math.pi / 2, 'First bearing.', group='scan', unit='rad', low=-math.pi, high=math.pi
    )
    scan_angle_max: float = parameter(
        math.pi / 2, 'Last bearing.', group='scan', unit='rad', low=-math.pi, high=math.pi
    )
    scan_angle_increment: float = parameter(
        math.pi / 360, 'Step between bearings.', group='scan', unit='rad', low=0.001, high=0.5
    )
