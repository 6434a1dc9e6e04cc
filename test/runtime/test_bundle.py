"""Bundles: reading model.yaml, saying what is wrong with it, finding and writing bundles."""

from __future__ import annotations

import os
import shutil

import pytest
import yaml
from tiny_bundle import CLASSES, write_tiny_bundle

from seg_perception.core.errors import BundleError
from seg_perception.core.labels import LabelSet
from seg_perception.runtime.bundle import Bundle, bundle_folders, write_bundle

pytest.importorskip('onnx')
INPUT = {'name': 'image', 'color': 'rgb', 'size': None, 'multiple': 16, 'offset': 1}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder that is searched first, and no user's folder."""
    folder = tmp_path / 'models'
    folder.mkdir()
    monkeypatch.setenv('SEG_PERCEPTION_MODELS', str(folder))
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'data'))
    return folder


def test_reads_every_field(tmp_path):
    metric = {'name': 'road IoU', 'value': 90, 'dataset': 'D', 'command': 'evaluate D'}
    folder = write_tiny_bundle(tmp_path / 'a', changes={'metrics': [metric]})
    bundle = Bundle.load(folder)
    assert bundle.labels.names == ('wall', 'road', 'sky')
    assert bundle.input.size == bundle.input.default_size == (90, 160)
    assert (bundle.output.labels, bundle.output.confidence) == ('labels', 'confidence')
    assert bundle.metrics[0].value == 90.0
    assert bundle.licence['weights'] == 'Apache-2.0'
    bundle.verify()
    assert Bundle.load(folder / 'model.yaml').root == bundle.root


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'sha256': None}, "lacks 'sha256'"),
        ({'licence': None, 'name': None}, "lacks 'licence', 'name'"),
        ({'colour': 'red'}, "unknown keys 'colour'"),
        ({'schema': 2}, 'reads schema 1'),
        ({'task': 'depth'}, "'task' must be one of"),
        ({'sha256': 'abc'}, '64 lower-case hexadecimal'),
        ({'name': 3}, "'name' must be a text"),
        ({'classes': 4}, "4 channels .'classes'. but label set 'tiny' has 3"),
        ({'classes': True}, "'classes' must be a whole number"),
        ({'labels': 'nowhere'}, "no label set 'nowhere'"),
        ({'labels': 'cityscapes'}, "label set 'cityscapes' has 19"),
        ({'labels': 'gone.yaml'}, 'cannot read the label set'),
        ({'labels': '../labels.yaml'}, 'must lie inside'),
        ({'labels': {'name': 'x'}}, "needs the keys 'name' and 'classes'"),
        ({'file': '../model.onnx'}, 'must lie inside'),
        ({'file': '/etc/passwd'}, 'must lie inside'),
        ({'file': 'a/..\\..\\b'}, 'must lie inside'),
        ({'file': 'gone.onnx'}, "'gone.onnx': not there"),
        ({'input': 'image'}, "'input' must be a mapping"),
        ({'input': {'name': 'image', 'color': 'rgb'}}, "'input' lacks 'size'"),
        (
            {'input': {**INPUT, 'color': 'gray', 'size': [17, 33]}},
            "'input.color' must be one of rgb, bgr",
        ),
        ({'input': INPUT}, "'input.default_size' must be given"),
        (
            {'input': {**INPUT, 'default_size': [480, 641]}},
            '480 is not a multiple of 16 plus',
        ),
        ({'input': {**INPUT, 'size': [481, 0]}}, "'input.size' must be a whole number"),
        ({'input': {**INPUT, 'size': 481}}, "'input.size' must be .height, width. or null"),
        ({'output': {'confidence': 'c'}}, "'output' lacks 'labels'"),
        ({'output': {'labels': 'a', 'confidence': 'a'}}, 'a tensor name of its own'),
        ({'licence': {'code': 'MIT'}}, "'licence' lacks 'data', 'weights'"),
        ({'metrics': {}, 'source': ''}, "'source' must be a text"),
        ({'metrics': [{'name': 'IoU', 'value': 'high'}]}, r"'metrics\[0\]' lacks"),
    ],
)
def test_says_what_is_wrong(tmp_path, changes, message):
    folder = write_tiny_bundle(tmp_path / 'a', changes=changes)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(folder)
    assert 'model.yaml' in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [('- a list', 'must be a mapping'), ('a: [', 'no valid YAML'), ('', 'must be a mapping')],
)
def test_description_that_is_none(tmp_path, text, message):
    folder = write_tiny_bundle(tmp_path / 'a')
    (folder / 'model.yaml').write_text(text)
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder)


def test_labels_in_a_file_of_the_bundle(tmp_path):
    folder = write_tiny_bundle(tmp_path / 'a', changes={'labels': 'labels.yaml'})
    (folder / 'labels.yaml').write_text(yaml.safe_dump({'name': 'own', 'classes': CLASSES}))
    assert Bundle.load(folder).labels.name == 'own'


