import dataclasses
import json

import pytest
import yaml

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import DatasetError, SegPerceptionError, TrainingError  # noqa: E402
from seg_perception.training.checkpoint import (  # noqa: E402
    load_checkpoint,
    load_network,
    save_checkpoint,
)
from seg_perception.training.class_weights import count_pixels  # noqa: E402
from seg_perception.training.config import TrainingConfig  # noqa: E402
from seg_perception.training.trainer import CHECKPOINT, LOG, Trainer  # noqa: E402

LITE = 'deeplabv3plus_efficientnet_lite1'


def config(street, **changes):
    return TrainingConfig.from_dict(
        {
            'name': 'test',
            'architecture': 'deeplabv3plus_mobilenetv2',
            'labels': 'camvid',
            'data': [{'root': str(street), 'share': 1.0}],
            'crop': [64, 64],
            'batch': 2,
            'steps': 4,
            'warmup': 1,
            'precision': 'fp32',
            'options': {'decoder_channels': 32},
            'loss': {'cross_entropy': 1.0, 'dice': 0.5},
            'class_weight_exponent': 0.3,
            'checkpoint_every': 2,
            'workers': 0,
            'tensorboard': False,
            **changes,
        }
    )


def losses_of(folder):
    return [json.loads(line)['loss'] for line in (folder / LOG).read_text().splitlines()]


def test_a_run_learns_and_its_checkpoint_gives_the_averaged_network(street, tmp_path):
    run = tmp_path / 'run'
    wanted = config(street, steps=12, learning_rate=3e-3, validation=str(street), ema=0.5)
    trainer = Trainer(wanted, run)
    trainer.fit()
    record = json.loads((run / LOG).read_text().splitlines()[-1])
    assert losses_of(run)[-1] < 0.85 * losses_of(run)[0]
    assert set(record['iou']) == set(trainer.labels.names)
    model, loaded, step = load_network(run / CHECKPOINT)
    assert (loaded, step) == (wanted, 12)
    assert not model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, trainer.average[key])


def test_a_resumed_run_ends_where_an_unbroken_one_does(street, tmp_path):
    unbroken = Trainer(config(street), tmp_path / 'a')
    unbroken.fit()

    class KilledError(Exception):
        pass

    first = Trainer(config(street), tmp_path / 'b')
    train_step = first._train_step

    def until_killed(*batch):
        if first.step == 3:  # after the checkpoint of step 2
            raise KilledError
        return train_step(*batch)

    first._train_step = until_killed
    with pytest.raises(KilledError):
        first.fit()
    second = Trainer(config(street), tmp_path / 'b')
    assert second.resume()
    assert second.step == 2
    second.fit()
    assert losses_of(tmp_path / 'b') == pytest.approx(losses_of(tmp_path / 'a'), rel=1e-3)


def test_a_fixed_seed_gives_the_same_loss_curve(street, tmp_path):
    curves = []
    for run, seed in (('a', 5), ('b', 5), ('c', 6)):
        wanted = config(
            street,
            architecture='fastscnn',
            options={},
            seed=seed,
            steps=3,
            checkpoint_every=1,
        )
        Trainer(wanted, tmp_path / run).fit()
        curves.append(losses_of(tmp_path / run))
    assert curves[0] == curves[1] != curves[2]


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_precision_trains_and_resumes(street, tmp_path, precision):
    wanted = config(street, architecture='fastscnn', options={}, precision=precision, steps=2)
    trainer = Trainer(wanted, tmp_path)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.fit()
    again = Trainer(dataclasses.replace(wanted, steps=3), tmp_path)
    assert again.resume()
    assert again.scaler.is_enabled() == (precision == 'fp16')
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    again.fit()
    assert again.step == 3
    after = again.model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(next(iter(after.values())), next(iter(before.values())))


def test_curves_for_tensorboard(street, tmp_path):
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    wanted = config(street, architecture='fastscnn', options={}, validation=str(street))
    Trainer(dataclasses.replace(wanted, tensorboard=True), tmp_path).fit()
    curves = events.EventAccumulator(str(tmp_path / 'tensorboard')).Reload()
    assert [point.step for point in curves.Scalars('loss')] == [2, 4]
    assert [p.value for p in curves.Scalars('loss')] == pytest.approx(losses_of(tmp_path))
    assert {'rate', 'miou', 'iou/road'} <= set(curves.Tags()['scalars'])


