"""One run: nodes, clients, a network and faults in virtual time, watched by the checkers. The seed and the setup
determine everything."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from ..core.events import SwarmReceived
from ..dhcp import Message
from ..swarm import AddressOrder, SwarmCodec
from .checks.addresses import AddressChecker
from .checks.ownership import HealChecker, IdleChecker, Idleness, LeakChecker, OwnerChecker
from .checks.promises import PromiseChecker
from .checks.service import OfferChecker, RefusalChecker
from .classic import ClassicHost
from .client import Client, ClientState, Habits, draw_habits
from .engine import Engine
from .faults import Fault, FaultInjector, draw_faults
from .host import Host, OurHost
from .network import Network
from .setup import Setup
from .watch import Violation, Watch

FOREIGN_BLOCK_BITS = 3  # of the other swarm on the link, unless ours has that
NODE_STATE_OURS = 4  # block states as in the views that every node gives (docs/development.md)
# Not left over from an owner: free, inquired by another node or by this one just now (a state that ends with the
# inquiries, and inquiries without end are idle packets, I8), its own, never claimed.
NODE_STATES_WITHOUT_OWNER = frozenset((0, 1, 3, NODE_STATE_OURS, 5))


@dataclass
class Report:
    """What came of a run."""

    seed: int
    setup: Setup
    ended_at: float = 0.0
    digest: str = ""
    violations: list[Violation] = field(default_factory=list)
    duplicates: list[dict[str, object]] = field(default_factory=list)
    duplicate_seconds: float = 0.0
    duplicate_seconds_by_classic: float = 0.0
    refusals: int = 0
    allocations: int = 0
    unserved: int = 0
    latencies_s: list[float] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    multicasts: int = 0
    unicasts: int = 0
    deliveries: int = 0
    steps: int = 0
    converged_s: float | None = None
    idle: Idleness | None = None
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every invariant held."""
        return not self.violations

    def invariants(self) -> list[str]:
        """Those that did not hold."""
        return sorted({violation.invariant for violation in self.violations})

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        latencies = sorted(self.latencies_s)
        return {
            "seed": self.seed,
            "nodes": self.setup.nodes,
            "clients": self.setup.clients,
            "classic": self.setup.classic_count,
            "lease_s": self.setup.lease_s,
            "virtual_s": round(self.ended_at, 1),
            "digest": self.digest,
            "violations": [violation.as_dict() for violation in self.violations],
            "duplicates": self.duplicates,
            "duplicate_address_seconds": round(self.duplicate_seconds, 3),
            "duplicate_address_seconds_by_classic": round(self.duplicate_seconds_by_classic, 3),
            "refusals_of_valid_leases": self.refusals,
            "allocations": self.allocations,
            "unserved_clients": self.unserved,
            "latency_p50_s": round(statistics.median(latencies), 4) if latencies else None,
            "latency_p99_s": round(latencies[int(len(latencies) * 0.99)], 4) if latencies else None,
            "messages": dict(sorted(self.sent.items())),
            "multicasts": self.multicasts,
            "unicasts": self.unicasts,
            "deliveries": self.deliveries,
            "steps": self.steps,
            "converged_s": self.converged_s,
            "idle_packets_per_s": round(self.idle.packets_per_s, 4) if self.idle is not None else None,
            "faults": [str(fault) for fault in self.faults],
        }


