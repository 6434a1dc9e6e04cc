"""Pictures for people: the camera with its mask beside the grid it became."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.core.overlay import blend, draw_grid

_WIDTH = 960
_GAP = 8
_BACKGROUND = (24, 24, 28)


def side_by_side(
    image_rgb: np.ndarray,
    labels: np.ndarray | None,
    cells: np.ndarray | None,
    palette: np.ndarray,
    *,
    alpha: float = 0.5,
    caption: str = '',
) -> np.ndarray:
    """Draw one frame.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: uint8 [h, w] of any size, None where the frame was not segmented.
        cells: int8 [rows, columns] of an OccupancyGrid, None where there is none.
        palette: uint8 [256, 3] RGB.
        alpha: weight of the mask's colours.
        caption: a line at the foot of the picture.

    Returns:
        uint8 [h, w, 3] RGB with even sides, as video codecs ask for.
    """
    height = round(image_rgb.shape[0] * _WIDTH / image_rgb.shape[1]) // 2 * 2
    left = cv2.resize(image_rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    if labels is not None:
        left = blend(left, labels, palette, alpha)
    right = _grid_panel(cells, height)
    gap = np.full((height, _GAP, 3), _BACKGROUND, np.uint8)
    picture = np.concatenate([left, gap, right], axis=1)
    if caption:
        _write(picture, caption, (12, height - 14))
    return picture


def _grid_panel(cells: np.ndarray | None, height: int) -> np.ndarray:
    """The grid at full height, x (ahead) up; a blank panel where there is none."""
    if cells is None:
        return np.full((height, height // 2 // 2 * 2, 3), _BACKGROUND, np.uint8)
    picture = draw_grid(cells, 1)
    width = round(picture.shape[1] * height / picture.shape[0]) // 2 * 2
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)


def _write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    font = cv2.FONT_HERSHEY_SIMPLEX
    shadow = (place[0] + 1, place[1] + 1)
    cv2.putText(picture, text, shadow, font, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(picture, text, place, font, 0.55, (255, 255, 255), 1, cv2.LINE_AA)


class VideoFile:
    """An mp4 written frame by frame; all frames of the first one's size.

    Raises:
        SourceError: OpenCV here has no encoder for it.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, rgb: np.ndarray) -> None:
        """Append one picture, uint8 [h, w, 3] RGB."""
        if self._writer is None:
            size = (rgb.shape[1], rgb.shape[0])
            code = cv2.VideoWriter_fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self.path), code, self._rate, size)
            if not self._writer.isOpened():
                raise SourceError(f'{self.path}: this OpenCV cannot write mp4 video')
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
