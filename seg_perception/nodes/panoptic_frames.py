"""What the panoptic node's worker does with each pair. No arithmetic, no life cycle."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from sensor_msgs.msg import Image

from seg_perception.core.errors import ImageError
from seg_perception.core.panoptic import Thing, fuse
from seg_perception.core.panoptic_labels import PanopticLabels
from seg_perception.nodes.panoptic_outputs import PanopticOutputs
from seg_perception.ros.health import HealthMonitor
from seg_perception.ros.images import to_frame
from seg_perception.ros.instance_messages import Detections, read_ids
from seg_perception.ros.instance_parameters import PanopticParameters
from seg_perception.ros.pairing import Pair
from seg_perception.runtime.timing import Timing


@dataclass(frozen=True)
class PanopticJob:
    """A pair on its way to the worker, the classes then in force, and the picture if known."""

    pair: Pair
    labels: PanopticLabels
    picture: Image | None


class PanopticFrames:
    """Takes pairs to panoptic maps.

    `handle` and `failed` run in the worker's thread, everything else in the executor's.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: PanopticParameters,
        outputs: PanopticOutputs,
        health: HealthMonitor,
    ) -> None:
        self._clock = node.get_clock()
        self._outputs = outputs
        self._health = health
        self._timing = Timing()
        self._closed = True
        self.parameters = parameters

    def open(self) -> None:
        """Publish what pairs become, from the next one on."""
        self._closed = False

    def close(self) -> None:
        """Drop the pair in work."""
        self._closed = True

    def handle(self, job: PanopticJob) -> None:
        """Fuse one pair and publish what somebody listens to."""
        p, pair = self.parameters, job.pair
        header = pair.instances.header
        start = time.perf_counter()
        try:
            mask = read_ids(pair.mask, ('mono8', '8UC1'))
            ids = read_ids(pair.instances, ('mono16', '16UC1'))
            things = _things(pair.detections, job.labels)
        except ImageError as error:
            self._health.rejected(str(error))
            return
        start = self._timing.measure('decode', start)
        result = fuse(mask, ids, things, job.labels.things, p.rules)
        strangers = {s.label for s in result.segments} - set(range(len(job.labels.labels.classes)))
        if strangers:
            self._health.rejected(
                f'the mask has the class ids {sorted(strangers)}, which its label info does not '
                'know: mask and mask_label_info_json must come from one node'
            )
            return
        self._health.clear('image')
        start = self._timing.measure('fuse', start)
        if self._closed:
            self._health.dropped()
            return
        wanted = self._outputs.wanted(lazy=p.lazy)
        labels = job.labels.labels
        self._outputs.publish_result(result, labels, header, wanted)
        if wanted.overlay:
            picture = _rgb(job.picture)
            self._outputs.publish_overlay(result, picture, labels, p.overlay_alpha, header)
        self._timing.measure('publish', start)
        self._health.set('stamps apart (ms)', f'{pair.difference * 1e3:.1f}')
        self._health.clear('inference')
        age = self._clock.now() - Time.from_msg(header.stamp, clock_type=self._clock.clock_type)
        self._health.output(pair.arrival, age.nanoseconds / 1e9, self._timing.stages)

    def failed(self, job: PanopticJob, error: Exception) -> None:
        """Report an error nobody foresaw in `handle`; the pair is lost, the node is not."""
        if self._closed:
            self._health.dropped()
            return
        self._health.failed(f'{type(error).__name__}: {error}')


def _things(detections: Detections, labels: PanopticLabels) -> dict[int, Thing]:
    """Return the objects under the classes of the panoptic map.

    Raises:
        ImageError: a class that the instances' label info does not know.
    """
    unknown = {t.label for t in detections.things.values()} - set(labels.of_instance)
    if unknown:
        raise ImageError(
            f'the detections have the classes {sorted(unknown)}, which the instance label info '
            'does not know: detections_json and instance_label_info_json must come from one node'
        )
    return {
        number: Thing(labels.of_instance[thing.label], thing.score, thing.area)
        for number, thing in detections.things.items()
    }


def _rgb(message: Image | None) -> np.ndarray | None:
    """Return a picture as uint8 [H, W, 3], RGB; None where there is none that can be read."""
    if message is None:
        return None
    try:
        return to_frame(message).rgb
    except ImageError:
        return None
