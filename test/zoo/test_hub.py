import json
import re
import urllib.error

import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
transformers = pytest.importorskip('transformers', reason='see requirements/train.txt')
safetensors = pytest.importorskip('safetensors.torch', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.core.labels import LabelSet  # noqa: E402
from seg_perception.zoo import hub, published  # noqa: E402
from seg_perception.zoo.pretrained import load_encoder  # noqa: E402
from seg_perception.zoo.registry import ARCHITECTURES, build  # noqa: E402

B0 = 'segformer_b0_cityscapes'
MASKRCNN = 'maskrcnn_resnet50_fpn_coco'
#: One name of each kind in nvidia/segformer-b0-finetuned-*, and ours.
PUBLISHED = {
    'segformer.encoder.patch_embeddings.1.proj.weight': 'encoder.stages.1.patch_embeddings.proj',
    'segformer.encoder.patch_embeddings.0.layer_norm.weight': (
        'encoder.stages.0.patch_embeddings.layer_norm'
    ),
    'segformer.encoder.block.2.1.layer_norm_1.weight': (
        'encoder.stages.2.blocks.1.layernorm_before'
    ),
    'segformer.encoder.block.2.1.layer_norm_2.weight': (
        'encoder.stages.2.blocks.1.layernorm_after'
    ),
    'segformer.encoder.block.0.0.attention.self.query.weight': (
        'encoder.stages.0.blocks.0.attention.q_proj'
    ),
    'segformer.encoder.block.0.0.attention.self.key.weight': (
        'encoder.stages.0.blocks.0.attention.k_proj'
    ),
    'segformer.encoder.block.0.0.attention.self.value.weight': (
        'encoder.stages.0.blocks.0.attention.v_proj'
    ),
    'segformer.encoder.block.0.0.attention.self.sr.weight': (
        'encoder.stages.0.blocks.0.attention.sequence_reduction.sequence_reduction'
    ),
    'segformer.encoder.block.0.0.attention.self.layer_norm.weight': (
        'encoder.stages.0.blocks.0.attention.sequence_reduction.layer_norm'
    ),
    'segformer.encoder.block.0.0.attention.output.dense.weight': (
        'encoder.stages.0.blocks.0.attention.o_proj'
    ),
    'segformer.encoder.block.3.1.mlp.dense1.weight': 'encoder.stages.3.blocks.1.mlp.fc1',
    'segformer.encoder.block.3.1.mlp.dense2.weight': 'encoder.stages.3.blocks.1.mlp.fc2',
    'segformer.encoder.block.3.1.mlp.dwconv.dwconv.weight': (
        'encoder.stages.3.blocks.1.mlp.dwconv.dwconv'
    ),
    'segformer.encoder.layer_norm.3.weight': 'encoder.stages.3.layer_norm',
    'decode_head.linear_c.2.proj.weight': 'decode_head.linear_projections.2.proj',
    'decode_head.linear_fuse.weight': 'decode_head.linear_fuse',
    'decode_head.batch_norm.running_var': 'decode_head.batch_norm',
    'decode_head.classifier.weight': 'decode_head.classifier',
}


def published_name(name):
    """Return the name that a tensor of ours has in the published checkpoints."""
    for theirs, ours in PUBLISHED.items():
        # Every number of the pattern stands for any number, kept in its place.
        pattern = re.sub(r'\\\.(\d+)(?=\\\.|$)', r'\\.(\\d+)', re.escape(ours)) + r'\.(\w+)$'
        if match := re.match(pattern, name):
            *numbers, kind = match.groups()
            parts = theirs.split('.')[:-1]
            places = [place for place, part in enumerate(parts) if part.isdigit()]
            for place, number in zip(places, numbers, strict=True):
                parts[place] = number
            return '.'.join([*parts, kind])
    raise AssertionError(name)


@pytest.fixture(scope='module')
def segformer():
    torch.manual_seed(1)
    network = build('segformer_b0', 19).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.05)
    return network


def write(folder, state, *, classes=19, kind='segformer', file='model.safetensors'):
    folder.mkdir(exist_ok=True)
    config = {'model_type': kind, 'id2label': {str(i): f'LABEL_{i}' for i in range(classes)}}
    (folder / 'config.json').write_text(json.dumps(config))
    if file.endswith('.bin'):
        torch.save(state, folder / file)
    else:
        safetensors.save_file({k: v.contiguous() for k, v in state.items()}, folder / file)
    return folder


