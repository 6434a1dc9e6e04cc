"""The parameters of image_source_node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seg_perception.core.errors import ParameterError
from seg_perception.ros.parameter_scheme import check_frame_id, check_values, parameter


@dataclass(frozen=True)
class ImageSourceParameters:
    """Parameters of image_source_node, which all hold from start to end.

    Raises:
        ParameterError: a value is out of range or contradicts another.
    """

    READ_AT: ClassVar[str] = 'start'

    kind: str = parameter(
        'auto',
        'What uri names; auto tells by the path.',
        choices=('auto', 'video', 'folder', 'bag', 'device', 'simulator'),
        reconfigure=True,
    )
    uri: str = parameter(
        '',
        'A video file, a folder of pictures, a rosbag2 (its folder, or one .mcap or .db3 file), '
        'a camera device (/dev/video0, or its number in quotes), or a simulated street '
        '(simulator:SEED).',
        reconfigure=True,
    )
    rate: float = parameter(
        0.0,
        "Pictures a second; 0 = the source's own (of the simulator: 10).",
        unit='Hz',
        low=0.0,
        high=1000.0,
        reconfigure=True,
    )
    loop: bool = parameter(
        False, 'Start again at the end, instead of ending the node.', reconfigure=True
    )
    start: int = parameter(
        0, 'Pictures left out at the beginning.', low=0, high=2**31 - 1, reconfigure=True
    )
    limit: int = parameter(
        0, 'Pictures published at most; 0 = all.', low=0, high=2**31 - 1, reconfigure=True
    )
    frame_id: str = parameter(
        'camera_optical_frame',
        'Frame of images and camera_info (REP 103: z ahead, x right, y down). Empty = the one '
        'recorded in a bag.',
        reconfigure=True,
    )
    camera_info_url: str = parameter(
        '',
        "Calibration in camera_calibration's YAML format: a path, file:///... or "
        'package://<package>/...; empty = that of the bag, else none.',
        reconfigure=True,
    )
    camera_name: str = parameter(
        '',
        'Name the calibration must be of; empty = any.',
        reconfigure=True,
    )
    image_topic: str = parameter(
        '', 'Of a bag: which image topic; empty = the only one.', reconfigure=True
    )
    camera_info_topic: str = parameter(
        '',
        "Of a bag: which camera_info topic; empty = the image topic's sibling.",
        reconfigure=True,
    )
    image_transport: str = parameter(
        'raw',
        'Publish image_raw, or (of a bag of CompressedImage) image_raw/compressed undecoded.',
        choices=('raw', 'compressed'),
        reconfigure=True,
    )
    encoding: str = parameter(
        'bgr8', 'Encoding of image_raw.', choices=('bgr8', 'rgb8'), reconfigure=True
    )
    width: int = parameter(
        0,
        "Of a device or the simulator: width to ask for, with height; 0 = the device's own, or "
        '640x360.',
        unit='pixels',
        low=0,
        high=16384,
        reconfigure=True,
    )
    height: int = parameter(
        0,
        'Of a device or the simulator: height to ask for, with width; 0 as for width.',
        unit='pixels',
        low=0,
        high=16384,
        reconfigure=True,
    )
    fourcc: str = parameter(
        '',
        "Of a device: pixel format to ask for, such as MJPG or YUYV; empty = the device's own.",
        reconfigure=True,
    )
    reliability: str = parameter(
        'reliable',
        'Reliability with which images and camera_info are offered.',
        choices=('reliable', 'best_effort'),
        reconfigure=True,
    )
    stamps: str = parameter(
        'wall',
        'Stamps of what is published: the moment of publication, or the recorded ones (of a '
        'video or folder: the start plus the time in it). Recorded stamps jump back in a loop.',
        choices=('wall', 'original'),
        reconfigure=True,
    )
    wait_for_subscribers: int = parameter(
        0,
        'Subscribers of the image to wait for before the first picture.',
        low=0,
        high=100,
        reconfigure=True,
    )
    wait_for_camera_info_subscribers: int = parameter(
        0,
        'Subscribers of camera_info to wait for before the first picture.',
        low=0,
        high=100,
        reconfigure=True,
    )
    progress: bool = parameter(
        True,
        'Show how far it is: a bar on a terminal, else a line now and then.',
        reconfigure=True,
    )

    simulator_seconds: float = parameter(
        30.0,
        'Length of the simulated drive.',
        group='simulator',
        unit='s',
        low=0.1,
        high=600.0,
        reconfigure=True,
    )
    simulator_prerender: bool = parameter(
        False,
        'Draw the whole drive into memory before the first picture and play it at its rate, '
        'instead of drawing in real time, as often as the machine can.',
        group='simulator',
        reconfigure=True,
    )
    simulator_style: str = parameter(
        '',
        'Kind of street; empty = by the seed.',
        group='simulator',
        choices=('', 'high_street', 'terrace', 'suburb', 'avenue'),
        reconfigure=True,
    )
    simulator_supersample: float = parameter(
        1.0,
        'Draw so many times larger and average: 2 is cleaner and four times as slow.',
        group='simulator',
        low=1.0,
        high=3.0,
        reconfigure=True,
    )
    simulator_odom_frame_id: str = parameter(
        'odom', "Frame of the simulator's odometry.", group='simulator', reconfigure=True
    )
    simulator_base_frame_id: str = parameter(
        'base_link', 'Frame of the simulated vehicle.', group='simulator', reconfigure=True
    )

    def __post_init__(self) -> None:
        check_values(self)
        for name in ('simulator_odom_frame_id', 'simulator_base_frame_id'):
            check_frame_id(name.replace('_', '.', 1), getattr(self, name))
        if self.frame_id:
            check_frame_id('frame_id', self.frame_id)
        if (self.width == 0) != (self.height == 0):
            raise ParameterError(
                f"'width' ({self.width}) and 'height' ({self.height}) go together: set both, or "
                'neither'
            )
        if self.fourcc and (len(self.fourcc) != 4 or not self.fourcc.isascii()):
            raise ParameterError(f"'fourcc' is '{self.fourcc}'; it has four letters, as in MJPG")

    @property
    def device_size(self) -> tuple[int, int] | None:
        """(width, height) to ask of a device or the simulator; None = its own."""
        return (self.width, self.height) if self.width else None
