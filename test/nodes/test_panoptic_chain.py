"""Camera, segmentation, instances and panoptic map together: the real nodes, wired as launched."""

from __future__ import annotations

import ast
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import HEIGHT, WIDTH, Bench, image
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from tiny_bundle import write_tiny_bundle
from tiny_instances import CAR, PERSON, picture_of, write_tiny_instances

from seg_perception.nodes.instance_node import InstanceNode
from seg_perception.nodes.panoptic_node import PanopticNode
from seg_perception.nodes.segmentation_node import SegmentationNode

ROOT = Path(__file__).resolve().parents[2]
QUICK: dict[str, Any] = {'provider': 'cpu', 'threads': 1, 'diagnostics_period': 0.1}


def launched_remappings() -> list[str]:
    """The remappings that camera.launch.py gives panoptic_node, as arguments."""
    source = (ROOT / 'launch' / 'camera.launch.py').read_text()
    body = source[source.index('def make_panoptic') :]
    pairs = re.findall(r"\('(\w+)', '([\w/]+)'\)", body[: body.index('return')])
    labels = re.search(r"\('(mask_label_info_json)', f'\{segmentation\}(/\w+)'\)", body)
    assert labels is not None
    mask = re.search(r"segmentation, mask = ('\w+'), ('[\w/]+')", body)
    assert mask is not None
    node, mask_topic = (ast.literal_eval(text) for text in mask.groups())
    pairs += [('mask', mask_topic), (labels[1], f'{node}{labels[2]}')]
    assert len(pairs) == 5
    rules = [part for old, new in pairs for part in ('-r', f'{old}:={new}')]
    return ['--ros-args', *rules]


class ChainBench(Bench):
    """The panoptic node with the two it lives on beside it."""

    DEFAULTS = {'diagnostics_period': 0.1}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        semantic = write_tiny_bundle(folder / 'semantic')
        objects = write_tiny_instances(folder / 'objects')
        self.others = [
            kind(parameter_overrides=[Parameter(k, value=v) for k, v in values.items()])
            for kind, values in (
                (SegmentationNode, QUICK | {'model': str(semantic)}),
                (InstanceNode, QUICK | {'model': str(objects)}),
            )
        ]
        super().__init__(partial(PanopticNode, cli_args=launched_remappings()))
        self._spinners = [
            threading.Thread(target=self._spin, args=(node,), daemon=True) for node in self.others
        ]
        for node, spinner in zip(self.others, self._spinners, strict=True):
            node.begin()
            spinner.start()

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        for spinner in self._spinners:
            spinner.join(5.0)
        while self.others:
            node = self.others.pop()
            node.end()
            node.destroy_node()
        super().__exit__(*details)


def test_a_picture_becomes_one_map_of_stuff_and_things(ros: None, tmp_path: Path) -> None:
    picture = picture_of([(PERSON, 200, 4, 4, 10, 16), (CAR, 250, 8, 6, 20, 14)], WIDTH, HEIGHT)
    picture[HEIGHT // 2 :, 40:, 1] = 250  # road below, to the right of what is written
    with ChainBench(tmp_path) as bench:
        maps = bench.peer.listen('panoptic_node/panoptic', Image)
        answer = bench.answer(maps, lambda: image(picture))
        assert answer.header.frame_id == 'camera_optical'
        ids = np.frombuffer(answer.data, np.int32).reshape(HEIGHT, WIDTH)
        # The mask's classes wall, road, sky come first, then person, car and sign.
        assert ids[100, 140] // 1000 == 3 + CAR
        assert ids[60, 60] // 1000 == 3 + PERSON
        assert ids[100, 140] % 1000 > 0
        assert ids[HEIGHT - 5, WIDTH - 5] == 1000, 'road'
