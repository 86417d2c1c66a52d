"""The latest events, numbered, for people and programs that follow what a daemon does."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from ..values import dataclass

MAX_EVENTS = 2048  # kept; a reader that falls further behind is told how many it missed
MAX_TEXT = 256  # characters of one value; no host name or reason is longer
MAX_ITEMS = 64  # of a value that is a list

Plain = str | int | float | bool | None | list[str | int | float]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event. ``number``: 1 for the first since the start, then one more each time. ``at``: Unix time in seconds.
    ``level``: "info", "warning" and so on. ``name``: as in the log. ``fields``: plain values of bounded size."""

    number: int
    at: float
    level: str
    name: str
    fields: dict[str, Plain]

    def as_json(self) -> dict[str, object]:
        """The event as the API gives it."""
        return {"seq": self.number, "time": round(self.at, 3), "level": self.level, "event": self.name, **self._named()}

    def _named(self) -> dict[str, object]:
        return {"fields": self.fields}


class RecentEvents:
    """A bounded ring of events. Written by the loop's thread, read by any.

    ``instance``: differs from start to start, so that a reader notices that the numbers began anew.
    """

    def __init__(self, instance: str | None = None) -> None:
        self.instance = instance or os.urandom(4).hex()
        self._lock = threading.Lock()
        self._events: deque[Recorded] = deque(maxlen=MAX_EVENTS)
        self._latest = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def latest(self) -> int:
        """The number of the latest event, 0 before the first."""
        return self._latest

    def add(self, level: int, name: str, fields: Mapping[str, object] | None = None) -> None:
        """Keep one event; values are made plain, and long ones are cut."""
        plain = {str(key): _plain(value) for key, value in (fields or {}).items()}
        with self._lock:
            self._latest += 1
            event = Recorded(self._latest, time.time(), logging.getLevelName(level).lower(), name, plain)
            self._events.append(event)
            listeners = self._listeners
        for listener in listeners:
            listener()

    def after(self, number: int, limit: int) -> tuple[list[Recorded], int]:
        """Up to ``limit`` events with higher numbers than ``number``, oldest first, and how many of those are lost
        because the ring is full."""
        with self._lock:
            if not self._events:
                return [], 0
            oldest = self._events[0].number
            start = max(0, number + 1 - oldest)
            missed = max(0, oldest - 1 - number)
            return [self._events[i] for i in range(start, min(len(self._events), start + limit))], missed

    def last(self, limit: int) -> list[Recorded]:
        """The latest ``limit`` events, oldest first."""
        return self.after(max(0, self._latest - limit), limit)[0]

    def count_since(self, name: str, at: float) -> int:
        """How many events of this name are in the ring since a Unix time."""
        with self._lock:
            return sum(event.name == name and event.at >= at for event in self._events)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every event, in the thread that wrote it; it must return at once."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` no more."""
        with self._lock:
            self._listeners = [other for other in self._listeners if other is not listener]


def _plain(value: object) -> Plain:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [item if isinstance(item, int | float) else _text(item) for item in value[:MAX_ITEMS]]
    return _text(value)


def _text(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
