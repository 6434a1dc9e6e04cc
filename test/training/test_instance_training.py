"""Mask R-CNN in the common loop: targets, resuming, and from configuration to scored bundle."""

import argparse
import dataclasses
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
for module in ('albumentations', 'pycocotools', 'segmentation_models_pytorch'):
    pytest.importorskip(module, reason='see requirements/train.txt')

from tiny_maskrcnn import NAME, OPTIONS, seeing_network  # noqa: E402

from seg_perception.core.errors import DatasetError, ExportError, TrainingError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.evaluation.coco import CocoDataset  # noqa: E402
from seg_perception.evaluation.commands import add_commands as add_evaluate  # noqa: E402
from seg_perception.runtime.bundle import Bundle  # noqa: E402
from seg_perception.training.checkpoint import save_checkpoint  # noqa: E402
from seg_perception.training.commands import add_commands  # noqa: E402
from seg_perception.training.config import TrainingConfig  # noqa: E402
from seg_perception.training.instance_trainer import (  # noqa: E402
    GREY,
    InstanceTrainer,
    boxes_around,
    without_groups,
)
from seg_perception.training.trainer import CHECKPOINT, LOG  # noqa: E402
from seg_perception.zoo.registry import build  # noqa: E402

SIZE = (96, 128)
TERMS = {'weights': 'test', 'data': 'none'}


def write_cars(root, count=4, suffix='png'):
    """Write grey pictures, each with a red car and a group far away, and their COCO file."""
    rng = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        x, y = (int(value) for value in rng.integers(8, 50, 2))
        picture = rng.normal(110, 9, (*SIZE, 3)).clip(0, 255).astype(np.uint8)
        picture[y : y + 30, x : x + 44] = (40, 40, 200)
        cv2.imwrite(str(root / 'images' / f'{number}.{suffix}'), picture)
        images.append(
            {'id': number, 'file_name': f'{number}.{suffix}', 'width': SIZE[1], 'height': SIZE[0]}
        )
        for box, crowd in (([x, y, 44, 30], 0), ([0, 0, 128, 6], 1)):
            left, top, right, low = box[0], box[1], box[0] + box[2], box[1] + box[3]
            outline = [left, top, right, top, right, low, left, low]
            annotation = {
                'id': len(annotations),
                'image_id': number,
                'category_id': 3,
                'bbox': box,
            }
            annotations.append(annotation | {'segmentation': [outline], 'iscrowd': crowd})
    categories = [{'id': 3, 'name': 'car'}]
    parts = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'instances.json').write_text(json.dumps(parts))
    return root


@pytest.fixture
def cars(tmp_path):
    return write_cars(tmp_path / 'cars')


def values(cars, **changes):
    return {
        'name': 'test',
        'architecture': NAME,
        'labels': 'street_objects',
        'data': [{'root': str(cars), 'share': 1.0}],
        'options': {**OPTIONS, 'min_size': 48, 'max_size': 96},
        'crop': [64, 96],
        'scale': [0.9, 1.2],
        'batch': 2,
        'steps': 4,
        'warmup': 1,
        'workers': 0,
        'precision': 'fp32',
        'checkpoint_every': 2,
        'tensorboard': False,
        'licence': TERMS,
        **changes,
    }


def trainer(cars, folder, **changes):
    return InstanceTrainer(TrainingConfig.from_dict(values(cars, **changes)), folder)


def losses_of(folder):
    return [json.loads(line)['loss'] for line in (folder / LOG).read_text().splitlines()]


def test_targets_follow_the_crop(cars, tmp_path):
    colours = ('colour', 'gamma', 'rgb_shift', 'grey', 'blur', 'noise', 'jpeg')
    still = dict.fromkeys(colours, 0)
    stream = trainer(cars, tmp_path, steps=8, augmentation=still)._stream()
    shown = 0
    for item in range(len(stream)):
        image, target = stream[item]
        assert image.shape == (3, 64, 96)
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert len(target['boxes']) <= 1, 'the group is nothing to find'
        assert target['masks'].shape[1:] == (64, 96)
        for box, mask in zip(target['boxes'], target['masks'], strict=True):
            shown += 1
            assert target['labels'].tolist() == [3], 'car, behind background'
            red, green, _ = image[:, mask > 0].mean(1)
            assert red > 0.6 > 0.3 > green, 'the mask moves with the picture'
            rows, columns = torch.nonzero(mask, as_tuple=True)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [float(edge) for edge in edges]
    assert shown >= 8


