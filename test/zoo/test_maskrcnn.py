import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

from seg_perception.core.errors import ExportError  # noqa: E402
from seg_perception.zoo.export import deploy  # noqa: E402
from seg_perception.zoo.pretrained import match_by_order  # noqa: E402
from seg_perception.zoo.registry import architecture, build  # noqa: E402

LIGHT = 'maskrcnn_mobilenetv2_fpn'


@pytest.fixture(scope='module')
def light():
    torch.manual_seed(0)
    return build(LIGHT, 3, min_size=64, max_size=96, width=16)


def test_pyramid_strides(light):
    light.eval()
    with torch.inference_mode():
        maps = light.backbone(torch.zeros(1, 3, 128, 192))
    shapes = [tuple(m.shape) for m in maps.values()]
    assert shapes == [(1, 16, 128 // s, 192 // s) for s in (8, 16, 32, 64)]


def test_detections(light):
    light.eval().roi_heads.score_thresh = 0.0
    with torch.inference_mode():
        found = light([torch.rand(3, 70, 90), torch.rand(3, 50, 64)])
    assert [tuple(one['masks'].shape[1:]) for one in found] == [(1, 70, 90), (1, 50, 64)]
    for one in found:
        count = len(one['boxes'])
        assert 0 < count <= 100
        assert one['boxes'].shape == (count, 4)
        assert len(one['scores']) == len(one['masks']) == count
        assert set(one['labels'].tolist()) <= {1, 2, 3}, 'background is never reported'


def test_a_step_of_training(light):
    mask = torch.zeros(1, 70, 90, dtype=torch.uint8)
    mask[:, 10:40, 10:50] = 1
    box = torch.tensor([[10.0, 10, 50, 40]])
    target = {'boxes': box, 'labels': torch.tensor([3]), 'masks': mask}
    losses = light.train()([torch.rand(3, 70, 90)], [target])
    assert set(losses) == {
        'loss_classifier',
        'loss_box_reg',
        'loss_mask',
        'loss_objectness',
        'loss_rpn_box_reg',
    }
    sum(losses.values()).backward()
    assert light.backbone.body['0'][0].weight.grad.any(), 'the whole backbone learns'


def test_the_backbone_takes_the_encoder_weights_of_the_semantic_networks(light):
    encoder = build('deeplabv3plus_mobilenetv2', 3).encoder
    body = light.backbone.body
    body.load_state_dict(match_by_order(encoder.state_dict(), body.state_dict(), 'x'))
    assert torch.equal(body['0'][0].weight, encoder.features[0][0].weight)


def test_instances_are_no_label_graph(light):
    assert architecture(LIGHT).task == 'instance'
    with pytest.raises(ExportError, match="'instance'"):
        deploy(light, LIGHT, 3)
