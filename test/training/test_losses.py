import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')

from seg_perception.training import losses  # noqa: E402

IGNORE = losses.IGNORE
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 3.0])
MAKERS = {
    'cross_entropy': losses.CrossEntropyLoss,
    'weighted': lambda: losses.CrossEntropyLoss(WEIGHT),
    'dice': losses.DiceLoss,
    'focal': losses.FocalLoss,
    'focal_weighted': lambda: losses.FocalLoss(0.5, WEIGHT),
    'ohem': lambda: losses.OhemLoss(0.3, 0.2),
    'ohem_weighted': lambda: losses.OhemLoss(0.0, 0.5, WEIGHT),
    'sum': lambda: losses.WeightedSum(
        [(1, losses.CrossEntropyLoss()), (2, losses.DiceLoss()), (0.5, losses.FocalLoss())]
    ),
}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 4, dtype=torch.float64, generator=generator)
    target = torch.randint(0, 4, (2, 3, 4), generator=generator, dtype=torch.uint8)
    target[:, 0] = IGNORE
    return logits, target


@pytest.mark.parametrize('name', MAKERS)
def test_gradient(name, batch):
    logits, target = batch
    loss = MAKERS[name]()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize('name', MAKERS)
def test_ignored_pixels_count_nowhere(name, batch):
    logits, target = batch
    loss = MAKERS[name]()
    changed = logits.clone()
    changed[:, :, 0] += torch.randn(2, 4, 4) * 10
    changed.requires_grad_()
    value = loss(changed, target)
    assert value.item() == pytest.approx(loss(logits, target).item(), rel=1e-9)
    value.backward()
    assert changed.grad[:, :, 0].abs().max() == 0


@pytest.mark.parametrize('name', MAKERS)
def test_nothing_but_ignored_pixels_gives_zero(name, batch):
    logits, target = batch
    logits.requires_grad_()
    value = MAKERS[name]()(logits, torch.full_like(target, IGNORE))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize('name', MAKERS)
@pytest.mark.parametrize('size', [1e-3, 50.0])
def test_half_precision_and_certainty_stay_finite(name, size, batch):
    logits, target = batch
    half = (size * logits).bfloat16().requires_grad_()
    value = MAKERS[name]()(half, target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert half.grad.isfinite().all()


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


def with_probabilities(*probabilities):
    """Return logits and target of pixels whose true class 0 has the given probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None], torch.zeros(1, 1, len(p))


def test_focal_by_hand():
    logits, target = with_probabilities(0.9, 0.2)
    expected = (0.1**2 * -np.log(0.9) + 0.8**2 * -np.log(0.2)) / 2
    assert losses.FocalLoss(2.0)(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize('weight', [None, WEIGHT])
def test_focal_without_focus_and_ohem_of_everything_are_cross_entropy(weight, batch):
    expected = losses.CrossEntropyLoss(weight)(*batch).item()
    assert losses.FocalLoss(0.0, weight)(*batch).item() == pytest.approx(expected)
    assert losses.OhemLoss(1.0, 1.0, weight)(*batch).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('threshold', 'min_share', 'kept'),
    [
        (0.7, 0.01, [0.1, 0.3, 0.6]),  # all below the threshold
        (0.2, 0.5, [0.1, 0.3]),  # too few below it: half of the four pixels
        (0.0, 0.01, [0.1]),  # none below it: the hardest one
        (0.2, 0.51, [0.1, 0.3, 0.6]),  # shares are rounded up
    ],
)
def test_ohem_by_hand(threshold, min_share, kept):
    logits, target = with_probabilities(0.6, 0.1, 0.9, 0.3)
    value = losses.OhemLoss(threshold, min_share)(logits, target).item()
    assert value == pytest.approx(-np.log(kept).mean())


def test_the_sum_is_weighted(batch):
    terms = [(0.3, losses.CrossEntropyLoss()), (2.0, losses.DiceLoss())]
    expected = sum(factor * loss(*batch).item() for factor, loss in terms)
    assert losses.WeightedSum(terms)(*batch).item() == pytest.approx(expected)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match='gamma'):
        losses.FocalLoss(-1)
    with pytest.raises(ValueError, match='threshold'):
        losses.OhemLoss(threshold=1.5)
    with pytest.raises(ValueError, match='min_share'):
        losses.OhemLoss(min_share=0)