@pytest.mark.parametrize('damage', ['truncated', 'altered'])
def test_checksum(tmp_path, damage):
    bundle = Bundle.load(write_tiny_bundle(tmp_path / 'a'))
    data = bytearray(bundle.model_path.read_bytes())
    if damage == 'truncated':
        data = data[: len(data) // 2]
    else:
        data[-1] ^= 1
    bundle.model_path.write_bytes(data)
    with pytest.raises(BundleError, match='truncated or altered'):
        bundle.verify()


def test_symlinked_model_file(tmp_path):
    """`colcon build --symlink-install` links every file of a bundle to its source."""
    source = write_tiny_bundle(tmp_path / 'source' / 'a')
    linked = tmp_path / 'install' / 'a'
    linked.mkdir(parents=True)
    for file in source.iterdir():
        (linked / file.name).symlink_to(file)
    Bundle.load(linked).verify()


def test_finds_by_name_and_path(models, tmp_path, monkeypatch):
    write_tiny_bundle(models / 'a')
    elsewhere = write_tiny_bundle(tmp_path / 'elsewhere' / 'b')
    assert Bundle.find('a').root == models / 'a'
    assert Bundle.find(elsewhere).root == elsewhere
    assert Bundle.find(f'{elsewhere}{os.sep}').root == elsewhere
    monkeypatch.chdir(elsewhere.parent)
    assert Bundle.find('b').root == elsewhere
    with pytest.raises(BundleError, match=r"no model bundle 'c'; known: a\b.*Looked in"):
        Bundle.find('c')
    with pytest.raises(BundleError, match='no model bundle at'):
        Bundle.find('./c')
    with pytest.raises(BundleError, match='has no name'):
        Bundle.find('')


def test_first_folder_wins_and_broken_ones_are_seen(models, tmp_path, monkeypatch):
    second = tmp_path / 'second'
    monkeypatch.setenv('SEG_PERCEPTION_MODELS', f'{models}{os.pathsep}{second}')
    write_tiny_bundle(models / 'a')
    write_tiny_bundle(second / 'a')
    write_tiny_bundle(second / 'broken', changes={'task': None})
    write_tiny_bundle(second / '.half-written')
    ours = [f for f in bundle_folders() if f.parent in (models, second)]
    assert ours == [models / 'a', second / 'broken']


def _description(folder):
    data = yaml.safe_load((folder / 'model.yaml').read_text())
    return {key: data[key] for key in data if key not in ('schema', 'file', 'sha256')}


def test_writes_whole_or_not_at_all(tmp_path):
    source = write_tiny_bundle(tmp_path / 'source')
    model = (source / 'model.onnx').read_bytes()
    target = tmp_path / 'models' / 'new'

    def refuse(bundle):
        raise BundleError('no good')

    with pytest.raises(BundleError, match='no good'):
        write_bundle(target, model, _description(source), check=refuse)
    with pytest.raises(BundleError, match="lacks 'licence'"):
        write_bundle(target, model, {'name': 'new'} | _without_licence(source))
    assert list(target.parent.iterdir()) == []

    bundle = write_bundle(target, model, _description(source), readme='# New\n')
    bundle.verify()
    assert bundle == Bundle.load(target)
    assert (target / 'README.md').read_text() == '# New\n'
    with pytest.raises(BundleError, match='is there already'):
        write_bundle(target, model, _description(source))
    with pytest.raises(BundleError, match='no good'):
        write_bundle(target, model, _description(source), overwrite=True, check=refuse)
    assert (target / 'README.md').exists(), 'the old bundle stays when the new one fails'
    write_bundle(target, model, _description(source), overwrite=True)
    assert not (target / 'README.md').exists()
    assert [path.name for path in target.parent.iterdir()] == ['new']


def _without_licence(source):
    return {key: value for key, value in _description(source).items() if key != 'licence'}


def test_overwrites_nothing_but_bundles(tmp_path):
    source = write_tiny_bundle(tmp_path / 'source')
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'notes.txt').write_text('mine')
    with pytest.raises(BundleError, match='is no model bundle'):
        write_bundle(precious, b'', _description(source), overwrite=True)
    assert (precious / 'notes.txt').read_text() == 'mine'


def test_sizes_that_fit(tmp_path):
    changes = {'input': {**INPUT, 'default_size': [481, 641]}}
    spec = Bundle.load(write_tiny_bundle(tmp_path / 'a', changes=changes)).input
    assert spec.fit(360, 640) == (353, 641)
    assert spec.fit(1, 1) == (17, 17)


def test_the_packages_own_label_sets_are_usable_in_bundles(tmp_path):
    for name in LabelSet.available():
        folder = write_tiny_bundle(
            tmp_path / name, changes={'labels': name, 'classes': len(LabelSet.named(name))}
        )
        assert Bundle.load(folder).labels == LabelSet.named(name)
        shutil.rmtree(folder)
