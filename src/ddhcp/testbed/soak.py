"""A mesh at work for as long as one likes: clients come, renew, roam, restart, give their lease back or just vanish,
and a node is stopped and started now and then, while every promise that can be watched from outside is watched. Now and
then something fails (:mod:`ddhcp.testbed.disturbances`): then, and until the mesh has settled, clients may wait or lose
what they have, but still no address has two of them.

    python -m ddhcp.testbed.soak [--minutes N] [--clients N] [--seed N] [--logs DIRECTORY]

It fails when an address has two holders, when a client loses or changes an address that it was promised, when a client
waits too long for one, when a block has two owners, when a node ends or logs a warning or worse, and when a node's
memory or its number of open files grows; and, by what all clients noted, at the end once more if an address had two.
Timers are shortened, so that an hour has hundreds of each in it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import select
import shutil
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddhcp.core.context import PROMISE_SLACK_S
from ddhcp.core.pool import dotted

from . import audit, hook, kernel, layout, programs
from .dhcpclient import Change, Crowd, DhcpClient
from .disturbances import Disturber
from .faults import WallClock
from .links import Netlink
from .mesh import GRANTED, Mesh
from .network import TestbedError
from .nodes import Node
from .programs import DHCLIENT, Program

REALMS = 3
LEASE_S = 20  # the shortest that dhcpcd accepts
NODE_ARGUMENTS = ("-L", "-t", "2", "-B", "12", "-n", "20", "-b", "4", "-o", f"51:4:0.0.0.{LEASE_S}")

START_PATIENCE_S = 10.0
LEASE_PATIENCE_S = 20.0  # a client that is on has an address after this
PAUSE_MEAN_S = 5.0  # between two things that a client does
ROAM_EVERY_S = 15.0  # a real client
RESTART_EVERY_S = 60.0  # one of the nodes
SAMPLE_EVERY_S = 5.0
WARM_UP_S = 60.0  # of a node, before its memory counts: caches fill, the first blocks of every realm come
FEWEST_SAMPLES = 8  # of one process, to judge growth by
GROWTH_BYTES = 2 << 20
GROWTH_SHARE = 0.05
GROWTH_FILES = 4
MISDATED_REALM = 1
PROMISE_S = 2.0 * LEASE_S + PROMISE_SLACK_S
RESTARTED_REALM = REALMS - 1  # the other nodes run from start to end, so that their memory tells something
MAX_FAILURES = 20
_EXPIRY_TOLERANCE_S = 1.0  # clients round
LOST = ("NAK", "EXPIRE", "FAIL")

_TROUBLE = re.compile(r"^(?:\S+ )?(?:warning|error|critical) |Traceback \(most recent call last\)")


class Verdict:
    """The failures so far, each with the time since the start."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self.failures: list[str] = []
        self.is_disturbed: Callable[[], bool] = lambda: False
        self.excused = 0

    def fail_if_calm(self, text: str) -> None:
        """Note a failure, unless something fails just now that explains it."""
        if self.is_disturbed():
            self.excused += 1
        else:
            self.fail(text)

    def fail(self, text: str) -> None:
        """Note a failure and tell it at once."""
        line = f"{time.monotonic() - self._started_at:7.1f} s  {text}"
        self.failures.append(line)
        print(f"FAILED {line}", flush=True)


class Holders:
    """Who was promised which address, and until when; told by the clients, so it is what they believe."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._promises: dict[str, tuple[str, float]] = {}  # address: client, end of its lease
        self._addresses: dict[str, str] = {}  # client: its address

    def promised(self, client: str, now: float) -> str | None:
        """The address that the client's unexpired lease is for."""
        address = self._addresses.get(client)
        return address if address is not None and self._promises[address][1] > now else None

    def grant(self, client: str, address: str, lease_s: float, now: float) -> None:
        """The client was acknowledged the address at ``now``, for ``lease_s`` seconds."""
        holder, until = self._promises.get(address, (client, 0.0))
        if holder != client and until > now:
            self._verdict.fail(f"{address} went to {client}, but {holder} holds it for {until - now:.1f} s more")
        before = self.promised(client, now)
        if before is not None and before != address:
            self._verdict.fail_if_calm(f"{client} was promised {before} and got {address}")
        self.give_back(client)
        if holder != client:
            self._addresses.pop(holder, None)
        self._promises[address] = (client, now + lease_s)
        self._addresses[client] = address

    def give_back(self, client: str) -> None:
        """The client has no lease any more, by its own will or because it ended."""
        address = self._addresses.pop(client, None)
        if address is not None:
            del self._promises[address]

    def lose(self, client: str, reason: str, now: float) -> None:
        """A client that is on was told, or found, that its lease has ended."""
        address = self.promised(client, now + _EXPIRY_TOLERANCE_S)
        if reason != "EXPIRE":
            if address is not None:
                self._verdict.fail_if_calm(f"{client} was refused {address} ({reason}) before its lease had ended")
        elif address is not None:
            return  # dhcpcd says so when its carrier goes; it asks for the same address when the carrier comes back
        elif client in self._addresses:
            self._verdict.fail_if_calm(f"{client} could not renew {self._addresses[client]}: it expired")
        self.give_back(client)


