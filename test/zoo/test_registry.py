import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.zoo.registry import (  # noqa: E402
    ARCHITECTURES,
    architecture,
    build,
    parameter_count,
)

PARAMETERS = {'deeplabv3plus_mobilenetv2': 4_381_083}


@pytest.mark.parametrize('name', sorted(ARCHITECTURES))
def test_parameter_count_at_11_classes(name):
    assert parameter_count(build(name, 11)) == PARAMETERS[name]


@pytest.mark.parametrize('name', sorted(ARCHITECTURES))
@pytest.mark.parametrize('multiples', [(4, 7), (9, 6)])
def test_logits_have_the_size_of_the_picture(name, multiples):
    height, width = (side * architecture(name).multiple for side in multiples)
    with torch.inference_mode():
        logits = build(name, 5).eval()(torch.zeros(1, 3, height, width))
    assert logits.shape == (1, 5, height, width)


def test_output_stride_8_doubles_the_rates_and_keeps_the_weights():
    coarse, fine = (build('deeplabv3plus_mobilenetv2', 3, output_stride=s) for s in (16, 8))
    fine.load_state_dict(coarse.state_dict())
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, 64, 64)
        assert coarse.eval().encoder(pixels)[-1].shape[-1] == 4
        assert fine.eval().encoder(pixels)[-1].shape[-1] == 8


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match='deeplabv3plus_mobilenetv2'):
        build('deeplab', 11)


@pytest.mark.parametrize('classes', [1, 256])
def test_class_counts_that_no_mask_can_hold(classes):
    with pytest.raises(ModelError, match='255 = ignore'):
        build('deeplabv3plus_mobilenetv2', classes)


@pytest.mark.parametrize('options', [{'output_stride': 12}, {'colour': 1}])
def test_options_that_do_not_exist(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        build('deeplabv3plus_mobilenetv2', 11, **options)