class Simulation:
    """The world of one run. Tests script it; :func:`run` lets the seed do so.

    ``faults``: instead of those the seed would draw; ``client_numbers``: only these of the setup's clients.
    """

    def __init__(
        self,
        setup: Setup,
        seed: int = 0,
        *,
        trace: TextIO | None = None,
        faults: Sequence[Fault] | None = None,
        client_numbers: Sequence[int] | None = None,
    ) -> None:
        self.setup = setup
        self.seed = seed
        self.engine = Engine()
        self.watch = Watch(self.engine, setup, trace)
        self.network = Network(self.engine, self.stream("network"))
        self.network.multicast_faults.loss = setup.loss
        self.hosts: dict[int, Host] = {}
        self.gone: set[int] = set()
        self.clients: dict[int, Client] = {}
        self.latencies_s: list[float] = []
        self.allocations = 0
        self._classic = self._draw_classic()
        drawn = draw_faults(setup, self.stream("faults"), self._classic) if faults is None else faults
        self.faults = list(drawn)
        self.injector = FaultInjector(self, self.stream("injector"))
        self._by_chaddr: dict[bytes, Client] = {}
        self._make_hosts()
        self.addresses = AddressChecker(self.watch)
        self.promises = PromiseChecker(self.watch, self._classic)
        self.owners = OwnerChecker(self.watch, self._classic)
        self.healing = HealChecker(self.watch, setup.nodes)
        self.idling = IdleChecker(self.watch)
        self.leaks = LeakChecker(self.watch, setup.promise_s + setup.refresh_s)
        self.offers = OfferChecker(self.watch, setup.nodes, 3.0 * setup.tentative_timeout_s + 75.0)
        self.refusals = RefusalChecker(self.watch, self.network, self.addresses, self.hosts)
        self._garbage_rng = self.stream("garbage")
        numbers = range(setup.clients) if client_numbers is None else client_numbers
        for number in numbers:
            rng = self.stream(f"client {number}")
            self.add_client(number, rng, draw_habits(rng, setup.lease_s) if setup.is_lively else Habits())

    def stream(self, purpose: str) -> random.Random:
        """A source of randomness of its own for each purpose: leaving one thing out does not change the others."""
        return random.Random(f"{self.seed}/{purpose}")

    # --- who is there ---------------------------------------------------------------------------

    def _draw_classic(self) -> frozenset[int]:
        return frozenset(self.stream("classic").sample(range(self.setup.nodes), self.setup.classic_count))

    def _make_hosts(self) -> None:
        setup = self.setup
        config = setup.node_config()
        foreign = setup.replaced(block_bits=FOREIGN_BLOCK_BITS + (setup.block_bits == FOREIGN_BLOCK_BITS))
        for number in range(setup.nodes + setup.foreign_nodes):
            rng = self.stream(f"node {number}")
            is_foreign = number >= setup.nodes
            host: Host
            if number in self._classic:
                node_id = bytes(8) if setup.same_ids or rng.random() < 0.2 else None
                order = rng.choice((AddressOrder.LITTLE, AddressOrder.LITTLE, AddressOrder.BIG))
                host = ClassicHost(
                    number, self.engine, self.network, self.watch, self, setup, node_id=node_id, order=order
                )
            else:
                its = foreign if is_foreign else setup
                its_config = foreign.node_config() if is_foreign else config
                host = OurHost(number, self.engine, self.network, self.watch, self, its, its_config, rng)
                if setup.same_ids:
                    host.mac_in_id = b"\x02\x01\0\0\0\0"
            host.clock.offset_s = rng.uniform(10.0, 1e6)
            if setup.drift:
                host.clock.rate = 1 + rng.uniform(-setup.drift, setup.drift)
            self.hosts[number] = host
            self.network.attach(host)

    def is_classic(self, number: int) -> bool:
        """Whether node ``number`` is a classic one."""
        return number in self._classic

    def add_client(self, number: int, rng: random.Random, habits: Habits) -> Client:
        """A client that has not joined yet."""
        client = self.clients[number] = Client(self, number, rng, habits)
        self._by_chaddr[client.chaddr] = client
        return client

    def rename(self, client: Client, chaddr: bytes) -> None:
        """A client comes back under another hardware address."""
        self._by_chaddr.pop(client.chaddr, None)
        client.chaddr = chaddr
        self._by_chaddr[chaddr] = client

    def our_hosts(self) -> list[OurHost]:
        """The machines of our swarm that run our node."""
        return [host for host in self.hosts.values() if isinstance(host, OurHost) and host.number < self.setup.nodes]

    def random_host(self, rng: random.Random, other_than: Host | None) -> Host:
        """A realm to move to: another one, whose machine is not gone for good, if there is such a one."""
        choice = [number for number in range(self.setup.nodes) if number not in self.gone]
        if other_than is not None and len(choice) > 1 and other_than.number in choice:
            choice.remove(other_than.number)
        return self.hosts[rng.choice(choice or range(self.setup.nodes))]

    def who_has(self, host: Host, address: int) -> bytes | None:
        """The hardware address of who answers for an IPv4 address in the realm of ``host``."""
        for binding in self.addresses.holders(address):
            client = self.clients[binding.client]
            if client.host is host and client.state is not ClientState.OFF:
                return client.chaddr[:6]
        return None

    # --- what clients report --------------------------------------------------------------------

    def answer(self, host: Host, message: Message, granter: int) -> None:
        """A reply goes out on a host's client link."""
        client = self._by_chaddr.get(message.chaddr)
        if client is not None:
            self.engine.after(0.001, client.receive, host, message, granter)

    def offered(self, client: Client) -> None:
        """A client got an OFFER."""
        self.offers.offered(client)

    def acknowledged(self, client: Client) -> None:
        """A client got what it asked for."""
        if client.waiting_since is not None:
            self.allocations += 1
            self.latencies_s.append(self.engine.now - client.waiting_since)

    def refused(self, client: Client, address: int, host: Host, is_valid: bool) -> None:
        """A client got a NAK; ``is_valid``: for a lease that has not ended."""
        if is_valid:
            self.refusals.refused(client, address, host)

    # --- what befalls machines ------------------------------------------------------------------

    def start_all(self, spread_s: float = 0.0) -> None:
        """Boot every machine, within ``spread_s`` of each other."""
        rng = self.stream("boot")
        for host in self.hosts.values():
            self.engine.after(rng.random() * spread_s, host.start)

    def crash(self, number: int, *, wipe: bool = False) -> None:
        """A machine ends without a word, perhaps with its disk."""
        if wipe:
            self.refusals.wiped_at[number] = self.engine.now
        self.hosts[number].crash(wipe=wipe)

    def kill_at_commit(self, number: int, how: str) -> None:
        """A machine ends ``"before"`` or ``"after"`` its next commit."""
        host = self.hosts[number]
        if isinstance(host, OurHost):
            host.kill_at_commit = how
        else:
            host.crash()

    def stop(self, number: int) -> None:
        """A node is told to stop in good order."""
        self.hosts[number].stop()

    def restart(self, number: int) -> None:
        """A machine that is down boots, unless it is gone for good."""
        host = self.hosts[number]
        if isinstance(host, OurHost):
            host.kill_at_commit = None
        if number not in self.gone:
            host.start()

    def send_garbage(self, numbers: Sequence[int]) -> None:
        """One datagram to each of these nodes: noise, a torn message, or one of a foreign swarm."""
        rng, pool = self._garbage_rng, self.setup.pool
        for number in numbers:
            source = b"\xfe\x80" + bytes(6) + rng.randbytes(8)
            codec = SwarmCodec(rng.randbytes(8), pool.prefix, pool.prefix_len, pool.block_size)
            whole = rng.choice((
                codec.update_claim([(rng.randrange(pool.block_count), 60)]),
                codec.inquire([rng.randrange(pool.block_count)] * 3),
                codec.lease_message(16, rng.randbytes(4), rng.getrandbits(32), 0, rng.randbytes(16)),
                codec.extension(rng.randrange(32, 48), b""),
            ))  # fmt: skip
            data = rng.choice((rng.randbytes(rng.randrange(1501)), whole[: rng.randrange(len(whole))]))
            self.network.inject(number, SwarmReceived(data, source, rng.random() < 0.5))

    # --- time -----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual time, in seconds."""
        return self.engine.now

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.engine.run_until(self.engine.now + seconds)

    def report(self) -> Report:
        """What came of it so far."""
        addresses = self.addresses
        total = addresses.duplicate_seconds
        by_classic = sum(duplicate.seconds for duplicate in addresses.duplicates if duplicate.is_by_classic)
        return Report(
            seed=self.seed, setup=self.setup, ended_at=self.now, digest=self.watch.trace.digest(),
            violations=list(self.watch.violations),
            duplicates=[duplicate.as_dict() for duplicate in addresses.duplicates],
            duplicate_seconds=total - by_classic, duplicate_seconds_by_classic=by_classic,
            refusals=self.refusals.refusals, allocations=self.allocations, latencies_s=self.latencies_s,
            sent=dict(self.watch.sent), multicasts=self.network.multicasts, unicasts=self.network.unicasts,
            deliveries=self.network.deliveries, steps=self.engine.steps, faults=list(self.faults),
        )  # fmt: skip


