"""A machine with a node on it: its clocks, its disk, its link, and what befalls it.

:class:`Host` is what every machine has; :class:`OurHost` runs the core of this project as the daemon does.
"""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable
from typing import Protocol

from ..core import Node, NodeConfig
from ..core import effects as f
from ..core import events as e
from ..core.events import SwarmReceived
from ..core.outbox import Outbox
from ..core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ..dhcp import Message
from .clock import HostClock
from .engine import Engine, Timer
from .network import Network
from .setup import DURABLE_STORE, MONOTONIC_TIME, Setup
from .watch import Watch

CLIENT_LINK = "client0"
ARP_DELAY_S = 0.002
RETRY_WRITING_S = 1.0  # after a commit that failed
SOCKET_QUEUE = 256  # datagrams that a stopped process finds waiting; the kernel drops what comes after


class Realm(Protocol):
    """Where a host's clients are."""

    def answer(self, host: Host, message: Message, granter: int) -> None:
        """A reply goes out on the host's client link."""

    def who_has(self, host: Host, address: int) -> bytes | None:
        """The hardware address of who answers for an IPv4 address in the host's realm, if anybody does."""

    def is_classic(self, number: int) -> bool:
        """Whether node ``number`` is a classic one."""


class Host:
    """``number``: in the simulation. ``mac``, ``address``: of the server link. ``is_up``: the process runs (it may be
    paused); ``is_on_link``: it can be heard on the server link."""

    is_classic = False

    def __init__(self, number: int, engine: Engine, network: Network, watch: Watch, realm: Realm, setup: Setup) -> None:
        self.number = number
        self.engine = engine
        self.network = network
        self.watch = watch
        self.realm = realm
        self.setup = setup
        self.mac = b"\x02\x01" + number.to_bytes(4, "big")
        self.address = b"\xfe\x80" + bytes(10) + (number + 1).to_bytes(4, "big")
        self.clock = HostClock()
        self.is_up = False
        self.is_paused = False
        self.link_is_up = True
        self.is_on_link = False
        self.sends_fail = False
        self.disk_fails = False
        self.incarnation = 0
        self._queue: list[Callable[[], None]] = []

    # --- what the world does to it --------------------------------------------------------------

    def start(self) -> None:
        """Boot, or boot again."""
        raise NotImplementedError

    def crash(self, *, wipe: bool = False) -> None:
        """End without a word. ``wipe``: the disk is lost as well."""
        self.is_up = self.is_paused = False
        self.is_on_link = False
        self.incarnation += 1
        self._queue.clear()

    def stop(self) -> None:
        """End in good order, as far as the node knows how."""
        self.crash()

    def pause(self, *, hears: bool) -> None:
        """Stop running; datagrams wait in the sockets, or (``hears`` false: the machine sleeps) are lost."""
        if self.is_up:
            self.is_paused = True
            self.is_on_link = hears and self.link_is_up

    def resume(self) -> None:
        """Run on, with what waited in the sockets first."""
        if not self.is_up or not self.is_paused:
            return
        self.is_paused = False
        self.is_on_link = self.link_is_up
        queue, self._queue = self._queue, []
        for action in queue:
            action()
        self.after_resume()

    def after_resume(self) -> None:
        """What a process does when it runs again."""

    def set_link(self, up: bool) -> None:
        """The server link's carrier comes or goes."""
        self.link_is_up = up
        self.is_on_link = self.is_up and up

    def step_wall_clock(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.clock.step(seconds)

    def receive_swarm(self, event: e.SwarmReceived) -> None:
        """A datagram on the server link."""
        raise NotImplementedError

    def receive_dhcp(self, data: bytes, source: int, destination: int) -> None:
        """A datagram from a client."""
        raise NotImplementedError

    def owned_blocks(self) -> set[int]:
        """The blocks that the node takes for its own now; none while it is down."""
        raise NotImplementedError

    # --- what it does to the world --------------------------------------------------------------

    def later(self, action: Callable[[], None]) -> None:
        """Keep what arrives while the process is paused."""
        if len(self._queue) < SOCKET_QUEUE:
            self._queue.append(action)

    def can_send(self) -> bool:
        """Whether the server link takes datagrams."""
        return self.link_is_up and not self.sends_fail

    def multicast(self, data: bytes) -> None:
        """Send to the swarm."""
        self.watch.swarm_sent(self.number, data, None, self.clock.rate)
        self.network.multicast(self.number, data, self.address)

    def unicast(self, data: bytes, destination: bytes) -> None:
        """Send to one peer."""
        self.watch.swarm_sent(self.number, data, destination, self.clock.rate)
        self.network.unicast(self.number, data, self.address, destination)

    def reply(self, payload: bytes) -> None:
        """Send to a client."""
        message = Message.decode(payload)
        granter = self.watch.dhcp_sent(self.number, message)
        self.realm.answer(self, message, granter)


class Disk:
    """What survives a crash, by key. Instants are on the host's boot-time clock, which here goes on through a reboot:
    so the daemon's store, which keeps wall-clock time, makes it appear."""

    def __init__(self) -> None:
        self.blocks: dict[int, float] = {}
        self.leases: dict[int, StoredLease] = {}
        self.claims: dict[int, StoredClaim] = {}
        self.peers: dict[bytes, StoredPeer] = {}

    def apply(self, effect: f.StoreEffect) -> None:
        """Carry out one store effect."""
        if isinstance(effect, f.SaveLease):
            self.leases[effect.lease.address] = effect.lease
        elif isinstance(effect, f.SaveBlock):
            self.blocks[effect.block.index] = effect.block.promised_until
        elif isinstance(effect, f.ForgetLease):
            self.leases.pop(effect.address, None)
        elif isinstance(effect, f.ForgetBlock):
            self.blocks.pop(effect.index, None)
        elif isinstance(effect, f.SaveClaim):
            self.claims[effect.claim.index] = effect.claim
        elif isinstance(effect, f.SavePeer):
            self.peers[effect.peer.address] = effect.peer
        elif isinstance(effect, f.ForgetPeer):
            self.peers.pop(effect.address, None)
        else:
            self.claims.pop(effect.index, None)

    def wipe(self) -> None:
        """Lose everything."""
        self.blocks.clear()
        self.leases.clear()
        self.claims.clear()
        self.peers.clear()


class _HostOutbox(Outbox):
    """The effects of one life of a host's node: none is carried out any more once that has ended."""

    def __init__(self, host: OurHost, node: Node) -> None:
        super().__init__(True)
        self._host = host
        self._node = node

    def send(self, effect: f.Effect, now: float) -> None:
        if self._host.node is self._node:
            self._host.send(effect)

    def tell(self, effect: f.Log) -> None:
        if self._host.node is self._node:
            self._host.tell(effect)

    def call(self, effect: f.RunHook) -> None:
        pass

    def withheld(self) -> None:
        pass

    def is_all_written(self) -> bool:
        return self._host.is_all_written

    def stopped(self) -> None:
        if self._host.node is self._node:
            self._host.node_stopped()


class OurHost(Host):
    """A machine that runs our node, with its effects carried out as the daemon does: store effects of one turn are one
    commit, and what is marked durable leaves after it."""

    def __init__(
        self,
        number: int,
        engine: Engine,
        network: Network,
        watch: Watch,
        realm: Realm,
        setup: Setup,
        config: NodeConfig,
        rng: random.Random,
    ) -> None:
        super().__init__(number, engine, network, watch, realm, setup)
        self.config = config
        self.node: Node | None = None
        self.disk = Disk()
        self.is_stopping = False
        self.mac_in_id = self.mac
        self._rng = rng
        self._timer = Timer(engine, self._wake)
        self._armed_for = -math.inf  # the deadline that the timer was set for
        self._outbox: _HostOutbox | None = None
        self._is_committing = False
        self._unwritten: list[f.StoreEffect] = []  # by commits that failed
        self._is_monotonic = MONOTONIC_TIME not in setup.without
        self._latest = -math.inf
        self.kill_at_commit: str | None = None
        self.on_down: Callable[[Host], None] = lambda host: None

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        if self.is_up:
            return
        self.is_up = True
        self.is_stopping = False
        self.is_on_link = self.link_is_up
        self.incarnation += 1
        self.node = Node(self.config, random.Random(self._rng.getrandbits(64)))
        self._timer = Timer(self.engine, self._wake)
        self._armed_for = -math.inf
        self._outbox = _HostOutbox(self, self.node)
        self._is_committing, self._unwritten = False, []
        self.watch.trace.say(f"n{self.number} starts")
        if DURABLE_STORE in self.setup.without:
            self.disk.wipe()
        blocks = tuple(StoredBlock(index, until) for index, until in sorted(self.disk.blocks.items()))
        leases = tuple(lease for _, lease in sorted(self.disk.leases.items()))
        self.feed(e.ClientLinkUp(e.ClientLink(CLIENT_LINK, self.server_id, 8, self.mac)))
        claims = tuple(claim for _, claim in sorted(self.disk.claims.items()))
        peers = tuple(peer for _, peer in sorted(self.disk.peers.items()))
        self.feed(e.Start(blocks, leases, claims, peers))
        if self.link_is_up:
            self.feed(e.ServerLinkUp(self.mac_in_id, self.address))

    @property
    def server_id(self) -> int:
        """The address of the client link: the same in every realm, so that a client can renew wherever it is."""
        return self.setup.pool.prefix + 1

    def crash(self, *, wipe: bool = False) -> None:
        super().crash()
        self.node = None
        if wipe:
            self.disk.wipe()

    def stop(self) -> None:
        if self.is_up and not self.is_stopping:
            if self.is_paused:
                self.crash()
                return
            self.is_stopping = True
            self.engine.after(5.0, self._stop_anyway, self.incarnation)
            self.feed(e.Stop())

    def _stop_anyway(self, incarnation: int) -> None:
        if incarnation == self.incarnation and self.is_up:
            self.crash()
            self.on_down(self)

    def after_resume(self) -> None:
        self._wake()

    def set_link(self, up: bool) -> None:
        was_up = self.link_is_up
        super().set_link(up)
        if not self.is_up or was_up == up:
            return
        event = e.ServerLinkUp(self.mac_in_id, self.address) if up else e.ServerLinkDown()
        if self.is_paused:
            self.later(lambda: self.feed(event))
        else:
            self.feed(event)

    def step_wall_clock(self, seconds: float) -> None:
        super().step_wall_clock(seconds)
        if not self._is_monotonic and self.is_up and not self.is_paused:
            self._wake()

    # --- events in ------------------------------------------------------------------------------

    def now(self) -> float:
        """What the node is told."""
        if not self._is_monotonic:
            return self.clock.wall_time(self.engine.now)
        clock = self.clock
        now = clock.offset_s + self.engine.now * clock.rate  # boot time
        if now > self._latest:
            self._latest = now
        return self._latest

    def receive_swarm(self, event: e.SwarmReceived) -> None:
        if self.is_paused:
            self._read_later(lambda late_s: e.SwarmReceived(event.data, event.source, event.multicast, late_s))
        else:
            self.feed(event)

    def owned_blocks(self) -> set[int]:
        return self.node.own_blocks(self.now()) if self.node is not None else set()

    def receive_dhcp(self, data: bytes, source: int, destination: int) -> None:
        if not self.is_up:
            return
        if self.is_paused:
            self._read_later(lambda late_s: e.DhcpReceived(CLIENT_LINK, data, source, destination, late_s))
        else:
            self.feed(e.DhcpReceived(CLIENT_LINK, data, source, destination))

    def _read_later(self, read: Callable[[float], e.Event]) -> None:
        """A datagram waits in a socket; ``read(seconds)`` makes the event of it when it has waited so long."""
        came_at = self.engine.now
        self.later(lambda: self.feed(read(self.engine.now - came_at)))

    def feed(self, event: e.Event) -> None:
        """Give the node an event, carry out what it wants, arm the timer."""
        node = self.node
        if node is None:
            return
        try:
            now = self.now()
            if type(event) is SwarmReceived and self._is_monotonic and node.takes(event, now):
                return  # that is all, and the timer is right as it is
            effects = node.handle(event, now)
        except Exception:
            self.watch.violation("I10", f"n{self.number} raised on {event}", traceback.format_exc().splitlines())
            self._armed_for = -math.inf
            self._timer.set(self.engine.now + 1.0)
            return
        if effects:
            self._perform(effects)
            if self.node is not node:
                return
        deadline = node.deadline()
        if deadline is not None and (deadline != self._armed_for or not self._is_monotonic):
            self._armed_for = deadline
            self._timer.set(self._when(deadline))

    def _when(self, deadline: float) -> float:
        clock = self.clock
        return clock.when(deadline if self._is_monotonic else deadline - clock.step_s)

    def _wake(self) -> None:
        node = self.node
        if node is None or self.is_paused:
            return
        self._armed_for = -math.inf
        deadline = node.deadline(self.now())
        if deadline is None:
            return
        at = self._when(deadline)
        if at > self.engine.now:
            self._timer.set(at)
            return
        # Converting between clocks rounds: never be a hair too early, or the node would be woken for ever.
        self._latest = max(self._latest, deadline)
        self.feed(e.Wake())

    # --- effects out ----------------------------------------------------------------------------

    @property
    def is_all_written(self) -> bool:
        """Whether nothing that the node wants stored is still to be written."""
        return not self._is_committing and not self._unwritten

    def tell(self, effect: f.Log) -> None:
        """A line of the node's log, for the trace."""
        if self.watch.trace.is_text:
            fields = " ".join(f"{key}={value}" for key, value in effect.fields.items())
            self.watch.trace.say(f"n{self.number} . {effect.event} {fields}")

    def node_stopped(self) -> None:
        """The node is through."""
        self.engine.at(self.engine.now, self._finish, self.incarnation)

    def _perform(self, effects: list[f.Effect]) -> None:
        if (outbox := self._outbox) is not None:
            outbox.perform(effects, self.engine.now)
            self._commit(self.incarnation)

    def _finish(self, incarnation: int) -> None:
        """The node has stopped: the process ends when what it wrote and sent has gone."""
        if incarnation != self.incarnation:
            return
        if self._is_committing:
            self.engine.after(0.01, self._finish, incarnation)
            return
        self.crash()
        self.on_down(self)

    def _commit(self, incarnation: int) -> None:
        """Have what gathered, and what could not be written before, written, if nothing is just being written."""
        if incarnation != self.incarnation or self._outbox is None or self._is_committing:
            return
        batch = self._outbox.take_batch()
        if batch is None:
            return
        if self.kill_at_commit == "before":
            self._kill()
            return
        self._write(*batch)

    def _write(self, rows: list[f.StoreEffect], waiting: list[f.Effect]) -> None:
        rows, self._unwritten = self._unwritten + rows, []
        self._is_committing = True
        if self.setup.commit_s:
            self.engine.after(self.setup.commit_s, self._committed, self.incarnation, rows, waiting)
        else:
            self._committed(self.incarnation, rows, waiting)

    def _write_again(self, incarnation: int) -> None:
        if incarnation == self.incarnation and self._unwritten and not self._is_committing:
            self._write([], [])

    def _committed(self, incarnation: int, rows: list[f.StoreEffect], waiting: list[f.Effect]) -> None:
        if incarnation != self.incarnation or self._outbox is None:
            return
        if self.disk_fails:
            self._unwritten = rows
            self._is_committing = False
            self.engine.after(RETRY_WRITING_S, self._write_again, incarnation)
            _, has_claims = self._outbox.failed(waiting)
            if has_claims:
                self._claims_unsent()
        else:
            for row in rows:
                self.disk.apply(row)
            if self.kill_at_commit == "after":
                self._kill()
                return
            self._is_committing = False
            self._outbox.saved(rows)
            self._outbox.written(waiting, self.engine.now)
        self._commit(incarnation)

    def _claims_unsent(self) -> None:
        """Nobody heard a claim."""
        if self._outbox is not None:
            self._outbox.claims_unsent()
            self.feed(e.SendFailed())

    def _kill(self) -> None:
        self.kill_at_commit = None
        self.watch.trace.say(f"n{self.number} is killed at a commit")
        self.crash()
        self.on_down(self)

    def _probed(self, incarnation: int, event: e.AddressProbed) -> None:
        if incarnation == self.incarnation and not self.is_paused:
            self.feed(event)

    def send(self, effect: f.Effect) -> None:
        """Carry out an effect that goes to the network."""
        if isinstance(effect, f.SendDhcp):
            self.reply(effect.payload)
        elif isinstance(effect, f.ProbeAddress):
            mac = self.realm.who_has(self, effect.address)
            if mac is not None:
                event = e.AddressProbed(CLIENT_LINK, effect.address, True, mac)
                self.engine.after(ARP_DELAY_S, self._probed, self.incarnation, event)
        elif isinstance(effect, f.SendMulticast):
            if not self.link_is_up:
                self._claims_unsent()
                return
            if self.sends_fail:
                self.watch.swarm_lost(self.number, effect.data, self.clock.rate)
                self._claims_unsent()
                return
            self.multicast(effect.data)
        elif isinstance(effect, f.SendUnicast) and self.can_send():
            self.unicast(effect.data, effect.destination)
