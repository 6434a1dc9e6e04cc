"""One of several parts of a node, speaking through the node's health."""

from __future__ import annotations

from typing import Any

from seg_perception.ros.health import Health, Level


class HealthScope:
    """A part of what a node has several of, a camera say, speaking through the node's health.

    Its problems have keys of their own and begin with its name.

    Args:
        health: of the node.
        name: of the part; '' for the only one, which needs no name.
    """

    def __init__(self, health: Health, name: str) -> None:
        self._health = health
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._health, name)

    def _key(self, key: str) -> str:
        return f'{self._name} {key}' if self._name else key

    def _text(self, text: str) -> str:
        return f'{self._name}: {text}' if self._name else text

    def set(self, key: str, value: object) -> None:
        """Set a fact of this part."""
        self._health.set(self._key(key), value)

    def problem(self, key: str, message: str, level: Level = Level.ERROR) -> None:
        """Report a problem of this part."""
        self._health.problem(self._key(key), self._text(message), level)

    def has(self, key: str) -> bool:
        """Whether a problem of this part is reported and not cleared."""
        return self._health.has(self._key(key))

    def clear(self, key: str) -> bool:
        """Take a problem of this part back; returns whether there was one."""
        return self._health.clear(self._key(key))

    def event(self, name: str, text: str) -> None:
        """Note something that happened to this part."""
        self._health.event(self._key(name), self._text(text))

    def failed(self, reason: str) -> None:
        """Count a frame of this part lost to an error of ours."""
        self._health.failed(self._text(reason), self._key('inference'))

    def rejected(self, reason: str) -> None:
        """Count a frame of this part that could not be read."""
        self._health.rejected(self._text(reason), self._key('image'))
