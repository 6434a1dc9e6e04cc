"""A dataset small enough to train on in a test, hard enough to learn something from."""

from pathlib import Path

import cv2
import numpy as np
import pytest


def write_street(root: Path, count: int = 4, size=(96, 128), seed: int = 0) -> Path:
    """Write grey road below blue sky, with a horizon that moves, as CamVid ids."""
    rng = np.random.default_rng(seed)
    (root / 'images').mkdir(parents=True)
    (root / 'labels').mkdir()
    for number in range(count):
        horizon = int(rng.integers(size[0] // 3, 2 * size[0] // 3))
        image = np.empty((*size, 3), np.uint8)
        image[:horizon], image[horizon:] = (250, 160, 90), (90, 90, 90)  # BGR
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        labels = np.zeros(size, np.uint8)
        labels[horizon:] = 3
        labels[horizon] = 255
        cv2.imwrite(str(root / 'images' / f'{number:03}.png'), image)
        cv2.imwrite(str(root / 'labels' / f'{number:03}.png'), labels)
    return root


@pytest.fixture
def street(tmp_path):
    return write_street(tmp_path / 'street')


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Networks this small only lose time to threads."""
    torch = pytest.importorskip('torch', reason='needs torch: see requirements/train.txt')
    torch.set_num_threads(1)
