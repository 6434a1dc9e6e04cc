"""Parameters as a frozen dataclass: one declaration gives descriptors, checks and documentation.

A field made by :func:`parameter` carries what a person must know about it. :func:`declare` and
:func:`read` take it to a node and back, :func:`make_validator` guards changes at run time, and
:func:`render_yaml` writes the commented file of defaults.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg_perception.core.errors import ParameterError, SegPerceptionError

T = TypeVar('T')
_INFO = 'seg_perception.parameter'


@dataclass(frozen=True)
class ParameterInfo:
    """What is known of one parameter beside its default.

    Attributes:
        description: for people; ends up in descriptors, config file and documentation.
        group: 'grid' makes the field `grid_x_min` the ROS parameter `grid.x_min`.
        unit: '' where there is none.
        low, high: inclusive bounds of a number (of each number, in an array), or None.
        choices: the values a text may have; empty = any.
        reconfigure: read once only, at what the dataclass names in READ_AT ('configure' unless
            it says 'start').
        empty: how an empty array is written in ROS, which can't pass one of a known type; each
            array needs it.
    """

    description: str
    group: str = ''
    unit: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    reconfigure: bool = False
    empty: tuple[Any, ...] = ()


def parameter(default: Any, description: str, **info: Any) -> Any:
    """Declare a dataclass field as a ROS parameter; `info` as in :class:`ParameterInfo`."""
    metadata = {_INFO: ParameterInfo(description, **info)}
    return dataclasses.field(default=default, metadata=metadata)


def info_of(field: dataclasses.Field) -> ParameterInfo:
    """Return what :func:`parameter` was told about a field."""
    return field.metadata[_INFO]


def ros_name(field: dataclasses.Field) -> str:
    """Return the name a field has in ROS."""
    group = info_of(field).group
    return f'{group}.{field.name.removeprefix(f"{group}_")}' if group else field.name


def fields_by_ros_name(cls: type) -> dict[str, dataclasses.Field]:
    """Return the fields that are parameters: those of no group first, then group by group."""
    fields = [f for f in dataclasses.fields(cls) if _INFO in f.metadata]
    # A class that inherits groups and adds to them, or adds fields of none, mixes them up.
    groups = list(dict.fromkeys(['', *(info_of(f).group for f in fields)]))
    fields.sort(key=lambda f: groups.index(info_of(f).group))
    return {ros_name(f): f for f in fields}


def check_values(instance: Any) -> None:
    """Check type, range and choices of every parameter of a dataclass instance.

    Raises:
        ParameterError: naming the parameter, its value and what it may be.
    """
    for name, field in fields_by_ros_name(type(instance)).items():
        _check_field(name, getattr(instance, field.name), field)


def _check_field(name: str, value: Any, field: dataclasses.Field) -> None:
    _check_type(name, value, field.default, info_of(field))
    for item in value if isinstance(value, tuple) else (value,):
        _check_value(name, item, info_of(field))


def _check_type(name: str, value: Any, default: Any, info: ParameterInfo) -> None:
    if isinstance(default, tuple):
        kind = type(info.empty[0])
        if not isinstance(value, tuple) or any(type(item) is not kind for item in value):
            shown = list(value) if isinstance(value, tuple) else value
            raise ParameterError(
                f"'{name}' must be a list of which each is {_type_word(kind())}, got {shown!r}"
            )
        return
    fits = type(value) is type(default) or (
        isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
    )
    if not fits:
        raise ParameterError(
            f"'{name}' must be {_type_word(default)}, got {value!r} ({type(value).__name__})"
        )


def _check_value(name: str, value: Any, info: ParameterInfo) -> None:
    if info.choices and value not in info.choices:
        raise ParameterError(f"'{name}' is '{value}'; it must be one of {', '.join(info.choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"'{name}' is {value}; it must be a finite number")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low = -math.inf if info.low is None else info.low
        high = math.inf if info.high is None else info.high
        if not low <= value <= high:
            unit = f' {info.unit}' if info.unit else ''
            raise ParameterError(f"'{name}' is {value}; it must be in {low:g}..{high:g}{unit}")


def check_frame_id(name: str, frame_id: str) -> None:
    """Check that a parameter names a tf2 frame.

    Raises:
        ParameterError: it is empty, has white space in it or a slash in front.
    """
    if not frame_id or frame_id.startswith('/') or any(c.isspace() for c in frame_id):
        raise ParameterError(
            f"'{name}' is '{frame_id}'; a tf2 frame has a name without spaces and leading slash"
        )


def declare(node: Node, cls: type[T]) -> T:
    """Declare every parameter of `cls` on a node and return the values in force.

    A whole number given for a decimal one is taken as such, at start and in later changes, and
    `[]` for an array that has none of a type. Call it before :func:`make_validator`.

    Raises:
        ParameterError: a value from the command line or a file is wrong; says what it may be.
    """
    refused = declare_all(node, cls)
    if refused:
        raise ParameterError('; '.join(refused.values()))
    return read(node, cls)


def declare_all(node: Node, cls: type) -> dict[str, str]:
    """Declare every parameter, the default in place of a value that cannot be taken.

    For nodes that outlive a wrong parameter file: they stay unconfigured until it is set right.

    Returns:
        What is wrong with each value refused, by the parameter's name.
    """
    node.add_pre_set_parameters_callback(_make_coercer(cls))
    refused = {}
    for name, field in fields_by_ros_name(cls).items():
        try:
            _declare_one(node, name, field, _read_at(cls))
            _check_field(name, _from_ros(node.get_parameter(name).value, field), field)
        except ParameterError as error:
            refused[name] = str(error)
            if node.has_parameter(name):
                node.undeclare_parameter(name)
            default = _to_ros(field.default, field)
            descriptor = descriptor_of(field, _read_at(cls))
            node.declare_parameter(name, default, descriptor, ignore_override=True)
    return refused


def _read_at(cls: type) -> str:
    return getattr(cls, 'READ_AT', 'configure')


def _declare_one(node: Node, name: str, field: dataclasses.Field, read_at: str) -> None:
    default = _to_ros(field.default, field)
    descriptor = descriptor_of(field, read_at)
    try:
        value = node.declare_parameter(name, default, descriptor).value
        if value is None:  # `[]` in a file or on the command line arrives as no value at all
            node.set_parameters([Parameter(name, value=_coerce(None, field, default))])
    except InvalidParameterTypeException:
        # Learn what was given, through a declaration that takes any type.
        given = node.declare_parameter(name, None, ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(name)
        value = _coerce(given, field, default)
        _check_type(name, _from_ros(value, field), field.default, info_of(field))
        try:
            descriptor = descriptor_of(field, read_at)
            node.declare_parameter(name, value, descriptor, ignore_override=True)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"'{name}': {error}") from error
    except InvalidParameterValueException as error:
        raise ParameterError(f"'{name}': {error}") from error


def descriptor_of(field: dataclasses.Field, read_at: str = 'configure') -> ParameterDescriptor:
    """Return the ROS descriptor of a field: description, constraints and range."""
    info = info_of(field)
    descriptor = ParameterDescriptor(
        name=ros_name(field),
        description=info.description,
        additional_constraints=constraints_of(field, read_at),
    )
    if info.low is not None and info.high is not None:
        if isinstance(field.default, float):
            bounds = FloatingPointRange(from_value=float(info.low), to_value=float(info.high))
            descriptor.floating_point_range = [bounds]
        elif isinstance(field.default, int):
            bounds = IntegerRange(from_value=int(info.low), to_value=int(info.high), step=1)
            descriptor.integer_range = [bounds]
    return descriptor


def constraints_of(field: dataclasses.Field, read_at: str = 'configure') -> str:
    """Return range, unit, choices and liveness of a field in words."""
    info = info_of(field)
    parts = []
    if info.choices:
        parts.append('one of ' + ', '.join(info.choices))
    if info.low is not None and info.high is not None:
        parts.append(f'{info.low:g}..{info.high:g}')
    if info.unit:
        parts.append(info.unit)
    if info.reconfigure:
        parts.append(f'read at {read_at}')
    return '; '.join(parts)


def read(node: Node, cls: type[T]) -> T:
    """Return the parameters now in force.

    Raises:
        ParameterError: they contradict each other.
    """
    return cls(**_values(node, cls))


def _values(node: Node, cls: type) -> dict[str, Any]:
    return {
        field.name: _from_ros(node.get_parameter(name).value, field)
        for name, field in fields_by_ros_name(cls).items()
    }


def make_validator(
    node: Node,
    cls: type[T],
    is_configured: Callable[[], bool] = lambda: False,
    check: Callable[[T], None] | None = None,
) -> Callable[[list[Parameter]], SetParametersResult]:
    """Make the callback for `add_on_set_parameters_callback`.

    It refuses what is out of range, what contradicts the other parameters (those set in the
    same request count), and, while configured, what is only read at configure. Parameters of
    others on the same node pass.

    Args:
        node: on which `cls` was declared.
        cls: the parameters' dataclass.
        is_configured: whether the node has been configured by now.
        check: may raise a SegPerceptionError against the new values as a whole.
    """
    known = fields_by_ros_name(cls)

    def validate(changes: list[Parameter]) -> SetParametersResult:
        mine = {p.name: p.value for p in changes if p.name in known}
        if not mine:
            return SetParametersResult(successful=True)
        try:
            values = _values(node, cls)
            for name, value in mine.items():
                field = known[name]
                new = _from_ros(value, field)
                if info_of(field).reconfigure and is_configured() and new != values[field.name]:
                    raise ParameterError(_read_once(node, name, _read_at(cls)))
                values[field.name] = new
            candidate = cls(**values)
            if check is not None:
                check(candidate)
        except SegPerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    return validate


def _read_once(node: Node, name: str, read_at: str) -> str:
    if read_at == 'start':
        return (
            f"'{name}' is read when the node starts: end it and start it again with the new value"
        )
    full = node.get_fully_qualified_name()
    return (
        f"'{name}' is read when the node is configured: ros2 lifecycle set {full} deactivate "
        f'(if active), ros2 lifecycle set {full} cleanup, set it, then configure and activate'
    )


def _make_coercer(cls: type) -> Callable[[list[Parameter]], list[Parameter]]:
    known = fields_by_ros_name(cls)

    def coerce(changes: list[Parameter]) -> list[Parameter]:
        result = []
        for change in changes:
            field = known.get(change.name)
            if field is not None:
                value = _coerce(change.value, field, _to_ros(field.default, field))
                if value is not change.value:
                    change = Parameter(change.name, value=value)
            result.append(change)
        return result

    return coerce


def _coerce(value: Any, field: dataclasses.Field, default: Any) -> Any:
    """Return `value` in the type of the parameter where nothing is lost, else as it is."""
    if isinstance(field.default, tuple):
        is_empty = value is None or (hasattr(value, '__len__') and len(value) == 0)
        return list(info_of(field).empty) if is_empty else value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _to_ros(value: Any, field: dataclasses.Field) -> Any:
    if isinstance(value, tuple):
        return list(value or info_of(field).empty)
    return value


def _from_ros(value: Any, field: dataclasses.Field) -> Any:
    if isinstance(field.default, tuple) and value is not None and not isinstance(value, str):
        items = tuple(value)
        return () if items == info_of(field).empty else items
    return value


def _type_word(default: Any) -> str:
    return {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}[
        type(default)
    ]


def render_yaml(cls: type, node_name: str = '/**') -> str:
    """Return the commented parameter file of the defaults, as `--params-file` takes it."""
    lines = [f'{node_name}:', '  ros__parameters:']
    group = ''
    for name, field in fields_by_ros_name(cls).items():
        info = info_of(field)
        if info.group != group:
            group = info.group
            lines += ['', f'    {group}:']
        indent = ' ' * (6 if group else 4)
        if lines[-1].strip() != f'{group}:':
            lines.append('')
        constraints = constraints_of(field, _read_at(cls))
        text = info.description + (f' [{constraints}]' if constraints else '')
        lines += textwrap.wrap(
            text,
            96,
            initial_indent=f'{indent}# ',
            subsequent_indent=f'{indent}# ',
            break_on_hyphens=False,
        )
        value = _yaml_value(_to_ros(field.default, field))
        lines.append(f'{indent}{name.rpartition(".")[2]}: {value}')
    return '\n'.join(lines) + '\n'


def _yaml_value(value: Any) -> str:
    if isinstance(value, list):
        return '[' + ', '.join(_yaml_value(item) for item in value) + ']'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
