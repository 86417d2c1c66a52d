"""Reaching a daemon's control socket: one connection, one request, one answer."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from .protocol import ERROR_PREFIX, RUNTIME_DIR_VARIABLE, Command, Request, default_socket_path

TIMEOUT_S = 10.0  # a daemon that says nothing for so long is stuck
MAX_ANSWER = 1 << 28  # bytes read for --json; a block table of four million rows stays below
CHUNK = 1 << 16
CLASSIC_SOCKET_PATH = Path("/tmp/ddhcpd_ctl")


class CtlError(Exception):
    """What went wrong, in one line for people."""


def ask(path: Path, request: Request, timeout_s: float = TIMEOUT_S) -> Iterator[bytes]:
    """Send ``request`` to the daemon at ``path`` and yield its answer as it arrives. Raises :class:`CtlError`
    if there is no daemon, it falls silent for ``timeout_s``, or it answers with an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(request.encode())
            if request.command is Command.JSON:
                # A classic request is whole by its length; only what has no length needs the half-close.
                connection.shutdown(socket.SHUT_WR)
            beginning = b""
            while len(beginning) < len(ERROR_PREFIX) and (chunk := connection.recv(CHUNK)):
                beginning += chunk
            if beginning.startswith(ERROR_PREFIX):
                raise CtlError(_error_line(connection, beginning))
            while beginning:
                yield beginning
                beginning = connection.recv(CHUNK)
    except TimeoutError:
        raise CtlError(f"the daemon at {path} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise CtlError(_explain(path, error)) from None


def find_socket(given: str | None = None) -> Path:
    """The control socket that ``given`` names: a path, or the swarm NAME of a daemon that runs as ddhcp@NAME.

    Without it the default one; where there is none, that of the only ddhcp@NAME that runs. Raises :class:`CtlError` if
    several run. Last, where the environment does not insist on a directory, that of a classic daemon, which is told on
    standard error. That one lies where every user can write, so it counts only if root or the caller made it.
    """
    path = default_socket_path()
    if given is not None:
        return Path(given) if "/" in given or os.path.lexists(given) else path.parent / given / path.name
    try:
        if path.exists():
            return path
        running = sorted(path.parent.glob(f"*/{path.name}"))
        if len(running) > 1:
            names = ", ".join(each.parent.name for each in running)
            raise CtlError(f"several daemons run here; say which with -C NAME: {printable(names)}")
        if running:
            return running[0]
        if RUNTIME_DIR_VARIABLE not in os.environ:
            classic = CLASSIC_SOCKET_PATH.lstat()
            if stat.S_ISSOCK(classic.st_mode) and classic.st_uid in (0, os.geteuid()):
                print(f"ddhcpctl: no control socket at {path}, asking the classic daemon", file=sys.stderr)
                return CLASSIC_SOCKET_PATH
    except OSError:
        pass  # nothing classic there, or a directory that may not be searched: connecting says what is wrong
    return path


def collect(chunks: Iterator[bytes]) -> bytes:
    """The whole answer. Raises :class:`CtlError` if it is absurdly long."""
    answer = bytearray()
    for chunk in chunks:
        answer += chunk
        if len(answer) > MAX_ANSWER:
            raise CtlError(f"the answer is longer than {MAX_ANSWER} bytes")
    return bytes(answer)


def _error_line(connection: socket.socket, beginning: bytes) -> str:
    while len(beginning) < CHUNK and b"\n" not in beginning and (chunk := connection.recv(CHUNK)):
        beginning += chunk
    line = beginning[len(ERROR_PREFIX) :].split(b"\n", 1)[0]
    return printable(line.decode(errors="replace")) or "the daemon refused the request"


def printable(text: str) -> str:
    """``text`` without anything that could move the cursor of a terminal or start a new line."""
    return "".join(character if character.isprintable() else "?" for character in text).strip()


def _explain(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"no control socket at {path}; is the daemon running? (-C names another one)"
        case ConnectionRefusedError():
            return f"nobody listens at {path}; the daemon is not running"
        case PermissionError():
            return f"no permission to open {path}; run as the daemon's user or as root"
        case ConnectionResetError() | BrokenPipeError():
            return f"the daemon at {path} closed the connection"
        case _:
            return f"cannot ask the daemon at {path}: {error.strerror or error}"
