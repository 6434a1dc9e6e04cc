import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
torchvision = pytest.importorskip('torchvision', reason='see requirements/train.txt')

from torch.nn import functional as F  # noqa: E402

from seg_perception.zoo.fcn import FCN  # noqa: E402


@pytest.fixture(scope='module')
def networks():
    """The three of them with the weights of one."""
    made = {stride: FCN(stride, 3, width=16).eval() for stride in (32, 16, 8)}
    for network in made.values():
        network.load_state_dict(made[32].state_dict(), strict=False)
    return made


def test_skips_start_silent_and_are_added(networks):
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        coarse = networks[32].scores(pixels)
        assert coarse.shape == (1, 3, 2, 3)
        for stride in (16, 8):
            scores = networks[stride].scores(pixels)
            assert scores.shape == (1, 3, 64 // stride, 96 // stride)
            assert networks[stride](pixels).shape == (1, 3, 64, 96)
            last = networks[stride].skips[-1]
            last.bias += 1.0
            assert torch.allclose(networks[stride].scores(pixels), scores + 1.0, atol=1e-6)
            last.bias -= 1.0


def test_learnt_upsampling_starts_bilinear(networks):
    maps = torch.randn(1, 3, 6, 8)
    with torch.inference_mode():
        up = networks[16].ups[0](maps)
    expected = F.interpolate(maps, scale_factor=2, mode='bilinear', align_corners=False)
    inner = (..., slice(1, -1), slice(1, -1))  # at the border zeros stand beside the map
    assert torch.allclose(up[inner], expected[inner], atol=1e-6)


def test_scores_are_taken_behind_the_poolings(networks):
    with torch.device('meta'):
        published = torchvision.models.vgg16().features.state_dict()
    ours = networks[8].encoder.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in published.items()}
    layers = list(networks[8].encoder)
    pools = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, torch.nn.MaxPool2d)]
    assert pools[2:] == [17, 24, 31]


def test_every_parameter_learns():
    network = FCN(8, 3, width=8, dropout=0.0)
    network(torch.randn(1, 3, 32, 32)).square().mean().backward()
    # The classifier's last layer sees whatever reaches it; skips start at zero but must move.
    assert all(skip.weight.grad.any() for skip in network.skips)
    assert network.encoder[0].weight.grad.any()


def test_an_unknown_stride():
    with pytest.raises(ValueError, match='8, 16 or 32'):
        FCN(4, 3)