def test_groups_are_painted_over(cars):
    data = CocoDataset(cars, LabelSet.named('street_objects'))
    image, objects = data.image(0), data.objects(0)
    shown = without_groups(image, objects)
    assert objects.crowd.tolist() == [False, True]
    assert (shown[:6] == GREY).all()
    assert np.array_equal(shown[6:], image[6:])
    assert not (image[:6] == GREY).all(), 'the picture itself stays'
    alone = dataclasses.replace(objects, crowd=np.array([False, False]))
    assert without_groups(image, alone) is image


def test_pictures_without_objects_teach_too(cars, tmp_path):
    document = json.loads((cars / 'instances.json').read_text())
    document['annotations'] = document['annotations'][:2]
    (cars / 'instances.json').write_text(json.dumps(document))
    run = trainer(cars, tmp_path, steps=8)
    targets = [target for _, target in run._stream()]
    assert sum(len(target['labels']) for target in targets) < len(targets) / 2
    assert all(target['masks'].shape[1:] == (64, 96) for target in targets)
    assert all(target['boxes'].shape[1:] == (4,) for target in targets)
    run.fit()
    assert run.step == 8


def test_boxes_around_masks():
    masks = np.zeros((2, 10, 12), bool)
    masks[0, 2:5, 3:9] = masks[1, 9, 11] = True
    assert boxes_around(masks).tolist() == [[3, 2, 9, 5], [11, 9, 12, 10]]
    assert boxes_around(masks[:0]).shape == (0, 4)


def test_a_resumed_run_ends_where_an_unbroken_one_does(cars, tmp_path):
    unbroken = trainer(cars, tmp_path / 'a')
    unbroken.fit()
    first = trainer(cars, tmp_path / 'b', steps=4)
    train_step = first._train_step

    class KilledError(Exception):
        pass

    def until_killed(*batch):
        if first.step == 3:
            raise KilledError
        return train_step(*batch)

    first._train_step = until_killed
    with pytest.raises(KilledError):
        first.fit()
    second = trainer(cars, tmp_path / 'b')
    assert second.resume()
    assert second.step == 2
    second.fit()
    assert losses_of(tmp_path / 'b') == pytest.approx(losses_of(tmp_path / 'a'), rel=1e-3)


def test_norms_keep_the_statistics_they_came_with(cars, tmp_path):
    first = trainer(cars, tmp_path / 'a', steps=1)
    first.fit()
    norms = [key for key in first.model.state_dict() if key.endswith('running_mean')]
    changed = {**values(cars, steps=1), 'initial': str(tmp_path / 'a' / CHECKPOINT)}
    second = InstanceTrainer(TrainingConfig.from_dict(changed), tmp_path / 'b')
    before = {key: second.model.state_dict()[key].clone() for key in norms}
    weight = second.model.rpn.head.cls_logits.weight.clone()
    second.fit()
    assert norms
    assert all(torch.equal(second.model.state_dict()[key], before[key]) for key in norms)
    assert not torch.equal(second.model.rpn.head.cls_logits.weight, weight)


def test_label_maps_join_as_regions(cars, tmp_path):
    (cars / 'labels').mkdir()
    for path in sorted((cars / 'images').iterdir()):
        red = cv2.imread(str(path))[..., 2] > 150
        cv2.imwrite(str(cars / 'labels' / path.name), np.where(red, 8, 3).astype(np.uint8))
    entry = {'root': str(cars), 'share': 1.0, 'kind': 'folder', 'classes': {8: 'car'}}
    run = trainer(cars, tmp_path, data=[entry])
    run.fit()
    assert run.step == 4
    draws = trainer(cars, tmp_path / 'again', data=[entry])._stream()
    assert draws[0][1]['labels'].tolist() == [3], 'a car, without a COCO file'


def test_the_encoder_of_a_semantic_run_is_taken_over(cars, tmp_path):
    semantic = {
        'name': 'semantic',
        'architecture': 'deeplabv3plus_mobilenetv2',
        'labels': 'camvid',
        'data': [{'root': 'x', 'share': 1}],
    }
    network = build('deeplabv3plus_mobilenetv2', 11)
    state = {'config': TrainingConfig.from_dict(semantic).to_dict(), 'step': 1}
    path = tmp_path / 'semantic.pt'
    save_checkpoint(path, {**state, 'average': network.state_dict()})
    body = trainer(cars, tmp_path, encoder_weights=str(path)).model.backbone.body
    assert torch.equal(body['0'][0].weight, network.encoder.features[0][0].weight)
    assert torch.equal(body['18'][1].running_var, network.encoder.features[18][1].running_var)
    with pytest.raises(TrainingError, match=r'nothing\.pt'):
        trainer(cars, tmp_path, encoder_weights=str(tmp_path / 'nothing.pt'))
    other = build('fastscnn', 11)
    state['config'] = {**state['config'], 'architecture': 'fastscnn'}
    save_checkpoint(path, {**state, 'average': other.state_dict()})
    with pytest.raises(TrainingError, match='fastscnn: FastSCNN has no attribute'):
        trainer(cars, tmp_path, encoder_weights=str(path))


