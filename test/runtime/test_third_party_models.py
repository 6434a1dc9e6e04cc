"""Three real networks of three makings, imported: as good as the same network run by hand.

"By hand" is plain ONNX Runtime and NumPy on the original file, following its makers: resize,
normalise, run, interpolate the logits, argmax, compare with CamVid's road.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_perception.core.labels import Role
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.importer import ImportOptions, import_semantic, labels_of_names
from seg_perception.runtime.semantic import SemanticSegmenter

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')
#: Every n-th of the 101 validation frames; the whole of it gives the same picture.
EVERY = 5
ROAD, VOID = 3, 255
ENGINES = ('cpu', 'openvino')


@dataclass(frozen=True)
class Case:
    """A network, how to import it, and how to run it by hand.

    Attributes:
        by_hand: (session, picture resized to the input, BGR) -> drivable bool [h, w].
        least: road IoU in per cent that it reaches; a broken chain cannot.
    """

    file: str
    labels: Any
    options: ImportOptions
    by_hand: Callable[[Any, np.ndarray], np.ndarray]
    least: float


def planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.astype(np.float32).transpose(2, 0, 1)[None])


def road_by_hand(session: Any, bgr: np.ndarray) -> np.ndarray:
    (probs,) = session.run(['probs'], {'image': planes(bgr)})
    return np.isin(probs[0].argmax(axis=0), (1, 3))


def deeplab_by_hand(session: Any, bgr: np.ndarray) -> np.ndarray:
    """Interpolate with corners on corners: 16 n + 1 pixels, one logit each 16."""
    rgb = bgr[..., ::-1] / 127.5 - 1
    (logits,) = session.run(['logits'], {'pixel_values': planes(rgb)})
    height, width = bgr.shape[:2]
    full = _interpolate(_interpolate(logits[0], height, axis=1), width, axis=2)
    return full.argmax(axis=0) == 0


def _interpolate(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    at = np.linspace(0, values.shape[axis] - 1, size)
    low = np.minimum(at.astype(int), values.shape[axis] - 2)
    part = (at - low).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    below, above = values.take(low, axis), values.take(low + 1, axis)
    return below * (1 - part) + above * part


def twin_by_hand(session: Any, bgr: np.ndarray) -> np.ndarray:
    (scores,) = session.run(['da'], {'image': planes(bgr[..., ::-1] / 255)})
    return scores[0, 1] > scores[0, 0]


CASES = {
    'road_segmentation_adas_0001': Case(
        'road_segmentation_adas_0001/road_segmentation_adas_0001.onnx',
        labels_of_names(['background', 'road', 'curb', 'mark'], ['road', 'mark']),
        ImportOptions(color='bgr', output_kind='softmax', multiple=32, default_size=(320, 448)),
        road_by_hand,
        93.0,
    ),
    'deeplab_cityscapes': Case(
        'deeplab_cityscapes/model.onnx',
        'cityscapes',
        ImportOptions(
            scale=1 / 127.5, mean=(1.0,), multiple=16, offset=1, default_size=(481, 641)
        ),
        deeplab_by_hand,
        88.0,
    ),
    'twinlitenet': Case(
        'twinlitenet/twinlitenet_360x640.onnx',
        labels_of_names(['background', 'drivable'], ['drivable']),
        ImportOptions(scale=1 / 255, output_name='da'),
        twin_by_hand,
        70.0,
    ),
}


@pytest.fixture(scope='module', params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope='module')
def bundle(case, shared_models, tmp_path_factory) -> Bundle:
    return import_semantic(
        shared_models / case.file,
        'imported',
        tmp_path_factory.mktemp('models'),
        labels=case.labels,
        options=case.options,
    )


@pytest.fixture(scope='module')
def frames(shared_data) -> list[tuple[np.ndarray, np.ndarray]]:
    """(BGR picture, CamVid ids) of some validation frames."""
    folder = shared_data / 'camvid' / 'val'
    paths = sorted((folder / 'images').glob('*.jpg'))[::EVERY]
    assert len(paths) >= 20
    return [(cv2.imread(str(path)), _ids(folder, path)) for path in paths]


def _ids(folder: Path, path: Path) -> np.ndarray:
    return cv2.imread(str(folder / 'labels' / f'{path.stem}.png'), cv2.IMREAD_GRAYSCALE)


class RoadIou:
    """Counts pixels of drivable masks against CamVid's road."""

    def __init__(self) -> None:
        self.both = self.either = 0

    def add(self, drivable: np.ndarray, ids: np.ndarray) -> None:
        mask = drivable.astype(np.uint8)
        mask = cv2.resize(mask, ids.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        road, known = ids == ROAD, ids != VOID
        self.both += int((mask & road & known).sum())
        self.either += int(((mask | road) & known).sum())

    @property
    def percent(self) -> float:
        return 100 * self.both / self.either


@pytest.mark.timeout(600)
def test_road_score_is_that_of_the_bare_network(case, bundle, frames, shared_models):
    segmenters = {name: SemanticSegmenter(bundle, name) for name in ENGINES}
    drivable = np.array([item.role is Role.DRIVABLE for item in bundle.labels.classes])
    session = onnxruntime.InferenceSession(
        str(shared_models / case.file), providers=['CPUExecutionProvider']
    )
    by_hand, ours = RoadIou(), {name: RoadIou() for name in ENGINES}
    for image, ids in frames:
        size = segmenters['cpu'].network_size(image.shape[1], image.shape[0])
        by_hand.add(case.by_hand(session, cv2.resize(image, size)), ids)
        for name, segmenter in segmenters.items():
            ours[name].add(drivable[segmenter.segment(image, 'bgr').labels], ids)
    scores = {name: round(score.percent, 3) for name, score in ours.items()}
    print(f'{case.file}: by hand {by_hand.percent:.3f}, through the runtime {scores}')
    assert by_hand.percent > case.least
    for score in ours.values():
        assert score.percent == pytest.approx(by_hand.percent, abs=0.5)


def test_engines_agree(bundle, frames):
    """The same labels but for ties, and the same confidence."""
    image = frames[0][0]
    first, second = (
        SemanticSegmenter(bundle, name, precision='fp32').segment(image, 'bgr') for name in ENGINES
    )
    assert np.mean(first.labels == second.labels) > 0.999
    difference = first.confidence.astype(int) - second.confidence
    assert np.mean(np.abs(difference) > 2) < 0.001
    assert first.confidence.mean() > 150
