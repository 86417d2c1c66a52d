"""uvicorn, set up to be strict: few connections, small heads, and nobody who keeps us waiting."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..bridge import Bridge
from ..latency import Histogram
from ..recent import RecentEvents
from .app import Web, make_app
from .guard import MAX_HEAD, Guard
from .service import HEADERS_WITHIN_S, KEEP_ALIVE_S, MAX_CONNECTIONS
from .snapshots import Snapshots

CHECK_EVERY_S = 1.0


class _ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose next request is not there, head and all, in time. ``count_malformed`` is
    called for each request that is none."""

    def __init__(self, *arguments: Any, count_malformed: Callable[[], None], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._count_malformed = count_malformed

    def send_400_response(self, msg: str) -> None:
        self._count_malformed()
        super().send_400_response(msg)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waiting_since: float | None = self.loop.time()
        self._check: asyncio.TimerHandle | None = self.loop.call_later(CHECK_EVERY_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None
        super().connection_lost(exc)

    def _look(self) -> None:
        now = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > HEADERS_WITHIN_S:
            self.transport.abort()
            return
        self._check = self.loop.call_later(CHECK_EVERY_S, self._look)


class Serving:
    """Everything of the HTTP thread."""

    def __init__(
        self,
        bridge: Bridge,
        recent: RecentEvents,
        histograms: Mapping[str, Histogram],
        *,
        names: tuple[str, ...],
        token: str | None,
        is_unix: bool,
        report: Callable[[Exception], None],
    ) -> None:
        self._recent = recent
        self._snapshots = Snapshots(bridge)
        self._web = Web(self._snapshots, recent, histograms)
        app = Guard(make_app(self._web, report), names=names, check_host=not is_unix, token=token)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._counting(app), http=cast(Any, partial(_ImpatientProtocol, count_malformed=self._count_malformed)),
                ws="none", lifespan="off", loop="asyncio", server_header=False, proxy_headers=False,
                # What it has to say anybody who connects can make it say; malformed requests are counted.
                log_config=None, log_level=logging.CRITICAL, access_log=False,
                limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=KEEP_ALIVE_S,
                h11_max_incomplete_event_size=MAX_HEAD, timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_news = False

    @property
    def should_exit(self) -> bool:
        """Whether it is about to stop; may be set from any thread."""
        return self._server.should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._server.should_exit = value

    def _counting(self, app: ASGIApp) -> ASGIApp:
        requests = self._web.requests

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    key = (str(message["status"]),)
                    requests[key] = requests.get(key, 0) + 1
                await send(message)

            await app(scope, receive, send_counted)

        return counted

    def _count_malformed(self) -> None:
        requests = self._web.requests
        requests["400",] = requests.get(("400",), 0) + 1

    async def serve(self, sock: socket.socket) -> None:
        """Serve until :attr:`should_exit`."""
        self._loop = asyncio.get_running_loop()
        self._recent.listen(self._on_event)
        sampling = asyncio.create_task(self._snapshots.sample())
        try:
            await self._server.serve([sock])
        finally:
            self._recent.unlisten(self._on_event)
            sampling.cancel()

    def _on_event(self) -> None:
        """From the loop's thread, for every event: wake the streams, once for as many as come together."""
        if not self._has_news and self._loop is not None and not self._loop.is_closed():
            self._has_news = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._has_news = False
        self._web.note_change()

    def stop_streams(self) -> None:
        """From any thread: end the streams of events."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._web.stop)
