"""Semantic mask and instances in; one map of stuff and things out: a managed ROS 2 node."""

from __future__ import annotations

import sys
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import String

from seg_perception.core.errors import ImageError, LabelSetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.panoptic_labels import PanopticLabels, merge_labels
from seg_perception.nodes.input_stream import InputStream
from seg_perception.nodes.managed_node import ManagedNode
from seg_perception.nodes.panoptic_frames import PanopticFrames, PanopticJob
from seg_perception.nodes.panoptic_outputs import PanopticOutputs
from seg_perception.nodes.run import run
from seg_perception.ros.health import Level
from seg_perception.ros.instance_messages import read_detections, read_label_info
from seg_perception.ros.instance_parameters import PanopticParameters
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.pairing import Pairing, Shelf

#: Seconds that the partner of a picture may take before that is a problem.
PATIENCE = 1.0
#: Pictures kept for the overlay: some 80 MB at 1280 x 720.
PICTURES = 30
_CONSEQUENCE = 'there is no panoptic map until it is back'
_NO_OVERLAY = 'the overlay shows colours without a picture'
#: Who is expected to publish each input.
_PUBLISHERS = {
    'image': 'the camera',
    'mask': 'segmentation_node',
    'mask_label_info_json': 'segmentation_node',
    'instances': 'instance_node',
    'detections_json': 'instance_node',
    'instance_label_info_json': 'instance_node',
}


class PanopticNode(ManagedNode):
    """Managed node that fuses what the segmentation and the instance node say of a picture."""

    HUNG = 'the machine is too slow, or it hangs'

    def __init__(self, **node_options: Any) -> None:
        super().__init__('panoptic_node', PanopticParameters, 'panoptic', **node_options)

    def _make(self, parameters: PanopticParameters) -> None:
        p = parameters
        self._outputs = PanopticOutputs(self)
        self._handler = PanopticFrames(self, p, self._outputs, self._health)
        self._pairing = Pairing(p.memory, p.max_stamp_difference)
        self._pictures: Shelf[Image] = Shelf(p.memory, PICTURES)
        self._sets: dict[str, LabelSet] = {}
        self._labels: PanopticLabels | None = None
        self._unmatched = self._jumps = 0
        self._picture = self._stream(Image, 'image', self._on_picture)
        self._streams = [
            self._stream(Image, 'mask', self._on_mask, depth=5),
            self._stream(Image, 'instances', self._on_instances, depth=5),
            self._stream(String, 'detections_json', self._on_detections, depth=5),
            self._picture,
        ]
        self._companions = [
            self._stream(
                String,
                f'{kind}_label_info_json',
                lambda message, _arrival, kind=kind: self._on_labels(kind, message),
                latched=True,
            )
            for kind in ('mask', 'instance')
        ]

    def _stream(self, kind: type, topic: str, callback: Any, **options: Any) -> InputStream:
        reliability = self.get_parameter('input_reliability').value
        return InputStream(
            self,
            kind,
            topic,
            callback,
            reliability='reliable' if options.get('latched') else reliability,
            name=topic,
            consequence=_NO_OVERLAY if topic == 'image' else _CONSEQUENCE,
            publisher=_PUBLISHERS[topic],
            **options,
        )

    def _release(self) -> None:
        super()._release()
        for name in ('_pairing', '_pictures', '_sets', '_labels', '_picture'):
            self.__dict__.pop(name, None)

    def _announce(self) -> None:
        self._pairing.clear()  # what came before a pause has no partner after it
        self._pictures.clear()
        if self._labels is not None:
            self._outputs.publish_labels(self._labels.labels)

    def _wants(self, stream: InputStream, wanted: Any) -> bool:
        return wanted.overlay or stream is not self._picture

    def _watch(self, parameters: PanopticParameters, wanted: Any) -> None:
        self._pair()
        lacking = self._pairing.waiting_for(PATIENCE)
        if wanted.anything and lacking:
            reason = (
                f'mask within {parameters.max_stamp_difference:g} s of their stamp: raise '
                "'max_stamp_difference', or 'memory' if the instance network takes longer"
                if lacking == 'mask'
                else 'detections_json of their stamp: remap it to the same instance_node'
            )
            self._health.problem('pairing', f'instances came without a {reason}')
        else:
            self._health.clear('pairing')
        if wanted.anything and self._labels is None and not self._health.has('labels'):
            self._health.problem(
                'label_info',
                'no label info of mask and instances yet: remap mask_label_info_json and '
                'instance_label_info_json',
                Level.WARN,
            )
        else:
            self._health.clear('label_info')

    def _use_parameters(self, old: PanopticParameters, new: PanopticParameters) -> None:
        self._pairing.max_difference = new.max_stamp_difference
        if new.same_classes != old.same_classes:
            self._merge()

    def _try_parameters(self, parameters: PanopticParameters) -> None:
        if self._handler is not None and len(self._sets) == 2:
            merge_labels(self._sets['mask'], self._sets['instance'], parameters.renamed)

    # ------------------------------------------------------------------------- input

    def _on_mask(self, message: Image, _arrival: float) -> None:
        self._pairing.put_mask(message)
        self._pair()

    def _on_instances(self, message: Image, _arrival: float) -> None:
        self._health.input()
        if stamp_ns(message.header.stamp) == 0:
            self._health.problem(
                'stamp',
                'the instances have no stamp (0), so nobody knows which mask is theirs: set it '
                'in the camera driver',
            )
            return
        self._health.clear('stamp')
        self._pairing.put_instances(message)
        self._pair()

    def _on_detections(self, message: String, _arrival: float) -> None:
        try:
            content = read_detections(message)
        except ImageError as error:
            self._health.problem('detections', str(error))
            return
        self._health.clear('detections')
        self._pairing.put_detections(content, content.stamp)
        self._pair()

    def _on_picture(self, message: Image, arrival: float) -> None:
        self._pictures.put(message, stamp_ns(message.header.stamp), arrival)

    def _on_labels(self, kind: str, message: String) -> None:
        try:
            self._sets[kind] = read_label_info(message)
        except LabelSetError as error:
            self._health.problem(f'{kind}_labels', f'{kind}_label_info_json: {error}')
            return
        self._health.clear(f'{kind}_labels')
        self._merge()

    def _merge(self) -> None:
        """Bring the classes together once both sets are known, and announce the result."""
        if len(self._sets) < 2:
            return
        renamed = self._handler.parameters.renamed
        try:
            self._labels = merge_labels(self._sets['mask'], self._sets['instance'], renamed)
        except LabelSetError as error:
            self._labels = None
            self._health.problem('labels', f"'same_classes': {error}")
            return
        self._health.clear('labels')
        if self._active:
            self._outputs.publish_labels(self._labels.labels)

    def _pair(self) -> None:
        """Give the worker the newest picture of which all is there."""
        if self._labels is None:
            return
        pair = self._pairing.take()
        self._health.dropped(self._pairing.unmatched - self._unmatched)
        self._unmatched = self._pairing.unmatched
        if self._pairing.jumps != self._jumps:
            self._jumps = self._pairing.jumps
            self._pictures.clear()
            self._health.set('time jumps', self._jumps)
        if pair is None:
            return
        picture = self._pictures.get(stamp_ns(pair.instances.header.stamp))
        job = PanopticJob(pair, self._labels, None if picture is None else picture.message)
        self._submit(job, pair.arrival)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable."""
    return run(PanopticNode, args)


if __name__ == '__main__':
    sys.exit(main())
