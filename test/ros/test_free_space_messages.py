"""Free space as cloud, polygon and scan: what readers of those messages get back."""

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import Header

from seg_perception.core.errors import GroundError
from seg_perception.ros.free_space import laser_scan, point_cloud, polygon

HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id='base_link')


def test_points_are_read_back_by_the_cloud_s_own_description():
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    cloud = deserialize_message(serialize_message(point_cloud(points, HEADER)), PointCloud2)
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 5, 12, 60)
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
        ('x', 0, 7),
        ('y', 4, 7),
        ('z', 8, 7),
    ]
    assert cloud.is_dense
    read = np.frombuffer(cloud.data, '<f4').reshape(-1, 3)
    np.testing.assert_array_equal(read, points)


def test_nothing_free_is_an_empty_cloud_and_polygon():
    cloud = point_cloud(np.zeros((0, 3), np.float32), HEADER)
    assert (cloud.width, len(cloud.data)) == (0, 0)
    assert polygon(np.zeros((0, 2)), HEADER).polygon.points == []


def test_polygon():
    corners = np.array([[0.5, -1.0], [2.25, 0.0], [0.5, 1.0]], np.float32)
    outline = polygon(corners, HEADER)
    assert [(p.x, p.y, p.z) for p in outline.polygon.points] == [
        (0.5, -1.0, 0.0),
        (2.25, 0.0, 0.0),
        (0.5, 1.0, 0.0),
    ]
    assert outline.header == HEADER


def test_scan_keeps_what_is_not_known_apart_from_what_is_free():
    ranges = np.array([1.5, np.inf, np.nan], np.float32)
    scan = laser_scan(
        ranges, HEADER, angle_min=-0.1, angle_increment=0.1, range_min=0.2, range_max=30.0
    )
    scan = deserialize_message(serialize_message(scan), LaserScan)
    assert scan.angle_max == pytest.approx(0.1)
    assert (scan.range_min, scan.range_max) == (pytest.approx(0.2), 30.0)
    assert scan.ranges[0] == 1.5
    assert math.isinf(scan.ranges[1])
    assert math.isnan(scan.ranges[2])
    assert not scan.intensities


def test_wrong_shapes_are_refused():
    with pytest.raises(GroundError, match=r'\[n, 3\]'):
        point_cloud(np.zeros((4, 2), np.float32), HEADER)
    with pytest.raises(GroundError, match=r'\[m, 2\]'):
        polygon(np.zeros((4, 3)), HEADER)
    with pytest.raises(GroundError, match=r'\[n\]'):
        laser_scan(
            np.zeros((4, 1)), HEADER, angle_min=0, angle_increment=1, range_min=0, range_max=1
        )
