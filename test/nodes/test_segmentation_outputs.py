"""What the segmentation node says about a good camera, over real DDS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import (
    FOCAL,
    FRAME,
    HEIGHT,
    RELIABLE,
    WIDTH,
    Bench,
    image,
    jpeg,
    key,
    scene,
)
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tiny_bundle import ROAD, SKY, WALL, write_tiny_bundle


def array(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)


def cells(message: OccupancyGrid) -> np.ndarray:
    return np.array(message.data, np.int8).reshape(message.info.height, message.info.width)


@pytest.fixture
def bench(ros: None, model: str) -> Iterator[Bench]:
    with Bench(model=model) as bench:
        yield bench


def test_mask_and_confidence_carry_the_image_header(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    confidences = bench.peer.listen('segmentation_node/confidence', Image)
    bench.connected()
    mask = bench.answer(masks)
    assert mask.header.frame_id == FRAME
    assert (mask.encoding, mask.width, mask.height) == ('mono8', 160, 90)
    labels = array(mask)
    assert (labels[60:, 60:] == ROAD).all()
    assert (labels[:40, 60:] == SKY).all()
    assert (labels[:, :30] == WALL).all()
    bench.until(lambda: any(key(c) == key(mask) for c in confidences), 'the same confidence')
    confidence = next(c for c in confidences if key(c) == key(mask))
    assert array(confidence)[60:, 60:].min() == 250


@pytest.mark.parametrize(('mask_size', 'expected'), [('model', (160, 90)), ('image', (320, 180))])
def test_camera_info_fits_the_mask(
    ros: None, model: str, mask_size: str, expected: tuple[int, int]
) -> None:
    with Bench(model=model, mask_size=mask_size) as bench:
        masks = bench.peer.listen_masks()
        infos = bench.peer.listen('segmentation_node/camera_info', CameraInfo)
        bench.connected()
        mask = bench.answer(masks)
        assert (mask.width, mask.height) == expected
        bench.until(lambda: any(key(i) == key(mask) for i in infos), 'camera_info of that mask')
        info = next(i for i in infos if key(i) == key(mask))
        assert (info.width, info.height) == expected
        scale = expected[0] / WIDTH
        assert info.k[0] == pytest.approx(FOCAL * scale)
        # The principal point moves with the pixels' edges, not with their centres.
        assert info.k[2] == pytest.approx(((WIDTH - 1) / 2 + 0.5) * scale - 0.5)


def test_grid_is_free_occupied_and_unknown_where_the_scene_says(bench: Bench) -> None:
    grids = bench.peer.listen_grids()
    bench.connected()
    grid = bench.answer(grids)
    assert grid.header.frame_id == 'base_link'
    assert (grid.info.width, grid.info.height) == (100, 100)
    assert grid.info.resolution == pytest.approx(0.1)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (0.0, -5.0)
    assert grid.info.origin.orientation.w == 1.0
    known = cells(grid)
    # Row = y from the right, column = x ahead. The camera stands 1.5 m high, its horizon is the
    # border of sky and road; nearer than 1.5 * 200 / 90 m it sees nothing.
    assert (known[:, :30] == -1).all()
    ahead = known[45:55, 40:70]
    assert (ahead == 0).all()
    # The wall fills the left quarter of the picture, down to its lower edge: u < 80 is
    # y > x * 79.5 / 200. It stands where the picture ends, and hides what is behind.
    assert (known[66:74, 34:37] == 100).all()
    assert (known[74:80, 50:60] == -1).all()


def test_labels_are_latched_and_name_roles(bench: Bench) -> None:
    labels = bench.peer.listen_labels()
    bench.until(lambda: labels, 'the latched label info')
    said = json.loads(labels[0].data)
    assert [c['class_name'] for c in said['class_map']] == ['wall', 'road', 'sky']
    assert [c['role'] for c in said['class_map']] == ['obstacle', 'drivable', 'ignore']


def test_overlay_is_made_only_for_a_listener(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    bench.answer(masks)
    wanted = bench.node._outputs.wanted(lazy=False)
    assert not wanted.overlay
    overlays = bench.peer.listen('segmentation_node/overlay', Image)
    bench.until(
        bench.node._outputs.cameras[''].overlay.get_subscription_count, 'the overlay subscription'
    )
    overlay = bench.answer(overlays)
    assert (overlay.encoding, overlay.width, overlay.height) == ('rgb8', WIDTH, HEIGHT)
    picture = array(overlay).reshape(HEIGHT, WIDTH, 3)
    # Half the scene's green (250) and half the class colour (200).
    assert np.abs(picture[-5, -5].astype(int) - [0, 225, 0]).max() <= 2


def test_works_only_while_somebody_listens(bench: Bench) -> None:
    image_topic = bench.peer.image
    bench.until(bench.peer.camera_info.get_subscription_count, 'the camera_info subscription')
    time.sleep(0.5)
    assert image_topic.get_subscription_count() == 0, 'subscribed although nobody listens'
    grids = bench.peer.listen_grids()
    bench.until(image_topic.get_subscription_count, 'the node to subscribe')
    grid = bench.answer(grids)
    assert (cells(grid) == 0).any()
    bench.peer.leave('segmentation_node/drivable_grid')
    bench.until(lambda: image_topic.get_subscription_count() == 0, 'the node to unsubscribe')
    # A planner that starts now must not be handed the old free cells that the topic latched.
    late = bench.peer.listen_grids()
    late.clear()
    bench.until(lambda: late, 'the latched grid')
    assert (cells(late[0]) == -1).all()


def test_not_lazy_works_unheard(ros: None, model: str) -> None:
    with Bench(model=model, lazy=False) as bench:
        bench.connected()
        for _ in range(3):
            bench.peer.send()
            time.sleep(0.1)
        bench.until(
            lambda: int(bench.peer.diagnostics()[2].get('frames published', 0)) >= 1,
            'a frame published to nobody',
        )


def test_compressed_images(ros: None, model: str) -> None:
    with Bench(model=model, image_transport='compressed') as bench:
        publisher = bench.peer.create_publisher(CompressedImage, 'image/compressed', RELIABLE)
        masks = bench.peer.listen_masks()
        bench.until(publisher.get_subscription_count, 'the compressed subscription')

        def send() -> list[Image]:
            publisher.publish(jpeg(scene()))
            time.sleep(0.1)
            return masks

        mask = bench.until(send, 'a mask')[0]
        assert (array(mask)[60:, 60:] == ROAD).all()


def test_newest_frame_wins_while_the_network_is_slow(ros: None, tmp_path: Path) -> None:
    slow = write_tiny_bundle(tmp_path / 'slow', size=(180, 320), work=8)
    with Bench(model=str(slow)) as bench:
        masks = bench.peer.listen_masks()
        bench.connected()
        bench.answer(masks)
        masks.clear()
        sent = []
        arrivals: dict[tuple[int, int], float] = {}
        for _ in range(40):
            sent.append(key(bench.peer.send()))
            time.sleep(0.02)
            for mask in masks:
                arrivals.setdefault(key(mask), time.monotonic())
        bench.until(lambda: masks and key(masks[-1]) == sent[-1], 'the mask of the last picture')
        answered = [key(m) for m in masks]
        assert answered == sorted(answered)
        assert len(answered) < len(sent), 'the network was not slow enough to test anything'
        bench.until(
            lambda: int(bench.peer.diagnostics()[2]['frames dropped']) > 0, 'drops in diagnostics'
        )


def test_diagnostics_tell_rates_latency_and_provider(bench: Bench) -> None:
    masks = bench.peer.listen_masks()
    bench.connected()
    for _ in range(5):
        bench.answer(masks, lambda: image(scene()))
        masks.clear()
    level, _, values = bench.until(
        lambda: (d := bench.peer.diagnostics())[2].get('frames published', '0') >= '5' and d,
        'diagnostics of five frames',
    )
    assert values['provider'] == 'cpu'
    assert values['model'] == 'tiny'
    assert float(values['input rate (Hz)']) > 0
    assert float(values['output rate (Hz)']) > 0
    assert 0 < float(values['latency from arrival p50 (ms)']) < 5000
    assert 0 < float(values['latency from stamp p99 (ms)']) < 5000
    assert level == 0
