"""Networks run by ONNX Runtime: on the CPU, CUDA or TensorRT."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import BundleError, ProviderError
from seg_perception.runtime.engine import Session, SessionOptions, TensorInfo

_ENGINES = {
    'tensorrt': 'TensorrtExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'cpu': 'CPUExecutionProvider',
}
_INSTALL = {
    'tensorrt': "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt",
    'cuda': "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'",
    'cpu': 'pip install onnxruntime',
}


class OnnxRuntimeSession(Session):
    """One of ONNX Runtime's execution providers, checked to be the one really in use."""

    def __init__(self, path: Path, options: SessionOptions, provider: str) -> None:
        runtime = _import_onnxruntime(provider)
        self.provider = provider
        self.path = path
        self._session = _open(runtime, path, options, provider)
        # ONNX Runtime drops an engine whose libraries do not load and goes on with the CPU.
        if self._session.get_providers()[0] != _ENGINES[provider]:
            raise ProviderError(
                f'{provider} is installed but does not load here (GPU, driver or its libraries '
                f'missing; ONNX Runtime logged which). Needed: {_INSTALL[provider]}, and a driver '
                'that `nvidia-smi` sees'
            )
        self._session.disable_fallback()
        self.inputs = tuple(_info(arg) for arg in self._session.get_inputs())
        self.outputs = tuple(_info(arg) for arg in self._session.get_outputs())
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = self.prepare(feeds)
        try:
            if self.provider == 'cpu':
                values = self._session.run(None, arrays)
            else:
                values = self._run_bound(arrays)
        except Exception as error:  # ONNX Runtime's classes derive from Exception only
            given = ', '.join(f'{name} {a.dtype} {a.shape}' for name, a in arrays.items())
            raise BundleError(
                f'the network {self.path} fails on {given}: {_reason(error)}'
            ) from error
        return {item.name: value for item, value in zip(self.outputs, values, strict=True)}

    def _run_bound(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run with outputs that stay on the GPU until the one copy back at the end."""
        binding = self._session.io_binding()
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        for item in self.outputs:
            binding.bind_output(item.name, 'cuda')
        self._session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())


def _import_onnxruntime(provider: str) -> Any:
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise ProviderError(
            f'onnxruntime cannot be imported ({error}); install it: {_INSTALL[provider]}'
        ) from error
    if _ENGINES[provider] not in onnxruntime.get_available_providers():
        raise ProviderError(
            f'the installed onnxruntime has no {provider}; install one that has (the two share '
            f'a folder: only one may be installed): {_INSTALL[provider]}'
        )
    return onnxruntime


def _open(runtime: Any, path: Path, options: SessionOptions, provider: str) -> Any:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = 3 if provider == 'cpu' else 2
    # Threads that wait by spinning take the core from the process that publishes.
    settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
    if provider != 'cpu' and hasattr(runtime, 'preload_dlls'):
        # Finds the CUDA and cuDNN libraries that pip installs beside the package.
        runtime.preload_dlls()
    try:
        return runtime.InferenceSession(
            str(path), settings, providers=_engine_list(provider, options)
        )
    except Exception as error:  # ONNX Runtime's classes derive from Exception only
        raise BundleError(
            f'ONNX Runtime ({provider}) cannot load {path}: {_reason(error)}. The file is damaged '
            'or uses what this version lacks'
        ) from error


def _engine_list(provider: str, options: SessionOptions) -> list[Any]:
    fp32 = options.precision == 'fp32'
    cuda = ('CUDAExecutionProvider', {'use_tf32': '0' if fp32 else '1'})
    if provider == 'cpu':
        return ['CPUExecutionProvider']
    if provider == 'cuda':
        return [cuda, 'CPUExecutionProvider']
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    engines = cache / 'seg_perception' / 'tensorrt'
    engines.mkdir(parents=True, exist_ok=True)
    tensorrt = {
        'trt_fp16_enable': '0' if fp32 else '1',
        # Building an engine takes minutes; the cache keeps it for the next start.
        'trt_engine_cache_enable': '1',
        'trt_engine_cache_path': str(engines),
    }
    return [('TensorrtExecutionProvider', tensorrt), cuda, 'CPUExecutionProvider']


def _info(arg: Any) -> TensorInfo:
    shape = tuple(side if isinstance(side, int) else None for side in arg.shape)
    return TensorInfo(arg.name, shape, _dtype(arg.type))


def _dtype(text: str) -> str:
    """'tensor(float16)' -> 'float16'."""
    name = text.removeprefix('tensor(').removesuffix(')')
    name = {'float': 'float32', 'double': 'float64'}.get(name, name)
    try:
        return np.dtype(name).name
    except TypeError:
        return 'unknown'


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its codes: '[ONNXRuntimeError] : 7 : NAME : text'."""
    return str(error).split(' : ', 3)[-1].strip().splitlines()[0]