@dataclass(slots=True)
class Wanderer:
    """One of the crowd. ``realm``: where it is; ``None``: switched off. ``next_at``: when it does something again;
    ``waiting_since``: when it began to be without an address."""

    client: DhcpClient
    name: str
    next_at: float
    realm: int | None = None
    waiting_since: float | None = None


class CrowdOfRealms:
    """Clients of the testbed's own that do at random what clients do."""

    def __init__(self, count: int, rng: random.Random, holders: Holders, verdict: Verdict) -> None:
        self._rng = rng
        self._holders = holders
        self._verdict = verdict
        self._crowds = [Crowd(layout.realm_bridge(realm), []) for realm in range(REALMS)]
        self.done: Counter[str] = Counter()
        self._records: dict[str, list[audit.Noted]] = defaultdict(list)
        now = time.monotonic()
        self._wanderers = [
            Wanderer(DhcpClient(mac, rng, broadcast=rng.random() < 0.2), mac.hex(":"), now + self._pause())
            for mac in (bytes((2, 0, 0, 0, number >> 8, number & 255)) for number in range(count))
        ]

    def _pause(self) -> float:
        return self._rng.expovariate(1 / PAUSE_MEAN_S)

    def close(self) -> None:
        """Switch all off without a word."""
        for crowd in self._crowds:
            crowd.close()

    def held(self) -> list[audit.Holding]:
        """What the clients held, by their own records."""
        return [holding for name, records in self._records.items() for holding in audit.holdings(name, records)]

    def live(self, until: float) -> None:
        """Let the clients live until the instant ``until``."""
        while (now := time.monotonic()) < until:
            for wanderer in self._wanderers:
                if now >= wanderer.next_at:
                    self._act(wanderer, now)
                    wanderer.next_at = now + self._pause()
            for crowd in self._crowds:
                crowd.poll()
            for wanderer in self._wanderers:
                self._watch(wanderer)
            wake_at = min(until, *(w.next_at for w in self._wanderers), *self._deadlines())
            select.select(self._crowds, [], [], max(0.0, wake_at - time.monotonic()))

    def _deadlines(self) -> list[float]:
        on = (w.client.deadline() for w in self._wanderers if w.realm is not None)
        return [deadline for deadline in on if deadline is not None]

    def _act(self, wanderer: Wanderer, now: float) -> None:
        if wanderer.realm is None:
            self._switch_on(wanderer, self._rng.randrange(REALMS), now)
        elif wanderer.client.address:
            deeds = (self._renew, self._roam, self._restart, self._release, self._vanish)
            self._rng.choices(deeds, weights=(6, 6, 3, 3, 2))[0](wanderer, now)

    def _switch_on(self, wanderer: Wanderer, realm: int, now: float) -> None:
        self.done["start"] += 1
        wanderer.realm, wanderer.waiting_since = realm, now
        crowd = self._crowds[realm]
        crowd.clients[wanderer.client.mac] = wanderer.client
        wanderer.client.start(now)
        crowd.flush(wanderer.client)

    def _switch_off(self, wanderer: Wanderer) -> None:
        assert wanderer.realm is not None
        del self._crowds[wanderer.realm].clients[wanderer.client.mac]
        wanderer.realm = wanderer.waiting_since = None

    def _renew(self, wanderer: Wanderer, now: float) -> None:
        assert wanderer.realm is not None
        self.done["renew"] += 1
        wanderer.client.renew(now)
        self._crowds[wanderer.realm].flush(wanderer.client)

    def _elsewhere(self, realm: int | None) -> int:
        return self._rng.choice([other for other in range(REALMS) if other != realm])

    def _roam(self, wanderer: Wanderer, now: float) -> None:
        """It moves with its lease, and renews it where it arrives."""
        self.done["roam"] += 1
        assert wanderer.realm is not None
        del self._crowds[wanderer.realm].clients[wanderer.client.mac]
        wanderer.realm = self._elsewhere(wanderer.realm)
        self._crowds[wanderer.realm].clients[wanderer.client.mac] = wanderer.client
        wanderer.client.renew(now)
        self._crowds[wanderer.realm].flush(wanderer.client)

    def _restart(self, wanderer: Wanderer, now: float) -> None:
        """It is switched off, maybe carried to another realm, and switched on: INIT-REBOOT."""
        self.done["restart"] += 1
        realm = wanderer.realm if self._rng.random() < 0.5 else self._elsewhere(wanderer.realm)
        self._switch_off(wanderer)
        assert realm is not None
        self._switch_on(wanderer, realm, now)

    def _release(self, wanderer: Wanderer, now: float) -> None:
        assert wanderer.realm is not None
        self.done["release"] += 1
        wanderer.client.release(now)
        self._crowds[wanderer.realm].flush(wanderer.client)
        self._watch(wanderer)
        self._switch_off(wanderer)

    def _vanish(self, wanderer: Wanderer, now: float) -> None:
        self.done["vanish"] += 1
        self._switch_off(wanderer)

    def _watch(self, wanderer: Wanderer) -> None:
        """Judge what happened to the client's lease since it was last looked at."""
        for change in wanderer.client.changes:
            self._judge(wanderer, change)
        self._records[wanderer.name].extend(audit.crowd_records(wanderer.client.changes))
        wanderer.client.changes.clear()
        now, since = time.monotonic(), wanderer.waiting_since
        if since is not None and now - since > LEASE_PATIENCE_S:
            self._verdict.fail_if_calm(
                f"{wanderer.name} in realm {wanderer.realm} has no address after {now - since:.0f} s"
            )
            wanderer.waiting_since = now

    def _judge(self, wanderer: Wanderer, change: Change) -> None:
        self.done[change.reason] += 1
        if change.reason in GRANTED:
            self._holders.grant(wanderer.name, dotted(change.address), change.lease_s, change.at)
            wanderer.waiting_since = None
        elif change.reason == "RELEASE":
            self._holders.give_back(wanderer.name)
        else:
            self._holders.lose(wanderer.name, change.reason, change.at)
            wanderer.waiting_since = change.at


