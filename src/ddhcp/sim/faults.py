"""Faults as values: drawn from the seed, applied to a simulation, undone when their time is over."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .setup import Setup

if TYPE_CHECKING:
    from .client import Client
    from .host import Host
    from .simulation import Simulation

# Faults that keep a living node from being heard.
SILENCING = frozenset(
    ("partition", "one-way", "flapping", "link-by-link", "pause", "suspend", "send-errors", "link-down", "burst")
)

ENDING = frozenset(("crash", "stop", "wipe", "reboot-all"))  # a machine is down
STOP_S = 6.0  # that a stop takes at most

RUSH = "rush"  # many clients that nobody knows come at once

FOR_GOOD = 1.0  # the value of a crash, stop or wipe after which the machine stays down


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind``: one of :data:`~ddhcp.sim.setup.FAULT_KINDS`, or :data:`RUSH`. ``at``/``until``: virtual time.
    ``nodes``: whom it strikes. ``value``: how hard."""

    kind: str
    at: float
    until: float
    nodes: tuple[int, ...] = ()
    value: float = 0.0

    def __str__(self) -> str:
        nodes = f" nodes {','.join(map(str, self.nodes))}" if self.nodes else ""
        return f"{self.kind} {self.at:.1f}-{self.until:.1f}{nodes} value {self.value:.3g}"


def draw_faults(setup: Setup, rng: random.Random, classic: frozenset[int] = frozenset()) -> list[Fault]:
    """The faults of a run, in the order in which they begin. All are over at the end of the safety phase. ``classic``:
    the nodes that tell nobody what they remember."""
    if not setup.faults or setup.safety_s <= 0:
        return []
    count = max(1, round(setup.fault_rate * setup.safety_s / 3600 * rng.uniform(0.5, 1.5)))
    first_s = min(setup.safety_s * 0.5, setup.settled_s)
    faults = [_draw(setup, rng, rng.uniform(first_s, setup.safety_s)) for _ in range(count)]
    faults.sort(key=lambda fault: (fault.at, fault.kind, fault.nodes))
    pause_s = 2 * setup.refresh_s
    kept = _with_witnesses(_spaced(_with_survivors(faults, setup), pause_s), setup, classic, pause_s)
    return sorted(kept + _rushes(kept, setup, rng), key=lambda fault: fault.at) if setup.rushes else kept


def _rushes(faults: list[Fault], setup: Setup, rng: random.Random) -> list[Fault]:
    """Clients that come just as a silence begins or ends: then blocks are claimed by nodes that do not hear each other,
    or do so again."""
    silences = [fault for fault in faults if fault.kind in SILENCING and rng.random() < setup.rushes]
    return [_draw_rush(rng.choice((fault.at, fault.until)), setup, rng) for fault in silences]


def _draw_rush(near: float, setup: Setup, rng: random.Random) -> Fault:
    at = near + setup.tentative_timeout_s * rng.uniform(-2.0, 1.0)
    return Fault(RUSH, at, at + rng.choice((1.0, setup.tentative_timeout_s)), value=rng.choice((0.2, 0.5, 1.0)))


def _with_survivors(faults: list[Fault], setup: Setup) -> list[Fault]:
    """At most half of the nodes, less than all, go for good; the others come back."""
    gone: set[int] = set()
    kept = []
    for fault in faults:
        if fault.kind in ("crash", "stop", "wipe") and fault.value == FOR_GOOD:
            if len(gone.union(fault.nodes)) > (setup.nodes - 1) // 2:
                fault = replace(fault, until=min(setup.safety_s, fault.at + setup.longest_fault_s), value=0.0)
            else:
                gone.update(fault.nodes)
        kept.append(fault)
    return kept


def _spaced(faults: list[Fault], pause_s: float) -> list[Fault]:
    """Without those that would prolong another's silence: two short cuts in a row are one long cut. A machine without
    memory that boots while others cannot be heard knows of nobody, so this is kept apart from silences as well."""
    kept = []
    silent_until = -pause_s
    for fault in faults:
        if fault.kind in SILENCING or _is_amnesia(fault):
            if fault.at < silent_until + pause_s:
                continue
            silent_until = fault.until
        kept.append(fault)
    return kept


def _is_amnesia(fault: Fault) -> bool:
    """Whether a machine boots without what was on its disk."""
    return fault.kind == "wipe" and fault.value != FOR_GOOD


def _with_witnesses(faults: list[Fault], setup: Setup, classic: frozenset[int], pause_s: float) -> list[Fault]:
    """Without disks that are lost while no other machine of ours is up until the one that forgot has been told, or
    while what it is told takes longer than it inquires a block: if nobody remembers, or says so in time, nothing
    helps."""
    kept = list(faults)
    for wipe in filter(_is_amnesia, faults):
        away = {*wipe.nodes, *classic}
        is_told_late = False
        for fault in kept:
            if fault.at >= wipe.until + pause_s or _back_at(fault) + pause_s <= wipe.at:
                continue
            if fault.kind in ENDING:
                away.update(fault.nodes)
            is_told_late |= fault.kind == "delay" and fault.value >= setup.tentative_timeout_s
        if (is_told_late or len(away) == setup.nodes) and not classic.issuperset(wipe.nodes):
            kept.remove(wipe)
    return kept


