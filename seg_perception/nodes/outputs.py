"""The topics of the segmentation node: what is published, with which QoS, and on whose demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PolygonStamped
from nav_msgs.msg import OccupancyGrid
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from seg_perception.core.overlay import blend
from seg_perception.core.results import SemanticResult
from seg_perception.nodes.publishers import LATCHED, STREAM, LabelledPublishers, Publishers
from seg_perception.ros import messages
from seg_perception.ros.ground_messages import GroundMessages, GroundWanted
from seg_perception.ros.images import Frame, image_message

#: Seconds that readers of the grid are given to acknowledge the last one.
LAST_WORDS = 1.0


@dataclass(frozen=True)
class CameraWanted:
    """Which outputs of one camera somebody listens to."""

    mask: bool
    confidence: bool
    camera_info: bool
    overlay: bool

    @property
    def anything(self) -> bool:
        return self.mask or self.confidence or self.camera_info or self.overlay


class CameraOutputs(Publishers):
    """What is published of one camera.

    Args:
        node: the node that publishes.
        name: of the camera, '' for the only one: its topics lie in ~/<name>/.
    """

    def __init__(self, node: LifecycleNode, name: str) -> None:
        super().__init__(node)
        place = f'~/{name}/' if name else '~/'
        self.mask = self.create(Image, f'{place}mask', STREAM)
        self.confidence = self.create(Image, f'{place}confidence', STREAM)
        self.camera_info = self.create(CameraInfo, f'{place}camera_info', STREAM)
        self.overlay = self.create(Image, f'{place}overlay', STREAM)

    def wanted(self, *, lazy: bool) -> CameraWanted:
        """Return what to compute now; not lazy: everything but the overlay, heard or not."""
        return CameraWanted(
            mask=not lazy or self.heard(self.mask),
            confidence=not lazy or self.heard(self.confidence),
            camera_info=not lazy or self.heard(self.camera_info),
            overlay=self.heard(self.overlay),
        )

    def publish_mask(self, result: SemanticResult, header: Header, wanted: CameraWanted) -> None:
        """Publish mask and confidence (mono8) under the image's header."""
        if wanted.mask:
            self.mask.publish(image_message(result.labels, 'mono8', header))
        if wanted.confidence:
            self.confidence.publish(image_message(result.confidence, 'mono8', header))

    def publish_camera_info(self, info: CameraInfo, size: tuple[int, int], header: Header) -> None:
        """Publish the camera's calibration scaled to the mask's size."""
        scaled = messages.scaled_camera_info(info, *size)
        scaled.header = header
        self.camera_info.publish(scaled)

    def publish_overlay(
        self,
        frame: Frame,
        result: SemanticResult,
        palette: np.ndarray,
        alpha: float,
        header: Header,
    ) -> None:
        """Publish the picture with the classes' colours over it (rgb8, the image's size)."""
        picture = blend(frame.rgb, result.labels, palette, alpha)
        self.overlay.publish(image_message(picture, 'rgb8', header))


class GroundOutputs(Publishers):
    """What is published of the ground: one grid whatever the cameras, and its free space."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__(node)
        self.grid = self.create(OccupancyGrid, '~/drivable_grid', LATCHED)
        self.cloud = self.create(PointCloud2, '~/drivable_cloud', STREAM)
        self.polygon = self.create(PolygonStamped, '~/free_space', STREAM)
        self.scan = self.create(LaserScan, '~/obstacle_scan', STREAM)

    def wanted(self, *, lazy: bool) -> GroundWanted:
        """Return what to compute now; not lazy: the grid, heard or not."""
        return GroundWanted(
            grid=not lazy or self.heard(self.grid),
            cloud=self.heard(self.cloud),
            polygon=self.heard(self.polygon),
            scan=self.heard(self.scan),
        )

    def publish(self, ground: GroundMessages) -> None:
        """Publish what is known of the ground, all of one stamp."""
        self.grid.publish(ground.grid)
        if ground.cloud is not None:
            self.cloud.publish(ground.cloud)
        if ground.polygon is not None:
            self.polygon.publish(ground.polygon)
        if ground.scan is not None:
            self.scan.publish(ground.scan)

    def grid_arrived(self) -> bool:
        """Wait until every reader has the last grid; False when that took too long.

        Publishing does not wait, and what a publisher's end overtakes is lost: without this,
        one in fifteen readers was left with the free cells of a node that had ended.
        """
        return self.grid.wait_for_all_acked(Duration(seconds=LAST_WORDS))


@dataclass(frozen=True)
class Wanted:
    """Which outputs somebody listens to."""

    cameras: Mapping[str, CameraWanted]
    ground: GroundWanted

    @property
    def overlay(self) -> bool:
        return any(camera.overlay for camera in self.cameras.values())

    @property
    def anything(self) -> bool:
        return self.ground.anything or any(c.anything for c in self.cameras.values())

    def camera(self, name: str) -> bool:
        """Whether a camera's pictures are needed for anything."""
        return self.ground.anything or self.cameras[name].anything

    def calibration(self, name: str) -> bool:
        """Whether anything of it needs the camera's calibration."""
        return self.ground.anything or self.cameras[name].camera_info


class SegmentationOutputs(LabelledPublishers):
    """Publishers of one configured segmentation node.

    Args:
        node: the node that publishes.
        cameras: their names; '' is the only one.
        with_grid: whether anything is said of the ground at all.
    """

    def __init__(self, node: LifecycleNode, cameras: Sequence[str], *, with_grid: bool) -> None:
        super().__init__(node)
        self.cameras = {name: CameraOutputs(node, name) for name in cameras}
        self.ground = GroundOutputs(node) if with_grid else None

    def destroy(self) -> None:
        """Take the topics down."""
        for camera in self.cameras.values():
            camera.destroy()
        if self.ground is not None:
            self.ground.destroy()
        super().destroy()

    def wanted(self, *, lazy: bool) -> Wanted:
        """Return what to compute now."""
        cameras = {name: camera.wanted(lazy=lazy) for name, camera in self.cameras.items()}
        ground = GroundWanted() if self.ground is None else self.ground.wanted(lazy=lazy)
        return Wanted(cameras, ground)
