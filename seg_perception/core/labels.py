"""Label sets: what the numbers of a mask mean, and what each class means to a vehicle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seg_perception.core.errors import LabelSetError
from seg_perception.core.resources import share_dir
from seg_perception.core.results import UNLABELLED

#: Depth in m behind its contact that a standing thing is taken to have if nothing is said.
FOOTPRINT = 0.5
MAX_FOOTPRINT = 20.0

#: Keys of a class in a label file that may be left out, besides ``cost``.
_FACTS = ('flat', 'overhang', 'footprint', 'moving')

#: Codes of ``LabelSet.role_table()``.
NO_EVIDENCE, DRIVABLE_CODE, OBSTACLE_CODE = 0, 1, 2


class Role(str, Enum):
    """What a class says about the ground that its pixels show."""

    DRIVABLE = 'drivable'
    OBSTACLE = 'obstacle'
    IGNORE = 'ignore'


_ROLE_CODES = {
    Role.IGNORE: NO_EVIDENCE,
    Role.DRIVABLE: DRIVABLE_CODE,
    Role.OBSTACLE: OBSTACLE_CODE,
}
#: Cost of a class whose role was given without one.
_ROLE_COSTS = {Role.IGNORE: 0, Role.DRIVABLE: 0, Role.OBSTACLE: 100}


@dataclass(frozen=True)
class LabelClass:
    """One class of a label set.

    Attributes:
        id: pixel value in the mask.
        name: unique in its set.
        color: (r, g, b), 0..255 each.
        role: what its pixels say about the ground.
        cost: 0..100, the value of a grid cell that the class decides (nav_msgs/OccupancyGrid).
            An obstacle costs at least 1: 0 would publish it as free ground.
        flat: it lies in the ground (pavement, grass, water): what is seen is seen where it is,
            and nothing hides behind it. Drivable classes lie flat whatever this says.
        overhang: its parts above the ground block no road beneath (signs, lights, tree crowns).
            With a ``footprint`` of 0 it has no foot on the ground at all.
        footprint: m, how deep a standing thing is taken to be behind where it meets the ground.
        moving: it may drive or walk away, so what is remembered of it fades faster.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    role: Role
    cost: int
    flat: bool = False
    overhang: bool = False
    footprint: float = FOOTPRINT
    moving: bool = False

    def __post_init__(self) -> None:
        where = f'class {self.id!r} ({self.name!r})'
        if not _is_int(self.id) or not 0 <= self.id < UNLABELLED:
            raise LabelSetError(f'{where}: id must be a whole number in 0..{UNLABELLED - 1}')
        if not isinstance(self.name, str) or not self.name.strip():
            raise LabelSetError(f'{where}: name must be a text that is not empty')
        if len(self.color) != 3 or not all(_is_int(c) and 0 <= c <= 255 for c in self.color):
            raise LabelSetError(f'{where}: color must be [r, g, b], 0..255, got {self.color!r}')
        if not isinstance(self.role, Role):
            raise LabelSetError(f'{where}: role must be a Role, got {self.role!r}')
        low = 1 if self.role is Role.OBSTACLE else 0
        if not _is_int(self.cost) or not low <= self.cost <= 100:
            raise LabelSetError(
                f'{where}: cost of the role {self.role.value} must be a whole number in '
                f'{low}..100, got {self.cost!r}'
            )
        for name in ('flat', 'overhang', 'moving'):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise LabelSetError(
                    f'{where}: {name} must be true or false, got {getattr(self, name)!r}'
                )
        deep = self.footprint
        if isinstance(deep, bool) or not isinstance(deep, (int, float, np.number)):
            raise LabelSetError(f'{where}: footprint must be a number of metres, got {deep!r}')
        if not 0 <= deep <= MAX_FOOTPRINT:
            raise LabelSetError(
                f'{where}: footprint must be in 0..{MAX_FOOTPRINT:g} m, got {deep!r}'
            )
        if self.flat and self.overhang:
            raise LabelSetError(f'{where}: what lies flat cannot overhang; set one of both')

    @property
    def lies_flat(self) -> bool:
        """Whether its pixels show the ground itself."""
        return self.flat or self.role is Role.DRIVABLE


