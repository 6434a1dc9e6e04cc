"""The parameters of each node: what they mean, what they may be, what contradicts what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seg_perception.core.errors import GroundError, ParameterError
from seg_perception.core.ground import GridSpec, ProjectionOptions
from seg_perception.core.labels import Role
from seg_perception.ros.camera_parameters import (
    CameraPoseParameters,
    ManagedParameters,
    ModelParameters,
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
class SegmentationParameters(CameraPoseParameters, ManagedParameters, ModelParameters):
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
    stale_after: float = parameter(
        1.0,
        'Without a usable image for this long the grid becomes unknown and diagnostics an error.',
        unit='s',
        low=0.05,
        high=60.0,
    )
    grid_enabled: bool = parameter(
        True, 'Publish ~/drivable_grid.', group='grid', reconfigure=True
    )
    grid_frame_id: str = parameter(
        'base_link',
        'Frame of the grid: x ahead, y left, z = 0 on the ground (REP 105 base_link or '
        'base_footprint).',
        group='grid',
        reconfigure=True,
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

    def __post_init__(self) -> None:
        check_values(self)
        self.check_model()
        check_frame_id('grid.frame_id', self.grid_frame_id)
        _check_input_size(self.input_size)
        for role in self.class_roles:
            _check_role(role)
        _ = self.grid_spec
        self._check_rate()

    def _check_rate(self) -> None:
        if self.grid_enabled and 0.0 < self.max_rate * self.stale_after <= 1.0:
            raise ParameterError(
                f"'max_rate' {self.max_rate:g} Hz leaves {1.0 / self.max_rate:g} s between "
                f"frames, but without one for 'stale_after' ({self.stale_after:g} s) the grid "
                'is unknown: raise one of them'
            )

    @property
    def base_frame(self) -> str:
        return self.grid_frame_id

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

    @cached_property
    def projection(self) -> ProjectionOptions:
        """The thresholds of the ground projection."""
        return ProjectionOptions(
            min_confidence=self.min_confidence,
            free_share=self.free_share,
            occupied_share=self.occupied_share,
            obstacle_pixels=self.obstacle_pixels,
            max_cells_per_pixel=self.max_cells_per_pixel,
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
