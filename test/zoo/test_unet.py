import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.zoo.registry import build, parameter_count  # noqa: E402
from seg_perception.zoo.unet import UNet  # noqa: E402


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('unet2015_bilinear', 17_264_147), ('unet2015_transposed', 31_038_803)],
)
def test_published_parameter_counts_at_19_classes(name, parameters):
    with torch.device('meta'):
        assert parameter_count(build(name, 19)) == parameters


@pytest.mark.parametrize('upsampling', ['bilinear', 'transposed'])
@pytest.mark.parametrize('size', [(1, 1), (5, 37), (33, 50), (48, 64)])
def test_any_size(upsampling, size):
    network = UNet(upsampling, 3, width=4).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_padding_repeats_the_border():
    network = UNet('transposed', 3, width=4).eval()
    pixels = torch.randn(1, 3, 30, 45)
    padded = torch.nn.functional.pad(pixels, (0, 3, 0, 2), mode='replicate')
    with torch.inference_mode():
        assert torch.equal(network(pixels), network(padded)[:, :, :30, :45])


def test_skips_are_concatenated_at_every_level():
    network = UNet('bilinear', 3, width=4).eval()
    firsts = [block[0].in_channels for block in network.decoder]
    assert firsts == [64, 32, 16, 8], 'twice the channels of the skip'
    one, other = torch.randn(2, 1, 3, 32, 32)
    with torch.inference_mode():
        for up in network.ups:
            handle = up.register_forward_hook(lambda *args: torch.zeros_like(args[2]))
            assert not torch.allclose(network(one), network(other)), 'the skip alone gets through'
            handle.remove()


def test_an_unknown_upsampling():
    with pytest.raises(ValueError, match='bilinear'):
        UNet('nearest', 3)
    with pytest.raises(ModelError, match='upsampling'):
        build('unet2015_bilinear', 3, upsampling='transposed')
