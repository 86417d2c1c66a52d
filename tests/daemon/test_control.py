"""The control socket: who may have it, and what slow, silent and rude clients cannot do to it."""

from __future__ import annotations

import selectors
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddhcp.ctl.protocol import MAX_REQUEST, Command, Request
from ddhcp.daemon.control import MAX_CONNECTION_S, MAX_CONNECTIONS, ControlSocket
from ddhcp.daemon.errors import StartError

LONG = "x" * (4 << 20)  # more than a socket buffers
PATIENCE_S = 10


def answer(request: Request) -> str:
    if request.command is Command.SHOW_BLOCKS:
        return LONG
    if request.command is Command.STATISTICS:
        raise ValueError("not\ntoday")
    return f"{request.command.name} {request.code}\n"


class Served:
    """A control socket and the loop that serves it, turn by turn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.control = ControlSocket(path, self.selector, answer)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_S)
        connection.connect(str(self.path))
        return connection

    def turn(self, now: float = 0.0) -> None:
        """Do whatever is ready; never waits."""
        while ready := self.selector.select(0):
            for key, _ in ready:
                key.data(now)

    def receive(self, connection: socket.socket) -> bytes:
        """All that the client gets until the daemon closes."""
        connection.setblocking(False)
        received = bytearray()
        while True:
            self.turn()
            try:
                data = connection.recv(1 << 16)
            except BlockingIOError:
                raise AssertionError("the daemon neither answers nor closes") from None
            if not data:
                return bytes(received)
            received += data


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    it = Served(tmp_path / "run" / "ddhcp.sock")
    yield it
    it.control.close()


def test_a_whole_classic_request_is_answered_at_once(served: Served) -> None:
    with served.connect() as connection:
        for byte in b"\x04\x06":
            served.turn()
            connection.send(bytes([byte]))
        assert served.receive(connection) == b"REMOVE_OPTION 6\n"


def test_an_answer_longer_than_the_socket_buffers_arrives_whole(served: Served) -> None:
    with served.connect() as connection:
        connection.send(b"\x01")
        served.turn()
        assert served.receive(connection) == LONG.encode()


@pytest.mark.parametrize("request_bytes", [b"\xff", b"\x06", b"\x03\x00\x01\x01", b"\x40" * (MAX_REQUEST + 1)])
def test_what_cannot_be_done_gets_one_line(served: Served, request_bytes: bytes) -> None:
    with served.connect() as connection:
        connection.send(request_bytes)
        text = served.receive(connection)
    assert text.startswith(b"error: ")


def test_a_client_that_leaves_does_no_harm(served: Served) -> None:
    served.connect().close()
    with served.connect() as connection:
        connection.send(b"\x01")
    served.turn()
    with served.connect() as connection:
        connection.send(b"\x02")
        assert served.receive(connection) == b"SHOW_OPTIONS 0\n"


def test_silent_clients_are_few_and_do_not_stay(served: Served) -> None:
    """I32: connections are bounded in number and time."""
    silent = [served.connect() for _ in range(MAX_CONNECTIONS)]
    served.turn(now=100.0)
    late = served.connect()
    late.send(b"\x02")
    served.turn(now=100.0)
    late.setblocking(False)
    with pytest.raises(BlockingIOError):
        late.recv(1)
    assert served.control.deadline() == 100.0 + MAX_CONNECTION_S
    served.control.end_overdue(100.0 + MAX_CONNECTION_S)
    assert [connection.recv(1) for connection in silent] == [b""] * MAX_CONNECTIONS
    assert served.receive(late) == b"SHOW_OPTIONS 0\n"
    for connection in [*silent, late]:
        connection.close()


def test_only_the_owner_can_reach_it_and_it_goes_away(tmp_path: Path) -> None:
    served = Served(tmp_path / "run" / "ddhcp.sock")
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.path.parent.stat().st_mode) == 0o700
    served.control.close()
    assert not served.path.exists()


def test_a_live_socket_is_refused_and_a_stale_one_replaced(served: Served, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="another ddhcp"):
        Served(served.path)
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(stale))
    again = Served(stale)
    with again.connect() as connection:
        connection.send(b"\x02")
        assert again.receive(connection) == b"SHOW_OPTIONS 0\n"
    again.control.close()


def test_a_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartError, match="no socket"):
        Served(path)
    assert path.read_text() == "data"
    with pytest.raises(StartError, match="-C"):
        Served(tmp_path / ("long" * 40))
