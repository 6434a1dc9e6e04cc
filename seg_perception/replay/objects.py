"""Single objects of a recording: what instance_node publishes, counted and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.instances import Found, id_image
from seg_perception.core.labels import LabelSet
from seg_perception.core.overlay import draw_objects
from seg_perception.core.panoptic import VOID, PanopticQuality
from seg_perception.core.results import Instances
from seg_perception.evaluation.average_precision import ObjectEntries
from seg_perception.evaluation.coco import Objects
from seg_perception.replay.journal import Journal
from seg_perception.replay.truth import FrameTruth
from seg_perception.ros.bag_cameras import BagFrame
from seg_perception.ros.bag_writer import BagWriter, detections, label_info
from seg_perception.ros.images import Frame, image_message
from seg_perception.ros.instance_messages import detections_json
from seg_perception.ros.instance_parameters import InstanceParameters
from seg_perception.ros.messages import label_info_json
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.tracking import Numbering

NODE = 'instance_node'
#: COCO's category ids (of the simulator's truth) and the names that models have for them.
COCO_NAMES = {
    1: 'person', 2: 'bicycle', 3: 'car', 4: 'motorcycle', 6: 'bus', 7: 'train', 8: 'truck',
}  # fmt: skip
#: Names that label sets of street scenes have for the same things.
SAME = {'pedestrian': 'person', 'bicyclist': 'person', 'rider': 'person', 'truck_bus': 'truck'}
#: Least pixels of a true object: what shows less is neither found nor missed.
LEAST_PIXELS = 40
#: Id of the pixels that are no object; ids of objects have 16 bits.
_BACKGROUND = 1 << 20


class ObjectRun:
    """Runs instance_node's parts over the frames of a bag.

    Args:
        parameters: of instance_node.
        writer: the bag that is written.
        cameras: names; one camera is called ''.
        journal: file of the network's answers.
        bag: what the journal is about beside the model, as plain data.
        resume: continue the journal.

    Raises:
        BundleError, ProviderError: the model cannot be used.
        LabelSetError: the parameters name a class that it does not have.
    """

    def __init__(
        self,
        parameters: InstanceParameters,
        writer: BagWriter,
        cameras: Sequence[str],
        journal: Path,
        bag: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        p = self._p = parameters
        bundle = Bundle.find(p.model)
        self._segmenter = InstanceSegmenter(
            bundle, p.provider, threads=p.threads, precision=p.precision
        )
        self.labels: LabelSet = bundle.labels
        self._selection = p.selection(self.labels)
        fingerprint = {
            'bag': dict(bag),
            'model': bundle.sha256,
            'provider': self._segmenter.provider,
            'precision': p.precision,
        }
        self._journal = Journal(journal, fingerprint, resume=resume)
        self._warm = False
        self._writer = writer
        self._numberings = {name: Numbering(p) for name in cameras}
        self._several = len(cameras) > 1
        classes = len(self.labels)
        self._quality = PanopticQuality(classes + 1, range(classes))
        self._found = np.zeros(classes, np.int64)
        self._entries = _entries()
        self._frames = self._scored = 0
        self._ms: list[float] = []
        self._last: Found | None = None

    def frame(self, frame: BagFrame, truth: FrameTruth | None, truth_labels: str) -> np.ndarray:
        """Find the objects of a picture, write and count them.

        Args:
            frame: the picture.
            truth: what is known of it.
            truth_labels: name of the truth's label set, for truth without kinds; '' = none.

        Returns:
            uint16 [H, W], the object of each pixel, 0 = none.
        """
        assert frame.frame is not None
        assert frame.message is not None
        everything = self._segment(frame)
        numbering = self._numberings[frame.camera.name if self._several else '']
        found = numbering.number(everything, self._selection, frame.stamp_ns)
        picture = id_image(found.instances, found.regions, found.ids)
        self._write(frame, found, picture)
        self._last = found
        self._frames += 1
        self._found += np.bincount(found.instances.labels, minlength=len(self._found))
        if truth is not None and truth.instances is not None:
            self._score(everything, found, picture, truth, truth_labels)
        return picture

    def draw(self, rgb: np.ndarray) -> np.ndarray:
        """Return the last picture, uint8 [H, W, 3] RGB, with its objects drawn over it."""
        assert self._last is not None
        found = self._last
        texts = [
            f'{self.labels.names[label]} {number}'
            for label, number in zip(found.instances.labels, found.ids, strict=True)
        ]
        return draw_objects(rgb, found.regions, found.instances.boxes, found.ids, texts, 0.5)

    def describe(self) -> dict[str, Any]:
        """Return what was found, as plain data that adds up."""
        bundle = self._segmenter.bundle
        return {
            'name': bundle.name,
            'sha256': bundle.sha256,
            'provider': self._segmenter.provider,
            'label_set': self.labels.to_dict(),
            'frames': self._frames,
            'scored': self._scored,
            'found': self._found.tolist(),
            'quality': self._quality.counts(),
            'entries': None if self._entries is None else self._entries.to_dict(),
            'ms': self._ms,
        }

    def close(self) -> None:
        self._journal.close()

    def _segment(self, frame: BagFrame) -> Instances:
        """Ask the journal, behind its end the network."""
        key = [frame.camera.name, frame.index, frame.stamp_ns]
        record = self._journal.read(key)
        if record is not None:
            description, data = record
            self._ms.append(description['ms'])
            return _unpacked(description, data)
        assert frame.frame is not None
        instances, elapsed = self._infer(frame.frame)
        self._ms.append(elapsed)
        description = {
            'ms': elapsed,
            'count': len(instances),
            'side': instances.masks.shape[1:],
            'image_size': instances.image_size,
        }
        self._journal.write(key, description, _packed(instances))
        return instances

    def _infer(self, frame: Frame) -> tuple[Instances, float]:
        if not self._warm:
            self._segmenter.warm_up(*frame.size)
            self._warm = True
        start = time.perf_counter()
        instances = self._segmenter.segment(frame.pixels, frame.color)
        return instances, (time.perf_counter() - start) * 1e3

    def _write(self, frame: BagFrame, found: Found, picture: np.ndarray) -> None:
        header, log_ns = frame.message.header, frame.log_ns
        node = f'/{frame.camera.name}/{NODE}' if self._several else f'/{NODE}'
        write = self._writer.write
        if f'{node}/label_info' not in self._writer.counts:
            write(f'{node}/label_info', label_info(self.labels, header), log_ns, latched=True)
            write(f'{node}/label_info_json', label_info_json(self.labels), log_ns, latched=True)
        write(f'{node}/instances', image_message(picture, 'mono16', header), log_ns)
        write(f'{node}/detections', detections(found, header), log_ns)
        write(f'{node}/detections_json', detections_json(found, self.labels, header), log_ns)

    def _score(
        self,
        everything: Instances,
        found: Found,
        picture: np.ndarray,
        truth: FrameTruth,
        truth_labels: str,
    ) -> None:
        """Count matches; everything that is no object is one segment of a class of its own."""
        assert truth.instances is not None
        if truth.instances.shape != picture.shape:
            return  # truth of another picture
        background = len(self.labels)
        wanted, classes_t = _true_objects(truth, self.labels, truth_labels)
        if self._entries is not None:
            self._entries.add(_objects(wanted, classes_t), everything)
        wanted = np.where(wanted == 0, _BACKGROUND, wanted)
        made = np.where(picture == 0, _BACKGROUND, picture.astype(np.int64))
        labels = found.instances.labels.tolist()
        classes_p = dict(zip(found.ids.tolist(), labels, strict=True))
        classes_t[_BACKGROUND] = classes_p[_BACKGROUND] = background
        self._quality.update(made, classes_p, wanted, classes_t)
        self._scored += 1


def _true_objects(
    truth: FrameTruth, labels: LabelSet, truth_labels: str
) -> tuple[np.ndarray, dict[int, int]]:
    """Return ids int64 [h, w] (VOID where nobody can say) and the model's class of each."""
    assert truth.instances is not None
    ids = truth.instances.astype(np.int64)
    kinds, names = truth.kinds, COCO_NAMES
    if kinds is None:
        kinds = truth.labels
        known = LabelSet.named(truth_labels) if truth_labels else labels
        names = dict(enumerate(known.names))
    classes: dict[int, int] = {}
    if kinds is None:
        return np.where(ids > 0, VOID, ids), classes
    if kinds is truth.kinds:
        # Rider and bicycle are one mover to the simulator, and two objects to COCO.
        ids = np.where(ids > 0, ids * 256 + kinds, 0)
    for number in np.unique(ids[ids > 0]).tolist():
        pixels = ids == number
        kind = int(np.bincount(kinds[pixels]).argmax())
        name = names.get(kind, '')
        name = SAME.get(name, name) if SAME.get(name) in labels.names else name
        if name in labels.names and pixels.sum() >= LEAST_PIXELS:
            classes[number] = labels.index(name)
        else:
            ids[pixels] = VOID
    return ids, classes


