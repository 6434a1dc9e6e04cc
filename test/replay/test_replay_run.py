"""One bag through the pipeline: what comes out, the same twice, and after an interruption."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import replay_bags as rb
from tiny_bundle import ROAD

from seg_perception.core.errors import SourceError
from seg_perception.replay.run import replay_bag
from seg_perception.ros.bag_reader import BagReader

NODE = '/segmentation_node'


@pytest.mark.parametrize(('storage', 'make'), [('mcap', rb.raw), ('sqlite3', rb.png)])
def test_every_frame_comes_out_under_its_stamp(tmp_path, tiny_model, storage, make):
    bag = rb.write(tmp_path / 'in', rb.drive(5, make=make), storage)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert result['frames'] == {'stated': 5, 'read': 5, 'undecodable': 0, 'with_truth': 0}
    assert not result['damage']
    assert not result['warnings']
    masks = rb.read(tmp_path / 'out/bag', f'{NODE}/mask')
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in masks]
    assert stamps == [rb.START_NS + i * rb.PERIOD_NS for i in range(5)]
    assert {m.encoding for m in masks} == {'mono8'}
    assert {m.header.frame_id for m in masks} == {'camera_optical'}
    mask = masks[2].data.reshape(masks[2].height, masks[2].width)
    truth = cv2.resize(rb.scene(2), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    assert (mask == truth).mean() > 0.95
    counts = {t.name: t.count for t in BagReader(tmp_path / 'out/bag').topics}
    assert counts == {
        f'{NODE}/camera_info': 5,
        f'{NODE}/confidence': 5,
        f'{NODE}/drivable_grid': 5,
        f'{NODE}/label_info': 1,
        f'{NODE}/label_info_json': 1,
        f'{NODE}/mask': 5,
    }


def test_the_other_outputs_are_what_the_node_publishes(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(3))
    replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    out = tmp_path / 'out/bag'
    info = rb.read(out, f'{NODE}/camera_info')[0]
    assert (info.width, info.height) == (80, 48)
    assert info.k[0] == pytest.approx(0.8 * rb.WIDTH / 2)
    grid = rb.read(out, f'{NODE}/drivable_grid')[0]
    assert grid.header.frame_id == 'base_link'
    cells = np.asarray(grid.data).reshape(grid.info.height, grid.info.width)
    assert {0, -1} <= set(np.unique(cells).tolist())
    labels = rb.read(out, f'{NODE}/label_info')[0]
    assert [c.class_name for c in labels.class_map] == ['wall', 'road', 'sky']
    facts = json.loads(rb.read(out, f'{NODE}/label_info_json')[0].data)
    assert facts['class_map'][ROAD]['role'] == 'drivable'


def test_parameters_are_the_nodes_own_yaml(tmp_path, tiny_model):
    file = tmp_path / 'params.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    mask_size: image\n    grid: {x_max: 10, frame_id: foot}\n'
        'other_node:\n  ros__parameters:\n    mask_size: model\n'
    )
    bag = rb.write(tmp_path / 'in', rb.drive(1))
    overrides = {'grid.x_max': 10.0}
    options = rb.options(tiny_model, params_files=(file,), parameters=overrides)
    replay_bag(options, bag, tmp_path / 'out')
    mask = rb.read(tmp_path / 'out/bag', f'{NODE}/mask')[0]
    assert (mask.width, mask.height) == (rb.WIDTH, rb.HEIGHT)
    grid = rb.read(tmp_path / 'out/bag', f'{NODE}/drivable_grid')[0]
    assert grid.header.frame_id == 'foot'
    assert grid.info.width == 20


def test_two_runs_write_the_same_bytes(tmp_path, tiny_model):
    place = rb.tf('base_link', 'camera_optical', (0, 0, 1.4), rb.START_NS)
    bag = rb.write(tmp_path / 'in', [*rb.drive(4), ('/tf_static', place, rb.START_NS)])
    for name in ('a', 'b'):
        replay_bag(rb.options(tiny_model), bag, tmp_path / name)
    assert rb.payloads(tmp_path / 'a/bag') == rb.payloads(tmp_path / 'b/bag')
    assert '/tf_static' in rb.payloads(tmp_path / 'a/bag')


def test_interrupted_and_resumed_is_as_if_nothing_had_been(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(8))
    whole = replay_bag(rb.options(tiny_model), bag, tmp_path / 'whole')
    seen = []
    options = rb.options(tiny_model)
    part = replay_bag(
        options,
        bag,
        tmp_path / 'part',
        progress=lambda done, total: seen.append((done, total)),
        stopping=lambda: len(seen) == 3,
    )
    assert part['interrupted']
    assert seen == [(1, 8), (2, 8), (3, 8)]
    assert len(rb.read(tmp_path / 'part/bag', f'{NODE}/mask')) == 3  # a whole bag, though short
    journal = tmp_path / 'part/journal/model0.journal'
    with journal.open('ab') as file:  # the power went while a record was written
        file.write(b'\x40\x00\x00\x00\x40\x00')
    resumed = replay_bag(rb.options(tiny_model, resume=True), bag, tmp_path / 'part')
    assert not resumed['interrupted']
    assert rb.payloads(tmp_path / 'part/bag') == rb.payloads(tmp_path / 'whole/bag')
    assert resumed['models'][0]['tally'] == whole['models'][0]['tally']
    kept = [row['ms'] for row in part['models'][0]['rows']]
    assert [row['ms']['network'] for row in resumed['models'][0]['rows'][:3]] == [
        row['network'] for row in kept
    ]
    again = replay_bag(rb.options(tiny_model, resume=True), bag, tmp_path / 'part')
    assert again == resumed


def test_resume_refuses_another_replays_journal(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(4))
    stop = iter([False, True, True])
    replay_bag(rb.options(tiny_model), bag, tmp_path / 'out', stopping=lambda: next(stop))
    (tmp_path / 'out/result.json').unlink()
    other = rb.options(tiny_model, resume=True, parameters={'precision': 'fp32'})
    with pytest.raises(SourceError, match='--overwrite'):
        replay_bag(other, bag, tmp_path / 'out')


def test_results_are_not_written_over_unasked(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(1))
    replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    with pytest.raises(SourceError, match='--resume goes on with it, --overwrite'):
        replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    replay_bag(rb.options(tiny_model, overwrite=True), bag, tmp_path / 'out')


def test_two_cameras_are_told_apart(tmp_path, tiny_model):
    rows = rb.drive(3, '/front', frame_id='front')
    rows += rb.drive(2, '/rear', make=rb.png, frame_id='rear', seed=20)
    bag = rb.write(tmp_path / 'in', rows)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert [c['name'] for c in result['cameras']] == ['front', 'rear']
    assert result['frames']['read'] == 5
    front = rb.read(tmp_path / 'out/bag', f'{NODE}/front/mask')
    rear = rb.read(tmp_path / 'out/bag', f'{NODE}/rear/mask')
    assert [len(front), len(rear)] == [3, 2]
    assert {m.header.frame_id for m in rear} == {'rear'}
    one = rb.options(tiny_model, cameras=('rear',))
    result = replay_bag(one, bag, tmp_path / 'one')
    assert result['frames']['read'] == 2
    assert rb.read(tmp_path / 'one/bag', f'{NODE}/mask')
    names = ('left=/front/image_raw', 'back=rear')
    result = replay_bag(rb.options(tiny_model, cameras=names), bag, tmp_path / 'named')
    assert sorted(c['name'] for c in result['cameras']) == ['back', 'left']
    assert rb.read(tmp_path / 'named/bag', f'{NODE}/left/mask')
    with pytest.raises(SourceError, match='no image topic side'):
        replay_bag(rb.options(tiny_model, cameras=('side',)), bag, tmp_path / 'none')


def test_two_cameras_make_one_grid_in_the_odometrys_frame(tmp_path, tiny_model):
    """Front and left see their own ground; the grid holds both, and moves with the robot."""
    ahead, aside = (-0.5, 0.5, -0.5, 0.5), (-0.7071068, 0.0, 0.0, 0.7071068)
    rows = rb.drive(4, '/front', frame_id='front') + rb.drive(4, '/left', frame_id='left', seed=9)
    for index in range(-1, 6):
        stamp = rb.START_NS + index * rb.PERIOD_NS
        rows.append(('/tf', rb.tf('odom', 'base_link', (index * 0.5, 0, 0), stamp), stamp - 5))
    for frame, turn in (('front', ahead), ('left', aside)):
        place = rb.tf('base_link', frame, (0, 0, 1.5), rb.START_NS, turn)
        rows.append(('/tf_static', place, rb.START_NS - 9))
    bag = rb.write(tmp_path / 'in', rows)
    wide = {'grid.x_min': -10.0, 'grid.y_max': 20.0, 'grid.y_min': -10.0}
    result = replay_bag(rb.options(tiny_model, parameters=wide), bag, tmp_path / 'out')
    assert not result['models'][0]['problems']
    grids = rb.read(tmp_path / 'out/bag', f'{NODE}/drivable_grid')
    assert len(grids) == 8
    assert {grid.header.frame_id for grid in grids} == {'odom'}
    last = grids[-1]
    cells = np.asarray(last.data).reshape(last.info.height, last.info.width)
    row, column = np.nonzero(cells == 0)
    x = last.info.origin.position.x + column * 0.5
    y = last.info.origin.position.y + row * 0.5
    assert ((x > 4) & (abs(y) < 2)).any()
    assert ((y > 4) & (abs(x - 1.5) < 2)).any()
    assert result['models'][0]['film']['map']


def test_two_models_side_by_side_lie_under_their_names(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(2))
    options = rb.options(tiny_model)
    both = type(options)(models=options.models * 2, overrides=options.overrides, pictures=1)
    result = replay_bag(both, bag, tmp_path / 'out')
    assert [m['name'] for m in result['models']] == ['tiny', 'tiny_2']
    assert len(rb.read(tmp_path / 'out/bag', f'/tiny_2{NODE}/mask')) == 2
    assert result['index'][0]['disagreement'] == 0.0


def test_tf_of_the_bag_places_the_camera(tmp_path, tiny_model):
    """A camera that TF puts 3 m to the left sees free ground 3 m to the left."""
    turn = (-0.5, 0.5, -0.5, 0.5)  # optical frame looking ahead
    rows = rb.drive(2)
    free = {}
    for name, y in (('middle', 0.0), ('left', 3.0)):
        place = rb.tf('base_link', 'camera_optical', (0, y, 1.5), rb.START_NS, turn)
        bag = rb.write(tmp_path / name, [*rows, ('/tf_static', place, rb.START_NS)])
        replay_bag(rb.options(tiny_model), bag, tmp_path / f'{name}_out')
        grid = rb.read(tmp_path / f'{name}_out/bag', f'{NODE}/drivable_grid')[0]
        cells = np.asarray(grid.data).reshape(grid.info.height, grid.info.width)
        free[name] = np.nonzero(cells == 0)[0].mean() * grid.info.resolution
    assert free['left'] - free['middle'] == pytest.approx(3.0, abs=0.8)


def test_the_real_drive(tmp_path, shared_data):
    bag = shared_data / 'udacity/bag/solidWhiteRight'
    if not bag.is_dir():
        pytest.skip(f'needs {bag.name}, which is not in the data folder')
    from seg_perception.replay.options import ReplayOptions

    parameters = (('camera_pose.height', 1.25), ('threads', 1), ('provider', 'cpu'))
    options = ReplayOptions(overrides=parameters, limit=4, pictures=1)
    result = replay_bag(options, bag, tmp_path / 'out')
    assert result['frames']['read'] == 4
    assert not result['models'][0]['problems']
    grid = rb.read(tmp_path / 'out/bag', f'{NODE}/drivable_grid')[-1]
    cells = np.asarray(grid.data).reshape(grid.info.height, grid.info.width)
    assert (cells[95:105, 80:150] == 0).mean() > 0.8  # own lane, 8 to 15 m ahead
    assert 0.0 < result['models'][0]['rows'][3]['flicker'] < 0.2
