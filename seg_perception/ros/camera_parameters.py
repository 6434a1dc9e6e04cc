"""Parameters that several nodes share: life cycle, model, camera input and camera pose."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seg_perception.core.errors import ParameterError
from seg_perception.core.grid import pose_from_mounting
from seg_perception.ros.parameter_scheme import parameter

PROVIDERS = ('auto', 'tensorrt', 'cuda', 'openvino', 'cpu')
RELIABILITIES = ('auto', 'reliable', 'best_effort')


@dataclass(frozen=True)
class ModelParameters:
    """Parameters of every node that runs a network on a camera's pictures."""

    model: str = parameter(
        '',
        'Model bundle: the name of one that `seg-perception models list` shows, or the path of '
        'its folder.',
        reconfigure=True,
    )
    provider: str = parameter(
        'auto',
        'What runs the network. auto takes the first that works here, in this order; a named one '
        'that does not work is an error, never replaced by the CPU.',
        choices=PROVIDERS,
        reconfigure=True,
    )
    precision: str = parameter(
        'auto',
        'Arithmetic of the network. auto leaves it to the provider, which may use bf16 or fp16 '
        'where the hardware is faster with it.',
        choices=('auto', 'fp32'),
        reconfigure=True,
    )
    threads: int = parameter(
        0, 'CPU threads of the network; 0 = one per core.', low=0, high=64, reconfigure=True
    )
    image_transport: str = parameter(
        'raw',
        'Whether to subscribe to `image` (sensor_msgs/Image) or to `image/compressed` '
        '(sensor_msgs/CompressedImage, jpeg or png).',
        choices=('raw', 'compressed'),
        reconfigure=True,
    )
    rectified: bool = parameter(
        False,
        'The image is rectified (image_rect): project with P of camera_info and no distortion.',
    )

    def check_model(self) -> None:
        """Raise ParameterError when no model is named."""
        if not self.model.strip():
            raise ParameterError(
                "'model' is empty: name a bundle that `seg-perception models list` shows"
            )


@dataclass(frozen=True)
class ManagedParameters:
    """Parameters of every managed node that turns one stream of messages into others."""

    input_reliability: str = parameter(
        'auto',
        'Reliability asked of the publishers of the inputs. auto asks for reliable, unless best '
        'effort is all that is offered.',
        choices=RELIABILITIES,
        reconfigure=True,
    )
    autostart: bool = parameter(
        True,
        'Configure and activate at start; false leaves both to a lifecycle manager. Read once, '
        'at start.',
        reconfigure=True,
    )
    lazy: bool = parameter(
        True, 'Work only while somebody listens to an output; false works on every frame.'
    )
    max_rate: float = parameter(
        0.0,
        'Frames used a second at most, the others are skipped; 0 = every frame there is time for.',
        unit='Hz',
        low=0.0,
        high=1000.0,
    )
    stale_after: float = parameter(
        1.0,
        'Without input for this long diagnostics report an error.',
        unit='s',
        low=0.05,
        high=60.0,
    )
    overlay_alpha: float = parameter(
        0.5, 'Opacity of the class colours in ~/overlay.', low=0.0, high=1.0
    )
    diagnostics_period: float = parameter(
        1.0, 'Time between messages on /diagnostics.', unit='s', low=0.1, high=60.0
    )


class Mounting(NamedTuple):
    """Where a lens is and how it looks, in the robot's frame: m and rad (pose_from_mounting)."""

    x: float
    y: float
    height: float
    roll: float
    pitch: float
    yaw: float

    def pose(self) -> np.ndarray:
        """Return T_base_optical, float64 [4, 4], read-only."""
        pose = pose_from_mounting(*self)
        pose.setflags(write=False)
        return pose


def check_cameras(names: tuple[str, ...]) -> None:
    """Check that names of cameras can be parts of topic names and are different.

    Raises:
        ParameterError: one can't, or is there twice.
    """
    for name in names:
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*', name):
            raise ParameterError(
                f"'cameras' holds '{name}': a name is a letter, then letters, digits and "
                'underscores, since topics are named by it'
            )
        if names.count(name) > 1:
            raise ParameterError(f"'cameras' holds '{name}' twice")


def read_mountings(entries: tuple[str, ...], cameras: tuple[str, ...]) -> dict[str, Mounting]:
    """Read mountings written as '<name>:x,y,height,roll,pitch,yaw'.

    Raises:
        ParameterError: an entry that can't be read, or of a camera that there is not.
    """
    mountings = {}
    for entry in entries:
        name, _, numbers = entry.partition(':')
        name = name.strip()
        try:
            values = Mounting(*(float(number) for number in numbers.split(',')))
        except (TypeError, ValueError):
            values = None
        if values is None or not all(map(math.isfinite, values)) or not values.height > 0.0:
            raise ParameterError(
                f"'camera_poses' holds '{entry}'; write '<name>:x,y,height,roll,pitch,yaw' in m "
                'and rad, height above 0'
            )
        if name not in cameras:
            raise ParameterError(
                f"'camera_poses' names '{name}', which is not one of 'cameras': "
                f'{", ".join(cameras) or "none"}'
            )
        mountings[name] = values
    return mountings


@dataclass(frozen=True)
class CameraPoseParameters(ABC):
    """Where the camera stands in the frame that the node calls its ground."""

    camera_pose_source: str = parameter(
        'auto',
        "Where the camera's pose comes from: tf2 at the image's stamp, or the parameters below. "
        'auto takes tf2 where it is installed and knows the camera, else the parameters; once '
        'tf2 has given a pose, auto never goes back. Diagnostics say which is in use.',
        group='camera_pose',
        choices=('auto', 'tf', 'parameters'),
        reconfigure=True,
    )
    camera_pose_x: float = parameter(
        0.0, 'Lens ahead of the grid frame.', group='camera_pose', unit='m', low=-50.0, high=50.0
    )
    camera_pose_y: float = parameter(
        0.0, 'Lens left of the grid frame.', group='camera_pose', unit='m', low=-50.0, high=50.0
    )
    camera_pose_height: float = parameter(
        1.5, 'Lens above the ground.', group='camera_pose', unit='m', low=0.01, high=100.0
    )
    camera_pose_roll: float = parameter(
        0.0,
        'Roll; positive leans right.',
        group='camera_pose',
        unit='rad',
        low=-math.pi,
        high=math.pi,
    )
    camera_pose_pitch: float = parameter(
        0.0,
        'Pitch; positive looks down.',
        group='camera_pose',
        unit='rad',
        low=-math.pi / 2,
        high=math.pi / 2,
    )
    camera_pose_yaw: float = parameter(
        0.0,
        'Yaw; positive looks left.',
        group='camera_pose',
        unit='rad',
        low=-math.pi,
        high=math.pi,
    )
    camera_pose_tf_timeout: float = parameter(
        0.05,
        "How long to wait for the transform at the image's stamp; past it the ground is unknown.",
        group='camera_pose',
        unit='s',
        low=0.0,
        high=1.0,
    )

    @property
    def mounting(self) -> Mounting:
        """The camera's place from the parameters."""
        return Mounting(
            self.camera_pose_x,
            self.camera_pose_y,
            self.camera_pose_height,
            self.camera_pose_roll,
            self.camera_pose_pitch,
            self.camera_pose_yaw,
        )

    def mounting_of(self, camera: str) -> Mounting:
        """The place of one camera of several, by its name; '' is the only one."""
        return self.mounting

    @property
    @abstractmethod
    def base_frame(self) -> str:
        """The frame in which the camera's pose is given: x ahead, y left, z = 0 on the ground."""