Progress = Callable[[str, float, float], None]


def run(simulation: Simulation, *, progress: Progress | None = None, stop_at_violation: bool = False) -> Report:
    """The two phases: safety, with the faults; then liveness, without, in which everything must come to rest.

    ``progress(phase, virtual time, end of the phase)`` is called now and then.
    """
    setup = simulation.setup
    simulation.start_all(setup.boot_spread_s)
    rng = simulation.stream("arrivals")
    for client in simulation.clients.values():
        host = simulation.random_host(rng, None)
        simulation.engine.at(rng.random() * setup.join_s, client.join, host)
    simulation.injector.schedule(simulation.faults)

    def pass_until(phase: str, end: float) -> bool:
        """False if there is no need to go on."""
        step_s = max(10.0, (end - simulation.now) / 20)
        while simulation.now < end:
            simulation.engine.run_until(min(end, simulation.now + step_s))
            if progress is not None:
                progress(phase, simulation.now, end)
            if stop_at_violation and simulation.watch.violations:
                return False
        return True

    if not pass_until("safety", setup.safety_s):
        return simulation.report()
    liveness = Liveness(simulation, pass_until)
    liveness.run()
    report = simulation.report()
    report.converged_s, report.idle, report.unserved = liveness.converged_s, liveness.idle, liveness.unserved
    return report


