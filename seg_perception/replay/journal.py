"""What the networks have said so far, kept on disk so that an interrupted replay can go on.

A replay that resumes runs the whole pipeline again from the first frame, with the networks'
answers taken from here: everything after the network (projection, fusion, scores, the written
bag) is then exactly what an uninterrupted run gives.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.core.results import SemanticResult
from seg_perception.runtime.strategy import Segmenter, Strategy

_MAGIC = b'seg_perception journal 1\n'
_LENGTHS = struct.Struct('<II')  # bytes of the description, bytes of the arrays


class Journal:
    """A file of records (description, arrays) behind a fingerprint.

    Args:
        path: of the file; its folder exists.
        fingerprint: what the records depend on; a journal made with another is not used.
        resume: read what is there; else begin anew.

    Raises:
        SourceError: ``resume``, and the journal is of another replay.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        self._fingerprint = json.dumps(fingerprint, sort_keys=True).encode()
        self._file = self._open(resume)
        self._reading = resume

    def _open(self, resume: bool) -> BinaryIO:
        head = _MAGIC + struct.pack('<I', len(self._fingerprint)) + self._fingerprint
        if resume and self.path.is_file():
            file = self.path.open('r+b')
            if file.read(len(head)) == head:
                return file
            file.close()
            raise SourceError(
                f'{self.path}: made by a replay of another bag, model or parameters, or damaged: '
                'resume with the options it was started with, or start anew with --overwrite'
            )
        file = self.path.open('w+b')
        file.write(head)
        return file

    def read(self, key: list[Any]) -> tuple[dict[str, Any], bytes] | None:
        """Return the next record; None behind the last whole one, where writing goes on.

        Args:
            key: of the picture that it must be of.

        Raises:
            SourceError: it is of another.
        """
        if not self._reading:
            return None
        start = self._file.tell()
        try:
            head = self._file.read(_LENGTHS.size)
            text, data = (self._file.read(n) for n in _LENGTHS.unpack(head))
            description, arrays = json.loads(text), zlib.decompress(data)
        except (struct.error, ValueError, zlib.error):
            # Here it was interrupted, maybe in the middle of a record.
            self._file.seek(start)
            self._file.truncate()
            self._reading = False
            return None
        if description['key'] != key:
            raise SourceError(
                f'the journal has {description["key"]} where the bag has {key}: the bag has '
                'changed; start anew with --overwrite'
            )
        return description, arrays

    def write(self, key: list[Any], description: dict[str, Any], data: bytes) -> None:
        """Append a record; it is in the file when this returns, should the process die."""
        text, packed = json.dumps({'key': key, **description}).encode(), zlib.compress(data, 1)
        self._file.write(_LENGTHS.pack(len(text), len(packed)) + text + packed)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class JournaledSegmenter(Strategy):
    """A segmenter that answers from a journal as long as that goes, and continues it.

    ``last_timing`` has 'segment' beside the network's stages: of the run that did the work.

    Attributes:
        key: of the next picture, which must be the one recorded.
    """

    def __init__(self, segmenter: Segmenter, journal: Journal) -> None:
        super().__init__(segmenter)
        self._journal = journal
        self._warm = False
        self.key: list[Any] = []

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        return self.segmenter.network_size(width, height)

    def warm_up(self, width: int, height: int) -> None:
        self.segmenter.warm_up(width, height)

    def at_scale(self, scale: float) -> Segmenter:
        return self.segmenter.at_scale(scale)

    def segment(self, image: np.ndarray, color: str = 'rgb') -> SemanticResult:
        record = self._journal.read(self.key)
        if record is not None:
            return self._recall(*record)
        if not self._warm:
            self.segmenter.warm_up(image.shape[1], image.shape[0])
            self._warm = True
        start = time.perf_counter()
        result = self.segmenter.segment(image, color)
        elapsed = (time.perf_counter() - start) * 1e3
        self.last_timing = {**self.segmenter.last_timing, 'segment': elapsed}
        self._journal.write(
            self.key,
            {
                'size': result.size,
                'image_size': result.image_size,
                'timing': self.last_timing,
            },
            result.labels.tobytes() + result.confidence.tobytes(),
        )
        return result

    def _recall(self, description: dict[str, Any], data: bytes) -> SemanticResult:
        self.last_timing = description['timing']
        width, height = description['size']
        planes = np.frombuffer(data, np.uint8).reshape(2, height, width).copy()
        return SemanticResult(planes[0], planes[1], tuple(description['image_size']))
