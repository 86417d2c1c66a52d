"""Going to the background: the command returns when the daemon is ready, or says why it is not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from .errors import StartError

_READY = b"ready"
_MAX_MESSAGE_BYTES = 4096


class Background:
    """The daemon's side of going to the background.

    Created in the parent: forks twice, and only the daemon returns. The first process waits, and exits 0 after
    :meth:`ready`, or 2 with the line given to :meth:`fail`.
    """

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        if os.fork():
            os.close(self._writer)
            os._exit(_await(reader))
        os.close(reader)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")

    def ready(self) -> None:
        """The daemon serves: let the command return, and let go of the terminal."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        if null > 2:
            os.close(null)
        self._tell(_READY)

    def fail(self, message: str) -> None:
        """The daemon could not start. Without effect after :meth:`ready`, when nobody waits for it any more."""
        self._tell(message.encode(errors="replace")[:_MAX_MESSAGE_BYTES])

    def _tell(self, message: bytes) -> None:
        if self._writer < 0:
            return
        with contextlib.suppress(BrokenPipeError):  # whoever started us did not wait
            os.write(self._writer, message)
        os.close(self._writer)
        self._writer = -1


def _await(reader: int) -> int:
    message = b""
    while chunk := os.read(reader, _MAX_MESSAGE_BYTES):
        message += chunk
    if message == _READY:
        return 0
    text = message.decode(errors="replace") or "the daemon ended before it was ready; see its log"
    sys.stderr.write(f"ddhcp: {text}\n")
    sys.stderr.flush()
    return 2


class PidFile:
    """A locked file with the process id. Raises :class:`StartError` if another daemon holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"pid file {path} belongs to a running ddhcp; stop it or give another --pid-file"
            ) from None
        except OSError as error:
            raise StartError(f"pid file {path}: {error.strerror}; give another --pid-file") from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def remove(self) -> None:
        """The daemon ends."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
