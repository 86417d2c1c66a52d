"""The control socket against clients that send garbage, too much or too slowly, and against bugs of our own."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddhcp.ctl.protocol import MAX_REQUEST, Command, Request
from ddhcp.daemon.control import ACCEPT_PAUSE_S, MAX_CONNECTION_S, MAX_CONNECTIONS, ControlSocket

_LONG = bytes([Command.STATISTICS])
_BUGGY = bytes([Command.STATISTICS_RESET])
_GOOD = bytes([Command.SHOW_BLOCKS])


def answer(request: Request) -> str:
    if request.command is Command.SHOW_BLOCKS:
        return "blocks\n"
    if request.command is Command.STATISTICS:
        return "x" * 4_000_000  # more than a socket takes at once
    if request.command is Command.STATISTICS_RESET:
        raise RuntimeError("a bug of ours")
    raise ValueError(f"no {request.command.name}")


class Server:
    """A control socket and just enough of a loop; ``now`` is the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 100.0
        self.errors: list[Exception] = []
        self.selector = selectors.DefaultSelector()
        self.control = ControlSocket(path, self.selector, answer)

    def turn(self) -> None:
        """Handle what is ready now."""
        watched = self.selector.get_map()
        for key, _ in self.selector.select(0):
            if watched.get(key.fd) == key:
                try:
                    key.data(self.now)
                except RuntimeError as error:
                    self.errors.append(error)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(self.path))
        return client

    def read(self, client: socket.socket) -> bytes:
        """What the client is told up to the end."""
        received = b""
        for _ in range(10_000):
            self.turn()
            try:
                data = client.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return received  # closed before all that the client sent was read
            if not data:
                return received
            received += data
        raise AssertionError("the connection was never closed")

    def ask(self, data: bytes) -> bytes:
        with self.connect() as client:
            client.send(data)
            return self.read(client)

    def is_open(self, client: socket.socket) -> bool:
        self.turn()
        try:
            return client.recv(1) != b""
        except BlockingIOError:
            return True

    def close(self) -> None:
        if self.selector.get_map() is not None:
            self.control.close()
            self.selector.close()


@pytest.fixture
def make_server() -> Iterator[Callable[[Path], Server]]:
    made: list[Server] = []

    def make(path: Path) -> Server:
        made.append(Server(path))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def server(make_server: Callable[[Path], Server], tmp_path: Path) -> Server:
    return make_server(tmp_path / "run" / "ddhcp.sock")


def test_its_modes_do_not_depend_on_the_umask(make_server: Callable[[Path], Server], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server = make_server(tmp_path / "run" / "ddhcp.sock")
        assert os.umask(0) == 0, "the umask was put back"
    finally:
        os.umask(before)
    assert server.path.stat().st_mode & 0o777 == 0o600
    assert server.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_json_request_ends_with_the_half_close(server: Server) -> None:
    with server.connect() as client:
        client.send(Request(Command.JSON, arguments={"command": "status"}).encode())
        assert server.is_open(client)
        client.shutdown(socket.SHUT_WR)
        assert server.read(client) == b"error: no JSON\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300).filter(lambda data: data[:1] not in (_LONG, _BUGGY)))
def test_garbage_gets_at_most_one_line(server: Server, garbage: bytes) -> None:
    with server.connect() as client:
        client.send(garbage)
        client.shutdown(socket.SHUT_WR)
        told = server.read(client)
    assert told.count(b"\n") == bool(garbage)
    assert told == b"blocks\n" or told.startswith(b"error: ") or not garbage
    assert server.errors == []


@pytest.mark.parametrize(
    "brackets", [b"[" * 4000, b'{"command":' * 360, b'{"command":"status","address":' + b"[" * 3900]
)
def test_i32_brackets_without_end(server: Server, brackets: bytes) -> None:
    """CVE-2026-3608: depth that would overflow a stack."""
    with server.connect() as client:
        client.send(bytes([Command.JSON]) + brackets)
        client.shutdown(socket.SHUT_WR)
        assert server.read(client).startswith(b"error: request is not a JSON object")
    assert server.errors == []


def test_endless_input_is_cut_off(server: Server) -> None:
    """I32: size and depth of a request are bounded before anything reads it."""
    with server.connect() as client:
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(bytes([Command.JSON]))
            while sent < 100 * MAX_REQUEST:
                server.turn()
                sent += client.send(b"[" * 1024)
        assert sent <= 3 * MAX_REQUEST
        assert server.read(client) == b"error: request longer than 4096 bytes\n"


def test_a_full_house_does_not_look_at_the_door(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(MAX_CONNECTIONS)]
        server.turn()
        late = stack.enter_context(server.connect())
        late.send(_GOOD)
        assert server.is_open(late)
        assert len(server.selector.get_map()) == MAX_CONNECTIONS, "else the loop would spin"
        idle[0].close()
        assert server.read(late) == b"blocks\n"


@pytest.mark.parametrize("sent", [b"", b"\x03\x03", _LONG], ids=["mute", "half", "deaf"])
def test_a_client_that_takes_too_long_is_ended(server: Server, sent: bytes) -> None:
    with server.connect() as client:
        client.send(sent)
        server.turn()
        server.turn()
        due = server.control.deadline()
        assert due == server.now + MAX_CONNECTION_S
        server.control.end_overdue(due - 0.001)
        assert server.control.deadline() == due
        server.control.end_overdue(due)
        assert server.control.deadline() is None
        assert len(server.selector.get_map()) == 1
        while client.recv(1 << 20):  # raises BlockingIOError if it is still open
            pass


def test_without_a_file_descriptor_to_spare_the_listener_rests_instead_of_spinning(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with server.connect() as client:
        lowest_free = os.dup(client.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            server.turn()
            assert server.selector.select(0) == []
            assert server.control.deadline() == server.now + ACCEPT_PAUSE_S
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server.control.end_overdue(server.now + ACCEPT_PAUSE_S)
        client.send(_GOOD)
        assert server.read(client) == b"blocks\n"
        assert server.control.deadline() is None


def test_an_answer_that_fails_for_a_bug_ends_its_connection_and_no_other(server: Server) -> None:
    assert server.ask(_BUGGY) == b""
    assert len(server.errors) == 1, "it reached the loop's guard, once"
    assert server.control.deadline() is None
    assert server.ask(_GOOD) == b"blocks\n"


def test_closing_removes_our_socket_but_no_successors(make_server: Callable[[Path], Server], tmp_path: Path) -> None:
    path = tmp_path / "ddhcp.sock"
    first = make_server(path)
    with first.connect() as client:
        first.turn()
        first.close()
        assert client.recv(1) == b""
    assert not path.exists()
    second = make_server(path)
    path.rename(tmp_path / "aside")
    third = make_server(path)
    second.close()
    assert third.ask(_GOOD) == b"blocks\n"
