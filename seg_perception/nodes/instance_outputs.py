"""The topics of the instance node: what is published, with which QoS, and on whose demand."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from seg_perception.core.instances import Found, id_image
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import draw_objects
from seg_perception.nodes.publishers import STREAM, LabelledPublishers
from seg_perception.ros import instance_messages, optional
from seg_perception.ros.images import Frame, image_message


@dataclass(frozen=True)
class InstancesWanted:
    """Which outputs somebody listens to."""

    instances: bool
    detections: bool
    detections_json: bool
    overlay: bool
    markers: bool

    @property
    def anything(self) -> bool:
        return any(vars(self).values())

    @property
    def calibration(self) -> bool:
        """Whether anything of it needs the camera's calibration."""
        return self.markers


class InstanceOutputs(LabelledPublishers):
    """Publishers of one configured instance node.

    Publishing is safe from the worker thread; creating and destroying is not.
    """

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__(node)
        self.instances = self.create(Image, '~/instances', STREAM)
        self.detections_json = self.create(String, '~/detections_json', STREAM)
        self.overlay = self.create(Image, '~/overlay', STREAM)
        self.markers = self.create(MarkerArray, '~/markers', STREAM)
        self.detections = None
        if optional.vision_msgs is not None:
            self.detections = self.create(
                optional.vision_msgs.msg.Detection2DArray, '~/detections', STREAM
            )

    def wanted(self, *, lazy: bool) -> InstancesWanted:
        """Return what to compute now; not lazy: everything but pictures for people."""
        return InstancesWanted(
            instances=not lazy or self.heard(self.instances),
            detections=self.detections is not None and (not lazy or self.heard(self.detections)),
            detections_json=not lazy or self.heard(self.detections_json),
            overlay=self.heard(self.overlay),
            markers=self.heard(self.markers),
        )

    def publish_found(
        self,
        found: Found,
        labels: LabelSet,
        header: Header,
        wanted: InstancesWanted,
    ) -> None:
        """Publish id image (mono16, the image's size) and detections under the image's header."""
        if wanted.instances:
            ids = id_image(found.instances, found.regions, found.ids)
            self.instances.publish(image_message(ids, 'mono16', header))
        if wanted.detections_json:
            self.detections_json.publish(instance_messages.detections_json(found, labels, header))
        if wanted.detections and self.detections is not None:
            self.detections.publish(instance_messages.detections(found, header))

    def publish_overlay(
        self,
        frame: Frame,
        found: Found,
        labels: LabelSet,
        alpha: float,
        header: Header,
    ) -> None:
        """Publish the picture with the objects drawn over it (rgb8, the image's size)."""
        shown = found.instances
        texts = [
            f'{labels.names[label]} {number} {score:.2f}'
            for label, number, score in zip(shown.labels, found.ids, shown.scores, strict=True)
        ]
        picture = draw_objects(frame.rgb, found.regions, shown.boxes, found.ids, texts, alpha)
        self.overlay.publish(image_message(picture, 'rgb8', header))

    def clear_markers(self, frame_id: str) -> None:
        """Take the markers back: nothing keeps them up to date any more."""
        array = MarkerArray(markers=[instance_messages.clearing_marker(self.now(), frame_id)])
        self.markers.publish(array)
