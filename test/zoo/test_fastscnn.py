import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')

from torch.nn import functional as F  # noqa: E402

from seg_perception.zoo.fastscnn import BINS, FastSCNN, adaptive_average_pool  # noqa: E402
from seg_perception.zoo.registry import parameter_count  # noqa: E402


@pytest.mark.parametrize('bins', BINS)
@pytest.mark.parametrize('size', [(1, 2), (4, 7), (12, 6), (13, 29)])
def test_adaptive_pooling_is_torchs(bins, size):
    maps = torch.randn(2, 3, *size)
    expected = F.adaptive_avg_pool2d(maps, bins)
    assert torch.allclose(adaptive_average_pool(maps, bins), expected, atol=1e-6)


def test_about_as_many_parameters_as_the_paper_counts():
    """Table 2 says 1.11 million at Cityscapes' 19 classes."""
    with torch.device('meta'):
        assert parameter_count(FastSCNN(19)) == pytest.approx(1.11e6, rel=0.03)


def test_strides_of_the_branches():
    network = FastSCNN(5).eval()
    with torch.inference_mode():
        fine = network.learning_to_downsample(torch.randn(1, 3, 64, 96))
        assert fine.shape == (1, 64, 8, 12)
        assert network.global_features(fine).shape == (1, 128, 2, 3)


def test_every_parameter_learns():
    network = FastSCNN(5)
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
