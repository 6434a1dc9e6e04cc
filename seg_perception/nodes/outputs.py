"""The topics of the segmentation node: what is published, with which QoS, and on whose demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from seg_perception.core.ground import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import blend
from seg_perception.core.results import SemanticResult
from seg_perception.ros import messages, optional
from seg_perception.ros.images import Frame, image_message

#: Depth 1 and RELIABLE: a slow viewer is given the newest image, never a growing queue.
STREAM = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
#: Seconds that readers of the grid are given to acknowledge the last one.
LAST_WORDS = 1.0
#: What Nav2's static layer expects of a map, and what late joiners need of label info.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass(frozen=True)
class Wanted:
    """Which outputs somebody listens to."""

    mask: bool
    confidence: bool
    camera_info: bool
    overlay: bool
    grid: bool

    @property
    def anything(self) -> bool:
        return self.mask or self.confidence or self.camera_info or self.overlay or self.grid

    @property
    def calibration(self) -> bool:
        """Whether anything of it needs the camera's calibration."""
        return self.camera_info or self.grid


class SegmentationOutputs:
    """Publishers of one configured segmentation node.

    Publishing is safe from the worker thread; creating and destroying is not.
    """

    def __init__(self, node: LifecycleNode, *, with_grid: bool) -> None:
        self._node = node
        self.mask = self._create(Image, '~/mask', STREAM)
        self.confidence = self._create(Image, '~/confidence', STREAM)
        self.camera_info = self._create(CameraInfo, '~/camera_info', STREAM)
        self.overlay = self._create(Image, '~/overlay', STREAM)
        self.grid = self._create(OccupancyGrid, '~/drivable_grid', LATCHED) if with_grid else None
        self.label_info_json = self._create(String, '~/label_info_json', LATCHED)
        self.label_info = None
        if optional.vision_msgs is not None:
            self.label_info = self._create(
                optional.vision_msgs.msg.LabelInfo, '~/label_info', LATCHED
            )
        self._grid_says_something = True

    def _create(self, message_type: Any, topic: str, qos: QoSProfile) -> Any:
        return self._node.create_lifecycle_publisher(
            message_type,
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Take the topics down."""
        for publisher in (
            self.mask,
            self.confidence,
            self.camera_info,
            self.overlay,
            self.grid,
            self.label_info_json,
            self.label_info,
        ):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self, *, lazy: bool) -> Wanted:
        """Return what to compute now; not lazy: everything but the overlay, heard or not."""

        def heard(publisher: Any) -> bool:
            return publisher is not None and publisher.get_subscription_count() > 0

        return Wanted(
            mask=not lazy or heard(self.mask),
            confidence=not lazy or heard(self.confidence),
            camera_info=not lazy or heard(self.camera_info),
            overlay=heard(self.overlay),
            grid=self.grid is not None and (not lazy or heard(self.grid)),
        )

    def publish_labels(self, labels: LabelSet) -> None:
        """Publish the latched names, colours and roles of the mask's ids."""
        self.label_info_json.publish(messages.label_info_json(labels))
        if self.label_info is not None:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self.label_info.publish(messages.label_info(labels, header))

    def publish_mask(self, result: SemanticResult, header: Header, wanted: Wanted) -> None:
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
        rgb = frame.pixels if frame.color == 'rgb' else frame.pixels[..., ::-1]
        picture = blend(rgb, result.labels, palette, alpha)
        self.overlay.publish(image_message(picture, 'rgb8', header))

    def publish_grid(self, cells: np.ndarray, spec: GridSpec, frame_id: str, stamp: Time) -> None:
        """Publish cells of the ground."""
        self._grid_says_something = True
        self.grid.publish(messages.occupancy_grid(cells, spec, frame_id, stamp))

    def publish_unknown(self, spec: GridSpec, frame_id: str, stamp: Time) -> None:
        """Publish an all-unknown grid, so that no planner goes on with an old "free"."""
        cells = np.full((spec.height, spec.width), -1, np.int8)
        self.publish_grid(cells, spec, frame_id, stamp)
        self._grid_says_something = False

    def withdraw_grid(self, spec: GridSpec, frame_id: str, stamp: Time) -> None:
        """Replace the latched grid by unknown, once, when it will not be kept up to date.

        The topic is TRANSIENT_LOCAL: a later subscriber is first handed what was last sent.
        """
        if self.grid is not None and self._grid_says_something:
            self.publish_unknown(spec, frame_id, stamp)

    def grid_arrived(self) -> bool:
        """Wait until every reader has the last grid; False when that took too long.

        Publishing does not wait, and what a publisher's end overtakes is lost: without this,
        one in fifteen readers was left with the free cells of a node that had ended.
        """
        return self.grid is None or self.grid.wait_for_all_acked(Duration(seconds=LAST_WORDS))
