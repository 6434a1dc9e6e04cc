"""`make bench-grid`: drivable grids of simulated streets against exact truth.

Ways from a mask to cells, each from true masks and from the model's:

* plain IPM: every cell takes the class of the pixel it projects to, as the usual packages do
* single frame: this package's projection, occlusion-aware, without memory
* fused: the projection, added up over time in the odometry's frame: what the node publishes

The rates come from drives among moving traffic, the flicker from streets in which nothing moves
but the camera's mount, which trembles a little. What each figure means: `evaluation/grid.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmark.grid_pictures import write_picture
from benchmark.plain_ipm import PlainIpm
from benchmark.street_frames import (
    FIRST_SEED,
    GRID,
    SETTLING,
    SIZE,
    StreetFrame,
    frames_of,
    plan,
)
from seg_perception.core.ground_options import ProjectionOptions
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.evaluation.grid import GridFigures, GridScores
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.pipeline import Pipeline
from seg_perception.runtime.semantic import SemanticSegmenter
from seg_perception.simulation.commands import parse_size

#: Of the report; the others are in the table only.
REPORTED = {
    'true_masks': 'fused, true masks',
    'default_model': 'fused, model',
    'plain_ipm': 'plain IPM, true masks',
    'single_frame': 'single frame, true masks',
}
FIGURES = (
    'free_recall',
    'false_free_rate',
    'occupied_recall',
    'smear_m2',
    'ms_per_frame',
    'flicker',
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    add = parser.add_argument
    add('--output', type=Path, default=Path('out/grid.json'))
    add('--cache', type=Path, default=Path('out/grid_frames'), help='where drives are kept')
    add('--frames', type=int, default=200, help='scored frames of all drives (default 200)')
    add('--drives', type=int, default=8, help='streets they are spread over')
    add('--size', type=parse_size, default=SIZE, help='of the pictures (default 1280x720)')
    add('--model', default='', help="bundle; default: the node's own default")
    add('--provider', default='auto')
    add('--pictures', type=Path, help='folder for pictures of what went wrong, frame by frame')
    options = parser.parse_args()
    if options.frames < options.drives or options.drives < 1:
        parser.error('use at least one drive and one frame a drive')
    scores = measure(options)
    report = {key: _figures(scores[name].compute()) for key, name in REPORTED.items()}
    report['frames'] = scores[REPORTED['true_masks']].compute().frames
    report['seed'] = FIRST_SEED
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    print(table({name: kept.compute() for name, kept in scores.items()}))
    print(f'\n{options.output}')
    return 0


def measure(options: argparse.Namespace) -> dict[str, GridScores]:
    """Run every way over every drive."""
    from tqdm import tqdm

    cv2.setNumThreads(1)  # the times are those of one core
    bundle = Bundle.find(options.model or SegmentationParameters().model)
    segmenter = SemanticSegmenter(bundle, options.provider)
    drives = plan(options.frames, options.drives, options.size)
    scores: dict[str, GridScores] = {}
    with tqdm(total=sum(d.frames for d in drives), unit='frame') as bar:
        for drive in drives:
            ways = Ways(segmenter)
            bar.set_description(f'street {drive.seed}')
            for index, frame in enumerate(frames_of(drive, options.cache)):
                cells = ways.cells(frame)
                for name, found in cells.items():
                    kept = scores.setdefault(name, GridScores(GRID))
                    if drive.still and index >= SETTLING:
                        kept.update_still(found, first=index == SETTLING)
                    if drive.still:
                        continue
                    # The first frame builds the tables, once for a camera and pose.
                    ms = ways.ms[name] if index else None
                    kept.update(found, frame.truth, ms=ms)
                if options.pictures and not drive.still:
                    write_picture(options.pictures, drive.seed, index, frame, cells)
                bar.update()
    return scores


class Ways:
    """All ways from a mask to cells, for the frames of one drive in their order.

    Attributes:
        ms: time of the last frame by way: of the thread on the processor, so that others' work
            on the machine does not count.
    """

    def __init__(self, segmenter: SemanticSegmenter) -> None:
        self._segmenter = segmenter
        self._options = ProjectionOptions()
        self._plain: dict[str, PlainIpm] = {}
        true_labels = LabelSet.named('camvid')
        self._pipelines = {
            'true masks': Pipeline(segmenter, true_labels),
            'model': Pipeline(segmenter),
        }
        self.ms: dict[str, float] = {}

    def cells(self, frame: StreetFrame) -> dict[str, np.ndarray]:
        """Return each way's int8 cells [height, width] of a frame."""
        confident = np.full(frame.mask.shape, 255, np.uint8)
        size = (frame.camera.width, frame.camera.height)
        true = SemanticResult(labels=frame.mask, confidence=confident, image_size=size)
        masks = {'true masks': true, 'model': self._segmenter.segment(frame.image, 'rgb')}
        found = {}
        for source, result in masks.items():
            pipeline = self._pipelines[source]
            plain = self._plain_of(source, result, frame)
            roles = pipeline.labels.role_table()
            found[f'plain IPM, {source}'] = self._timed(
                f'plain IPM, {source}', lambda p=plain, r=result, t=roles: p.project(r.labels, t)
            )
            single = self._timed(
                f'single frame, {source}',
                lambda p=pipeline, r=result: p.project(
                    r, frame.camera, frame.T_base_optical, GRID, self._options
                ),
            )
            found[f'single frame, {source}'] = single.cells
            fused = self._timed(
                f'fused, {source}',
                lambda p=pipeline, g=single: p.fuse(g, frame.T_odom_base, frame.stamp),
            )
            found[f'fused, {source}'] = fused.cells
            self.ms[f'fused, {source}'] += self.ms[f'single frame, {source}']
        return found

    def _plain_of(self, source: str, result: SemanticResult, frame: StreetFrame) -> PlainIpm:
        if source not in self._plain:
            camera = frame.camera.scaled(*result.size)
            self._plain[source] = PlainIpm(camera, frame.T_base_optical, GRID)
        return self._plain[source]

    def _timed(self, name: str, call: Callable):
        start = time.thread_time()
        result = call()
        self.ms[name] = 1e3 * (time.thread_time() - start)
        return result


def table(figures: dict[str, GridFigures]) -> str:
    """Return the figures for people."""
    lines = [
        f'{"":>26}  free     false    occupied  smear   flicker  ms a',
        f'{"":>26}  recall   free     recall    m2               frame',
    ]
    for name, f in figures.items():
        lines.append(
            f'{name:>26}  {100 * f.free_recall:5.1f} %  {100 * f.false_free_rate:5.2f} %  '
            f'{100 * f.occupied_recall:6.1f} %  {f.smear_m2:6.2f}  {100 * f.flicker:5.2f} %  '
            f'{f.ms_per_frame:5.2f}'
        )
    frames = next(iter(figures.values())).frames
    lines.append(f'{frames} frames, {GRID.width} x {GRID.height} cells of {GRID.resolution:g} m')
    return '\n'.join(lines)


def _figures(figures: GridFigures) -> dict[str, float | None]:
    values = {name: getattr(figures, name) for name in FIGURES}
    return {name: round(v, 6) if math.isfinite(v) else None for name, v in values.items()}


if __name__ == '__main__':
    raise SystemExit(main())
