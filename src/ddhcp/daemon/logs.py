"""One event per line, as text or JSON, never with an unescaped byte from the network, and never a flood."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol, TextIO, runtime_checkable

from .escaping import escape, printable
from .journal import JournalHandler, leads_to_journal
from .recent import RecentEvents

MAX_LINES_PER_EVENT = 50  # of one event name within WINDOW_S; the rest is counted and told at the window's end
WINDOW_S = 10.0
_INFO: Final = logging.INFO

_OWN_KEYS = ("time", "level", "event", "traceback")  # of a JSON line; an event's field of such a name gets a "_"
_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[31m"}


class EventFormatter(logging.Formatter):
    """Writes records made by :class:`EventLog` as ``time level event key=value ...`` or as JSON objects."""

    def __init__(self, *, as_json: bool = False, with_time: bool = True, colours: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._with_time = with_time
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        fields: Mapping[str, object] = getattr(record, "fields", {})
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        if self._as_json:
            when += datetime.fromtimestamp(record.created).astimezone().isoformat()[-6:]  # the offset from UTC
            line: dict[str, object] = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
            for key, value in fields.items():
                name = f"{key}_" if key in _OWN_KEYS else key
                line[name] = value if isinstance(value, int | float | list) else str(value)
            if record.exc_info:
                line["traceback"] = self.formatException(record.exc_info)
            return json.dumps(line, default=str)
        parts = [when] if self._with_time else []
        parts += [record.levelname.lower(), record.getMessage()]
        parts += [f"{key}={escape(value)}" for key, value in fields.items()]
        text = " ".join(parts)
        if record.exc_info:
            # Its message may quote a packet: indented and escaped, no line of it can pass for an event.
            text += "".join(f"\n    {printable(row)}" for row in self.formatException(record.exc_info).splitlines())
        colour = _COLOURS.get(record.levelno) if self._colours else None
        return f"{colour}{text}\033[0m" if colour else text


@runtime_checkable
class Reopening(Protocol):
    """A handler whose file is opened anew after rotation."""

    def reopen(self) -> None:
        """Open the file of that name if it is another one by now."""


class EventLog:
    """The daemon's log. ``level`` is the lowest :mod:`logging` level that is written. ``recent`` keeps the latest
    events from level INFO on, whatever ``level`` is."""

    def __init__(self, handler: logging.Handler, level: int) -> None:
        self.recent = RecentEvents()
        self._logger = logging.Logger("ddhcp")
        self._logger.addHandler(handler)
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
        now = time.monotonic()
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
            if isinstance(handler, Reopening):
                handler.reopen()


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Standard error, which may be closed before the daemon ends."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The terminal is gone: there is nowhere to tell it."""


def make_handler(*, file: str | None, syslog: bool, as_json: bool) -> logging.Handler:
    """Where log lines go: a file, syslog, or standard error; with their fields to the journal if that leads there.
    Raises OSError."""
    handler: logging.Handler
    if file is not None:
        from .log_handlers import FileHandler  # only now: of these handlers a daemon needs one, if any

        handler = FileHandler(file, encoding="utf-8")
        handler.setFormatter(EventFormatter(as_json=as_json))
    elif syslog:
        from .log_handlers import SyslogHandler

        handler = SyslogHandler("/dev/log")
        handler.setFormatter(EventFormatter(as_json=as_json, with_time=False))
    elif leads_to_journal(sys.stderr) and not as_json:
        handler = JournalHandler()
        handler.setFormatter(EventFormatter(with_time=False))
    else:
        handler = _ConsoleHandler(sys.stderr)
        handler.setFormatter(EventFormatter(as_json=as_json, colours=sys.stderr.isatty()))
    return handler
