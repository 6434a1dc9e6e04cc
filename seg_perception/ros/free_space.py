"""Free space as messages for planners that know no grid: points, a polygon, a laser's scan."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import Point32, PolygonStamped
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from seg_perception.core.errors import GroundError


def point_cloud(points: np.ndarray, header: Header) -> PointCloud2:
    """Return points as an unordered cloud of x, y, z (FLOAT32, little-endian, 12 bytes each).

    Args:
        points: float32 [n, 3], m, in the header's frame.
        header: stamp of the image, frame of the points.

    Raises:
        GroundError: another shape.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise GroundError(f'a cloud needs points [n, 3], got {list(points.shape)}')
    cloud = PointCloud2(header=header, height=1, width=len(points), point_step=12)
    cloud.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')
    ]
    cloud.row_step = 12 * len(points)
    cloud.is_bigendian = False
    cloud.is_dense = bool(np.isfinite(points).all())
    cloud.data = _bytes(points.astype('<f4'), 'B')
    return cloud


def polygon(corners: np.ndarray, header: Header) -> PolygonStamped:
    """Return an outline on the ground.

    Args:
        corners: float [m, 2], m, in the header's frame; none = nothing is free.
        header: stamp of the image, frame of the corners.

    Raises:
        GroundError: another shape.
    """
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise GroundError(f'a polygon needs corners [m, 2], got {list(corners.shape)}')
    message = PolygonStamped(header=header)
    message.polygon.points = [Point32(x=x, y=y) for x, y in corners.astype(float).tolist()]
    return message


def laser_scan(
    ranges: np.ndarray,
    header: Header,
    *,
    angle_min: float,
    angle_increment: float,
    range_min: float,
    range_max: float,
) -> LaserScan:
    """Return distances per bearing as a planar scan (REP 117).

    Args:
        ranges: float32 [n], m: to the first obstacle; +inf where there is none up to
            `range_max`, NaN where it is not known.
        header: stamp of the image, frame of the scan.
        angle_min, angle_increment: bearing of the first range and step, rad.
        range_min, range_max: limits of what is a distance, m.

    Raises:
        GroundError: no one-dimensional array.
    """
    if ranges.ndim != 1:
        raise GroundError(f'a scan needs ranges [n], got {list(ranges.shape)}')
    scan = LaserScan(header=header)
    scan.angle_min, scan.angle_increment = float(angle_min), float(angle_increment)
    scan.angle_max = float(angle_min + angle_increment * max(len(ranges) - 1, 0))
    scan.range_min, scan.range_max = float(range_min), float(range_max)
    scan.ranges = _bytes(ranges.astype(np.float32), 'f')
    return scan


def _bytes(values: np.ndarray, code: str) -> array:
    """Return an array that rclpy takes without a look at each element."""
    data = array(code)
    data.frombytes(np.ascontiguousarray(values).data.cast('B') if values.size else b'')
    return data
