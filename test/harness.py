"""A real node under test, a camera and a listener, talking over DDS in one test process."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from seg_perception.nodes.segmentation_node import SegmentationNode

WIDTH, HEIGHT = 320, 180
FRAME = 'camera_optical'
FOCAL = 200.0
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
#: Discovery takes 2-3 s now and then (shared machines).
PATIENCE = 15.0


def scene(width: int = WIDTH, height: int = HEIGHT, value: int = 250) -> np.ndarray:
    """RGB picture: blue sky over green road, with a red wall on the left, uint8 [h, w, 3]."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, :, 2] = value
    picture[height // 2 :, :, 1] = value
    picture[:, : width // 4] = (value, 0, 0)
    return picture


def image(pixels: np.ndarray | None = None, *, stamp: float = 0.0, frame: str = FRAME) -> Image:
    """An rgb8 message; `stamp` in seconds, 0 = now."""
    pixels = scene() if pixels is None else pixels
    message = Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding='rgb8',
        step=pixels.shape[1] * 3,
        data=pixels.tobytes(),
    )
    return stamped(message, stamp, frame)


def camera_info(
    width: int = WIDTH, height: int = HEIGHT, *, focal: float = FOCAL, frame: str = FRAME
) -> CameraInfo:
    """A pinhole calibration."""
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return stamped(info, 0.0, frame)


def stamped(message: Any, stamp: float, frame: str) -> Any:
    nanoseconds = time.time_ns() if stamp == 0.0 else int(stamp * 1e9)
    message.header.stamp.sec = nanoseconds // 1_000_000_000
    message.header.stamp.nanosec = nanoseconds % 1_000_000_000
    message.header.frame_id = frame
    return message


def free_cells(grid: OccupancyGrid) -> int:
    """How many cells of a grid are free."""
    return int((np.array(grid.data, np.int8) == 0).sum())


def key(message: Any) -> tuple[int, int]:
    """A message's stamp, to compare with another's."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class Peer(Node):
    """Camera and listener in one: everything the node under test talks to."""

    def __init__(self, name: str = 'peer', about: str = 'segmentation_node') -> None:
        super().__init__(name)
        self._about = about
        self.heard: dict[str, list[Any]] = {}
        self._listeners: dict[str, Any] = {}
        self.image = self.create_publisher(Image, 'image', RELIABLE)
        self.camera_info = self.create_publisher(CameraInfo, 'camera_info', RELIABLE)
        self.listen('/diagnostics', DiagnosticArray)

    def listen(self, topic: str, message_type: Any, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Subscribe; returns the growing list of what is heard."""
        heard = self.heard.setdefault(topic, [])
        self._listeners[topic] = self.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def listen_masks(self) -> list[Image]:
        return self.listen('segmentation_node/mask', Image)

    def listen_grids(self) -> list[OccupancyGrid]:
        return self.listen('segmentation_node/drivable_grid', OccupancyGrid, LATCHED)

    def listen_labels(self) -> list[String]:
        return self.listen('segmentation_node/label_info_json', String, LATCHED)

    def leave(self, topic: str) -> None:
        self.destroy_subscription(self._listeners.pop(topic))

    def send(self, message: Image | None = None, *, info: CameraInfo | None = None) -> Image:
        """Publish a calibration and a picture."""
        self.camera_info.publish(camera_info() if info is None else info)
        message = image() if message is None else message
        self.image.publish(message)
        return message

    def diagnostics(self, node: str = '') -> tuple[int, str, dict[str, str]]:
        """Level, message and values of the newest status of a node: the one under test."""
        node = node or self._about
        for array in reversed(self.heard['/diagnostics']):
            for status in array.status:
                if status.name.startswith(f'{node}:'):
                    level = status.level[0] if isinstance(status.level, bytes) else status.level
                    return level, status.message, {v.key: v.value for v in status.values}
        return 255, '', {}

    def complaint(self) -> str:
        """Everything the newest status says, as one text."""
        _, message, values = self.diagnostics()
        return ' | '.join([message, *values.values()])


class Bench:
    """Node under test and peer, each spun by a thread of its own.

    Args:
        kind: class of the node under test.
        parameters: of the node.
    """

    #: What tests of a kind of node set unless they say otherwise.
    DEFAULTS: ClassVar[dict[str, Any]] = {
        'grid.x_max': 10.0,
        'grid.y_min': -5.0,
        'grid.y_max': 5.0,
        'provider': 'cpu',
        'threads': 1,
        'diagnostics_period': 0.1,
    }

    def __init__(self, kind: type = SegmentationNode, **parameters: Any) -> None:
        parameters = self.DEFAULTS | parameters
        self.node = kind(
            parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()]
        )
        self.peer = self.make_peer(self.node.get_name())
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._spin, args=(node,), daemon=True)
            for node in (self.node, self.peer)
        ]
        self.node.begin()
        for thread in self._threads:
            thread.start()

    def make_peer(self, about: str) -> Peer:
        """Make what the node under test talks to."""
        return Peer(about=about)

    def _spin(self, node: Node) -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            while not self._stop.is_set():
                executor.spin_once(timeout_sec=0.05)
        except ExternalShutdownException:
            pass
        finally:
            executor.remove_node(node)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5.0)
        self.node.end()
        self.node.destroy_node()
        self.peer.destroy_node()
        # rclpy's lifecycle state machine keeps the node's handle, and with it the DDS participant,
        # until the garbage collector comes by; participants that pile up can dead-lock Fast DDS.
        del self.node, self.peer
        gc.collect()

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Wait for a condition; returns its truthy value or fails naming `what`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        raise AssertionError(f'waited {timeout} s in vain for {what}; {self.peer.complaint()}')

    def connected(self) -> None:
        """Wait until the node takes the peer's pictures and calibration."""
        self.until(self.peer.image.get_subscription_count, 'the node to subscribe to the image')
        self.until(self.peer.camera_info.get_subscription_count, 'the camera_info subscription')

    def answer(self, heard: list[Any], make: Callable[[], Any] | None = None) -> Any:
        """Send pictures until one is answered on a topic; returns the answer to a sent one."""
        sent: dict[tuple[int, int], Any] = {}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.peer.send(None if make is None else make())
            sent[key(message)] = message
            self._pause(lambda: any(key(m) in sent for m in heard), 0.5)
            for answer in heard:
                if key(answer) in sent:
                    return answer
        raise AssertionError(f'no answer; {self.peer.complaint()}')

    @staticmethod
    def _pause(condition: Callable[[], bool], timeout: float) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end and not condition():
            time.sleep(0.01)

    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters through the node's service; returns the results."""
        request = SetParameters.Request()
        request.parameters = [self._parameter(k, v) for k, v in parameters.items()]
        return self.call(SetParameters, 'set_parameters', request).results

    def call(self, service: Any, name: str, request: Any) -> Any:
        """Call a service of the node under test; returns its response."""
        client = self.peer.create_client(service, f'{self.node.get_name()}/{name}')
        try:
            assert client.wait_for_service(PATIENCE)
            future = client.call_async(request)
            self.until(future.done, f'{name} to answer')
            return future.result()
        finally:
            self.peer.destroy_client(client)

    def change(self, transition: int) -> bool:
        """Ask for a transition of the life cycle; returns whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, 'change_state', request).success

    def state(self) -> int:
        """The state of the life cycle."""
        return self.call(GetState, 'get_state', GetState.Request()).current_state.id

    @staticmethod
    def _parameter(name: str, value: Any) -> ParameterMessage:
        return Parameter(name, value=value).to_parameter_msg()


def jpeg(pixels: np.ndarray) -> CompressedImage:
    """An rgb picture as a jpeg message, as image_transport's plugin sends it."""
    import cv2

    ok, data = cv2.imencode('.jpg', pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    message = CompressedImage(format='rgb8; jpeg compressed bgr8', data=data.tobytes())
    return stamped(message, 0.0, FRAME)
