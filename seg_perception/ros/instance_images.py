"""Pictures of instance ids from another node, matched to images by their stamps."""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict

import numpy as np
from sensor_msgs.msg import Image

from seg_perception.core.errors import ImageError
from seg_perception.ros.messages import stamp_ns

#: Pictures kept: those of the frames that may still be waited for.
KEPT = 4


class InstanceImages:
    """The newest pictures of instance ids, for whoever has the image of the same stamp.

    `take` runs in the executor's thread, `at` in the worker's.
    """

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()
        self._problem = ''

    @property
    def problem(self) -> str:
        """What is wrong with the newest message; '' = nothing."""
        return self._problem

    def take(self, message: Image) -> None:
        """Keep a message; one that is no mono16 picture is told by `problem`."""
        with self._arrived:
            try:
                ids = ids_of(message)
            except ImageError as error:
                self._problem = str(error)
                return
            self._problem = ''
            self._images[stamp_ns(message.header.stamp)] = ids
            while len(self._images) > KEPT:
                self._images.popitem(last=False)
            self._arrived.notify_all()

    def at(self, stamp: int, timeout: float) -> np.ndarray | None:
        """Return the ids of the image with a stamp.

        Args:
            stamp: nanoseconds.
            timeout: s to wait for them.

        Returns:
            uint16 [h, w], 0 = no instance; None when they did not come in time.
        """
        deadline = time.monotonic() + timeout
        with self._arrived:
            while stamp not in self._images:
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            return self._images.get(stamp)

    def clear(self) -> None:
        """Forget all: the clock has jumped back."""
        with self._arrived:
            self._images.clear()


def ids_of(message: Image) -> np.ndarray:
    """Return instance ids uint16 [h, w] of a mono16 message (a view where it can be one).

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if message.encoding not in ('mono16', '16UC1'):
        raise ImageError(
            f"instances must be mono16, got '{message.encoding}': remap `instances` to "
            "instance_node's ~/instances"
        )
    height, width, step = message.height, message.width, message.step
    if not (height and width) or step < 2 * width or len(message.data) != step * height:
        raise ImageError(
            f'instances of {width}x{height} pixels with a step of {step} do not fit their '
            f'{len(message.data)} bytes of data'
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : 2 * width]
    order = '>u2' if message.is_bigendian else '<u2'
    ids = np.ascontiguousarray(rows).view(order)
    native = (sys.byteorder == 'big') == bool(message.is_bigendian)
    return ids if native else ids.astype(np.uint16)
