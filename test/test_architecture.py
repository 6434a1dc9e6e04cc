"""The arrows of the house: which room may import what. Read from the source, nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'seg_perception'
MAX_LINES = 400

#: Rooms of ours that a room may import besides itself.
ARROWS = {
    'core': set(),
    'runtime': {'core'},
    'ros': {'core'},
    # The simulator is a mode of image_source_node, loaded only when asked for.
    'nodes': {'ros', 'runtime', 'core', 'simulation'},
    'zoo': {'core', 'runtime'},  # an export is written as a bundle
    'training': {'core', 'zoo', 'evaluation'},  # scored while it trains
    'evaluation': {'core', 'runtime', 'zoo'},  # a checkpoint is scored, too
    'simulation': {'core'},
    # The nodes' pipeline and messages over a recording, scored; streets to record one.
    'replay': {'core', 'runtime', 'ros', 'evaluation', 'simulation'},
}
#: Packages that only these places may import at all (paths below the package).
ONLY_IN = {
    'panda3d': {'simulation'},
    'direct': {'simulation'},  # Panda3D's Python half
    'vision_msgs': {'ros/optional.py'},
    'tf2_ros': {'ros/optional.py'},
    'launch': set(),  # launch files lie outside the package
    'launch_ros': set(),
    'onnxruntime': {'runtime', 'zoo', 'training', 'evaluation'},
    'openvino': {'runtime'},
    'edgefirst': {'runtime/tracking.py'},
    'numba': {'core/compiled.py'},
}
ROS_PACKAGES = {'rclpy', 'rosidl_runtime_py', 'ament_index_python', 'builtin_interfaces'}
#: Rooms that know no message and no node. (Bags are read by `rosbags`, without ROS.)
WITHOUT_ROS = {'core', 'runtime', 'zoo', 'training', 'evaluation', 'simulation'}
#: Know messages and no graph.
GRAPHLESS = {'replay'}
#: Too heavy to load with a node: only inside the functions that need them. Runtime's import of
#: foreign networks may load onnx, as long as nothing loads that code before it is asked for.
HEAVY = {'torch', 'torchvision', 'onnx', 'timm'}
LIGHT_ROOMS = {'core', 'runtime', 'ros', 'nodes', 'replay', ''}  # '' is the package's top: cli.py
LAZILY_LOADED = {('runtime', 'onnx')}
#: All that core may import besides the standard library.
CORE_NEEDS = {'numpy', 'cv2', 'yaml', 'numba'}


def python_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob('*.py') if '__pycache__' not in p.parts)


FILES = python_files(ROOT / PACKAGE)


def imports(tree: ast.AST, package: str = '', *, module_level: bool = False) -> Iterator[str]:
    """Yield the dotted names that a file imports.

    Args:
        tree: the parsed file.
        package: dotted name of the package that the file lies in, for relative imports.
        module_level: only what importing the file imports: no function bodies, and nothing
            that is there for type checkers.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f'{base}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ('import_module', '__import__'):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))
        skipped = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if module_level and (skipped or _is_for_type_checkers(node)):
            continue
        yield from imports(node, package, module_level=module_level)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ''
    parts = package.split('.')
    base = parts[: len(parts) - node.level + 1]
    return '.'.join([*base, *filter(None, [node.module])])


def _called(node: ast.Call) -> str:
    return getattr(node.func, 'attr', getattr(node.func, 'id', ''))


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test)


def room_of(dotted: str) -> str | None:
    """Room of ours that a dotted name lies in; None if it isn't ours or is the package itself."""
    parts = dotted.split('.')
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in ARROWS else None


def _is_ros(top: str) -> bool:
    return top in ROS_PACKAGES or top.endswith(('_msgs', '_srvs')) or top.startswith('tf2_')


def _inside(relative: str, places: set[str]) -> bool:
    return any(relative == place or relative.startswith(f'{place}/') for place in places)


def violations(source: str, relative: str) -> list[str]:
    """Say what is wrong with the imports of a file at ``relative`` below the package."""
    tree = ast.parse(source)
    folders = relative.split('/')[:-1]
    room = folders[0] if folders else ''
    package = '.'.join([PACKAGE, *folders])
    names = set(imports(tree, package))
    tops = {name.split('.')[0] for name in names}
    loaded = {name.split('.')[0] for name in imports(tree, package, module_level=True)}

    wrong = []
    if room in ARROWS:
        reached = {room_of(name) for name in names} - {None, room}
        wrong += [f'{room} must not import {other}' for other in reached - ARROWS[room]]
    if room in WITHOUT_ROS:
        wrong += [f'{room} must not know ROS ({top})' for top in filter(_is_ros, tops)]
    if room in GRAPHLESS and 'rclpy' in tops:
        wrong.append(f'{room} must not import rclpy')
    if room in LIGHT_ROOMS:
        heavy = {top for top in loaded & HEAVY if (room, top) not in LAZILY_LOADED}
        wrong += [f'{top} at module level' for top in heavy]
    if room == 'core':
        foreign = {t for t in tops if not _is_standard(t)} - CORE_NEEDS - {PACKAGE, ''}
        wrong += [f'core must not import {top}' for top in foreign]
    for top in tops & set(ONLY_IN):
        if not _inside(relative, ONLY_IN[top]):
            wrong.append(f'{top} only in {sorted(ONLY_IN[top]) or "launch files"}')
    return sorted(set(wrong))


