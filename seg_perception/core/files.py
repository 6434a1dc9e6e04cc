"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, then rename: whoever looks finds the old file or the new one, never half.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    beside = path.with_name(f'.{path.name}.partial')
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
