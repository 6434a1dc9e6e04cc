"""One model over the frames of one bag: what it gives is written, counted and kept for show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_perception.core.grid import GridSpec
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import UNLABELLED, SemanticResult
from seg_perception.evaluation.grid import FREE_BELOW, GridScores
from seg_perception.evaluation.metrics import ConfusionMatrix
from seg_perception.evaluation.temporal import Motion
from seg_perception.replay.film import GridFilm
from seg_perception.replay.ground import BagGround, GroundCells
from seg_perception.replay.journal import Journal, JournaledSegmenter
from seg_perception.replay.outputs import ModelOutputs
from seg_perception.replay.tally import Tally
from seg_perception.replay.truth import CellTruth, FrameTruth, class_table, prediction_table
from seg_perception.ros.bag_cameras import BagFrame
from seg_perception.ros.bag_reader import BagReader
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import RecordedBuffer
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.semantic import SemanticSegmenter

#: Stages of the pipeline that go into the report, in milliseconds.
STAGES = ('convert', 'network', 'post', 'segment', 'project', 'fuse')


@dataclass
class FrameOutcome:
    """What a model made of a frame.

    Attributes:
        result: its mask.
        ground: the grid after it, None where none is asked for.
        row: numbers for the report.
    """

    result: SemanticResult
    ground: GroundCells | None
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
        bag: the recording, for odometry and IMU; buffer: its transforms.
        cameras: names; one camera is called ''.
        truth_labels: label set of the truth; None = the model's own.
        reference_labels: label set of the reference model; None where there is none.
    """

    def __init__(
        self,
        name: str,
        model: LoadedModel,
        parameters: SegmentationParameters,
        outputs: ModelOutputs,
        bag: BagReader,
        buffer: RecordedBuffer,
        cameras: Sequence[str],
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
        self._outputs = outputs
        self._several = len(cameras) > 1
        self.ground = BagGround(self.pipeline, parameters, bag, buffer, cameras)
        self._before: dict[str, np.ndarray] = {}
        self._truth_table = class_table(truth_labels or model.labels, labels)
        self._prediction_table = prediction_table(truth_labels or model.labels, labels)
        self._reference_table = class_table(reference_labels or model.labels, labels)

    def frame(
        self,
        frame: BagFrame,
        truth: FrameTruth | None,
        motion: Motion | None,
        reference: SemanticResult | None,
        instances: np.ndarray | None = None,
    ) -> FrameOutcome:
        """Take a frame through the pipeline, write what comes out, and count it."""
        assert frame.frame is not None
        assert frame.message is not None
        camera, header = self._camera(frame), frame.message.header
        self.pipeline.timing.stages.clear()
        self.model.journaled.key = [frame.camera.name, frame.index, frame.stamp_ns]
        self.ground.advance(camera, frame)
        result = self.pipeline.segment(frame.frame.pixels, frame.frame.color)
        p = self.parameters
        shown = result.at_size(*result.image_size) if p.mask_size == 'image' else result
        self._outputs.write_labels(self.pipeline.labels, header, frame.log_ns)
        self._outputs.write_mask(camera, shown, header, frame.log_ns)
        calibration = self.ground.calibration(camera, frame, result.image_size)
        if calibration is not None:
            self._outputs.write_camera_info(camera, frame.info, shown.size, header, frame.log_ns)
        outcome = FrameOutcome(result, None)
        if p.grid_enabled:
            sharpened = instances if p.instances else None
            outcome.ground = self.ground.show(camera, frame, result, calibration, sharpened)
            self._write_grid(frame, outcome.ground)
        self._count(frame, outcome, truth, motion, reference)
        return outcome

    def undecodable(self, frame: BagFrame) -> None:
        """Publish what the node publishes for a picture that it can't read: unknown ground."""
        self.ground.note(f'{frame.camera.image.name}: {frame.problem}')
        self._before.pop(frame.camera.name, None)
        if frame.message is not None and self.parameters.grid_enabled:
            self._write_grid(frame, self.ground.lost(self._camera(frame), frame))

    def _camera(self, frame: BagFrame) -> str:
        """The camera's name in the node, where the only one has none."""
        return frame.camera.name if self._several else ''

    def _write_grid(self, frame: BagFrame, ground: GroundCells | None) -> None:
        if ground is None:
            return
        header = frame.message.header
        self._outputs.write_grid(ground.cells, ground.spec, ground.frame_id, header, frame.log_ns)

    def describe(self) -> dict[str, Any]:
        """Return what was found, as plain data."""
        return {
            **self.model.describe(),
            'name': self.name,
            'tally': self.tally.to_dict(),
            'rows': self.rows,
            'problems': self.ground.problems,
        }

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
        if outcome.ground is not None:
            row.update(self._count_cells(frame, outcome.ground, truth))
        self.rows.append(row)

    def _score(self, truth: np.ndarray, result: SemanticResult) -> dict[str, float | None]:
        """Score the mask at the truth's size."""
        truth = cv2.LUT(truth, self._truth_table)
        labels, confidence = at(result, truth.shape)
        labels = cv2.LUT(labels, self._prediction_table)
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

    def _count_cells(
        self, frame: BagFrame, ground: GroundCells, truth: FrameTruth | None
    ) -> dict[str, Any]:
        """Count the cells around the robot, whatever frame they were published in."""
        cells, spec = ground.base_cells, self.parameters.grid_spec
        found: dict[str, Any] = {
            'free': int(np.count_nonzero((cells >= 0) & (cells < FREE_BELOW))),
            'unknown': int(np.count_nonzero(cells < 0)),
        }
        found['occupied'] = cells.size - found['free'] - found['unknown']
        for name in self.tally.cells:
            self.tally.cells[name] += found[name]
        self.tally.grids += 1
        self.film.offer(frame.stamp_ns, cells, spec, ground.pose)
        if truth is not None and truth.ground is not None:
            found.update(self._score_cells(cells, spec, truth.ground))
        return found

    def _score_cells(
        self, cells: np.ndarray, spec: GridSpec, truth: CellTruth
    ) -> dict[str, float | None]:
        if truth.spec != spec:
            self.ground.note(
                f'the truth is on a grid of {truth.spec}, the parameters ask for {spec}: the '
                'grid is not scored'
            )
            return {}
        scores = GridScores(spec)
        scores.update(cells, truth)
        self.tally.grid_spec = list(dataclasses.astuple(spec))
        for name, value in scores.counts().items():
            self.tally.grid_truth[name] = self.tally.grid_truth.get(name, 0) + value
        figures = scores.compute()
        return {
            'free_recall': _number(figures.free_recall),
            'false_free_rate': _number(figures.false_free_rate),
        }


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