@dataclass(frozen=True)
class GroundTraits:
    """What the classes are to the ground, by pixel value; arrays are [256].

    Attributes:
        flat, overhang, moving: bool; see :class:`LabelClass`. Pixel values without a class are
            none of them.
        footprint: float32, m.
    """

    flat: np.ndarray
    overhang: np.ndarray
    moving: np.ndarray
    footprint: np.ndarray


@dataclass(frozen=True)
class LabelSet:
    """The classes of a model, ordered by id.

    Attributes:
        name: of the set, e.g. ``cityscapes``.
        classes: ids 0..n-1 in order, n <= 255 (255 is "unlabelled"), names unique.
    """

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise LabelSetError(f'a label set needs a name, got {self.name!r}')
        if not 1 <= len(self.classes) <= UNLABELLED:
            raise LabelSetError(
                f'label set {self.name!r} has {len(self.classes)} classes; it must have '
                f'1..{UNLABELLED}: a mask is uint8 and {UNLABELLED} means unlabelled'
            )
        ids = [item.id for item in self.classes]
        if ids != list(range(len(ids))):
            raise LabelSetError(
                f'label set {self.name!r}: ids must run 0..{len(ids) - 1} in order, got {ids}'
            )
        names = [item.name for item in self.classes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LabelSetError(f'label set {self.name!r}: names occur twice: {twice}')

    @classmethod
    def load(cls, path: str | Path) -> LabelSet:
        """Read a YAML file with the keys ``name`` and ``classes``.

        Raises:
            LabelSetError: the file is missing, is no YAML, or does not describe a label set.
        """
        path = Path(path)
        try:
            data = yaml.safe_load(path.read_text(encoding='utf-8'))
        except OSError as error:
            raise LabelSetError(
                f'cannot read the label set {path}: {error.strerror or error}'
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise LabelSetError(f'{path} is no valid YAML: {error}') from error
        try:
            return cls.from_dict(data)
        except LabelSetError as error:
            raise LabelSetError(f'{path}: {error}') from error

    @classmethod
    def named(cls, name: str) -> LabelSet:
        """Load one of the package's own label sets (``config/labels/<name>.yaml``).

        Raises:
            LabelSetError: there is no such set; the message lists those there are.
        """
        known = cls.available()
        if name not in known:
            raise LabelSetError(f'no label set {name!r}; known: {", ".join(known) or "none"}')
        return cls.load(_labels_dir() / f'{name}.yaml')

    @staticmethod
    def available() -> list[str]:
        """Names that ``named`` accepts, sorted."""
        return sorted(path.stem for path in _labels_dir().glob('*.yaml'))

    @classmethod
    def from_dict(cls, data: Any) -> LabelSet:
        """Build from ``{'name': ..., 'classes': [{'id', 'name', 'color', 'role', 'cost'}]}``.

        A class may also say ``flat``, ``overhang``, ``footprint`` and ``moving``.

        Raises:
            LabelSetError: naming the class and the key that is wrong.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get('classes'), (list, tuple)):
            raise LabelSetError("a label set needs the keys 'name' and 'classes' (a list)")
        classes = tuple(_class_from_dict(i, item) for i, item in enumerate(data['classes']))
        return cls(data.get('name', ''), classes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``from_dict`` (and YAML, JSON) takes back."""
        return {
            'name': self.name,
            'classes': [
                {
                    'id': item.id,
                    'name': item.name,
                    'color': list(item.color),
                    'role': item.role.value,
                    'cost': item.cost,
                    **_facts_of(item),
                }
                for item in self.classes
            ],
        }

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(item.name for item in self.classes)

    def index(self, name: str) -> int:
        """Return the id of a class.

        Raises:
            LabelSetError: there is no such class; the message lists those there are.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelSetError(
                f'label set {self.name!r} has no class {name!r}; known: {", ".join(self.names)}'
            ) from None

    def with_roles(self, changes: Iterable[str]) -> LabelSet:
        """Return a copy in which some classes have another role.

        Args:
            changes: ``'<class>:<role>'`` or ``'<class>:<role>:<cost>'``, e.g.
                ``'sidewalk:drivable:30'``. Without a cost a class whose role changes gets 0
                (100 as an obstacle), and one that keeps its role keeps its cost.

        Raises:
            LabelSetError: unknown class or role, or a cost out of range.
        """
        classes = list(self.classes)
        for change in changes:
            name, role, cost = _parse_role_change(change)
            old = classes[self.index(name)]
            if cost is None:
                cost = old.cost if role is old.role else _ROLE_COSTS[role]
            classes[old.id] = dataclasses.replace(old, role=role, cost=cost)
        return dataclasses.replace(self, classes=tuple(classes))

    def palette(self) -> np.ndarray:
        """Return uint8 [256, 3]: RGB per pixel value; black where there is no class."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = [item.color for item in self.classes]
        return table

    def role_table(self) -> np.ndarray:
        """Return uint8 [256]: 0 no evidence (ignored or no class), 1 drivable, 2 obstacle."""
        table = np.full(256, NO_EVIDENCE, np.uint8)
        table[: len(self)] = [_ROLE_CODES[item.role] for item in self.classes]
        return table

    def cost_table(self) -> np.ndarray:
        """Return uint8 [256]: cost 0..100 per pixel value; 0 where there is no class."""
        table = np.zeros(256, np.uint8)
        table[: len(self)] = [item.cost for item in self.classes]
        return table

    def ground_traits(self) -> GroundTraits:
        """Return what the projection onto the ground needs to know, by pixel value."""
        columns = {
            name: np.zeros(256, np.float32 if name == 'footprint' else bool) for name in _FACTS
        }
        for item in self.classes:
            columns['flat'][item.id] = item.lies_flat
            columns['overhang'][item.id] = item.overhang and not item.lies_flat
            columns['footprint'][item.id] = item.footprint
            columns['moving'][item.id] = item.moving
        return GroundTraits(**columns)


def _facts_of(item: LabelClass) -> dict[str, Any]:
    """Return the optional facts of a class that are not the usual ones."""
    usual = {field.name: field.default for field in dataclasses.fields(LabelClass)}
    return {name: getattr(item, name) for name in _FACTS if getattr(item, name) != usual[name]}


def _labels_dir() -> Path:
    return share_dir() / 'config' / 'labels'


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _role(text: Any, where: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        known = ', '.join(role.value for role in Role)
        raise LabelSetError(f'{where}: unknown role {text!r}; known: {known}') from None


def _class_from_dict(position: int, item: Any) -> LabelClass:
    where = f'class at position {position}'
    if not isinstance(item, Mapping):
        raise LabelSetError(f'{where}: expected a mapping, got {item!r}')
    needed = {'id', 'name', 'color', 'role'}
    missing, extra = needed - set(item), set(item) - needed - {'cost', *_FACTS}
    if missing or extra:
        raise LabelSetError(
            f'{where}: missing keys {sorted(missing)}, unknown keys {sorted(map(str, extra))}'
        )
    role = _role(item['role'], where)
    if not isinstance(item['color'], (list, tuple)):
        raise LabelSetError(f'{where}: color must be [r, g, b], got {item["color"]!r}')
    cost = item.get('cost', _ROLE_COSTS[role])
    facts = {name: item[name] for name in _FACTS if name in item}
    return LabelClass(item['id'], item['name'], tuple(item['color']), role, cost, **facts)


def _parse_role_change(change: str) -> tuple[str, Role, int | None]:
    where = f'role change {change!r}'
    parts = [part.strip() for part in str(change).split(':')]
    if len(parts) not in (2, 3) or not all(parts):
        raise LabelSetError(f"{where}: write '<class>:<role>' or '<class>:<role>:<cost>'")
    if len(parts) == 2:
        return parts[0], _role(parts[1], where), None
    try:
        return parts[0], _role(parts[1], where), int(parts[2])
    except ValueError:
        raise LabelSetError(f'{where}: the cost must be a whole number in 0..100') from None
