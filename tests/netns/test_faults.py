"""Faults between real daemons with clients on them: whatever fails, no address has two clients.

That is judged by what the clients wrote down themselves (:mod:`ddhcp.testbed.audit`): the lease files and hooks of
dhclient, udhcpc and dhcpcd, and the records of crowds of the testbed's own clients. Timers are short: a claim holds
for T = 4 s, so a fault of 9 s is one at which nodes that count on T alone hand addresses out twice.
"""

from __future__ import annotations

import contextlib
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ddhcp.core.pool import dotted
from ddhcp.testbed import audit, layout
from ddhcp.testbed.dhcpclient import Crowd, DhcpClient
from ddhcp.testbed.faults import WallClock, frozen, multicast_loss, one_way, partition, share_node_id
from ddhcp.testbed.mesh import GRANTED, Mesh
from ddhcp.testbed.programs import REAL_PROGRAMS
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

TIMERS = ("-L", "-t", "2", "-B", "4", "-n", "10")
NODE = (*TIMERS, "-b", "3", "-o", "51:4:0.0.0.120")
SMALL_POOL = (*TIMERS, "-N", "10.0.0.0/27", "-b", "2", "-s", "1")
SMALL_POOL_ADDRESSES = 32 - 3  # without network, broadcast and gateway address
MORE_THAN_FIT = 13  # clients in each of three realms
FAULT_S = 9.0
CLOCK_LEASE_S = 15
DAY_S = 86_400
PATIENCE_S = 40.0  # for what takes a few seconds on a machine with nothing else to do

# With leases of 5 s a block is announced for 16 s, not 110, so that a process can stand still for longer in a test.
SHORT_LEASE_S = 5
SHORT_SLACK_S = 6
SHORT_PROMISE_S = 2 * SHORT_LEASE_S + SHORT_SLACK_S
SHORT_PROMISES = f"""
from ddhcp.core import context
context.PROMISE_SLACK_S = {SHORT_SLACK_S}
"""


class Town:
    """Clients of the testbed's own in all realms of a mesh. They are alive while :meth:`run` runs."""

    def __init__(self, mesh: Mesh) -> None:
        self._crowds = {realm: Crowd(layout.realm_bridge(realm), []) for realm in mesh.network.realm_numbers()}
        self._rng = random.Random(1)
        self.clients: list[DhcpClient] = []

    def close(self) -> None:
        for crowd in self._crowds.values():
            crowd.close()

    def arrive(self, realm: int, count: int) -> list[DhcpClient]:
        """New clients that want an address."""
        fresh = []
        for _ in range(count):
            client = DhcpClient(bytes((2, 0, 0, 0, 2, len(self.clients))), self._rng)
            self.clients.append(client)
            self._crowds[realm].clients[client.mac] = client
            client.start(time.monotonic())
            fresh.append(client)
        return fresh

    def move(self, client: DhcpClient, realm: int) -> None:
        """Carry the client to another realm; it asks whether it may keep its address."""
        self.leave(client)
        self._crowds[realm].clients[client.mac] = client
        client.start(time.monotonic())

    def leave(self, client: DhcpClient) -> None:
        """Switch the client off without a word. Its lease runs on."""
        for crowd in self._crowds.values():
            crowd.clients.pop(client.mac, None)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let all clients live for so long, or until something is so; whether it is."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for crowd in self._crowds.values():
                crowd.poll()
            if until():
                return True
            living = [client for crowd in self._crowds.values() for client in crowd.clients.values()]
            wake_at = min([ends_at, *(at for client in living if (at := client.deadline()) is not None)])
            select.select(self._crowds.values(), [], [], max(0.0, wake_at - time.monotonic()))
        return until()

    def serve(self, clients: list[DhcpClient]) -> dict[bytes, int]:
        """Let all clients live until these have addresses; which."""
        assert self.run(PATIENCE_S, lambda: all(client.address for client in clients)), "clients without address"
        return {client.mac: client.address for client in clients}

    def renew(self, clients: list[DhcpClient]) -> dict[bytes, int]:
        """Have the clients renew, and live until they were acknowledged; which addresses they have then."""
        for client in clients:
            client.renew(time.monotonic())
        assert self.run(PATIENCE_S, lambda: all(client.state == "BOUND" for client in clients)), "not renewed"
        return {client.mac: client.address for client in clients}

    def held(self) -> list[audit.Holding]:
        """What the clients held, by their own records."""
        return [h for c in self.clients for h in audit.holdings(c.mac.hex(":"), audit.crowd_records(c.changes))]


