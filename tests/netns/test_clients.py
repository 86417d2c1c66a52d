"""Unmodified DHCP clients against real nodes: dhclient, udhcpc and dhcpcd, each in a namespace of its own.

What counts is what the client believes: the address on its interface, what its program told its hook, its lease file.
What went over the cable is judged by scapy.
"""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ddhcp.core.pool import dotted
from ddhcp.testbed import kernel, layout
from ddhcp.testbed.dhcpclient import Crowd, DhcpClient
from ddhcp.testbed.main import main as network_test
from ddhcp.testbed.mesh import GRANTED, Capture, Mesh
from ddhcp.testbed.programs import DHCLIENT, DHCPCD, REAL_PROGRAMS, UDHCPC, Program
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

POOL = IPv4Network("10.0.0.0/20")
TENTATIVE_S = 2
SHORT_LEASE_S = 20  # the shortest that dhcpcd accepts
NODE = ("-L", "-t", str(TENTATIVE_S), "-b", "3")
SHORT_LEASES = (*NODE, "-o", f"51:4:0.0.0.{SHORT_LEASE_S}")
MANUAL_LEASES = (*NODE, "-o", "51:4:0.0.14.16")
BLOCK_PATIENCE_S = TENTATIVE_S + 20  # most of it for interpreters that start side by side on a busy machine
LEASE_PATIENCE_S = 10
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)

every_program = pytest.mark.parametrize("program", REAL_PROGRAMS, ids=lambda program: program.name)


def running_mesh(make_mesh: Callable[[int], Mesh], realms: int, *arguments: str) -> Mesh:
    mesh = make_mesh(realms)
    for realm in range(realms):
        mesh.start(realm, *arguments)
    mesh.wait_for_blocks(BLOCK_PATIENCE_S)
    return mesh


def dhcp_packets(capture: Capture, client: int) -> Iterator[tuple[Ether, int]]:
    """The DHCP packets from and to the client in a capture with their message types, as scapy reads them."""
    chaddr = bytes.fromhex(layout.client_mac(client).replace(":", ""))
    for frame in capture.frames():
        packet = Ether(frame)
        if DHCP in packet and packet[BOOTP].chaddr[:6] == chaddr:
            yield packet, dict(o for o in packet[DHCP].options if isinstance(o, tuple) and len(o) == 2)["message-type"]


def lease_file_address(mesh: Mesh, client: int, program: Program) -> str | None:
    """The address in the program's own lease file; udhcpc keeps none."""
    directory = mesh.clients.directory(client)
    if program is DHCLIENT:
        found = re.findall(r"fixed-address ([0-9.]+);", (directory / "dhclient.leases").read_text())
        return found[-1] if found else None
    if program is DHCPCD:
        # dhcpcd keeps the server's last ACK as it came
        return BOOTP((directory / "dhcpcd" / "eth0.lease").read_bytes()).yiaddr
    return mesh.clients.address(client)


def assert_holds(mesh: Mesh, client: int, program: Program, address: str) -> None:
    assert mesh.clients.address(client) == address

    def has_noted_it() -> bool:
        """dhclient writes its file when its script, which tells us of the lease, has ended."""
        try:
            return lease_file_address(mesh, client, program) == address
        except FileNotFoundError:
            return False

    wait_until(has_noted_it, LEASE_PATIENCE_S, f"{program.name} to note {address} in its lease file")


def assert_never_refused(mesh: Mesh, client: int, since: int = 0) -> None:
    refused = [e.reason for e in mesh.clients.events(client)[since:] if e.reason in ("NAK", "FAIL", "LEASEFAIL")]
    assert refused == []


# -- the mesh comes up --------------------------------------------------------------------------------------