class RealClients:
    """One client of each real program that this machine has, always on, each moving from realm to realm."""

    def __init__(self, mesh: Mesh, rng: random.Random, holders: Holders, verdict: Verdict) -> None:
        self._mesh = mesh
        self._rng = rng
        self._holders = holders
        self._verdict = verdict
        self.programs: dict[int, Program] = {}
        self._seen: dict[int, int] = {}
        self._next_at: dict[int, float] = {}
        self._without_since: dict[int, float] = {}
        for program in programs.REAL_PROGRAMS:
            if program.path():
                client = mesh.join(0, program)
                self.programs[client] = program
                self._seen[client] = 0
                self._next_at[client] = time.monotonic() + rng.uniform(0.5, 1.5) * ROAM_EVERY_S
        self.moves = 0

    def watch(self) -> None:
        """Judge what the programs told their hooks since the last time; move those whose time has come."""
        since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        for client, program in self.programs.items():
            events = self._mesh.clients.events(client)
            for event in events[self._seen[client] :]:
                if event.reason in GRANTED and event.address is not None:
                    self._holders.grant(program.name, event.address, event.lease_s or LEASE_S, event.at - since_boot_s)
                elif event.reason in LOST:
                    self._holders.lose(program.name, event.reason, event.at - since_boot_s)
            self._seen[client] = len(events)
            self._watch_address(client, program)
            if time.monotonic() >= self._next_at[client]:
                self._roam(client, program)

    def _watch_address(self, client: int, program: Program) -> None:
        """dhcpcd takes its address down while it asks whether to keep it, and a node that restarts cannot answer."""
        now = time.monotonic()
        if self._mesh.clients.address(client) is not None:
            self._without_since.pop(client, None)
        elif now - self._without_since.setdefault(client, now) > LEASE_PATIENCE_S:
            self._verdict.fail_if_calm(f"{program.name} has no address on its interface after {LEASE_PATIENCE_S:.0f} s")
            self._without_since[client] = now

    def _roam(self, client: int, program: Program) -> None:
        here = self._mesh.clients.get(client).realm
        self._mesh.clients.roam(client, self._rng.choice([realm for realm in range(REALMS) if realm != here]))
        if program is not DHCLIENT:  # which cannot be told to; it renews by its own clock
            self._mesh.clients.renew(client)
        self.moves += 1
        self._next_at[client] = time.monotonic() + self._rng.uniform(0.5, 1.5) * ROAM_EVERY_S


