"""Objects of a recording: published as instance_node does, scored against true ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import replay_bags as rb
from tiny_instances import CAR, PERSON, picture_of, write_tiny_instances

from seg_perception.core.errors import ParameterError
from seg_perception.replay.run import replay_bag
from seg_perception.replay.summary import failed, summarize
from seg_perception.ros.images import image_message

CAR_KIND, PERSON_KIND = 3, 1  # COCO


def disc(shape, x1, y1, x2, y2) -> np.ndarray:
    """The disc inscribed in a box, as the tiny model's masks are."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    a, b = (x - (x1 + x2) / 2) / ((x2 - x1) / 2), (y - (y1 + y2) / 2) / ((y2 - y1) / 2)
    return a**2 + b**2 <= 1


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """Frame 0: a car and a person, both true. Frame 1: a car that is none, a person missed."""
    rows = []
    for index, objects in enumerate(
        [[(CAR, 230, 2, 3, 12, 13), (PERSON, 200, 18, 5, 24, 15)], [(CAR, 230, 2, 3, 12, 13)]]
    ):
        stamp = rb.START_NS + index * rb.PERIOD_NS
        header = rb.header(stamp)
        picture = picture_of(objects)
        ids, kinds = np.zeros((180, 320), np.uint16), np.zeros((180, 320), np.uint8)
        if index == 0:
            car = disc(ids.shape, 20, 30, 120, 130)
            ids[car], kinds[car] = 7, CAR_KIND
        person = disc(ids.shape, 180, 50, 240, 150)
        ids[person], kinds[person] = 9, PERSON_KIND
        rows += [
            ('/camera/image_raw', rb.raw(picture, stamp), stamp),
            ('/truth/instances', image_message(ids, 'mono16', header), stamp),
            ('/truth/kinds', image_message(kinds, 'mono8', header), stamp),
        ]
    return rb.write(tmp_path_factory.mktemp('objects') / 'bag', rows)


@pytest.fixture(scope='module')
def objects_model(tmp_path_factory):
    pytest.importorskip('onnx', reason='needs onnx to make a model: make test installs it')
    return write_tiny_instances(tmp_path_factory.mktemp('models') / 'tiny_objects')


def options(tiny_model, objects_model, **changes):
    instance = {'provider': 'cpu', 'threads': 1, 'tracking': 'off'}
    return rb.options(
        tiny_model,
        instance_model=str(objects_model),
        instance_overrides=tuple(instance.items()),
        **changes,
    )


def test_objects_are_written_as_the_node_publishes_them(
    recording, tiny_model, objects_model, tmp_path
):
    replay_bag(options(tiny_model, objects_model), recording, tmp_path / 'out')
    out = tmp_path / 'out/bag'
    ids = rb.read(out, '/instance_node/instances')
    assert [(m.encoding, m.width, m.height) for m in ids] == [('mono16', 320, 180)] * 2
    picture = ids[0].data.view('<u2').reshape(180, 320)
    assert picture[80, 70] == 1  # the car, the better score
    assert picture[100, 210] == 2
    said = [json.loads(m.data) for m in rb.read(out, '/instance_node/detections_json')]
    assert [[d['class_name'] for d in m['detections']] for m in said] == [
        ['car', 'person'],
        ['car'],
    ]
    detections = rb.read(out, '/instance_node/detections')[0]
    first = detections.detections[0]
    assert first.id == '1'
    assert first.results[0].hypothesis.class_id == str(CAR)
    assert first.bbox.center.position.x == pytest.approx(70)
    assert first.bbox.size_x == pytest.approx(100)
    assert [c.class_name for c in rb.read(out, '/instance_node/label_info')[0].class_map][
        1
    ] == 'car'


def test_panoptic_quality_counts_what_is_made_up_and_missed(
    recording, tiny_model, objects_model, tmp_path
):
    asked = options(tiny_model, objects_model, truth=('simulator',))
    result = replay_bag(asked, recording, tmp_path / 'out')
    report = summarize([result, {**result, 'bag': 'the same again'}])
    objects = report['objects']
    assert (objects['frames'], objects['scored'], objects['found']) == (4, 4, 6)
    by_name = {item['name']: item for item in objects['classes']}
    assert [by_name['car'][k] for k in ('tp', 'fp', 'fn')] == [2, 2, 0]
    assert [by_name['person'][k] for k in ('tp', 'fp', 'fn')] == [2, 0, 2]
    assert by_name['car']['sq'] > 0.9
    assert objects['pq'] == pytest.approx(objects['sq'] * 2 / 3, abs=1e-6)
    # Half of the persons are found, each with a mask nearly as it should be.
    pytest.importorskip('pycocotools', reason='needs pycocotools for COCO AP')
    assert 0.4 < by_name['person']['ap'] < 0.6
    assert 0.5 < objects['ap50'] <= 1.0
    assert failed(report, {'pq': 0.5, 'ap50': 0.5}) == []
    assert 'pq' in failed(report, {'pq': 0.9})[0]


def test_objects_resume_from_the_journal(recording, tiny_model, objects_model, tmp_path):
    stop = iter([False, True])
    asked = options(tiny_model, objects_model)
    replay_bag(asked, recording, tmp_path / 'part', stopping=lambda: next(stop))
    replay_bag(options(tiny_model, objects_model, resume=True), recording, tmp_path / 'part')
    replay_bag(asked, recording, tmp_path / 'whole')
    assert rb.payloads(tmp_path / 'part/bag') == rb.payloads(tmp_path / 'whole/bag')


def test_wrong_parameters_of_the_instance_node_are_refused_first(tiny_model, objects_model):
    asked = options(tiny_model, objects_model)
    wrong = type(asked)(**{**vars(asked), 'instance_overrides': (('min_score', 7.0),)})
    with pytest.raises(ParameterError, match='min_score'):
        wrong.check()
