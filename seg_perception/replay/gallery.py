"""The frames worth looking at, chosen while they pass: best, worst, most disputed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.core.overlay import blend, draw_grid

#: Frames of one kind lie at least so far apart: neighbours look alike.
APART_NS = 1_000_000_000
_WIDTH = 560


@dataclass
class Panel:
    """A picture of a shown frame: what it is, and an encoded image."""

    title: str
    suffix: str
    data: bytes


@dataclass
class Shown:
    """A frame chosen for a reason.

    Attributes:
        kind: 'best', 'worst' or 'disagreement'.
        score: 0..1, by which it was chosen.
        camera, index, stamp_ns: which frame it is.
        panels: its pictures.
    """

    kind: str
    score: float
    camera: str
    index: int
    stamp_ns: int
    panels: list[Panel] = field(default_factory=list)


class Gallery:
    """Keeps the frames with the highest and lowest scores, at a distance from each other.

    Args:
        count: frames kept of each kind.
    """

    #: Kind -> whether a higher score is wanted.
    KINDS: ClassVar = {'best': True, 'worst': False, 'disagreement': True}

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: dict[str, list[Shown]] = {kind: [] for kind in self.KINDS}

    def offer(
        self,
        kind: str,
        score: float,
        camera: str,
        index: int,
        stamp_ns: int,
        draw: Callable[[], list[Panel]],
    ) -> None:
        """Take a frame if it is among the most telling of its kind; only then is it drawn."""
        if math.isnan(score):
            return
        candidate = Shown(kind, score, camera, index, stamp_ns)
        kept = self._kept[kind]
        near = [s for s in kept if s.camera == camera and abs(s.stamp_ns - stamp_ns) < APART_NS]
        if any(not self._better(candidate, other) for other in near):
            return
        rest = [s for s in kept if s not in near]
        if len(rest) >= self._count and not self._better(candidate, rest[-1]):
            return
        candidate.panels = draw()
        self._kept[kind] = sorted([*rest, candidate], key=rank)[: self._count]

    @staticmethod
    def _better(a: Shown, b: Shown) -> bool:
        return rank(a) < rank(b)

    def shown(self) -> list[Shown]:
        """Return what was kept: kind by kind, the most telling first."""
        return [item for kind in self.KINDS for item in self._kept[kind]]

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write the pictures into a folder; return what is where, as plain data."""
        folder.mkdir(parents=True, exist_ok=True)
        saved = []
        for item in self.shown():
            panels = []
            for number, panel in enumerate(item.panels):
                name = f'{item.kind}_{item.camera}_{item.index:06d}_{number}.{panel.suffix}'
                (folder / name).write_bytes(panel.data)
                panels.append({'title': panel.title, 'file': name})
            saved.append(
                {
                    'kind': item.kind,
                    'score': item.score,
                    'camera': item.camera,
                    'index': item.index,
                    'stamp_ns': item.stamp_ns,
                    'panels': panels,
                }
            )
        return saved


def rank(item: Shown | dict[str, Any]) -> tuple:
    """Sort key: the most telling of a kind first, ties in the order of the recording."""
    get = item.get if isinstance(item, dict) else lambda name: getattr(item, name)
    sign = -1.0 if Gallery.KINDS[get('kind')] else 1.0
    return (sign * get('score'), get('camera'), get('index'))


def picture_panel(title: str, rgb: np.ndarray) -> Panel:
    """Return a photograph, uint8 [H, W, 3] RGB, as JPEG of a width for people."""
    height = round(rgb.shape[0] * _WIDTH / rgb.shape[1])
    small = cv2.resize(rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    return Panel(title, 'jpg', _encode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 82]))


def original(rgb: np.ndarray) -> bytes:
    """Return a picture in full size as png: something to label."""
    return _encode('.png', rgb)


def mask_panel(
    title: str, rgb: np.ndarray, labels: np.ndarray, palette: np.ndarray, alpha: float = 0.55
) -> Panel:
    """Return a mask, uint8 [h, w], over its picture."""
    height = round(rgb.shape[0] * _WIDTH / rgb.shape[1])
    small = cv2.resize(rgb, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    mixed = blend(small, labels, palette, alpha)
    return Panel(title, 'jpg', _encode('.jpg', mixed, [cv2.IMWRITE_JPEG_QUALITY, 82]))


def grid_panel(title: str, cells: np.ndarray) -> Panel:
    """Return a grid from above, x ahead up, one pixel a cell."""
    return Panel(title, 'png', _encode('.png', draw_grid(cells, 1)))


def _encode(suffix: str, rgb: np.ndarray, options: list[int] | None = None) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options or [])
    if not done:
        raise SourceError(f'this OpenCV cannot write {suffix}')
    return data.tobytes()
