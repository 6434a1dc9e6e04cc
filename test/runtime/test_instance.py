"""The instance segmenter: what it gives, what it refuses, and the command line around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle
from tiny_detectors import OBJECTS, write_table
from tiny_instances import CAR, CLASSES, PERSON, picture_of, write_tiny_instances

from seg_perception.cli import main
from seg_perception.core.errors import BundleError, ImageError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter, Placement
from seg_perception.runtime.schema import InputSpec


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_instances(tmp_path_factory.mktemp('models') / 'tiny')


@pytest.fixture(scope='module', params=['cpu', 'openvino'])
def segmenter(folder: Path, request: pytest.FixtureRequest) -> InstanceSegmenter:
    return InstanceSegmenter(Bundle.load(folder), request.param, threads=1, precision='fp32')


def test_objects_in_pixels_of_the_picture(segmenter: InstanceSegmenter) -> None:
    picture = picture_of([(PERSON, 200, 1, 2, 5, 9), (CAR, 250, 20, 3, 60, 9)], 320, 100)
    found = segmenter.segment(picture)
    assert found.image_size == (320, 100)
    assert found.labels.tolist() == [PERSON, CAR]
    assert found.scores == pytest.approx([200 / 255, 250 / 255], abs=1e-3)
    assert found.boxes.tolist() == [[10, 20, 50, 90], [200, 30, 600, 90]]
    assert found.masks.shape == (2, 28, 28)
    swapped = segmenter.segment(np.ascontiguousarray(picture[..., ::-1]), 'bgr')
    assert swapped.labels.tolist() == [PERSON, CAR]
    assert set(segmenter.last_timing) == {'convert', 'network', 'post'}


def test_no_object_at_all(segmenter: InstanceSegmenter) -> None:
    found = segmenter.segment(picture_of([], 64, 48))
    assert len(found) == 0
    assert found.masks.shape[1:] == (28, 28)


def test_what_makes_no_sense_is_left_out(segmenter: InstanceSegmenter) -> None:
    """A class the set does not have, and a box without an extent."""
    objects = [(len(CLASSES), 250, 1, 1, 5, 5), (CAR, 250, 5, 5, 5, 9), (CAR, 250, 1, 1, 9, 9)]
    assert len(segmenter.segment(picture_of(objects))) == 1


@pytest.mark.parametrize(
    'picture', [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))]
)
def test_what_is_no_picture_is_refused(segmenter: InstanceSegmenter, picture) -> None:
    with pytest.raises(ImageError):
        segmenter.segment(picture)


def test_bundles_that_promise_what_the_graph_does_not_give(tmp_path: Path) -> None:
    wrong = {
        'task': write_tiny_bundle(tmp_path / 'semantic'),
        'tensor': write_tiny_instances(
            tmp_path / 'names',
            changes={'output': {k: f'my_{k}' for k in ('boxes', 'labels', 'scores', 'masks')}},
        ),
        'same': write_tiny_instances(
            tmp_path / 'types',
            changes={
                'output': {
                    'boxes': 'boxes',
                    'labels': 'scores',
                    'scores': 'labels',
                    'masks': 'masks',
                }
            },
        ),
    }
    reasons = {'task': 'instance', 'tensor': 'my_labels', 'same': 'int64'}
    for kind, path in wrong.items():
        with pytest.raises(BundleError, match=reasons[kind]):
            InstanceSegmenter(Bundle.load(path), 'cpu')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'output': {'boxes': 'boxes', 'labels': 'labels', 'scores': 'scores'}}, 'masks'),
        (
            {'output': {'boxes': 'a', 'labels': 'b', 'scores': 'c', 'masks': None}},
            'name of its own',
        ),
        (
            {'input': {'name': 'image', 'color': 'rgb', 'size': [64, 64], 'resize': 'none'}},
            'resize',
        ),
        (
            {'input': {'name': 'image', 'color': 'rgb', 'size': [64, 64], 'resize': 'zoom'}},
            'letterbox',
        ),
    ],
)
def test_descriptions_that_cannot_be(tmp_path: Path, changes: dict, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        Bundle.load(write_tiny_instances(tmp_path / 'wrong', changes=changes))


def spec(resize: str, size: tuple[int, int] | None = (64, 96), multiple: int = 1) -> InputSpec:
    return InputSpec('image', 'rgb', size, multiple, 0, size or (64, 96), resize)


def test_letterbox_pads_evenly_and_comes_back() -> None:
    placement = Placement.of(spec('letterbox'), 200, 100)
    assert placement.size == (96, 64)
    assert placement.offset == (0, 8)
    framed = placement.apply(np.full((100, 200, 3), 7, np.uint8))
    assert framed.shape == (64, 96, 3)
    assert (framed[:8] == 114).all()
    assert (framed[8:56] == 7).all()
    assert (framed[56:] == 114).all()
    box = np.array([[48, 32, 96, 56]], np.float32)
    assert placement.undo(box)[0] == pytest.approx([100, 50, 200, 100])


def test_a_dynamic_network_takes_the_pictures_shape() -> None:
    placement = Placement.of(spec('letterbox', None, 32), 640, 320)
    assert placement.size == (96, 64)
    assert Placement.of(spec('none', None), 640, 320).size == (640, 320)
    thin = Placement.of(spec('letterbox', None, 32), 10000, 1)
    assert thin.size == (160, 32)
    assert thin.apply(np.zeros((1, 10000, 3), np.uint8)).shape == (32, 160, 3)


def test_check_runs_instance_bundles(folder: Path, capsys) -> None:
    assert main(['models', 'check', str(folder), '--provider', 'cpu']) == 0
    assert '3 classes (tiny objects)' in capsys.readouterr().out


def test_import_on_the_command_line(tmp_path: Path, capsys) -> None:
    network = write_table(tmp_path / 'yolo.onnx')
    arguments = ['models', 'import', str(network), '--task', 'instance', '--name', 'yolo']
    arguments += ['--labels', 'person,car,bus', '--scale', '1/255', '--out', str(tmp_path)]
    assert main(arguments) == 0
    assert 'ok    yolo' in capsys.readouterr().out
    found = InstanceSegmenter(Bundle.load(tmp_path / 'yolo'), 'cpu').segment(
        np.zeros((64, 96, 3), np.uint8)
    )
    assert found.scores[0] == pytest.approx(OBJECTS[0][5], abs=1e-3)
    assert main([*arguments[:-1], str(tmp_path / 'other'), '--masks', 'nothing']) != 0
    assert "no output 'nothing'" in capsys.readouterr().err
