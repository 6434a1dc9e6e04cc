"""The panoptic node over DDS: pairing, fusion, its topics, and input that is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tiny_bundle
import tiny_instances
from harness import LATCHED, RELIABLE, Bench, Peer, key, stamped
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from seg_perception.core.instances import Found, Region
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic import from_rgb, rgb_to_id
from seg_perception.core.results import Instances
from seg_perception.nodes.panoptic_node import PanopticNode
from seg_perception.ros.images import image_message
from seg_perception.ros.instance_messages import detections_json
from seg_perception.ros.messages import label_info_json

MASK_LABELS = LabelSet.from_dict({'name': 'tiny', 'classes': tiny_bundle.CLASSES})
OBJECT_LABELS = LabelSet.from_dict({'name': 'objects', 'classes': tiny_instances.CLASSES})
WALL, ROAD, SKY = 0, 1, 2
#: The mask's three classes come first, then person, car and sign.
CAR = 3 + tiny_instances.CAR
WIDTH, HEIGHT = 64, 48


class TwoNodes(Peer):
    """Stands for the segmentation and the instance node, and listens to the panoptic one."""

    def __init__(self, about: str) -> None:
        super().__init__('two_nodes', about)
        self.mask = self.create_publisher(Image, 'mask', RELIABLE)
        self.instances = self.create_publisher(Image, 'instances', RELIABLE)
        self.detections = self.create_publisher(String, 'detections_json', RELIABLE)
        self.labels = {
            kind: self.create_publisher(String, f'{kind}_label_info_json', LATCHED)
            for kind in ('mask', 'instance')
        }

    def announce(self) -> None:
        self.labels['mask'].publish(label_info_json(MASK_LABELS))
        self.labels['instance'].publish(label_info_json(OBJECT_LABELS))

    def send(self, message: Image | None = None, **_: Any) -> Image:
        """Publish a mask, and a car of id 7 in its middle."""
        header = (
            stamped(Image(), 0.0, 'camera_optical').header if message is None else (message.header)
        )
        self.mask.publish(image_message(half_mask(), 'mono8', header))
        return self.send_instances(header)

    def send_instances(self, header: Header) -> Image:
        found = one_car()
        message = image_message(car_ids(), 'mono16', header)
        self.detections.publish(detections_json(found, OBJECT_LABELS, header))
        self.instances.publish(message)
        return message


class PanopticBench(Bench):
    """The panoptic node between stand-ins of the others."""

    DEFAULTS = {'diagnostics_period': 0.1}  # noqa: RUF012
    peer: TwoNodes

    def __init__(self, announce: bool = True, **parameters: Any) -> None:
        super().__init__(PanopticNode, **parameters)
        self.maps = self.peer.listen('panoptic_node/panoptic', Image)
        if announce:
            self.peer.announce()

    def make_peer(self, about: str) -> Peer:
        return TwoNodes(about)

    def connected(self) -> None:
        for publisher in (self.peer.mask, self.peer.instances, self.peer.detections):
            self.until(publisher.get_subscription_count, 'the inputs')


def half_mask() -> np.ndarray:
    """Sky above road at half the size of the instances."""
    mask = np.full((HEIGHT // 2, WIDTH // 2), ROAD, np.uint8)
    mask[: HEIGHT // 4] = SKY
    return mask


def car_ids() -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    ids[20:40, 10:30] = 7
    return ids


def one_car(score: float = 0.9) -> Found:
    instances = Instances(
        np.array([tiny_instances.CAR], np.int32),
        np.array([score], np.float32),
        np.array([[10, 20, 30, 40]], np.float32),
        np.ones((1, 28, 28), np.float32),
        (WIDTH, HEIGHT),
    )
    return Found(instances, [Region(10, 20, np.ones((20, 20), bool))], np.array([7]), True)


def pixels(message: Image) -> np.ndarray:
    assert message.encoding == '32SC1'
    return np.frombuffer(message.data, np.int32).reshape(message.height, message.width)


@pytest.fixture
def bench(ros: None) -> Iterator[PanopticBench]:
    with PanopticBench() as bench:
        bench.connected()
        yield bench


def test_a_car_on_the_road_under_the_sky(bench: PanopticBench) -> None:
    labels = bench.peer.listen('panoptic_node/label_info_json', String, LATCHED)
    segments = bench.peer.listen('panoptic_node/segments_json', String)
    colors = bench.peer.listen('panoptic_node/panoptic_rgb', Image)
    answer = bench.answer(bench.maps)
    ids = pixels(answer)
    assert ids.shape == (HEIGHT, WIDTH)
    assert ids[30, 20] == CAR * 1000 + 7
    assert ids[0, 0] == SKY * 1000
    assert ids[HEIGHT - 1, 0] == ROAD * 1000
    info = bench.until(lambda: labels, 'label info')[-1]
    names = [c['class_name'] for c in json.loads(info.data)['class_map']]
    assert names == ['wall', 'road', 'sky', 'person', 'car', 'sign']
    rgb = np.frombuffer(bench.answer(colors).data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert (from_rgb(rgb) == ids).all()

    def heard() -> bool:
        bench.peer.send()
        time.sleep(0.05)
        return bool(segments)

    bench.until(heard, 'segments')
    said = json.loads(segments[-1].data)['segments']
    car = next(s for s in said if s['isthing'])
    assert car['id'] == CAR * 1000 + 7
    assert car['rgb_id'] == rgb_to_id(rgb)[30, 20]
    assert (car['category_name'], car['instance_id'], car['area']) == ('car', 7, 400)


def test_classes_of_two_names_can_be_one(bench: PanopticBench) -> None:
    bench.answer(bench.maps)
    assert bench.set(same_classes=['car:wall'])[0].successful
    bench.maps.clear()
    bench.until(lambda: pixels(bench.answer(bench.maps))[30, 20] == WALL * 1000 + 7, 'the rename')
    refused = bench.set(same_classes=['lorry:wall'])[0]
    assert not refused.successful
    assert 'lorry' in refused.reason
    assert not bench.set(same_classes=['car'])[0].successful


def test_rules_are_live(bench: PanopticBench) -> None:
    bench.answer(bench.maps)
    assert bench.set(min_score=0.95)[0].successful
    bench.maps.clear()
    bench.until(lambda: pixels(bench.answer(bench.maps))[30, 20] == ROAD * 1000, 'no car')


def test_the_nearest_mask_is_taken_when_their_frames_differ(bench: PanopticBench) -> None:
    bench.answer(bench.maps)
    bench.maps.clear()
    mask = image_message(half_mask(), 'mono8', stamped(Image(), 0.0, 'c').header)
    later = Header(stamp=mask.header.stamp, frame_id='c')
    later.stamp.nanosec = (later.stamp.nanosec + 1_000_000) % 10**9
    bench.peer.mask.publish(mask)
    bench.peer.send_instances(later)
    bench.until(lambda: bench.maps, 'a map of the nearest mask')
    assert key(bench.maps[-1]) == (later.stamp.sec, later.stamp.nanosec)


def test_overlay_lies_on_the_picture(bench: PanopticBench) -> None:
    overlays = bench.peer.listen('panoptic_node/overlay', Image)
    bench.until(bench.peer.image.get_subscription_count, 'the picture to be wanted')
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)

    def made() -> Any:
        message = image_message(picture, 'rgb8', stamped(Image(), 0.0, 'c').header)
        bench.peer.image.publish(message)
        time.sleep(0.05)
        bench.peer.send(message)
        time.sleep(0.1)
        for shown in overlays:
            colors = np.frombuffer(shown.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
            # Half the picture's 40, half the class' colour.
            if colors[HEIGHT - 1, 0].tolist() == [20, 120, 20]:
                return colors[0, 0].tolist()
        return None

    assert bench.until(made, 'the road over the picture') == [20, 20, 120]


def wrong(kind: str, change: Callable[[Any], None]) -> Callable[[TwoNodes], None]:
    """Return what sends a good triple but for one changed message."""

    def send(peer: TwoNodes) -> None:
        header = stamped(Image(), 0.0, 'camera_optical').header
        messages = {
            'mask': image_message(half_mask(), 'mono8', header),
            'detections': detections_json(one_car(), OBJECT_LABELS, header),
            'instances': image_message(car_ids(), 'mono16', header),
        }
        change(messages[kind])
        for name, message in messages.items():
            getattr(peer, name).publish(message)

    return send


def set_encoding(name: str) -> Callable[[Image], None]:
    return lambda message: setattr(message, 'encoding', name)


def cut(message: Image) -> None:
    message.data = message.data[:100]


def strange_class(message: Image) -> None:
    message.data = bytes([200]) * len(message.data)


def no_stamp(message: Image) -> None:
    message.header = Header()


def empty(message: Image) -> None:
    message.width = message.height = message.step = 0
    message.data = b''


def data(text: str) -> Callable[[String], None]:
    return lambda message: setattr(message, 'data', text)


def other_class(message: String) -> None:
    content = json.loads(message.data)
    content['detections'][0]['class_id'] = 99
    message.data = json.dumps(content)


WRONG = [
    (wrong('mask', set_encoding('rgb8')), 'mono8'),
    (wrong('mask', cut), 'bytes of data'),
    (wrong('mask', empty), 'empty'),
    (wrong('mask', strange_class), 'class ids [200]'),
    (wrong('instances', set_encoding('mono8')), 'mono16'),
    (wrong('instances', cut), 'bytes of data'),
    (wrong('instances', no_stamp), 'no stamp'),
    (wrong('detections', data('{')), 'JSONDecodeError'),
    (wrong('detections', data('[]')), 'TypeError'),
    (wrong('detections', data('{"detections": [{"id": 1}], "stamp_ns": 5}')), 'class_id'),
    (wrong('detections', other_class), '99'),
]


def test_bad_input_is_told_and_survived(bench: PanopticBench) -> None:
    """One after the other in one life: each is told, and the next good one becomes a map."""
    bench.answer(bench.maps)
    for send, reason in WRONG:

        def told(send: Callable[[TwoNodes], None] = send, reason: str = reason) -> bool:
            send(bench.peer)
            time.sleep(0.1)
            return reason in bench.peer.diagnostics()[1]

        bench.until(told, reason)
        bench.maps.clear()
        assert pixels(bench.answer(bench.maps))[30, 20] == CAR * 1000 + 7
        bench.until(lambda reason=reason: reason not in bench.peer.diagnostics()[1], 'all clear')


def test_bad_labels_are_told_and_survived(bench: PanopticBench) -> None:
    bench.answer(bench.maps)
    bench.peer.labels['mask'].publish(String(data='{"class_map": 3}'))
    bench.until(lambda: 'mask_label_info_json' in bench.peer.complaint(), 'the reason')
    bench.peer.announce()
    bench.until(lambda: 'mask_label_info_json' not in bench.peer.diagnostics()[1], 'all clear')


def test_what_is_missing_is_named(ros: None) -> None:
    with PanopticBench(announce=False, stale_after=0.5) as bench:
        bench.connected()
        bench.until(lambda: 'label info' in bench.peer.complaint(), 'the labels to be missed')
        bench.peer.announce()
        bench.answer(bench.maps)
        bench.until(lambda: 'for more than 0.5 s' in bench.peer.complaint(), 'the silence')

        def lonely() -> bool:
            bench.peer.send_instances(stamped(Image(), time.time() + 100, 'c').header)
            time.sleep(0.1)
            return 'max_stamp_difference' in bench.peer.complaint()

        bench.until(lonely, 'instances without a mask')


def test_it_pauses_and_goes_on(bench: PanopticBench) -> None:
    bench.answer(bench.maps)
    assert bench.change(Transition.TRANSITION_DEACTIVATE)
    bench.until(lambda: not bench.peer.mask.get_subscription_count(), 'it to unsubscribe')
    assert bench.change(Transition.TRANSITION_ACTIVATE)
    bench.maps.clear()
    bench.connected()
    assert pixels(bench.answer(bench.maps))[30, 20] == CAR * 1000 + 7
