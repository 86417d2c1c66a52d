"""The ways in which the classic protocol hands an address out twice, each as a script, with the remedy that ends it.

Several remedies guard against most of them. To show what one is worth, a scenario is played with the others that would
help switched off (``aside``), once with the remedy and once without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.events import SwarmReceived
from ..core.remedies import Remedy
from ..swarm import SwarmCodec
from .client import Client, Habits
from .host import OurHost
from .setup import DURABLE_STORE, MONOTONIC_TIME, Setup
from .simulation import NODE_STATE_OURS, Simulation

LEASE_S = 300
# A pool of four blocks of four addresses; of those in the first and the last some are reserved.
TINY = Setup(
    nodes=2, clients=0, pool_prefix_len=28, block_bits=2, block_timeout_s=20, tentative_timeout_s=3, spare_leases=1,
    lease_s=LEASE_S, learning=False, staggered=False, faults=(), is_lively=False, commit_s=0.0, needless_timeout_s=3600,
)  # fmt: skip
ONE_BLOCK = TINY.replaced(pool_prefix_len=29, block_bits=3)
ROOMY = TINY.replaced(pool_prefix_len=24, block_bits=2)
# What else keeps survivors off a silent node's blocks, or its clients at their addresses.
SURVIVORS = (Remedy.QUARANTINE, Remedy.GUARDIAN, Remedy.MISSING_PEERS, Remedy.REPLICATION)


class Stage:
    """A simulation and the few things that scenarios do with it."""

    def __init__(self, setup: Setup, seed: int, without: frozenset[str]) -> None:
        self.simulation = Simulation(setup.replaced(without=without), seed)
        self._joined = 0

    def start(self, *numbers: int) -> None:
        """Boot these nodes, in this order and a second apart; let them claim what they want."""
        for number in numbers:
            self.simulation.hosts[number].start()
            self.run(1.0)
        self.run(self.simulation.setup.tentative_timeout_s + 1.0)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.simulation.run_for(seconds)

    def join(self, host: int, count: int = 1, *, old_address: int = 0) -> list[Client]:
        """New clients in the realm of a node. ``old_address``: what they think they had."""
        simulation = self.simulation
        clients = []
        for _ in range(count):
            number = self._joined
            self._joined += 1
            client = simulation.add_client(number, simulation.stream(f"client {number}"), Habits())
            client.calm_down()
            client.old_address = old_address
            client.join(simulation.hosts[host])
            clients.append(client)
        return clients

    def move(self, client: Client, host: int) -> None:
        """A client appears in another realm."""
        client.join(self.simulation.hosts[host])

    def bereave(self, count: int) -> tuple[list[Client], list[int]]:
        """All nodes boot, ``count`` clients come to the first, and it dies. Returns them and the addresses they had."""
        self.start(*range(self.simulation.setup.nodes))
        clients = self.join(0, count)
        self.run(30)
        addresses = [client.address for client in clients]
        self.simulation.crash(0)
        return clients, addresses

    def cut(self, *pairs: tuple[int, int]) -> None:
        """From now on these (sender, receiver) pairs hear nothing; without any, all is well again."""
        cuts = self.simulation.network.cuts
        cuts.clear()
        if pairs:
            gone = frozenset(pairs)
            cuts["scenario"] = lambda sender, receiver: (sender, receiver) in gone

    def split(self, first: int, second: int) -> None:
        """Two nodes do not hear each other."""
        self.cut((first, second), (second, first))

    def known_to(self, number: int) -> set[int]:
        """The blocks that a node of ours takes for owned."""
        host = self.simulation.hosts[number]
        if not isinstance(host, OurHost) or host.node is None:
            return set()
        return {view.index for view in host.node.block_views(host.now()) if view.state in (2, NODE_STATE_OURS)}

    def has_two_owners(self) -> bool:
        """Whether two nodes' promises for one block run now."""
        now = self.simulation.now
        return any(len(witness.claimants(now)) > 1 for witness in self.simulation.watch.blocks.values())

    def duplicate_seconds(self) -> float:
        """How long addresses were held by two clients so far."""
        return self.simulation.addresses.duplicate_seconds

    def invariants(self) -> list[str]:
        """Those violated so far."""
        return sorted({violation.invariant for violation in self.simulation.watch.violations})


@dataclass(frozen=True)
class Scenario:
    """``play(stage)`` returns whether the failure happened. ``remedy``: a name; ``aside``: others switched off."""

    name: str
    remedy: str
    setup: Setup
    aside: tuple[Remedy, ...]
    play: Callable[[Stage], bool]

    def fails(self, *, has_remedy: bool, seed: int = 1) -> bool:
        """Play it with or without the remedy: whether the failure happened."""
        without = {remedy.value for remedy in self.aside}
        if not has_remedy:
            without.add(self.remedy)
        return self.play(Stage(self.setup, seed, frozenset(without)))


