"""What is counted of one model over the frames of bags: whole numbers that add up exactly."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.calibration import ReliabilityCounts
from seg_perception.evaluation.metrics import BoundaryIou, ConfusionMatrix
from seg_perception.evaluation.temporal import FlickerCounts


class Tally:
    """Counts of one model.

    Attributes:
        labels: the model's classes.
        frames: pictures segmented; ``scored``: of them, those with truth.
        pixels: int64 [C + 1], pixels by predicted class; the last is unlabelled.
        truth: confusion with the truth; ``boundary``, ``calibration``: against it.
        reference: confusion with the reference model's mask; ``reference_calibration``: how
            often the reference agrees, by confidence.
        flicker: see :class:`FlickerCounts`.
        cells: free, occupied and unknown cells of all grids.
        grid_truth: counts of ``evaluation.grid`` against the truth, on ``grid_spec``.
    """

    def __init__(self, labels: LabelSet) -> None:
        classes = len(labels)
        self.labels = labels
        self.frames = self.scored = self.compared = 0
        self.pixels = np.zeros(classes + 1, np.int64)
        self.truth = ConfusionMatrix(classes)
        self.boundary = BoundaryIou(classes)
        self.calibration = ReliabilityCounts()
        self.reference = ConfusionMatrix(classes)
        self.reference_calibration = ReliabilityCounts()
        self.flicker = FlickerCounts(classes)
        self.cells = {'free': 0, 'occupied': 0, 'unknown': 0}
        self.grid_truth: dict[str, int] = {}
        self.grid_spec: list[float] = []
        self.grids = 0

    def _arrays(self) -> dict[str, tuple[Any, str]]:
        """Name -> (holder, attribute) of every array of counts."""
        return {
            'pixels': (self, 'pixels'),
            'confusion': (self.truth, 'counts'),
            'boundary_hits': (self.boundary, 'hits'),
            'boundary_truth': (self.boundary, 'truth'),
            'boundary_predicted': (self.boundary, 'predicted'),
            'calibration_pixels': (self.calibration, 'pixels'),
            'calibration_right': (self.calibration, 'right'),
            'reference_confusion': (self.reference, 'counts'),
            'reference_pixels': (self.reference_calibration, 'pixels'),
            'reference_right': (self.reference_calibration, 'right'),
            'flicker_same': (self.flicker, 'same'),
            'flicker_before': (self.flicker, 'before'),
            'flicker_now': (self.flicker, 'now'),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``from_dict`` takes back."""
        return {
            'label_set': self.labels.to_dict(),
            'frames': self.frames,
            'scored': self.scored,
            'compared': self.compared,
            'grids': self.grids,
            'cells': self.cells,
            'grid_truth': self.grid_truth,
            'grid_spec': self.grid_spec,
            **{
                name: getattr(holder, attribute).tolist()
                for name, (holder, attribute) in self._arrays().items()
            },
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tally:
        """Build from what ``to_dict`` gave."""
        tally = cls(LabelSet.from_dict(data['label_set']))
        for name in ('frames', 'scored', 'compared', 'grids', 'cells', 'grid_truth', 'grid_spec'):
            setattr(tally, name, copy.copy(data[name]))
        for name, (holder, attribute) in tally._arrays().items():
            setattr(holder, attribute, np.array(data[name], np.int64))
        return tally

    def add(self, other: Tally) -> None:
        """Take the counts of other frames in.

        Raises:
            DatasetError: they are of other classes.
        """
        if other.labels.names != self.labels.names:
            raise DatasetError(
                f'counts of the classes {self.labels.names} and {other.labels.names} do not add up'
            )
        self.grid_spec = self.grid_spec or other.grid_spec
        for name in ('frames', 'scored', 'compared', 'grids'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.cells, other.cells), (self.grid_truth, other.grid_truth)):
            for name, value in theirs.items():
                mine[name] = mine.get(name, 0) + value
        theirs = other._arrays()
        for name, (holder, attribute) in self._arrays().items():
            setattr(holder, attribute, getattr(holder, attribute) + getattr(*theirs[name]))
