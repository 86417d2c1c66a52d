"""HTTP as a part of the daemon: a thread that starts, serves within its limits, and stops."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ..bridge import Bridge
from ..errors import StartError
from ..event_log import EventLog
from ..latency import Histogram
from .listen import Listen, close_listener, open_listener

MAX_CONNECTIONS = 64
KEEP_ALIVE_S = 5
HEADERS_WITHIN_S = 5.0  # from the connection, or the end of the request before, to the whole head of a request
STOP_WITHIN_S = 2.0
SWITCH_WITHIN_S = (
    0.0005  # until the loop gets the interpreter when a packet comes; Python's own 5 ms are a long time to it
)

INSTALL_HINT = "HTTP needs the extra: pip install 'ddhcp[http]'"


class HttpServer:
    """Serves once :meth:`start` is called. ``names``: host names that are ours besides addresses; ``token``: see
    :class:`~ddhcp.daemon.http.guard.Guard`. Raises :class:`StartError` if the address cannot be had or the libraries
    are missing."""

    def __init__(
        self,
        listen: Listen,
        bridge: Bridge,
        log: EventLog,
        histograms: Mapping[str, Histogram],
        *,
        names: tuple[str, ...] = (),
        token: str | None = None,
    ) -> None:
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError:
            raise StartError(INSTALL_HINT) from None
        self._listen = listen
        self._bridge = bridge
        self._log = log
        self._histograms = histograms
        self._names = names
        self._token = token
        self._socket = open_listener(listen)
        self._server: Any = None
        self._thread = threading.Thread(target=self._run, name="ddhcp-http", daemon=True)

    @property
    def address(self) -> Any:
        """Where it listens, as the socket says."""
        return self._socket.getsockname()

    def start(self) -> None:
        """Begin to serve."""
        self._log.write(
            logging.INFO, "http-serving", {"address": str(self._listen), "changes": self._token is not None}
        )
        sys.setswitchinterval(SWITCH_WITHIN_S)
        self._thread.start()

    def close(self) -> None:
        """End the connections and the thread."""
        server = self._server
        if server is not None:
            server.should_exit = True
            server.stop_streams()
        if self._thread.ident is not None:
            self._thread.join(STOP_WITHIN_S)
        close_listener(self._socket, self._listen)

    def _run(self) -> None:
        from .serving import Serving

        try:
            self._server = Serving(
                self._bridge, self._log.recent, self._histograms, names=self._names, token=self._token,
                is_unix=self._socket.family == socket.AF_UNIX, report=self._report,
            )  # fmt: skip
            asyncio.run(self._server.serve(self._socket))
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Log a bug, in the loop's thread, to which the log belongs."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
        fields = {"where": where, "error": f"{type(error).__name__}: {error}"}
        self._bridge.tell(lambda: self._log.write(logging.ERROR, "http-error", fields))
