"""Messages out of a rosbag2 (mcap or sqlite3) without a ROS graph, also one that was cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message

from seg_perception.core.errors import SourceError
from seg_perception.ros.cut_bags import CutMcap, CutSqlite
from seg_perception.ros.sources import BAG_SUFFIXES, natural_key

Report = Callable[[str], None]


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag: its name, message type and number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """A recorded message: topic, type, recording time (ns since the epoch), serialized (CDR)."""

    topic: str
    type: str
    log_ns: int
    raw: bytes | memoryview

    def read(self, kind: type) -> Any:
        """Return it as a message of a class.

        Raises:
            SourceError: its bytes are not one.
        """
        try:
            return deserialize_message(bytes(self.raw), kind)
        except Exception as error:  # the middleware's own types, different in every RMW
            raise SourceError(f'not a {kind.__name__}: {error}') from error


class BagReader:
    """A rosbag2 as far as it can be read.

    What is damaged or cut off is reported once, however often the bag is passed, and kept in
    ``damage``.

    Attributes:
        path: the bag's folder, or one file of it.
        topics: what it holds, by name; topics without messages too.
        start_ns, end_ns: recording times of the first and the last message.
        damage: what was found wrong so far, a line each; empty for a whole bag.

    Raises:
        SourceError: there is no such bag, or nothing of it can be read.
    """

    def __init__(self, path: Path, report: Report | None = None) -> None:
        self.path = path.expanduser()
        self.damage: list[str] = []
        self._report = report or (lambda _: None)
        if not self.path.exists():
            raise SourceError(f'{path}: no such bag')
        with self._readers() as readers:
            counts: dict[tuple[str, str], int] = {}
            for connection in (c for reader in readers for c in reader.connections):
                key = (connection.topic, connection.msgtype)
                counts[key] = counts.get(key, 0) + connection.msgcount
            self.start_ns = min(r.start_time for r in readers)
            self.end_ns = max(r.end_time for r in readers)
        self.topics = [BagTopic(name, kind, n) for (name, kind), n in sorted(counts.items())]

    @property
    def seconds(self) -> float:
        """Time from the first message to the last."""
        return (self.end_ns - self.start_ns) / 1e9

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics in the order of recording, as far as they go."""
        given = 0
        with self._readers() as readers:
            for reader in readers:
                wanted = [c for c in reader.connections if c.topic in topics]
                if not wanted:
                    continue
                try:
                    for connection, log_ns, raw in reader.messages(wanted):
                        yield BagMessage(connection.topic, connection.msgtype, log_ns, raw)
                        given += 1
                except Exception as error:  # storage plug-ins raise whatever their parsers do
                    names = ' and '.join(sorted(set(topics) - {''}))
                    self._damaged(
                        f'{reader.path}: damaged, read no further than {given} messages of '
                        f'{names} ({_text(error)})'
                    )

    def _damaged(self, text: str) -> None:
        if text not in self.damage:
            self.damage.append(text)
            self._report(text)

    @contextmanager
    def _readers(self) -> Iterator[list]:
        """Open the bag: as a whole, else file by file, mending what was cut off."""
        try:
            from rosbags.rosbag2 import Reader
        except ImportError as error:
            raise SourceError(
                f"{self.path}: reading bags needs 'rosbags': pip install rosbags"
            ) from error
        with ExitStack() as stack:
            try:
                readers = [stack.enter_context(Reader(self.path))]
            except Exception as error:  # a bag without its metadata, or with a damaged file
                readers = self._open_files(Reader, stack, _text(error))
            yield readers

    def _open_files(self, reader_class: type, stack: ExitStack, why: str) -> list:
        files = [self.path]
        if self.path.is_dir():
            files = [f for f in self.path.iterdir() if f.suffix in BAG_SUFFIXES]
        readers, errors = [], [why]
        for file in sorted(files, key=lambda f: natural_key(f.name)):
            ways = [lambda f=file: reader_class(f)]
            if file.suffix == '.mcap':
                ways.append(lambda f=file: reader_class(CutMcap(f)))
            else:
                ways.append(lambda f=file: CutSqlite(f))
            for open_it in ways:
                try:
                    readers.append(stack.enter_context(open_it()))
                    break
                except Exception as error:
                    errors.append(f'{file.name}: {_text(error)}')
        if not readers:
            raise SourceError(f'{self.path}: not a readable rosbag2: {"; ".join(errors)}')
        self._damaged(
            f'{self.path}: damaged or cut off, read as far as it goes ({"; ".join(errors)})'
        )
        return readers


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
