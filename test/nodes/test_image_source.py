"""image_source_node as a process of its own, over DDS: what it publishes, and how it ends."""

import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import rclpy
from bag_writer import PERIOD_NS, SIZE, START_NS, info, jpeg, write_bag
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.nodes.processes import NodeProcess, ros_arguments
from seg_perception.ros.calibration import save_calibration
from seg_perception.ros.images import to_frame
from seg_perception.ros.messages import stamp_ns

ENOUGH = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of 64x48 whose grey level is ten times their number."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(12):
        level = np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8)
        level[..., 0] = 5  # blue
        cv2.imwrite(str(folder / f'{number}.png'), level)
    return folder


class Listener:
    """Collects what the node publishes."""

    def __init__(self, image_type=Image, image_topic='image_raw', namespace=''):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('listener', context=self.context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.images, self.infos, self.statuses = [], [], []
        self.node.create_subscription(CameraInfo, 'camera_info', self.infos.append, ENOUGH)
        self.node.create_subscription(image_type, image_topic, self.images.append, ENOUGH)
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda m: self.statuses.extend(m.status), 10
        )

    def spin_until(self, done, timeout=20.0):
        end = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < end, 'timed out'
            self.executor.spin_once(timeout_sec=0.05)

    def spin_to_end(self, process, timeout=20.0):
        self.spin_until(lambda: process.exit_code is not None, timeout)
        for _ in range(10):
            self.executor.spin_once(timeout_sec=0.02)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@contextmanager
def listening(**options):
    listener = Listener(**options)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def source(tmp_path, **parameters):
    """The node on a source, waiting for one subscriber unless told otherwise."""
    parameters = {'wait_for_subscribers': 1} | parameters
    with (tmp_path / 'log').open('wb') as log:
        arguments = ros_arguments(parameters)
        with NodeProcess('image_source_node', arguments, log=log) as process:
            yield process


def log_of(tmp_path):
    return (tmp_path / 'log').read_text()


def test_every_picture_goes_out_once_with_its_calibration(tmp_path, pictures):
    save_calibration(info(0), tmp_path / 'calibration.yaml')
    with (
        listening() as heard,
        source(
            tmp_path,
            uri=str(pictures),
            rate=40.0,
            encoding='rgb8',
            frame_id='hood_optical',
            camera_info_url=(tmp_path / 'calibration.yaml').as_uri(),
        ) as process,
    ):
        heard.spin_to_end(process)
        assert process.exit_code == 0, log_of(tmp_path)
    assert [int(m.data[0]) for m in heard.images] == [10 * i for i in range(12)]
    assert {m.encoding for m in heard.images} == {'rgb8'}
    assert (to_frame(heard.images[3]).pixels[0, 0] == [30, 30, 5]).all()
    assert [m.header for m in heard.infos] == [m.header for m in heard.images]
    assert {m.header.frame_id for m in heard.images} == {'hood_optical'}
    assert list(heard.infos[0].k) == list(info(0).k)


def test_pictures_come_at_the_asked_rate(tmp_path, pictures):
    """Half of the spacings, so that a busy machine can delay many; drift: test_playback."""
    with (
        listening() as heard,
        source(tmp_path, uri=str(pictures), rate=25.0, loop=True, limit=50) as process,
    ):
        heard.spin_to_end(process)
    stamps = np.array([stamp_ns(m.header.stamp) for m in heard.images]) / 1e9
    assert len(stamps) == 50
    assert np.median(np.diff(stamps)) == pytest.approx(1 / 25.0, abs=0.005)
    assert '50 pictures published' in log_of(tmp_path)


def test_a_loop_goes_on_until_interrupted_and_ends_with_zero(tmp_path, pictures):
    with (
        listening() as heard,
        source(tmp_path, uri=str(pictures), rate=100.0, loop=True) as process,
    ):
        heard.spin_until(lambda: len(heard.images) > 30)
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 3.0
    assert 'Traceback' not in log_of(tmp_path)
    assert [int(m.data[1]) for m in heard.images[11:14]] == [110, 0, 10]


def test_interrupted_while_waiting_for_subscribers(tmp_path, pictures):
    with source(tmp_path, uri=str(pictures), wait_for_subscribers=3) as process:
        with listening() as heard:
            heard.spin_until(lambda: any('waiting' in s.message for s in heard.statuses))
        assert process.stop() == 0
    assert 'Traceback' not in log_of(tmp_path)


def test_recorded_jpegs_and_stamps_pass_through(tmp_path):
    bag = write_bag(
        tmp_path / 'bag',
        {
            '/cam/image_raw/compressed': [20, 40, 60],
            '/cam/camera_info': [info(START_NS + i * PERIOD_NS) for i in range(3)],
        },
    )
    with listening(image_type=CompressedImage, image_topic='image_raw/compressed') as heard:
        with source(
            tmp_path, uri=str(bag), image_transport='compressed', stamps='original', frame_id=''
        ) as process:
            heard.spin_to_end(process)
            assert process.exit_code == 0, log_of(tmp_path)
    expected = [jpeg(20 * (i + 1), START_NS + i * PERIOD_NS) for i in range(3)]
    assert heard.images == expected
    assert [m.header for m in heard.infos] == [m.header for m in expected]
    assert heard.infos[0].k[0] == 50.0