def test_what_cannot_be_trained(cars, tmp_path):
    with pytest.raises(TrainingError, match='loss is for label maps'):
        trainer(cars, tmp_path, loss={'dice': 1.0})
    with pytest.raises(TrainingError, match="this trains 'instance'"):
        trainer(cars, tmp_path, architecture='fastscnn', options={})
    with pytest.raises(DatasetError, match='no COCO instances'):
        trainer(tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DatasetError, match='car'):
        trainer(cars, tmp_path, data=[{'root': str(cars), 'share': 1, 'classes': {'car': 'cab'}}])
    (cars / 'images' / '2.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=r'2\.png cannot be read'):
        trainer(cars, tmp_path / 'run').fit()


def run(*arguments):
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    add_commands(subparsers)
    add_evaluate(subparsers)
    args = parser.parse_args([str(argument) for argument in arguments])
    return args.run(args)


def test_train_command_scores_while_it_trains(cars, tmp_path, capsys):
    config = tmp_path / 'config.yaml'
    config.write_text(json.dumps(values(cars, steps=2, validation=str(cars))))
    assert run('train', '--config', config, '--output', tmp_path / 'run', '--threads', 1) == 0
    record = json.loads((tmp_path / 'run' / LOG).read_text().splitlines()[-1])
    assert 0 <= record['box_ap'] <= 1
    assert 0 <= record['mask_ap'] <= 1


def test_objects_are_counted_before_they_are_learnt(cars, tmp_path, capsys):
    config = tmp_path / 'config.yaml'
    config.write_text(json.dumps(values(cars)))
    assert run('train', '--config', config, '--check') == 0
    assert '4 pictures; car 4, 4 groups and the like left out' in capsys.readouterr().out
    (cars / 'images' / '2.png').write_bytes(b'')
    assert run('train', '--config', config, '--check') == 1
    said = capsys.readouterr().out
    assert '3 pictures; car 3' in said
    assert '2.png cannot be read' in said


def test_from_a_checkpoint_to_a_scored_bundle(cars, tmp_path):
    checkpoint, bundle = tmp_path / 'checkpoint.pt', tmp_path / 'models' / 'mine'
    network = seeing_network(6)
    config = TrainingConfig.from_dict(values(cars, default_size=[96, 128], options=OPTIONS))
    parts = {'config': config.to_dict(), 'step': 1, 'average': network.state_dict()}
    save_checkpoint(checkpoint, parts)
    export = ['export', '--checkpoint', checkpoint, '--output', bundle]
    with pytest.raises(ExportError, match='--pictures'):
        run(*export)
    with pytest.raises(ExportError, match='leave out --size, --precision int8'):
        run(*export, '--pictures', cars / 'images', '--size', '96x128', '--precision', 'int8')
    assert not bundle.exists()
    assert run(*export, '--pictures', cars / 'images') == 0
    loaded = Bundle.load(bundle)
    assert (loaded.task, loaded.labels.name, loaded.input.resize) == (
        *('instance', 'street_objects', 'none'),
    )
    reports = []
    for model, provider in ((bundle, 'cpu'), (checkpoint, 'auto')):
        out = tmp_path / f'{provider}.json'
        wanted = ['--task', 'instance', '--dataset', 'coco', '--provider', provider]
        wanted += ['--root', cars, '--split', '.', '--threads', 1, '--json', out]
        assert run('evaluate', '--model', model, *wanted) == 0
        reports.append(json.loads(out.read_text()))
    of_bundle, of_torch = reports
    assert [report['provider'] for report in reports] == ['cpu', 'torch cpu']
    assert of_bundle['detections'] == of_torch['detections'] > 4
    for kind in ('box', 'mask'):
        assert of_bundle[kind]['ap'] == pytest.approx(of_torch[kind]['ap'], abs=1e-3)
