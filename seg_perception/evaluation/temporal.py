"""Temporal consistency without truth: does a mask stay the same where the picture only moves?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from seg_perception.core.results import UNLABELLED

#: Width at which the motion between two pictures is estimated, pixels.
_FLOW_WIDTH = 320
#: Forward and backward motion may differ by so much (pixels, and share of their length) where
#: a point is seen in both pictures: Sundaram, Brox and Keutzer, ECCV 2010.
_SLACK, _SHARE = 0.5, 0.05
#: A grey level may change by so much along its way; beyond it is another thing.
_GREY = 24


@dataclass(frozen=True)
class Motion:
    """Where the pixels of a picture were in the one before.

    Attributes:
        origin: float32 [h, w, 2], x and y in pixels of the earlier picture at this size.
        seen: bool [h, w], whether the point was visible there.
    """

    origin: np.ndarray
    seen: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, now: np.ndarray) -> Motion:
        """Estimate the motion from one picture to the next (dense inverse search).

        Args:
            before, now: uint8 [h, w] grey, of one size (see :func:`small_grey`).
        """
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        back = flow.calc(now, before, None)
        ahead = flow.calc(before, now, None)
        height, width = now.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        origin = np.dstack([x, y]) + back
        inside = (
            (origin[..., 0] >= 0)
            & (origin[..., 0] <= width - 1)
            & (origin[..., 1] >= 0)
            & (origin[..., 1] <= height - 1)
        )
        returned = cv2.remap(
            ahead, origin, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        gap = np.linalg.norm(back + returned, axis=2)
        length = np.linalg.norm(back, axis=2) + np.linalg.norm(returned, axis=2)
        warped = cv2.remap(before, origin, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = inside & (gap < _SLACK + _SHARE * length) & (cv2.absdiff(now, warped) < _GREY)
        return cls(origin, seen)

    def carry(self, labels: np.ndarray) -> np.ndarray:
        """Bring the earlier mask to where its pixels are now.

        Args:
            labels: uint8 [H, W] of the earlier picture, of any size.

        Returns:
            uint8 [h, w] at the motion's size; 255 where the point was not visible.
        """
        size = self.seen.shape[::-1]
        small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        moved = cv2.remap(small, self.origin, None, cv2.INTER_NEAREST, borderValue=UNLABELLED)
        moved[~self.seen] = UNLABELLED
        return moved


def small_grey(pixels: np.ndarray, color: str) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3] in 'rgb' or 'bgr', as grey of the size motion takes."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _FLOW_WIDTH / width)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY if color == 'rgb' else cv2.COLOR_BGR2GRAY)


class FlickerCounts:
    """Pixels whose class changed from one picture to the next although the point did not.

    The earlier mask is carried along the motion, and only points visible in both count; so a
    passing car is no flicker, a pavement that is road every other frame is. Counts add up.

    Attributes:
        same: int64 [C], compared pixels of a class that kept it.
        before, now: int64 [C], compared pixels of the class in either mask.
    """

    def __init__(self, classes: int) -> None:
        self.same, self.before, self.now = np.zeros((3, classes), np.int64)

    def update(self, carried: np.ndarray, labels: np.ndarray) -> float:
        """Count a pair of masks.

        Args:
            carried: uint8 [h, w], the earlier mask from ``Motion.carry``.
            labels: uint8 [H, W], the present one, of any size.

        Returns:
            The share of compared pixels that changed, 0..1; NaN where none could be compared.
        """
        size = carried.shape[::-1]
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        classes = len(self.same)
        valid = (carried < classes) & (labels < classes)
        before, now = carried[valid], labels[valid]
        same = now[before == now]
        self.before += np.bincount(before, minlength=classes)
        self.now += np.bincount(now, minlength=classes)
        self.same += np.bincount(same, minlength=classes)
        return 1.0 - same.size / now.size if now.size else float('nan')

    def compute(self) -> tuple[np.ndarray, float, float]:
        """Return IoU of carried and present mask per class, its mean, and the flicker.

        The mean is the temporal consistency of Liu et al., "Efficient Semantic Video
        Segmentation with Per-frame Inference", ECCV 2020; all NaN where nothing was compared.
        """
        union = self.before + self.now - self.same
        iou = np.full(len(union), np.nan)
        np.divide(self.same, union, out=iou, where=union > 0)
        compared = int(self.now.sum())
        if not compared:
            return iou, float('nan'), float('nan')
        return iou, float(np.nanmean(iou)), 1.0 - int(self.same.sum()) / compared
