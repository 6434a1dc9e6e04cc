"""Everything that is said of the ground at one time: the grid, and the free space on demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PolygonStamped
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import Header

from seg_perception.core.free_space import FreeSpace
from seg_perception.core.grid import GridSpec
from seg_perception.ros.free_space import laser_scan, point_cloud, polygon
from seg_perception.ros.grid_parameters import ScanParameters
from seg_perception.ros.messages import occupancy_grid


@dataclass(frozen=True)
class GroundWanted:
    """Which outputs of the ground somebody listens to."""

    grid: bool = False
    cloud: bool = False
    polygon: bool = False
    scan: bool = False

    @property
    def free_space(self) -> bool:
        """Whether the boundary of the free space is needed."""
        return self.cloud or self.polygon or self.scan

    @property
    def anything(self) -> bool:
        return self.grid or self.free_space


@dataclass(frozen=True)
class GroundMessages:
    """All that is said of the ground at one time; None = nobody listens.

    The grid is made for all: what it says is what a later "unknown" has to take back.
    """

    grid: OccupancyGrid
    cloud: PointCloud2 | None = None
    polygon: PolygonStamped | None = None
    scan: LaserScan | None = None


def ground_messages(
    grid: OccupancyGrid,
    space: FreeSpace,
    wanted: GroundWanted,
    base_frame: str,
    scan: ScanParameters,
    range_max: float,
) -> GroundMessages:
    """Return grid and free space of one stamp.

    Args:
        grid: as it goes out.
        space: the same ground's free space, in the robot's frame.
        wanted: what somebody listens to.
        base_frame: the robot's frame.
        scan: bearings of ~/obstacle_scan.
        range_max: m, how far the grid reaches.
    """
    header = Header(stamp=grid.header.stamp, frame_id=base_frame)
    cloud = point_cloud(space.points(), header) if wanted.cloud else None
    outline = polygon(space.polygon(), header) if wanted.polygon else None
    message = None
    if wanted.scan:
        increment = scan.scan_angle_increment
        seen = space.scan(scan.scan_angle_min, scan.scan_angle_max, increment, 0.0, range_max)
        message = laser_scan(
            seen.ranges,
            header,
            angle_min=seen.angle_min,
            angle_increment=seen.angle_increment,
            range_min=seen.range_min,
            range_max=seen.range_max,
        )
    return GroundMessages(grid, cloud, outline, message)


def unknown_ground(
    spec: GridSpec,
    frame_id: str,
    stamp: Time,
    base_frame: str,
    scan: ScanParameters,
    range_max: float,
) -> GroundMessages:
    """Return "nothing is known": all cells -1, no point, no area, no range.

    It is all of it, heard or not: whoever last heard of a free space must hear that it is gone.
    """
    header = Header(stamp=stamp, frame_id=base_frame)
    count = 1 + int((scan.scan_angle_max - scan.scan_angle_min) / scan.scan_angle_increment + 1e-6)
    return GroundMessages(
        occupancy_grid(spec.unknown(), spec, frame_id, stamp),
        point_cloud(np.zeros((0, 3), np.float32), header),
        polygon(np.zeros((0, 2)), header),
        laser_scan(
            np.full(count, np.nan, np.float32),
            header,
            angle_min=scan.scan_angle_min,
            angle_increment=scan.scan_angle_increment,
            range_min=0.0,
            range_max=range_max,
        ),
    )