@pytest.fixture
def make_town(make_mesh: Callable[[int], Mesh]) -> Iterator[Callable[..., tuple[Mesh, Town]]]:
    """Makes a mesh of three nodes with these arguments, and its town. After the test no address may have had two
    clients."""
    with contextlib.ExitStack() as stack:
        made: list[tuple[Mesh, Town]] = []

        def make(*arguments: str, setup: str = "") -> tuple[Mesh, Town]:
            mesh = make_mesh(3)
            for realm in range(3):
                mesh.start(realm, *arguments, setup=setup)
            mesh.wait_for_blocks(PATIENCE_S)
            town = Town(mesh)
            stack.callback(town.close)
            made.append((mesh, town))
            return mesh, town

        yield make
        for mesh, town in made:
            held = [*town.held(), *audit.client_holdings(mesh.clients)]
            assert held, "nobody ever had an address, so nothing was tested"
            assert audit.held_twice(held) == []


def real_clients(mesh: Mesh, realm: int) -> dict[int, str]:
    """One client of each program, with its address, which other nodes know."""
    clients = [mesh.join(realm, program) for program in REAL_PROGRAMS]
    addresses = {client: mesh.wait_for_lease(client, PATIENCE_S) for client in clients}
    others = [node for node in mesh.nodes.values() if node.realm != realm]
    wait_until(
        lambda: all(node.statistics().get("swarm.replica_leases", 0) >= len(clients) for node in others),
        PATIENCE_S,
        "leases known to other nodes",
    )
    return addresses


def move_and_keep(mesh: Mesh, addresses: dict[int, str], realm: int) -> None:
    """Carry the clients to a realm, where they are acknowledged what they have."""
    seen = {client: len(mesh.clients.events(client)) for client in addresses}
    for client in addresses:
        mesh.clients.roam(client, realm)
        mesh.clients.notice_move(client)
    for client, address in addresses.items():
        assert mesh.wait_for_event(client, GRANTED, PATIENCE_S, seen[client]).address == address
        assert [e for e in mesh.clients.events(client)[seen[client] :] if e.reason == "NAK"] == []


def assert_all_different(clients: list[DhcpClient]) -> None:
    addresses = [client.address for client in clients if client.address]
    assert len(addresses) == len(set(addresses)), sorted(map(dotted, addresses))


# -- owners end ---------------------------------------------------------------------------------------------


def test_an_owner_is_killed_and_comes_back(make_town: Callable[..., tuple[Mesh, Town]]) -> None:
    mesh, town = make_town(*NODE)
    addresses = real_clients(mesh, 0)
    mesh.nodes[0].stop(signal.SIGKILL)
    move_and_keep(mesh, addresses, 1)
    town.serve([*town.arrive(1, 6), *town.arrive(2, 6)])
    mesh.start(0, *NODE)
    mesh.wait_for_blocks(PATIENCE_S)
    town.serve(town.arrive(0, 6))
    move_and_keep(mesh, addresses, 0)


def test_the_survivors_of_a_crash_run_out_of_addresses(make_town: Callable[..., tuple[Mesh, Town]]) -> None:
    mesh, town = make_town(*SMALL_POOL, "-o", "51:4:0.0.0.120")
    at_home = town.arrive(0, 5)
    before = town.serve(at_home)
    mesh.nodes[0].stop(signal.SIGKILL)
    for client in at_home:
        town.leave(client)  # they hold their leases, and cannot be asked
    newcomers = [*town.arrive(1, MORE_THAN_FIT), *town.arrive(2, MORE_THAN_FIT)]
    town.run(FAULT_S)
    assert [client for client in newcomers if client.address]
    assert [client for client in newcomers if not client.address], "some have to wait"
    assert not {client.address for client in newcomers} & set(before.values())
    mesh.start(0, *SMALL_POOL, "-o", "51:4:0.0.0.120")
    for client in at_home:
        town.move(client, 0)
    assert town.serve(at_home) == before
    assert_all_different(town.clients)


# -- the link -----------------------------------------------------------------------------------------------

LINK_FAULTS = {
    "partition": lambda: partition((0, 1), (2,)),
    "owner-unheard": lambda: one_way((0,), (1, 2)),
    "owner-deaf": lambda: one_way((1, 2), (0,)),
    "multicast-loss": lambda: multicast_loss(30),
}


@pytest.mark.parametrize("fault", LINK_FAULTS)
def test_clients_on_both_sides_of_a_broken_link(make_town: Callable[..., tuple[Mesh, Town]], fault: str) -> None:
    mesh, town = make_town(*NODE)
    addresses = real_clients(mesh, 0)
    settled = [client for realm in range(3) for client in town.arrive(realm, 4)]
    before = town.serve(settled)
    with LINK_FAULTS[fault]():
        newcomers = [client for realm in range(3) for client in town.arrive(realm, 4)]
        if fault != "owner-deaf":  # who asks an owner that does not hear them waits for its silence
            move_and_keep(mesh, addresses, 2)
        assert town.renew(settled) == before
        town.run(FAULT_S)
        assert_all_different(town.clients)
    during = town.serve(newcomers)
    assert town.renew([*settled, *newcomers]) == before | during
    move_and_keep(mesh, addresses, 1)


