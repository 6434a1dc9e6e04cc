"""Rates, percentiles, problems told once, and the real message on /diagnostics."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from helpers import spin_until
from rclpy.parameter import Parameter

from seg_perception.ros.health import WINDOW, Health, HealthMonitor, Level, Window
from seg_perception.ros.health_scope import HealthScope


class FakeTime:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def log():
    return []


@pytest.fixture
def health(time, log):
    return Health(lambda level, text: log.append((level, text)), time)


def test_rate_follows_the_stream_and_falls_to_zero_after_it():
    window = Window(seconds=10)
    for i in range(300):
        window.add(i / 30)
    assert window.rate(10.0) == pytest.approx(30, rel=0.02)
    assert window.rate(15.0) == pytest.approx(15, rel=0.02)
    assert window.rate(30.0) == 0.0


def test_rate_of_a_stream_that_has_just_begun():
    window = Window()
    for i in range(60):
        window.add(5 + i / 30)
    assert window.rate(7.0) == pytest.approx(30, rel=0.05)


def test_windows_are_bounded():
    window = Window(seconds=1e9, size=100)
    for i in range(10_000):
        window.add(i / 1000, i)
    assert len(window._events) == 100
    assert window.rate(9.999) == pytest.approx(100)  # 100 events in less than a second
    assert window.percentiles(9.999, 0, 100) == (9900, 9999)


def test_percentiles():
    window = Window()
    assert window.percentiles(0.0, 50) is None
    for value in range(101):
        window.add(0.0, value)
    assert window.percentiles(0.0, 50, 99) == (50, 99)
    assert window.percentiles(WINDOW + 1, 50) is None


def test_latencies_counts_and_stages(health, time):
    for _ in range(10):
        health.input()
        health.output(time.now - 0.020, 0.035, {'network': 12.0})
        time.now += 0.1
    health.dropped(3)
    values = health.values()
    assert values['latency from arrival p50 (ms)'] == '20.0'
    assert values['latency from stamp p99 (ms)'] == '35.0'
    assert values['network p50 (ms)'] == '12.0'
    assert values['frames received'] == values['frames published'] == '10'
    assert values['frames dropped'] == '3'
    assert values['last error'] == 'none'


@pytest.mark.parametrize('latency', [-5.0, 1e9])
def test_stamps_of_another_clock_do_not_spoil_the_latency(health, time, latency):
    health.output(time.now, latency)
    assert 'latency from stamp p50 (ms)' not in health.values()


def test_time_jump_starts_the_latency_anew(health, time, log):
    health.output(time.now, 0.5)
    health.time_jump(3.0)
    assert 'latency from stamp p50 (ms)' not in health.values()
    assert health.values()['time jumps'] == '1'
    assert log[0][0] == Level.WARN


def test_a_problem_is_logged_once_until_it_is_cleared(health, time, log):
    for _ in range(100):
        health.problem('image', 'unknown encoding')
    assert log == [(Level.ERROR, 'unknown encoding')]
    assert health.level == Level.ERROR
    assert health.message == 'unknown encoding'
    assert health.clear('image') is True
    assert health.clear('image') is False
    assert health.level == Level.OK
    assert log[1:] == [(Level.OK, 'solved: unknown encoding')]
    time.now += 60
    health.problem('image', 'unknown encoding')
    assert log[2:] == [(Level.ERROR, 'unknown encoding')]


def test_a_flickering_problem_does_not_flood_the_log(health, time, log):
    for _ in range(300):
        health.problem('image', 'short data')
        health.clear('image')
        time.now += 1 / 30
    assert len(log) <= 2 * 3  # 10 s, every 5 s at most


def test_a_new_message_under_the_same_key_is_logged_too(health, log):
    for _ in range(3):
        health.rejected('encoding a')
        health.rejected('encoding b')
    assert [text for _, text in log] == ['encoding a', 'encoding b']
    assert health.values()['frames rejected'] == '6'
    assert health.has('image')


def test_ever_changing_messages_do_not_fill_the_memory(health):
    for i in range(10_000):
        health.problem('x', f'number {i}')
    assert len(health._logged) <= 256


def test_worst_problem_counts_and_the_last_error_stays_on_record(health, time):
    health.problem('a', 'late', Level.WARN)
    health.problem('b', 'no data yet', Level.STALE)
    assert health.level == Level.STALE
    health.problem('c', 'broken', Level.ERROR)
    assert health.level == Level.ERROR
    assert health.message.startswith('broken')
    health.clear('c')
    time.now += 2
    values = health.values()
    assert values['last error'] == 'broken'
    assert values['last error age (s)'] == '2.0'
    assert health.level == Level.STALE


def test_diagnostics_over_dds(make_node):
    node = make_node('camera_front', namespace='car')
    node.declare_parameter('diagnostics_period', 0.1)
    health = HealthMonitor(node, 'segmentation')
    received = []
    listener = make_node('listener')
    listener.create_subscription(DiagnosticArray, '/diagnostics', received.append, 10)
    health.set_model('street', 'openvino')
    health.set_state('active')
    assert spin_until([node, listener], lambda: received)
    (status,) = received[-1].status
    assert status.name == 'car/camera_front: segmentation'
    assert status.hardware_id == '/car/camera_front'
    assert status.level == b'\x00'
    assert status.message == 'active'
    values = {item.key: item.value for item in status.values}
    assert values['model'] == 'street'
    assert values['provider'] == 'openvino'
    assert {'input rate (Hz)', 'output rate (Hz)', 'frames dropped', 'last error'} <= set(values)

    health.problem('stale', 'no image for 1 s')
    assert spin_until([node, listener], lambda: received[-1].status[0].level == b'\x02')
    assert received[-1].status[0].message == 'no image for 1 s'
    health.problem('camera_info', 'warned', Level.WARN)  # each severity from its own line
    health.clear('camera_info')


def test_the_period_can_be_changed_while_it_runs(make_node):
    node = make_node('camera')
    node.declare_parameter('diagnostics_period', 0.1)
    health = HealthMonitor(node, 'x')
    node.set_parameters([Parameter('diagnostics_period', value=7.0)])
    assert spin_until(node, lambda: health._timer.timer_period_ns == 7_000_000_000)


def test_parts_of_a_node_have_problems_of_their_own(health):
    front, only = HealthScope(health, 'front'), HealthScope(health, '')
    front.problem('image', 'torn')
    only.problem('image', 'too short')
    assert health.message == 'front: torn; too short'
    assert front.has('image')
    assert front.clear('image')
    assert health.message == 'too short'
    front.rejected('no data')
    front.failed('out of memory')
    front.set('camera pose from', 'tf')
    front.event('calibration changes', 'another focal length')
    values = health.values()
    assert (values['frames rejected'], values['frames failed']) == ('1', '1')
    assert values['front camera pose from'] == 'tf'
    assert values['front calibration changes'] == '1'
    front.clear('image')
    front.clear('inference')
    assert health.message == 'too short'
    front.input()
    assert health.values()['frames received'] == '1'
