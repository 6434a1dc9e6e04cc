import sys

import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
transformers = pytest.importorskip('transformers', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.zoo.registry import build  # noqa: E402
from seg_perception.zoo.segformer import SegFormer, fold_head  # noqa: E402


@pytest.fixture(scope='module')
def model():
    """Random statistics, as training would leave them: some channels turned or nearly dead."""
    torch.manual_seed(0)
    network = build('segformer_b0', 19).eval()
    norm = network.decode_head.batch_norm
    with torch.no_grad():
        norm.running_mean.normal_(0, 2)
        norm.running_var.uniform_(1e-4, 4)
        norm.weight.normal_(1, 1)
        norm.bias.normal_()
        for projection in network.decode_head.linear_projections:
            projection.proj.weight.normal_(0, 0.1)
            projection.proj.bias.normal_()
    return network


def test_an_untrained_network_hands_its_input_on():
    """One small deviation for all weights, and the depthwise halves pass next to nothing."""
    torch.manual_seed(0)
    network = build('segformer_b0', 11).eval()
    shares = []

    def share(module, inputs, output):
        shares.append(float(output.std() / inputs[0].std()))

    for name, module in network.named_modules():
        if name.endswith('dwconv.dwconv'):
            assert float(module.weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.1)
            module.register_forward_hook(share)
    with torch.inference_mode():
        logits = network(torch.randn(2, 3, 64, 96))
    assert len(shares) == 8
    assert all(0.5 < value < 3 for value in shares)
    assert 0 < logits.softmax(1).amax() < 0.5, 'no class is likely before anything is learnt'


@pytest.mark.parametrize('size', [(64, 96), (96, 160)])
def test_the_folded_head_is_exact(model, size):
    pixels = torch.randn(2, 3, *size)
    with torch.inference_mode():
        expected = model.quarter_logits(pixels)
        folded = model.deployable().network(pixels)
    assert expected.shape == (2, 19, size[0] // 4, size[1] // 4)
    assert expected.std() > 0.1, 'logits all alike would compare nothing'
    assert (folded - expected).abs().max() < 1e-4


def test_a_folded_head_is_four_convolutions_with_one_bias(model):
    branches = fold_head(model.decode_head)
    assert [tuple(branch.weight.shape) for branch in branches] == [
        (256, channels, 1, 1) for channels in (32, 64, 160, 256)
    ]
    assert [branch.bias is None for branch in branches] == [False, True, True, True]


def test_the_wrapper_computes_what_transformers_does(model):
    config = transformers.SegformerConfig(num_labels=7)
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        ours = SegFormer(theirs)
        assert torch.allclose(ours.quarter_logits(pixels), theirs(pixels).logits, atol=1e-5)
        assert ours(pixels).shape == (1, 7, 64, 96)


def test_it_learns_as_transformers_does():
    """The folded head's gradients, through batch statistics, are the written-out head's."""
    torch.manual_seed(1)
    network = build('segformer_b0', 5, drop_path=0.0, head_dropout=0.0).train()
    pixels = torch.randn(2, 3, 64, 96)
    gradients = []
    for logits in (
        lambda: network.decode_head(network.features(pixels)),
        lambda: network.quarter_logits(pixels),
    ):
        network.zero_grad()
        logits().square().mean().backward()
        gradients.append({n: p.grad.clone() for n, p in network.named_parameters()})
    for name, expected in gradients[0].items():
        scale = max(float(expected.abs().max()), 1e-3)
        assert torch.allclose(gradients[1][name], expected, atol=1e-4 * scale), name


def test_every_parameter_learns():
    network = build('segformer_b0', 3, drop_path=0.0).train()
    network(torch.randn(2, 3, 32, 32)).square().mean().backward()
    # A key's bias adds the same to every score of a query, which the softmax takes away.
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert all(name.endswith('k_proj.bias') for name in silent), silent


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ModelError, match='transformers: pip install'):
        build('segformer_b0', 3)
