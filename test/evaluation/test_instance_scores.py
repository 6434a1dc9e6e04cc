"""COCO AP: of objects written into pictures, of bundles, and on rendered streets."""

import argparse
import json
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from tiny_instances import CAR, PERSON, picture_of, write_tiny_instances

from seg_perception.core.errors import DatasetError, ParameterError
from seg_perception.core.results import Instances
from seg_perception.evaluation.coco import CocoDataset
from seg_perception.evaluation.commands import add_commands
from seg_perception.evaluation.instances import evaluate_instances
from seg_perception.runtime.bundle import Bundle

pytest.importorskip('pycocotools', reason='see requirements/train.txt')

SIZE = (180, 320)


def disc(x1, y1, x2, y2):
    """The mask that the tiny model gives a box: the ellipse inscribed in it."""
    mask = np.zeros(SIZE, np.uint8)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + (
        (rows - (y1 + y2) / 2) / (y2 - y1)
    ) ** 2
    mask[inside <= 0.25] = 1
    return mask


def run_lengths(mask):
    flat = np.concatenate([[0], mask.ravel(order='F'), [2]])
    edges = np.flatnonzero(np.diff(flat)).tolist()
    return {'size': list(mask.shape), 'counts': np.diff([0, *edges]).tolist()}


def write(root, truth, written):
    """Write pictures that hold ``written`` [(class, score, box)] and a truth of [(name, box)].

    Boxes are x1, y1, x2, y2 in tens of pixels.
    """
    (root / 'images').mkdir(parents=True)
    names = ['person', 'car', 'kite']
    images, annotations = [], []
    for number, (objects, shown) in enumerate(zip(truth, written, strict=True)):
        picture = picture_of([(label, score, *box) for label, score, box in shown])
        cv2.imwrite(str(root / 'images' / f'{number}.png'), picture[..., ::-1])
        images.append({'id': number, 'file_name': f'{number}.png', 'width': 320, 'height': 180})
        for name, box in objects:
            x1, y1, x2, y2 = (10 * side for side in box)
            annotations.append(
                {
                    'id': len(annotations),
                    'image_id': number,
                    'category_id': names.index(name),
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'segmentation': run_lengths(disc(x1, y1, x2, y2)),
                }
            )
    categories = [{'id': number, 'name': name} for number, name in enumerate(names)]
    parts = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'instances.json').write_text(json.dumps(parts))
    return root


LEFT, RIGHT, LOW = (2, 2, 8, 10), (20, 3, 28, 9), (10, 12, 20, 17)


@pytest.fixture
def data(tmp_path):
    """Three cars of which one is missed, a person found twice, an object of no known class."""
    truth = [[('car', LEFT), ('person', RIGHT)], [('car', LEFT), ('car', RIGHT), ('kite', LOW)]]
    written = [
        [(CAR, 250, LEFT), (PERSON, 240, RIGHT), (PERSON, 100, RIGHT)],
        [(CAR, 200, LEFT)],
    ]
    return write(tmp_path / 'data' / 'val', truth, written).parent


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_instances(tmp_path / 'tiny')


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = ['--provider', 'cpu', '--threads', '1']
    args = parser.parse_args(['evaluate', *options, *map(str, arguments)])
    return args.run(args)


def arguments(bundle, data, *more):
    wanted = ['--task', 'instance', '--model', bundle, '--dataset', 'coco']
    return [*wanted, '--root', data, '--split', 'val', *more]


def test_the_figures_are_coco_s(bundle, data, tmp_path, capsys):
    out = tmp_path / 'scores.json'
    assert run(*arguments(bundle, data, '--json', out, '--record', 'mine')) == 0
    report = json.loads(out.read_text())
    # Two of three cars, no false one: precision 1 up to recall 2/3, of 101 points 67.
    cars = 67 / 101
    assert report['per_class']['car'] == pytest.approx(
        {'box_ap': cars, 'mask_ap': cars, 'objects': 3}
    )
    # A second box on the person comes after the first: it costs nothing.
    assert report['per_class']['person']['box_ap'] == pytest.approx(1)
    assert report['box']['ap'] == report['mask']['ap50'] == pytest.approx((cars + 1) / 2)
    assert report['box']['recall'] == pytest.approx((2 / 3 + 1) / 2)
    assert report['box']['ap_large'] is None, 'no object is larger than 96x96'
    assert (report['images'], report['detections'], report['not_scored']) == (2, 4, ['kite'])
    assert (report['task'], report['model'], report['provider']) == ('instance', 'tiny', 'cpu')
    values = {m.name: m.value for m in Bundle.load(bundle).metrics}
    assert values == pytest.approx({'box_ap': (cars + 1) / 2, 'mask_ap': (cars + 1) / 2}, abs=1e-4)
    assert '--task instance' in Bundle.load(bundle).metrics[0].command
    assert 'no such class: kite' in capsys.readouterr().out


