"""Execution providers: which engine runs a network here, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seg_perception.core.errors import BundleError, ProviderError, SegPerceptionError
from seg_perception.runtime.engine import Session, SessionOptions

#: What ``auto`` tries, best first.
AUTO_ORDER = ('tensorrt', 'cuda', 'openvino', 'cpu')
PROVIDERS = ('auto', *AUTO_ORDER)


def open_session(
    model_path: str | Path, provider: str = 'auto', *, threads: int = 0, precision: str = 'auto'
) -> Session:
    """Load an ONNX file into an execution provider.

    Args:
        model_path: the ``.onnx`` file.
        provider: one of PROVIDERS. A named one is never replaced by another.
        threads: CPU threads of one inference; 0 = one per core.
        precision: 'auto' or 'fp32' (see SessionOptions).

    Raises:
        ProviderError: the named provider (or, for ``auto``, every one) cannot be used here.
        BundleError: the file is missing, damaged, or uses what the provider cannot run.
    """
    path = Path(model_path)
    if not path.is_file():
        raise BundleError(f'no model file {path}')
    options = SessionOptions(threads, precision)
    if provider != 'auto':
        return _opener(provider)(path, options)
    tried: list[tuple[str, str]] = []
    errors: list[Exception] = []
    for name in AUTO_ORDER:
        try:
            session = _opener(name)(path, options)
        except (ProviderError, BundleError) as error:
            tried.append((name, str(error)))
            errors.append(error)
        else:
            session.tried = tuple(tried)
            return session
    raise _nothing_loads(path, tried, errors)


def _nothing_loads(
    path: Path, tried: list[tuple[str, str]], errors: list[Exception]
) -> SegPerceptionError:
    reasons = '; '.join(f'{name}: {reason}' for name, reason in tried)
    if any(isinstance(error, BundleError) for error in errors):
        return BundleError(f'no provider can load {path}: {reasons}')
    return ProviderError(
        f'nothing here can run a network: {reasons}. Install one: pip install onnxruntime'
    )


def _opener(provider: str) -> Callable[[Path, SessionOptions], Session]:
    # Imported here: each engine is optional and takes a while to import.
    if provider == 'openvino':
        from seg_perception.runtime.openvino_session import OpenVinoSession

        return OpenVinoSession
    if provider in AUTO_ORDER:
        from seg_perception.runtime.onnxruntime_session import OnnxRuntimeSession

        return lambda path, options: OnnxRuntimeSession(path, options, provider)
    raise ProviderError(f'unknown provider {provider!r}; known: {", ".join(PROVIDERS)}')