def _back_at(fault: Fault) -> float:
    """When all is as before a fault: the last machine that it ended is up again."""
    if fault.kind not in ENDING:
        return fault.until
    if fault.kind == "reboot-all":
        return fault.until + fault.value
    return math.inf if fault.value == FOR_GOOD else fault.until + STOP_S


def _draw(setup: Setup, rng: random.Random, at: float) -> Fault:
    kind = rng.choice(setup.faults)
    longest_s = setup.longest_fault_s
    duration_s = rng.choice((longest_s * rng.random(), longest_s * 0.1 * rng.random(), longest_s))
    everybody = range(setup.nodes)
    some = tuple(sorted(rng.sample(everybody, rng.randint(1, max(1, setup.nodes // 2)))))
    one = (rng.randrange(setup.nodes),)
    until = min(setup.safety_s, at + duration_s)
    if kind in ("loss", "unicast-loss"):
        return Fault(kind, at, until, value=rng.choice((0.05, 0.1, 0.2, 0.3, 0.4)))
    if kind == "burst":
        return Fault(kind, at, until, value=rng.choice((0.02, 0.1, 0.3)))
    if kind == "duplication":
        return Fault(kind, at, until, value=rng.choice((0.1, 0.5)))
    if kind == "delay":
        return Fault(kind, at, until, value=rng.choice((0.01, 0.2, 1.0, 3.0, 10.0)))
    if kind in ("partition", "one-way", "flapping"):
        return Fault(kind, at, until, some, rng.choice((5.0, 20.0)) if kind == "flapping" else 0.0)
    if kind == "link-by-link":
        return Fault(kind, at, until, value=rng.choice((0.2, 0.5)))
    if kind in ("crash", "stop", "wipe"):
        for_good = rng.random() < 0.25
        return Fault(
            kind, at, setup.safety_s if for_good else until, one, FOR_GOOD if for_good else rng.randrange(0, 3) / 4
        )
    if kind == "reboot-all":
        return Fault(kind, at, min(setup.safety_s, at + rng.uniform(1, 30)), tuple(everybody), rng.choice((0.0, 20.0)))
    if kind == "clock-step":
        return Fault(kind, at, at, one, rng.choice((-86400.0, -600.0, 600.0, 86400.0)))
    if kind == "garbage":
        return Fault(kind, at, until, some, rng.choice((0.5, 5.0)))
    return Fault(kind, at, until, one)


class FaultInjector:
    """Applies faults to a simulation at their time and undoes them."""

    def __init__(self, simulation: Simulation, rng: random.Random) -> None:
        self._simulation = simulation
        self._rng = rng
        self._number = 0
        self._appliers: dict[str, Callable[[Fault, int], None]] = {
            "loss": self._impair, "unicast-loss": self._impair, "burst": self._impair, "duplication": self._impair,
            "delay": self._impair, "partition": self._cut, "one-way": self._cut, "flapping": self._cut,
            "link-by-link": self._cut, "crash": self._crash, "wipe": self._crash, "stop": self._stop,
            "reboot-all": self._reboot_all, "pause": self._pause, "suspend": self._pause,
            "clock-step": self._step_clock, "send-errors": self._fail_sends, "link-down": self._link_down,
            "disk-errors": self._fail_disk,
            "garbage": self._garbage, RUSH: self._rush,
        }  # fmt: skip
        self._impairments: dict[int, Fault] = {}

    def schedule(self, faults: list[Fault]) -> None:
        """Have these faults happen."""
        for fault in faults:
            self._number += 1
            self._simulation.engine.at(fault.at, self._begin, fault, self._number)

    def _begin(self, fault: Fault, number: int) -> None:
        simulation = self._simulation
        simulation.watch.trace.say(f"### {fault}")
        simulation.watch.trace.bytes(number, str(fault).encode())
        if fault.until > fault.at:
            simulation.watch.active_faults[number] = str(fault)
            simulation.engine.at(fault.until, self._over, fault, number)
        self._appliers[fault.kind](fault, number)

    def _over(self, fault: Fault, number: int) -> None:
        self._simulation.watch.active_faults.pop(number, None)
        self._simulation.watch.trace.say(f"### over: {fault}")

    # --- the network ----------------------------------------------------------------------------

    def _impair(self, fault: Fault, number: int) -> None:
        self._impairments[number] = fault
        self._combine()
        self._simulation.engine.at(fault.until, self._unimpair, number)

    def _unimpair(self, number: int) -> None:
        self._impairments.pop(number, None)
        self._combine()

    def _combine(self) -> None:
        """Of faults that overlap the worst of each kind counts."""
        network = self._simulation.network

        def worst(*kinds: str) -> float:
            return max((fault.value for fault in self._impairments.values() if fault.kind in kinds), default=0.0)

        network.multicast_faults.loss = max(worst("loss"), self._simulation.setup.loss)
        network.unicast_faults.loss = worst("unicast-loss")
        network.multicast_faults.duplication = network.unicast_faults.duplication = worst("duplication")
        network.multicast_faults.delay_s = network.unicast_faults.delay_s = worst("delay")
        network.burst = (worst("burst"), self._simulation.setup.refresh_s)

    def _cut(self, fault: Fault, number: int) -> None:
        inside = frozenset(fault.nodes)
        engine = self._simulation.engine
        if fault.kind == "one-way":

            def cut(sender: int, receiver: int) -> bool:
                return sender in inside and receiver not in inside

        elif fault.kind == "link-by-link":
            salt = self._rng.getrandbits(32)
            threshold = int(fault.value * 1000)

            def cut(sender: int, receiver: int) -> bool:
                first, second = min(sender, receiver), max(sender, receiver)
                return (first * 7919 + second * 104729 + salt) * 2654435761 % 2**32 % 1000 < threshold

        elif fault.kind == "flapping":

            def cut(sender: int, receiver: int) -> bool:
                is_down = int((engine.now - fault.at) / fault.value) % 2 == 0
                return is_down and (sender in inside) != (receiver in inside)

        else:

            def cut(sender: int, receiver: int) -> bool:
                return (sender in inside) != (receiver in inside)

        cuts = self._simulation.network.cuts
        cuts[number] = cut
        engine.at(fault.until, cuts.pop, number, None)

    # --- machines -------------------------------------------------------------------------------

    def _crash(self, fault: Fault, number: int) -> None:
        """``value``: 0 at once, 0.25 before its next commit, 0.5 after it, 1 for good."""
        (node,) = fault.nodes
        simulation = self._simulation
        how = {0.25: "before", 0.5: "after"}.get(fault.value)
        if fault.kind == "crash" and how is not None:
            simulation.kill_at_commit(node, how)
        else:
            simulation.crash(node, wipe=fault.kind == "wipe")
        if fault.value != FOR_GOOD:
            simulation.engine.at(fault.until, simulation.restart, node)
        else:
            simulation.gone.add(node)

    def _stop(self, fault: Fault, number: int) -> None:
        (node,) = fault.nodes
        self._simulation.stop(node)
        if fault.value != FOR_GOOD:
            self._simulation.engine.at(fault.until + STOP_S, self._simulation.restart, node)
        else:
            self._simulation.gone.add(node)

    def _reboot_all(self, fault: Fault, number: int) -> None:
        """Everybody loses power at once and comes back within ``value`` seconds of each other."""
        simulation = self._simulation
        for node in fault.nodes:
            simulation.crash(node)
            simulation.engine.at(fault.until + self._rng.random() * fault.value, simulation.restart, node)

    def _pause(self, fault: Fault, number: int) -> None:
        for node in fault.nodes:
            host = self._simulation.hosts[node]
            host.pause(hears=fault.kind == "pause")
            self._simulation.engine.at(fault.until, host.resume)

    def _step_clock(self, fault: Fault, number: int) -> None:
        for node in fault.nodes:
            self._simulation.hosts[node].step_wall_clock(fault.value)

    def _fail_sends(self, fault: Fault, number: int) -> None:
        for node in fault.nodes:
            host = self._simulation.hosts[node]
            host.sends_fail = True
            self._simulation.engine.at(fault.until, setattr, host, "sends_fail", False)

    def _fail_disk(self, fault: Fault, number: int) -> None:
        for node in fault.nodes:
            host = self._simulation.hosts[node]
            host.disk_fails = True
            self._simulation.engine.at(fault.until, setattr, host, "disk_fails", False)

    def _link_down(self, fault: Fault, number: int) -> None:
        for node in fault.nodes:
            host = self._simulation.hosts[node]
            host.set_link(False)
            self._simulation.engine.at(fault.until, host.set_link, True)

    def _rush(self, fault: Fault, number: int) -> None:
        """``value``: the share of the clients in whose stead others come."""
        simulation, rng = self._simulation, self._rng
        clients = list(simulation.clients.values())
        for client in rng.sample(clients, math.ceil(fault.value * len(clients))):
            host = simulation.random_host(rng, None)
            simulation.engine.after(rng.random() * (fault.until - fault.at), self._replace, client, host)

    def _replace(self, client: Client, host: Host) -> None:
        """Another client comes in the stead of this one, to a machine that is not gone for good meanwhile."""
        simulation = self._simulation
        client.give_way(simulation.random_host(self._rng, None) if host.number in simulation.gone else host)

    def _garbage(self, fault: Fault, number: int) -> None:
        """``value``: datagrams a second to each node."""
        self._simulation.send_garbage(fault.nodes)
        at = self._simulation.engine.now + 1 / fault.value
        if at < fault.until:
            self._simulation.engine.at(at, self._garbage, fault, number)
