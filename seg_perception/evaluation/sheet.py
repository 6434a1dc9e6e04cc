"""A sheet of pictures for people: rows of panels under captions, and a legend of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.errors import DatasetError
from seg_perception.evaluation.output import write_output

#: Endings of the files a sheet is written into.
SUFFIXES = ('.jpg', '.jpeg', '.png')
_PANEL = 320
_LINE = 22
_GAP = 4
_INK, _PAPER = (32, 32, 36), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """What is shown of one picture.

    Attributes:
        caption: a line above it; ASCII, which is all that OpenCV's letters cover.
        panels: uint8 [H, W, 3] RGB, of one shape.
    """

    caption: str
    panels: Sequence[np.ndarray]


def draw_sheet(
    titles: Sequence[str], rows: Sequence[Row], legend: Sequence[tuple[str, np.ndarray]] = ()
) -> np.ndarray:
    """Lay out rows below one another.

    Args:
        titles: of the columns, one a panel.
        rows: at least one.
        legend: names and RGB colours, shown below as many lines as they need.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    width = len(titles) * (_PANEL + _GAP) - _GAP
    head = _strip(width)
    for column, title in enumerate(titles):
        _write(head, title, column * (_PANEL + _GAP))
    parts = [head]
    for row in rows:
        parts += [_strip(width), _beside(row.panels)]
        _write(parts[-2], row.caption)
    return np.concatenate([*parts, *_legend(legend, width)])


def save_sheet(path: Path, sheet: np.ndarray) -> None:
    """Write a sheet, uint8 [H, W, 3] RGB, as its file's ending says.

    Raises:
        DatasetError: an ending other than ``SUFFIXES``, or the file cannot be written.
    """
    check_suffix(path)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]  # png takes no notice
    _, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), quality)
    write_output(path, data.tobytes())


def check_suffix(path: Path) -> None:
    """Refuse a file that is no picture by its ending.

    Raises:
        DatasetError: naming those that are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(f'{path}: a sheet is written as {", ".join(SUFFIXES)}')


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    height, width = panels[0].shape[:2]
    size = _PANEL, max(1, round(height * _PANEL / width))
    gap = np.full((size[1], _GAP, 3), 255, np.uint8)
    parts = [gap]
    for panel in panels:
        parts += [cv2.resize(panel, size, interpolation=cv2.INTER_AREA), gap]
    return np.concatenate(parts[1:-1], axis=1)


def _legend(entries: Sequence[tuple[str, np.ndarray]], width: int) -> list[np.ndarray]:
    lines: list[np.ndarray] = []
    x = width
    for name, color in entries:
        needed = _LINE + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0] + 12
        if x + needed > width:
            lines.append(_strip(width))
            x = 0
        lines[-1][6:-4, x + 4 : x + 16] = color
        _write(lines[-1], name, x + _LINE - 4)
        x += needed
    return lines


def _strip(width: int) -> np.ndarray:
    return np.full((_LINE, width, 3), _PAPER, np.uint8)


def _write(strip: np.ndarray, text: str, x: int = 0) -> None:
    place = x + 4, _LINE - 7
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