def test_start_limit_and_uncalibrated(tmp_path, pictures):
    with (
        listening() as heard,
        source(tmp_path, uri=str(pictures), rate=100.0, start=2, limit=3) as process,
    ):
        heard.spin_to_end(process)
    assert [int(m.data[1]) for m in heard.images] == [20, 30, 40]
    assert {(m.width, m.height, m.k[0]) for m in heard.infos} == {(64, 48, 0.0)}
    assert 'no calibration' in log_of(tmp_path)


def test_parameters_are_refused_at_once_while_it_plays(tmp_path, pictures):
    with listening() as heard, source(tmp_path, uri=str(pictures), loop=True) as process:
        heard.spin_until(lambda: heard.images)
        client = heard.node.create_client(SetParameters, '/image_source_node/set_parameters')
        assert client.wait_for_service(10.0)
        request = SetParameters.Request(
            parameters=[Parameter('rate', value=3.0).to_parameter_msg()]
        )
        future = client.call_async(request)
        heard.spin_until(future.done)
        result = future.result().results[0]
        assert not result.successful
        assert 'start the node again' in result.reason
        assert process.exit_code is None
        heard.spin_until(lambda: any('image source' in s.name for s in heard.statuses))


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'uri': '/nowhere/video.mp4'}, 'no such file'),
        ({'uri': ''}, 'no source given'),
        ({'uri': '{pictures}', 'rate': -1.0}, 'rate'),
        ({'uri': '{pictures}', 'image_transport': 'compressed'}, 'only a bag'),
        ({'uri': '{pictures}', 'camera_info_url': '{calibration}'}, 'another aspect ratio'),
        ({'uri': '{pictures}', 'camera_info_url': '/nowhere.yaml'}, 'No such file'),
        ({'uri': 'simulator:north'}, 'simulator:SEED'),
        ({'uri': 'simulator:1', 'image_transport': 'compressed'}, 'only a bag'),
    ],
)
def test_what_can_not_be_played_is_said_before_anything_is_published(
    tmp_path, pictures, parameters, message
):
    square = info(0)
    square.height = 64
    save_calibration(square, tmp_path / 'square.yaml')
    places = {'{pictures}': str(pictures), '{calibration}': str(tmp_path / 'square.yaml')}
    with source(tmp_path, **{k: places.get(v, v) for k, v in parameters.items()}) as process:
        end = time.monotonic() + 20.0
        while process.exit_code is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.exit_code == 2
    text = log_of(tmp_path)
    assert message in text
    assert 'Traceback' not in text


def decimal(stamp):
    return stamp.sec + stamp.nanosec / 1e9


@pytest.fixture
def odometry():
    """A listener for images, calibrations and odometry of a simulated street."""
    pytest.importorskip('panda3d')
    with listening() as heard:
        heard.poses = []
        heard.node.create_subscription(Odometry, 'odom', heard.poses.append, ENOUGH)
        yield heard


SMALL_STREET = {'uri': 'simulator:3', 'width': 96, 'height': 64, 'rate': 8.0}
#: Seconds to build a street in: 6 on an idle core.
BUILDING = 90.0


def check_drive(heard):
    """Every picture has its calibration and odometry, and the vehicle moves as it says."""
    stamps = [m.header.stamp for m in heard.images]
    assert [m.header.stamp for m in heard.infos] == stamps
    assert [m.header.stamp for m in heard.poses] == stamps
    assert {(m.header.frame_id, m.child_frame_id) for m in heard.poses} == {('odom', 'base_link')}
    at = np.array([(m.pose.pose.position.x, m.pose.pose.position.y) for m in heard.poses])
    times = np.array([decimal(s) for s in stamps])
    speed = np.linalg.norm(np.diff(at, axis=0), axis=1) / np.diff(times)
    said = np.array([m.twist.twist.linear.x for m in heard.poses])
    return times, speed, said


def test_a_street_in_real_time_moves_as_its_stamps_say(tmp_path, odometry):
    parameters = {'limit': 6, 'simulator.seconds': 8.0}
    with source(tmp_path, **SMALL_STREET, **parameters) as process:
        odometry.spin_to_end(process, BUILDING)
        assert process.exit_code == 0, log_of(tmp_path)
    assert len(odometry.images) == 6
    times, speed, said = check_drive(odometry)
    assert np.diff(times).min() > 0.1, 'no faster than the rate, however slow the machine'
    # Exact but for the microseconds between two clocks: drawn at the moment of the stamp.
    np.testing.assert_allclose(speed, said[1:], rtol=0.05)
    assert odometry.infos[0].k[0] > 0
    assert 'no calibration' not in log_of(tmp_path)
    assert 'camera_pose.height:=' in log_of(tmp_path)


def test_a_street_drawn_beforehand_comes_whole_at_its_rate(tmp_path, odometry):
    parameters = {'simulator.prerender': True, 'simulator.seconds': 1.0, 'stamps': 'original'}
    with source(tmp_path, **SMALL_STREET, **parameters) as process:
        odometry.spin_to_end(process, BUILDING)
        assert process.exit_code == 0, log_of(tmp_path)
    times, speed, said = check_drive(odometry)
    np.testing.assert_allclose(np.diff(times), 0.125, atol=1e-6)
    np.testing.assert_allclose(speed, said[1:], rtol=0.01)
    assert len(times) == 8
    assert to_frame(odometry.images[0]).pixels.std() > 10
