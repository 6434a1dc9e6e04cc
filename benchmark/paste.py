"""Milliseconds that pasting masks and drawing the id image take: python -m benchmark.paste."""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from seg_perception.core.instances import id_image, paste
from seg_perception.core.results import Instances


def objects(count: int, width: int, height: int, seed: int = 0) -> Instances:
    """Objects of 20 to 260 pixels' side all over the picture, with uneven masks."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform([0, 0], [width, height], (count, 2))
    half = rng.uniform(10, 130, (count, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    masks = np.array([cv2.GaussianBlur(m, (0, 0), 2) for m in rng.random((count, 28, 28))])
    return Instances(
        np.zeros(count, np.int32),
        rng.random(count).astype(np.float32),
        boxes.clip(0, [width, height, width, height]).astype(np.float32),
        masks.astype(np.float32),
        (width, height),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=50, help='objects')
    parser.add_argument('--size', default='1280x720', help='of the picture')
    parser.add_argument('--runs', type=int, default=300)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split('x'))
    found = objects(args.count, width, height)
    times = []
    for _ in range(args.runs):
        start = time.perf_counter()
        regions = paste(found)
        pasted = time.perf_counter()
        id_image(found, regions)
        times.append(((pasted - start) * 1e3, (time.perf_counter() - pasted) * 1e3))
    for name, values in (('best', np.min(times, 0)), ('median', np.median(times, 0))):
        paste_ms, draw_ms = values
        print(
            f'{name}: {args.count} objects at {args.size}: paste {paste_ms:.2f} ms, '
            f'id image {draw_ms:.2f} ms'
        )


if __name__ == '__main__':
    main()