@pytest.fixture
def checkpoint(segformer, tmp_path):
    """A folder as nvidia/segformer-b0-finetuned-cityscapes-1024-1024 is."""
    state = {published_name(name): value for name, value in segformer.state_dict().items()}
    return write(tmp_path / 'hub', state)


def load(path, **changes):
    return hub.load_model(B0, weights=path, accept_licence=True, say=lambda _: None, **changes)


def test_every_published_name_has_its_place(segformer):
    names = published.segformer_names(dict.fromkeys(PUBLISHED))
    expected = [f'{ours}.{theirs.rsplit(".", 1)[1]}' for theirs, ours in PUBLISHED.items()]
    assert list(names) == expected
    assert set(expected) <= set(segformer.state_dict())


@pytest.mark.parametrize('file', published.WEIGHT_FILES)
def test_a_published_segformer_is_the_network_it_was(segformer, tmp_path, file):
    state = {published_name(name): value for name, value in segformer.state_dict().items()}
    loaded = load(write(tmp_path / 'hub', state, file=file))
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(pixels), segformer(pixels))
    assert not loaded.training


def test_a_checkpoint_that_transformers_itself_wrote(tmp_path):
    """Its save_pretrained turns the names of its modules into the published ones."""
    theirs = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(num_labels=19)
    ).eval()
    theirs.save_pretrained(tmp_path)
    written = safetensors.load_file(tmp_path / 'model.safetensors')
    assert set(PUBLISHED) <= set(written)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        ours = load(tmp_path).quarter_logits(pixels)
        assert torch.allclose(ours, theirs(pixels).logits, atol=1e-5)


def test_what_does_not_fit_is_named(segformer, checkpoint):
    state = dict(safetensors.load_file(checkpoint / 'model.safetensors'))
    missing = state.pop('decode_head.classifier.bias')
    write(checkpoint, state)
    with pytest.raises(ModelError, match=r'model\.safetensors.*no decode_head\.classifier\.bias'):
        load(checkpoint)
    write(checkpoint, {**state, 'decode_head.classifier.bias': missing, 'x': missing + 1})
    with pytest.raises(ModelError, match='unknown x'):
        load(checkpoint)
    write(checkpoint, {**state, 'decode_head.classifier.bias': missing[:3]})
    with pytest.raises(ModelError, match=r'is \(3,\), expected \(19,\)'):
        load(checkpoint)


def test_another_kind_or_class_count_is_told_by_the_configuration(checkpoint):
    state = dict(safetensors.load_file(checkpoint / 'model.safetensors'))
    with pytest.raises(ModelError, match="'bert' checkpoint"):
        load(write(checkpoint, state, kind='bert'))
    with pytest.raises(ModelError, match='150 classes, the label set has 19'):
        load(write(checkpoint, state, classes=150))


def test_a_file_that_is_no_weights(tmp_path):
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(b'nothing')
    with pytest.raises(ModelError, match='cannot be read as weights'):
        load(path)
    torch.save({'model': LabelSet}, tmp_path / 'pickle.bin')
    with pytest.raises(ModelError, match='cannot be read as weights'):
        load(tmp_path / 'pickle.bin')
    torch.save([1], tmp_path / 'list.bin')
    with pytest.raises(ModelError, match='no state dict'):
        load(tmp_path / 'list.bin')
    with pytest.raises(ModelError, match=r'holds none of model\.safetensors'):
        load(tmp_path)
    with pytest.raises(ModelError, match='does not exist'):
        load(tmp_path / 'none')


def test_a_licence_is_shown_and_has_to_be_accepted_before_any_download(monkeypatch):
    monkeypatch.setattr(hub.HuggingFaceRepo, 'download', lambda _: pytest.fail('a download'))
    said = []
    with pytest.raises(ModelError, match=r'forbids commercial use.*--accept-licence'):
        hub.load_model(B0, say=said.append)
    assert 'NVIDIA' in said[0]
    assert 'Cityscapes' in said[0]