def test_both_sides_of_a_partition_run_out_of_addresses(make_town: Callable[..., tuple[Mesh, Town]]) -> None:
    _, town = make_town(*SMALL_POOL, "-o", "51:4:0.0.0.120")
    settled = [client for realm in range(3) for client in town.arrive(realm, 2)]
    before = town.serve(settled)
    with partition((0, 1), (2,)):
        newcomers = [client for realm in range(3) for client in town.arrive(realm, MORE_THAN_FIT)]
        town.run(FAULT_S)
        assert town.renew(settled) == before
        assert [client for client in newcomers if not client.address], "some have to wait"
        assert_all_different(town.clients)
    town.run(FAULT_S)
    assert_all_different(town.clients)
    assert {c.mac: c.address for c in settled} == before
    assert sum(client.address != 0 for client in town.clients) <= SMALL_POOL_ADDRESSES
    assert [client for client in newcomers if client.address]


# -- processes and clocks -----------------------------------------------------------------------------------


def test_an_owner_stands_still_for_longer_than_its_promise(make_town: Callable[..., tuple[Mesh, Town]]) -> None:
    mesh, town = make_town(*SMALL_POOL, "-o", f"51:4:0.0.0.{SHORT_LEASE_S}", setup=SHORT_PROMISES)
    at_home = town.arrive(0, 5)
    before = town.serve(at_home)
    with frozen(mesh.nodes[0]):
        newcomers = [*town.arrive(1, MORE_THAN_FIT), *town.arrive(2, MORE_THAN_FIT)]
        town.run(SHORT_PROMISE_S)
        town.run(PATIENCE_S, lambda: bool({c.address for c in newcomers} & set(before.values())))
        assert {c.address for c in newcomers} & set(before.values()), "its addresses are others' now"
    town.run(FAULT_S)  # it finds what its clients asked meanwhile
    assert_all_different(town.clients)
    for client in newcomers:  # they have the whole pool by now, or not quite: make room
        client.release(time.monotonic())
    town.run(PATIENCE_S, lambda: any(client.address for client in at_home))
    assert [client for client in at_home if client.address], "it serves again"


def test_two_nodes_with_one_node_id(make_mesh: Callable[[int], Mesh]) -> None:
    mesh = make_mesh(3)
    share_node_id(mesh.network, (0, 1))
    for realm in range(3):
        mesh.start(realm, *NODE)
    mesh.wait_for_blocks(PATIENCE_S)
    ids = {line.split("node_id=")[1] for line in mesh.nodes[2].read_log().splitlines() if " peer-up " in line}
    assert len(ids) == 1
    assert mesh.nodes[2].statistics()["ddhcp.peers"] == 2, "both are heard"
    town = Town(mesh)
    clients = [client for realm in range(3) for client in town.arrive(realm, 5)]
    before = town.serve(clients)
    for number, client in enumerate(clients):
        town.move(client, number % 3)
    assert town.serve(clients) == before
    town.close()
    held = town.held()
    assert held
    assert audit.held_twice(held) == []


def test_a_wall_clock_that_is_set(make_mesh: Callable[[int], Mesh], tmp_path: Path) -> None:
    """By a day while the node runs: nobody's lease ends sooner or later by that, also after a restart."""
    mesh, clock = make_mesh(1), WallClock(tmp_path / "clock")
    arguments = (*TIMERS, "-b", "3", "-o", f"51:4:0.0.0.{CLOCK_LEASE_S}")
    node = mesh.start(0, *arguments, setup=clock.setup)
    mesh.wait_for_blocks(PATIENCE_S)
    town = Town(mesh)
    clients = town.arrive(0, 5)
    before = town.serve(clients)
    clock.step_to(DAY_S)
    assert town.renew(clients) == before
    assert str(datetime.fromtimestamp(time.time() + DAY_S, UTC).date()) in node.read_log(), "its clock was set"
    clock.step_to(-DAY_S)
    assert town.renew(clients) == before
    node.stop(signal.SIGKILL)
    clock.step_to(DAY_S)
    node = mesh.start(0, *arguments, setup=clock.setup)
    mesh.wait_for_blocks(PATIENCE_S)
    assert town.renew(clients) == before
    clock.step_to(-DAY_S)
    town.serve(town.arrive(0, 5))
    assert_all_different(town.clients)
    for client in town.clients:
        town.leave(client)
    wait_until(lambda: node.leased() == 0, PATIENCE_S, "the end of the leases")
    town.close()
    held = town.held()
    assert held
    assert audit.held_twice(held) == []