def test_a_full_disk_is_named_and_leaves_the_checkpoint_of_before(street, tmp_path):
    resource = pytest.importorskip('resource', reason='needs POSIX limits')
    trainer = Trainer(config(street), tmp_path)
    trainer.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Python ignores SIGXFSZ: writing on fails, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(TrainingError, match=r'checkpoint\.partial.*still there'):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob('*.partial'))


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(street, tmp_path):
    trainer = Trainer(config(street, architecture='fastscnn', options={}), tmp_path)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float('nan'))
    with pytest.raises(TrainingError, match='lower learning_rate'):
        trainer.fit()
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_run_may_start_from_one_of_other_classes(street, tmp_path):
    plain = {'architecture': 'fastscnn', 'options': {}, 'class_weight_exponent': 0.0}
    first = Trainer(config(street, **plain), tmp_path / 'camvid')
    first.save()
    path = str(tmp_path / 'camvid' / CHECKPOINT)
    wanted = config(street, **plain, labels='cityscapes', initial=path)
    second = Trainer(wanted, tmp_path / 'cityscapes')
    theirs, ours = first.model.state_dict(), second.model.state_dict()
    differ = {key for key in theirs if theirs[key].shape != ours[key].shape}
    assert 1 <= len(differ) <= 2, 'the classifier'
    assert all(torch.equal(ours[key], theirs[key]) for key in set(theirs) - differ)
    with pytest.raises(TrainingError, match='does not fit'):
        Trainer(config(street, initial=path), tmp_path / 'other')


def test_validation_in_a_published_layout(street, tmp_path):
    (street / 'images').rename(street / 'val')
    (street / 'labels').rename(street / 'valannot')
    entry = {'root': str(street), 'kind': 'camvid', 'split': 'val'}
    wanted = config(
        street,
        architecture='fastscnn',
        options={},
        data=[{**entry, 'share': 1.0}],
        validation=entry,
        patch={'size': [80, 100], 'foreground': ['road'], 'share': 0.2},
        steps=1,
    )
    Trainer(wanted, tmp_path).fit()
    assert 'miou' in json.loads((tmp_path / LOG).read_text())


def test_frozen_layers_stay_as_they_were(street, tmp_path):
    trainer = Trainer(config(street, steps=1, freeze=['encoder.features.0']), tmp_path)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.fit()
    after = trainer.model.state_dict()
    for key, value in before.items():
        assert torch.equal(after[key], value) == key.startswith('encoder.features.0.'), key


def test_loader_workers_give_the_same_crops(street, tmp_path):
    batches = []
    for workers in (0, 1):
        trainer = Trainer(config(street, workers=workers, steps=1), tmp_path)
        count_pixels(trainer.sources[0].data)  # OpenCV's threads have run, as in a real run
        batches.append(next(iter(trainer._loader()))[0])
    assert torch.equal(*batches)


def test_a_checkpoint_of_another_network_is_refused(street, tmp_path):
    Trainer(config(street), tmp_path).save()
    with pytest.raises(TrainingError, match='does not fit'):
        Trainer(config(street, options={'decoder_channels': 16}), tmp_path).resume()
    state = load_checkpoint(tmp_path / CHECKPOINT)
    state['config']['architecture'] = 'unet'
    save_checkpoint(tmp_path / CHECKPOINT, state)
    with pytest.raises(TrainingError, match='holds a unet'):
        Trainer(config(street), tmp_path).resume()


def test_a_damaged_checkpoint_is_named(street, tmp_path):
    Trainer(config(street), tmp_path).save()
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match='cannot be read as a checkpoint'):
        load_network(path)
    with pytest.raises(TrainingError, match='does not exist'):
        load_network(tmp_path / 'none.pt')


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / CHECKPOINT
    torch.save({'version': 1, 'config': TrainingConfig}, path)
    with pytest.raises(TrainingError):
        load_checkpoint(path)


def test_the_learning_rate_rises_and_falls_to_nothing(street, tmp_path):
    for schedule in ('poly', 'cosine'):
        trainer = Trainer(config(street, steps=100, warmup=10, schedule=schedule), tmp_path)
        rates = [trainer.rate(step) for step in range(100)]
        assert rates[0] == pytest.approx(0.1)
        assert max(rates) == pytest.approx(1)
        assert rates[9:] == sorted(rates[9:], reverse=True)
        assert 0 < rates[-1] < 0.02


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'step': 3}, 'step'),
        ({'steps': 0}, 'steps'),
        ({'precision': 'fp64'}, 'fp64'),
        ({'schedule': 'step'}, 'poly'),
        ({'loss': {'hinge': 1.0}}, 'focal, ohem'),
        ({'loss': {}}, 'at least one'),
        ({'loss': {'dice': -1}}, '> 0'),
        ({'loss': {'dice': 'much'}}, '> 0'),
        ({'focal_gamma': -1}, 'focal_gamma'),
        ({'ohem_threshold': 2}, 'ohem_threshold'),
        ({'ohem_share': 0}, 'ohem_share'),
        ({'class_weights': 'log'}, 'inverse, median'),
        ({'class_weight_exponent': -1}, 'class_weight_exponent'),
        ({'crop': 64}, 'crop'),
        ({'scale': [2.0, 0.5]}, 'scale'),
        ({'data': []}, 'no folder'),
        ({'data': [{'root': 'x'}]}, 'root, share'),
        ({'licence': {'code': 'MIT'}}, 'licence'),
        ({'augmentation': {'rain': 1}}, 'rain'),
        ({'patch': {'size': [8, 8]}}, 'patch is'),
        ({'patch': {'size': 8, 'foreground': [], 'share': 0}}, 'height, width'),
        ({'patch': {'size': [8, 8], 'foreground': [], 'share': 2}}, 'share must be'),
        ({'data': [{'root': 'x', 'share': 1, 'kind': 'kitti'}]}, 'kind must be'),
    ],
)
def test_a_configuration_that_makes_no_sense(street, changes, message):
    with pytest.raises(TrainingError, match=message):
        config(street, **changes)


