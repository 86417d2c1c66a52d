"""HTTP as clients meet it, over real sockets, good and bad ones."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridged import BridgedNode
from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.daemon.api import Api
from ddhcp.daemon.bridge import MAX_WAITING, Bridge, Busy
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.http import Listen, parse_listen, read_token
from ddhcp.daemon.http.guard import MAX_BODY, host_is_known
from ddhcp.daemon.http.metrics import Counters
from ddhcp.daemon.http.service import HttpServer
from ddhcp.daemon.latency import COMMIT_BOUNDS_S, HANDLING_BOUNDS_S, Histogram
from ddhcp.swarm import SwarmCodec

POOL = Pool(0x0A000000, 20, 32)
TOKEN = "a-token-that-nobody-guesses"
PEER = b"\xfe\x80" + bytes(13) + b"\x99"
PATIENCE_S = 20


class Daemon(BridgedNode):
    """A node without clients, and what it measured."""

    def __init__(self) -> None:
        node = Node(NodeConfig(POOL, learning_phase=False, serves_clients=False), random.Random(1))
        node.handle(e.Start(), 0.0)
        node.handle(e.ServerLinkUp(b"\x02\0\0\0\0\1", b"\xfe\x80" + bytes(13) + b"\1"), 0.0)
        self.histograms = {"handling": Histogram(HANDLING_BOUNDS_S), "commit": Histogram(COMMIT_BOUNDS_S)}
        super().__init__(node, 1.0)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.close()


Serve = Callable[..., HttpServer]


@pytest.fixture
def serve(daemon: Daemon) -> Iterator[Serve]:
    servers: list[HttpServer] = []

    def serve(listen: str = "127.0.0.1:0", **arguments: Any) -> HttpServer:
        server = HttpServer(parse_listen(listen), daemon.bridge, daemon.log, daemon.histograms, **arguments)
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def server(serve: Serve) -> HttpServer:
    return serve(token=TOKEN, names=("mesh.example",))


def ask(
    server: HttpServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """(status, the body as JSON if it is, headers) of one request."""
    connection = http.client.HTTPConnection(*server.address[:2], timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        data = response.read()
        found = {name.lower(): value for name, value in response.getheaders()}
    is_json = found.get("content-type", "").startswith("application/json")
    return response.status, json.loads(data) if is_json else data.decode(), found


def act(server: HttpServer, path: str, method: str, body: bytes | None = None) -> tuple[int, Any, dict[str, str]]:
    return ask(server, path, method, body, Authorization=f"Bearer {TOKEN}")


# -- questions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["status", "blocks", "leases", "peers", "events", "options", "map", "history"])
def test_every_question_is_answered(server: HttpServer, name: str) -> None:
    status, answer, headers = ask(server, f"/api/v1/{name}")
    assert (status, answer["api"]) == (200, 1)
    assert headers["cache-control"] == "no-store"


def test_explanations(server: HttpServer) -> None:
    assert ask(server, "/api/v1/explain/10.0.0.5")[1]["in_pool"] is True
    assert ask(server, "/api/v1/explain/02:00:00:00:00:01")[1]["lease"] is None
    status, answer, _ = ask(server, "/api/v1/explain/nothing")
    assert (status, answer["error"]["kind"]) == (400, "bad-request")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/leases?limit=0", 400),
        ("/api/v1/leases?limit=1&limit=2", 400),
        ("/api/v1/leases?unknown=1", 400),
        ("/api/v1/leases?state=odd", 400),
        ("/api/v1/leases?after=x", 400),
        ("/api/v1/map?first=128", 400),
        ("/api/v1/blocks?after=9999", 400),
        ("/api/v1/nothing", 404),
        ("/static/../app.py", 404),
        ("/%2e%2e/app.py", 404),
    ],
)
def test_bad_requests_are_refused_with_a_reason(server: HttpServer, path: str, status: int) -> None:
    found, answer, _ = ask(server, path)
    assert found == status
    assert answer["error"]["text"]


def test_what_is_ready_and_what_is_not(server: HttpServer, daemon: Daemon) -> None:
    assert ask(server, "/healthz")[0] == 200
    assert ask(server, "/readyz")[:2] == (200, {"ready": True, "state": "ok", "problems": []})
    daemon.store_error = "disk full"
    deadline = time.monotonic() + PATIENCE_S
    while (found := ask(server, "/readyz"))[0] == 200 and time.monotonic() < deadline:
        pass  # a status may be kept for a moment
    assert (found[0], found[1]["state"], found[1]["problems"][0]["name"]) == (503, "failing", "store-failing")


def test_a_map_of_many_steps_is_put_together(server: HttpServer, daemon: Daemon) -> None:
    codec = SwarmCodec(b"\x09" * 8, POOL.prefix, POOL.prefix_len, POOL.block_size)
    daemon.feed_event(e.SwarmReceived(codec.update_claim([(i, 600) for i in range(0, 128, 2)]), PEER, True))
    answer = ask(server, "/api/v1/map?cells=32")[1]
    assert answer["next"] is None
    assert sum(n for _, owners in answer["cells"] for _, _, n in owners) == 64
    window = ask(server, "/api/v1/map?first=8&count=8&cells=8")[1]
    assert (window["first"], window["end"], window["cell_size"], len(window["cells"])) == (8, 16, 1, 4)


# -- changes -------------------------------------------------------------------------------------------------

CHANGES = [
    ("/api/v1/options/6", "PUT"),
    ("/api/v1/options/6", "DELETE"),
    ("/api/v1/leases/10.0.0.5", "DELETE"),
    ("/api/v1/drain", "POST"),
    ("/api/v1/reload", "POST"),
]


@pytest.mark.parametrize(("path", "method"), CHANGES)
def test_nothing_changes_without_the_token(server: HttpServer, daemon: Daemon, path: str, method: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer é"}):
        status, answer, found = ask(server, path, method, b'{"value": "00"}', **headers)
        assert (status, answer["error"]["kind"]) == (401, "unauthorized")
        assert "Bearer" in found["www-authenticate"]
    assert not daemon.drained.is_set()
    assert 6 not in daemon.node.options()


@pytest.mark.parametrize(("path", "method"), CHANGES)
def test_nothing_changes_where_no_token_is_configured(serve: Serve, path: str, method: str) -> None:
    status, answer, _ = ask(serve(), path, method, Authorization="Bearer ")
    assert (status, answer["error"]["kind"]) == (403, "read-only")


def test_changes_with_the_token(server: HttpServer, daemon: Daemon) -> None:
    assert act(server, "/api/v1/options/6", "PUT", b'{"value": "0a000035"}')[0] == 200
    assert daemon.node.options()[6] == b"\x0a\0\0\x35"
    assert act(server, "/api/v1/options/6", "DELETE")[0] == 200
    assert 6 not in daemon.node.options()
    assert act(server, "/api/v1/drain", "POST")[1]["draining"] is True
    assert daemon.drained.is_set()
    status, answer, _ = act(server, "/api/v1/reload", "POST")
    assert (status, answer["error"]) == (409, {"kind": "conflict", "text": "there is no configuration file"})
    assert act(server, "/api/v1/leases/10.0.0.5", "DELETE")[0] == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"value": 5}', b'{"value": "0"}', b"[" * 5000, b"\xff"])
def test_bad_bodies(server: HttpServer, body: bytes) -> None:
    assert act(server, "/api/v1/options/6", "PUT", body)[0] == 400


def test_reading_needs_get(server: HttpServer) -> None:
    assert act(server, "/api/v1/status", "POST")[0] == 405


# -- what keeps strangers out --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "mesh.example.evil", "127.0.0.1.evil"])
def test_a_name_that_is_not_ours_is_not_served(server: HttpServer, host: str) -> None:
    status, answer, _ = ask(server, "/api/v1/status", Host=host)
    assert (status, answer["error"]["kind"]) == (421, "unknown-host")


@pytest.mark.parametrize("host", ["localhost:8067", "127.0.0.1", "[::1]:8067", "MESH.example:80", "192.0.2.7:8067"])
def test_names_of_ours(server: HttpServer, host: str) -> None:
    assert ask(server, "/api/v1/status", Host=host)[0] == 200
    assert host_is_known(host, {"mesh.example"})


def test_every_answer_forbids_foreign_resources(server: HttpServer) -> None:
    for path in ("/", "/metrics", "/api/v1/status", "/nothing"):
        headers = ask(server, path)[2]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def exchange(server: HttpServer, data: bytes) -> bytes:
    """Everything that comes back on one connection until the other end closes it."""
    with socket.create_connection(server.address[:2], timeout=PATIENCE_S) as connection:
        connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def test_a_long_body_is_refused(server: HttpServer) -> None:
    head = f"PUT /api/v1/options/6 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    assert b" 413 " in exchange(server, f"{head}Content-Length: {MAX_BODY + 1}\r\nConnection: close\r\n\r\n".encode())
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    assert b" 413 " in exchange(
        server, f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode() + 6 * chunk
    )


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
        b"\x16\x03\x01\x02\x00",
        b"GET /" + b"a" * 20000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["endless head", "TLS", "endless line", "negative length"],
)
def test_what_is_no_request_ends_the_connection(server: HttpServer, data: bytes) -> None:
    answer = exchange(server, data + b"\r\n\r\n")
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0] or b" 413 " in answer.split(b"\r\n")[0]
    assert ask(server, "/healthz")[0] == 200


def test_who_never_finishes_a_request_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddhcp.daemon.http.serving.HEADERS_WITHIN_S", 0.3)
    monkeypatch.setattr("ddhcp.daemon.http.serving.CHECK_EVERY_S", 0.1)
    server = serve()
    assert exchange(server, b"GET / HTTP/1.1\r\nHost: local") == b""
    assert exchange(server, b"") == b""


def test_a_unix_socket_is_the_owners_alone(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "http.sock"
    server = serve(f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    with pytest.raises(StartError, match="already"):
        serve(f"unix:{path}")
    server.close()
    assert not path.exists()


def test_an_address_that_is_taken_is_told(serve: Serve, server: HttpServer) -> None:
    with pytest.raises(StartError, match="choose another"):
        serve(f"127.0.0.1:{server.address[1]}")


# -- the stream of events ------------------------------------------------------------------------------------


class Stream:
    """A follower of events."""

    def __init__(self, server: HttpServer, last: str | None = None) -> None:
        self.connection = http.client.HTTPConnection(*server.address[:2], timeout=PATIENCE_S)
        self.connection.request("GET", "/api/v1/events/stream", headers={"Last-Event-ID": last} if last else {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.getheader("content-type", "").startswith("text/event-stream")

    def next(self) -> tuple[str, dict[str, Any]]:
        """The id and the datum of the next event."""
        found: dict[str, str] = {}
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if not line and "data" in found:
                return found.get("id", ""), json.loads(found["data"])
            name, colon, value = line.partition(": ")
            if colon and name:
                found[name] = value

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def test_events_arrive_as_they_happen_and_a_broken_stream_goes_on(server: HttpServer, daemon: Daemon) -> None:
    with contextlib.closing(Stream(server)) as stream:
        stream.response.readline()  # it is open, so that what follows is new
        daemon.log.write(logging.INFO, "first", {"name": "<img src=x onerror=alert(1)>"})
        number, event = stream.next()
        assert (event["event"], event["fields"]) == ("first", {"name": "<img src=x onerror=alert(1)>"})
    daemon.log.write(logging.INFO, "second")
    with contextlib.closing(Stream(server, last=number)) as stream:
        assert stream.next()[1]["event"] == "second"
    with contextlib.closing(Stream(server, last="0badcafe-77")) as stream:  # of an earlier start
        assert stream.next()[1]["seq"] == 1


def test_streams_are_few_and_end_with_the_daemon(server: HttpServer) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(contextlib.closing(Stream(server))) for _ in range(16)]
        for stream in streams:
            stream.response.readline()
        assert ask(server, "/api/v1/events/stream")[0] == 503
        server.close()
        assert all(b"retry" in stream.response.read() or True for stream in streams)


# -- metrics -------------------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads(server: HttpServer, daemon: Daemon) -> None:
    daemon.histograms["handling"].observe(0.0003)
    daemon.histograms["handling"].observe(9.0)
    _, text, headers = ask(server, "/metrics")
    assert headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name == "ddhcp" or name.startswith("ddhcp_") for name in families)
    blocks = {sample.labels["state"]: sample.value for sample in families["ddhcp_pool_blocks"].samples}
    assert blocks["free"] == 128
    buckets = {s.labels["le"]: s.value for s in families["ddhcp_dhcp_handling_seconds"].samples if "le" in s.labels}
    assert (buckets["0.00025"], buckets["0.0005"], buckets["+Inf"]) == (0, 1, 2)
    problems = {sample.labels["name"]: sample.value for sample in families["ddhcp_problem"].samples}
    assert set(problems.values()) == {0}


def test_no_counter_is_lost_on_its_way_to_prometheus() -> None:
    names = [
        "mcast.recv_pkg", "direct.send_byte", "mcast.send_updateclaim", "direct.recv_renewlease", "dhcp.recv_pkg",
        "dhcp.send_byte", "dhcp.recv_discover", "dhcp.no_address", "dhcp.drop.relayed", "swarm.drop.own",
        "swarm.recv_hello",
        "swarm.blocks_lost", "daemon.send_errors",
    ]  # fmt: skip
    found = Counters(dict.fromkeys(names, 1))
    assert sum(sum(values.values()) for values in vars(found).values()) == len(names)


# -- its parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("8067", Listen("127.0.0.1", 8067, None)),
        ("0.0.0.0:80", Listen("0.0.0.0", 80, None)),
        ("[::1]:8067", Listen("::1", 8067, None)),
        ("unix:/run/x", Listen(None, 0, "/run/x")),
    ],
)
def test_where_to_listen(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen
    assert parse_listen(str(listen)) == listen


@pytest.mark.parametrize("text", ["", "localhost:80", "1.2.3.4:x", "1.2.3.4:70000", "unix:", ":", "1.2.3:80", "80:"])
def test_nowhere_to_listen(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|ADDRESS|unix"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"short", 0o600, "16 to 512"),
        (b"two words are not a token", 0o600, "one word"),
        (TOKEN.encode(), 0o644, "everybody"),
        (b"\xff" * 20, 0o600, "plain text"),
        (None, 0, "umask"),
    ],
)
def test_bad_token_files(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(StartError, match=words) as refusal:
        read_token(str(path))
    assert "\n" not in str(refusal.value)


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o640)
    assert read_token(str(path)) == TOKEN


def test_a_rush_of_questions_is_refused_not_queued_for_ever() -> None:
    log = EventLog(logging.NullHandler(), logging.INFO)
    node = Node(NodeConfig(POOL), random.Random(1))
    bridge = Bridge(Api(node, Daemon, log.recent))  # type: ignore[arg-type]
    answers: list[object] = []
    for _ in range(MAX_WAITING):
        bridge.ask({"command": "events"}, answers.append)
    with pytest.raises(Busy):
        bridge.ask({"command": "events"}, answers.append)
    bridge.run(0.0)
    assert 0 < len(answers) < MAX_WAITING
    assert select.select([bridge.fileno()], [], [], 0)[0]  # the rest has its turn later
    bridge.close()
    assert len(answers) == MAX_WAITING
    assert isinstance(answers[-1], Busy)
    with pytest.raises(Busy):
        bridge.ask({"command": "events"}, answers.append)


def test_a_head_that_comes_in_one_piece_is_measured_too(server: HttpServer) -> None:
    assert ask(server, "/api/v1/status", X_long="x" * 15000)[0] == 200
    assert ask(server, "/api/v1/status", X_long="x" * 20000)[0] == 431
    assert ask(server, "/api/v1/status", **{f"x{number}": "" for number in range(1500)})[0] == 200
    assert ask(server, "/api/v1/status", **{f"x{number}": "" for number in range(2500)})[0] == 431


def test_who_sends_nonsense_or_hangs_up_writes_nothing_into_the_log(
    server: HttpServer, daemon: Daemon, capfd: pytest.CaptureFixture[str]
) -> None:
    address = server.address[:2]
    for said in (b"\x16\x03\x01\0\0hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"):
        with socket.create_connection(address, timeout=PATIENCE_S) as connection:
            connection.sendall(said)
            assert connection.recv(1000)
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        head = f"PUT /api/v1/options/6 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        connection.sendall(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100" in connection.recv(1000), "it is reading the body"
    while 'http_requests_total{status="400"} 2' not in ask(server, "/metrics")[1]:
        pass
    assert capfd.readouterr().err == ""
    assert [event.name for event in daemon.log.recent.last(100)] == ["http-serving"]
