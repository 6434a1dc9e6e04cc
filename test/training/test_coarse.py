"""Labels that are sets of classes: what they cost, and how datasets name them."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')

from seg_perception.core.errors import DatasetError, TrainingError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.evaluation.dataset import FolderDataset  # noqa: E402
from seg_perception.training.coarse import (  # noqa: E402
    ClassGroups,
    CoarseLoss,
    MappedDataset,
)
from seg_perception.training.losses import CrossEntropyLoss  # noqa: E402


@pytest.fixture
def groups():
    return ClassGroups(LabelSet.named('camvid'))


def test_a_single_name_is_the_class_and_a_list_a_set(groups):
    table = groups.table({0: 'road', 3: ['car', 'bicyclist'], 4: ['bicyclist', 'car', 'car']})
    assert table[0] == 3
    assert table[3] == table[4] == 11
    assert set(table[[1, 2, 5, 254, 255]]) == {255}
    assert groups.groups == [(8, 10)]
    assert groups.membership().nonzero().tolist() == [[0, 8], [0, 10]]


@pytest.mark.parametrize(
    ('classes', 'said'),
    [({0: 'lava'}, 'lava'), ({300: 'road'}, '300'), ({0: []}, 'neither'), ({'a': 'road'}, "'a'")],
)
def test_a_wrong_table_says_what_is_wrong(groups, classes, said):
    with pytest.raises(TrainingError, match=said):
        groups.table(classes)


def loss_of(probabilities, target):
    logits = torch.tensor(probabilities, dtype=torch.float64).log()[None, :, None, :]
    membership = torch.tensor([[True, True, False]])
    return CoarseLoss(CrossEntropyLoss(), membership)(logits, torch.tensor([[target]]))


def test_a_set_scores_the_sum_of_its_members():
    # Two pixels: [0.2, 0.3, 0.5] and [0.1, 0.1, 0.8]; the first is "0 or 1", the second 2.
    loss = loss_of([[0.2, 0.1], [0.3, 0.1], [0.5, 0.8]], [3, 2])
    assert loss.item() == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)


def test_only_sets_and_only_ignored_are_finite():
    assert loss_of([[0.2], [0.3], [0.5]], [3]).item() == pytest.approx(-np.log(0.5))
    assert loss_of([[0.2], [0.3], [0.5]], [255]).item() == 0


def test_gradients_are_right_and_never_prefer_a_member():
    membership = torch.tensor([[True, True, False]])
    loss = CoarseLoss(CrossEntropyLoss(), membership)
    target = torch.tensor([[[3, 3, 1, 255]]])
    logits = torch.randn(1, 3, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits)
    equal = torch.zeros(1, 3, 1, 4, requires_grad=True)
    loss(equal, target).backward()
    assert equal.grad[0, 0, 0, 0] == equal.grad[0, 1, 0, 0] < 0 < equal.grad[0, 2, 0, 0]


def test_a_mapped_dataset_speaks_the_mix_and_leaves_out(street, groups):
    folder = FolderDataset(street, 11)
    mapped = MappedDataset(folder, groups.table({3: ['road', 'pavement']}), 11, ['00[0-2]'])
    assert len(mapped) == 1
    assert set(np.unique(mapped[0][1])) == {11, 255}
    with pytest.raises(DatasetError, match='leaves no picture'):
        MappedDataset(folder, None, 11, ['*'])
