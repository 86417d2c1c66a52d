"""The control socket: one request, one answer, never a wait (PROTOCOL, Control socket)."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..ctl.protocol import ERROR_PREFIX, MAX_REQUEST, Request, parse_request, request_is_complete
from .errors import StartError

MAX_CONNECTIONS = 32  # at once; more wait in the kernel's queue or are refused
MAX_CONNECTION_S = 5.0  # from accept to the last byte of the answer
ACCEPT_PAUSE_S = 1.0  # after an accept that failed, say for want of file descriptors: the listener stays readable
_CONNECT_TIMEOUT_S = 1.0


class _Connection:
    """One client: what it sent so far, then what it still has to be sent."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.socket = sock
        self.until = until
        self.received = b""
        self.answer: memoryview | None = None


class ControlSocket:
    """Listens on a UNIX socket. ``answer`` turns a request into text; it raises ValueError to refuse one.

    Raises :class:`StartError` when the socket cannot be had, above all when another daemon answers on it.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, answer: Callable[[Request], str]) -> None:
        self.path = path
        self._selector = selector
        self._answer = answer
        self._connections: dict[socket.socket, _Connection] = {}
        self._accept_again_at: float | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_stale()
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            before = os.umask(0o177)
            try:
                self._listener.bind(str(path))
            finally:
                os.umask(before)
            self._listener.listen(MAX_CONNECTIONS)
        except OSError as error:
            raise StartError(f"control socket {path}: {error.strerror or error}; name another with -C PATH") from None
        self._inode = os.stat(path).st_ino
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _remove_stale(self) -> None:
        if not self.path.is_socket():
            if self.path.exists():
                raise StartError(
                    f"control socket {self.path}: there is a file of that name that is no socket; use -C PATH"
                )
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_TIMEOUT_S)
            try:
                probe.connect(str(self.path))
            except (ConnectionRefusedError, FileNotFoundError):
                self.path.unlink(missing_ok=True)
                return
            except OSError as error:
                raise StartError(
                    f"control socket {self.path}: {error.strerror or error}; name another with -C"
                ) from None
        raise StartError(
            f"another ddhcp answers on control socket {self.path}; stop it, or use -C PATH for a second one"
        )

    def _accept(self, now: float) -> None:
        while len(self._connections) < MAX_CONNECTIONS:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._selector.unregister(self._listener)
                self._accept_again_at = now + ACCEPT_PAUSE_S
                return
            sock.setblocking(False)
            self._connections[sock] = _Connection(sock, now + MAX_CONNECTION_S)
            self._selector.register(sock, selectors.EVENT_READ, partial(self._progress, sock))
        self._selector.unregister(self._listener)  # full: accept again when a connection ends

    def _progress(self, sock: socket.socket, now: float) -> None:
        connection = self._connections[sock]
        try:
            if connection.answer is None:
                data = sock.recv(MAX_REQUEST + 1)
                connection.received += data
                if data and not request_is_complete(connection.received):
                    return
                connection.answer = memoryview(self._respond(connection.received))
                self._selector.modify(sock, selectors.EVENT_WRITE, partial(self._progress, sock))
            while connection.answer:
                connection.answer = connection.answer[sock.send(connection.answer) :]
        except BlockingIOError:
            return
        except OSError:
            pass
        except BaseException:
            self._end(sock)  # else it would be ready, and fail, over and over
            raise
        self._end(sock)

    def _respond(self, data: bytes) -> bytes:
        if not data:
            return b""
        try:
            return self._answer(parse_request(data)).encode()
        except ValueError as error:
            return ERROR_PREFIX + str(error).encode("utf-8", "backslashreplace") + b"\n"

    def _end(self, sock: socket.socket) -> None:
        del self._connections[sock]
        self._selector.unregister(sock)
        sock.close()
        if self._accept_again_at is None:
            self._listen()

    def _listen(self) -> None:
        with contextlib.suppress(KeyError):
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def deadline(self) -> float | None:
        """When :meth:`end_overdue` has something to do."""
        instants = [connection.until for connection in self._connections.values()]
        if self._accept_again_at is not None:
            instants.append(self._accept_again_at)
        return min(instants, default=None)

    def end_overdue(self, now: float) -> None:
        """Close connections that took too long; accept again after a pause."""
        for sock, connection in list(self._connections.items()):
            if connection.until <= now:
                self._end(sock)
        if self._accept_again_at is not None and self._accept_again_at <= now:
            self._accept_again_at = None
            self._listen()

    def close(self) -> None:
        """Answer no more and remove the socket, if it is still ours."""
        for sock in list(self._connections):
            self._end(sock)
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.path).st_ino == self._inode:
                self.path.unlink()
