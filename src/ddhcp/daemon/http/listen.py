"""Where HTTP is served, and who may change things over it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from pathlib import Path

from ...values import dataclass
from ..errors import StartError

UNIX_PREFIX = "unix:"
LOOPBACK = "127.0.0.1"
MIN_TOKEN = 16  # characters: too many to guess
MAX_TOKEN = 512
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and port, or the path of a UNIX socket."""

    host: str | None
    port: int
    path: str | None

    def __str__(self) -> str:
        if self.path is not None:
            return UNIX_PREFIX + self.path
        return (
            f"[{self.host}]:{self.port}" if self.host is not None and ":" in self.host else f"{self.host}:{self.port}"
        )


def parse_listen(text: str) -> Listen:
    """Read ``PORT`` (on the loopback address), ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or ``unix:PATH``. Raises
    ValueError with a one-line reason."""
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path:
            raise ValueError("unix: has to be followed by the path of a socket, for example unix:/run/ddhcp/http.sock")
        return Listen(None, 0, os.path.abspath(path))
    host, colon, port = text.rpartition(":")
    host = host if colon else LOOPBACK
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text[:60]!r} is not ADDRESS:PORT (127.0.0.1:8067, [::1]:8067), PORT alone, or unix:PATH"
        ) from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 <= int(port) <= 65535):
        raise ValueError(f"port {port[:20]!r} is not a number up to 65535")
    return Listen(str(address), int(port), None)


def open_listener(listen: Listen) -> socket.socket:
    """The listening socket. Raises :class:`StartError`."""
    if listen.path is not None:
        return _open_unix(Path(listen.path))
    assert listen.host is not None
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((listen.host, listen.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot serve HTTP on {listen}: {error.strerror}; choose another with --http") from None
    return sock


def _open_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(path))
                except ConnectionRefusedError:
                    path.unlink(missing_ok=True)  # left by one that is no more
                else:
                    raise StartError(f"somebody serves HTTP on {path} already; choose another with --http")
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(
            f"cannot serve HTTP on {path}: {error.strerror or error}; choose another with --http"
        ) from None
    except StartError:
        sock.close()
        raise
    return sock


def close_listener(sock: socket.socket, listen: Listen) -> None:
    """Listen no more; a UNIX socket's file is removed."""
    sock.close()
    if listen.path is not None:
        with contextlib.suppress(OSError):
            os.unlink(listen.path)


def read_token(path: str) -> str:
    """The token in a file that others cannot read. Raises :class:`StartError`."""
    try:
        with open(path, encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read(MAX_TOKEN + 2).strip()
    except OSError as error:
        raise StartError(
            f"token file {path}: {error.strerror}; make one with: umask 077; openssl rand -hex 24 > FILE"
        ) from None
    except UnicodeDecodeError:
        raise StartError(f"token file {path} holds something that is not plain text") from None
    if mode & 0o007:
        raise StartError(f"token file {path} can be read by everybody; chmod 600 it")
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not token.isprintable() or " " in token:
        raise StartError(f"token file {path} has to hold one word of {MIN_TOKEN} to {MAX_TOKEN} characters")
    return token
