"""The instance node over DDS: what it publishes, its life cycle and its parameters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import HEIGHT, LATCHED, RELIABLE, WIDTH, Bench, Peer, image, key
from lifecycle_msgs.msg import State, Transition
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tiny_instances import CAR, PERSON, SIGN, picture_of, write_tiny_instances
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.nodes.instance_node import InstanceNode
from seg_perception.ros.instance_messages import read_ids

#: A car, better than the person it overlaps, and a sign below the default threshold.
OBJECTS = [(PERSON, 200, 4, 4, 10, 16), (CAR, 250, 8, 6, 20, 14), (SIGN, 90, 24, 2, 28, 6)]


class ObjectPeer(Peer):
    """A camera whose pictures hold the objects written into them."""

    def listen_ids(self) -> list[Image]:
        return self.listen('instance_node/instances', Image)

    def listen_json(self) -> list[String]:
        return self.listen('instance_node/detections_json', String, RELIABLE)


class InstanceBench(Bench):
    """The instance node on a model that finds what is written in the picture."""

    DEFAULTS = {'provider': 'cpu', 'threads': 1, 'diagnostics_period': 0.1}  # noqa: RUF012
    peer: ObjectPeer

    def __init__(self, **parameters: Any) -> None:
        super().__init__(InstanceNode, **parameters)

    def make_peer(self, about: str) -> Peer:
        return ObjectPeer(about=about)

    def objects(self, *objects: tuple[int, int, int, int, int, int]) -> np.ndarray:
        """Send a picture of these objects; returns the ids of their pixels, uint16 [H, W]."""
        ids = self.peer.listen_ids() if self.ids is None else self.ids
        self.ids = ids
        self.json_heard()
        message = self.answer(ids, lambda: image(picture_of(objects, WIDTH, HEIGHT)))
        self.newest = message
        return read_ids(message, ('mono16',))

    ids: list[Image] | None = None

    def json_heard(self) -> None:
        """Wait until the node knows of the listener to its detections."""
        publisher = self.node._outputs.detections_json
        self.until(publisher.get_subscription_count, 'the JSON subscription')

    def detections(self) -> dict[str, Any]:
        """What the JSON says of the picture whose ids were read last."""
        heard = self.peer.heard['instance_node/detections_json']
        stamp = key(self.newest)
        ns = stamp[0] * 10**9 + stamp[1]

        def found() -> Any:
            contents = (json.loads(m.data) for m in reversed(heard))
            return next((c for c in contents if c['stamp_ns'] == ns), None)

        return self.until(found, 'the detections of that picture')


@pytest.fixture(scope='session')
def objects_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_instances(tmp_path_factory.mktemp('models') / 'tiny_objects'))


@pytest.fixture
def bench(ros: None, objects_model: str) -> Iterator[InstanceBench]:
    with InstanceBench(model=objects_model) as bench:
        bench.peer.listen_json()
        yield bench


def test_ids_detections_and_labels(bench: InstanceBench) -> None:
    labels = bench.peer.listen('instance_node/label_info_json', String, LATCHED)
    ids = bench.objects(*OBJECTS)
    assert ids.shape == (HEIGHT, WIDTH)
    found = bench.detections()
    assert found['width'], found['height'] == (WIDTH, HEIGHT)
    by_class = {d['class_name']: d for d in found['detections']}
    assert list(by_class) == ['car', 'person'], 'the best first, and no sign'
    car, person = by_class['car'], by_class['person']
    assert car['score'] == pytest.approx(250 / 255, abs=1e-3)
    assert car['box'] == [80, 60, 200, 140]
    assert ids[100, 140] == car['id'], 'the middle of the car'
    assert ids[100, 90] == car['id'], 'where both are, the better one is on top'
    assert ids[60, 60] == person['id']
    assert ids[5, 5] == 0
    assert car['area'] == pytest.approx(np.pi * 60 * 40, rel=0.05)
    assert (ids == person['id']).sum() < person['area'], 'the car covers a part of it'
    content = json.loads(bench.until(lambda: labels, 'label info')[-1].data)
    assert [c['class_name'] for c in content['class_map']] == ['person', 'car', 'sign']


def test_an_object_keeps_its_id_and_a_jump_of_the_clock_ends_that(bench: InstanceBench) -> None:
    pytest.importorskip('edgefirst.tracker', reason='needs edgefirst-tracker')
    first = set(np.unique(bench.objects((CAR, 250, 8, 6, 20, 14)))) - {0}
    for step in range(1, 4):
        moved = bench.objects((CAR, 250, 8 + step, 6, 20 + step, 14))
        assert set(np.unique(moved)) - {0} == first
    assert bench.detections()['tracked'] is True
    bench.ids.clear()
    picture = picture_of([(CAR, 250, 11, 6, 23, 14)], WIDTH, HEIGHT)
    ages = iter(range(1000, 2000))
    back = bench.answer(bench.ids, lambda: image(picture, stamp=float(next(ages))))
    assert set(np.unique(read_ids(back, ('mono16',)))) - {0} != first
    bench.until(lambda: 'time jumps' in bench.peer.diagnostics()[2], 'the jump to be counted')


def test_nothing_and_a_thousand(bench: InstanceBench) -> None:
    assert not bench.objects().any()
    assert bench.detections()['detections'] == []
    assert bench.set(**{'track.max_id': 1000})[0].successful is False, 'read at configure'


def test_a_thousand_objects(ros: None, objects_model: str) -> None:
    parameters = {'track.max_id': 1000, 'max_detections': 1000}
    with InstanceBench(model=objects_model, **parameters) as bench:
        bench.peer.listen_json()
        spots = [
            (CAR, 255 - i % 100, x, y, x + 1, y + 1)
            for i, (x, y) in enumerate((x, y) for y in range(18) for x in range(1, 32))
        ]
        many = (spots * 2)[:1000]
        picture = picture_of(many, WIDTH, 1000)
        ids = bench.peer.listen_ids()
        bench.json_heard()
        answer = bench.answer(ids, lambda: image(picture))
        bench.newest = answer
        assert len(bench.detections()['detections']) == 1000
        assert read_ids(answer, ('mono16',)).max() <= 1000


def test_objects_at_and_beyond_the_border(ros: None, tmp_path: Path) -> None:
    model = write_tiny_instances(tmp_path / 'shifted', shift=60.0)
    with InstanceBench(model=str(model)) as bench:
        bench.peer.listen_json()
        ids = bench.objects(
            (CAR, 250, 2, 4, 10, 12), (CAR, 240, 0, 4, 5, 12), (CAR, 230, 36, 10, 50, 30)
        )
        found = bench.detections()['detections']
        assert [d['box'] for d in found] == [[0, 40, 40, 120], [300, 100, WIDTH, HEIGHT]], (
            'cut at the border, and the one outside is none'
        )
        assert ids[80, 0] == found[0]['id']
        assert ids[HEIGHT - 1, WIDTH - 1] in (0, found[1]['id'])


def test_markers_stand_on_the_ground(bench: InstanceBench) -> None:
    heard = bench.peer.listen('instance_node/markers', MarkerArray, QoSProfile(depth=10))
    bench.connected()

    def standing() -> list[Marker]:
        bench.peer.send(image(picture_of([(CAR, 250, 12, 6, 20, 14)], WIDTH, HEIGHT)))
        time.sleep(0.1)
        return next((m.markers for m in reversed(heard) if len(m.markers) > 1), [])

    clear, outline, text = bench.until(standing, 'a marker')
    assert clear.action == Marker.DELETEALL
    assert outline.header.frame_id == 'base_link'
    # The circle ends 50 rows below the horizon (89.5): 1.5 m * 200 px / 50 px = 6 m ahead.
    assert outline.points[0].x == pytest.approx(6.0, rel=0.05)
    assert outline.points[0].y > outline.points[1].y
    assert text.text.startswith('car ')
    assert bench.change(Transition.TRANSITION_DEACTIVATE)
    bench.until(lambda: len(heard[-1].markers) == 1, 'the markers to be taken back')


def test_overlay_shows_the_objects(bench: InstanceBench) -> None:
    overlays = bench.peer.listen('instance_node/overlay', Image)
    picture = picture_of(OBJECTS, WIDTH, HEIGHT)
    shown = bench.answer(overlays, lambda: image(picture))
    pixels = np.frombuffer(shown.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert shown.encoding == 'rgb8'
    assert (pixels[100, 140] != picture[100, 140]).any()
    assert (pixels[170, 310] == picture[170, 310]).all()


def test_thresholds_and_classes_are_live(bench: InstanceBench) -> None:
    bench.objects(*OBJECTS)
    assert bench.set(min_score=0.2)[0].successful
    bench.ids.clear()
    bench.objects(*OBJECTS)
    assert len(bench.detections()['detections']) == 3
    assert bench.set(classes=['sign', 'person'], class_scores=['person:0.95'])[0].successful
    bench.ids.clear()
    bench.objects(*OBJECTS)
    assert [d['class_name'] for d in bench.detections()['detections']] == ['sign']
    assert bench.set(min_area=100000)[0].successful
    bench.ids.clear()
    assert not bench.objects(*OBJECTS).any()


BAD_PARAMETERS = [
    ('min_score', 1.5, 'in'),
    ('classes', ['lamp'], 'person, car, sign'),
    ('class_scores', ['person'], '<class>:<score>'),
    ('max_detections', 1000, 'track.max_id'),
    ('model', 'another', 'cleanup'),
]


def test_bad_parameters_are_refused(bench: InstanceBench) -> None:
    for name, value, reason in BAD_PARAMETERS:
        result = bench.set(**{name: value})[0]
        assert not result.successful
        assert reason in result.reason


def test_life_cycle(ros: None, objects_model: str) -> None:
    with InstanceBench(model=objects_model, autostart=False) as bench:
        bench.peer.listen_json()
        assert bench.state() == State.PRIMARY_STATE_UNCONFIGURED
        for _ in range(2):
            assert bench.change(Transition.TRANSITION_CONFIGURE)
            assert bench.change(Transition.TRANSITION_ACTIVATE)
            assert bench.objects(*OBJECTS).any()
            bench.ids.clear()
            assert bench.change(Transition.TRANSITION_DEACTIVATE)
            bench.until(lambda: not bench.peer.image.get_subscription_count(), 'it to unsubscribe')
            assert bench.change(Transition.TRANSITION_CLEANUP)
        assert bench.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert bench.node.exit_code == 0


def test_it_works_only_while_somebody_listens(ros: None, objects_model: str) -> None:
    with InstanceBench(model=objects_model) as bench:
        bench.until(lambda: 'idle' in bench.peer.complaint(), 'it to be idle')
        assert bench.peer.image.get_subscription_count() == 0
        bench.peer.listen_ids()
        bench.connected()
        bench.peer.leave('instance_node/instances')
        bench.until(lambda: not bench.peer.image.get_subscription_count(), 'it to let go')


def test_a_frame_left_in_work_is_known(bench: InstanceBench, monkeypatch: Any) -> None:
    bench.objects(*OBJECTS)
    segmenter = bench.node._handler._segmenter
    go_on, usual = threading.Event(), segmenter.segment
    monkeypatch.setattr(segmenter, 'segment', lambda *a: go_on.wait(20.0) and usual(*a))
    bench.peer.send(image(picture_of(OBJECTS, WIDTH, HEIGHT)))
    bench.until(lambda: bench.node._worker.busy, 'the frame to be in work')
    assert not bench.node.still_working
    bench.node._patience = 0.2
    assert bench.change(Transition.TRANSITION_DEACTIVATE)
    assert bench.node.still_working
    assert not bench.change(Transition.TRANSITION_ACTIVATE), 'while the old frame is in work'
    go_on.set()
    bench.until(lambda: not bench.node.still_working, 'it to be done')
    assert bench.change(Transition.TRANSITION_ACTIVATE)
    bench.ids.clear()
    assert bench.objects(*OBJECTS).any()
