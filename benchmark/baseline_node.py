"""A segmentation node of the usual making, to measure ours against.

Same network, same topic names, same camera; and what nodes like it commonly do: a queue of 10,
inference in the callback, a full copy by way of cv_bridge-like conversion, float32
normalisation in NumPy, logits at the picture's full size, softmax and argmax in NumPy, and
messages filled from lists.
"""

from __future__ import annotations

import argparse
import sys

import cv2
import numpy as np
import onnxruntime
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String


class BaselineNode(Node):
    """Publishes `~/mask` (mono8) at the picture's size."""

    def __init__(self, model: str, size: tuple[int, int]) -> None:
        super().__init__('baseline_node')
        self._session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
        self._input = self._session.get_inputs()[0].name
        self._size = size
        self._mask = self.create_publisher(Image, '~/mask', 10)
        latched = rclpy.qos.QoSProfile(
            depth=1, durability=rclpy.qos.DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._ready = self.create_publisher(String, '~/label_info_json', latched)
        self._ready.publish(String(data='{}'))
        self.create_subscription(Image, 'camera/image_raw', self._on_image, 10)

    def _on_image(self, message: Image) -> None:
        bgr = np.array(message.data, np.uint8).reshape(message.height, message.width, 3)
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        height, width = self._size
        small = cv2.resize(rgb, (width, height)).astype(np.float32)
        # The exported network normalises inside; the usual arithmetic, with neutral numbers.
        small = (small - np.zeros(3, np.float32)) / np.ones(3, np.float32)
        planes = np.ascontiguousarray(small.transpose(2, 0, 1)[np.newaxis])
        logits = self._session.run(None, {self._input: planes})[0][0]
        full = np.stack([cv2.resize(c, (message.width, message.height)) for c in logits])
        exponents = np.exp(full - full.max(axis=0))
        probabilities = exponents / exponents.sum(axis=0)
        labels = probabilities.argmax(axis=0).astype(np.uint8)
        answer = Image(header=message.header, height=message.height, width=message.width)
        answer.encoding = 'mono8'
        answer.step = message.width
        answer.data = labels.reshape(-1).tolist()
        self._mask.publish(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--network', required=True, help='float NCHW in, logits out')
    parser.add_argument('--size', required=True, help='HxW of the network')
    options = parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    height, width = (int(side) for side in options.size.split('x'))
    rclpy.init()
    node = BaselineNode(options.network, (height, width))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