def test_categories_may_be_called_otherwise(bundle, data, tmp_path):
    out = tmp_path / 'scores.json'
    run(*arguments(bundle, data, '--json', out, '--categories', 'kite:sign'))
    report = json.loads(out.read_text())
    assert report['per_class']['sign'] == {'box_ap': 0, 'mask_ap': 0, 'objects': 1}


def test_regions_of_label_maps_are_objects_too(bundle, data, tmp_path):
    out, split = tmp_path / 'scores.json', data / 'val'
    (split / 'labels').mkdir()
    for number, boxes in enumerate(({8: LEFT, 9: RIGHT}, {8: LEFT, 10: RIGHT})):
        ids = np.full(SIZE, 3, np.uint8)
        for own, box in boxes.items():
            ids[disc(*(10 * side for side in box)) > 0] = own
        cv2.imwrite(str(split / 'labels' / f'{number}.png'), ids)
    options = ['--dataset', 'folder', '--categories', '8:car,10:car,9:person']
    assert run(*arguments(bundle, data, *options, '--json', out)) == 0
    report = json.loads(out.read_text())
    counts = {name: row['objects'] for name, row in report['per_class'].items()}
    assert counts == {'person': 0, 'car': 3}, 'nobody is wider than tall: a group'
    assert report['per_class']['car']['mask_ap'] == pytest.approx(67 / 101), 'one of three missed'
    for wrong, message in (('car:car', "'car' is no label id"), ('8:cab', "unknown class 'cab'")):
        with pytest.raises(DatasetError, match=message):
            run(*arguments(bundle, data, '--dataset', 'folder', '--categories', wrong))


def test_nothing_found_is_no_precision(bundle, tmp_path):
    root = write(tmp_path / 'data' / 'val', [[('car', LEFT)]], [[]]).parent
    out = tmp_path / 'scores.json'
    run(*arguments(bundle, root, '--json', out))
    assert json.loads(out.read_text())['box']['ap'] == 0


def test_nothing_to_find_is_an_error(bundle, tmp_path):
    root = write(tmp_path / 'data' / 'val', [[]], [[(CAR, 250, LEFT)]]).parent
    with pytest.raises(DatasetError, match='nothing to score'):
        run(*arguments(bundle, root))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'--dataset': 'camvid'}, 'does not go with --dataset camvid'),
        ({'--dataset': 'folder'}, 'label maps where --categories says'),
        ({'--task': 'semantic'}, 'does not go with --dataset coco'),
        ({'--tile': '64,8'}, 'no use for --tile'),
        ({'--instances': 'x'}, 'no use for --instances'),
        ({'--task': 'panoptic'}, 'needs --instances'),
        ({'--min-score': '2'}, r'0\.\.1'),
    ],
)
def test_options_that_do_not_go_together(bundle, data, changes, message):
    options = [part for pair in changes.items() for part in pair]
    with pytest.raises(ParameterError, match=message):
        run(*arguments(bundle, data), *options)


@dataclass
class Oracle:
    """Finds exactly what the truth says, as boxes and masks of a size."""

    data: CocoDataset
    side: int = 28
    last_timing: dict = field(default_factory=lambda: {'network': 0.0})
    provider: str = 'truth'

    @property
    def labels(self):
        return self.data.labels

    def segment(self, image, color='rgb'):
        index = next(k for k in range(len(self.data)) if np.array_equal(self.data.image(k), image))
        objects = self.data.objects(index)
        kept = np.flatnonzero(~objects.crowd)
        masks = np.zeros((len(kept), self.side, self.side), np.float32)
        for mask, k in zip(masks, kept, strict=True):
            x1, y1, x2, y2 = objects.boxes[k].astype(int)
            crop = objects.masks[k, y1:y2, x1:x2].astype(np.float32)
            cv2.resize(crop, (self.side, self.side), mask, interpolation=cv2.INTER_AREA)
        size = image.shape[1], image.shape[0]
        scores = np.full(len(kept), 0.9, np.float32)
        return Instances(
            objects.labels[kept].astype(np.int32), scores, objects.boxes[kept], masks, size
        )


def test_the_truth_of_a_rendered_street_scores_fully(rendered):
    found = evaluate_instances(Oracle(rendered), rendered)
    assert found.truth['car'] >= 2
    assert found.box.ap == pytest.approx(1)
    assert found.mask.ap50 == pytest.approx(1), 'what 28x28 cells can show of a mask'
    assert found.mask.ap > 0.7
    assert found.images == 2
