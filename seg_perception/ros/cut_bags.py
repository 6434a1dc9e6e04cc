"""What is left of a bag file that was cut off: by a crash, a full disk, a broken copy."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_MCAP_MAGIC = b'\x89MCAP0\r\n'
#: Footer record without a summary, and the closing magic (https://mcap.dev/spec).
_MCAP_TAIL = b'\x02' + (20).to_bytes(8, 'little') + bytes(20) + _MCAP_MAGIC


class CutMcap:
    """An mcap file that was cut off, seen as a whole one: its complete records and a footer.

    Has the methods of pathlib.Path that rosbags asks of a path; nothing is copied.
    """

    def __init__(self, path: Path):
        self._path = path
        self.suffix, self.stem = path.suffix, path.stem

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return self._path.exists()

    def is_dir(self) -> bool:
        return False

    def open(self, mode: str = 'rb') -> io.BufferedReader:
        return io.BufferedReader(_Appended(self._path, _end_of_records(self._path), _MCAP_TAIL))


class _Appended(io.RawIOBase):
    """The first ``length`` bytes of a file followed by ``tail``; read-only and seekable."""

    def __init__(self, path: Path, length: int, tail: bytes):
        super().__init__()
        self._file, self._length, self._tail = path.open('rb'), length, tail
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = (0, self._at, self._length + len(self._tail))
        self._at = max(bases[whence] + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        if self._at < self._length:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._length - self._at))
        else:
            start = self._at - self._length
            data = self._tail[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _end_of_records(path: Path) -> int:
    """Offset behind the last complete record of an mcap file's data section."""
    size = path.stat().st_size
    with path.open('rb') as file:
        end = len(file.read(len(_MCAP_MAGIC)))
        while True:
            head = file.read(9)
            # 0x0F (data end) and 0x02 (footer) close the data section.
            if len(head) < 9 or head[0] in (0x00, 0x02, 0x0F):
                return end
            after = file.tell() + int.from_bytes(head[1:], 'little')
            if after > size:
                return end
            end = file.seek(after)


@dataclass(frozen=True)
class CutConnection:
    """A topic of a cut sqlite3 bag; named as rosbags names the same things."""

    id: int
    topic: str
    msgtype: str
    msgcount: int


class CutSqlite:
    """Reader of a sqlite3 bag that SQLite calls malformed because its end is missing.

    Gives the messages in the order they were written up to the first page that is not there.
    Tables: https://github.com/ros2/rosbag2, rosbag2_storage_sqlite3.

    Raises:
        sqlite3.Error: on entering, where not even the tables can be found.
    """

    def __init__(self, path: Path):
        self.path = path
        self.connections: list[CutConnection] = []
        self.start_time = self.end_time = 0

    def __enter__(self) -> CutSqlite:
        self._database = sqlite3.connect(
            f'{self.path.absolute().as_uri()}?immutable=1', uri=True, check_same_thread=False
        )
        # SQLite opens no file with fewer pages than its header states, except for repair,
        # which this says; the connection is read-only all the same.
        self._database.execute('PRAGMA writable_schema = ON')
        topics = self._database.execute('SELECT id, name, type FROM topics').fetchall()
        counts: dict[int, int] = {}
        times: list[int] = []
        for topic, time in self._rows('topic_id, timestamp'):
            counts[topic] = counts.get(topic, 0) + 1
            times.append(time)
        self.connections = [CutConnection(*row, counts.get(row[0], 0)) for row in topics]
        self.start_time, self.end_time = (min(times), max(times)) if times else (0, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def messages(
        self, connections: Collection[CutConnection]
    ) -> Iterator[tuple[CutConnection, int, bytes]]:
        """Give (connection, recording time in ns, bytes) of the wanted topics."""
        wanted = {connection.id: connection for connection in connections}
        for topic, time, data in self._rows('topic_id, timestamp, data'):
            if topic in wanted:
                yield wanted[topic], time, data

    def _rows(self, columns: str) -> Iterator[tuple]:
        """Rows of the messages' table itself: its index lies behind it and is gone first."""
        try:
            for row in self._database.execute(f'SELECT {columns} FROM messages NOT INDEXED'):
                if None in row:
                    return
                yield row
        except sqlite3.DatabaseError:
            return  # here the file ends
