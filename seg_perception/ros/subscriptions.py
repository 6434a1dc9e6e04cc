"""Subscriptions that ask for what their publishers offer, and say so when they can't.

A DDS reader that requests RELIABLE never matches a writer that offers BEST_EFFORT, and nothing
is logged by default: the usual reason for a node that "receives nothing" from a camera driver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

RELIABILITIES = ('auto', 'reliable', 'best_effort')


def type_name(message_type: Any) -> str:
    """Return 'package/msg/Name' of a message class, as topic end points report it."""
    package, interface = message_type.__module__.split('.')[:2]
    return f'{package}/{interface}/{message_type.__name__}'


@dataclass(frozen=True)
class InputProblem:
    """What keeps messages from arriving and what to do about it.

    Attributes:
        text: for people.
        waiting: nobody publishes yet, which is no fault of anyone's settings.
    """

    text: str
    waiting: bool = False


class MatchedSubscription:
    """One input topic: opened and closed on demand, its reliability matched to the offer.

    Call :meth:`check` now and then from the executor's thread; re-subscribing inside the QoS
    event itself would destroy the entity whose event is being handled.

    Args:
        node: the node that subscribes.
        message_type: the ROS message class.
        topic: relative topic name; remapping applies.
        callback: called with each message.
        reliability: 'auto' (RELIABLE unless a publisher offers only BEST_EFFORT), 'reliable'
            or 'best_effort'.
        depth: history depth (KEEP_LAST); `qos_overrides` may change it.
        latched: ask for TRANSIENT_LOCAL: what was published before the subscription, too.
        publisher: who is expected to publish it, for people.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        *,
        reliability: str = 'auto',
        depth: int = 1,
        latched: bool = False,
        publisher: str = 'the camera',
    ) -> None:
        if reliability not in RELIABILITIES:
            raise ValueError(f"reliability '{reliability}' is none of {', '.join(RELIABILITIES)}")
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._relative_topic = topic
        self._callback = callback
        self._reliability = reliability
        self._depth = depth
        self._publisher = publisher
        self._durability = (
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        )
        self._subscription: Any = None
        self._in_use = ReliabilityPolicy.RELIABLE
        self._incompatible: QoSPolicyKind | None = None

    @property
    def is_open(self) -> bool:
        return self._subscription is not None

    def open(self) -> None:
        """Subscribe; asks for BEST_EFFORT at once where a known publisher offers only that."""
        if self.is_open:
            return
        self._incompatible = None
        self._create(self._wanted())

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def check(self) -> InputProblem | None:
        """Match the reliability to what is offered now; returns what is still wrong."""
        if not self.is_open:
            return None
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        expected = type_name(self._message_type)
        wrong = sorted({p.topic_type for p in publishers} - {expected})
        if wrong and len(wrong) == len({p.topic_type for p in publishers}):
            return InputProblem(
                f'{self.topic} carries {", ".join(wrong)}, not {expected}: remap the input, or '
                "set 'image_transport' to what is published"
            )
        if not publishers:
            self._incompatible = None
            return InputProblem(
                f'nobody publishes {self.topic}: start {self._publisher} or remap the input',
                waiting=True,
            )
        if self._reliability == 'auto' and self._wanted() != self._in_use:
            self.close()
            self._incompatible = None
            self._create(self._wanted())
            return None
        return self._mismatch(publishers)

    def _mismatch(self, publishers: list[Any]) -> InputProblem | None:
        offers = {p.qos_profile.reliability for p in publishers}
        if self._in_use == ReliabilityPolicy.RELIABLE and ReliabilityPolicy.BEST_EFFORT in offers:
            return InputProblem(
                f'{self.topic} is offered BEST_EFFORT but RELIABLE is asked for, so nothing '
                "arrives from that publisher: set 'input_reliability' to 'auto' or 'best_effort'"
            )
        if self._incompatible not in (None, QoSPolicyKind.RELIABILITY):
            return InputProblem(
                f'{self.topic} is offered with an incompatible {self._incompatible.name} policy, '
                'so nothing arrives: change the publisher or the qos_overrides of this input'
            )
        return None

    def _wanted(self) -> ReliabilityPolicy:
        if self._reliability != 'auto':
            return {
                'reliable': ReliabilityPolicy.RELIABLE,
                'best_effort': ReliabilityPolicy.BEST_EFFORT,
            }[self._reliability]
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        best_effort = any(
            p.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for p in publishers
        )
        return ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE

    def _create(self, reliability: ReliabilityPolicy) -> None:
        self._in_use = reliability
        self._subscription = self._node.create_subscription(
            self._message_type,
            self._relative_topic,
            self._callback,
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=self._depth,
                reliability=reliability,
                durability=self._durability,
            ),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            # Reliability has a parameter of its own, which can follow the publisher.
            qos_overriding_options=QoSOverridingOptions(
                policy_kinds=(QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
            ),
        )

    def _on_incompatible(self, info: QoSRequestedIncompatibleQoSInfo) -> None:
        self._incompatible = QoSPolicyKind(info.last_policy_kind)
