"""tf2's buffer for a recording: /tf and /tf_static of a bag, known from end to end."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

from seg_perception.core.errors import ExtrinsicsError
from seg_perception.core.transforms import TransformTree
from seg_perception.ros.bag_reader import BagReader
from seg_perception.ros.bag_writer import typestore

TF = 'tf2_msgs/msg/TFMessage'


def read_transforms(bag: BagReader) -> tuple[TransformTree, list[str]]:
    """Read every transform of a bag.

    Returns:
        The tree, and what was wrong with samples that were left out, each told once.
    """
    tree, problems = TransformTree(), dict[str, None]()
    topics = {t.name for t in bag.topics if t.type == TF and t.count}
    store = typestore()
    for recorded in bag.messages(topics) if topics else ():
        static = recorded.topic.rpartition('/')[2] == 'tf_static'
        try:
            message = store.deserialize_cdr(bytes(recorded.raw), recorded.type)
        except Exception as error:  # rosbags raises whatever its generated parser does
            problems[f'{recorded.topic}: not a {recorded.type} ({error})'] = None
            continue
        for item in message.transforms:
            try:
                _add(tree, item, static)
            except ExtrinsicsError as error:
                problems[str(error)] = None
    return tree, list(problems)


def _add(tree: TransformTree, item: Any, static: bool) -> None:
    stamp, place, turn = item.header.stamp, item.transform.translation, item.transform.rotation
    tree.add(
        item.header.frame_id,
        item.child_frame_id,
        stamp.sec * 1_000_000_000 + stamp.nanosec,
        (place.x, place.y, place.z),
        (turn.x, turn.y, turn.z, turn.w),
        static=static,
    )


class RecordedBuffer:
    """What `Extrinsics` asks of tf2_ros.Buffer, answered from a recording without waiting."""

    def __init__(self, tree: TransformTree) -> None:
        self.tree = tree

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """Return the transform at a time; raises ExtrinsicsError where there is none."""
        matrix = self.tree.lookup(target_frame, source_frame, time.nanoseconds)
        transform = TransformStamped()
        transform.header.frame_id, transform.child_frame_id = target_frame, source_frame
        transform.header.stamp = time.to_msg()
        place, turn = transform.transform.translation, transform.transform.rotation
        place.x, place.y, place.z = map(float, matrix[:3, 3])
        turn.x, turn.y, turn.z, turn.w = quaternion(matrix)
        return transform

    def can_transform(self, target_frame: str, source_frame: str, time: Time) -> bool:
        """Whether the frames are connected at any time."""
        return self.tree.knows(target_frame, source_frame)

    def clear(self) -> None:
        """A recording is known as a whole: a jump of its clock takes nothing from it."""


def quaternion(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """Return x, y, z, w of a rotation (the upper left [3, 3]); w >= 0.

    The largest component is found first, which keeps the division well conditioned (Shepperd,
    "Quaternion from rotation matrix", J. Guidance and Control 1978).
    """
    r = np.asarray(matrix, np.float64)[:3, :3]
    trace = float(np.trace(r))
    squares = np.array([r[0, 0] * 2 - trace, r[1, 1] * 2 - trace, r[2, 2] * 2 - trace, trace])
    best = int(squares.argmax())
    size = np.sqrt(1.0 + squares[best]) / 2
    if best == 3:
        vector = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
        q = (*(v / (4 * size) for v in vector), size)
    else:
        i, j, k = best, (best + 1) % 3, (best + 2) % 3
        parts = [0.0, 0.0, 0.0, (r[k, j] - r[j, k]) / (4 * size)]
        parts[i] = size
        parts[j] = (r[j, i] + r[i, j]) / (4 * size)
        parts[k] = (r[k, i] + r[i, k]) / (4 * size)
        q = tuple(parts)
    sign = -1.0 if q[3] < 0 else 1.0
    return tuple(sign * float(v) for v in q)
