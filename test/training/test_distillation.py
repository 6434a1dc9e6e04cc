"""Learning from a teacher, with labels and without."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import DatasetError, TrainingError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.training.coarse import TEACHER_ONLY, ClassGroups  # noqa: E402
from seg_perception.training.config import TrainingConfig  # noqa: E402
from seg_perception.training.distillation import Distillation  # noqa: E402
from seg_perception.training.sources import open_entry  # noqa: E402
from seg_perception.training.trainer import CHECKPOINT, Trainer  # noqa: E402
from seg_perception.zoo.registry import ARCHITECTURES  # noqa: E402

LITE = ARCHITECTURES['deeplabv3plus_efficientnet_lite0']
USUAL = ARCHITECTURES['fastscnn']


class Fixed(torch.nn.Module):
    """A teacher whose logits are the pixels it was given."""

    def forward(self, pixels):
        return pixels


def test_the_divergence_by_hand_at_a_temperature():
    pixels = torch.randn(1, 3, 32, 32)
    logits = torch.randn(1, 3, 32, 32)
    target = torch.full((1, 32, 32), TEACHER_ONLY)
    target[:, :8] = 255
    loss = Distillation(Fixed(), USUAL, USUAL, factor=0.5, temperature=2.0)(pixels, logits, target)
    p, q = ((x[:, :, 8:] / 2).softmax(1) for x in (pixels, logits))
    expected = 0.5 * 4 * (p * (p / q).log()).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_student_that_agrees_pays_nothing_and_padding_teaches_nothing():
    pixels = torch.randn(1, 3, 32, 32)
    teach = Distillation(Fixed(), USUAL, USUAL)
    assert teach(pixels, pixels.clone(), torch.zeros(1, 32, 32)).item() == pytest.approx(
        0, abs=1e-6
    )
    logits = torch.randn(1, 3, 32, 32, requires_grad=True)
    loss = teach(pixels, logits, torch.full((1, 32, 32), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_the_teacher_sees_pictures_normalised_its_own_way():
    raw = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (USUAL.mean, USUAL.std))
    theirs = (raw - torch.tensor(LITE.mean).view(1, 3, 1, 1)) / LITE.std[0]
    teach = Distillation(Fixed(), LITE, USUAL)
    loss = teach((raw - mean) / std, theirs, torch.zeros(1, 32, 32))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_a_crop_the_teacher_cannot_take():
    teach = Distillation(Fixed(), USUAL, USUAL)
    with pytest.raises(TrainingError, match='multiples of 32'):
        teach(torch.zeros(1, 3, 48, 64), torch.zeros(1, 3, 48, 64), torch.zeros(1, 48, 64))


def config(street, **changes):
    return TrainingConfig.from_dict(
        {
            'name': 'student',
            'architecture': 'fastscnn',
            'labels': 'camvid',
            'data': [{'root': str(street), 'share': 1.0}],
            'crop': [64, 64],
            'batch': 2,
            'steps': 2,
            'warmup': 1,
            'precision': 'fp32',
            'workers': 0,
            'tensorboard': False,
            **changes,
        }
    )


@pytest.fixture
def teacher(street, tmp_path):
    Trainer(config(street, name='teacher', steps=1), tmp_path / 'teacher').fit()
    return tmp_path / 'teacher' / CHECKPOINT


def test_a_run_on_pictures_without_labels(street, teacher, tmp_path):
    bare = tmp_path / 'bare'
    bare.mkdir()
    for path in (street / 'images').iterdir():
        path.rename(bare / path.name)
    wanted = config(
        street,
        data=[{'root': str(bare), 'share': 1, 'kind': 'unlabelled', 'exclude': ['000']}],
        teacher={'checkpoint': str(teacher), 'temperature': 2.0},
    )
    trainer = Trainer(wanted, tmp_path / 'run')
    assert len(trainer.sources[0].data) == 3
    images, targets = next(iter(trainer._loader()))
    assert set(targets.unique().tolist()) <= {TEACHER_ONLY, 255}
    # The labels' own loss has nothing to go by: all of it is the teacher's.
    trainer._train_mode()
    loss = trainer._batch_loss(images, targets)
    with torch.no_grad():
        logits = trainer.model(images)
        taught = trainer.teacher.teacher(images)
    p, q = (taught / 2).log_softmax(1), (logits / 2).log_softmax(1)
    valid = targets != 255
    expected = 4 * (p.exp() * (p - q)).sum(1)[valid].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=0.05), 'dropout differs'
    before = {k: v.clone() for k, v in trainer.teacher.teacher.state_dict().items()}
    trainer.fit()
    for key, value in trainer.teacher.teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_teacher_must_know_the_same_classes(street, teacher):
    with pytest.raises(TrainingError, match=r"classes of 'camvid'.*'cityscapes'"):
        Distillation.load(teacher, 'fastscnn', LabelSet.named('cityscapes'), 1, 1)


def test_pictures_without_labels_need_a_teacher(street):
    with pytest.raises(TrainingError, match='without a teacher'):
        config(street, data=[{'root': str(street), 'share': 1, 'kind': 'unlabelled'}])
    with pytest.raises(TrainingError, match='temperature'):
        config(street, teacher={'checkpoint': 'x', 'temperature': 0})
    with pytest.raises(TrainingError, match='checkpoint, factor'):
        config(street, teacher={'model': 'x'})


def test_an_unlabelled_folder_says_what_is_wrong(tmp_path):
    groups = ClassGroups(LabelSet.named('camvid'))
    entry = {'root': str(tmp_path), 'share': 1, 'kind': 'unlabelled'}
    with pytest.raises(DatasetError, match=r'no \.jpg'):
        open_entry(entry, groups)
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'a\.png cannot be read'):
        open_entry(entry, groups)[0]


def test_a_layout_of_other_classes_needs_a_table(tmp_path):
    for folder in ('val', 'valannot'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / 'a.png'), np.full((4, 4), 3, np.uint8))
    groups = ClassGroups(LabelSet.named('cityscapes'))
    entry = {'root': str(tmp_path), 'share': 1, 'kind': 'camvid', 'split': 'val'}
    with pytest.raises(TrainingError, match=r'camvid has 11 classes.*19'):
        open_entry(entry, groups)
    data = open_entry({**entry, 'classes': {3: 'road'}}, groups)
    assert (data[0][1] == groups.labels.index('road')).all()
