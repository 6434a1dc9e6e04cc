"""Frames fused over time in the odometry's frame, and the free space made of them on demand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PolygonStamped
from harness import HEIGHT, RELIABLE, WIDTH, Bench, free_cells, image, key, scene
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from std_msgs.msg import Header
from wheels import Wheels, view

from seg_perception.ros.images import image_message


@contextmanager
def driving(model: str, *, speed: float = 0.0, **parameters: Any) -> Iterator[tuple]:
    """A node whose robot has odometry, and the grids it publishes once they are fused."""
    with Bench(model=model, **parameters) as bench, Wheels(bench.peer, speed=speed) as wheels:
        grids = bench.peer.listen_grids()
        bench.connected()
        bench.until(wheels.publisher.get_subscription_count, 'the odom subscription')
        yield bench, wheels, grids


def fused(bench: Bench, grids: list[OccupancyGrid]) -> OccupancyGrid:
    """Send frames until odometry is in use and the ground is free."""

    def free() -> OccupancyGrid | None:
        grids.clear()
        grid = bench.answer(grids, view)
        return grid if grid.header.frame_id == 'odom' and free_cells(grid) else None

    return bench.until(free, 'a fused grid with free cells')


def cells(grid: OccupancyGrid) -> np.ndarray:
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def sky() -> Image:
    """A picture that shows nothing of the ground, and is a picture all the same."""
    picture = np.full((HEIGHT, WIDTH, 3), (120, 120, 250), np.uint8)
    picture[: HEIGHT // 4, : WIDTH // 2] = (20, 20, 200)
    return image(picture)


def at(grid: OccupancyGrid, x: float, y: float) -> int:
    """The cell at a place in the grid's frame."""
    origin, resolution = grid.info.origin.position, grid.info.resolution
    column, row = int((x - origin.x) / resolution), int((y - origin.y) / resolution)
    return int(cells(grid)[row, column])


def test_fused_in_the_odometry_s_frame_snapped_to_the_cells(ros: None, model: str) -> None:
    with driving(model, speed=2.0) as (bench, wheels, grids):
        grid = fused(bench, grids)
        origin = grid.info.origin.position
        for value in (origin.x, origin.y):
            assert value / 0.1 == pytest.approx(round(value / 0.1), abs=1e-4)
        assert at(grid, wheels.x + 5.0, 0.0) == 0
        bench.until(
            lambda: bench.peer.diagnostics()[2].get('odometry from') == 'topic', 'the source told'
        )
        bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well')
        bench.peer.leave('segmentation_node/drivable_grid')
        count = wheels.publisher.get_subscription_count
        bench.until(lambda: count() == 0, 'the odometry to be left when nobody listens')


def test_ground_out_of_sight_is_remembered_and_then_forgotten(ros: None, model: str) -> None:
    with driving(model, **{'fusion.decay_free': 0.6}) as (bench, _, grids):
        fused(bench, grids)
        grids.clear()
        assert free_cells(bench.answer(grids, sky)) > 0, 'one frame of sky erased the ground'

        def forgotten() -> bool:
            grids.clear()
            return free_cells(bench.answer(grids, sky)) == 0

        bench.until(forgotten, 'the ground to be forgotten', timeout=5.0)
        assert bench.set(**{'fusion.enabled': False})[0].successful
        grids.clear()
        assert free_cells(bench.answer(grids)) > 0, 'a single frame is enough without fusion'
        grids.clear()
        assert free_cells(bench.answer(grids, sky)) == 0, 'remembered without fusion'
        assert grids[-1].header.frame_id == 'odom'


def test_frame_and_grades_are_live(ros: None, model: str) -> None:
    with driving(model) as (bench, _, grids):
        fused(bench, grids)
        assert bench.set(**{'grid.publish_in': 'base'})[0].successful
        grids.clear()
        grid = bench.answer(grids)
        assert grid.header.frame_id == 'base_link'
        assert (grid.info.origin.position.x, grid.info.width) == (0.0, 100)
        assert at(grid, 5.0, 0.0) == 0
        assert bench.set(**{'grid.graded': True, 'class_roles': ['road:drivable:30']})
        bench.until(lambda: 20 <= at(bench.answer(grids), 5.0, 0.0) <= 60, 'a graded cell')