def _is_standard(top: str) -> bool:
    return top in sys.stdlib_module_names


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT / PACKAGE)))
def test_arrows(path):
    relative = path.relative_to(ROOT / PACKAGE).as_posix()
    assert violations(path.read_text(encoding='utf-8'), relative) == []


def loaded_with(roots: list[Path]) -> dict[str, set[str]]:
    """Follow module-level imports; return the foreign top-level names by our module."""
    modules = {_module_name(path): path for path in FILES}
    reached: dict[str, set[str]] = {}
    waiting = [_module_name(path) for path in roots]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in modules:
            continue
        path = modules[name]
        package = name if path.name == '__init__.py' else name.rpartition('.')[0]
        names = set(imports(ast.parse(path.read_text('utf-8')), package, module_level=True))
        reached[name] = {n.split('.')[0] for n in names} - {PACKAGE}
        waiting += [name.rpartition('.')[0], *(n for n in names if n in modules)]
    return reached


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def test_a_node_and_the_command_line_load_nothing_heavy():
    light = [
        p for p in FILES if p.relative_to(ROOT / PACKAGE).parts[0] in ('core', 'ros', 'nodes')
    ]
    top = [p for p in FILES if p.parent == ROOT / PACKAGE]
    reached = loaded_with(light + top)
    assert len(reached) >= len(light + top)
    heavy = {module: tops & HEAVY for module, tops in reached.items() if tops & HEAVY}
    assert not heavy, 'import these, or what imports them, inside the functions that need them'


def test_files_stay_readable():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in FILES
        if (lines := len(path.read_text(encoding='utf-8').splitlines())) > MAX_LINES
    }
    assert not long, f'above {MAX_LINES} lines: split by what changes together'


def test_every_room_has_its_arrows():
    rooms = {p.parent.name for p in FILES if p.name == '__init__.py'} - {PACKAGE}
    nested = {p.name for r in ARROWS for p in (ROOT / PACKAGE / r).glob('*') if p.is_dir()}
    assert rooms - nested == set(ARROWS), 'a new room needs a line in ARROWS'


@pytest.mark.parametrize(
    ('relative', 'source', 'message'),
    [
        ('core/a.py', 'from seg_perception.runtime import bundle', 'must not import runtime'),
        ('core/a.py', 'from ..ros.images import Frame', 'must not import ros'),
        ('core/a.py', 'from seg_perception import ros', 'must not import ros'),
        ('evaluation/a.py', 'def f():\n    import rclpy', 'must not know ROS'),
        ('core/a.py', 'import scipy', 'must not import scipy'),
        ('runtime/a.py', 'import seg_perception.nodes.run', 'must not import nodes'),
        ('runtime/a.py', 'from sensor_msgs.msg import Image', 'must not know ROS'),
        ('nodes/a.py', 'try:\n    import onnx\nexcept ImportError:\n    onnx = None', 'onnx at'),
        ('runtime/a.py', 'class A:\n    from torch import nn', 'torch at module level'),
        ('cli.py', 'import torch', 'torch at module level'),
        ('ros/a.py', 'from seg_perception.runtime.session import Session', 'import runtime'),
        ('ros/a.py', 'def f():\n    import tf2_ros', 'tf2_ros only in'),
        ('ros/a.py', "import importlib\nimportlib.import_module('vision_msgs.msg')", 'only in'),
        ('nodes/a.py', 'from launch_ros.actions import Node', 'only in launch files'),
        ('nodes/a.py', 'from seg_perception.zoo import registry', 'must not import zoo'),
        ('nodes/a.py', 'from panda3d.core import NodePath', 'panda3d only in'),
        ('zoo/a.py', 'from seg_perception.training import losses', 'must not import training'),
        ('replay/a.py', 'import rclpy.node', 'must not import rclpy'),
        ('replay/a.py', 'from seg_perception.nodes.run import run', 'must not import nodes'),
    ],
)
def test_the_check_sees_what_is_wrong(relative, source, message):
    found = violations(source, relative)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ('relative', 'source'),
    [
        ('core/a.py', 'import json\nimport cv2\nfrom seg_perception.core.errors import X'),
        ('runtime/a.py', 'import onnx'),
        ('ros/a.py', 'def f():\n    import onnx'),
        ('ros/a.py', 'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import onnx'),
        ('ros/optional.py', 'import tf2_ros'),
        ('nodes/a.py', 'from seg_perception.ros import images\nfrom ..runtime import bundle'),
        ('simulation/a.py', 'from panda3d.core import NodePath'),
        ('zoo/a.py', 'import torch'),
        ('cli.py', 'def f():\n    from seg_perception.training import trainer'),
    ],
)
def test_the_check_lets_pass_what_is_right(relative, source):
    assert violations(source, relative) == []


def test_test_files_have_names_of_their_own():
    """Without `__init__.py`, pytest cannot tell two files of one name apart."""
    names = [path.name for path in (ROOT / 'test').rglob('test_*.py')]
    assert sorted(names) == sorted(set(names))