def test_three_nodes_have_a_block_each_soon_after_their_start(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = running_mesh(make_mesh, 3, *NODE)
    for node in mesh.nodes.values():
        at = {line.split()[2]: datetime.fromisoformat(line.split()[0]) for line in node.read_log().splitlines()}
        assert at["blocks-claimed"] - at["server-link-up"] <= timedelta(seconds=TENTATIVE_S + 2)
    owned = [mesh.nodes[realm].blocks() for realm in range(3)]
    flat = [block for blocks in owned for block in blocks]
    assert len(flat) == len(set(flat)), f"a block with two owners: {owned}"


# -- lease, renew, rebind, reboot, release ------------------------------------------------------------------


@every_program
def test_lease(make_mesh: Callable[[int], Mesh], program: Program) -> None:
    mesh = running_mesh(make_mesh, 1, *NODE)
    client = mesh.clients.add(0)
    capture = mesh.capture_at_client(client)
    mesh.clients.start(client, program, tied=True)
    address = mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    assert IPv4Address(address) in POOL
    assert address not in (layout.GATEWAY, str(POOL.network_address), str(POOL.broadcast_address))
    assert_holds(mesh, client, program, address)
    event = mesh.event(client)
    assert event is not None
    assert (event.reason, event.server) == ("BOUND", layout.GATEWAY)
    packets = list(dhcp_packets(capture, client))
    assert [kind for _, kind in packets] == [DISCOVER, OFFER, REQUEST, ACK], "no client had to ask twice"
    for packet, kind in packets:
        if kind in (OFFER, ACK):
            flags = packet[BOOTP].flags
            assert packet.dst == ("ff:ff:ff:ff:ff:ff" if flags else layout.client_mac(client))
            assert packet[IP].dst == ("255.255.255.255" if flags else address)
            assert packet[IP].src == layout.GATEWAY
            assert_checksums_are_right(packet)


def assert_checksums_are_right(packet: Ether) -> None:
    rebuilt = Ether(packet.build())
    del rebuilt[IP].chksum, rebuilt[UDP].chksum
    again = Ether(rebuilt.build())
    assert (packet[IP].chksum, packet[UDP].chksum) == (again[IP].chksum, again[UDP].chksum)


def test_renew(make_mesh: Callable[[int], Mesh]) -> None:
    """At T1 (udhcpc, whose shortest lease is two minutes: when told to) clients renew by unicast."""
    mesh = running_mesh(make_mesh, 1, *SHORT_LEASES)
    clients = {mesh.join(0, program): program for program in REAL_PROGRAMS}
    addresses = {client: mesh.wait_for_lease(client, LEASE_PATIENCE_S) for client in clients}
    captures = {client: mesh.capture_at_client(client) for client in clients}
    for client, program in clients.items():
        if program is UDHCPC:
            mesh.clients.renew(client)
    for client, program in clients.items():
        mesh.wait_for_event(client, ("RENEW",), SHORT_LEASE_S)
        assert_holds(mesh, client, program, addresses[client])
        asked = [p for p, kind in dhcp_packets(captures[client], client) if kind == REQUEST]
        assert asked, "the renewal was seen"
        assert (asked[0][IP].dst, asked[0].dst) == (layout.GATEWAY, layout.GATEWAY_MAC)
        assert asked[0][BOOTP].ciaddr == addresses[client]


def block_unicast_renewals(mesh: Mesh, client: int) -> None:
    """From now on the server does not hear the client's unicast requests."""
    rules = (
        "add table ip filter; add chain ip filter out { type filter hook output priority 0; };"
        f"add rule ip filter out ip daddr {layout.GATEWAY} udp dport 67 drop"
    )
    with kernel.entered(mesh.clients.namespace(client)):
        subprocess.run(["nft", rules], check=True)


def test_rebind(make_mesh: Callable[[int], Mesh]) -> None:
    """Clients whose unicast renewals are lost ask everybody at T2, and keep their address."""
    mesh = running_mesh(make_mesh, 1, *SHORT_LEASES)
    clients = {mesh.join(0, program): program for program in REAL_PROGRAMS}
    addresses = {client: mesh.wait_for_lease(client, LEASE_PATIENCE_S) for client in clients}
    captures = {client: mesh.capture_at_client(client) for client in clients}
    seen = {client: len(mesh.clients.events(client)) for client in clients}
    for client, program in clients.items():
        block_unicast_renewals(mesh, client)
        if program is UDHCPC:
            mesh.clients.renew(client)
    for client, program in clients.items():
        mesh.wait_for_event(client, GRANTED, SHORT_LEASE_S + 5, since=seen[client])
        assert_holds(mesh, client, program, addresses[client])
        assert_never_refused(mesh, client)
        broadcast = [
            p
            for p, kind in dhcp_packets(captures[client], client)
            if kind == REQUEST and p[IP].dst == "255.255.255.255"
        ]
        assert [p[BOOTP].ciaddr for p in broadcast][:1] == [addresses[client]]


@every_program
def test_restart_after_a_move_asks_for_the_old_address(make_mesh: Callable[[int], Mesh], program: Program) -> None:
    """The INIT-REBOOT of dhclient and dhcpcd. udhcpc has no such state: it is told its old address by -r and asks for
    it in a DISCOVER."""
    mesh = running_mesh(make_mesh, 2, *MANUAL_LEASES)
    client = mesh.join(0, program)
    address = mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    mesh.clients.stop(client)
    mesh.clients.roam(client, 1)
    seen = len(mesh.clients.events(client))
    capture = mesh.capture_at_client(client)
    mesh.clients.start(client, program, tied=True, previous_address=address)
    assert mesh.wait_for_lease(client, LEASE_PATIENCE_S, since=seen) == address
    assert_holds(mesh, client, program, address)
    assert_never_refused(mesh, client)
    if program is not UDHCPC:
        kinds = [kind for _, kind in dhcp_packets(capture, client)]
        assert kinds == [REQUEST, ACK]
        request = next(p for p, kind in dhcp_packets(capture, client) if kind == REQUEST)
        options = {o[0] for o in request[DHCP].options if isinstance(o, tuple)}
        assert "requested_addr" in options
        assert "server_id" not in options


@every_program
def test_release_frees_the_address(make_mesh: Callable[[int], Mesh], program: Program) -> None:
    mesh = running_mesh(make_mesh, 1, *MANUAL_LEASES)
    node = mesh.nodes[0]
    client = mesh.join(0, program)
    mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    assert node.leased() == 1
    mesh.clients.release(client)
    wait_until(lambda: node.leased() == 0, LEASE_PATIENCE_S, "the released address to be free")
    wait_until(lambda: mesh.clients.address(client) is None, LEASE_PATIENCE_S, "the client to drop its address")
    assert node.statistics()["dhcp.recv_release"] == 1


# -- roaming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home_stopped", [False, True], ids=["home-alive", "home-stopped"])
def test_clients_keep_their_address_through_a_move_and_back(
    make_mesh: Callable[[int], Mesh], home_stopped: bool
) -> None:
    mesh = running_mesh(make_mesh, 3, *SHORT_LEASES)
    clients = {mesh.join(0, program): program for program in REAL_PROGRAMS}
    addresses = {client: mesh.wait_for_lease(client, LEASE_PATIENCE_S) for client in clients}
    if home_stopped:
        assert mesh.nodes[0].stop() == 0
    for realm in (1, 2) if home_stopped else (1, 0):
        before = {client: len(mesh.clients.events(client)) for client in clients}
        for client, program in clients.items():
            mesh.clients.roam(client, realm)
            if program is UDHCPC:
                mesh.clients.renew(client)
        for client, program in clients.items():
            mesh.wait_for_event(client, GRANTED, SHORT_LEASE_S, since=before[client])
            assert_holds(mesh, client, program, addresses[client])
            assert_never_refused(mesh, client)
    assert len(set(addresses.values())) == len(clients)


def test_a_client_that_follows_its_carrier_has_noticed_each_move(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = running_mesh(make_mesh, 2, *NODE)
    client = mesh.join(0, DHCPCD)
    address = mesh.wait_for_lease(client, LEASE_PATIENCE_S)
    for realm in (1, 0, 1, 0):
        before = len(mesh.clients.events(client))
        mesh.clients.roam(client, realm)
        assert "NOCARRIER" in [event.reason for event in mesh.clients.events(client)[before:]]
        assert mesh.wait_for_event(client, GRANTED, LEASE_PATIENCE_S, since=before).address == address


# -- many clients -------------------------------------------------------------------------------------------


def test_a_hundred_clients_hold_exactly_one_address_each(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = running_mesh(make_mesh, 1, "-L", "-t", str(TENTATIVE_S), "-b", "7", "-s", "20")
    rng = random.Random(1)
    clients = [DhcpClient(bytes((2, 0, 0, 0, 1, number)), rng) for number in range(100)]
    crowd = Crowd("clt0", clients)
    try:
        for client in clients:
            client.start(time.monotonic())
        assert crowd.run(lambda: all(client.address for client in clients), timeout_s=30)
        held = {dotted(client.address) for client in clients}
        assert len(held) == len(clients)
        assert all(IPv4Address(address) in POOL for address in held)
        assert mesh.nodes[0].leased() == len(clients)
        # Asking again, as after a restart, gives everybody the same address.
        before = {client.mac: client.address for client in clients}
        for client in clients:
            client.start(time.monotonic())
        assert crowd.run(lambda: all(client.address for client in clients), timeout_s=30)
        assert {client.mac: client.address for client in clients} == before
        assert mesh.nodes[0].leased() == len(clients)
    finally:
        crowd.close()


# -- the command --------------------------------------------------------------------------------------------


@every_program
def test_the_roam_command_tells_that_the_address_was_kept(
    make_mesh: Callable[[int], Mesh], program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = running_mesh(make_mesh, 2, *MANUAL_LEASES)
    assert network_test(["clt-start", "0", "--client", program.name]) == 0
    address = mesh.clients.address(0)
    acknowledged = mesh.nodes[1].statistics()["dhcp.send_ack"]
    assert network_test(["roam", "0", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"it keeps {address}"
    # More than once if the client did not hear the first answer soon enough, on a busy machine.
    assert mesh.nodes[1].statistics()["dhcp.send_ack"] > acknowledged
