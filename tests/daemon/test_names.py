"""Which names clients get, and the file that tells them to a name server."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridged import BridgedNode
from ddhcp.core import Node, NodeConfig, Pool
from ddhcp.core import events as e
from ddhcp.daemon.names import NamesFile, assign, label, render
from ddhcp.dhcp import Message
from ddhcp.dhcp import constants as c

PATIENCE_S = 20


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("printer", "printer"),
        ("Annas_Laptop.local", "annas-laptop"),
        ("my phone", "my-phone"),
        ("a" * 63, "a" * 63),
        ("a" * 64, None),
        ("", None),
        (None, None),
        ("<img src=x>", None),
        ("-x", None),
        ("x-", None),
        ("10", None),
        ("café", None),
        ("evil\n10.0.0.1 bank", None),
        ("localhost", None),
        ("WPAD", None),
        ("...", None),
    ],
)
def test_what_a_client_calls_itself_becomes_a_name_or_nothing(hostname: str | None, name: str | None) -> None:
    assert label(hostname) == name


@given(st.text(max_size=80))
def test_nothing_but_a_label_gets_into_the_file(hostname: str) -> None:
    name = label(hostname)
    assert name is None or (len(name) <= 63 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"))


def row(address: str, hostname: str | None) -> dict[str, object]:
    return {"address": address, "hostname": hostname}


def test_nobody_takes_anothers_name() -> None:
    first = assign([row("10.0.0.9", "pc"), row("10.0.0.10", "tv")], {})
    assert first == {"pc": "10.0.0.9", "tv": "10.0.0.10"}
    assert assign([row("10.0.0.2", "pc"), row("10.0.0.9", "PC")], first) == {"pc": "10.0.0.9"}
    assert assign([row("10.0.0.10", "pc"), row("10.0.0.2", "pc")], first) == {"pc": "10.0.0.2"}


def test_both_formats() -> None:
    names = {"pc": "10.0.0.9"}
    assert render(names, None, "hosts").splitlines()[1:] == ["10.0.0.9\tpc"]
    assert render(names, "mesh.example", "hosts").splitlines()[1:] == ["10.0.0.9\tpc.mesh.example pc"]
    assert render(names, "mesh.example", "unbound").splitlines()[1:] == [
        'local-data: "pc.mesh.example. 60 IN A 10.0.0.9"',
        'local-data-ptr: "10.0.0.9 60 pc.mesh.example."',
    ]


class Daemon(BridgedNode):
    """A node with a client."""

    def __init__(self) -> None:
        node = Node(NodeConfig(Pool(0x0A000000, 20, 32), learning_phase=False), random.Random(1))
        now = 0.0
        node.handle(e.ClientLinkUp(e.ClientLink("client0", 0x0A000001, 20, bytes(6))), now)
        node.handle(e.Start(), now)
        node.handle(e.ServerLinkUp(b"\x02\0\0\0\0\1", b"\xfe\x80" + bytes(13) + b"\1"), now)
        while now < 30.0:
            now = max(now + 0.01, node.deadline() or now)
            node.handle(e.Wake(), now)
        super().__init__(node, now)

    def lease(self, hostname: bytes) -> None:
        options = {c.OPT_MESSAGE_TYPE: bytes((c.DISCOVER,)), c.OPT_HOSTNAME: hostname}
        chaddr = b"\x02\0\0\0\0\7".ljust(16, b"\0")
        message = Message(xid=1, chaddr=chaddr, options=options)
        self.node.handle(e.DhcpReceived("client0", message.encode(), 0, 0xFFFFFFFF), self.now)
        (offered,) = self.node.leases()
        options |= {c.OPT_MESSAGE_TYPE: bytes((c.REQUEST,)), 50: offered.address.to_bytes(4, "big"), 54: b"\x0a\0\0\1"}
        message = Message(xid=1, chaddr=chaddr, options=options)
        self.node.handle(e.DhcpReceived("client0", message.encode(), 0, 0xFFFFFFFF), self.now)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.close()


def test_the_file_follows_the_leases(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddhcp.daemon.names.SETTLE_S", 0.0)
    path = tmp_path / "hosts"
    written = threading.Event()
    replace = os.replace

    def noticed(source: str, target: Path) -> None:
        replace(source, target)
        written.set()

    monkeypatch.setattr("os.replace", noticed)
    names = NamesFile(path, "mesh.example", "hosts", daemon.bridge, daemon.log)
    names.start()
    assert written.wait(PATIENCE_S)
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o644
    written.clear()
    daemon.lease(b"Printer")
    daemon.log.write(logging.INFO, "lease-granted")
    assert written.wait(PATIENCE_S)
    assert path.read_text().splitlines()[1].endswith("\tprinter.mesh.example printer")
    names.close()
    assert [file.name for file in tmp_path.iterdir()] == ["hosts"]


def test_a_file_that_cannot_be_written_is_told_once(daemon: Daemon, tmp_path: Path) -> None:
    names = NamesFile(tmp_path / "missing" / "hosts", None, "hosts", daemon.bridge, daemon.log)
    names.update()
    names.update()
    heard = threading.Event()
    daemon.bridge.tell(heard.set)  # behind what the file had to tell
    assert heard.wait(PATIENCE_S)
    assert [event.name for event in daemon.log.recent.last(10)] == ["names-failed"]
    (tmp_path / "missing").mkdir()
    names.update()
    assert (tmp_path / "missing" / "hosts").exists()