@dataclass(slots=True)
class Samples:
    """What one process took at each look, after its warm-up: bytes of memory and open files."""

    pid: int
    from_at: float
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Look now. Raises :class:`OSError` if the process is gone."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        files = len(os.listdir(f"/proc/{self.pid}/fd"))
        if time.monotonic() >= self.from_at:
            self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
            self.files.append(files)

    @staticmethod
    def ends(values: Sequence[int]) -> tuple[float, float]:
        """Medians of the first and the last quarter."""
        quarter = max(1, len(values) // 4)
        return statistics.median(values[:quarter]), statistics.median(values[-quarter:])

    def judge(self, name: str, verdict: Verdict) -> str:
        """One line about the growth, which is noted as a failure where it is more than noise."""
        if len(self.memory) < FEWEST_SAMPLES:
            return f"{name}: ran too briefly to judge its memory"
        first, last = self.ends(self.memory)
        if last - first > max(GROWTH_BYTES, GROWTH_SHARE * first):
            verdict.fail(f"{name} grew from {first / 1e6:.1f} to {last / 1e6:.1f} MB")
        first_files, last_files = self.ends(self.files)
        if last_files - first_files > GROWTH_FILES:
            verdict.fail(f"{name} had {first_files:.0f} files open, then {last_files:.0f}")
        return f"{name}: {first / 1e6:.1f} MB at first, {last / 1e6:.1f} MB at the end; {last_files:.0f} open files"


class Nodes:
    """The nodes under watch: their processes, blocks, logs and memory."""

    def __init__(self, mesh: Mesh, verdict: Verdict, rng: random.Random) -> None:
        self._mesh = mesh
        self._verdict = verdict
        self._samples: dict[int, Samples] = {}
        self._log_read: dict[int, int] = {}
        self._contested: set[int] = set()
        self.restarts = 0
        self.clock = WallClock(mesh.network.state / "clock")
        self.disturber = Disturber(
            mesh, rng, RESTARTED_REALM, self.clock, PROMISE_S, lambda: self._start(RESTARTED_REALM)
        )
        verdict.is_disturbed = self.disturber.is_disturbed
        for realm in range(REALMS):
            self._start(realm)
        mesh.wait_for_blocks(START_PATIENCE_S)
        self._restart_at = time.monotonic() + RESTART_EVERY_S

    def _start(self, realm: int) -> None:
        setup = self.clock.setup if realm == MISDATED_REALM else ""
        node = self._mesh.start(realm, *NODE_ARGUMENTS, setup=setup)
        self._samples[realm] = Samples(node.process.pid, time.monotonic() + WARM_UP_S)

    def watch(self) -> None:
        """Look at all of it; restart a node when its time has come."""
        self.disturber.watch()
        for realm, node in self._mesh.nodes.items():
            if realm in self.disturber.away:
                continue
            if not node.running:
                self._verdict.fail(f"node {realm} ended with status {node.process.returncode}")
                self._start(realm)
                continue
            self._samples[realm].take()
            self._read_log(realm, node)
        self._watch_blocks()
        if time.monotonic() >= self._restart_at and not self.disturber.is_disturbed():
            self._stop(RESTARTED_REALM)
            self._start(RESTARTED_REALM)
            self.restarts += 1
            self._restart_at = time.monotonic() + RESTART_EVERY_S

    def _read_log(self, realm: int, node: Node) -> None:
        with node.log.open("rb") as log:
            log.seek(self._log_read.get(realm, 0))
            text, newline, _ = log.read().rpartition(b"\n")
        self._log_read[realm] = self._log_read.get(realm, 0) + len(text) + len(newline)
        for line in text.decode(errors="replace").splitlines():
            if _TROUBLE.search(line):
                self._verdict.fail_if_calm(f"node {realm} logged: {line}")

    def _watch_blocks(self) -> None:
        """A block that has two owners at two looks has them; at one, it may have changed hands between the answers."""
        asked = (node for realm, node in self._mesh.nodes.items() if realm not in self.disturber.away)
        owners = Counter(block for node in asked for block in node.blocks())
        contested = {block for block, count in owners.items() if count > 1}
        for block in sorted(contested & self._contested):
            self._verdict.fail_if_calm(f"block {block} has two owners")
        self._contested = contested

    def _stop(self, realm: int) -> None:
        status = self._mesh.nodes[realm].stop()
        if status != 0:
            self._verdict.fail(f"node {realm} ended with status {status} when asked to stop")
        self._read_log(realm, self._mesh.nodes[realm])

    def finish(self) -> list[str]:
        """End a fault under way, stop all nodes; a line about the memory of each."""
        self.disturber.close()
        lines = [self._samples[realm].judge(f"node {realm}", self._verdict) for realm in self._mesh.nodes]
        for realm, node in self._mesh.nodes.items():
            if node.running:
                self._stop(realm)
        return lines


def soak(minutes: float, clients: int, seed: int, logs: Path | None = None) -> int:
    """Run the mesh for so long in namespaces of its own; 0 if nothing failed, else 1.

    ``logs``: where to copy the logs of nodes and real clients to at the end.
    """
    kernel.isolate()
    with Netlink() as main_links:
        main_links.set_up(main_links.links()["lo"].index)
    rng, verdict = random.Random(seed), Verdict()
    holders = Holders(verdict)
    with Mesh(REALMS) as mesh, contextlib.ExitStack() as stack:
        nodes = Nodes(mesh, verdict, rng)
        crowd = CrowdOfRealms(clients, rng, holders, verdict)
        stack.callback(crowd.close)
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            stack.callback(_copy_logs, mesh, logs)
        real = RealClients(mesh, rng, holders, verdict)
        for client in real.programs:
            mesh.wait_for_lease(client, START_PATIENCE_S)
        names = ", ".join(program.name for program in real.programs.values()) or "no real client"
        print(f"{REALMS} nodes, {clients} simulated clients, {names}; {minutes:g} minutes, seed {seed}", flush=True)
        _run(minutes * 60, crowd, [nodes.watch, real.watch], verdict)
        for shared in audit.held_twice([*crowd.held(), *audit.client_holdings(mesh.clients)]):
            verdict.fail(shared)
        lines = nodes.finish()
    print(*lines, sep="\n")
    print("crowd:", ", ".join(f"{count} {deed}" for deed, count in sorted(crowd.done.items())))
    print(f"real clients: {real.moves} moves; node {RESTARTED_REALM}: {nodes.restarts} restarts")
    faults = ", ".join(f"{count} {kind}" for kind, count in nodes.disturber.done.items()) or "none"
    print(f"faults: {faults}; {verdict.excused} complaints while something failed")
    if verdict.failures:
        print(f"{len(verdict.failures)} failures")
        return 1
    print("No failure.")
    return 0


def _copy_logs(mesh: Mesh, directory: Path) -> None:
    for node in mesh.nodes.values():
        shutil.copy(node.log, directory)
    for client in mesh.clients.numbers():
        for name in (hook.LOG_FILE, hook.EVENTS_FILE):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(mesh.clients.directory(client) / name, directory / f"client{client}-{name}")


def _run(duration_s: float, crowd: CrowdOfRealms, watchers: Sequence[Callable[[], None]], verdict: Verdict) -> None:
    ends_at = time.monotonic() + duration_s
    while (now := time.monotonic()) < ends_at and len(verdict.failures) < MAX_FAILURES:
        crowd.live(min(ends_at, now + SAMPLE_EVERY_S))
        for watch in watchers:
            watch()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


_positive.__name__ = "number of minutes"  # argparse puts it into its message


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process if None); its exit status."""
    parser = argparse.ArgumentParser(
        prog="soak", description="Run a mesh of three nodes and watch for broken promises."
    )
    parser.add_argument("--minutes", type=_positive, default=60.0, help="how long (60)")
    parser.add_argument("--clients", type=int, choices=range(1, 1001), metavar="N", default=40, help="simulated (40)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (1)")
    parser.add_argument("--logs", type=Path, metavar="DIRECTORY", help="keep the logs there")
    given = parser.parse_args(argv)
    try:
        return soak(given.minutes, given.clients, given.seed, given.logs)
    except (TestbedError, OSError) as error:  # TimeoutError is an OSError
        print(f"soak: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
