"""`seg-perception models`: what a person sees."""

from __future__ import annotations

import pytest
import yaml
from tiny_bundle import write_tiny_bundle
from tiny_networks import write_network

from seg_perception import cli
from seg_perception.runtime.bundle import Bundle

pytest.importorskip('onnx')


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The only folder of bundles."""
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    folder = tmp_path / 'seg_perception' / 'models'
    monkeypatch.setattr(Bundle, 'search_paths', staticmethod(lambda: [folder]))
    return folder


@pytest.fixture
def network(tmp_path):
    return str(write_network(tmp_path / 'network.onnx'))


def run(capsys, *args):
    """Return (exit code, standard output, standard error)."""
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, out, err


def test_list(models, capsys):
    code, out, _ = run(capsys, 'models', 'list')
    assert code == 0
    assert 'No model bundle' in out
    write_tiny_bundle(models / 'tiny')
    write_tiny_bundle(models / 'broken', changes={'task': None})
    code, out, _ = run(capsys, 'models', 'list')
    assert code == 0
    heading, broken, tiny = out.splitlines()
    assert heading.split() == ['NAME', 'TASK', 'LABELS', 'INPUT', 'WEIGHTS', 'WHERE']
    assert broken.startswith('broken')
    assert "lacks 'task'" in broken
    for text in ('tiny', 'semantic', 'tiny (3)', '90x160', 'Apache-2.0', str(models / 'tiny')):
        assert text in tiny


def test_check(models, capsys):
    write_tiny_bundle(models / 'tiny')
    code, out, _ = run(capsys, 'models', 'check', '--provider', 'cpu')
    assert code == 0
    assert out.startswith('ok    tiny: cpu, ')
    assert ' ms at 90x160, 3 classes (tiny)' in out

    bad = write_tiny_bundle(models / 'bad')
    (bad / 'model.onnx').write_bytes(b'')
    code, out, _ = run(capsys, 'models', 'check')
    assert code == 1
    first, second = out.splitlines()
    assert first.startswith('FAIL  bad: ')
    assert 'truncated or altered' in first
    assert second.startswith('ok    tiny: ')
    code, out, _ = run(capsys, 'models', 'check', models / 'tiny')
    assert code == 0
    assert len(out.splitlines()) == 1
    code, out, _ = run(capsys, 'models', 'check', 'tiny', 'unknown')
    assert code == 1
    assert "FAIL  unknown: no model bundle 'unknown'; known: bad, tiny" in out


def test_check_of_nothing(models, capsys):
    code, _, err = run(capsys, 'models', 'check')
    assert code == 2
    assert 'no model bundle to check' in err


def test_check_with_a_provider_that_is_not_here(models, capsys):
    write_tiny_bundle(models / 'tiny')
    code, out, _ = run(capsys, 'models', 'check', '--provider', 'tensorrt')
    assert code == 1
    assert 'onnxruntime-gpu' in out


def test_import(models, network, capsys):
    arguments = ['models', 'import', network, '--name', 'new', '--labels', 'wall,road,sky']
    arguments += ['--drivable', 'road', '--ignore', 'sky', '--scale', '1/255']
    arguments += ['--mean', '0.1,0.1,0.1', '--std', '0.5', '--size', '48x64', '--color', 'bgr']
    arguments += ['--licence-weights', 'MIT', '--source', 'a test']
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, '')
    assert 'ok    new: ' in out
    bundle = Bundle.find('new')
    assert bundle.root == models / 'new'
    assert bundle.input.size == (48, 64)
    assert bundle.input.color == 'bgr'
    assert bundle.licence == {'code': 'unknown', 'weights': 'MIT', 'data': 'unknown'}
    assert [item.role.value for item in bundle.labels.classes] == [
        'obstacle',
        'drivable',
        'ignore',
    ]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert 'is there already' in err
    assert run(capsys, *arguments, '--overwrite')[0] == 0


def test_import_with_a_label_file_into_a_folder(network, tmp_path, capsys):
    labels = {
        'name': 'own',
        'classes': [
            {'id': i, 'name': name, 'color': [i, i, i], 'role': 'drivable', 'cost': 0}
            for i, name in enumerate('abc')
        ],
    }
    (tmp_path / 'own.yaml').write_text(yaml.safe_dump(labels))
    arguments = ['--labels', tmp_path / 'own.yaml', '--out', tmp_path / 'here', '--scale', '1/255']
    assert run(capsys, 'models', 'import', network, '--name', 'new', *arguments)[0] == 0
    assert Bundle.load(tmp_path / 'here' / 'new').labels.name == 'own'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--labels', 'wall,road,sky'], 'need --drivable'),
        (['--labels', 'wall,road,sky', '--drivable', 'street'], "no class 'street'"),
        (['--labels', 'camvid', '--drivable', 'road'], 'class_roles'),
        (['--labels', 'nowhere'], "no label set 'nowhere'; known: ade20k"),
        (['--labels', 'camvid'], 'has 3 channels, the label set 11'),
    ],
)
def test_import_that_fails(models, network, capsys, arguments, message):
    code, _, err = run(capsys, 'models', 'import', network, '--name', 'new', *arguments)
    assert code == 2
    assert err.startswith('seg-perception: ')
    assert message in err
    assert 'Traceback' not in err
    assert not (models / 'new').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--scale', '1/0'], "'1/0' is no number"),
        (['--scale', '1/2/3'], 'is no number'),
        (['--mean', '0.1;0.2'], 'is no list of numbers'),
        (['--size', '640'], 'is no size, height x width'),
        (['--channels', 'a'], 'is no list of channel indices'),
    ],
)
def test_arguments_that_cannot_be_read(network, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        cli.main(['models', 'import', network, '--name', 'n', '--labels', 'camvid', *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_needs_no_heavy_package():
    """`models list` on a robot that has neither onnx nor torch."""
    import subprocess
    import sys

    script = (
        'import sys\n'
        'for name in ("onnx", "torch", "onnxruntime", "openvino"):\n'
        '    sys.modules[name] = None\n'
        'from seg_perception.cli import main\n'
        'sys.exit(main(["models", "list"]))\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
