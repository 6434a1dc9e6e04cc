"""A node's parameters without the node: from the YAML files that it is started with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from seg_perception.core.errors import ParameterError
from seg_perception.ros.parameter_scheme import fields_by_ros_name, info_of

T = TypeVar('T')


def load_parameters(
    cls: type[T],
    files: Iterable[Path] = (),
    overrides: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    node: str = '/segmentation_node',
) -> T:
    """Return the parameters a node of that name would have.

    As in ROS: sections are named by the node's name, fully qualified or with the wildcards
    ``*`` (one token) and ``**`` (any), a later file or section wins, and names that the node
    does not declare are passed over.

    Args:
        cls: the parameters' dataclass.
        files: as given to ``--params-file``.
        overrides: ROS name -> value, or pairs; these win. Names must be known.
        node: its fully qualified name.

    Raises:
        ParameterError: a file is not readable, not a parameter file, or a value is wrong.
    """
    values: dict[str, Any] = {}
    for path in files:
        values.update(_of_node(_read(path), node, path))
    known = fields_by_ros_name(cls)
    asked = dict(overrides)
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ParameterError(
            f'no parameter {", ".join(unknown)}; known are {", ".join(sorted(known))}'
        )
    values.update(asked)
    fields = {known[name].name: value for name, value in values.items() if name in known}
    return cls(**{name: _typed(value, _field(cls, name)) for name, value in fields.items()})


def parse_override(text: str) -> tuple[str, Any]:
    """Read ``name:=value`` or ``name=value``; the value as YAML, as on a node's command line.

    Raises:
        ParameterError: it reads otherwise.
    """
    separator = ':=' if ':=' in text else '='
    name, found, value = text.partition(separator)
    if not found or not name.strip():
        raise ParameterError(f"'{text}' is no parameter: write name:=value")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ParameterError(f"'{text}': the value is not YAML") from error


def _read(path: Path) -> dict:
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding='utf-8'))
    except OSError as error:
        raise ParameterError(f'{path}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f'{path}: not YAML: {" ".join(str(error).split())}') from error
    if not isinstance(content, dict):
        raise ParameterError(f'{path}: not a parameter file: node -> ros__parameters -> values')
    return content


def _of_node(content: dict, node: str, path: Path) -> dict[str, Any]:
    """Flatten the sections that mean a node; namespaces may nest."""
    values: dict[str, Any] = {}
    for name, section in _sections(content, ''):
        if not isinstance(section, dict):
            raise ParameterError(f"{path}: 'ros__parameters' of {name} must be a mapping")
        if _matches(name, node):
            values.update(_flat(section))
    return values


def _sections(content: dict, prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        if key == 'ros__parameters':
            yield prefix or '/**', value
        elif isinstance(value, dict):
            yield from _sections(value, f'{prefix}/{str(key).strip("/")}')


def _matches(pattern: str, node: str) -> bool:
    """Whether a section's name, with wildcards, means a node."""
    parts, wanted = pattern.strip('/').split('/'), node.strip('/').split('/')

    def fits(i: int, j: int) -> bool:
        if i == len(parts):
            return j == len(wanted)
        if parts[i] == '**':
            return any(fits(i + 1, k) for k in range(j, len(wanted) + 1))
        return j < len(wanted) and parts[i] in ('*', wanted[j]) and fits(i + 1, j + 1)

    return fits(0, 0) or (len(parts) == 1 and parts[0] == wanted[-1])


def _flat(section: dict, prefix: str = '') -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            values.update(_flat(value, f'{prefix}{key}.'))
        else:
            values[f'{prefix}{key}'] = value
    return values


def _field(cls: type, name: str) -> dataclasses.Field:
    return next(field for field in dataclasses.fields(cls) if field.name == name)


def _typed(value: Any, field: dataclasses.Field) -> Any:
    """Return a YAML value in the field's type where nothing is lost, as a node would."""
    if isinstance(field.default, tuple):
        items = tuple(value) if isinstance(value, (list, tuple)) else (value,) if value else ()
        return () if items == info_of(field).empty else items
    if isinstance(field.default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
