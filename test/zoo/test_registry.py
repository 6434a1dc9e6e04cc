import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('transformers', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.zoo.registry import (  # noqa: E402
    ARCHITECTURES,
    architecture,
    build,
    parameter_count,
)

#: Trainable parameters at 11 classes.
PARAMETERS = {
    'deeplabv3_mobilenetv2': 12_650_507,
    'deeplabv3_resnet50': 39_636_299,
    'deeplabv3_resnet101': 58_628_427,
    'deeplabv3plus_efficientnet_lite0': 3_861_339,
    'deeplabv3plus_efficientnet_lite1': 4_626_011,
    'deeplabv3plus_efficientnet_lite2': 5_302_267,
    'deeplabv3plus_mobilenetv2': 4_381_083,
    'deeplabv3plus_resnet50': 26_680_155,
    'deeplabv3plus_resnet101': 45_672_283,
    'fastscnn': 1_136_763,
    'fcn8s_vgg16': 134_317_953,
    'fcn16s_vgg16': 134_313_190,
    'fcn32s_vgg16': 134_305_611,
    'maskrcnn_mobilenetv2_fpn': 6_866_278,
    'maskrcnn_resnet50_fpn': 44_029_335,
    'segformer_b0': 3_716_971,
    'segformer_b1': 13_680_075,
    'segformer_b2': 27_355_083,
    'segformer_b3': 47_230_923,
    'segformer_b4': 64_001_483,
    'segformer_b5': 84_601_803,
    'unet_efficientnet_lite0': 5_199_611,
    'unet_mobilenetv2': 6_630_395,
    'unet_resnet50': 32_522_555,
    'unet2015_bilinear': 17_263_627,
    'unet2015_transposed': 31_038_283,
}


@pytest.mark.parametrize('name', sorted(ARCHITECTURES))
def test_parameters_and_shape(name):
    """On the meta device: shapes of every layer, the arithmetic of none."""
    entry = architecture(name)
    with torch.device('meta'), torch.inference_mode():
        network = build(name, 11).eval()
        assert parameter_count(network) == PARAMETERS[name]
        if entry.task != 'semantic':
            return
        height, width = 3 * entry.multiple, 7 * entry.multiple
        assert network(torch.zeros(1, 3, height, width)).shape == (1, 11, height, width)


@pytest.mark.parametrize('family', ['deeplabv3plus_mobilenetv2', 'deeplabv3_mobilenetv2'])
def test_output_stride_8_doubles_the_rates_and_keeps_the_weights(family):
    coarse, fine = (build(family, 3, output_stride=s) for s in (16, 8))
    fine.load_state_dict(coarse.state_dict())
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, 64, 64)
        assert coarse.eval().encoder(pixels)[-1].shape[-1] == 4
        assert fine.eval().encoder(pixels)[-1].shape[-1] == 8
    assert _atrous_rates(coarse) == {6, 12, 18}
    assert _atrous_rates(fine) == {12, 24, 36}


def _atrous_rates(network):
    layers = (m for m in network.decoder.modules() if isinstance(m, torch.nn.Conv2d))
    return {layer.dilation[0] for layer in layers} - {1}


def test_the_low_level_skip_has_48_channels():
    for encoder in ('mobilenetv2', 'resnet50', 'efficientnet_lite0'):
        with torch.device('meta'):
            network = build(f'deeplabv3plus_{encoder}', 3)
            assert network.decoder.block1(network.encoder(torch.zeros(1, 3, 64, 64))[2]).shape == (
                (1, 48, 16, 16)
            )


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match='deeplabv3plus_mobilenetv2'):
        build('deeplab', 11)


@pytest.mark.parametrize('classes', [1, 256])
def test_class_counts_that_no_mask_can_hold(classes):
    with pytest.raises(ModelError, match='255 = ignore'):
        build('deeplabv3plus_mobilenetv2', classes)


@pytest.mark.parametrize(
    'options', [{'output_stride': 12}, {'colour': 1}, {'encoder': 'resnet18'}]
)
def test_options_that_do_not_exist(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        build('deeplabv3plus_mobilenetv2', 11, **options)


def test_efficientnet_lite_has_the_norms_its_weights_were_trained_with():
    with torch.device('meta'):
        networks = [
            build(f'{family}_efficientnet_lite0', 3) for family in ('unet', 'deeplabv3plus')
        ]
    for network in networks:
        norms = [m for m in network.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert len(norms) == 48
        assert {norm.eps for norm in norms} == {1e-3}