def test_free_space_in_three_shapes_for_whoever_listens(ros: None, model: str) -> None:
    with driving(model) as (bench, _, grids):
        fused(bench, grids)
        wanted = bench.node._outputs.wanted(lazy=False).ground
        assert wanted.grid
        assert not wanted.free_space, 'made although nobody listens'
        topics = {'drivable_cloud': PointCloud2, 'free_space': PolygonStamped}
        topics['obstacle_scan'] = LaserScan
        heard = {t: bench.peer.listen(f'segmentation_node/{t}', m) for t, m in topics.items()}

        def all_of_one_stamp() -> tuple | None:
            stamp = key(bench.peer.send())
            time.sleep(0.1)
            found = [next((m for m in v if key(m) == stamp), None) for v in heard.values()]
            return tuple(found) if all(found) else None

        cloud, polygon, scan = bench.until(all_of_one_stamp, 'cloud, polygon and scan')
        assert {m.header.frame_id for m in (cloud, polygon, scan)} == {'base_link'}
        points = np.frombuffer(cloud.data, '<f4').reshape(-1, 3)
        assert cloud.width == len(points) > 10
        assert np.hypot(points[:, 0], points[:, 1]).max() > 8.0
        corners = np.array([(p.x, p.y) for p in polygon.polygon.points])
        assert len(corners) > 10
        assert corners[:, 0].max() > 8.0
        ranges = np.array(scan.ranges)
        bearings = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
        # The wall's foot: its near face begins 3.3 m ahead and 2.4 m to the left.
        wall = ranges[(bearings > 0.5) & (bearings < 0.6)]
        assert ((wall > 3.0) & (wall < 5.0)).any()
        assert not np.isfinite(ranges[np.abs(bearings) < 0.2]).any(), 'an obstacle on free road'
        # What is withdrawn is withdrawn for all of them.
        for messages in heard.values():
            messages.clear()
        bench.node.trigger_deactivate()
        bench.until(lambda: heard['obstacle_scan'], 'the last scan')
        assert np.isnan(np.array(heard['obstacle_scan'][-1].ranges)).all()
        bench.until(lambda: heard['drivable_cloud'], 'the last cloud')
        assert heard['drivable_cloud'][-1].width == 0
        bench.until(lambda: heard['free_space'], 'the last polygon')
        assert not heard['free_space'][-1].polygon.points


def test_without_odometry_a_grid_is_one_frame_in_the_robot_s_frame(ros: None, model: str) -> None:
    with Bench(model=model) as bench:
        grids = bench.peer.listen_grids()
        bench.connected()
        grid = bench.answer(grids)
        assert grid.header.frame_id == 'base_link'
        assert free_cells(grid) > 0
        scans = bench.peer.listen('segmentation_node/obstacle_scan', LaserScan)
        bench.until(lambda: bench.peer.send() and scans, 'a scan')
        scans.clear()
        ranges = np.array(bench.answer(scans).ranges)
        assert np.isinf(ranges).any(), 'no free bearing'
        assert (np.isfinite(ranges) & (ranges < 5.0)).any(), 'no wall'
        scans.clear()
        assert np.isnan(np.array(bench.answer(scans, sky).ranges)).all()
        grids.clear()
        assert free_cells(bench.answer(grids, sky)) == 0
        bench.until(
            lambda: 'none' in bench.peer.diagnostics()[2].get('odometry from', ''), 'the source'
        )


def test_instances_of_the_same_stamp_reach_the_projection(
    ros: None, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bench(model=model, instances=True, instances_timeout=1.0) as bench:
        seen: list[Any] = []
        project: Callable = bench.node._pipeline.project

        def spy(*arguments: Any, instances: Any = None, **options: Any) -> Any:
            seen.append(instances)
            return project(*arguments, instances=instances, **options)

        monkeypatch.setattr(bench.node._pipeline, 'project', spy)
        publisher = bench.peer.create_publisher(Image, 'instances', RELIABLE)
        grids = bench.peer.listen_grids()
        bench.connected()
        bench.until(publisher.get_subscription_count, 'the instances subscription')
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        ids[100:, :60] = 300

        def arrived() -> bool:
            sent = image(scene())
            header = Header(stamp=sent.header.stamp, frame_id=sent.header.frame_id)
            bench.peer.send(sent)
            publisher.publish(image_message(ids, 'mono16', header))
            time.sleep(0.2)
            return any(i is not None for i in seen)

        bench.until(arrived, 'instances of the same stamp')
        used = next(i for i in seen if i is not None)
        np.testing.assert_array_equal(used, ids)
        bench.until(lambda: grids and free_cells(grids[-1]), 'a grid made with them')
