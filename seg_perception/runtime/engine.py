"""What every execution engine looks like: tensors, options and a session that runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_perception.core.errors import BundleError, ProviderError

PRECISIONS = ('auto', 'fp32')


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a network.

    Attributes:
        name: of the tensor.
        shape: its sides; None = decided when it runs.
        dtype: NumPy name, e.g. 'uint8'; 'unknown' for types NumPy lacks.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def takes(self, array: np.ndarray) -> bool:
        """True when the array has this type and shape."""
        sides = zip(self.shape, array.shape, strict=False)
        return (
            array.dtype.name == self.dtype
            and array.ndim == len(self.shape)
            and all(side in (None, given) for side, given in sides)
        )

    def __str__(self) -> str:
        sides = ', '.join('?' if side is None else str(side) for side in self.shape)
        return f'{self.name}: {self.dtype} [{sides}]'


@dataclass(frozen=True)
class SessionOptions:
    """How a network is to be run.

    Attributes:
        threads: CPU threads of one inference; 0 = one per core.
        precision: 'auto' leaves the arithmetic to the provider (OpenVINO takes bf16 where the
            CPU has it natively, TensorRT fp16), 'fp32' forbids less than float32.
    """

    threads: int = 0
    precision: str = 'auto'

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ProviderError(f'threads must be 0 (one per core) or more, got {self.threads}')
        if self.precision not in PRECISIONS:
            raise ProviderError(
                f'unknown precision {self.precision!r}; known: {", ".join(PRECISIONS)}'
            )


class Session(ABC):
    """A network that is loaded and ready to run. ``run`` releases the GIL.

    Attributes:
        provider: what really runs it: 'tensorrt', 'cuda', 'openvino' or 'cpu'.
        inputs, outputs: TensorInfo in the order of the graph.
        metadata: the ONNX file's ``metadata_props``.
        path: the file it was loaded from.
        tried: (provider, reason) of those that ``auto`` passed over on the way to this one.
    """

    provider: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]
    tried: tuple[tuple[str, str], ...] = ()
    path: Path

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return contiguous inputs.

        Raises:
            BundleError: names, types or shapes are not the network's.
        """
        wanted = {item.name: item for item in self.inputs}
        if set(feeds) != set(wanted):
            raise BundleError(
                f'{self.path} takes the inputs {sorted(wanted)}, it was given {sorted(feeds)}'
            )
        for name, array in feeds.items():
            if not wanted[name].takes(array):
                raise BundleError(
                    f'{self.path} takes {wanted[name]}, it was given {array.dtype} '
                    f'{list(array.shape)}'
                )
        return {name: np.ascontiguousarray(array) for name, array in feeds.items()}

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once and return every output, in arrays that later runs leave alone.

        Raises:
            BundleError: the network refuses these inputs or fails on them.
        """
