"""The parameters of each node: what they mean, what they may be, what contradicts what."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from seg_perception.core.errors import ParameterError
from seg_perception.core.fusion_options import FusionOptions
from seg_perception.core.grid import GroundPlane
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.labels import Role
from seg_perception.ros.camera_parameters import (
    CameraPoseParameters,
    ManagedParameters,
    ModelParameters,
    Mounting,
    check_cameras,
    read_mountings,
)
from seg_perception.ros.grid_parameters import (
    FusionParameters,
    GridParameters,
    OdometryParameters,
    QualityParameters,
    ScanParameters,
)
from seg_perception.ros.parameter_scheme import (
    check_frame_id,
    check_values,
    declare,
    declare_all,
    make_validator,
    parameter,
    read,
    render_yaml,
)
from seg_perception.ros.source_parameters import ImageSourceParameters

__all__ = [
    'ImageSourceParameters',
    'SegmentationParameters',
    'declare',
    'declare_all',
    'make_validator',
    'read',
    'render_yaml',
]


@dataclass(frozen=True)
class SegmentationParameters(
    ScanParameters,  # the last base's fields come first
    QualityParameters,
    CameraPoseParameters,
    OdometryParameters,
    FusionParameters,
    GridParameters,
    ManagedParameters,
    ModelParameters,
):
    """Parameters of segmentation_node; an instance is always valid.

    Raises:
        ParameterError: a value is out of range or contradicts another.
    """

    model: str = parameter(
        'deeplabv3plus_mobilenetv2_street',
        'Model bundle: the name of one that `seg-perception models list` shows, or the path of '
        'its folder.',
        reconfigure=True,
    )
    input_size: tuple[int, ...] = parameter(
        (),
        "Size [height, width] in pixels at which the network runs; [0, 0] = the model's own. "
        'Smaller is faster. Rounded to what the model can take.',
        low=0,
        high=8192,
        empty=(0, 0),
        reconfigure=True,
    )
    cameras: tuple[str, ...] = parameter(
        (),
        'Names of the cameras that see into the one grid, for example [front, left]: each comes '
        'in on <name>/image and <name>/camera_info and goes out on ~/<name>/mask and so on. '
        "[''] = the one camera on `image` and `camera_info`.",
        empty=('',),
        reconfigure=True,
    )
    camera_poses: tuple[str, ...] = parameter(
        (),
        "Mountings of several cameras where TF does not know them: '<name>:x,y,height,roll,pitch,"
        "yaw' in m and rad; a camera that is not named here has that of camera_pose.*. "
        "[''] = none.",
        empty=('',),
    )
    instances: bool = parameter(
        False,
        'Subscribe to `instances` (mono16 instance ids, 0 = none, as instance_node publishes '
        'them): where those of an image come in time, they sharpen its obstacles.',
        reconfigure=True,
    )
    instances_timeout: float = parameter(
        0.05,
        "How long to wait for an image's instances.",
        unit='s',
        low=0.0,
        high=1.0,
    )
    mask_size: str = parameter(
        'model',
        "Size of ~/mask and ~/confidence: the network's output, or scaled up to the image. "
        '~/camera_info always fits the mask.',
        choices=('model', 'image'),
    )
    class_roles: tuple[str, ...] = parameter(
        (),
        "Changes to what classes mean to the grid: '<class>:<role>' or '<class>:<role>:<cost>', "
        "role one of drivable, obstacle, ignore, cost 0..100; for example ['sidewalk:drivable:30']"
        ". [''] = none.",
        empty=('',),
    )
    min_confidence: float = parameter(
        0.5,
        'Pixels whose class is less probable than this say nothing about the ground.',
        low=0.0,
        high=1.0,
    )
    free_share: float = parameter(
        0.9,
        'A cell is free only if at least this share of all its pixels is confidently drivable, '
        'and none an obstacle.',
        low=0.5,
        high=1.0,
    )
    occupied_share: float = parameter(
        0.25,
        'A cell is occupied if at least this share of its pixels is a confident obstacle ...',
        low=0.01,
        high=1.0,
    )
    obstacle_pixels: int = parameter(
        4,
        '... or at least this many are: a post is a small share of a near cell.',
        low=1,
        high=100000,
    )
    max_cells_per_pixel: float = parameter(
        16.0,
        'Ground of which one pixel covers more cells than this is too far to be judged: unknown.',
        low=0.1,
        high=10000.0,
    )
    occlusion: bool = parameter(
        True,
        'An obstacle ends what is known along its bearing: the ground behind it is unknown. '
        'false marks the ground that its pixels would show were they ground (plain inverse '
        'perspective mapping).',
    )
    stale_after: float = parameter(
        1.0,
        'Without a usable image for this long the grid becomes unknown and diagnostics an error.',
        unit='s',
        low=0.05,
        high=60.0,
    )

    def __post_init__(self) -> None:
        check_values(self)
        self.check_model()
        check_frame_id('grid.frame_id', self.grid_frame_id)
        check_frame_id('odometry.frame_id', self.odometry_frame_id)
        check_cameras(self.cameras)
        _ = self.mountings
        _check_input_size(self.input_size)
        for role in self.class_roles:
            _check_role(role)
        _ = self.grid_spec
        self._check_rate()
        self._check_odometry()
        self._check_scan()

    def _check_rate(self) -> None:
        if self.grid_enabled and 0.0 < self.max_rate * self.stale_after <= 1.0:
            raise ParameterError(
                f"'max_rate' {self.max_rate:g} Hz leaves {1.0 / self.max_rate:g} s between "
                f"frames, but without one for 'stale_after' ({self.stale_after:g} s) the grid "
                'is unknown: raise one of them'
            )

    def _check_odometry(self) -> None:
        if self.odometry_source != 'none':
            return
        for name, value, without in (
            ('grid.publish_in', self.grid_publish_in, 'base'),
            ('tilt.source', self.tilt_source, 'none'),
        ):
            if value in ('odom', 'odometry'):
                raise ParameterError(
                    f"'{name}' is {value}, but 'odometry.source' is none: set one of them to "
                    f"what there is ('{name}' {without}, for one)"
                )

    def _check_scan(self) -> None:
        if self.scan_angle_min >= self.scan_angle_max:
            raise ParameterError(
                f"'scan.angle_min' ({self.scan_angle_min:g}) must be below 'scan.angle_max' "
                f'({self.scan_angle_max:g}): to move both, set them in one request'
            )

    @property
    def base_frame(self) -> str:
        return self.grid_frame_id

    @cached_property
    def mountings(self) -> dict[str, Mounting]:
        """The mounting of each camera that `camera_poses` names.

        Raises:
            ParameterError: an entry that can't be read, or of a camera that there is not.
        """
        return read_mountings(self.camera_poses, self.cameras)

    def mounting_of(self, camera: str) -> Mounting:
        """The mounting of a camera where TF does not know it."""
        return self.mountings.get(camera, self.mounting)

    @cached_property
    def scan_range_max(self) -> float:
        """How far the grid reaches from the robot, m."""
        s = self.grid_spec
        return math.hypot(max(abs(s.x_min), abs(s.x_max)), max(abs(s.y_min), abs(s.y_max)))

    @cached_property
    def plane(self) -> GroundPlane:
        """The ground in the robot's frame."""
        return GroundPlane.from_slope(
            self.grid_slope_pitch, self.grid_slope_roll, self.grid_slope_offset
        )

    @property
    def ground_settings(self) -> tuple:
        """Everything that decides which cells a frame frees; another one voids what is known."""
        return (
            self.projection,
            self.plane,
            self.grid_spec,
            self.class_roles,
            self.mounting,
            self.mountings,
            self.rectified,
        )

    @cached_property
    def fusion(self) -> FusionOptions:
        """What the fusion forgets, and when."""
        return FusionOptions(
            decay_free=self.fusion_decay_free,
            decay_static=self.fusion_decay_static,
            decay_moving=self.fusion_decay_moving,
            stale_after=self.stale_after,
        )

    @cached_property
    def projection(self) -> ProjectionOptions:
        """The thresholds of the ground projection."""
        return ProjectionOptions(
            min_confidence=self.min_confidence,
            free_share=self.free_share,
            occupied_share=self.occupied_share,
            obstacle_pixels=self.obstacle_pixels,
            max_cells_per_pixel=self.max_cells_per_pixel,
            occlusion=self.occlusion,
            graded=self.grid_graded,
        )

    @property
    def network_size(self) -> tuple[int, int] | None:
        """(height, width) at which the network shall run; None = the model's own."""
        return (self.input_size[0], self.input_size[1]) if self.input_size else None


def _check_input_size(size: tuple[int, ...]) -> None:
    if size and (len(size) != 2 or min(size) < 32):
        raise ParameterError(
            f"'input_size' is {list(size)}; it must be [height, width] of at least 32 pixels "
            "each, or [0, 0] for the model's own"
        )


def _check_role(text: str) -> None:
    name, *rest = (part.strip() for part in text.split(':'))
    roles = [role.value for role in Role]
    fits = bool(name) and len(rest) in (1, 2) and rest[0] in roles
    if fits and len(rest) == 2:
        fits = rest[1].isdecimal() and int(rest[1]) <= 100
    if not fits:
        raise ParameterError(
            f"'class_roles' holds '{text}'; write '<class>:<role>' or '<class>:<role>:<cost>' "
            f'with role one of {", ".join(roles)} and cost 0..100'
        )


if __name__ == '__main__':
    print(render_yaml(SegmentationParameters), end='')
