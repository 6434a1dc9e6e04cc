"""The sheets of pictures that a model does worst on."""

import cv2
import numpy as np
import pytest
from tiny_bundle import ROAD, SKY, WALL, write_tiny_bundle

from seg_perception.core.errors import DatasetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import Instances
from seg_perception.evaluation.dataset import FolderDataset
from seg_perception.evaluation.failures import mask_sheet, object_sheet, worst
from seg_perception.evaluation.instances import evaluate_instances
from seg_perception.evaluation.semantic import evaluate
from seg_perception.evaluation.sheet import Row, draw_sheet, save_sheet
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.semantic import SemanticSegmenter

SIZE = (80, 160)
RED = (220, 30, 40)
LINE = 22  # pixels of a caption


def test_the_worst_come_first_and_what_has_no_score_never():
    scores = {0: 0.5, 1: float('nan'), 2: 0.1, 3: 0.5, 4: 0.9}
    assert worst(scores, 3) == [2, 0, 3]
    assert worst(scores, 9) == [2, 0, 3, 4]


def test_neighbours_of_a_video_are_shown_once():
    scores = dict.fromkeys(range(80), 0.5) | {40: 0.1, 41: 0.2, 43: 0.2, 45: 0.3, 7: 0.4}
    assert worst(scores, 4) == [40, 45, 7, 0]
    assert worst({index: float('nan') for index in range(80)}, 4) == []


@pytest.fixture
def data(tmp_path):
    """Three pictures that the tiny model gets right; truth is another in a corner of the last."""
    folder = tmp_path / 'val'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        truth = np.full(SIZE, ROAD, np.uint8)
        truth[:40] = SKY
        image = np.zeros((*SIZE, 3), np.uint8)
        for label, channel in ((WALL, 2), (ROAD, 1), (SKY, 0)):
            image[..., channel][truth == label] = 200
        if number == 1:
            truth[:] = 255
        if number == 2:
            truth[40:, :80] = WALL
            truth[:40, 80:] = 255
        cv2.imwrite(str(folder / 'images' / f'{number}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{number}.png'), truth)
    return FolderDataset(folder, 3)


@pytest.fixture
def segmenter(tmp_path):
    bundle = Bundle.load(write_tiny_bundle(tmp_path / 'tiny', size=SIZE))
    return SemanticSegmenter(bundle, 'cpu')


def panels(sheet, columns, rows, height):
    """Cut a sheet into its panels, 320 wide and 4 apart."""
    found = []
    for row in range(rows):
        top = 2 * LINE + row * (height + LINE)
        found.append([sheet[top : top + height, i * 324 : i * 324 + 320] for i in range(columns)])
    return found


def test_what_is_wrong_is_red_and_void_is_not(data, segmenter):
    scores = evaluate(segmenter, data).per_picture
    assert scores[0] == 1
    assert np.isnan(scores[1])
    assert scores[2] == pytest.approx((1 + 1 / 2 + 0) / 3)
    sheet = mask_sheet(segmenter, data, None, scores, 5)
    height = 160  # 320 wide, of 160 x 80 pictures
    # A line of titles, two rows, a line of legend: the picture that is all void is not shown.
    assert sheet.shape == (2 * LINE + 2 * (height + LINE) - LINE + LINE, 4 * 324 - 4, 3)
    first, second = panels(sheet, 4, 2, height)
    red = (first[3] == RED).all(-1)
    wanted = np.zeros((height, 320), bool)
    wanted[80:, :160] = True
    # Enlarging mixes colours along the edge.
    assert (red != wanted)[:, :150].sum() <= 2 * 320
    assert not red[:70].any(), 'void is never wrong'
    assert not (second[3] == RED).all(-1).any()
    palette = segmenter.labels.palette()
    photo, truth, found, _ = first
    assert photo[20, 20].tolist() == [0, 0, 200]
    assert np.abs(truth[120, 40] - (0.4 * photo[120, 40] + 0.6 * palette[WALL])).max() <= 1.5
    assert np.abs(found[120, 40] - (0.4 * photo[120, 40] + 0.6 * palette[ROAD])).max() <= 1.5
    assert np.array_equal(truth[20, 240], photo[20, 240]), 'void stays as it is'


