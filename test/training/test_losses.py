import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')

from seg_perception.training import losses  # noqa: E402

IGNORE = losses.IGNORE


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=generator)
    target = torch.randint(0, 4, (2, 5, 6), generator=generator, dtype=torch.uint8)
    target[:, 0] = IGNORE
    return logits, target


def make(name):
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0])
    both = [(1, losses.CrossEntropyLoss()), (2, losses.DiceLoss())]
    return {
        'cross_entropy': lambda: losses.CrossEntropyLoss(),
        'weighted': lambda: losses.CrossEntropyLoss(weight),
        'dice': lambda: losses.DiceLoss(),
        'sum': lambda: losses.WeightedSum(both),
    }[name]()


NAMES = ['cross_entropy', 'weighted', 'dice', 'sum']


@pytest.mark.parametrize('name', NAMES)
def test_gradient_is_the_slope(name, batch):
    """Compare the gradient with a central difference along a random direction."""
    logits, target = batch
    loss = make(name)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).double()
    direction[:, :, 0] = 0
    start = logits.clone().requires_grad_()
    loss(start, target).backward()
    step = 1e-2
    slope = loss(logits + step * direction, target) - loss(logits - step * direction, target)
    slope = (slope / (2 * step)).item()
    assert (start.grad * direction).sum().item() == pytest.approx(slope, rel=5e-3, abs=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_ignored_pixels_count_nowhere(name, batch):
    logits, target = batch
    loss = make(name)
    changed = logits.clone()
    changed[:, :, 0] += torch.randn(2, 4, 6) * 10
    changed.requires_grad_()
    value = loss(changed, target)
    assert value.item() == pytest.approx(loss(logits, target).item(), rel=1e-6)
    value.backward()
    assert changed.grad[:, :, 0].abs().max() == 0


@pytest.mark.parametrize('name', NAMES)
def test_nothing_but_ignored_pixels_gives_zero(name, batch):
    logits, target = batch
    logits.requires_grad_()
    value = make(name)(logits, torch.full_like(target, IGNORE))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


def test_cross_entropy_of_certainty_and_of_ignorance():
    target = torch.tensor([[[0, 1]]])
    sure = torch.tensor([[[[50.0, -50]], [[-50.0, 50]]]])
    assert losses.CrossEntropyLoss()(sure, target).item() == pytest.approx(0, abs=1e-6)
    assert losses.CrossEntropyLoss()(0 * sure, target).item() == pytest.approx(np.log(2))


def test_dice_of_a_perfect_and_of_an_inverted_mask():
    target = (torch.arange(100).reshape(1, 10, 10) % 2).long()
    perfect = torch.nn.functional.one_hot(target, 2).movedim(-1, 1) * 50.0
    assert losses.DiceLoss()(perfect, target).item() == pytest.approx(0, abs=1e-3)
    assert losses.DiceLoss()(perfect.flip(1), target).item() > 0.95


def test_dice_leaves_absent_classes_out():
    target = torch.zeros(1, 10, 10).long()
    logits = torch.zeros(1, 3, 10, 10)
    logits[:, 0] = 50
    assert losses.DiceLoss()(logits, target).item() == pytest.approx(0, abs=1e-3)


def test_class_weights_favour_the_rare():
    weights = losses.inverse_frequency_weights(np.array([900, 90, 0, 10]), exponent=1.0)
    assert weights[3] / weights[0] == pytest.approx(90)
    assert weights[[0, 1, 3]].mean() == pytest.approx(1)
    assert weights[2] == 1
    flat = losses.inverse_frequency_weights(np.array([900, 90, 10]), exponent=0.0)
    assert flat == pytest.approx(np.ones(3))