@pytest.mark.parametrize(
    'changes',
    [
        {'architecture': 'unknown'},
        {'labels': 'unknown'},
        {'encoder_weights': 'unknown'},
        {'freeze': ['encoder.unknown']},
        {'data': [{'root': 'nowhere', 'share': 1}]},
    ],
)
def test_what_a_configuration_names_must_be_there(street, tmp_path, changes):
    with pytest.raises(SegPerceptionError, match=r'unknown|nowhere'):
        Trainer(config(street, **changes), tmp_path)


def test_instance_networks_are_refused(street, tmp_path):
    with pytest.raises(TrainingError, match="this trains 'semantic' ones"):
        Trainer(config(street, architecture='maskrcnn_mobilenetv2_fpn'), tmp_path)


def test_encoder_weights_of_another_network_are_refused(street, tmp_path):
    wanted = config(street, architecture='fastscnn', options={})
    for name, changes in (
        ('none', {'encoder_weights': 'imagenet-mobilenet-v2'}),
        ('lite1', {'encoder_weights': 'imagenet-mobilenet-v2', 'architecture': LITE}),
    ):
        with pytest.raises(TrainingError, match=f'known to fit: .*{name}'):
            Trainer(dataclasses.replace(wanted, **changes), tmp_path)


def test_the_configured_losses_are_summed(street, tmp_path):
    wanted = config(
        street,
        loss={'cross_entropy': 1.0, 'dice': 0.5, 'focal': 2.0, 'ohem': 0.25},
        focal_gamma=1.5,
        ohem_threshold=0.6,
        ohem_share=0.1,
        class_weights='median',
        class_weight_exponent=1.0,
    )
    loss = Trainer(wanted, tmp_path).loss
    entropy, dice, focal, ohem = loss.losses
    assert loss.factors == [1.0, 0.5, 2.0, 0.25]
    assert (focal.gamma, ohem.threshold, ohem.min_share) == (1.5, 0.6, 0.1)
    weight = entropy.weight
    assert weight[[0, 3]].median() <= 1 <= weight[[0, 3]].max(), 'sky and road share the picture'
    assert torch.equal(focal.weight, weight)
    assert torch.equal(ohem.weight, weight)
    logits = torch.randn(1, 11, 4, 4)
    target = torch.randint(0, 11, (1, 4, 4))
    expected = entropy(logits, target) + 0.5 * dice(logits, target)
    expected = expected + 2 * focal(logits, target) + 0.25 * ohem(logits, target)
    assert torch.allclose(loss(logits, target), expected)


def test_a_file_that_is_no_configuration(tmp_path):
    path = tmp_path / 'c.yaml'
    for text, message in (('a: [', 'yaml'), ('- 1', 'mapping'), ('name: x', 'architecture')):
        path.write_text(text)
        with pytest.raises(TrainingError, match=message):
            TrainingConfig.load(path)
    with pytest.raises(TrainingError, match=r'none\.yaml'):
        TrainingConfig.load(tmp_path / 'none.yaml')


def test_a_configuration_survives_yaml(street, tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text(yaml.safe_dump(config(street).to_dict()))
    assert TrainingConfig.load(path) == config(street)


def test_the_shipped_configurations_are_valid():
    from seg_perception.core.resources import share_dir

    found = sorted((share_dir() / 'config' / 'train').glob('*.yaml'))
    assert found
    for path in found:
        loaded = TrainingConfig.load(path)
        assert loaded.name == path.stem
        assert set(loaded.licence) == {'weights', 'data'}


def test_an_unreadable_pair_stops_the_run_and_is_named(street, tmp_path):
    (street / 'labels' / '002.png').write_bytes(b'not a picture')
    with pytest.raises(DatasetError, match=r'002\.png'):
        Trainer(config(street), tmp_path).fit()
