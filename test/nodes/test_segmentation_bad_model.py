"""Models that cannot be used: configure fails with the reason, the node lives and recovers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Bench
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from test_segmentation_lifecycle import call
from tiny_bundle import CLASSES, write_tiny_bundle


def missing_bundle(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def missing_file(folder: Path) -> None:
    (folder / 'model.onnx').unlink()


def truncated_file(folder: Path) -> None:
    model = folder / 'model.onnx'
    model.write_bytes(model.read_bytes()[:200])


def altered_file(folder: Path) -> None:
    model = folder / 'model.onnx'
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 0xFF
    model.write_bytes(bytes(data))


def change_description(folder: Path, **changes: Any) -> None:
    path = folder / 'model.yaml'
    description = yaml.safe_load(path.read_text())
    description.update(changes)
    path.write_text(yaml.safe_dump(description))


def no_onnx(folder: Path) -> None:
    """Garbage whose checksum is right: the file is what the author gave away."""
    import hashlib

    (folder / 'model.onnx').write_bytes(b'no protobuf at all' * 20)
    digest = hashlib.sha256((folder / 'model.onnx').read_bytes()).hexdigest()
    change_description(folder, sha256=digest)


def other_input_shape(folder: Path) -> None:
    spec = {'name': 'image', 'color': 'rgb', 'size': [64, 64], 'multiple': 1}
    change_description(folder, input=spec)


def other_input_name(folder: Path) -> None:
    spec = {'name': 'pixels', 'color': 'rgb', 'size': [90, 160], 'multiple': 1}
    change_description(folder, input=spec)


def other_output(folder: Path) -> None:
    change_description(folder, output={'labels': 'mask', 'confidence': 'confidence'})


def other_channels(folder: Path) -> None:
    classes = [*CLASSES, {**CLASSES[0], 'id': 3, 'name': 'fourth'}]
    change_description(folder, labels={'name': 'four', 'classes': classes}, classes=4)


def labels_do_not_match(folder: Path) -> None:
    change_description(folder, labels='cityscapes')


def broken_yaml(folder: Path) -> None:
    (folder / 'model.yaml').write_text('name: [')


@pytest.fixture
def bench(ros: None, tmp_path: Path) -> Iterator[Bench]:
    write_tiny_bundle(tmp_path / 'good')
    with Bench(model=str(tmp_path / 'good'), autostart=False) as bench:
        yield bench


def transition(bench: Bench, number: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=number))
    return call(bench, ChangeState, 'change_state', request).success


@pytest.mark.parametrize(
    ('spoil', 'reason'),
    [
        (missing_bundle, 'no model bundle'),
        (missing_file, 'model.onnx'),
        (truncated_file, 'truncated'),
        (altered_file, 'sha256'),
        (no_onnx, 'model.onnx'),
        (other_input_shape, '64'),
        (other_input_name, 'pixels'),
        (other_output, 'mask'),
        (other_channels, '4'),
        (labels_do_not_match, '19'),
        (broken_yaml, 'YAML'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_useless_bundles(
    bench: Bench, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(write_tiny_bundle(tmp_path / 'bad'))
    assert bench.set(model=str(tmp_path / 'bad'))[0].successful
    assert not transition(bench, Transition.TRANSITION_CONFIGURE)
    state = call(bench, GetState, 'get_state', GetState.Request()).current_state.id
    assert state == State.PRIMARY_STATE_UNCONFIGURED
    bench.until(lambda: reason in bench.peer.complaint(), f"diagnostics to name '{reason}'")
    assert bench.peer.diagnostics()[0] == 2

    assert bench.set(model=str(tmp_path / 'good'))[0].successful
    assert transition(bench, Transition.TRANSITION_CONFIGURE)
    assert transition(bench, Transition.TRANSITION_ACTIVATE)
    masks = bench.peer.listen_masks()
    bench.connected()
    assert bench.answer(masks).width == 160
    bench.until(lambda: bench.peer.diagnostics()[0] == 0, 'diagnostics to be well again')


@pytest.mark.parametrize('provider', ['cuda', 'tensorrt'])
def test_provider_not_installed(bench: Bench, provider: str) -> None:
    import onnxruntime

    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this machine has the CUDA provider')
    assert bench.set(provider=provider)[0].successful
    assert not transition(bench, Transition.TRANSITION_CONFIGURE)
    bench.until(lambda: 'onnxruntime-gpu' in bench.peer.complaint(), 'what to install')
    assert bench.set(provider='cpu')[0].successful
    assert transition(bench, Transition.TRANSITION_CONFIGURE)


def test_roles_of_classes_the_model_lacks(bench: Bench) -> None:
    assert bench.set(class_roles=['lawn:drivable'])[0].successful
    assert not transition(bench, Transition.TRANSITION_CONFIGURE)
    bench.until(lambda: 'lawn' in bench.peer.complaint(), 'the class that is not there')


def test_autostart_with_a_missing_model_leaves_a_living_node(ros: None, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / 'good')
    with Bench(model='no_such_model') as bench:
        bench.until(lambda: 'no_such_model' in bench.peer.complaint(), 'the reason')
        assert bench.set(model=str(tmp_path / 'good'))[0].successful
        assert transition(bench, Transition.TRANSITION_CONFIGURE)
        assert transition(bench, Transition.TRANSITION_ACTIVATE)
        masks = bench.peer.listen_masks()
        bench.connected()
        assert bench.answer(masks)
