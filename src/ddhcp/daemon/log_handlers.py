"""Where log lines go besides standard error and the journal: a file, or syslog."""

from __future__ import annotations

import contextlib
import logging
from logging.handlers import SysLogHandler, WatchedFileHandler


class FileHandler(WatchedFileHandler):
    """A log file that follows rotation by itself, and whose loss never stops the daemon."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. While the file cannot be written, lines are lost."""
        with contextlib.suppress(OSError, ValueError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk or the like: there is nowhere to tell it."""

    def reopen(self) -> None:
        """Open the file of that name if it is another one by now."""
        with contextlib.suppress(OSError, ValueError):
            self.reopenIfNeeded()


class SyslogHandler(SysLogHandler):
    """Syslog that may be away for a while."""

    append_nul = False

    def __init__(self, path: str) -> None:
        super().__init__(path, facility=SysLogHandler.LOG_DAEMON)
        self.ident = "ddhcp: "

    def handleError(self, record: logging.LogRecord) -> None:
        """Nobody listens: the line is lost, the next one tries again."""