SCENARIOS: list[Scenario] = []


def _scenario(
    name: str, remedy: Remedy | str, setup: Setup = TINY, aside: tuple[Remedy, ...] = ()
) -> Callable[[Callable[[Stage], bool]], Callable[[Stage], bool]]:
    def add(play: Callable[[Stage], bool]) -> Callable[[Stage], bool]:
        value = remedy.value if isinstance(remedy, Remedy) else remedy
        SCENARIOS.append(Scenario(name, value, setup, aside, play))
        return play

    return add


@_scenario("S1", Remedy.PROMISE, aside=SURVIVORS)
def owner_dies(stage: Stage) -> bool:
    """An owner dies; others take its block while its clients' leases run."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(5)
    stage.simulation.crash(0)
    stage.join(1, 12)
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("S1", Remedy.QUARANTINE, TINY.replaced(classic=0.5), aside=(Remedy.GUARDIAN, Remedy.MISSING_PEERS))
def classic_owner_dies(stage: Stage) -> bool:
    """A classic owner, which promises less than its leases, dies."""
    (classic,) = (number for number in (0, 1) if stage.simulation.is_classic(number))
    stage.start(classic, 1 - classic)
    stage.join(classic, 2)
    stage.run(5)
    stage.simulation.crash(classic)
    stage.join(1 - classic, 12)
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("S2", DURABLE_STORE, TINY, aside=(Remedy.REPLICATION,))
def owner_reboots_without_memory(stage: Stage) -> bool:
    """An owner restarts and has forgotten its leases while their clients stay."""
    stage.start(0)
    stage.join(0, 3)
    stage.run(5)
    stage.simulation.crash(0)
    stage.run(1)
    stage.start(0)
    stage.join(0, 60)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S3", Remedy.PROMISE, aside=SURVIVORS)
def partition(stage: Stage) -> bool:
    """A partition longer than T and shorter than the promise: the far side takes the block."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(5)
    stage.split(0, 1)
    stage.join(1, 12)
    stage.run(100)
    stage.cut()
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("S3", Remedy.MISSING_PEERS, aside=(Remedy.BLOCK_CHOICE,))
def partition_under_pressure(stage: Stage) -> bool:
    """Both sides of a partition need more addresses, and take the same free blocks."""
    stage.start(0, 1)
    stage.join(0, 1)
    stage.join(1, 1)
    stage.run(10)
    stage.split(0, 1)
    stage.run(30)
    stage.join(0, 12)
    stage.join(1, 12)
    stage.run(120)
    stage.cut()
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("death in a partition", Remedy.MISSING_PEERS, TINY.replaced(nodes=3))
def death_in_a_partition(stage: Stage) -> bool:
    """A dead owner's promise ends, and its spares' long before, while its survivors do not hear each other and need
    more addresses: both sides adopt its block."""
    stage.bereave(2)
    stage.run(stage.simulation.setup.promise_s - 100)
    stage.split(1, 2)
    stage.join(1, 20)
    stage.join(2, 20)
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("restart in a partition", Remedy.CLAIM_MEMORY)
def restart_in_a_partition(stage: Stage) -> bool:
    """A node restarts while it hears nobody, and does not know whose the blocks around it are."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(30)
    stage.split(0, 1)
    stage.simulation.crash(1)
    stage.run(5)
    stage.start(1)
    stage.join(1, 12)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S4", Remedy.DISPUTES, ONE_BLOCK, aside=(Remedy.PROMISE, *SURVIVORS))
def dispute_after_a_heal(stage: Stage) -> bool:
    """Two owners of a block meet. The winner does not know the loser's leases and gives their addresses to others."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(5)
    stage.split(0, 1)
    stage.run(30)
    stage.join(1)
    stage.run(30)
    stage.cut()
    stage.run(60)
    healed_at = stage.simulation.now
    stage.join(1)
    stage.run(5)
    return any(duplicate.began_at > healed_at for duplicate in stage.simulation.addresses.duplicates)


@_scenario("S5", Remedy.CORRECT_OWNER, ROOMY)
def renewal_by_anybody(stage: Stage) -> bool:
    """A client asks elsewhere for an address that is another's, and its owner acknowledges it."""
    stage.start(0, 1)
    (holder,) = stage.join(0)
    stage.run(5)
    stage.join(1, old_address=holder.address)
    stage.run(30)
    return stage.duplicate_seconds() > 0


