"""The promise of a replay: what the live node publishes of a drive, it writes, cell by cell."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from harness import Bench, camera_info, image, key, scene
from wheels import Wheels

from seg_perception.replay.options import ReplayOptions
from seg_perception.replay.run import replay_bag
from seg_perception.ros.bag_writer import BagWriter

FRAMES, PERIOD, SPEED = 8, 0.2, 2.0
#: Of the node that is driven, and of its replay.
PARAMETERS = {
    'stale_after': 60.0,
    'odometry.source': 'topic',
    'odometry.timeout': 1.0,
    'class_roles': ['wall:obstacle'],
    'quality.recovery': 0.0,  # which the node measures by its own clock
}


def picture(number: int, stamp: float) -> Any:
    """The wall comes closer, and the sixth picture is so dark that nobody would believe it."""
    pixels = scene()
    pixels[:, : 40 + 6 * number] = (250, 0, 0)
    pixels[0, :4, 2] = number  # no two alike: the camera is not frozen
    return image(pixels // 25 if number == 5 else pixels, stamp=stamp)


def drive(bench: Bench, start: float) -> tuple[list[tuple[str, Any]], dict, dict]:
    """Send odometry and pictures one by one; returns what was sent, and masks and grids heard."""
    peer, sent = bench.peer, []
    wheels = Wheels(peer)  # only its messages: their stamps are ours
    masks, grids = peer.listen_masks(), peer.listen_grids()
    bench.connected()
    bench.until(wheels.publisher.get_subscription_count, 'the odom subscription')
    info = camera_info()
    peer.camera_info.publish(info)
    sent.append(('/camera/camera_info', info))
    time.sleep(0.5)  # no answer tells that a calibration has been taken
    for number in range(FRAMES):
        stamp = start + number * PERIOD
        for part in range(5):
            at = stamp - PERIOD + (part + 1) * PERIOD / 5
            odometry = wheels.message(at, SPEED * (at - start), yaw=0.05 * (at - start))
            wheels.publisher.publish(odometry)
            sent.append(('/odom', odometry))
        message = picture(number, stamp)
        peer.image.publish(message)
        sent.append(('/camera/image_raw', message))
        for heard in (masks, grids):
            bench.until(lambda h=heard, m=message: key(m) in map(key, h), f'frame {number}')
    return sent, {key(m): m for m in masks}, {key(g): g for g in grids}


def test_masks_and_grids_are_the_live_nodes(ros: None, model: str, tmp_path: Any) -> None:
    import replay_bags as rb

    start = float(int(time.time()))
    with Bench(model=model, **PARAMETERS) as bench:
        sent, masks, grids = drive(bench, start)
        parameters = {**Bench.DEFAULTS, **PARAMETERS}
    with BagWriter(tmp_path / 'bag') as writer:
        for number, (topic, message) in enumerate(sent):
            stamp = message.header.stamp
            log_ns = max(stamp.sec * 10**9 + stamp.nanosec, int((start - PERIOD) * 1e9))
            log_ns = int((start - PERIOD) * 1e9) if topic.endswith('info') else log_ns + number
            writer.write(topic, message, log_ns)
    options = ReplayOptions(models=(model,), overrides=tuple(parameters.items()), pictures=1)
    result = replay_bag(options, tmp_path / 'bag', tmp_path / 'out')
    assert result['frames']['read'] == FRAMES
    written = rb.read(tmp_path / 'out/bag', '/segmentation_node/mask')
    assert len(written) == len(masks) == FRAMES
    for mask in written:
        live = masks[key(mask)]
        assert bytes(mask.data) == bytes(live.data)
    written = rb.read(tmp_path / 'out/bag', '/segmentation_node/drivable_grid')
    assert [key(grid) in grids for grid in written] == [True] * FRAMES
    for number, grid in enumerate(written):
        live = grids[key(grid)]
        assert np.array_equal(np.asarray(grid.data), np.array(live.data, np.int8)), number
        assert grid.header.frame_id == live.header.frame_id == 'odom'
        assert grid.info.origin.position.x == live.info.origin.position.x
    assert (np.asarray(written[-1].data) == 0).any()
    assert (np.asarray(written[5].data) == -1).all()
