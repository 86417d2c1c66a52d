"""A control socket that answers as a test wants it to, in the way daemons do: one request, one answer, the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

from ddhcp.ctl.protocol import Request, parse_request, request_is_complete


class Daemon:
    """One listener in a thread. ``answer(request)`` gives the bytes of an answer; ``requests``: the bytes that came."""

    def __init__(self, path: Path, answer: Callable[[Request], bytes] = lambda request: b"") -> None:
        self.path = path
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                data = b""
                while not request_is_complete(data) and (chunk := connection.recv(4096)):
                    data += chunk
                if not data:
                    return
                self.requests.append(data)
                try:
                    connection.sendall(self.answer(parse_request(data)))
                except (BrokenPipeError, ConnectionResetError):
                    continue

    def close(self) -> None:
        """Answer no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.path))
        self._thread.join()
        self._listener.close()
