"""Camera image in; separate objects with ids that last out: a managed ROS 2 node."""

from __future__ import annotations

import sys
from typing import Any

from seg_perception.core.errors import ProviderError
from seg_perception.nodes.camera_node import CameraNode
from seg_perception.nodes.instance_frames import InstanceFrames
from seg_perception.nodes.instance_outputs import InstanceOutputs
from seg_perception.nodes.run import run
from seg_perception.ros.instance_parameters import InstanceParameters
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.tracking import Tracker, TrackingOptions


class InstanceNode(CameraNode):
    """Managed node around an instance network, in a process of its own.

    However slow the network is, the segmentation node's grid never waits for it.
    """

    NO_IMAGE = 'nothing is known of objects until the camera is back'
    HUNG = 'the network is too slow here (raise stale_after if that is right), or it hangs'

    def __init__(self, **node_options: Any) -> None:
        super().__init__('instance_node', InstanceParameters, 'instances', **node_options)

    def _make(self, parameters: InstanceParameters) -> None:
        p = parameters
        segmenter = InstanceSegmenter(
            Bundle.find(p.model), p.provider, threads=p.threads, precision=p.precision
        )
        self._labels = segmenter.labels
        p.selection(segmenter.labels)  # refuses classes that the model lacks before the warm-up
        tracker = self._make_tracker(p)
        self._load(segmenter)
        extrinsics = self._make_extrinsics(p)
        self._outputs = InstanceOutputs(self)
        self._handler = InstanceFrames(
            self, p, segmenter, tracker, self._outputs, extrinsics, self._health
        )
        self._watch_camera(p)
        self._warn_without_vision_msgs('detections', 'label_info')

    def _make_tracker(self, p: InstanceParameters) -> Tracker | None:
        """Make the tracker; None where there is none and `tracking` does not insist."""
        self._health.set('tracking', 'off')
        if p.tracking == 'off':
            return None
        options = TrackingOptions(
            min_score=p.track_min_score,
            min_overlap=p.track_min_overlap,
            memory=p.track_memory,
            max_id=p.track_max_id,
        )
        try:
            tracker = Tracker(options)
        except ProviderError as error:
            if p.tracking == 'on':
                raise
            self._health.set('tracking', f'off: {error}')
            self.get_logger().warning(f'{error}. Ids are numbers within one image meanwhile')
            return None
        self._health.set('tracking', 'on')
        return tracker

    def _release(self) -> None:
        super()._release()
        self.__dict__.pop('_labels', None)

    def _announce(self) -> None:
        self._outputs.publish_labels(self._labels)

    def _withdraw(self) -> None:
        self._outputs.clear_markers(self.get_parameter('ground.frame_id').value)

    def _try_parameters(self, parameters: InstanceParameters) -> None:
        if self._handler is not None:
            parameters.selection(self._labels)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(InstanceNode, args)


if __name__ == '__main__':
    sys.exit(main())
