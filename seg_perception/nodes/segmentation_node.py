"""Camera image in; semantic mask, confidence and drivable grid out: a managed ROS 2 node."""

from __future__ import annotations

import sys
from typing import Any

from seg_perception.nodes.camera_node import CameraNode
from seg_perception.nodes.frame_handler import FrameHandler
from seg_perception.nodes.grid_guard import GridGuard
from seg_perception.nodes.outputs import SegmentationOutputs, Wanted
from seg_perception.nodes.run import run
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.semantic import SemanticSegmenter


class SegmentationNode(CameraNode):
    """Managed node around the pipeline; deactivation withdraws the grid."""

    NO_IMAGE = 'the grid is unknown until the camera is back'
    HUNG = 'the network is too slow here, or it hangs; the grid is unknown meanwhile'

    def __init__(self, **node_options: Any) -> None:
        super().__init__(
            'segmentation_node', SegmentationParameters, 'segmentation', **node_options
        )

    def _make(self, parameters: SegmentationParameters) -> None:
        p = parameters
        segmenter = SemanticSegmenter(
            Bundle.find(p.model),
            p.provider,
            threads=p.threads,
            precision=p.precision,
            input_size=p.network_size,
        )
        self._pipeline = Pipeline(segmenter, segmenter.labels.with_roles(p.class_roles))
        self._load(segmenter)
        extrinsics = self._make_extrinsics(p)
        self._outputs = SegmentationOutputs(self, with_grid=p.grid_enabled)
        self._guard = GridGuard(
            self._outputs,
            self.get_clock(),
            stale_after=p.stale_after,
            spec=p.grid_spec,
            frame_id=p.grid_frame_id,
        )
        self._handler = FrameHandler(
            self, p, self._pipeline, self._outputs, self._guard, extrinsics, self._health
        )
        self._watch_camera(p)
        self._warn_without_vision_msgs('label_info')

    def _release(self) -> None:
        super()._release()
        for name in ('_pipeline', '_guard'):
            self.__dict__.pop(name, None)

    def _announce(self) -> None:
        self._outputs.publish_labels(self._pipeline.labels)
        if self._outputs.grid is not None:
            self._guard.open()

    def _withdraw(self) -> None:
        # Until the frame in work is done, the latched grid would stay in force.
        if self._outputs.grid is not None:
            self._guard.close()

    def _farewell(self) -> None:
        if not self._outputs.grid_arrived():
            self.get_logger().warning('a reader of the grid has not acknowledged that it ended')

    def _watch(self, parameters: SegmentationParameters, wanted: Wanted) -> None:
        if self._outputs.grid is not None:
            self._guard.expect(wanted.grid and self._image.is_open)
            self._guard.watch()

    def _try_parameters(self, parameters: SegmentationParameters) -> None:
        if self._handler is not None:
            self._pipeline.segmenter.labels.with_roles(parameters.class_roles)

    def _use_parameters(self, old: SegmentationParameters, new: SegmentationParameters) -> None:
        super()._use_parameters(old, new)
        self._guard.configure(
            stale_after=new.stale_after, spec=new.grid_spec, frame_id=new.grid_frame_id
        )
        if self._active and new.class_roles != old.class_roles:
            self._outputs.publish_labels(self._pipeline.labels)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(SegmentationNode, args)


if __name__ == '__main__':
    sys.exit(main())
