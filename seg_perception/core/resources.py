"""Where the package's own files (config/, models/, launch/) lie in every kind of install."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = 'seg_perception'


def share_dir() -> Path:
    """Return the folder that holds ``config/`` and ``models/``.

    Walks up from this file: a checkout (or ``colcon build --symlink-install``) has
    ``package.xml`` beside the Python package; every other install (colcon, pip) has
    ``<prefix>/share/seg_perception`` above ``site-packages``. Asking no environment variable
    keeps an overlay from handing one version's code another version's files.

    Raises:
        FileNotFoundError: the install is incomplete.
    """
    here = Path(__file__).resolve().parents[1]
    if (here.parent / 'package.xml').is_file() and (here.parent / 'config').is_dir():
        return here.parent
    for prefix in here.parents:
        share = prefix / 'share' / PACKAGE
        if (share / 'package.xml').is_file():
            return share
    raise FileNotFoundError(
        f'no share/{PACKAGE} above {here}: the install is incomplete; build it again with '
        "'colcon build' or 'pip install .'"
    )


def user_data_dir() -> Path:
    """Return the XDG data folder of this package, where imported models are kept."""
    base = os.environ.get('XDG_DATA_HOME') or Path.home() / '.local' / 'share'
    return Path(base) / PACKAGE
