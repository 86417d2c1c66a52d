"""What every request has to pass before anything is done for it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_HEAD = 16384  # bytes of a request's line and headers
MAX_BODY = 16384  # bytes; the longest that anything wants is an option's value
BODY_WITHIN_S = 5.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def refusal(status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why not, in the one shape that all errors have."""
    return JSONResponse({"error": {"kind": kind, "text": text}}, status, headers)


def host_is_known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server in a way that no foreign web page can make a browser use: an address in
    numbers, localhost, or one of ``names``. A page that has its own name resolved to our address (DNS rebinding) sends
    its own name."""
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    if name in ("localhost", *names):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class TooLarge(Exception):
    """The body is longer than :data:`MAX_BODY`. Raised where it is read, as is TimeoutError if it takes too long."""


class Guard:
    """ASGI middleware: the Host header, the token, the body's size and time, and the headers of every answer.

    ``names``: host names that are ours besides addresses. ``check_host``: not on a UNIX socket, which no web page
    reaches. ``token``: what a request that changes something has to bear; None: nothing may be changed.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], check_host: bool, token: str | None) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._check_host = check_host
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        why_not = _refuse_head(scope) or self._refuse(scope["method"], headers)
        if why_not is not None:
            await why_not(scope, receive, send_with_headers)
            return
        taken = 0
        has_body = False
        until = asyncio.get_running_loop().time() + BODY_WITHIN_S

        async def receive_bounded() -> Message:
            nonlocal taken, has_body
            if has_body:  # then only the connection's end is still to come, however long that takes
                return await receive()
            async with asyncio.timeout_at(until):
                message = await receive()
            has_body = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise TooLarge
            return message

        await self._app(scope, receive_bounded, send_with_headers)

    def _refuse(self, method: str, headers: Headers) -> JSONResponse | None:
        if self._check_host and not host_is_known(headers.get("host", ""), self._names):
            return refusal(
                421, "unknown-host", "this host name is not known here; use the address, or name it with --http-name"
            )
        if not _length_is_fine(headers):
            return refusal(413, "too-large", f"a body has at most {MAX_BODY} bytes")
        if method in SAFE_METHODS:
            return None
        if self._token is None:
            return refusal(403, "read-only", "nothing can be changed here: the daemon was started without a token file")
        given = headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("utf-8"), f"Bearer {self._token}".encode()):
            return refusal(401, "unauthorized", "this needs the token", {"www-authenticate": 'Bearer realm="ddhcp"'})
        return None


def _refuse_head(scope: Scope) -> JSONResponse | None:
    """h11 bounds a head only until it is complete: what comes in one piece has to be measured. Blanks around a value,
    which h11 takes away, do not count."""
    size = len(f"{scope['method']}  HTTP/{scope['http_version']}\r\n\r\n")
    size += len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    return refusal(431, "too-large", f"a request's head has at most {MAX_HEAD} bytes") if size > MAX_HEAD else None


def _length_is_fine(headers: Headers) -> bool:
    text = headers.get("content-length", "0")
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_BODY
