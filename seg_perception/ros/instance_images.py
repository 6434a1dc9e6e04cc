"""Pictures of instance ids from another node, matched to images by their stamps."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import numpy as np
from sensor_msgs.msg import Image

from seg_perception.core.errors import ImageError
from seg_perception.ros.instance_messages import read_ids
from seg_perception.ros.messages import stamp_ns

#: Pictures kept: those of the frames that may still be waited for.
KEPT = 4
ENCODINGS = ('mono16', '16UC1')


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
                ids = read_ids(message, ENCODINGS)
            except ImageError as error:
                self._problem = f'instances: {error}'
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
