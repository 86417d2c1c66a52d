"""What becomes of our own mistakes: an exception costs one event and one log line, never the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping

from .event_log import EventLog

MAX_REPORTED = 256  # different exceptions that are logged, each once

Callback = Callable[[float], None]


class Guard:
    """Runs callbacks, counts (``daemon.exceptions``) and reports what they raise."""

    def __init__(self, log: EventLog, counters: MutableMapping[str, int]) -> None:
        self._log = log
        self._counters = counters
        self._reported: set[str] = set()

    def run(self, callback: Callback, now: float) -> None:
        """Call ``callback(now)``; whatever it raises goes to the log, each kind once."""
        try:
            callback(now)
        except Exception as error:
            self.report(error)

    def report(self, error: Exception) -> None:
        """Note an exception that was caught in the loop."""
        self._counters["daemon.exceptions"] += 1
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
        signature = f"{type(error).__name__} {where}"
        if signature not in self._reported and len(self._reported) < MAX_REPORTED:
            self._reported.add(signature)
            self._log.write(logging.ERROR, "internal-error", {"where": where, "error": str(error)}, traceback=True)
