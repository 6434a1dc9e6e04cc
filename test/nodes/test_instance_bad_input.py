"""Bad input on the real instance node: reported, survived, and back to work afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import FRAME, HEIGHT, WIDTH, Bench, camera_info, image
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from tiny_bundle import write_tiny_bundle
from tiny_instances import CAR, picture_of, write_tiny_instances
from visualization_msgs.msg import MarkerArray

from seg_perception.nodes.instance_node import InstanceNode

DEFAULTS = {'provider': 'cpu', 'threads': 1, 'diagnostics_period': 0.1}
CAR_AHEAD = (CAR, 250, 12, 6, 20, 14)


class InstanceBench(Bench):
    DEFAULTS = DEFAULTS

    def __init__(self, **parameters: Any) -> None:
        super().__init__(InstanceNode, **parameters)
        self.ids = self.peer.listen('instance_node/instances', Image)


@pytest.fixture(scope='session')
def objects_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_instances(tmp_path_factory.mktemp('models') / 'tiny_objects'))


@pytest.fixture
def bench(ros: None, objects_model: str) -> Iterator[InstanceBench]:
    with InstanceBench(model=objects_model, stale_after=0.6) as bench:
        bench.connected()
        yield bench


def good() -> Image:
    return image(picture_of([CAR_AHEAD], WIDTH, HEIGHT))


def broken(change: Callable[[Image], None]) -> Image:
    message = good()
    change(message)
    return message


def encoding(name: str) -> Callable[[Image], None]:
    return lambda message: setattr(message, 'encoding', name)


def cut(message: Image) -> None:
    message.data = message.data[: len(message.data) // 2]


def small_step(message: Image) -> None:
    message.step = 5


def empty(message: Image) -> None:
    message.width = message.height = message.step = 0
    message.data = b''


def huge(message: Image) -> None:
    message.width = message.height = 2**31


BROKEN = {
    'rgb17': encoding('rgb17'),
    'encoding': encoding(''),
    'bytes of data': cut,
    'step': small_step,
    'empty': empty,
    'corrupt': huge,
}


def test_broken_images(bench: InstanceBench) -> None:
    """One after the other in one life: each is told, and the next good one is worked on."""
    bench.answer(bench.ids, good)
    for reason, change in BROKEN.items():

        def told(change: Callable[[Image], None] = change, reason: str = reason) -> bool:
            bench.peer.send(broken(change))
            time.sleep(0.05)
            return reason in bench.peer.complaint()

        bench.until(told, reason)
        bench.ids.clear()
        answer = bench.answer(bench.ids, good)
        assert np.frombuffer(answer.data, np.uint16).any()
        bench.until(lambda: not bench.peer.diagnostics()[0], 'all clear')


def test_a_camera_that_changes_its_size_and_encoding(bench: InstanceBench) -> None:
    for size in ((1, 1), (3, 500), (500, 3)):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        answer = bench.answer(bench.ids, lambda picture=picture: image(picture))
        assert (answer.width, answer.height) == size
        bench.ids.clear()
    grey = image(np.zeros((50, 70, 3), np.uint8))
    grey.encoding, grey.step, grey.data = 'mono8', 70, bytes(50 * 70)

    def other() -> Image:
        from harness import stamped

        return stamped(grey, 0.0, FRAME)

    assert bench.answer(bench.ids, other).width == 70


def test_silence_no_stamp_and_a_best_effort_camera(bench: InstanceBench) -> None:
    bench.answer(bench.ids, good)
    bench.until(lambda: 'for more than 0.6 s' in bench.peer.complaint(), 'the silence')

    def told() -> bool:
        message = good()
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        bench.peer.send(message)
        time.sleep(0.05)
        return 'no stamp' in bench.peer.complaint()

    bench.until(told, 'the missing stamp')
    bench.peer.destroy_publisher(bench.peer.image)
    quality = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    bench.peer.image = bench.peer.create_publisher(Image, 'image', quality)
    bench.ids.clear()
    bench.answer(bench.ids, good)


BAD_CALIBRATIONS = {
    'calibrat': CameraInfo(width=WIDTH, height=HEIGHT),
    '640x480': camera_info(640, 480),
    'another': camera_info(frame='another'),
    'NaN': camera_info(focal=float('nan')),
}


def test_bad_calibrations_cost_the_markers_only(bench: InstanceBench) -> None:
    heard = bench.peer.listen('instance_node/markers', MarkerArray)
    bench.until(bench.node._outputs.markers.get_subscription_count, 'the marker subscription')
    for reason, info in BAD_CALIBRATIONS.items():

        def told(info: CameraInfo = info, reason: str = reason) -> bool:
            bench.peer.send(good(), info=info)
            time.sleep(0.05)
            return reason in bench.peer.complaint()

        bench.until(told, reason)
        assert bench.ids
        assert all(len(array.markers) <= 1 for array in heard)

    def well() -> bool:
        bench.peer.send(good())
        time.sleep(0.05)
        return any(len(array.markers) == 3 for array in heard)

    bench.until(well, 'markers with a good calibration')


@pytest.mark.parametrize(
    ('model', 'reason'),
    [('no_such_model', 'no model bundle'), ('semantic', 'semantic'), ('broken', 'sha256')],
)
def test_useless_models_leave_a_living_node(
    ros: None, tmp_path: Path, model: str, reason: str
) -> None:
    if model == 'semantic':
        model = str(write_tiny_bundle(tmp_path / 'semantic'))
    elif model == 'broken':
        folder = write_tiny_instances(tmp_path / 'broken')
        (folder / 'model.onnx').write_bytes(b'nothing')
        model = str(folder)
    with InstanceBench(model=model) as bench:
        bench.until(lambda: reason in bench.peer.complaint(), reason)
        bench.until(lambda: 'configure failed' in bench.peer.complaint(), 'the state')


def test_tracking_that_is_asked_for_and_not_there(
    ros: None, objects_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'edgefirst.tracker', None)
    with InstanceBench(model=objects_model, tracking='on') as bench:
        bench.until(lambda: 'pip install edgefirst-tracker' in bench.peer.complaint(), 'the fix')
    with InstanceBench(model=objects_model) as bench:
        bench.connected()
        answer = bench.answer(bench.ids, good)
        assert np.frombuffer(answer.data, np.uint16).max() == 1
        assert 'off: ' in bench.peer.diagnostics()[2]['tracking']
