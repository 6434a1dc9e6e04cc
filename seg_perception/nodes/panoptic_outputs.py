"""The topics of the panoptic node: what is published, with which QoS, and on whose demand."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import colorize_panoptic
from seg_perception.core.panoptic import VOID, to_rgb
from seg_perception.core.results import PanopticResult
from seg_perception.nodes.publishers import STREAM, LabelledPublishers
from seg_perception.ros import instance_messages
from seg_perception.ros.images import image_message


@dataclass(frozen=True)
class PanopticWanted:
    """Which outputs somebody listens to."""

    panoptic: bool
    panoptic_rgb: bool
    segments_json: bool
    overlay: bool

    @property
    def anything(self) -> bool:
        return any(vars(self).values())


class PanopticOutputs(LabelledPublishers):
    """Publishers of one configured panoptic node.

    Publishing is safe from the worker thread; creating and destroying is not.
    """

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__(node)
        self.panoptic = self.create(Image, '~/panoptic', STREAM)
        self.panoptic_rgb = self.create(Image, '~/panoptic_rgb', STREAM)
        self.segments_json = self.create(String, '~/segments_json', STREAM)
        self.overlay = self.create(Image, '~/overlay', STREAM)

    def wanted(self, *, lazy: bool) -> PanopticWanted:
        """Return what to compute now; not lazy: everything but pictures for people."""
        return PanopticWanted(
            panoptic=not lazy or self.heard(self.panoptic),
            panoptic_rgb=not lazy or self.heard(self.panoptic_rgb),
            segments_json=not lazy or self.heard(self.segments_json),
            overlay=self.heard(self.overlay),
        )

    def publish_result(
        self, result: PanopticResult, labels: LabelSet, header: Header, wanted: PanopticWanted
    ) -> None:
        """Publish the map and what its segments are under the instances' header."""
        if wanted.panoptic:
            self.panoptic.publish(image_message(result.ids, '32SC1', header))
        if wanted.panoptic_rgb:
            self.panoptic_rgb.publish(image_message(to_rgb(result.ids), 'rgb8', header))
        if wanted.segments_json:
            self.segments_json.publish(instance_messages.segments_json(result, labels, header))

    def publish_overlay(
        self,
        result: PanopticResult,
        picture: np.ndarray | None,
        labels: LabelSet,
        alpha: float,
        header: Header,
    ) -> None:
        """Publish the segments' colours (rgb8), over the picture where it is known."""
        colors = colorize_panoptic(result.ids, labels.palette())
        if picture is not None and picture.shape == colors.shape:
            mixed = cv2.addWeighted(picture, 1.0 - alpha, colors, alpha, 0.0)
            void = (result.ids == VOID).view(np.uint8)
            colors = cv2.copyTo(np.ascontiguousarray(picture), void, mixed)
        self.overlay.publish(image_message(colors, 'rgb8', header))