def test_without_a_hub_it_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def unreachable(*_, **__):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(hub.urllib.request, 'urlopen', unreachable)
    said = []
    with pytest.raises(ModelError, match=r'bf2d0c1e\.pth.*no network.*the file with --weights'):
        hub.load_model(MASKRCNN, say=said.append)
    assert 'BSD-3' in said[0]
    with pytest.raises(ModelError, match=r'nvidia/segformer-b0.*config\.json.*--weights'):
        hub.load_model(B0, accept_licence=True, say=said.append)
    assert not list(tmp_path.rglob('*.pth'))


def test_names_lead_to_networks_and_label_sets():
    for name, entry in hub.MODELS.items():
        assert name.startswith(entry.architecture.removesuffix('_fpn')), name
        assert entry.architecture in ARCHITECTURES
        assert entry.labels in LabelSet.available()
    with pytest.raises(ModelError, match=B0):
        hub.load_model('segformer')


def test_encoders_of_both_hubs(segformer, tmp_path):
    encoder = segformer.encoder.state_dict()
    state = {published_name(f'encoder.{name}'): value for name, value in encoder.items()}
    state['classifier.weight'] = torch.zeros(1000, 256)
    folder = write(tmp_path / 'mit', state, classes=1000)
    target = build('segformer_b0', 5).encoder
    given = {'accept_licence': True, 'say': lambda _: None}
    load_encoder(target, 'imagenet-mit-b0', weights=folder, **given)
    for name, value in target.state_dict().items():
        assert torch.equal(value, encoder[name])

    resnet = build('deeplabv3plus_resnet50', 2).encoder
    state = {name: torch.full_like(value, 2) for name, value in resnet.state_dict().items()}
    torch.save({**state, 'fc.weight': torch.zeros(1000, 2048)}, tmp_path / 'resnet.pth')
    load_encoder(resnet, 'imagenet-resnet50', weights=tmp_path / 'resnet.pth', **given)
    assert all((value == 2).all() for value in resnet.state_dict().values())
    with pytest.raises(ModelError, match='another network'):
        load_encoder(target, 'imagenet-resnet50', weights=tmp_path / 'resnet.pth', **given)


@pytest.fixture(scope='module')
def coco_maskrcnn():
    """Torchvision's network as it was published: 91 outputs, frozen norms at eps = 0."""
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection._utils import overwrite_eps
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.manual_seed(0)
    body = resnet50(norm_layer=FrozenBatchNorm2d)
    network = MaskRCNN(_resnet_fpn_extractor(body, 3), 91)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.1)
    overwrite_eps(network, 0.0)
    return network.eval()


def test_coco_maskrcnn_computes_the_same_with_outputs_in_our_order(coco_maskrcnn, tmp_path):
    path = tmp_path / 'maskrcnn.pth'
    torch.save(coco_maskrcnn.state_dict(), path)
    model = hub.load_model(MASKRCNN, weights=path, say=lambda _: None)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        ours, theirs = model.backbone(pixels), coco_maskrcnn.backbone(pixels)
        for level in theirs:
            assert torch.allclose(
                ours[level], theirs[level], atol=1e-4 * theirs[level].abs().max()
            )
        crops = torch.randn(2, 1024)
        scores, boxes = model.roi_heads.box_predictor(crops)
        all_scores, all_boxes = coco_maskrcnn.roi_heads.box_predictor(crops)
    # COCO's ids: 1 person, 3 car, 13 stop sign (12 is a gap), 90 toothbrush.
    for name, theirs in (('person', 1), ('car', 3), ('stop sign', 13), ('toothbrush', 90)):
        ours = 1 + LabelSet.named('coco').index(name)
        assert torch.equal(scores[:, ours], all_scores[:, theirs])
        assert torch.equal(
            boxes[:, 4 * ours : 4 * ours + 4], all_boxes[:, 4 * theirs : 4 * theirs + 4]
        )
    assert torch.equal(scores[:, 0], all_scores[:, 0]), 'background'


def test_another_maskrcnn_is_refused(tmp_path):
    torch.save({'roi_heads.box_predictor.cls_score.weight': torch.zeros(5, 2)}, tmp_path / 'm.pth')
    with pytest.raises(ModelError, match='expected 91 rows'):
        hub.load_model(MASKRCNN, weights=tmp_path / 'm.pth', say=lambda _: None)
