"""The one place where parts of ROS are imported that not every install has.

PyPI has neither vision_msgs nor tf2_ros. Each name here is the module, or None; whoever uses it
asks first and does without.
"""

from __future__ import annotations

import importlib
from types import ModuleType

#: Why a module is None although it seems to be installed: name -> error.
broken: dict[str, str] = {}


def _import(name: str, *parts: str) -> ModuleType | None:
    """Import a package and the parts of it that are used as its attributes."""
    try:
        module = importlib.import_module(name)
        for part in parts:
            importlib.import_module(f'{name}.{part}')
    except ModuleNotFoundError as error:
        if error.name != name:
            broken[name] = f'{type(error).__name__}: {error}'
        return None
    except ImportError as error:
        broken[name] = f'{type(error).__name__}: {error}'
        return None
    return module


vision_msgs = _import('vision_msgs', 'msg')
tf2_ros = _import('tf2_ros')
