import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('albumentations', reason='see requirements/train.txt')

from seg_perception.core.errors import DatasetError  # noqa: E402
from seg_perception.evaluation.dataset import FolderDataset  # noqa: E402
from seg_perception.training.augmentation import training_augmentation  # noqa: E402
from seg_perception.training.dataset import MixedStream, Source  # noqa: E402


def stream(street, *, start=0, length=12, seed=3, shares=(1.0,), size=(64, 80)):
    sources = [Source(FolderDataset(street, 11), share) for share in shares]
    return MixedStream(
        sources,
        training_augmentation(*size, (0.5, 2.0)),
        (0.5, 0.5, 0.5),
        (0.25, 0.25, 0.25),
        seed=seed,
        start=start,
        length=length,
    )


def test_crops_have_one_size_and_known_labels(street):
    for image, labels in stream(street):
        assert image.shape == (3, 64, 80)
        assert image.dtype == torch.float32
        assert labels.shape == (64, 80)
        assert set(labels.unique().tolist()) <= {0, 3, 255}


def test_a_later_start_goes_on_with_the_same_crops(street):
    whole = stream(street)
    rest = stream(street, start=7, length=5)
    for number in range(5):
        for first, second in zip(whole[7 + number], rest[number], strict=True):
            assert torch.equal(first, second)


def test_draws_do_not_depend_on_their_order(street):
    forward, backward = stream(street), stream(street)
    images = {n: backward[n][0] for n in reversed(range(len(backward)))}
    for number in range(len(forward)):
        assert torch.equal(forward[number][0], images[number])


def test_another_seed_gives_other_crops(street):
    assert not torch.equal(stream(street)[0][0], stream(street, seed=4)[0][0])


def test_shares_hold_exactly_and_every_picture_has_its_turn(street):
    mixed = stream(street, length=100, shares=(0.7, 0.3))
    assert np.bincount(mixed.schedule[:, 0]).tolist() == [70, 30]
    for source in (0, 1):
        taken = mixed.schedule[mixed.schedule[:, 0] == source, 1]
        assert taken.tolist() == list(range(len(taken)))


def test_padding_is_ignored_and_not_learned_as_a_class(street):
    small = stream(street, length=6, size=(300, 400))
    for image, labels in small:
        empty = (image == image[:, :1, :1]).all(0)
        assert (labels == 255).float().mean() > 0.3
        assert empty.shape == labels.shape


def test_a_share_of_nothing_is_refused(street):
    with pytest.raises(DatasetError, match='share > 0'):
        stream(street, shares=(0.0,))
