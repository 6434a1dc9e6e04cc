"""Recordings with something wrong: read as far as they go, and they say so."""

from __future__ import annotations

import numpy as np
import pytest
import replay_bags as rb

from seg_perception.core.errors import SourceError
from seg_perception.replay.run import replay_bag
from seg_perception.ros.bag_cameras import CameraFrames, find_cameras
from seg_perception.ros.bag_reader import BagReader

GRID = '/segmentation_node/drivable_grid'


def grids(bag) -> list[np.ndarray]:
    return [np.asarray(message.data) for message in rb.read(bag, GRID)]


@pytest.mark.parametrize(('storage', 'suffix'), [('mcap', 'mcap'), ('sqlite3', 'db3')])
def test_a_bag_cut_anywhere_is_read_as_far_as_it_goes(tmp_path, storage, suffix):
    """Ten places; whatever is read is the beginning of the recording, and nothing hangs."""
    bag = rb.write(tmp_path / 'in', rb.drive(40), storage)
    data = (bag / f'in.{suffix}').read_bytes()
    lengths = []
    for number in range(10):
        cut = tmp_path / f'cut{number}'
        cut.mkdir()
        (cut / f'cut.{suffix}').write_bytes(data[: len(data) * (2 * number + 1) // 20])
        try:
            reader = BagReader(cut)
            stamps = [f.stamp_ns for f in CameraFrames(reader, find_cameras(reader))]
        except SourceError:
            stamps = []  # not even the topics are left
        else:
            assert reader.damage
        assert stamps == [rb.START_NS + i * rb.PERIOD_NS for i in range(len(stamps))]
        lengths.append(len(stamps))
    assert lengths == sorted(lengths)
    assert lengths[-1] > 20


def test_a_cut_bag_is_replayed_and_the_result_says_so(tmp_path, tiny_model, capsys):
    bag = rb.write(tmp_path / 'in', rb.drive(20), 'sqlite3')
    file = bag / 'in.db3'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = replay_bag(rb.options(tiny_model, temporal=False), bag, tmp_path / 'out')
    assert 0 < result['frames']['read'] < 20
    assert 'damaged or cut off' in result['damage'][0]
    assert 'damaged or cut off' in capsys.readouterr().err
    assert len(grids(tmp_path / 'out/bag')) == result['frames']['read']


def test_without_calibration_the_ground_is_unknown(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(2, with_info=False))
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert result['models'][0]['problems'] == {
        'no camera_info of /camera/image_raw: its ground is unknown': 2
    }
    assert all((cells == -1).all() for cells in grids(tmp_path / 'out/bag'))


def test_a_calibration_that_does_not_fit_is_named(tmp_path, tiny_model):
    rows = [
        ('/camera/camera_info', rb.info(rb.START_NS, width=320), rb.START_NS),
        *rb.drive(1, with_info=False),
    ]
    bag = rb.write(tmp_path / 'in', rows)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert 'is for 320x192 pixels' in next(iter(result['models'][0]['problems']))
    assert (grids(tmp_path / 'out/bag')[0] == -1).all()


def test_stamps_out_of_order_are_kept_and_counted(tmp_path, tiny_model):
    rows = rb.drive(4)
    stamps = [0, 2, 1, 3]
    rows = [
        ('/camera/image_raw', rb.raw(rb.picture(rb.scene(i)), rb.START_NS + i * rb.PERIOD_NS), n)
        for n, i in enumerate(stamps, rb.START_NS)
    ]
    bag = rb.write(tmp_path / 'in', rows)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    index = [(item['stamp_ns'] - rb.START_NS) // rb.PERIOD_NS for item in result['index']]
    assert index == stamps
    assert '1 pictures have a stamp before' in result['warnings'][0]
    assert [row['flicker'] is None for row in result['models'][0]['rows']] == [
        True,
        False,
        True,
        False,
    ]


def test_messages_of_the_wrong_type_or_content_are_passed_over(tmp_path, tiny_model):
    rows = rb.drive(3)
    broken = ('sensor_msgs/msg/Image', b'\x00\x01\x00\x00garbage')
    stamp = rb.START_NS + 1000
    rows += [
        ('/camera/image_raw', broken, stamp),
        ('/camera/camera_info', ('sensor_msgs/msg/CameraInfo', b'\x00\x01\x00\x00no'), stamp),
        ('/tf', ('tf2_msgs/msg/TFMessage', b'\x00\x01\x00\x00\xff\xff\xff\x7f'), stamp),
        ('/front/image_raw', rb.text('a text on the topic of a camera'), stamp),
    ]
    bag = rb.write(tmp_path / 'in', rows)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert result['frames'] == {'stated': 4, 'read': 4, 'undecodable': 1, 'with_truth': 0}
    told = ' '.join(result['warnings'])
    assert '/camera/image_raw: not a sensor_msgs/msg/Image' in told
    assert '/camera/camera_info: not a CameraInfo' in told
    assert '/tf: not a tf2_msgs/msg/TFMessage' in told
    assert len(result['models'][0]['rows']) == 3


def test_a_picture_that_does_not_decode_makes_the_ground_unknown(tmp_path, tiny_model):
    rows = rb.drive(3, make=rb.png)
    broken = rb.png(rb.picture(rb.scene(1)), rb.START_NS + 10)
    del broken.data[40:]
    rows.append(('/camera/image_raw/compressed', broken, rb.START_NS + 10))
    bag = rb.write(tmp_path / 'in', rows)
    result = replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert result['frames']['undecodable'] == 1
    known = [(cells >= 0).any() for cells in grids(tmp_path / 'out/bag')]
    assert known == [True, False, True, True]


def test_a_bag_without_pictures_is_an_error_and_leaves_nothing(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', [('/camera/camera_info', rb.info(1), 1)])
    with pytest.raises(SourceError, match='no Image'):
        replay_bag(rb.options(tiny_model), bag, tmp_path / 'out')
    assert not (tmp_path / 'out/bag').exists()


def test_masks_and_depth_are_no_cameras(tmp_path):
    from seg_perception.ros.images import image_message

    depth = image_message(np.zeros((9, 9), np.uint16), '16UC1', rb.header(1))
    mask = image_message(np.zeros((9, 9), np.uint8), 'mono8', rb.header(1))
    rows = [
        *rb.drive(1),
        ('/depth/image_raw', depth, 1),
        ('/depth/camera_info', rb.info(1), 1),
        ('/camera/mask', mask, 1),
        ('/camera/image_rect', rb.raw(rb.picture(rb.scene()), 1), 1),
    ]
    bag = BagReader(rb.write(tmp_path / 'in', rows))
    assert [c.image.name for c in find_cameras(bag)] == ['/camera/image_raw']
    assert find_cameras(bag, ['/camera/image_rect'])[0].info_topic == '/camera/camera_info'
    with pytest.raises(SourceError, match='no image topic /nope; it holds'):
        find_cameras(bag, ['/nope'])
