"""Instance networks of others become bundles: tables with prototypes, separate outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_detectors import OBJECTS, SIZE, write_constants, write_table

from seg_perception.core.errors import BundleError
from seg_perception.core.instances import paste
from seg_perception.runtime.importer import ImportOptions, labels_of_names
from seg_perception.runtime.instance import InstanceSegmenter
from seg_perception.runtime.instance_forms import InstanceOptions
from seg_perception.runtime.instance_importer import import_instance

LABELS = labels_of_names(['person', 'car', 'bus'], ())
ENGINES = pytest.mark.parametrize('provider', ['cpu', 'openvino'])
NETWORK = ImportOptions(scale=1 / 255)
HEIGHT, WIDTH = SIZE


def bring(path: Path, provider: str = 'cpu', network: ImportOptions = NETWORK, **options):
    """Import a network and open what became of it."""
    bundle = import_instance(
        path,
        'made',
        path.parent,
        labels=LABELS,
        network=network,
        options=InstanceOptions(**options),
        overwrite=True,
    )
    return InstanceSegmenter(bundle, provider, threads=1, precision='fp32')


def grey(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def corners(index: int) -> list[float]:
    cx, cy, w, h = OBJECTS[index][:4]
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


@ENGINES
@pytest.mark.parametrize(
    ('kind', 'rows_first', 'opset'),
    [('scores', False, 17), ('scores', True, 13), ('objectness', True, 17), ('final', True, 17)],
)
def test_tables_with_prototypes(
    tmp_path: Path, provider: str, kind: str, rows_first: bool, opset: int
) -> None:
    path = write_table(tmp_path / 'net.onnx', kind=kind, rows_first=rows_first, opset=opset)
    found = bring(path, provider, table=kind).segment(grey())
    if kind == 'final':  # suppressed by the network itself: nothing is dropped
        assert len(found) == 4
        kept = [0, 1, 2, 3]
    else:
        kept = [0, 2]
        assert found.labels.tolist() == [0, 1], 'the second overlaps the first, the last is weak'
    assert found.scores == pytest.approx([OBJECTS[i][5] for i in kept], abs=1e-3)
    for box, i in zip(found.boxes, kept, strict=True):
        assert box == pytest.approx(corners(i), abs=1e-3)
    # The first is the left half of its box up to the prototype's edge at 24, the car all of it.
    person, car = (paste(found)[kept.index(i)] for i in (0, 2))
    assert person.mask[:, : 24 - person.x - 2].mean() > 0.9
    assert person.mask[:, 24 - person.x + 2 :].mean() == 0
    assert car.area == pytest.approx(20 * 30, rel=0.15)


@ENGINES
def test_a_table_with_nothing_in_it(tmp_path: Path, provider: str) -> None:
    path = write_table(tmp_path / 'net.onnx', only=slice(3, 4))
    segmenter = bring(path, provider)
    assert len(segmenter.segment(grey())) == 0
    assert segmenter.bundle.input.resize == 'letterbox'


def test_letterboxed_boxes_come_back_to_the_picture(tmp_path: Path) -> None:
    """A picture twice as wide as high: 96 x 48 of 96 x 64, with 8 rows of border above."""
    found = bring(write_table(tmp_path / 'net.onnx')).segment(grey(96, 192))
    x1, y1, x2, y2 = corners(2)
    assert found.boxes[1] == pytest.approx([2 * x1, 2 * (y1 - 8), 2 * x2, 2 * (y2 - 8)], abs=0.01)
    assert found.image_size == (192, 96)
    stretched = bring(tmp_path / 'net.onnx', resize='stretch').segment(grey(96, 192))
    assert stretched.boxes[1] == pytest.approx([2 * x1, 1.5 * y1, 2 * x2, 1.5 * y2], abs=0.01)


@ENGINES
def test_a_table_of_dynamic_size(tmp_path: Path, provider: str) -> None:
    path = write_table(tmp_path / 'net.onnx', size=('height', 'width'))
    network = ImportOptions(scale=1 / 255, multiple=32, default_size=SIZE)
    segmenter = bring(path, provider, network)
    assert segmenter.bundle.input.size is None
    found = segmenter.segment(grey(128, 192))
    assert found.boxes[1] == pytest.approx([2 * v for v in corners(2)], abs=1e-3)


def test_at_most_so_many_and_the_best(tmp_path: Path) -> None:
    found = bring(write_table(tmp_path / 'net.onnx'), max_detections=1, min_overlap=0.95)
    assert found.segment(grey()).scores == pytest.approx([0.9], abs=1e-3)


def outputs(**changes) -> dict[str, np.ndarray]:
    """Separate outputs: two objects, masks [N, 28, 28]."""
    made = {
        'boxes': np.array([corners(0), corners(2)], np.float32),
        'scores': np.array([0.9, 0.7], np.float32),
        'labels': np.array([1, 2], np.int64),
        'masks': np.ones((2, 28, 28), np.float32),
    }
    made.update(changes)
    return {name: array for name, array in made.items() if array is not None}


@ENGINES
def test_torchvisions_outputs(tmp_path: Path, provider: str) -> None:
    """Class ids from 1, masks with an axis of one channel, no axis of pictures."""
    masks = np.ones((2, 1, 28, 28), np.float32)
    path = write_constants(tmp_path / 'net.onnx', outputs(masks=masks))
    found = bring(path, provider, label_offset=1).segment(grey())
    assert found.labels.tolist() == [0, 1]
    assert found.boxes[0] == pytest.approx(corners(0))
    assert found.masks.shape == (2, 28, 28)


def test_shares_of_the_sides_by_their_centres(tmp_path: Path) -> None:
    boxes = np.array([OBJECTS[0][:4], OBJECTS[2][:4]], np.float32) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    path = write_constants(tmp_path / 'net.onnx', outputs(boxes=boxes.astype(np.float32)))
    segmenter = bring(path, box_format='cxcywh', normalised=True)
    found = segmenter.segment(grey(128, 192))
    assert found.boxes[1] == pytest.approx([2 * v for v in corners(2)], abs=1e-3)
    assert found.labels.tolist() == [1, 2]


@ENGINES
def test_queries_with_whole_masks(tmp_path: Path, provider: str) -> None:
    """As DETR: [1, N, classes + 1] logits, boxes as shares, masks of the whole input."""
    logits = np.full((1, 2, 4), -9.0, np.float32)
    logits[0, 0, 1], logits[0, 1, 3] = 9.0, 9.0  # a car, and nothing
    boxes = np.array([[OBJECTS[0][:4], OBJECTS[2][:4]]], np.float32)
    boxes /= np.float32([WIDTH, HEIGHT, WIDTH, HEIGHT])
    masks = np.full((1, 2, 16, 24), -6.0, np.float32)
    masks[0, 0, :, :6] = 6.0
    made = {'logits': logits, 'pred_boxes': boxes, 'pred_masks': masks}
    path = write_constants(tmp_path / 'net.onnx', made)
    found = bring(
        path,
        provider,
        names={'scores': 'logits', 'boxes': 'pred_boxes', 'masks': 'pred_masks'},
        box_format='cxcywh',
        normalised=True,
        score_kind='softmax',
        background='last',
        mask_logits=True,
        mask_form='image',
        suppress=False,
    ).segment(grey())
    best = int(found.scores.argmax())
    assert found.labels[best] == 1
    assert found.scores[best] > 0.99
    assert found.scores[1 - best] < 0.01
    region = paste(found)[best]
    assert region.mask[:, : 24 - region.x - 2].mean() > 0.85
    assert not region.mask[:, 24 - region.x + 3 :].any()


def test_a_mask_for_each_class(tmp_path: Path) -> None:
    masks = np.zeros((2, 3, 28, 28), np.float32)
    masks[0, 1], masks[1, 2] = 0.8, 0.6
    found = bring(write_constants(tmp_path / 'net.onnx', outputs(masks=masks))).segment(grey())
    assert found.masks.min(axis=(1, 2)).tolist() == pytest.approx([0.8, 0.6])


@pytest.mark.parametrize(
    ('made', 'options', 'reason'),
    [
        (outputs(masks=None), {}, '--masks'),
        (outputs(labels=None), {}, '--label-output'),
        (outputs(), {'names': {'boxes': 'bboxes'}}, 'bboxes'),
        (outputs(), {'names': {'boxs': 'boxes'}}, 'boxs'),
        (outputs(), {'normalised': True}, '--normalised'),
        (outputs(scores=np.array([3.0, -2.0], np.float32)), {}, '--score-kind'),
        (outputs(masks=np.full((2, 28, 28), 5, np.float32)), {}, '--mask-logits'),
        (outputs(masks=np.ones((2, 20, 28), np.float32)), {}, '--mask-form image'),
        (
            outputs(scores=np.ones((2, 4), np.float32), labels=None),
            {'names': {'scores': 'scores'}},
            '--background',
        ),
        (outputs(masks=np.ones((2, 7, 28, 28), np.float32)), {}, '7 channels'),
        (outputs(boxes=np.full((2, 4), np.nan, np.float32)), {}, 'NaN'),
        (outputs(), {'resize': 'zoom'}, 'stretch, letterbox, none'),
        (outputs(), {'box_format': 'xxyy'}, 'xyxy'),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, made, options, reason) -> None:
    path = write_constants(tmp_path / 'net.onnx', made)
    with pytest.raises(BundleError, match=reason):
        bring(path, **options)
    assert not (tmp_path / 'made').exists()


def test_a_table_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / 'net.onnx')
    with pytest.raises(BundleError, match='is the label set the right one'):
        import_instance(
            path,
            'made',
            tmp_path,
            labels=labels_of_names(list('abcdef'), ()),
            options=InstanceOptions(names={'table': 'output0', 'prototypes': 'output1'}),
        )
