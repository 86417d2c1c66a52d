"""One event per line, as text or JSON, never with an unescaped byte from the network."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TextIO

from .escaping import escape, printable
from .journal import JournalHandler, leads_to_journal

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
