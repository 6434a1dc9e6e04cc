"""One model over the frames of one bag: what it gives is written, counted and kept for show."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_perception.core.camera import CameraModel
from seg_perception.core.errors import CameraModelError, ExtrinsicsError, GroundError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import UNLABELLED, SemanticResult
from seg_perception.evaluation.metrics import ConfusionMatrix
from seg_perception.evaluation.temporal import Motion
from seg_perception.replay.film import GridFilm
from seg_perception.replay.journal import Journal, JournaledSegmenter
from seg_perception.replay.outputs import ModelOutputs
from seg_perception.replay.tally import Tally
from seg_perception.replay.truth import FrameTruth, class_table
from seg_perception.ros.bag_cameras import BagFrame
from seg_perception.ros.extrinsics import Extrinsics
from seg_perception.ros.messages import camera_model
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import RecordedBuffer
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline, at_size
from seg_perception.runtime.semantic import SemanticSegmenter

#: Stages of the pipeline that go into the report, in milliseconds.
STAGES = ('convert', 'network', 'post', 'segment', 'project')


@dataclass
class FrameOutcome:
    """What a model made of a frame.

    Attributes:
        result: its mask.
        cells: its grid, None where there is none.
        row: numbers for the report.
    """

    result: SemanticResult
    cells: np.ndarray | None
    row: dict[str, Any] = field(default_factory=dict)


class LoadedModel:
    """A bundle's segmenter behind a journal.

    Args:
        name: of the bundle, or its path.
        parameters: provider, precision, threads and input size.
        journal: folder of the journals.
        bag: what the journal is about beside the model, as plain data.
        resume: continue a journal.

    Raises:
        BundleError, ProviderError: the model cannot be used.
        SourceError: the journal is of another replay.
    """

    def __init__(
        self,
        name: str,
        parameters: SegmentationParameters,
        journal: Path,
        bag: dict[str, Any],
        *,
        resume: bool,
    ) -> None:
        self.bundle = Bundle.find(name)
        self.segmenter = SemanticSegmenter(
            self.bundle,
            parameters.provider,
            threads=parameters.threads,
            precision=parameters.precision,
            input_size=parameters.network_size,
        )
        fingerprint = {
            'bag': bag,
            'model': self.bundle.sha256,
            'provider': self.segmenter.provider,
            'precision': parameters.precision,
            'input_size': list(parameters.input_size),
        }
        self._journal = Journal(journal, fingerprint, resume=resume)
        self.journaled = JournaledSegmenter(self.segmenter, self._journal)

    @property
    def labels(self) -> LabelSet:
        return self.segmenter.labels

    def describe(self) -> dict[str, Any]:
        """Return what ran, as plain data."""
        return {
            'name': self.bundle.name,
            'sha256': self.bundle.sha256,
            'architecture': self.bundle.architecture,
            'provider': self.segmenter.provider,
        }

    def close(self) -> None:
        self._journal.close()


class ModelRun:
    """Runs the node's pipeline with one model.

    Args:
        name: of the model in the report and the topics.
        model: loaded.
        parameters: of segmentation_node.
        outputs: into which topics are written.
        buffer: the recording's transforms.
        truth_labels: label set of the truth; None = the model's own.
        reference_labels: label set of the reference model; None where there is none.
    """

    def __init__(
        self,
        name: str,
        model: LoadedModel,
        parameters: SegmentationParameters,
        outputs: ModelOutputs,
        buffer: RecordedBuffer,
        *,
        truth_labels: LabelSet | None,
        reference_labels: LabelSet | None,
    ) -> None:
        self.name = name
        self.model = model
        self.parameters = parameters
        labels = model.labels.with_roles(parameters.class_roles)
        self.pipeline = Pipeline(model.journaled, labels)
        self.tally = Tally(labels)
        self.film = GridFilm()
        self.rows: list[dict[str, Any]] = []
        self.problems: dict[str, int] = {}
        self._outputs = outputs
        self._buffer = buffer
        self._extrinsics: dict[str, Extrinsics] = {}
        self._before: dict[str, np.ndarray] = {}
        self._truth_table = class_table(truth_labels or model.labels, labels)
        self._reference_table = class_table(reference_labels or model.labels, labels)

    def frame(
        self,
        frame: BagFrame,
        truth: FrameTruth | None,
        motion: Motion | None,
        reference: SemanticResult | None,
    ) -> FrameOutcome:
        """Take a frame through the pipeline, write what comes out, and count it."""
        assert frame.frame is not None
        assert frame.message is not None
        camera, header = frame.camera.name, frame.message.header
        self.pipeline.timing.stages.clear()
        self.model.journaled.key = [camera, frame.index, frame.stamp_ns]
        result = self.pipeline.segment(frame.frame.pixels, frame.frame.color)
        p = self.parameters
        shown = at_size(result, *result.image_size) if p.mask_size == 'image' else result
        self._outputs.write_labels(self.pipeline.labels, header, frame.log_ns)
        self._outputs.write_mask(camera, shown, header, frame.log_ns)
        calibration = self._calibration(frame, result)
        if calibration is not None:
            self._outputs.write_camera_info(camera, frame.info, shown.size, header, frame.log_ns)
        outcome = FrameOutcome(result, None)
        if p.grid_enabled:
            outcome.cells = self._grid(frame, result, calibration)
        self._count(frame, outcome, truth, motion, reference)
        return outcome

    def undecodable(self, frame: BagFrame) -> None:
        """Publish what the node publishes for a picture that it can't read: unknown ground."""
        self._note(f'{frame.camera.image.name}: {frame.problem}')
        self._before.pop(frame.camera.name, None)
        if frame.message is not None and self.parameters.grid_enabled:
            spec = self.parameters.grid_spec
            self._write_grid(frame, spec.unknown())

    def describe(self) -> dict[str, Any]:
        """Return what was found, as plain data."""
        return {
            **self.model.describe(),
            'name': self.name,
            'tally': self.tally.to_dict(),
            'rows': self.rows,
            'problems': self.problems,
        }

    def _calibration(self, frame: BagFrame, result: SemanticResult) -> CameraModel | None:
        """Return the picture's calibration, None (noted) where the node would refuse it too."""
        info, header = frame.info, frame.message.header
        topic = frame.camera.info_topic or 'camera_info'
        if info is None:
            self._note(f'no camera_info of {frame.camera.image.name}: its ground is unknown')
            return None
        try:
            camera = camera_model(info, result.image_size)
            camera = camera.rectified() if self.parameters.rectified else camera
        except CameraModelError as error:
            self._note(f'{topic}: {error}')
            return None
        if info.header.frame_id and info.header.frame_id != header.frame_id:
            self._note(
                f"{topic} is of frame '{info.header.frame_id}', the image of '{header.frame_id}'"
            )
            return None
        return camera

    def _grid(
        self, frame: BagFrame, result: SemanticResult, camera: CameraModel | None
    ) -> np.ndarray:
        """Project and write the grid; unknown where the node says so too."""
        p = self.parameters
        cells = None
        if camera is not None:
            try:
                pose = self._pose(frame)
                grid = self.pipeline.project(result, camera, pose, p.grid_spec, p.projection)
                cells = grid.cells
                if not grid.sees_ground:
                    self._note(
                        'no pixel of the camera falls on the grid: check camera_pose.height and '
                        "camera_pose.pitch or the camera's transform"
                    )
            except (ExtrinsicsError, GroundError) as error:
                self._note(str(error))
        cells = p.grid_spec.unknown() if cells is None else cells
        self._write_grid(frame, cells)
        return cells

    def _pose(self, frame: BagFrame) -> np.ndarray:
        name, header = frame.camera.name, frame.message.header
        extrinsics = self._extrinsics.get(name)
        if extrinsics is None:
            p = self.parameters
            buffer = None if p.camera_pose_source == 'parameters' else self._buffer
            extrinsics = self._extrinsics[name] = Extrinsics(None, p, buffer)
        return extrinsics.pose(header.frame_id, header.stamp)

    def _write_grid(self, frame: BagFrame, cells: np.ndarray) -> None:
        p = self.parameters
        header = frame.message.header
        self._outputs.write_grid(cells, p.grid_spec, p.grid_frame_id, header, frame.log_ns)

    def _note(self, text: str) -> None:
        self.problems[text] = self.problems.get(text, 0) + 1

    # ------------------------------------------------------------------------- counting

    def _count(
        self,
        frame: BagFrame,
        outcome: FrameOutcome,
        truth: FrameTruth | None,
        motion: Motion | None,
        reference: SemanticResult | None,
    ) -> None:
        tally, result = self.tally, outcome.result
        tally.frames += 1
        counts = np.bincount(result.labels.ravel(), minlength=256)
        classes = len(tally.labels)
        tally.pixels += np.append(counts[:classes], counts[classes:].sum())
        row = outcome.row
        row['confidence'] = round(float(result.confidence.mean()) / 255, 5)
        stages = self.pipeline.timing.stages
        row['ms'] = {name: round(stages[name], 3) for name in STAGES if name in stages}
        row['flicker'] = self._flicker(frame.camera.name, result, motion)
        if truth is not None and truth.labels is not None:
            row.update(self._score(truth.labels, result))
        if reference is not None:
            row['agreement'] = self._compare(reference, result)
        if outcome.cells is not None:
            row.update(self._count_cells(frame, outcome.cells))
        self.rows.append(row)

    def _score(self, truth: np.ndarray, result: SemanticResult) -> dict[str, float | None]:
        """Score the mask at the truth's size."""
        truth = cv2.LUT(truth, self._truth_table)
        labels, confidence = at(result, truth.shape)
        matrix = ConfusionMatrix(len(self.tally.labels))
        matrix.update(truth, labels)
        self.tally.truth.counts += matrix.counts
        self.tally.boundary.update(truth, labels)
        self.tally.calibration.update(truth, labels, confidence)
        self.tally.scored += 1
        scores = matrix.compute()
        return {'miou': _number(scores.miou), 'accuracy': _number(scores.pixel_accuracy)}

    def _compare(self, reference: SemanticResult, result: SemanticResult) -> float | None:
        """Take the reference's mask for the truth."""
        wanted = cv2.LUT(reference.labels, self._reference_table)
        labels, confidence = at(result, wanted.shape)
        matrix = ConfusionMatrix(len(self.tally.labels))
        matrix.update(wanted, labels)
        self.tally.reference.counts += matrix.counts
        self.tally.reference_calibration.update(wanted, labels, confidence)
        self.tally.compared += 1
        return _number(matrix.compute().pixel_accuracy)

    def _flicker(self, camera: str, result: SemanticResult, motion: Motion | None) -> float | None:
        before, self._before[camera] = self._before.get(camera), result.labels
        if motion is None or before is None:
            return None
        return _number(self.tally.flicker.update(motion.carry(before), result.labels))

    def _count_cells(self, frame: BagFrame, cells: np.ndarray) -> dict[str, int]:
        found = {
            'free': int(np.count_nonzero((cells >= 0) & (cells < 50))),
            'unknown': int(np.count_nonzero(cells < 0)),
        }
        found['occupied'] = cells.size - found['free'] - found['unknown']
        for name, count in found.items():
            self.tally.cells[name] += count
        self.tally.grids += 1
        self.film.offer(frame.stamp_ns, cells, self.parameters.grid_spec, self._base_pose(frame))
        return found

    def _base_pose(self, frame: BagFrame) -> np.ndarray | None:
        """The grid's frame in odom at the picture's stamp, None where it is not known."""
        try:
            return self._buffer.tree.lookup('odom', self.parameters.grid_frame_id, frame.stamp_ns)
        except ExtrinsicsError:
            return None


def at(result: SemanticResult, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and confidence at a size [h, w], ids and confidences never mixed."""
    if result.labels.shape == shape:
        return result.labels, result.confidence
    size = (shape[1], shape[0])
    return tuple(
        cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST_EXACT)
        for plane in (result.labels, result.confidence)
    )


def disagreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of pixels on which two masks differ, where both say something."""
    if a.shape != b.shape:
        b = cv2.resize(b, a.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    valid = (a != UNLABELLED) & (b != UNLABELLED)
    pixels = int(valid.sum())
    return float(((a != b) & valid).sum() / pixels) if pixels else math.nan


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(float(value), 6)
