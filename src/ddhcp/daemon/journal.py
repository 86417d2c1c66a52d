"""Log lines to systemd's journal with their fields, by its native protocol: one datagram of NAME=VALUE lines each."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import TextIO

from .escaping import escape, printable

SOCKET_PATH = "/run/systemd/journal/socket"
MAX_FIELD_BYTES = 16384  # of one value; the journal takes more, no event has it
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


def leads_to_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to ``stream`` ends in the journal: systemd says so in JOURNAL_STREAM."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino)) and os.path.exists(SOCKET_PATH)


class JournalHandler(logging.Handler):
    """Sends records made by :class:`~ddhcp.daemon.logs.EventLog`. ``MESSAGE`` is the formatted line, ``DDHCP_EVENT``
    the event's name, and every field stands under ``DDHCP_`` and its name in capitals, escaped as in the line."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record. While the journal takes nothing, lines go to standard error, which leads there as well."""
        line = self.format(record)
        try:
            self._socket.sendto(_encode(record, line), self._path)
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        super().close()


def _encode(record: logging.LogRecord, line: str) -> bytes:
    priority = next((value for level, value in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
    fields: dict[str, object] = {
        "MESSAGE": line, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "ddhcp", "DDHCP_EVENT": record.getMessage(),
    }  # fmt: skip
    for name, value in getattr(record, "fields", {}).items():
        fields[f"DDHCP_{name.upper()}"] = printable(value if isinstance(value, str) else escape(value))
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: object) -> bytes:
    """One field: NAME=VALUE, or with its length if it has several lines (a traceback)."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    data = "\n".join(printable(row) for row in text.split("\n")).encode()[:MAX_FIELD_BYTES]
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
