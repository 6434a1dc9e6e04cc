"""Truth from folders, topics and the simulator, and the scores that come of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import replay_bags as rb
from tiny_bundle import ROAD, write_tiny_bundle

from seg_perception.core.errors import DatasetError, ParameterError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.metrics import ConfusionMatrix
from seg_perception.replay.run import replay_bag
from seg_perception.replay.summary import check_gate, failed, parse_gate, summarize
from seg_perception.replay.truth import stamp_of
from seg_perception.ros.images import image_message


@pytest.mark.parametrize(
    ('stem', 'stamp'),
    [
        ('1700000000050000000', 1_700_000_000_050_000_000),
        ('1700000000.05', 1_700_000_000_050_000_000),
        ('1700000000_050000000', 1_700_000_000_050_000_000),
        ('000017', None),
        ('0001TP_006690', None),
    ],
)
def test_stamps_of_file_names(stem, stamp):
    assert stamp_of(stem) == stamp


def write_labels(folder, names, indices):
    folder.mkdir(parents=True)
    for name, index in zip(names, indices, strict=True):
        cv2.imwrite(str(folder / f'{name}.png'), rb.scene(index))
    return folder


def test_scores_are_those_of_the_same_masks_by_hand(tmp_path, tiny_model):
    """The truth of three frames of four, by stamp; one frame's truth is another's picture."""
    bag = rb.write(tmp_path / 'in', rb.drive(4))
    stamps = [rb.START_NS + i * rb.PERIOD_NS for i in (0, 1, 3)]
    truth = [0, 1, 30]
    folder = write_labels(tmp_path / 'truth', stamps, truth)
    options = rb.options(tiny_model, truth=(str(folder),))
    result = replay_bag(options, bag, tmp_path / 'out')
    assert result['frames']['with_truth'] == 3
    masks = rb.read(tmp_path / 'out/bag', '/segmentation_node/mask')
    matrix = ConfusionMatrix(3)
    for number, index in zip((0, 1, 3), truth, strict=True):
        mask = masks[number].data.reshape(masks[number].height, masks[number].width)
        size = (rb.WIDTH, rb.HEIGHT)
        matrix.update(
            rb.scene(index), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        )
    report = summarize([result])
    model = report['models'][0]
    assert model['confusion'] == matrix.counts.tolist()
    assert model['miou'] == pytest.approx(matrix.compute().miou)
    assert model['iou']['road'] == pytest.approx(matrix.compute().iou[ROAD])
    assert model['drivable_iou'] == pytest.approx(model['iou']['road'])
    assert [row.get('miou') is not None for row in model['timeline']] == [True, True, False, True]
    worst = [item for item in report['gallery'] if item['kind'] == 'worst']
    assert worst[0]['index'] == 3
    assert [p['title'] for p in worst[0]['panels']] == ['picture', 'truth', 'tiny', 'tiny: grid']


def test_labels_find_their_frames_by_number_and_by_order(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(3))
    numbered = write_labels(tmp_path / 'numbered/labels', ['000001'], [1])
    ordered = write_labels(tmp_path / 'ordered', ['a_9', 'a_10', 'a_11'], [0, 1, 2])
    for folder, count in ((numbered.parent, 1), (ordered, 3)):
        options = rb.options(tiny_model, truth=(str(folder),), temporal=False, overwrite=True)
        result = replay_bag(options, bag, tmp_path / 'out')
        assert result['frames']['with_truth'] == count
        assert summarize([result])['models'][0]['miou'] > 0.85
    (ordered / 'a_9.png').unlink()
    with pytest.raises(DatasetError, match='2 label maps for 3 frames'):
        replay_bag(options, bag, tmp_path / 'out')


def test_truth_in_the_bag_and_truth_that_never_fits(tmp_path, tiny_model):
    rows = rb.drive(3)
    for index in (0, 2):
        stamp = rb.START_NS + index * rb.PERIOD_NS
        mask = image_message(rb.scene(index), 'mono8', rb.header(stamp))
        late = image_message(rb.scene(index), 'mono8', rb.header(stamp + 10**12))
        rows += [('/truth', mask, stamp), ('/late', late, stamp)]
    bag = rb.write(tmp_path / 'in', rows)
    options = rb.options(tiny_model, truth=('topic:/truth',), temporal=False)
    assert replay_bag(options, bag, tmp_path / 'a')['frames']['with_truth'] == 2
    options = rb.options(tiny_model, truth=('topic:/late',), temporal=False)
    result = replay_bag(options, bag, tmp_path / 'b')
    assert result['frames']['with_truth'] == 0
    assert 'no frame has truth' in result['warnings'][0]
    options = rb.options(tiny_model, truth=('topic:/nope',))
    with pytest.raises(DatasetError, match='/nope is not in the bag'):
        replay_bag(options, bag, tmp_path / 'c')


def test_a_reference_model_stands_in_for_the_truth(tmp_path, tiny_model):
    """The same network at another size: it disagrees at the edges of things only."""
    other = write_tiny_bundle(tmp_path / 'large', size=(96, 160))
    bag = rb.write(tmp_path / 'in', rb.drive(3))
    options = rb.options(tiny_model, reference=str(other))
    result = replay_bag(options, bag, tmp_path / 'out')
    model = summarize([result])['models'][0]
    assert 0.9 < model['agreement'] < 1.0
    assert model['reference_miou'] > 0.8
    assert model['reference_ece'] == pytest.approx(1 - 0.8, abs=0.12)  # its confidence is ~0.8
    assert model['miou'] is None
    disputed = result['index'][1]['disagreement']
    assert disputed == pytest.approx(1 - result['models'][0]['rows'][1]['agreement'], abs=1e-5)
    assert {item['kind'] for item in result['gallery']} == {'best', 'worst', 'disagreement'}
    shown = next(item for item in result['gallery'] if item['kind'] == 'disagreement')
    full = tmp_path / f'out/worth_labelling/camera_{shown["stamp_ns"]}.png'
    expected = rb.picture(rb.scene(shown['index']), shown['index'])
    assert (cv2.imread(str(full))[..., ::-1] == expected).all()


def test_the_simulators_truth(tmp_path, tiny_model, monkeypatch):
    """A drive whose pictures are not rendered, which would take longer than all the rest."""
    from seg_perception.replay.simulated import record_drive
    from seg_perception.simulation import drive

    def frames(seed, count, rate, *, width, height, **_):
        scene = drive.scene_for(seed, count / rate)
        lens, place = drive.Lens(scene, width, height), drive.mounting(scene)
        for index in range(count):
            labels, base = rb.scene(index), drive.base_pose(scene, index / rate)
            camvid = np.array([1, 3, 0], np.uint8)[labels]  # building, road, sky
            yield drive.SimFrame(
                index=index,
                stamp=index / rate,
                image=rb.picture(labels, index),
                K=lens.K,
                D=lens.D,
                T_base_optical=place,
                T_odom_base=base,
                mask=camvid,
                instances=labels.astype(np.uint16),
                kinds=np.zeros_like(labels),
                depth=np.full(labels.shape, 8, np.float32),
                ground=labels == ROAD,
                scene=scene,
            )

    monkeypatch.setattr(drive, 'frames', frames)
    bag = record_drive(tmp_path / 'bag', frames=2, size='160x96')
    default = {'grid.resolution': 0.1, 'grid.x_max': 40.0}  # on which the truth is recorded
    options = rb.options(
        tiny_model, truth=('simulator',), truth_labels='camvid', parameters=default
    )
    result = replay_bag(options, bag, tmp_path / 'out')
    assert result['frames']['with_truth'] == 2
    assert not result['models'][0]['problems']
    model = summarize([result])['models'][0]
    assert model['iou']['road'] > 0.9  # of the three classes, the names they share
    assert model['iou']['sky'] > 0.9
    assert result['models'][0]['film']['map']  # odometry is known
    assert model['free_recall'] is not None
    assert 0.0 <= model['false_free_rate'] <= 1.0
    grids = rb.read(tmp_path / 'out/bag', '/segmentation_node/drivable_grid')
    assert {grid.header.frame_id for grid in grids} == {'odom'}
    place = rb.read(bag, '/tf_static')[0].transforms[0]
    assert place.transform.translation.z == pytest.approx(drive.scene_for(7, 1).camera.height)


def test_the_gate_holds_scores_from_both_sides(tmp_path, tiny_model):
    bag = rb.write(tmp_path / 'in', rb.drive(2))
    stamps = [rb.START_NS + i * rb.PERIOD_NS for i in range(2)]
    folder = write_labels(tmp_path / 'truth', stamps, [0, 1])
    result = replay_bag(rb.options(tiny_model, truth=(str(folder),)), bag, tmp_path / 'out')
    report = summarize([result])
    assert failed(report, parse_gate('miou=0.8, road=0.8,flicker=0.5')) == []
    wrong = failed(report, parse_gate('miou=0.9999,road=0.5,ece=0.001'))
    assert len(wrong) == 2
    assert 'miou' in wrong[0]
    assert 'is above 0.001' in wrong[1]
    assert 'not measured' in failed(report, parse_gate('agreement=0.5'))[0]
    labels = LabelSet.from_dict(result['models'][0]['tally']['label_set'])
    check_gate(parse_gate('miou=1,road=1,ap=0.3'), labels)
    with pytest.raises(ParameterError, match="no class 'raod'"):
        check_gate(parse_gate('raod=0.9'), labels)
    with pytest.raises(ParameterError, match='name=number'):
        parse_gate('miou:0.6')


def test_finer_classes_of_a_model_are_scored_as_what_the_truth_knows():
    from seg_perception.replay.truth import class_table, prediction_table

    camvid, cityscapes = LabelSet.named('camvid'), LabelSet.named('cityscapes')
    table = prediction_table(camvid, cityscapes)
    names = [cityscapes.names[table[i]] for i in range(len(cityscapes))]
    assert names[cityscapes.index('truck')] == 'car'
    assert names[cityscapes.index('road')] == 'road'
    assert (prediction_table(camvid, camvid) == np.arange(256)).all()
    assert cityscapes.names[class_table(camvid, cityscapes)[camvid.index('car')]] == 'car'
    with pytest.raises(DatasetError, match='no class name in common'):
        class_table(LabelSet.named('coco'), LabelSet.from_dict({'name': 'x', 'classes': [
            {'id': 0, 'name': 'gravel', 'color': [0, 0, 0], 'role': 'drivable'}]}))  # fmt: skip


def test_flicker_is_a_mask_that_changes_and_not_a_picture_that_moves():
    from seg_perception.evaluation.temporal import FlickerCounts, Motion, small_grey

    rng = np.random.default_rng(1)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (120, 260), dtype=np.uint8), (0, 0), 3)
    before, now = (np.dstack([texture[:, i : i + 200]] * 3) for i in (0, 6))
    labels = (np.arange(260)[None] // 20 % 3).astype(np.uint8).repeat(120, 0)
    motion = Motion.between(small_grey(before, 'rgb'), small_grey(now, 'rgb'))
    counts = FlickerCounts(3)
    moved = counts.update(motion.carry(labels[:, :200]), labels[:, 6:206])
    assert moved < 0.02
    changed = labels[:, 6:206].copy()
    changed[:60] = (changed[:60] + 1) % 3
    assert FlickerCounts(3).update(motion.carry(labels[:, :200]), changed) == pytest.approx(
        0.5, abs=0.05
    )
    assert counts.compute()[2] == pytest.approx(moved)


def test_reliability_counts_by_hand():
    from seg_perception.evaluation.calibration import ReliabilityCounts

    counts = ReliabilityCounts()
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 1, 1, 0]], np.uint8)
    confidence = np.array([[255, 255, 51, 51, 0]], np.uint8)
    counts.update(truth, labels, confidence)
    # Sure of two, one right; 20 % sure of two, both right.
    assert counts.expected_error() == pytest.approx(0.5 * 0.5 + 0.5 * 0.8)
    assert [bin_['pixels'] for bin_ in counts.bins(10)] == [2, 2]
