"""Execution providers: which one is taken, what the others said, and no silent fallback."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.core.errors import BundleError, ProviderError
from seg_perception.runtime.session import open_session

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')
ENGINES = ('cpu', 'openvino')
PICTURE = np.random.default_rng(0).integers(0, 256, (1, 90, 160, 3), np.uint8)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('models') / 'tiny') / 'model.onnx'


@pytest.mark.parametrize('provider', ENGINES)
def test_runs_and_describes_itself(model, provider):
    session = open_session(model, provider, threads=1, precision='fp32')
    assert session.provider == provider
    assert str(session.inputs[0]) == 'image: uint8 [1, 90, 160, 3]'
    assert [(o.name, o.dtype) for o in session.outputs] == [
        ('labels', 'uint8'),
        ('confidence', 'uint8'),
    ]
    assert session.metadata['seg_perception.classes'] == '3'
    first = session.run({'image': PICTURE})
    assert np.array_equal(first['labels'], PICTURE.argmax(axis=3))
    kept = first['labels'].copy()
    session.run({'image': 255 - PICTURE})
    assert np.array_equal(first['labels'], kept), 'a later run must not change an earlier result'


def test_auto_takes_the_best_and_says_why_not_the_others(model):
    session = open_session(model)
    assert session.provider == 'openvino'
    reasons = dict(session.tried)
    assert list(reasons) == ['tensorrt', 'cuda']
    assert all('onnxruntime-gpu' in reason for reason in reasons.values())


def test_auto_goes_on_to_the_cpu(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    session = open_session(model)
    assert session.provider == 'cpu'
    assert 'pip install openvino' in dict(session.tried)['openvino']


def test_nothing_installed(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ProviderError, match=r'nothing here can run a network.*pip install'):
        open_session(model)


@pytest.mark.parametrize(
    ('provider', 'message'),
    [
        ('cuda', 'has no cuda.*onnxruntime-gpu'),
        ('tensorrt', 'has no tensorrt.*onnxruntime-gpu'),
        ('magic', "unknown provider 'magic'; known: auto, tensorrt"),
    ],
)
def test_a_named_provider_is_never_replaced(model, provider, message):
    with pytest.raises(ProviderError, match=message):
        open_session(model, provider)


def test_options_out_of_range(model):
    with pytest.raises(ProviderError, match='threads must be 0'):
        open_session(model, threads=-1)
    with pytest.raises(ProviderError, match="unknown precision 'int4'"):
        open_session(model, precision='int4')


@pytest.mark.parametrize('provider', ['auto', *ENGINES])
@pytest.mark.parametrize('damage', ['missing', 'empty', 'truncated', 'no onnx'])
def test_damaged_file(model, tmp_path, provider, damage):
    path = tmp_path / 'model.onnx'
    data = model.read_bytes()
    contents = {'empty': b'', 'truncated': data[: len(data) // 2], 'no onnx': b'hello' * 100}
    if damage != 'missing':
        path.write_bytes(contents[damage])
    with pytest.raises(BundleError, match=r'no model file|cannot load|can load'):
        open_session(path, provider)


@pytest.mark.parametrize('provider', ENGINES)
@pytest.mark.parametrize(
    'feeds',
    [
        {'image': PICTURE[:, :80]},
        {'image': PICTURE[..., :1]},
        {'image': PICTURE.astype(np.float32)},
        {'picture': PICTURE},
        {},
    ],
)
def test_inputs_of_another_shape_type_or_name(model, provider, feeds):
    session = open_session(model, provider)
    with pytest.raises(BundleError, match='it was given'):
        session.run(feeds)
    assert session.run({'image': PICTURE})['labels'].shape == (1, 90, 160), 'it goes on'


@pytest.mark.parametrize('provider', ENGINES)
def test_releases_the_gil(tmp_path, provider):
    folder = write_tiny_bundle(tmp_path / 'slow', size=(180, 320), work=12)
    session = open_session(folder / 'model.onnx', provider, threads=1)
    picture = np.zeros((1, 180, 320, 3), np.uint8)
    session.run({'image': picture})
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        while time.perf_counter() - start < 0.3:
            begin = time.perf_counter()
            session.run({'image': picture})
            end = time.perf_counter()
            if sum(begin < t < end for t in ticks) >= 3:
                return
    finally:
        stop.set()
        thread.join()
    pytest.fail(f'no Python thread ran during {end - begin:.3f} s of inference')


# CUDA and TensorRT, as far as a machine without them can tell: a stand-in for onnxruntime
# that has them, around the real one.


class FakeBinding:
    def __init__(self, session):
        self.session, self.feeds, self.bound = session, {}, []

    def bind_cpu_input(self, name, array):
        assert array.flags.c_contiguous
        self.feeds[name] = array

    def bind_output(self, name, device):
        self.bound.append((name, device))

    def copy_outputs_to_cpu(self):
        return self.session.run([name for name, _ in self.bound], self.feeds)


class FakeSession:
    """The CPU's session under another engine's name."""

    made = ()

    def __init__(self, path, options, providers):
        FakeSession.made = providers
        names = [p if isinstance(p, str) else p[0] for p in providers]
        self.names = names[1:] if names[0] in FakeSession.broken else names
        self.real = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        self.bindings = []

    broken = ()

    def get_providers(self):
        return self.names

    def io_binding(self):
        self.bindings.append(FakeBinding(self.real))
        return self.bindings[-1]

    def run_with_iobinding(self, binding):
        assert binding.feeds

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """onnxruntime-gpu; name the engines that do not load in ``gpu.broken``."""
    calls = []
    fake = SimpleNamespace(
        InferenceSession=FakeSession,
        SessionOptions=onnxruntime.SessionOptions,
        preload_dlls=lambda: calls.append('preload'),
        get_available_providers=lambda: [
            'TensorrtExecutionProvider',
            'CUDAExecutionProvider',
            'CPUExecutionProvider',
        ],
    )
    monkeypatch.setitem(sys.modules, 'onnxruntime', fake)
    monkeypatch.setattr(FakeSession, 'broken', ())
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    fake.calls = calls
    return fake


@pytest.mark.parametrize('provider', ['cuda', 'tensorrt'])
def test_gpu_runs_by_io_binding(model, gpu, provider):
    session = open_session(model, provider)
    assert session.provider == provider
    assert gpu.calls == ['preload']
    result = session.run({'image': PICTURE})
    assert np.array_equal(result['labels'], PICTURE.argmax(axis=3))
    assert session._session.bindings[0].bound == [('labels', 'cuda'), ('confidence', 'cuda')]


def test_gpu_that_falls_back_is_an_error(model, gpu, monkeypatch):
    monkeypatch.setattr(FakeSession, 'broken', ('CUDAExecutionProvider',))
    with pytest.raises(ProviderError, match='cuda is installed but does not load'):
        open_session(model, 'cuda')


def test_auto_prefers_what_really_loads(model, gpu, monkeypatch):
    assert open_session(model).provider == 'tensorrt'
    monkeypatch.setattr(FakeSession, 'broken', ('TensorrtExecutionProvider',))
    session = open_session(model)
    assert session.provider == 'cuda'
    assert 'does not load' in dict(session.tried)['tensorrt']


def test_precision_reaches_the_gpu(model, gpu, tmp_path):
    open_session(model, 'tensorrt', precision='fp32')
    options = dict(FakeSession.made[:2])
    assert options['TensorrtExecutionProvider']['trt_fp16_enable'] == '0'
    assert options['CUDAExecutionProvider']['use_tf32'] == '0'
    open_session(model, 'tensorrt')
    assert FakeSession.made[0][1]['trt_fp16_enable'] == '1'
    assert (tmp_path / 'seg_perception' / 'tensorrt').is_dir()
