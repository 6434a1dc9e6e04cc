"""Which frames are shown in the report, and what of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.replay.gallery import (
    Gallery,
    Panel,
    grid_panel,
    mask_panel,
    original,
    picture_panel,
)
from seg_perception.replay.model_run import FrameOutcome, ModelRun, disagreement
from seg_perception.replay.objects import ObjectRun
from seg_perception.replay.truth import FrameTruth
from seg_perception.ros.bag_cameras import BagFrame


class Exhibit:
    """Draws frames that are among the best, worst and most disputed.

    Args:
        count: frames kept of each kind.
        models: that are replayed.
        reference: classes of the reference model, None where there is none.
        truth: name of the truth's label set; '' = the first model's.
        objects: the objects of the frames, None where nobody looks for them.
    """

    def __init__(
        self,
        count: int,
        models: Sequence[ModelRun],
        *,
        reference: LabelSet | None,
        truth: str,
        objects: ObjectRun | None,
    ) -> None:
        self._gallery = Gallery(count)
        self._models = models
        self._reference = reference
        self._truth = LabelSet.named(truth) if truth else models[0].model.labels
        self._objects = objects
        self._originals: dict[tuple[str, int], bytes] = {}

    def show(
        self,
        frame: BagFrame,
        outcomes: list[FrameOutcome],
        truth: FrameTruth | None,
        reference: SemanticResult | None,
    ) -> float | None:
        """Keep a frame if it is among the most telling.

        Args:
            frame: the picture.
            outcomes: what each model made of it.
            truth, reference: what is known of it.

        Returns:
            The share of its pixels that is disputed; None where nobody disputes.
        """

        def draw() -> list[Panel]:
            return self._panels(frame, outcomes, truth, reference)

        def draw_and_keep() -> list[Panel]:
            self._originals[frame.camera.name, frame.index] = original(_rgb(frame))
            return draw()

        where = (frame.camera.name, frame.index, frame.stamp_ns)
        quality = _quality([outcome.row for outcome in outcomes])
        for kind in ('best', 'worst'):
            self._gallery.offer(kind, quality, *where, draw)
        disputed = self._disputed(outcomes, reference)
        self._gallery.offer('disagreement', disputed, *where, draw_and_keep)
        return None if math.isnan(disputed) else round(disputed, 6)

    def _disputed(self, outcomes: list[FrameOutcome], reference: SemanticResult | None) -> float:
        """How much of a frame the models see differently from the reference, or each other."""
        if reference is not None:
            agreement = outcomes[0].row.get('agreement')
            return float('nan') if agreement is None else 1.0 - agreement
        if len(outcomes) > 1:
            a, b = (outcome.result.labels for outcome in outcomes[:2])
            names = [model.model.labels.names for model in self._models[:2]]
            return disagreement(a, b) if names[0] == names[1] else float('nan')
        return float('nan')

    def _panels(
        self,
        frame: BagFrame,
        outcomes: list[FrameOutcome],
        truth: FrameTruth | None,
        reference: SemanticResult | None,
    ) -> list[Panel]:
        rgb = _rgb(frame)
        panels = [picture_panel('picture', rgb)]
        if truth is not None and truth.labels is not None:
            panels.append(mask_panel('truth', rgb, truth.labels, self._truth.palette()))
        if reference is not None:
            palette = self._reference.palette()
            panels.append(mask_panel('reference', rgb, reference.labels, palette))
        if self._objects is not None:
            panels.append(picture_panel('objects', self._objects.draw(rgb)))
        for model, outcome in zip(self._models, outcomes, strict=True):
            palette = model.pipeline.labels.palette()
            panels.append(mask_panel(model.name, rgb, outcome.result.labels, palette))
            if outcome.ground is not None:
                panels.append(grid_panel(f'{model.name}: grid', outcome.ground.base_cells))
        return panels

    def save(self, pictures: Path, worth_labelling: Path) -> list[dict[str, Any]]:
        """Write the kept frames; return what is where, as plain data.

        Args:
            pictures: folder of what the report shows.
            worth_labelling: folder of the most disputed pictures in full size, by stamp.
        """
        for item in self._gallery.shown():
            if item.kind == 'disagreement':
                worth_labelling.mkdir(parents=True, exist_ok=True)
                data = self._originals[item.camera, item.index]
                (worth_labelling / f'{item.camera}_{item.stamp_ns}.png').write_bytes(data)
        return self._gallery.save(pictures)


def _rgb(frame: BagFrame) -> np.ndarray:
    assert frame.frame is not None
    return np.ascontiguousarray(frame.frame.rgb)


def _quality(rows: list[dict[str, Any]]) -> float:
    """How good a frame is, 0..1: by truth, else the reference, else by keeping still."""
    for name in ('miou', 'agreement'):
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            return sum(values) / len(values)
    values = [1.0 - row['flicker'] for row in rows if row.get('flicker') is not None]
    return sum(values) / len(values) if values else float('nan')
