"""What a replay writes into its bag: the topics of the nodes, under the stamps of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.ros import messages
from seg_perception.ros.bag_writer import BagWriter, label_info
from seg_perception.ros.images import image_message

NODE = '/segmentation_node'


@dataclass(frozen=True)
class Prefixes:
    """Where the topics of one model lie.

    With one model these are the live node's names; with several, each gets a namespace of its
    own, so that one bag holds them side by side.
    """

    node: str

    @classmethod
    def of(cls, model: str, several_models: bool) -> Prefixes:
        return cls(f'/{model}{NODE}' if several_models else NODE)

    def camera(self, name: str) -> str:
        """Return the prefix of a camera's own topics; the only camera has no name."""
        return f'{self.node}/{name}' if name else self.node


class ModelOutputs:
    """Writes one model's topics.

    Args:
        writer: the bag.
        prefixes: of its topics.
    """

    def __init__(self, writer: BagWriter, prefixes: Prefixes) -> None:
        self._writer = writer
        self._prefixes = prefixes
        self._labels_written = False

    def write_labels(self, labels: LabelSet, header: Header, log_ns: int) -> None:
        """Write names, colours and roles of the ids, once."""
        if self._labels_written:
            return
        self._labels_written = True
        write, node = self._writer.write, self._prefixes.node
        stamped = Header(stamp=header.stamp)
        write(f'{node}/label_info', label_info(labels, stamped), log_ns, latched=True)
        write(f'{node}/label_info_json', messages.label_info_json(labels), log_ns, latched=True)

    def write_mask(self, camera: str, result: SemanticResult, header: Header, log_ns: int) -> None:
        """Write mask and confidence (mono8)."""
        prefix = self._prefixes.camera(camera)
        for name, plane in (('mask', result.labels), ('confidence', result.confidence)):
            self._write(f'{prefix}/{name}', image_message(plane, 'mono8', header), log_ns)

    def write_camera_info(
        self,
        camera: str,
        info: CameraInfo,
        size: tuple[int, int],
        header: Header,
        log_ns: int,
    ) -> None:
        """Write the camera's calibration scaled to the mask."""
        scaled = messages.scaled_camera_info(info, *size)
        scaled.header = header
        self._write(f'{self._prefixes.camera(camera)}/camera_info', scaled, log_ns)

    def write_grid(
        self, cells: np.ndarray, spec: GridSpec, frame_id: str, header: Header, log_ns: int
    ) -> None:
        """Write cells of the ground."""
        grid = messages.occupancy_grid(cells, spec, frame_id, header.stamp)
        self._write(f'{self._prefixes.node}/drivable_grid', grid, log_ns, latched=True)

    def _write(self, topic: str, message: Any, log_ns: int, *, latched: bool = False) -> None:
        self._writer.write(topic, message, log_ns, latched=latched)
