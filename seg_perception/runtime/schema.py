"""model.yaml, schema 1: reading plain data into typed fields (docs/bundles.md).

Every reader takes plain YAML data and says in a BundleError which key is wrong and what it
must be; the caller adds the file's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from seg_perception.core.errors import BundleError

SCHEMA = 1
TASKS = ('semantic', 'instance')
COLORS = ('rgb', 'bgr')
#: Arithmetic that a file may ask of the network.
PRECISIONS = ('fp32', 'fp16', 'int8')
#: How a picture comes to the network's size: both sides scaled to it, scaled as a whole and
#: padded with grey, or not at all.
RESIZES = ('stretch', 'letterbox', 'none')
#: A dynamic network takes the picture's shape up to this ratio of its sides. Beyond it, the
#: least side that it can take times the length the other would have is out of all proportion:
#: a picture of 1 x 100000 pixels would cost 30 times a usual one.
STEEPEST = 4.0
#: Sides in pixels that a network input may have.
MAX_SIDE = 8192

_REQUIRED = {
    *('schema', 'name', 'task', 'file', 'sha256', 'labels', 'classes', 'input', 'output'),
    'licence',
}
_OPTIONAL = {'architecture', 'metrics', 'source', 'description', 'precision'}
_OUTPUTS = {
    'semantic': ({'labels'}, {'confidence'}),
    'instance': ({'boxes', 'labels', 'scores', 'masks'}, set()),
}


@dataclass(frozen=True)
class InputSpec:
    """What the network takes: uint8 [1, height, width, 3]; semantic ones may take several at once.

    Attributes:
        name: of the tensor.
        color: order of its last axis, 'rgb' or 'bgr'.
        size: (height, width) in pixels; None = any that fits ``multiple`` and ``offset``.
        multiple, offset: height and width are multiple * n + offset.
        default_size: (height, width), the size a dynamic network is best run at.
        resize: 'stretch', 'letterbox' or 'none' (the network takes the picture's own size).
    """

    name: str
    color: str
    size: tuple[int, int] | None
    multiple: int
    offset: int
    default_size: tuple[int, int]
    resize: str = 'stretch'

    def fit(self, height: float, width: float) -> tuple[int, int]:
        """Return the (height, width) nearest to the given that the network can take."""
        if self.size is not None:
            return self.size
        return self._fit_side(height), self._fit_side(width)

    def shaped_like(self, width: float, height: float) -> tuple[float, float]:
        """Return (height, width) of the default size's area and a picture's shape.

        Equal cost for any camera, and next to no distortion.
        """
        area = self.default_size[0] * self.default_size[1]
        shape = min(max(height / width, 1 / STEEPEST), STEEPEST)
        rows = math.sqrt(area * shape)
        return rows, area / rows

    def _fit_side(self, side: float) -> int:
        steps = max(1, round((side - self.offset) / self.multiple))
        return steps * self.multiple + self.offset


@dataclass(frozen=True)
class OutputSpec:
    """Names of the output tensors; None = the network has no such output.

    Attributes:
        labels: semantic: uint8 [1, h, w] class ids. instance: int [N] class ids.
        confidence: semantic: uint8 [1, h', w'], 0..255 = 0..1, often of lower resolution.
        boxes: instance: float32 [N, 4], x1, y1, x2, y2 in pixels of the network's input.
        scores: instance: float32 [N], 0..1.
        masks: instance: float32 [N, S, S], the probability of the object in each cell of its box.
    """

    labels: str
    confidence: str | None = None
    boxes: str | None = None
    scores: str | None = None
    masks: str | None = None


@dataclass(frozen=True)
class Metric:
    """A measured figure and how to measure it again."""

    name: str
    value: float
    dataset: str
    command: str


def check_keys(data: Any, required: set[str], optional: set[str], where: str) -> Mapping[str, Any]:
    """Return ``data`` when it is a mapping with every required and no unknown key.

    Raises:
        BundleError: naming the keys.
    """
    if not isinstance(data, Mapping):
        raise BundleError(f'{where} must be a mapping, got {type(data).__name__}')
    missing = sorted(required - set(data))
    if missing:
        raise BundleError(f'{where} lacks {", ".join(map(repr, missing))}')
    unknown = sorted(str(key) for key in set(data) - required - optional)
    if unknown:
        known = ', '.join(sorted(required | optional))
        raise BundleError(
            f'{where} has unknown keys {", ".join(map(repr, unknown))}; known: {known}'
        )
    return data


def read_top(data: Any) -> Mapping[str, Any]:
    """Check the top level: keys, schema number, task, checksum's form."""
    if isinstance(data, Mapping) and data.get('schema', SCHEMA) != SCHEMA:
        raise BundleError(
            f"'schema' is {data['schema']!r}; this version reads schema {SCHEMA}: update "
            'seg_perception or export the bundle again'
        )
    data = check_keys(data, _REQUIRED, _OPTIONAL, 'the description')
    choice(data['task'], TASKS, "'task'")
    if data.get('precision') is not None:
        choice(data['precision'], PRECISIONS, "'precision'")
    digest = text(data['sha256'], "'sha256'")
    if not re.fullmatch('[0-9a-f]{64}', digest):
        raise BundleError(f"'sha256' must be 64 lower-case hexadecimal digits, got {digest!r}")
    return data


def read_input(data: Any, task: str = 'semantic') -> InputSpec:
    """Read the key ``input``."""
    required, optional = {'name', 'color', 'size'}, {'multiple', 'offset', 'default_size'}
    if task == 'instance':  # a mask covers the whole picture, so it is always stretched
        optional = optional | {'resize'}
    data = check_keys(data, required, optional, "'input'")
    multiple = whole(data.get('multiple', 1), "'input.multiple'", 1, 1024)
    offset = whole(data.get('offset', 0), "'input.offset'", 0, 1024)
    size = None if data['size'] is None else _size(data['size'], "'input.size'")
    default = data.get('default_size')
    if size is None and default is None:
        raise BundleError("'input.size' is null (any size), so 'input.default_size' must be given")
    spec = InputSpec(
        name=text(data['name'], "'input.name'"),
        color=choice(data['color'], COLORS, "'input.color'"),
        size=size,
        multiple=multiple,
        offset=offset,
        default_size=size if default is None else _size(default, "'input.default_size'"),  # type: ignore[arg-type]
        resize=_read_resize(data, task, size),
    )
    _check_fit(spec)
    return spec


def _read_resize(data: Mapping[str, Any], task: str, size: tuple[int, int] | None) -> str:
    usual = 'none' if task == 'instance' and size is None else 'stretch'
    return choice(data.get('resize', usual), RESIZES, "'input.resize'")


def _check_fit(spec: InputSpec) -> None:
    if spec.resize == 'none' and (spec.size is not None or spec.multiple > 1 or spec.offset):
        raise BundleError(
            "'input.resize' none needs a network that takes any size: 'size' null, 'multiple' 1"
        )
    if spec.size is not None and spec.default_size != spec.size:
        raise BundleError(
            f"'input.default_size' {list(spec.default_size)} differs from the fixed 'input.size' "
            f'{list(spec.size)}'
        )
    for side in spec.default_size:
        if side <= spec.offset or (side - spec.offset) % spec.multiple:
            raise BundleError(
                f"'input': side {side} is not a multiple of {spec.multiple}"
                + (f' plus {spec.offset}' if spec.offset else '')
            )


def read_output(data: Any, task: str) -> OutputSpec:
    """Read the key ``output``."""
    data = check_keys(data, *_OUTPUTS[task], "'output'")
    names = {
        key: text(value, f"'output.{key}'") for key, value in data.items() if value is not None
    }
    if len(set(names.values())) != len(names) or not _OUTPUTS[task][0] <= set(names):
        raise BundleError("'output': every output needs a tensor name of its own")
    return OutputSpec(**names)


def read_licence(data: Any) -> dict[str, str]:
    """Read the key ``licence``: the terms of code, weights and training data."""
    data = check_keys(data, {'code', 'weights', 'data'}, set(), "'licence'")
    return {key: text(data[key], f"'licence.{key}'") for key in ('code', 'weights', 'data')}


def read_metrics(data: Any) -> tuple[Metric, ...]:
    """Read the key ``metrics``."""
    if not isinstance(data, list):
        raise BundleError(f"'metrics' must be a list, got {type(data).__name__}")
    metrics = []
    for i, item in enumerate(data):
        where = f"'metrics[{i}]'"
        check_keys(item, {'name', 'value', 'dataset', 'command'}, set(), where)
        value = item['value']
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BundleError(f'{where}: value must be a number, got {value!r}')
        texts = {key: text(item[key], f'{where}: {key}') for key in ('name', 'dataset', 'command')}
        metrics.append(Metric(value=float(value), **texts))
    return tuple(metrics)


def inner_path(value: Any, where: str) -> str:
    """Return a path below the bundle's folder.

    Raises:
        BundleError: it is absolute or leaves the folder. A bundle is other people's data: it
            may name its own files only.
    """
    path = text(value, where)
    steps = (*PurePosixPath(path).parts, *PureWindowsPath(path).parts)
    if '..' in steps or path.startswith(('/', '\\', '~')) or PureWindowsPath(path).drive:
        raise BundleError(f"{where} must lie inside the bundle's folder, got {path!r}")
    return path


def text(value: Any, where: str) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise BundleError(f'{where} must be a text that is not empty, got {value!r}')
    return value


def choice(value: Any, known: tuple[str, ...], where: str) -> str:
    """Return a value that is one of ``known``."""
    if value not in known:
        raise BundleError(f'{where} must be one of {", ".join(known)}; got {value!r}')
    return str(value)


def whole(value: Any, where: str, low: int, high: int) -> int:
    """Return a whole number within low..high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BundleError(f'{where} must be a whole number in {low}..{high}, got {value!r}')
    return value


def _size(value: Any, where: str) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise BundleError(f'{where} must be [height, width] or null, got {value!r}')
    return whole(value[0], where, 1, MAX_SIDE), whole(value[1], where, 1, MAX_SIDE)
