"""Camera image in; separate objects with ids that last out: a managed ROS 2 node."""

from __future__ import annotations

import sys
from typing import Any

from seg_perception.nodes.camera_node import CameraNode
from seg_perception.nodes.instance_frames import InstanceFrames
from seg_perception.nodes.instance_outputs import InstanceOutputs
from seg_perception.nodes.run import run
from seg_perception.ros.instance_parameters import InstanceParameters
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.tracking import Numbering


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
        numbering = self._make_numbering(p)
        self._load(segmenter)
        extrinsics = self._make_extrinsics(p)
        self._outputs = InstanceOutputs(self)
        self._handler = InstanceFrames(
            self, p, segmenter, numbering, self._outputs, extrinsics, self._health
        )
        self._watch_camera(p)
        self._warn_without_vision_msgs('detections', 'label_info')

    def _make_numbering(self, p: InstanceParameters) -> Numbering:
        self._health.set('tracking', 'off')
        numbering = Numbering(p)
        if numbering.tracked:
            self._health.set('tracking', 'on')
        elif numbering.problem:
            self._health.set('tracking', f'off: {numbering.problem}')
            self.get_logger().warning(
                f'{numbering.problem}. Ids are numbers within one image meanwhile'
            )
        return numbering

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
