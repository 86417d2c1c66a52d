"""The checkers and the machinery around them, each on a case made for it."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import random

import pytest

from ddhcp.core.events import SwarmReceived
from ddhcp.sim.checks.addresses import ANYBODYS, CLAIMED_IN_USE, FORGOTTEN, LEFT_BEHIND
from ddhcp.sim.client import Habits
from ddhcp.sim.engine import Engine, Timer
from ddhcp.sim.faults import ENDING, FOR_GOOD, RUSH, SILENCING, Fault, draw_faults
from ddhcp.sim.network import Impairment, Network
from ddhcp.sim.setup import Setup
from ddhcp.sim.shrink import Shrinker
from ddhcp.sim.simulation import Simulation, run
from ddhcp.swarm import SwarmCodec

SETUP = Setup(
    nodes=3, clients=6, safety_s=400.0, lease_s=60, block_timeout_s=20, tentative_timeout_s=3, block_bits=3, faults=()
)


class Ear:
    """A receiver that writes down when it heard what."""

    def __init__(self, number: int, engine: Engine) -> None:
        self.number = number
        self.address = bytes(15) + bytes((number,))
        self.is_on_link = True
        self.heard: list[float] = []
        self._engine = engine

    def receive_swarm(self, event: SwarmReceived) -> None:
        self.heard.append(self._engine.now)


def ears(count: int) -> tuple[Engine, Network, list[Ear]]:
    engine = Engine()
    network = Network(engine, random.Random(1))
    listeners = [Ear(number, engine) for number in range(count)]
    for ear in listeners:
        network.attach(ear)
    return engine, network, listeners


def test_time_passes_in_order_and_a_moved_timer_fires_once() -> None:
    engine = Engine()
    fired: list[float] = []
    timer = Timer(engine, lambda: fired.append(engine.now))
    timer.set(5.0)
    timer.set(9.0)
    timer.set(3.0)
    timer.set(7.0)
    engine.run_until(20.0)
    assert fired == [7.0]


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4, 1.0])
def test_each_receiver_loses_its_share(loss: float) -> None:
    engine, network, listeners = ears(101)
    network.multicast_faults.loss = loss
    for _ in range(200):
        network.multicast(0, b"", bytes(16))
    engine.run_until(1.0)
    shares = [1 - len(ear.heard) / 200 for ear in listeners[1:]]
    assert sum(shares) / 100 == pytest.approx(loss, abs=0.02)
    assert max(shares) <= min(1.0, loss + 0.2)


def test_a_cut_is_one_way_if_it_says_so() -> None:
    engine, network, (first, second) = ears(2)
    network.cuts["x"] = lambda sender, receiver: (sender, receiver) == (0, 1)
    network.multicast(0, b"", bytes(16))
    network.multicast(1, b"", bytes(16))
    engine.run_until(1.0)
    assert (len(first.heard), len(second.heard)) == (1, 0)


def test_delay_reorders_and_duplication_doubles() -> None:
    engine, network, (_, second) = ears(2)
    network.unicast_faults = Impairment(duplication=1.0, delay_s=5.0)
    for _ in range(20):
        network.unicast(0, b"", bytes(16), second.address)
    engine.run_until(10.0)
    assert len(second.heard) == 40
    assert max(second.heard) > 3.0


def test_silences_keep_their_distance_and_end_in_time() -> None:
    setup = Setup(nodes=5, safety_s=100000.0, fault_rate=100.0)
    faults = draw_faults(setup, random.Random(3))
    assert {fault.kind for fault in faults} > SILENCING
    assert all(fault.until <= setup.safety_s for fault in faults)
    silences = [fault for fault in faults if fault.kind in SILENCING]
    for before, after in itertools.pairwise(silences):
        assert after.at >= before.until + 2 * setup.refresh_s
        assert after.until - after.at <= setup.longest_fault_s


def test_a_machine_that_lost_its_disk_boots_among_others_that_can_tell_it() -> None:
    setup = Setup(nodes=3, safety_s=100000.0, fault_rate=20.0)
    found = 0
    for seed in range(10):
        faults = draw_faults(setup, random.Random(seed))
        for wipe in (fault for fault in faults if fault.kind == "wipe" and fault.value != FOR_GOOD):
            found += 1
            down: set[int] = set()
            for fault in faults:
                back_at = math.inf if fault.value == FOR_GOOD else fault.until
                if fault.kind in ENDING and fault.at <= wipe.until and back_at >= wipe.at:
                    down.update(fault.nodes)
            assert down < {0, 1, 2}, (seed, wipe)
    assert found > 20


def test_duplicates_are_counted_in_address_seconds() -> None:
    simulation = Simulation(SETUP.replaced(clients=0), 1)
    host = simulation.hosts[0]
    for number in (1, 2):
        simulation.add_client(number, random.Random(number), Habits())
    simulation.addresses.bound(1, 0x0A000005, 100.0, host, 0, "requesting")
    simulation.run_for(30)
    simulation.addresses.bound(2, 0x0A000005, 90.0, host, 0, "requesting")
    simulation.run_for(20)
    assert simulation.addresses.duplicate_seconds == pytest.approx(20.0)
    simulation.run_for(200)
    assert simulation.addresses.duplicate_seconds == pytest.approx(60.0)
    assert simulation.report().invariants() == ["I1"]


@pytest.mark.parametrize(
    ("first", "second", "why", "cause"),
    [
        (1, 1, "renewing", ANYBODYS),
        (0, 1, "rebooting", ANYBODYS),
        (1, 1, "requesting", FORGOTTEN),
        (0, 1, "requesting", CLAIMED_IN_USE),
        (1, 0, "requesting", LEFT_BEHIND),
    ],
)
def test_what_a_classic_node_did_is_told(first: int, second: int, why: str, cause: str) -> None:
    simulation = Simulation(SETUP.replaced(nodes=2, classic=0.5, clients=0), 1)
    hosts = simulation.hosts
    assert (hosts[0].is_classic, hosts[1].is_classic) == (False, True)
    for number in (1, 2):
        simulation.add_client(number, random.Random(number), Habits())
    simulation.addresses.bound(1, 0x0A000005, 100.0, hosts[first], first, "requesting")
    simulation.addresses.bound(2, 0x0A000005, 90.0, hosts[second], second, why)
    simulation.addresses.bound(1, 0x0A000005, 200.0, hosts[0], 0, "renewing")  # what comes later is no cause
    (duplicate,) = simulation.report().as_dict()["duplicates"]  # type: ignore[misc]
    assert duplicate["cause"] == cause
    assert simulation.report().violations == []


def test_no_duplicate_when_the_first_lease_has_ended_or_was_given_up() -> None:
    simulation = Simulation(SETUP.replaced(clients=0), 1)
    host = simulation.hosts[0]
    simulation.addresses.bound(1, 0x0A000005, 10.0, host, 0, "requesting")
    simulation.addresses.bound(1, 0x0A000006, 100.0, host, 0, "requesting")
    simulation.addresses.unbound(1, 0x0A000006)
    simulation.run_for(10)
    for address in (0x0A000005, 0x0A000006):
        simulation.addresses.bound(2, address, 100.0, host, 0, "requesting")
    assert simulation.addresses.duplicate_seconds == 0
    assert simulation.report().violations == []


@pytest.mark.parametrize("dies", [True, False])
def test_what_follows_a_dead_owners_promise_is_no_idle_packet(dies: bool) -> None:
    simulation = Simulation(SETUP.replaced(clients=0), 1)
    pool = simulation.setup.pool
    codec = SwarmCodec(bytes(8), pool.prefix, pool.prefix_len, pool.block_size)
    simulation.watch.swarm_sent(0, codec.update_claim([(3, 30 if dies else 3000)]), None, 1.0)
    simulation.idling.begin()
    simulation.run_for(60)
    for _ in range(12):
        simulation.watch.swarm_sent(1, codec.inquire([3]), None, 1.0)
    simulation.idling.end(check=True)
    assert simulation.report().invariants() == ([] if dies else ["I8"])


@pytest.mark.parametrize(
    ("is_new", "repetitions", "is_quiet"), [(True, 2, True), (True, 20, False), (False, 20, False)]
)
def test_claiming_a_block_in_quiet_time_may_take_a_few_packets(is_new: bool, repetitions: int, is_quiet: bool) -> None:
    """A client came back whose lease had ended; one that is claimed already needs none of that."""
    simulation = Simulation(SETUP.replaced(clients=0), 1)
    pool = simulation.setup.pool
    codec = SwarmCodec(bytes(8), pool.prefix, pool.prefix_len, pool.block_size)
    simulation.watch.swarm_sent(0, codec.update_claim([(3, 3000)]), None, 1.0)
    simulation.idling.begin()
    simulation.run_for(60)
    index = 4 if is_new else 3
    for _ in range(3):
        simulation.watch.swarm_sent(0, codec.inquire([index]), None, 1.0)
    for _ in range(1 + repetitions):
        simulation.watch.swarm_sent(0, codec.update_claim([(index, 3000)]), None, 1.0)
    simulation.idling.end(check=True)
    assert simulation.report().invariants() == ([] if is_quiet else ["I8"])


@pytest.mark.parametrize("was_declined", [True, False])
def test_a_lease_of_a_declined_address_may_be_refused(was_declined: bool) -> None:
    """A peer that had not heard of it granted it from its replica."""
    simulation = Simulation(SETUP.replaced(clients=0), 1)
    simulation.start_all()
    simulation.run_for(60)
    pool, host = simulation.setup.pool, simulation.hosts[0]
    index = min(host.owned_blocks())
    client = simulation.add_client(1, random.Random(1), Habits())
    if was_declined:
        simulation.refusals.declined(pool.first_address(index))
    simulation.addresses.bound(1, pool.first_address(index), 300.0, host, 0, "requesting")
    simulation.refused(client, pool.first_address(index), host, is_valid=True)
    assert simulation.report().invariants() == ([] if was_declined else ["I6"])


@pytest.mark.parametrize("is_since", [True, False])
def test_a_lease_may_be_refused_whose_block_a_classic_node_claimed_since(is_since: bool) -> None:
    """It does not know the lease, and refuses the client; who asks it passes that on."""
    simulation = Simulation(SETUP.replaced(clients=0, classic=0.34), 1)
    (classic,) = [number for number, host in simulation.hosts.items() if host.is_classic]
    host = next(host for host in simulation.hosts.values() if not host.is_classic)
    simulation.start_all()
    simulation.run_for(60)
    pool, index = simulation.setup.pool, min(host.owned_blocks())
    codec = SwarmCodec(bytes(8), pool.prefix, pool.prefix_len, pool.block_size)
    client = simulation.add_client(1, random.Random(1), Habits())
    if is_since:
        simulation.addresses.bound(1, pool.first_address(index), 300.0, host, 0, "requesting")
    simulation.run_for(1)
    simulation.watch.swarm_sent(classic, codec.update_claim([(index, 1)]), None, 1.0)
    simulation.run_for(2)
    if not is_since:
        simulation.addresses.bound(1, pool.first_address(index), 300.0, host, 0, "requesting")
    simulation.refused(client, pool.first_address(index), host, is_valid=True)
    assert simulation.report().invariants() == ([] if is_since else ["I6"])


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    """M8. Invariant I9."""

    def digest(step_s: float) -> str:
        simulation = Simulation(SETUP, 5)
        for number in range(3):
            simulation.engine.at(100.0 + number, simulation.hosts[number].step_wall_clock, step_s)
        return run(simulation).digest

    assert digest(0.0) == digest(86400.0) == digest(-86400.0)


def test_garbage_is_survived() -> None:
    """Invariant I10."""
    simulation = Simulation(SETUP, 6)
    for at in range(1, 400):
        simulation.engine.at(float(at), simulation.send_garbage, (0, 1, 2))
    report = run(simulation)
    assert report.violations == []
    for host in simulation.our_hosts():
        assert host.node is not None
        statistics = host.node.statistics()
        assert sum(count for name, count in statistics.items() if name.startswith("swarm.drop.")) > 100


def test_while_a_disk_fails_nobody_new_is_acknowledged_and_nobody_loses_an_address() -> None:
    simulation = Simulation(SETUP.replaced(nodes=1, clients=0), 1)
    host = simulation.hosts[0]
    simulation.start_all()
    simulation.run_for(60)

    def come(number: int) -> None:
        simulation.add_client(number, random.Random(number), Habits()).join(host)

    come(1)
    simulation.run_for(10)
    assert simulation.clients[1].holds_address
    host.disk_fails = True
    come(2)
    simulation.run_for(100)
    assert not simulation.clients[2].holds_address
    assert simulation.clients[1].holds_address, "its renewals need no write"
    host.disk_fails = False
    simulation.run_for(100)
    assert simulation.clients[2].holds_address
    assert simulation.report().violations == []


def test_mixed_swarms_serve_their_clients() -> None:
    report = run(Simulation(SETUP.replaced(classic=0.67), 7))
    assert report.violations == []
    assert report.unserved == 0


def test_the_shrinker_leaves_out_what_does_not_matter() -> None:
    """Without a durable store a crash is enough; of the other faults and of most clients nothing is left."""
    setup = SETUP.replaced(
        nodes=1, clients=20, pool_prefix_len=27, is_lively=False, join_s=300.0, without=frozenset({"durable-store"}),
        faults=("crash", "loss", "duplication", "delay"), fault_rate=120.0, fault_length=0.05,
    )  # fmt: skip
    failing = [seed for seed in range(7) if "I1" in run(Simulation(setup, seed)).invariants()]
    found = [Shrinker(setup, seed, "I1", lambda line: None).shrink() for seed in failing]
    left = [shrunk for shrunk in found if shrunk is not None]
    assert len(left) == len(failing) >= 3
    for shrunk in left:
        assert "I1" in shrunk.report.invariants()
        assert {fault.kind for fault in shrunk.faults} == {"crash"}
    # In some runs most clients are needed to fill the pool.
    assert sum(len(shrunk.clients) <= 8 for shrunk in left) >= len(left) / 3


def test_trace_names_the_fault_and_the_violation() -> None:
    setup = SETUP.replaced(faults=("crash", "loss"), fault_rate=60.0)
    trace = io.StringIO()
    run(Simulation(setup, 8, trace=trace))
    assert "### crash" in trace.getvalue()
    assert "### over: " in trace.getvalue()


def test_whoever_waits_at_a_classic_node_whose_clock_was_set_back_is_not_counted() -> None:
    """Such a node learns, and claims nothing, until its clock shows again what it did."""
    reported = []
    for seconds in (600.0, -600.0):
        simulation = Simulation(dataclasses.replace(SETUP, nodes=1, clients=1, classic=1.0), 1)
        simulation.engine.run_until(1000.0)
        (client,) = simulation.clients.values()
        client.host, client.discovered_at = simulation.hosts[0], 0.0
        simulation.hosts[0].step_wall_clock(seconds)
        simulation.offers.stable_at = 0.0
        simulation.offers.still_waiting(client)
        reported.append([violation.invariant for violation in simulation.watch.violations])
    assert reported == [["I5"], []]


def test_clients_of_a_rush_do_not_come_to_a_machine_that_is_gone_for_good() -> None:
    """It was there as the rush began; nobody would ever answer them, and that was reported (I5)."""
    faults = [Fault(RUSH, 100.0, 200.0, value=1.0), Fault("crash", 100.1, 400.0, (1,), FOR_GOOD)]
    setup = dataclasses.replace(SETUP, nodes=2, clients=20, is_lively=False)
    simulation = Simulation(setup, 3, faults=faults)
    simulation.start_all(10.0)
    simulation.injector.schedule(simulation.faults)
    simulation.run_for(201.0)
    assert simulation.gone == {1}
    assert {client.host.number for client in simulation.clients.values() if client.host is not None} == {0}