@_scenario("S6", Remedy.SPACED_INQUIRIES, ONE_BLOCK)
def simultaneous_claimants(stage: Stage) -> bool:
    """Two nodes claim one block, and a short burst of loss swallows all that one says in it."""
    stage.simulation.start_all()
    stage.join(0, 2)
    stage.join(1, 2)
    stage.split(0, 1)
    stage.run(1.5)
    stage.cut()
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S7", Remedy.STICKY_CLAIMS, TINY.replaced(nodes=4), aside=SURVIVORS)
def inquiry_weakens_a_claim(stage: Stage) -> bool:
    """A newcomer's INQUIRE makes a third node forget a claim whose owner it does not hear just then."""
    simulation = stage.simulation
    stage.start(0, 2)
    stage.join(0, 2)
    stage.run(5)
    stage.cut((0, 2))
    blocks = simulation.watch.blocks
    taken = sorted(index for index, witness in blocks.items() if 0 in witness.claimants(simulation.now))
    pool = simulation.setup.pool
    newcomer = simulation.hosts[3]
    data = SwarmCodec(newcomer.mac + b"\0\0", pool.prefix, pool.prefix_len, pool.block_size).inquire(taken)
    for number in (0, 2):
        simulation.network.inject(number, SwarmReceived(data, newcomer.address, True))
    stage.run(10)
    stage.join(2, 12)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S8", Remedy.FENCING, aside=SURVIVORS)
def owner_without_link(stage: Stage) -> bool:
    """An owner's link is down for longer than it promised: it goes on serving what others have taken."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(5)
    stage.simulation.hosts[0].set_link(False)
    stage.run(stage.simulation.setup.promise_s + 60)
    stage.join(1, 12)
    stage.run(60)
    stage.join(0, 4)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S9", MONOTONIC_TIME, TINY, aside=(Remedy.REPLICATION, Remedy.PROBING))
def clock_step(stage: Stage) -> bool:
    """Somebody sets the clock a day forward."""
    stage.start(0)
    stage.join(0, 3)
    stage.run(5)
    stage.simulation.hosts[0].step_wall_clock(86400)
    stage.run(10)
    stage.join(0, 60)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S10", Remedy.PROMISE, aside=SURVIVORS)
def one_way_link(stage: Stage) -> bool:
    """A node is not heard for a while but hears: the other takes its block, and each claims against the other."""
    stage.start(0, 1)
    stage.join(1, 2)
    stage.run(5)
    stage.cut((1, 0))
    stage.join(0, 12)
    stage.run(100)
    stage.cut()
    stage.run(LEASE_S)
    return stage.duplicate_seconds() > 0


@_scenario("S11", Remedy.TIE_BREAK, ONE_BLOCK.replaced(same_ids=True), aside=(Remedy.MISSING_PEERS,))
def equal_ids(stage: Stage) -> bool:
    """Two nodes with one and the same id inquire the same block: nobody yields, and both own it."""
    stage.simulation.start_all()
    stage.join(0, 2)
    stage.join(1, 2)
    stage.run(stage.simulation.setup.tentative_timeout_s + 1.0)
    return stage.has_two_owners()


@_scenario(
    "S12", Remedy.GUARDIAN, TINY.replaced(nodes=3, learning=True),
    aside=(Remedy.SYNC, Remedy.MISSING_PEERS, Remedy.REPLICATION),
)  # fmt: skip
def newcomer_after_a_death(stage: Stage) -> bool:
    """A node boots that never heard of a dead owner's block; those who remember it say nothing."""
    stage.start(0, 1)
    stage.run(30)
    stage.join(0, 2)
    stage.run(5)
    stage.simulation.crash(0)
    stage.run(60)
    stage.start(2)
    stage.join(2, 12)
    stage.run(100)
    return stage.duplicate_seconds() > 0


@_scenario("S13", Remedy.FENCING, aside=SURVIVORS)
def paused_owner(stage: Stage) -> bool:
    """An owner sleeps for longer than it promised, wakes up, and goes on serving."""
    stage.start(0, 1)
    stage.join(0, 2)
    stage.run(5)
    host = stage.simulation.hosts[0]
    host.pause(hears=False)
    stage.run(stage.simulation.setup.promise_s + 60)
    stage.join(1, 12)
    stage.run(60)
    host.resume()
    stage.join(0, 4)
    stage.run(60)
    return stage.duplicate_seconds() > 0


@_scenario("S14", Remedy.ONE_ADDRESS, ROOMY)
def one_client_two_addresses(stage: Stage) -> bool:
    """A client that has lost its memory asks again and gets a second address."""
    stage.start(0)
    (client,) = stage.join(0)
    stage.run(5)
    first = client.address
    client.forget()
    stage.run(10)
    return client.address != first


