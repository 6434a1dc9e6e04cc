"""Pictures of grids beside what is true, for people who look for the cause of an error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmark.street_frames import GRID, StreetFrame
from seg_perception.simulation.truth import GroundTruth, as_picture

_SCALE = 2
#: RGB of a cell by what it was marked and what is true.
RIGHT_FREE, RIGHT_OCCUPIED = (60, 170, 90), (120, 120, 130)
FALSE_FREE, MISSED_FREE = (255, 0, 0), (40, 90, 50)
SMEAR, FALSE_OCCUPIED = (255, 0, 255), (230, 140, 0)
FREE_UNSEEN, CUT = (90, 200, 220), (70, 70, 40)


def verdict(cells: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Return uint8 RGB [height, width, 3]: each cell by what it was marked and what is true."""
    free, occupied = (cells >= 0) & (cells < 25), cells >= 65
    true_free, true_occupied = truth.cells == 0, truth.cells > 0
    color = np.zeros((*cells.shape, 3), np.uint8)
    color[truth.cells < 0] = CUT
    color[free & true_free] = FREE_UNSEEN
    color[free & true_free & truth.visible] = RIGHT_FREE
    color[~free & true_free & truth.visible] = MISSED_FREE
    color[occupied & true_occupied] = RIGHT_OCCUPIED
    color[occupied & true_free & truth.visible] = FALSE_OCCUPIED
    color[occupied & true_free & ~truth.visible] = SMEAR
    color[free & true_occupied] = FALSE_FREE
    return color


def write_picture(
    folder: Path, seed: int, index: int, frame: StreetFrame, cells: dict[str, np.ndarray]
) -> None:
    """Write the frame, the truth and every way's verdict side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    panels = [('truth', as_picture(frame.truth, _SCALE))]
    for name, found in cells.items():
        picture = np.ascontiguousarray(verdict(found, frame.truth)[::-1, ::-1].transpose(1, 0, 2))
        panels.append((name, cv2.resize(picture, None, fx=_SCALE, fy=_SCALE, interpolation=0)))
    height = GRID.width * _SCALE
    h, w = frame.image.shape[:2]
    shown = cv2.resize(frame.image, (height // 2 * w // h, height // 2))
    left = np.vstack([shown, np.zeros_like(shown)])
    for name, panel in panels:
        cv2.putText(panel, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3, 1)
    whole = np.hstack([left, *(panel for _, panel in panels)])
    cv2.imwrite(str(folder / f'{seed}_{index:03d}.png'), whole[..., ::-1])