def test_a_model_of_other_classes_is_drawn_in_those_of_the_data(data, segmenter):
    from seg_perception.evaluation.mapping import ClassMap

    table = np.full((1, 256), 255, np.uint8)
    table[0, [WALL, ROAD, SKY]] = SKY, ROAD, WALL
    swapped = ClassMap(segmenter.labels, table, {})
    scores = evaluate(segmenter, data, swapped).per_picture
    assert scores[0] == pytest.approx(1 / 2), 'sky is called wall, road remains'
    shown = mask_sheet(segmenter, data, swapped, {0: scores[0]}, 1)
    (row,) = panels(shown, 4, 1, 160)
    assert (row[3][:70] == RED).all()
    assert not (row[3][90:] == RED).all(-1).any()


class Finder:
    """Finds every true object of every second picture, and in the others nothing."""

    provider = 'cpu'

    def __init__(self, data, perfect):
        self.labels, self.data, self.perfect = data.labels, data, perfect
        self.last_timing = {'network': 0.0}

    def segment(self, image, color='rgb'):
        index = next(i for i in range(len(self.data)) if (self.data.image(i) == image).all())
        objects = self.data.objects(index)
        keep = np.flatnonzero(~objects.crowd) if index == self.perfect else np.arange(0)
        masks = []
        for box, mask in zip(objects.boxes[keep], objects.masks[keep], strict=True):
            x1, y1, x2, y2 = np.round(box).astype(int)
            part = mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].astype(np.float32)
            masks.append(cv2.resize(part, (28, 28)))
        return Instances(
            objects.labels[keep].astype(np.int32),
            np.full(len(keep), 0.9, np.float32),
            objects.boxes[keep],
            np.array(masks, np.float32).reshape(-1, 28, 28),
            (image.shape[1], image.shape[0]),
        )


def test_objects_that_were_not_found(rendered):
    pytest.importorskip('pycocotools', reason='needs pycocotools: see requirements/test.txt')
    finder = Finder(rendered, perfect=0)
    evaluation = evaluate_instances(finder, rendered)
    alone = evaluation.entries.by_picture()
    assert sum(len(part.truth) for part in alone) == len(evaluation.entries.truth)
    names = LabelSet.named('street_objects').names
    assert alone[0].precision('segm', names).ap > 0.3
    assert alone[1].precision('segm', names).ap == 0
    sheet = object_sheet(finder, rendered, evaluation.entries, 2)
    height = round(192 * 320 / 320)
    (missed, found) = panels(sheet, 3, 2, height)
    assert np.array_equal(missed[0], rendered.image(1)), 'the worst is the first'
    assert np.array_equal(missed[2], missed[0]), 'nothing was found on it'
    assert not np.array_equal(missed[1], missed[0])
    assert np.array_equal(found[0], rendered.image(0))
    assert not np.array_equal(found[2], found[0])


def test_a_legend_takes_the_lines_it_needs():
    row = Row('x', [np.zeros((10, 32, 3), np.uint8)])
    names = [(f'a class of {n}', np.array((n, 0, 0))) for n in range(9)]
    heights = [draw_sheet(['a'], [row], names[:n]).shape[0] for n in (0, 1, 9)]
    assert heights[1] - heights[0] == LINE
    assert heights[2] - heights[0] >= 3 * LINE


@pytest.mark.parametrize('suffix', ['.png', '.JPG'])
def test_a_sheet_is_written_whole(tmp_path, suffix):
    path = tmp_path / 'deep' / f'sheet{suffix}'
    sheet = np.full((20, 30, 3), (200, 20, 20), np.uint8)
    save_sheet(path, sheet)
    back = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert np.abs(back.astype(int) - sheet).max() <= 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_sheet_that_cannot_be_written(tmp_path):
    with pytest.raises(DatasetError, match=r'\.jpg, \.jpeg, \.png'):
        save_sheet(tmp_path / 'sheet.gif', np.zeros((2, 2, 3), np.uint8))
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match='cannot write'):
        save_sheet(tmp_path / 'file' / 'sheet.png', np.zeros((2, 2, 3), np.uint8))
