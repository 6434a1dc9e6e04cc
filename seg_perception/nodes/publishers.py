"""What the outputs of every managed node share."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header, String

from seg_perception.core.labels import LabelSet
from seg_perception.ros import messages, optional

#: Depth 1 and RELIABLE: a slow viewer is given the newest image, never a growing queue.
STREAM = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
#: What Nav2's static layer expects of a map, and what late joiners need of label info.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class Publishers:
    """Lifecycle publishers that are made at configure and go at cleanup."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._made: list[Any] = []

    def create(self, message_type: Any, topic: str, qos: QoSProfile) -> Any:
        """Make a publisher whose QoS the user may override."""
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._made.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Take the topics down."""
        while self._made:
            self._node.destroy_lifecycle_publisher(self._made.pop())

    @staticmethod
    def heard(publisher: Any) -> bool:
        """Whether somebody listens."""
        return publisher is not None and publisher.get_subscription_count() > 0

    def now(self) -> Time:
        """The time on the node's clock."""
        return self._node.get_clock().now().to_msg()

    def header_now(self) -> Header:
        """A header that no image stands behind."""
        return Header(stamp=self.now())


class LabelledPublishers(Publishers):
    """Publishers whose messages hold class ids, and what the ids mean, latched."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__(node)
        self.label_info_json = self.create(String, '~/label_info_json', LATCHED)
        self.label_info = None
        if optional.vision_msgs is not None:
            self.label_info = self.create(
                optional.vision_msgs.msg.LabelInfo, '~/label_info', LATCHED
            )

    def publish_labels(self, labels: LabelSet) -> None:
        """Publish names, colours and roles of the class ids."""
        self.label_info_json.publish(messages.label_info_json(labels))
        if self.label_info is not None:
            self.label_info.publish(messages.label_info(labels, self.header_now()))
