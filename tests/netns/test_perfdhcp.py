"""perfdhcp, Kea's load generator, as the relay of a subnet beyond a router: every client gets an address of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.kills import daemon
from bench.network import inside
from bench.peers import INTERFACE, SWARM_INTERFACE

from ddhcp.ctl.answers import parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import Command, Request
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

SERVER, RELAY = "192.0.2.1", "192.0.2.2"
SUBNET = "10.77.128.0/17"
CLIENTS = 150
RATE_PER_S = 50
LOST_AFTER_S = 20  # then a request counts as dropped; a busy machine is not what is tested
LINGER_S = 4  # for the answers to the last requests
PATIENCE_S = 40.0
_FIGURE = re.compile(
    r"^(sent packets|received packets|drops|orphans|non unique addresses|rejected leases): (\d+)", re.M
)


@pytest.fixture
def names(isolated: None) -> Iterator[tuple[str, str]]:
    """The namespaces of the server and of a relay, with a network of their own between them."""
    server, relay = "perfdhcp-server", "perfdhcp-relay"
    _ip("netns", "add", server)
    _ip("netns", "add", relay)
    _ip("-n", server, "link", "add", INTERFACE, "type", "veth", "peer", "uplink", "netns", relay)
    _ip("-n", server, "link", "add", SWARM_INTERFACE, "type", "veth", "peer", "swarm-peer")
    for namespace, interface, address in ((server, INTERFACE, SERVER), (relay, "uplink", RELAY)):
        _ip("-n", namespace, "address", "add", f"{address}/30", "dev", interface)
        _ip("-n", namespace, "link", "set", interface, "up")
    _ip("-n", server, "link", "set", SWARM_INTERFACE, "addrgenmode", "none")
    _ip("-n", server, "link", "set", SWARM_INTERFACE, "up")
    _ip("-n", server, "link", "set", "swarm-peer", "up")
    _ip("-n", server, "address", "add", "fe80::1/64", "dev", SWARM_INTERFACE, "nodad")
    yield server, relay
    for name in (server, relay):
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def statistics(directory: Path) -> dict[str, int]:
    """The daemon's counters, none while it does not answer yet."""
    try:
        found = parse_statistics(b"".join(ask(directory / "ctl", Request(Command.STATISTICS))).decode())
    except CtlError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def perfdhcp(namespace: str, clients: int) -> tuple[int, list[dict[str, int]]]:
    """Have ``clients`` clients take an address each: exit status, and the figures of DISCOVER-OFFER and REQUEST-ACK."""
    program = shutil.which("perfdhcp") or "/usr/sbin/perfdhcp"
    command = [program, "-4", "-l", RELAY, "-r", str(RATE_PER_S), "-R", str(clients), "-n", str(clients), "-u"]
    command += ["-d", str(LOST_AFTER_S), "-W", str(LINGER_S * 1_000_000), "-g", "single", SERVER]
    finished = subprocess.run(
        inside(namespace, command), capture_output=True, text=True, timeout=PATIENCE_S * 3, check=False
    )
    _, *parts = finished.stdout.split("***Statistics for: ")
    return finished.returncode, [{name: int(value) for name, value in _FIGURE.findall(part)} for part in parts]


def test_perfdhcp_through_giaddr(names: tuple[str, str], tmp_path: Path) -> None:
    """E1, M11: a relay's load, every client with an address of its own."""
    server, relay = names
    file = tmp_path / "ddhcp.toml"
    file.write_text(f'[[subnet]]\nnetwork = "{SUBNET}"\nrelays = ["{RELAY}"]\n')
    with daemon(server, tmp_path, "-L", "-s", str(CLIENTS * 2), "-F", str(file)):
        wait_until(lambda: "ddhcp.leases.free" in statistics(tmp_path), PATIENCE_S, "the daemon")
        perfdhcp(relay, 1)  # the first client behind a relay waits for blocks of its subnet to be claimed
        status, figures = perfdhcp(relay, CLIENTS)
        found = statistics(tmp_path)
    assert len(figures) == 2
    for exchange in figures:
        assert exchange["sent packets"] == exchange["received packets"] == CLIENTS
        assert exchange["drops"] == exchange["orphans"] == exchange["non unique addresses"] == 0
    assert status == 0
    assert found["dhcp.send_ack"] == CLIENTS + 1
    assert not [name for name in found if name.startswith("dhcp.drop.") and found[name]]
