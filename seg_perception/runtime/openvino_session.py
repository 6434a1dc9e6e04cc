"""Networks run by OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.core.errors import BundleError, ProviderError
from seg_perception.runtime.engine import Session, SessionOptions, TensorInfo

#: Input shapes whose compiled networks are kept: one per camera resolution in use, and per
#: scale of test-time augmentation (six are usual).
COMPILED_SHAPES = 6


class OpenVinoSession(Session):
    """Compiles one network per input shape: a fixed shape runs faster than a dynamic one."""

    provider = 'openvino'

    def __init__(self, path: Path, options: SessionOptions) -> None:
        self._engine = _import_openvino()
        self.path = path
        self._lock = threading.Lock()
        self._requests: OrderedDict[tuple, Any] = OrderedDict()
        self._core = self._engine.Core()
        # Threads bound to cores wait there for the node and the camera driver; free ones move.
        self._config: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'ENABLE_CPU_PINNING': False,
        }
        if options.threads:
            self._config['INFERENCE_NUM_THREADS'] = options.threads
        if options.precision == 'fp32':
            self._config['INFERENCE_PRECISION_HINT'] = 'f32'
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise _load_error(path, error) from error
        self.inputs = tuple(_info(port) for port in self._model.inputs)
        self.outputs = tuple(_info(port) for port in self._model.outputs)
        self.metadata = _metadata(self._model)
        if all(None not in item.shape for item in self.inputs):
            self._request({item.name: item.shape for item in self.inputs})  # type: ignore[misc]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = self.prepare(feeds)
        with self._lock:
            request = self._request({name: array.shape for name, array in arrays.items()})
            try:
                request.infer(arrays, share_inputs=True, share_outputs=True)
            except (RuntimeError, TypeError, ValueError) as error:
                raise _run_error(self.path, arrays, error) from error
            # The request's memory is used again by the next run.
            return {
                item.name: np.array(request.get_output_tensor(i).data)
                for i, item in enumerate(self.outputs)
            }

    def _request(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        key = tuple(sorted(shapes.items()))
        if key in self._requests:
            self._requests.move_to_end(key)
            return self._requests[key]
        try:
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            compiled = self._core.compile_model(model, 'CPU', self._config)
            self._requests[key] = compiled.create_infer_request()
        except RuntimeError as error:
            sizes = ', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())
            raise _load_error(self.path, error, f' for {sizes}') from error
        if len(self._requests) > COMPILED_SHAPES:
            self._requests.popitem(last=False)
        return self._requests[key]


def _import_openvino() -> Any:
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise ProviderError(
            f'openvino cannot be imported ({error}); install it: pip install openvino'
        ) from error
    return openvino


def _info(port: Any) -> TensorInfo:
    sides = port.get_partial_shape()
    try:
        dtype = np.dtype(port.get_element_type().to_dtype()).name
    except (RuntimeError, TypeError):
        dtype = 'unknown'
    return TensorInfo(
        port.get_any_name(),
        tuple(side.get_length() if side.is_static else None for side in sides),
        dtype,
    )


def _metadata(model: Any) -> dict[str, str]:
    # OpenVINO's ONNX frontend keeps the file's metadata_props below 'framework'.
    if 'framework' not in model.rt_info:
        return {}
    entries = model.rt_info['framework']
    return {str(key): str(getattr(entries[key], 'value', entries[key])) for key in entries}


def _reason(error: Exception) -> str:
    """The last line of OpenVINO's message that says something; the rest is source lines."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(('Exception from', 'Check '))]
    return (told or lines or ['no reason given'])[-1]


def _load_error(path: Path, error: Exception, where: str = '') -> BundleError:
    return BundleError(
        f'OpenVINO cannot load {path}{where}: {_reason(error)}. The file is damaged or uses what '
        "OpenVINO lacks; provider 'cpu' may still run it"
    )


def _run_error(path: Path, arrays: Mapping[str, np.ndarray], error: Exception) -> BundleError:
    given = ', '.join(f'{name} {array.dtype} {array.shape}' for name, array in arrays.items())
    return BundleError(f'the network {path} fails on {given}: {_reason(error)}')
