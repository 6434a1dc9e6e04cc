"""Writes rendered streets as a training set: ``images/``, ``labels/`` and ``instances.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2

from seg_perception.core.errors import SourceError
from seg_perception.simulation.coco import InstanceList
from seg_perception.simulation.drive import frames

FRAMES_A_SCENE = 4
_SPACING = 2.2
"""Seconds between the frames taken in one scene: far enough for another view."""


def write_dataset(
    folder: str | Path,
    count: int,
    width: int,
    height: int,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Render ``count`` varied frames with CamVid labels and COCO instances into a folder.

    Scenes take the seeds ``seed * 100000, seed * 100000 + 1, ...``, a few frames each, so sets
    of different seeds share no street.

    Args:
        progress: called with 1 after each frame.

    Raises:
        SourceError: the folder cannot be written, or Panda3D is missing.
    """
    root = Path(folder)
    try:
        for name in ('images', 'labels'):
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f'cannot write a dataset to {root}: {error}') from error
    done, number, things = 0, seed * 100_000, InstanceList()
    while done < count:
        share = min(FRAMES_A_SCENE, count - done)
        drive = frames(number, share, 1 / _SPACING, width=width, height=height)
        for frame in drive:
            name = f'street_{number:06d}_{frame.index}'
            picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
            kept = cv2.imwrite(str(root / 'images' / f'{name}.jpg'), picture, quality)
            if not kept or not cv2.imwrite(str(root / 'labels' / f'{name}.png'), frame.mask):
                raise SourceError(f'cannot write {name} to {root}: is the disk full?')
            things.add(f'{name}.jpg', frame.instances, frame.kinds)
            done += 1
            if progress:
                progress(1)
        number += 1
    things.write(root / 'instances.json')
    return root
