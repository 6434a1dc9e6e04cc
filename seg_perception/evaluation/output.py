"""What an evaluation leaves: whole files, or a clear error."""

from __future__ import annotations

from pathlib import Path

from seg_perception.core.errors import DatasetError
from seg_perception.core.files import write_whole


def write_output(path: Path, data: bytes) -> None:
    """Write a file whole, its folder made if need be.

    Raises:
        DatasetError: it cannot be written; what was there stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise DatasetError(f'cannot write {path}: {error.strerror}') from error
