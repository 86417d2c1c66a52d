"""The daemon's log: events by name, never a flood of one of them. What becomes a line of them is in ``logs.py``."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from .recent import RecentEvents

MAX_LINES_PER_EVENT: Final = 50  # of one event name within WINDOW_S; the rest is counted and told at the window's end
WINDOW_S = 10.0
_INFO: Final = logging.INFO


class EventLog:
    """The daemon's log. ``level`` is the lowest :mod:`logging` level that is written. ``recent`` keeps the latest
    events from level INFO on, whatever ``level`` is. ``clock()``: seconds, monotonic."""

    def __init__(self, handler: logging.Handler, level: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.recent = RecentEvents()
        self._logger = logging.Logger("ddhcp")
        self._logger.addHandler(handler)
        self._clock = clock
        self._window_ends = 0.0
        self._lines: dict[str, list[int]] = {}  # by event name: its level and how many
        self.level = level

    @property
    def level(self) -> int:
        """The lowest level that is written."""
        return self._logger.level

    @level.setter
    def level(self, level: int) -> None:
        self._logger.setLevel(level)
        self._lowest = min(level, _INFO)

    def write(
        self, level: int, event: str, fields: Mapping[str, object] | None = None, *, traceback: bool = False
    ) -> None:
        """Write one event, unless too many of its name were written just now."""
        if level < self._lowest:
            return
        now = self._clock()
        if now >= self._window_ends:
            self._end_window(now)
        counted = self._lines.get(event)
        if counted is None:
            counted = self._lines[event] = [level, 0]
        counted[1] += 1
        if counted[1] > MAX_LINES_PER_EVENT:
            return
        if level >= _INFO:
            self.recent.add(level, event, fields)
        if level >= self._logger.level:
            self._logger.log(level, event, extra={"fields": fields or {}}, exc_info=traceback)

    def _end_window(self, now: float) -> None:
        for event, (level, lines) in self._lines.items():
            if lines > MAX_LINES_PER_EVENT:
                fields = {"of": event, "lines": lines - MAX_LINES_PER_EVENT}
                if level >= _INFO:
                    self.recent.add(level, "lines-suppressed", fields)
                if level >= self._logger.level:
                    self._logger.log(level, "lines-suppressed", extra={"fields": fields})
        self._lines.clear()
        self._window_ends = now + WINDOW_S

    def redirect(self, handler: logging.Handler) -> None:
        """Write to another place from now on."""
        for former in list(self._logger.handlers):
            self._logger.removeHandler(former)
            with contextlib.suppress(OSError, ValueError):
                former.close()
        self._logger.addHandler(handler)

    def reopen(self) -> None:
        """Open a log file anew (after rotation). One that cannot be opened now is tried again with the next line."""
        for handler in self._logger.handlers:
            reopen = getattr(handler, "reopen", None)  # of a file that may be another one by now
            if reopen is not None:
                reopen()
