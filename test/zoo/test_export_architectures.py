"""Every family of networks through the one deployed graph, at sizes it was not traced with."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')
pytest.importorskip('transformers', reason='see requirements/train.txt')

import onnxruntime  # noqa: E402

from seg_perception.core.errors import ExportError  # noqa: E402
from seg_perception.zoo import export  # noqa: E402
from seg_perception.zoo.deployable import deployable  # noqa: E402
from seg_perception.zoo.registry import architecture, build  # noqa: E402

CLASSES = 5
#: One of each family, small where the builder allows, and the stride of its logits.
FAMILIES = {
    'fastscnn': ({}, 8),
    'fcn8s_vgg16': ({'width': 16}, 8),
    'segformer_b0': ({}, 4),
    'unet_mobilenetv2': ({}, 1),
    'unet2015_bilinear': ({'width': 8}, 1),
    'unet2015_transposed': ({'width': 8}, 1),
    'deeplabv3_mobilenetv2': ({'decoder_channels': 32}, 16),
    'deeplabv3plus_efficientnet_lite0': ({'decoder_channels': 32, 'output_stride': 8}, 4),
}


def picture(height, width):
    blobs = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)


def tensor(image, entry):
    scaled = (image / 255 - np.array(entry.mean)) / np.array(entry.std)
    return torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]


def settle(network, pixels):
    """Give random weights the statistics of real activations, and a mask of several classes."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one batch is all they see
    with torch.no_grad():
        network.train()(pixels.repeat(2, 1, 1, 1))
        network.eval()
        low = deployable(network, 'x').network
        scores = [m for m in low.modules() if getattr(m, 'out_channels', 0) == CLASSES]
        last = [m for m in scores if m.bias is not None][-1]
        scale = 3 / low(pixels).std()
        last.weight *= scale
        last.bias *= scale
        last.bias -= low(pixels).mean((0, 2, 3))
    return network


@pytest.mark.parametrize('name', FAMILIES)
def test_the_graph_agrees_with_torch(name):
    options, stride = FAMILIES[name]
    entry = architecture(name)
    torch.manual_seed(1)
    seen = picture(4 * entry.multiple, 5 * entry.multiple)
    network = settle(build(name, CLASSES, **options), tensor(seen, entry))
    exported = export.export(network, name, 'abcde', [seen], options)
    other = picture(3 * entry.multiple, 7 * entry.multiple)
    session = onnxruntime.InferenceSession(exported.model, providers=['CPUExecutionProvider'])
    labels, confidence = session.run(None, {'image': other[None]})
    with torch.inference_mode():
        pixels = tensor(other, entry)
        logits = network(pixels)
        low = deployable(network, name).network(pixels)
    assert labels.shape == (1, *other.shape[:2])
    assert len(np.unique(labels)) > 1, 'a constant mask would compare nothing'
    assert np.mean(labels != logits.argmax(1).numpy()) < 0.005
    assert low.shape[2:] == tuple(side // stride for side in other.shape[:2])
    assert np.abs(confidence - 255 * low.softmax(1).amax(1).numpy()).max() < 1.5


def test_an_unknown_head_is_refused():
    with pytest.raises(ExportError, match='cannot be exported'):
        deployable(torch.nn.Conv2d(3, 5, 1), 'x')
    network = build('deeplabv3plus_mobilenetv2', CLASSES)
    network.segmentation_head[1] = torch.nn.Upsample(size=(64, 64))
    with pytest.raises(ExportError, match='not one this exporter knows'):
        deployable(network, 'x')
