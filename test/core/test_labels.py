"""Label sets: the shipped ones, reading, refusing, remapping."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from seg_perception.core.errors import LabelSetError
from seg_perception.core.labels import LabelClass, LabelSet, Role

SIZES = {'ade20k': 150, 'camvid': 11, 'cityscapes': 19, 'coco': 80, 'street_objects': 6}


def classes(*names: str) -> list[dict]:
    return [
        {'id': i, 'name': name, 'color': [i, 2 * i, 3 * i], 'role': 'obstacle', 'cost': 100}
        for i, name in enumerate(names)
    ]


def test_available_sets():
    assert set(SIZES) <= set(LabelSet.available())


@pytest.mark.parametrize('name', SIZES)
def test_shipped_sets_are_sound(name):
    labels = LabelSet.named(name)
    assert labels.name == name
    assert len(labels) == SIZES[name]
    for item in labels.classes:
        # The words of a class must not contradict its role.
        if item.name in ('road', 'floor', 'runway'):
            assert (item.role, item.cost) == (Role.DRIVABLE, 0)
        if item.name in ('person', 'pedestrian', 'car', 'bicycle', 'wall', 'stairs', 'water'):
            assert (item.role, item.cost) == (Role.OBSTACLE, 100)
        if item.name in ('sidewalk', 'pavement'):
            assert (item.role, item.cost) == (Role.OBSTACLE, 60)
        if item.name in ('sky', 'ceiling'):
            assert item.role is Role.IGNORE
    colours = [item.color for item in labels.classes]
    # ADE20K itself gives road and skyscraper the same grey.
    assert len(set(colours)) >= len(colours) - (name == 'ade20k')


def test_order_is_that_of_the_data_sets():
    assert LabelSet.named('cityscapes').names[:3] == ('road', 'sidewalk', 'building')
    assert LabelSet.named('cityscapes').names[11:] == (
        *('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
    )
    assert LabelSet.named('camvid').names == (
        *('sky', 'building', 'pole', 'road', 'pavement', 'tree'),
        *('sign', 'fence', 'car', 'pedestrian', 'bicyclist'),
    )
    ade = LabelSet.named('ade20k')
    places = {'wall': 0, 'sky': 2, 'road': 6, 'person': 12, 'car': 20, 'runway': 54, 'flag': 149}
    assert {name: ade.index(name) for name in places} == places
    coco = LabelSet.named('coco')
    places = {'person': 0, 'stop sign': 11, 'zebra': 22, 'dining table': 60, 'toothbrush': 79}
    assert {name: coco.index(name) for name in places} == places


def test_tables():
    labels = LabelSet.named('cityscapes')
    palette, roles, costs = labels.palette(), labels.role_table(), labels.cost_table()
    assert palette.shape == (256, 3)
    assert {table.dtype for table in (palette, roles, costs)} == {np.dtype(np.uint8)}
    assert palette[0].tolist() == [128, 64, 128]
    road, sidewalk, sky = 0, 1, 10
    assert roles[[road, sidewalk, sky, 19, 255]].tolist() == [1, 2, 0, 0, 0]
    assert costs[[road, sidewalk, 13]].tolist() == [0, 60, 100]
    assert not palette[19:].any()


def test_survives_a_round_trip_through_yaml_and_json(tmp_path):
    labels = LabelSet.named('camvid')
    path = tmp_path / 'own.yaml'
    path.write_text(yaml.safe_dump(labels.to_dict()))
    assert LabelSet.load(path) == labels
    assert LabelSet.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels


def test_roles_can_be_changed():
    labels = LabelSet.named('cityscapes')
    changed = labels.with_roles(
        ['sidewalk:drivable', 'terrain:drivable:40', 'traffic light:ignore']
    )
    assert changed.classes[1].role is Role.DRIVABLE
    assert changed.classes[1].cost == 0
    assert changed.classes[9].cost == 40
    assert changed.role_table()[6] == 0
    assert labels.classes[1].role is Role.OBSTACLE, 'the original must stay'
    blocked = labels.with_roles(['road:obstacle'])
    assert blocked.classes[0].cost == 100, 'an obstacle that costs nothing would be free ground'
    assert labels.with_roles(['sidewalk:obstacle']).classes[1].cost == 60
    assert labels.with_roles([]) == labels


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('gravel:drivable', "no class 'gravel'; known: road, sidewalk"),
        ('road:bumpy', "unknown role 'bumpy'; known: drivable, obstacle, ignore"),
        ('road', "write '<class>:<role>'"),
        ('road:', "write '<class>:<role>'"),
        ('road:drivable:cheap', 'whole number'),
        ('road:drivable:101', r'0\.\.100'),
        ('road:obstacle:0', r'1\.\.100'),
    ],
)
def test_bad_role_changes_are_refused(change, message):
    with pytest.raises(LabelSetError, match=message):
        LabelSet.named('cityscapes').with_roles([change])


def test_unknown_names_list_the_known():
    with pytest.raises(LabelSetError, match=r'known: .*camvid, cityscapes'):
        LabelSet.named('kitti')
    with pytest.raises(LabelSetError, match='known: sky, building'):
        LabelSet.named('camvid').index('cat')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'id': 3}, 'ids must run'),
        ({'id': True}, 'whole number'),
        ({'id': 255}, r'0\.\.254'),
        ({'name': 'b'}, r"occur twice: \['b'\]"),
        ({'name': ' '}, 'not empty'),
        ({'color': [1, 2]}, r'\[r, g, b\]'),
        ({'color': [1, 2, 256]}, r'0\.\.255'),
        ({'color': 'red'}, r'\[r, g, b\]'),
        ({'role': 'maybe'}, 'unknown role'),
        ({'cost': 0}, r'1\.\.100'),
        ({'cost': 12.5}, 'whole number'),
        ({'price': 3}, r"unknown keys \['price'\]"),
    ],
)
def test_malformed_classes_are_refused(change, message):
    data = {'name': 'mine', 'classes': classes('a', 'b')}
    data['classes'][0].update(change)
    with pytest.raises(LabelSetError, match=message):
        LabelSet.from_dict(data)


@pytest.mark.parametrize(
    'data',
    [
        None,
        [],
        {'name': 'x'},
        {'classes': []},
        {'name': 'x', 'classes': [7]},
        {'name': 'x', 'classes': []},
    ],
)
def test_malformed_sets_are_refused(data):
    with pytest.raises(LabelSetError):
        LabelSet.from_dict(data)


def test_a_mask_of_bytes_bounds_the_number_of_classes():
    names = [f'c{i}' for i in range(255)]
    assert len(LabelSet.from_dict({'name': 'many', 'classes': classes(*names[:80])})) == 80
    full = [LabelClass(i, name, (0, 0, 0), Role.IGNORE, 0) for i, name in enumerate(names)]
    assert len(LabelSet('full', tuple(full))) == 255
    with pytest.raises(LabelSetError, match=r'0\.\.254'):
        LabelClass(255, 'one too many', (0, 0, 0), Role.IGNORE, 0)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(LabelSetError, match=r'missing\.yaml'):
        LabelSet.load(tmp_path / 'missing.yaml')
    broken = tmp_path / 'broken.yaml'
    broken.write_text('name: [')
    with pytest.raises(LabelSetError, match=r'broken\.yaml is no valid YAML'):
        LabelSet.load(broken)
    broken.write_text('name: x\nclasses: 3\n')
    with pytest.raises(LabelSetError, match=r'broken\.yaml: .*classes'):
        LabelSet.load(broken)
    broken.write_text('!!python/object/apply:os.system ["true"]')
    with pytest.raises(LabelSetError, match='no valid YAML'):
        LabelSet.load(broken)


def test_core_needs_neither_ros_nor_networks():
    """The whole room loads in a process that has none of the big packages in memory after."""
    code = (
        'import sys\n'
        'from seg_perception.core import camera, grid, ground, labels, overlay, results\n'
        "big = {'rclpy', 'onnxruntime', 'onnx', 'torch', 'openvino'} & set(sys.modules)\n"
        'sys.exit(str(big) if big else 0)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