class Liveness:
    """The second phase: whoever can come back is back, and nothing goes wrong any more."""

    def __init__(self, simulation: Simulation, pass_until: Callable[[str, float], bool]) -> None:
        self._simulation = simulation
        self._pass_until = pass_until
        self.converged_s: float | None = None
        self.idle: Idleness | None = None
        self.unserved = 0

    def run(self) -> None:
        """Converge, be quiet, and look for what was left behind."""
        simulation = self._simulation
        setup = simulation.setup
        self._heal()
        began_at = simulation.now
        learning_s = setup.block_timeout_s if setup.learning else 0.0
        settle_s = 2 * setup.refresh_s + learning_s + setup.tentative_timeout_s + 10.0
        simulation.offers.stable_at = began_at + learning_s
        simulation.owners.settled_at = began_at + settle_s
        self._watch_convergence(began_at)
        bound_s = settle_s + simulation.offers.bound_s
        if not self._pass_until("liveness", began_at + bound_s):
            return
        self._check_served()
        quiet_s = max(120.0, 2 * setup.refresh_s)
        simulation.idling.begin()
        if not self._pass_until("quiet", simulation.now + quiet_s):
            return
        self.idle = simulation.idling.end(check=setup.classic == 0)
        self._check_leaks()
        if not setup.looks_for_leaks:
            return
        if not self._pass_until("leaks", simulation.now + setup.needless_timeout_s + 2 * setup.refresh_s + 10.0):
            return
        self._check_leaks()

    def _heal(self) -> None:
        simulation = self._simulation
        setup = simulation.setup
        simulation.watch.trace.say("### liveness phase")
        simulation.watch.active_faults.clear()
        network = simulation.network
        network.cuts.clear()
        network.deaf_until.clear()
        waiting = 0
        for host in simulation.hosts.values():
            host.sends_fail = host.disk_fails = False
            host.set_link(True)
            host.resume()
            simulation.restart(host.number)
        alive = [
            host
            for host in simulation.hosts.values()
            if host.is_up and host.number < setup.nodes and host.number not in simulation.gone  # one that still stops
        ]
        rng = simulation.stream("healing")
        for client in simulation.clients.values():
            client.calm_down()
            if client.host not in alive:
                client.join(rng.choice(alive))
            waiting += not client.is_served and client.state is not ClientState.OFF
        simulation.healing.begin(waiting)

    def _watch_convergence(self, began_at: float) -> None:
        """Converged: every client that is on has an address, and no block has two claimants."""
        simulation = self._simulation
        now = simulation.now
        everybody_served = all(
            client.is_served or client.state is ClientState.OFF for client in simulation.clients.values()
        )
        if everybody_served and not self._disputed(began_at):
            self.converged_s = now - began_at
            return
        simulation.engine.after(1.0, self._watch_convergence, began_at)

    def _disputed(self, since: float) -> bool:
        """Whether two living nodes have claimed one block after ``since``."""
        simulation = self._simulation
        for witness in simulation.watch.blocks.values():
            if len(witness.claims) < 2:
                continue
            recent = [at for at, until in witness.claims.values() if until > simulation.now and at >= since]
            if len(recent) > 1 and simulation.now - sorted(recent)[-2] < 2 * simulation.setup.refresh_s:
                return True
        return False

    def _check_served(self) -> None:
        simulation = self._simulation
        for client in simulation.clients.values():
            if client.is_served or client.state is ClientState.OFF:
                continue
            self.unserved += 1
            if client.host is not None and not client.host.is_classic:
                simulation.offers.still_waiting(client)

    def _check_leaks(self) -> None:
        simulation = self._simulation
        alive = frozenset(number for number, host in simulation.hosts.items() if host.is_up)
        for host in simulation.our_hosts():
            if host.node is None:
                continue
            views = host.node.block_views(host.now())
            held = [view.index for view in views if view.state not in NODE_STATES_WITHOUT_OWNER]
            simulation.leaks.known(host.number, held, alive)
            ours = [view for view in views if view.state == NODE_STATE_OURS]
            empty = {view.index for view in ours if not view.leased and not view.offered}
            block_size = simulation.setup.pool.block_size
            allowed = 1 + -(-simulation.setup.spare_leases // max(1, block_size - 2))
            simulation.leaks.empty(host.number, empty, allowed)