def _objects(ids: np.ndarray, classes: Mapping[int, int]) -> Objects:
    """Return true objects in COCO's terms; what lies on VOID is neither right nor wrong."""
    wanted = [(label, ids == number, False) for number, label in classes.items()]
    if (ids == VOID).any():
        wanted += [(label, ids == VOID, True) for label in sorted(set(classes.values()))]
    masks = np.zeros((len(wanted), *ids.shape), np.uint8)
    boxes = np.zeros((len(wanted), 4), np.float32)
    for i, (_, mask, _) in enumerate(wanted):
        masks[i] = mask
        x, y, width, height = cv2.boundingRect(masks[i])
        boxes[i] = x, y, x + width, y + height
    labels = np.array([label for label, _, _ in wanted], np.int64)
    return Objects(labels, boxes, masks, np.array([crowd for _, _, crowd in wanted], bool))


def _entries() -> ObjectEntries | None:
    """None where pycocotools is not installed: average precision is left out then."""
    try:
        return ObjectEntries()
    except DatasetError:
        return None


def _packed(instances: Instances) -> bytes:
    arrays = (instances.labels, instances.scores, instances.boxes, instances.masks)
    return b''.join(np.ascontiguousarray(array).tobytes() for array in arrays)


def _unpacked(description: dict[str, Any], data: bytes) -> Instances:
    count, side = description['count'], tuple(description['side'])
    parts, at = [], 0
    for dtype, shape in (
        (np.int32, (count,)),
        (np.float32, (count,)),
        (np.float32, (count, 4)),
        (np.float32, (count, *side)),
    ):
        size = int(np.prod(shape)) * 4
        parts.append(np.frombuffer(data[at : at + size], dtype).reshape(shape).copy())
        at += size
    return Instances(*parts, image_size=tuple(description['image_size']))