@_scenario("simultaneous start", Remedy.BLOCK_CHOICE, ROOMY.replaced(nodes=8, block_bits=1))
def same_choice(stage: Stage) -> bool:
    """Nodes that start in one second want the same blocks."""
    simulation = stage.simulation
    wanted: dict[int, set[int]] = {}

    def listen(sender: int, indices: list[int]) -> None:
        if simulation.now < 1.0:
            for index in indices:
                wanted.setdefault(index, set()).add(sender)

    simulation.watch.on_inquire.append(listen)
    simulation.start_all()
    stage.run(60)
    return sum(len(nodes) - 1 for nodes in wanted.values()) >= simulation.setup.nodes // 2


@_scenario("owner's death", Remedy.REPLICATION, ROOMY.replaced(nodes=3), aside=())
def clients_of_a_dead_owner(stage: Stage) -> bool:
    """An owner dies for good; its client, now elsewhere, wants to keep its address."""
    (client,), (address,) = stage.bereave(1)
    stage.run(30)
    stage.move(client, 1)
    stage.run(60)
    return not (client.is_served and client.address == address)


@_scenario("dead owner from afar", Remedy.REPLICATION, ROOMY.replaced(nodes=8), aside=())
def clients_of_a_dead_owner_afar(stage: Stage) -> bool:
    """The same with nodes that were told nothing of its leases: each has to find one that was."""
    clients, addresses = stage.bereave(2)
    failed = False
    for host in range(1, 8):
        for client in clients:
            stage.move(client, host)
        stage.run(20)
        failed = failed or not all(client.is_served for client in clients)
    return failed or [client.address for client in clients] != addresses


@_scenario("long after a death", Remedy.GUARDIAN, ROOMY.replaced(nodes=8))
def clients_of_a_dead_owner_for_long(stage: Stage) -> bool:
    """Clients of a dead owner stay where they are until long after its promise has ended, and go on renewing."""
    clients, addresses = stage.bereave(2)
    for client, host in zip(clients, (1, 5), strict=True):
        stage.move(client, host)
    stage.run(2.0 * stage.simulation.setup.promise_s)
    return [client.address for client in clients] != addresses


@_scenario("a death heard of in part", Remedy.GUARDIAN, ROOMY.replaced(nodes=8))
def clients_of_an_owner_half_heard(stage: Stage) -> bool:
    """The same, but where the clients are the owner's last announcements were not heard, so that its promise seems to
    end sooner than where its leases are known."""
    stage.start(*range(8))
    clients = stage.join(0, 6)
    stage.run(30)
    addresses = [client.address for client in clients]
    stage.cut(*((0, number) for number in (1, 2, 3, 5, 6)))
    stage.run(0.33 * stage.simulation.setup.promise_s)
    stage.simulation.crash(0)
    stage.cut()
    for client, host in zip(clients, (1, 2, 3, 5, 6, 7), strict=True):
        stage.move(client, host)
    stage.run(2.0 * stage.simulation.setup.promise_s)
    return [client.address for client in clients] != addresses


@_scenario("a squatter", Remedy.PROBING, ONE_BLOCK.replaced(nodes=1))
def address_in_use(stage: Stage) -> bool:
    """A client goes on using its address after its lease has ended, when all others are taken."""
    simulation = stage.simulation
    stage.start(0)
    (squatter,) = stage.join(0)
    stage.run(5)
    address = squatter.address
    squatter.go_off()
    stage.run(LEASE_S + 20)
    simulation.who_has = lambda host, asked: squatter.chaddr[:6] if asked == address else None  # type: ignore
    clients = stage.join(0, 6)
    stage.run(60)
    return any(client.address == address for client in clients)


@_scenario("graceful stop", Remedy.HANDOVER, ROOMY.replaced(nodes=3), aside=(Remedy.REPLICATION,))
def clients_of_a_stopped_owner(stage: Stage) -> bool:
    """An owner is told to stop; its client, now elsewhere, wants to keep its address."""
    stage.start(0, 1, 2)
    (client,) = stage.join(0)
    stage.run(30)
    address = client.address
    stage.simulation.stop(0)
    stage.run(30)
    stage.move(client, 1)
    stage.run(60)
    return not (client.is_served and client.address == address)


@_scenario(
    "newcomer", Remedy.SYNC, ROOMY.replaced(nodes=5, learning=True), aside=(Remedy.MISSING_PEERS, Remedy.BLOCK_CHOICE)
)
def ignorant_newcomer(stage: Stage) -> bool:
    """A node boots into a swarm whose next refresh is minutes away, and inquires blocks that are owned."""
    stage.start(0, 1, 2, 3)
    stage.run(40)
    for number in range(4):
        stage.join(number, 2)
    stage.run(100)
    host = stage.simulation.hosts[4]
    stage.start(4)
    stage.run(10)
    known = stage.known_to(host.number)
    owned = [i for i, witness in stage.simulation.watch.blocks.items() if witness.claimants(stage.simulation.now)]
    return not set(owned) <= known
