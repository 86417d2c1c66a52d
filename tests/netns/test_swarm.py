"""What only our nodes say to each other, between real daemons: leases outlive their owner, a key keeps others out."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ddhcp.swarm import MULTICAST_PORT, UNICAST_PORT, is_sealed
from ddhcp.testbed.mesh import GRANTED, Mesh
from ddhcp.testbed.programs import UDHCPC
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

NODE = ("-L", "-t", "2", "-b", "3", "-o", "51:4:0.0.0.120")
BLOCK_PATIENCE_S = 15
LEASE_PATIENCE_S = 20
UDP_OFFSET = 14 + 40  # in an Ethernet frame with an IPv6 header and no extension
UDP_HEADER = 8


def key(path: Path, text: str = "0123456789abcdef") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def counter(mesh: Mesh, realm: int, name: str) -> int:
    return mesh.nodes[realm].statistics().get(name, 0)


@pytest.mark.parametrize("is_sealed_swarm", [False, True], ids=["plain", "sealed"])
def test_a_client_keeps_its_address_when_its_owner_is_killed(
    make_mesh: Callable[[int], Mesh], tmp_path: Path, is_sealed_swarm: bool
) -> None:
    mesh = make_mesh(3)
    keys = ("--key-file", str(key(tmp_path / "key"))) if is_sealed_swarm else ()
    for realm in range(3):
        mesh.start(realm, *NODE, *keys)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    client = mesh.join(0, UDHCPC)
    address = mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    wait_until(lambda: counter(mesh, 1, "swarm.replica_leases") == 1, LEASE_PATIENCE_S, "a replica")
    mesh.nodes[0].stop(signal.SIGKILL)
    mesh.clients.roam(client, 1)
    seen = len(mesh.clients.events(client))
    mesh.clients.renew(client)
    event = mesh.wait_for_event(client, GRANTED, LEASE_PATIENCE_S, seen)
    assert event.address == address
    assert mesh.clients.address(client) == address
    assert not [e for e in mesh.clients.events(client)[seen:] if e.reason in ("NAK", "EXPIRE", "FAIL")]
    assert counter(mesh, 1, "swarm.renewals_from_replica") >= 1


def test_a_node_that_starts_anew_beyond_a_cut_leaves_alone_what_one_that_owned_nothing_may_claim(
    make_mesh: Callable[[int], Mesh], tmp_path: Path
) -> None:
    """A pool of four blocks, and a node that wants them all, while the other is not heard: it died, or the link did."""
    mesh = make_mesh(2)
    pool = ("-L", "-t", "2", "-b", "2", "-N", "10.0.0.0/28", "-o", "51:4:0.0.0.120")
    store = tmp_path / "leases.sqlite"

    def is_known() -> bool:
        if not store.exists():
            return False
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            tables = db.execute("select count(*) from sqlite_schema where name = 'peer'").fetchone()
            return tables == (1,) and db.execute("select count(*) from peer").fetchone() == (1,)

    mesh.start(0, *pool, "-s", "0", "--store", str(store))
    mesh.start(1, *pool, "-s", "0", "--store", str(tmp_path / "other.sqlite"))
    wait_until(is_known, BLOCK_PATIENCE_S, "the other node on this one's disk")
    for realm in (0, 1):
        assert mesh.nodes[realm].blocks() == []
        mesh.nodes[realm].stop(signal.SIGKILL)
    mesh.start(0, *pool, "-s", "100", "--store", str(store))
    wait_until(lambda: mesh.nodes[0].blocks(), BLOCK_PATIENCE_S, "its share")
    wait_until(lambda: counter(mesh, 0, "direct.send_hello") >= 5, LEASE_PATIENCE_S, "questions to the silent node")
    assert len(mesh.nodes[0].blocks()) < 4
    mesh.start(1, *pool, "-s", "0", "--store", str(tmp_path / "other.sqlite"))
    wait_until(lambda: len(mesh.nodes[0].blocks()) == 4, 2 * LEASE_PATIENCE_S, "all blocks, once the other consents")


def test_a_client_that_forgot_its_address_gets_it_in_another_realm(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(3)
    for realm in range(3):
        mesh.start(realm, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    client = mesh.join(0, UDHCPC)
    address = mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    wait_until(lambda: counter(mesh, 2, "swarm.replica_leases") == 1, LEASE_PATIENCE_S, "a replica")
    mesh.clients.stop(client)
    mesh.clients.roam(client, 2)
    seen = len(mesh.clients.events(client))
    mesh.clients.start(client, UDHCPC, tied=True)
    assert mesh.wait_for_lease(client, LEASE_PATIENCE_S, seen) == address


def test_with_a_key_everything_on_the_link_is_sealed_and_outsiders_are_not_heard(
    make_mesh: Callable[[int], Mesh], tmp_path: Path
) -> None:
    mesh = make_mesh(3)
    capture = mesh.capture_at_node(0, "server0")
    secret = key(tmp_path / "key")
    for realm in (0, 1):
        mesh.start(realm, *NODE, "--key-file", str(secret))
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    client = mesh.join(0, UDHCPC)
    mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    wait_until(lambda: counter(mesh, 1, "swarm.replica_leases") == 1, LEASE_PATIENCE_S, "a replica")
    sent = [
        frame[UDP_OFFSET + UDP_HEADER :]
        for frame in capture.frames()
        if frame[12:14] == b"\x86\xdd"
        and frame[20] == 17
        and int.from_bytes(frame[UDP_OFFSET + 2 : UDP_OFFSET + 4], "big") in (MULTICAST_PORT, UNICAST_PORT)
    ]
    capture.close()
    assert len(sent) >= 8
    assert all(map(is_sealed, sent))
    mesh.start(2, *NODE)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    assert counter(mesh, 0, "swarm.drop.unsealed") > 0
    assert counter(mesh, 0, "ddhcp.peers") == 1


def test_the_key_is_changed_while_the_swarm_runs(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    mesh = make_mesh(2)
    directories = []
    for realm in range(2):
        directory = tmp_path / str(realm)
        directory.mkdir()
        key(directory / "5-old")
        directories.append(directory)
        mesh.start(realm, *NODE, "--key-file", str(directory))
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)

    def reload_all(count: int) -> None:
        for node in mesh.nodes.values():
            node.process.send_signal(signal.SIGHUP)
        for node in mesh.nodes.values():
            wait_until(lambda node=node: node.read_log().count("reloaded") >= count, 5, "keys read again")

    for directory in directories:
        key(directory / "1-new", "a new key, sixteen bytes or more")
    reload_all(1)
    for directory in directories:
        (directory / "1-new").rename(directory / "9-new")
    reload_all(2)
    for directory in directories:
        (directory / "5-old").unlink()
    reload_all(3)
    client = mesh.join(0, UDHCPC)
    mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    wait_until(lambda: counter(mesh, 1, "swarm.replica_leases") == 1, LEASE_PATIENCE_S, "a replica")
    for realm in range(2):
        assert counter(mesh, realm, "swarm.drop.unknown-key") == 0
        assert counter(mesh, realm, "swarm.drop.bad-seal") == 0
