"""A rendered drive as a recording: what a robot would record, and the exact truth beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header

from seg_perception.core.errors import SourceError
from seg_perception.core.grid import GridSpec
from seg_perception.replay.truth import (
    SIM_CONTACTS,
    SIM_GRID,
    SIM_INSTANCES,
    SIM_KINDS,
    SIM_MASK,
    SIM_VISIBLE,
)
from seg_perception.ros.bag_writer import BagWriter, as_bag_message, typestore
from seg_perception.ros.images import image_message
from seg_perception.ros.messages import camera_info_message, occupancy_grid, stamp_from_ns
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import TF, quaternion

START_NS = 1_700_000_000_000_000_000
CAMERA, OPTICAL = '/camera', 'camera_optical_frame'


def record_drive(
    bag: Path,
    *,
    seed: int = 7,
    frames: int = 90,
    rate: float = 10.0,
    size: str = '640x360',
    jpeg: bool = False,
    grid: GridSpec | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Path:
    """Render a drive into a new bag.

    Topics: /camera/image_raw (or image_raw/compressed), /camera/camera_info, /tf (odom ->
    base_link), /tf_static (base_link -> camera), /odom, and the truth: /truth/mask (mono8,
    CamVid ids), /truth/instances (mono16), /truth/kinds (mono8, COCO
    category ids of the instances), /truth/grid and /truth/visible (OccupancyGrid on
    ``grid``: 0 drivable and clear, 100 not, -1 where a boundary cuts the cell; visible 100) and
    /truth/contacts (PointCloud2, where seen road ends at a thing).

    Args:
        bag: folder to make.
        seed: which street.
        frames, rate: how many, and how many a second.
        size: 'WIDTHxHEIGHT' of the pictures.
        jpeg: record CompressedImage.
        grid: of the truth; the node's default unless given.
        progress: called with 1 after each frame.

    Raises:
        SourceError: the folder is there already, Panda3D is missing, or a number is senseless.
    """
    from seg_perception.simulation.commands import parse_size
    from seg_perception.simulation.drive import frames as drive

    width, height = parse_size(size)
    if bag.exists():
        raise SourceError(f'{bag} exists already: name a new folder')
    bag.parent.mkdir(parents=True, exist_ok=True)
    street = drive(seed, frames, rate, width=width, height=height, truth=True, supersample=1.5)
    recorder = None
    with BagWriter(bag) as writer:
        for frame in street:
            recorder = recorder or _Recorder(writer, frame, jpeg, grid)
            recorder.write(frame)
            if progress is not None:
                progress(1)
    return bag


class _Recorder:
    """Writes the frames of one drive."""

    def __init__(self, writer: BagWriter, first: Any, jpeg: bool, grid: GridSpec | None) -> None:
        self._writer = writer
        self._jpeg = jpeg
        self._grid = grid or SegmentationParameters().grid_spec
        self._camera = first.camera
        place = _transforms('base_link', OPTICAL, first.T_base_optical, START_NS)
        writer.write('/tf_static', place, START_NS, latched=True)

    def write(self, frame: Any) -> None:
        stamp_ns = START_NS + round(frame.stamp * 1e9)
        header = Header(stamp=stamp_from_ns(stamp_ns), frame_id=OPTICAL)

        def write(topic: str, message: Any) -> None:
            self._writer.write(topic, message, stamp_ns)

        write('/tf', _transforms('odom', 'base_link', frame.T_odom_base, stamp_ns))
        write('/odom', _odometry(frame.T_odom_base, header))
        write(f'{CAMERA}/camera_info', camera_info_message(self._camera, header))
        if self._jpeg:
            write(f'{CAMERA}/image_raw/compressed', _compressed(frame.image, header))
        else:
            write(f'{CAMERA}/image_raw', image_message(frame.image, 'rgb8', header))
        write(SIM_MASK, image_message(frame.mask, 'mono8', header))
        instances = frame.instances.astype(np.uint16)
        write(SIM_INSTANCES, image_message(instances, 'mono16', header))
        write(SIM_KINDS, image_message(frame.kinds, 'mono8', header))
        self._write_truth_grid(frame, header, write)

    def _write_truth_grid(self, frame: Any, header: Header, write: Callable) -> None:
        from seg_perception.simulation.truth import Viewpoint, ground_truth

        view = Viewpoint(frame.camera, frame.T_odom_optical, frame.depth, frame.ground)
        truth = ground_truth(frame.scene, frame.stamp, self._grid, frame.T_odom_base, view)
        visible = np.where(truth.visible, 100, 0).astype(np.int8)
        for topic, cells in ((SIM_GRID, truth.cells), (SIM_VISIBLE, visible)):
            write(topic, occupancy_grid(cells, self._grid, 'base_link', header.stamp))
        write(SIM_CONTACTS, _points(truth.contacts, header))


def _points(contacts: np.ndarray, header: Header) -> PointCloud2:
    """Points on the ground, float32 [n, 2] in m, as x, y, z."""
    xyz = np.zeros((len(contacts), 3), np.float32)
    xyz[:, :2] = contacts
    message = PointCloud2(height=1, width=len(xyz), point_step=12, row_step=12 * len(xyz))
    message.header.stamp, message.header.frame_id = header.stamp, 'base_link'
    message.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')
    ]
    message.is_dense = True
    message.data.frombytes(xyz.tobytes())
    return message


def _compressed(rgb: np.ndarray, header: Header) -> CompressedImage:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise SourceError('this OpenCV cannot write JPEG')
    message = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
    message.data.frombytes(data.tobytes())
    return message


def _transforms(parent: str, child: str, pose: np.ndarray, stamp_ns: int) -> Any:
    """tf2_msgs/TFMessage of one pose, float [4, 4], of the child in its parent."""
    types = typestore().types
    x, y, z, w = quaternion(pose)
    stamped = types['geometry_msgs/msg/TransformStamped'](
        header=as_bag_message(Header(stamp=stamp_from_ns(stamp_ns), frame_id=parent)),
        child_frame_id=child,
        transform=types['geometry_msgs/msg/Transform'](
            translation=types['geometry_msgs/msg/Vector3'](*map(float, pose[:3, 3])),
            rotation=types['geometry_msgs/msg/Quaternion'](x, y, z, w),
        ),
    )
    return types[TF]([stamped])


def _odometry(pose: np.ndarray, header: Header) -> Odometry:
    message = Odometry(child_frame_id='base_link')
    message.header.stamp, message.header.frame_id = header.stamp, 'odom'
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y, place.z = map(float, pose[:3, 3])
    turn.x, turn.y, turn.z, turn.w = quaternion(pose)
    return message
