"""Bags: both storages, topic choice, calibration, and recordings that were cut off."""

from pathlib import Path

import numpy as np
import pytest
from bag_writer import PERIOD_NS, SIZE, START_NS, info, jpeg, write_bag

from seg_perception.core.errors import SourceError
from seg_perception.ros.sources import open_source

COMPRESSED = '/cam/image_raw/compressed'


def levels(source) -> list[int]:
    return [int(np.rint(frame.pixels.mean())) for frame in source.frames()]


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.mark.parametrize('topic', ['/cam/image_raw', COMPRESSED])
@pytest.mark.parametrize(
    ('storage', 'compression', 'file'),
    [
        ('mcap', None, ''),
        ('mcap', None, 'bag.mcap'),
        ('mcap', 'STORAGE', ''),
        ('sqlite3', None, ''),
        ('sqlite3', None, 'bag.db3'),
        ('sqlite3', 'MESSAGE', ''),
        ('sqlite3', 'FILE', ''),
    ],
)
def test_every_storage_gives_the_recorded_pictures(tmp_path, topic, storage, compression, file):
    bag = write_bag(tmp_path / 'bag', {topic: [20, 40, 60, 80]}, storage, compression)
    source = open_source(str(bag / file if file else bag))
    assert (source.size, source.count) == (SIZE, 4)
    assert source.rate == pytest.approx(20.0, rel=0.01)
    frames = list(source.frames())
    assert [int(np.rint(f.pixels.mean())) for f in frames] == pytest.approx(
        [20, 40, 60, 80], abs=1
    )
    assert [f.offset_ns for f in frames] == [i * PERIOD_NS for i in range(4)]
    assert [f.stamp_ns for f in frames] == [START_NS + i * PERIOD_NS for i in range(4)]
    assert {f.frame_id for f in frames} == {'camera_optical'}
    assert len(list(source.frames())) == 4


def test_the_only_camera_is_chosen_and_raw_before_compressed(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': [1, 2], COMPRESSED: [101, 102]})
    assert levels(open_source(str(bag))) == [1, 2]
    kept = list(open_source(str(bag), keep_compressed=True).frames())
    assert [f.pixels for f in kept] == [None, None]
    assert kept[1].compressed == jpeg(102, START_NS + PERIOD_NS)
    assert levels(open_source(str(bag), topic=COMPRESSED)) == [101, 102]


def test_several_cameras_must_be_named(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/left/image_raw': [1], '/right/image_raw': [2, 3]})
    with pytest.raises(SourceError, match=r'/left/image_raw \(Image, 1\), /right/image_raw'):
        open_source(str(bag))
    assert levels(open_source(str(bag), topic='/right/image_raw')) == [2, 3]
    with pytest.raises(SourceError, match='no image topic /front'):
        open_source(str(bag), topic='/front')
    with pytest.raises(SourceError, match='no CompressedImage'):
        open_source(str(bag), topic='/left/image_raw', keep_compressed=True)


def test_a_bag_without_pictures_is_refused(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/cam/camera_info': [info(START_NS)]})
    with pytest.raises(SourceError, match='no Image'):
        open_source(str(bag))
    (tmp_path / 'x.mcap').write_bytes(b'nothing of the kind')
    with pytest.raises(SourceError, match='not a readable rosbag2'):
        open_source(str(tmp_path / 'x.mcap'), report=lambda _: None)


def test_calibration_is_the_siblings_and_follows_the_recording(tmp_path):
    infos = [info(START_NS + i * PERIOD_NS, focal=50.0 + i) for i in range(3)]
    topics = {
        '/cam/image_raw': [1, 2, 3],
        '/cam/camera_info': infos,
        '/other/camera_info': infos[:1],
    }
    source = open_source(str(write_bag(tmp_path / 'bag', topics)))
    assert source.has_camera_info
    # Written after the picture of the same moment: the first is known from a look ahead.
    assert [f.camera_info.k[0] for f in source.frames()] == [50.0, 50.0, 51.0]
    with pytest.raises(SourceError, match='/cam/camera_info, /other/camera_info'):
        open_source(str(tmp_path / 'bag'), camera_info_topic='/nope')


def test_pictures_that_can_not_be_read_are_skipped_and_counted(tmp_path, reports):
    broken = jpeg(0, START_NS)
    del broken.data[20:]
    bag = write_bag(tmp_path / 'bag', {COMPRESSED: [broken, 30, broken, 60]})
    source = open_source(str(bag), report=reports.append)
    assert levels(source) == pytest.approx([30, 60], abs=1)
    assert source.skipped == 2
    garbled = write_bag(tmp_path / 'garbled', {'/image': [50, b'\x00\x01\x00\x00garbage', 70]})
    source = open_source(str(garbled), report=reports.append)
    assert levels(source) == [50, 70]
    assert source.skipped == 1


@pytest.mark.parametrize('share', [0.4, 0.6, 0.95])
@pytest.mark.parametrize('with_metadata', [True, False])
@pytest.mark.parametrize(('storage', 'suffix'), [('mcap', 'mcap'), ('sqlite3', 'db3')])
def test_a_cut_off_bag_is_read_as_far_as_it_goes(
    tmp_path, reports, storage, suffix, with_metadata, share
):
    sent = [i % 250 for i in range(300)]  # several mcap chunks
    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': sent}, storage)
    file = bag / f'bag.{suffix}'
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    if not with_metadata:
        (bag / 'metadata.yaml').unlink()
    source = open_source(str(bag), report=reports.append)
    given = levels(source)
    assert (share - 0.35) * 300 < len(given) < 300
    assert given == sent[: len(given)]
    assert any('damaged' in report for report in reports)


def test_a_bag_that_was_never_closed_is_read_whole(tmp_path, reports):
    """A recorder that crashed leaves no metadata.yaml; every message may still be there."""
    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': [1, 2, 3]})
    (bag / 'metadata.yaml').unlink()
    assert levels(open_source(str(bag), report=reports.append)) == [1, 2, 3]
    assert 'metadata' in reports[0]


def test_damage_in_the_middle_ends_the_pass_with_a_report(tmp_path, reports):
    bag = write_bag(tmp_path / 'bag', {'/cam/image_raw': list(range(100))}, compression='STORAGE')
    file = bag / 'bag.mcap'
    data = bytearray(file.read_bytes())
    inside = data.index(b'\x28\xb5\x2f\xfd') + 32  # of the chunk, which begins as zstd does
    data[inside : inside + 64] = bytes(64)
    file.write_bytes(bytes(data))
    try:
        given = levels(open_source(str(bag), report=reports.append))
    except SourceError as error:
        given = []  # one chunk holds it all
        reports.append(str(error))
    assert given == list(range(len(given)))
    assert reports


def test_home_is_expanded(tmp_path, monkeypatch):
    write_bag(tmp_path / 'bag', {'/image': [1]})
    monkeypatch.setenv('HOME', str(tmp_path))
    assert open_source(str(Path('~') / 'bag')).count == 1
