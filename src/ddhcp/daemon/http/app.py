"""The routes: metrics, health, the JSON API, the stream of events and the dashboard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ...ctl.protocol import MAX_OPTION_CODE
from ..api import DEFAULT_PAGE, MAX_CELLS, MAX_PAGE, MAX_SEARCH, RequestError
from ..bridge import Busy
from ..latency import Histogram
from ..recent import RecentEvents
from . import metrics
from .guard import MAX_BODY, TooLarge, refusal
from .openapi import description
from .snapshots import Snapshots, Unavailable

STATIC = Path(__file__).parent / "static"
PREFIX = "/api/v1"
MAX_STREAMS = 16  # followers of events at once
HEARTBEAT_S = 15.0  # of a silent stream, so that both ends notice when the other is gone
STREAM_BATCH = 100
MAX_DIGITS = 10
_STATUS = {"bad-request": 400, "not-found": 404, "conflict": 409}
_FILES = {
    "app.js": "text/javascript",
    "dom.js": "text/javascript",
    "map.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}

Handler = Callable[[Request], Awaitable[Response]]


class Web:
    """The handlers. ``recent`` may be read from any thread, everything else is asked of the loop."""

    def __init__(self, snapshots: Snapshots, recent: RecentEvents, histograms: Mapping[str, Histogram]) -> None:
        self._snapshots = snapshots
        self._recent = recent
        self._histograms = histograms
        self.requests: metrics.Labelled = {}
        self._streams = 0
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    def routes(self) -> list[Route]:
        """Every route."""
        read = {"methods": ["GET"]}
        return [
            Route("/", self._file("index.html", "text/html"), **read),  # type: ignore[arg-type]
            *(Route(f"/{name}", self._file(name, kind), **read) for name, kind in _FILES.items()),  # type: ignore[arg-type]
            Route("/metrics", self.metrics, **read),  # type: ignore[arg-type]
            Route("/healthz", self.healthz, **read),  # type: ignore[arg-type]
            Route("/readyz", self.readyz, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/openapi.json", self.openapi, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/status", self.status, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/history", self.history, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/blocks", self.blocks, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/map", self.map, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/leases", self.leases, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/leases/{{address}}", self.release, methods=["DELETE"]),
            Route(f"{PREFIX}/peers", self.peers, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/events", self.events, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/events/stream", self.stream, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/explain/{{subject}}", self.explain, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/options", self.options, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/options/{{code}}", self.set_option, methods=["PUT"]),
            Route(f"{PREFIX}/options/{{code}}", self.remove_option, methods=["DELETE"]),
            Route(f"{PREFIX}/reservations", self.reservations, **read),  # type: ignore[arg-type]
            Route(f"{PREFIX}/reservations/{{address}}", self.reserve, methods=["PUT", "DELETE"]),
            Route(f"{PREFIX}/drain", self.act("drain"), methods=["POST"]),
            Route(f"{PREFIX}/reload", self.act("reload"), methods=["POST"]),
        ]

    # --- pages and probes -----------------------------------------------------------------------

    @staticmethod
    def _file(name: str, kind: str) -> Handler:
        async def serve(request: Request) -> Response:
            return FileResponse(STATIC / name, media_type=kind, headers={"cache-control": "no-cache"})

        return serve

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        text = metrics.exposition(await self._snapshots.status(), self._histograms, self.requests)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def healthz(self, request: Request) -> Response:
        """Whether the daemon lives: its loop answers."""
        await self._snapshots.status()
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether it can serve clients."""
        status = await self._snapshots.status()
        failing = [problem for problem in status["problems"] if problem["level"] == "failing"]
        is_ready = not (failing or status["learning"] or status["stopping"])
        state = "stopping" if status["stopping"] else "learning" if status["learning"] else status["health"]
        return _json({"ready": is_ready, "state": state, "problems": failing}, 200 if is_ready else 503)

    async def openapi(self, request: Request) -> Response:
        """The description of all this."""
        return _json(description())

    # --- questions ------------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        """How the node is."""
        _take(request)
        return _json(await self._snapshots.status())

    async def history(self, request: Request) -> Response:
        """The last hour, a sample every ten seconds."""
        _take(request)
        return _json({"api": 1, "every_s": 10, "samples": list(self._snapshots.history)})

    async def blocks(self, request: Request) -> Response:
        """Blocks that are not free."""
        query = _take(request, "after", "limit")
        limit = _number(query, "limit", DEFAULT_PAGE, MAX_PAGE, 1)
        return _json(await self._snapshots.page("blocks", "blocks", limit, _number(query, "after", 0, 1 << 32)))

    async def map(self, request: Request) -> Response:
        """Who owns how much of a part of the pool."""
        query = _take(request, "first", "count", "cells")
        first, count = _number(query, "first", None, 1 << 32), _number(query, "count", None, 1 << 32, 1)
        status = await self._snapshots.status()
        if first is not None and first >= status["pool"]["blocks"]:
            raise RequestError(f"block {first} is beyond the pool")
        count = None if count is None else min(count, status["pool"]["blocks"])
        return _json(await self._snapshots.map(first, count, _number(query, "cells", MAX_CELLS, MAX_CELLS, 1)))

    async def leases(self, request: Request) -> Response:
        """Leases of this node's blocks."""
        query = _take(request, "after", "limit", "search", "state", "copies")
        copies = query.get("copies", "false")
        if copies not in ("true", "false"):
            raise RequestError("copies has to be true or false")
        limit = _number(query, "limit", DEFAULT_PAGE, MAX_PAGE, 1)
        search = query.get("search", "")
        if len(search) > MAX_SEARCH:
            raise RequestError(f"search has at most {MAX_SEARCH} characters")
        return _json(
            await self._snapshots.page(
                "leases",
                "leases",
                limit or DEFAULT_PAGE,
                query.get("after"),
                search=search,
                state=query.get("state"),
                copies=copies == "true",
            )
        )

    async def peers(self, request: Request) -> Response:
        """The other nodes."""
        query = _take(request, "limit")
        return _json(await self._snapshots.ask("peers", limit=_number(query, "limit", MAX_PAGE, MAX_PAGE, 1)))

    async def events(self, request: Request) -> Response:
        """The latest events, or those after a number."""
        query = _take(request, "after", "limit")
        after = _number(query, "after", None, 1 << 53)
        limit = _number(query, "limit", DEFAULT_PAGE, MAX_PAGE, 1) or DEFAULT_PAGE
        found, missed = (self._recent.last(limit), 0) if after is None else self._recent.after(after, limit)
        return _json(
            {
                "api": 1,
                "instance": self._recent.instance,
                "events": [event.as_json() for event in found],
                "missed": missed,
                "latest": self._recent.latest,
            }
        )

    async def explain(self, request: Request) -> Response:
        """Why an address or a client is served, or is not."""
        _take(request)
        return _json(await self._snapshots.ask("explain", subject=request.path_params["subject"]))

    async def options(self, request: Request) -> Response:
        """The DHCP options."""
        _take(request)
        return _json(await self._snapshots.ask("options"))

    async def reservations(self, request: Request) -> Response:
        """Reserved hosts, and addresses held back."""
        _take(request)
        return _json(await self._snapshots.ask("reservations"))

    # --- actions --------------------------------------------------------------------------------

    async def release(self, request: Request) -> Response:
        """End a lease."""
        return _json(await self._snapshots.ask("release", address=request.path_params["address"]))

    async def reserve(self, request: Request) -> Response:
        """Hold an address back, or let it go."""
        command = "reserve" if request.method == "PUT" else "unreserve"
        return _json(await self._snapshots.ask(command, address=request.path_params["address"]))

    async def set_option(self, request: Request) -> Response:
        """Set a DHCP option."""
        code = _number(request.path_params, "code", None, MAX_OPTION_CODE, 1)
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("value"), str):
            raise RequestError('the body has to be a JSON object with a "value" in hexadecimal')
        return _json(await self._snapshots.ask("set-option", code=code, value=body["value"]))

    async def remove_option(self, request: Request) -> Response:
        """Remove a DHCP option."""
        code = _number(request.path_params, "code", None, MAX_OPTION_CODE, 1)
        return _json(await self._snapshots.ask("remove-option", code=code))

    def act(self, command: str) -> Handler:
        """A handler for an action without arguments."""

        async def handle(request: Request) -> Response:
            return _json(await self._snapshots.ask(command))

        return handle

    # --- the stream of events -------------------------------------------------------------------

    async def stream(self, request: Request) -> Response:
        """Events as they happen (server-sent events); Last-Event-ID goes on where a broken stream ended."""
        if self._streams >= MAX_STREAMS:
            return refusal(503, "busy", f"{MAX_STREAMS} streams are open already", {"retry-after": "10"})
        after = self._recent.latest
        instance, _, number = request.headers.get("last-event-id", "").partition("-")
        if instance == self._recent.instance and number.isascii() and number.isdigit() and len(number) <= 16:
            after = int(number)
        elif instance:
            after = 0  # it followed an earlier start of the daemon: tell it this one from the beginning
        return StreamingResponse(
            self._follow(after), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _follow(self, after: int) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            yield b"retry: 2000\n: connected\n\n"
            while not self._stopping.is_set():
                changed = self._changed
                found, missed = self._recent.after(after, STREAM_BATCH)
                if missed:
                    yield f"event: missed\ndata: {missed}\n\n".encode()
                for event in found:
                    after = event.number
                    data = json.dumps(event.as_json())
                    yield f"id: {self._recent.instance}-{event.number}\ndata: {data}\n\n".encode()
                if not found:
                    try:
                        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            self._streams -= 1

    def note_change(self) -> None:
        """Wake the streams: there are new events."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def stop(self) -> None:
        """End the streams."""
        self._stopping.set()
        self.note_change()


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    return JSONResponse(value, status, headers={"cache-control": "no-store"})


def _take(request: Request, *names: str) -> dict[str, str]:
    """The query's arguments. Raises RequestError for one that is unknown or given twice."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            raise RequestError(f"unknown argument {name[:40]!r}; known are: {', '.join(names) or 'none'}")
        if name in found:
            raise RequestError(f"argument {name!r} is given twice")
        found[name] = value
    return found


def _number(query: Mapping[str, str], name: str, default: int | None, most: int, least: int = 0) -> Any:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise RequestError(f"{name} has to be a whole number from {least} to {most}")
    return int(text)


def make_app(web: Web, report: Callable[[Exception], None]) -> Starlette:
    """The application. ``report`` is told of exceptions that are bugs of ours."""

    async def on_refused(request: Request, error: Exception) -> Response:
        kind = error.kind if isinstance(error, RequestError) else "conflict"
        return refusal(_STATUS[kind], kind, str(error))

    async def on_busy(request: Request, error: Exception) -> Response:
        return refusal(503, "busy", str(error), {"retry-after": "1"})

    async def on_too_large(request: Request, error: Exception) -> Response:
        return refusal(413, "too-large", f"a body has at most {MAX_BODY} bytes")

    async def on_too_slow(request: Request, error: Exception) -> Response:
        return refusal(408, "too-slow", "the body took too long")

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
        return refusal(error.status_code, kind, error.detail, dict(error.headers or {}))

    async def on_gone(request: Request, error: Exception) -> Response:
        return refusal(400, "bad-request", "the connection ended within the body")  # which nobody reads

    async def on_bug(request: Request, error: Exception) -> Response:
        report(error)
        return refusal(500, "internal", "a bug in the daemon; its log says more")

    return Starlette(
        routes=web.routes(),
        exception_handlers={
            RequestError: on_refused,
            ValueError: on_refused,
            Busy: on_busy,
            Unavailable: on_busy,
            TooLarge: on_too_large,
            ClientDisconnect: on_gone,
            TimeoutError: on_too_slow,
            HTTPException: on_http,
            Exception: on_bug,
        },
    )
