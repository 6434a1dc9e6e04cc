"""A camera that costs next to nothing: one prepared 720p picture, stamped and sent at a rate."""

from __future__ import annotations

import argparse
import array
import time

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from seg_perception.ros.transport import configure_transport

FRAME = 'camera_optical_frame'


def picture(width: int, height: int) -> np.ndarray:
    """Smooth noise, uint8 [height, width, 3]: neither constant nor white."""
    import cv2

    coarse = np.random.default_rng(1).integers(0, 255, (18, 32, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


class Camera(Node):
    """Publishes `camera/image_raw` (bgr8) and `camera/camera_info`."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__('camera')
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.image = self.create_publisher(Image, 'camera/image_raw', qos)
        self.info = self.create_publisher(CameraInfo, 'camera/camera_info', 50)
        data = array.array('B')
        data.frombytes(picture(width, height).tobytes())
        self._image = Image(height=height, width=width, encoding='bgr8', step=3 * width, data=data)
        focal = 0.9 * width
        self._info = CameraInfo(width=width, height=height, distortion_model='plumb_bob')
        self._info.d = [0.0] * 5
        self._info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
        self._info.p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, *[0.0] * 3, 1.0, 0.0]
        self._info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        for message in (self._image, self._info):
            message.header.frame_id = FRAME

    def send(self) -> None:
        stamp = self.get_clock().now().to_msg()
        self._image.header.stamp = self._info.header.stamp = stamp
        self.info.publish(self._info)
        self.image.publish(self._image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rate', type=float, default=30.0)
    parser.add_argument('--frames', type=int, default=300)
    parser.add_argument('--size', default='1280x720')
    parser.add_argument('--info-listeners', type=int, default=1, help='to wait for')
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split('x'))
    configure_transport()
    rclpy.init()
    camera = Camera(width, height)
    while (
        camera.image.get_subscription_count() < 1
        or camera.info.get_subscription_count() < options.info_listeners
    ):
        time.sleep(0.02)
    time.sleep(0.5)
    start = time.monotonic()
    for i in range(options.frames):
        time.sleep(max(0.0, start + i / options.rate - time.monotonic()))
        camera.send()
    time.sleep(1.0)
    camera.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
