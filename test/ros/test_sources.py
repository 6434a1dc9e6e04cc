"""Sources give the pictures that were recorded, in order, and say what they could not read."""

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_writer import write_bag

from seg_perception.core.errors import SourceError
from seg_perception.ros import devices
from seg_perception.ros.sources import kind_of, natural_key, open_source


def gray(level: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def write_video(path: Path, count: int, rate: float = 20.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), rate, (64, 48))
    assert writer.isOpened()
    for index in range(count):
        writer.write(gray(4 * index))
    writer.release()
    return path


def levels(source) -> list[int]:
    return [int(np.rint(frame.pixels.mean())) for frame in source.frames()]


@pytest.fixture
def reports() -> list[str]:
    return []


def test_a_video_gives_every_frame_in_order_twice_over(tmp_path):
    source = open_source(str(write_video(tmp_path / 'v.avi', 12)))
    assert (source.size, source.rate, source.count, source.live) == ((64, 48), 20.0, 12, False)
    first = levels(source)
    assert first == pytest.approx([4 * i for i in range(12)], abs=2)
    assert levels(source) == first


def test_video_time_is_media_time_or_the_asked_rate(tmp_path):
    path = str(write_video(tmp_path / 'v.avi', 5))
    own = [f.offset_ns for f in open_source(path).frames()]
    assert own == pytest.approx([i * 50e6 for i in range(5)], abs=1e6)
    asked = open_source(path, rate=30.0)
    assert asked.rate == 30.0
    assert [f.offset_ns for f in asked.frames()] == [round(i * 1e9 / 30) for i in range(5)]


def test_a_cut_off_video_says_so(tmp_path, reports):
    whole = write_video(tmp_path / 'v.avi', 60).read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[: len(whole) // 2])
    source = open_source(str(cut), report=reports.append)
    given = len(levels(source))
    assert 0 < given < 60
    if source.count:  # the index at the file's end is gone, and with it, perhaps, the count
        assert source.count == given or any('cut off or damaged' in r for r in reports)


@pytest.mark.parametrize('content', [b'', b'not a video' * 100])
def test_what_is_no_video_is_refused_with_what_to_do(tmp_path, content):
    path = tmp_path / 'v.mp4'
    path.write_bytes(content)
    with pytest.raises(SourceError, match='codec'):
        open_source(str(path))


def test_folder_is_read_in_natural_order_and_bad_pictures_are_counted(tmp_path, reports):
    for index in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f'frame_{index}.png'), gray(index))
    (tmp_path / 'frame_3.png').write_bytes(b'\x89PNG broken')
    cv2.imwrite(str(tmp_path / 'frame_4.jpg'), gray(4, (32, 32)))
    (tmp_path / 'notes.txt').write_text('no picture')
    source = open_source(str(tmp_path), rate=5.0, report=reports.append)
    assert (source.count, source.rate, source.size) == (6, 5.0, (64, 48))
    assert levels(source) == [1, 2, 9, 10]
    assert levels(source) == [1, 2, 9, 10]
    assert source.skipped == 2
    assert len(reports) == 2
    assert 'frame_3.png' in reports[0]
    assert '32x32' in reports[1]


def test_one_picture_is_a_source_too(tmp_path):
    cv2.imwrite(str(tmp_path / 'p.bmp'), gray(7))
    assert levels(open_source(str(tmp_path / 'p.bmp'))) == [7]


def test_empty_and_unreadable_folders_are_refused(tmp_path):
    with pytest.raises(SourceError, match='no pictures'):
        open_source(str(tmp_path))
    (tmp_path / 'a.jpg').write_bytes(b'broken')
    with pytest.raises(SourceError, match='none of its 1 pictures'):
        open_source(str(tmp_path), report=lambda _: None)


@pytest.mark.parametrize(
    ('location', 'message'),
    [('', 'no source given'), ('/nowhere/v.mp4', 'no such file'), ('/dev/video97', 'no such dev')],
)
def test_what_is_not_there_is_refused(location, message):
    with pytest.raises(SourceError, match=message):
        open_source(location)


def test_options_that_do_not_fit_are_refused(tmp_path):
    path = str(write_video(tmp_path / 'v.avi', 2))
    with pytest.raises(SourceError, match='only a bag'):
        open_source(path, keep_compressed=True)
    with pytest.raises(SourceError, match='rate'):
        open_source(path, rate=-1.0)
    with pytest.raises(SourceError, match='unknown kind'):
        open_source(path, kind='camera')


def test_kinds_are_told_by_the_location(tmp_path):
    write_bag(tmp_path / 'bag', {'/image': [1]})
    (tmp_path / 'p.JPG').write_bytes(b'')
    assert kind_of('0') == kind_of('/dev/video2') == 'device'
    assert kind_of(str(tmp_path / 'bag')) == 'bag'
    assert kind_of(str(tmp_path / 'bag' / 'bag.mcap')) == 'bag'
    assert kind_of(str(tmp_path)) == kind_of(str(tmp_path / 'p.JPG')) == 'folder'
    assert kind_of(__file__) == 'video'


def test_natural_order():
    names = ['b2', 'a10', 'A9', '10', '9.5']
    assert sorted(names, key=natural_key) == ['9.5', '10', 'A9', 'a10', 'b2']


class FakeCapture:
    """A V4L2 camera that is unplugged after three pictures and comes back at the third try."""

    opened = 0

    def __init__(self, path: str, _backend: int):
        FakeCapture.opened += 1
        self.works = FakeCapture.opened not in (2, 3)
        self.left = 3

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.works

    def read(self):
        time.sleep(0.001)
        self.left -= 1
        return (True, gray(5)) if self.left >= 0 else (False, None)

    def set(self, *_):
        return True

    def get(self, _):
        return 30.0

    def release(self):
        pass


def test_a_device_that_is_lost_is_reported_and_tried_again(monkeypatch, reports):
    monkeypatch.setattr(FakeCapture, 'opened', 0)
    monkeypatch.setattr(devices.cv2, 'VideoCapture', FakeCapture)
    source = devices.DeviceSource('/dev/null', retry_s=0.01, report=reports.append)
    assert (source.live, source.count, source.rate) == (True, None, 30.0)
    frames = source.frames()
    indices = [next(frames).index for _ in range(4)]
    assert indices == [0, 1, 2, 3]
    assert not source.lost
    assert 'unplugged' in reports[0]
    assert 'is back' in reports[1]
    threading.Timer(0.05, source.stop).start()
    assert len(list(frames)) < 100


def test_the_real_video_and_the_real_bag_show_the_same(shared_data):
    video = open_source(str(shared_data / 'udacity' / 'solidWhiteRight_960x540.mp4'))
    bag = open_source(str(shared_data / 'udacity' / 'bag' / 'solidWhiteRight'))
    assert video.size == bag.size == (960, 540)
    assert video.count == bag.count == 221
    assert video.rate == pytest.approx(bag.rate, abs=0.01)
    for left, right, _ in zip(video.frames(), bag.frames(), range(5), strict=False):
        assert left.offset_ns == pytest.approx(right.offset_ns, abs=1e6)
        assert np.abs(left.pixels.astype(int) - right.pixels.astype(int)).mean() < 5
        assert right.camera_info is not None
        assert right.frame_id == 'camera_optical'
