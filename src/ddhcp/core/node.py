"""One node: events in, effects out. No I/O, no clock, no randomness of its own."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable

from ..dhcp.constants import OPT_LEASE_TIME
from ..swarm import Claim, DecodeError, Extension, Inquire, LeaseMessage, UpdateClaim
from . import events as e
from .addresses import AddressPlan
from .announcing import PROMISE_MARGIN_S
from .blocks import BlockState
from .claims import INQUIRIES, Claims
from .config import NodeConfig
from .context import Context
from .decisions import Decisions
from .effects import Effect, Stopped
from .errors import ConfigError
from .events import STALE_AFTER_S, SwarmReceived
from .extensions import Extensions
from .forwarding import Forwarding
from .inspection import Inspection
from .leases import LeaseState, LeaseTable
from .locates import Locates, may_be_locate
from .peers import Peers
from .policy import Reservation
from .presence import Presence
from .records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from .refreshes import Refreshes
from .restoring import Restoring
from .server import Server
from .views import BlockView, NodeView

MAX_HELD = 4096  # addresses that the operator may keep from being handed out; more is a range in the configuration
REFRESH_FACTOR = 4  # what classic control tools show; classic nodes refresh when a quarter of T has passed

_BY_MULTICAST = (UpdateClaim, Inquire)


def _aged(claims: tuple[Claim, ...], waited_s: int) -> tuple[Claim, ...]:
    """Claims that were heard so long ago, with what is left of their time."""
    if not waited_s:
        return claims
    left = (Claim(claim.index, max(0, claim.timeout_s - waited_s)) for claim in claims)
    return tuple(now for now, claim in zip(left, claims, strict=True) if now.timeout_s or not claim.timeout_s)


class Node:
    """A node of a swarm. ``inspect`` answers questions about it.

    ``config``: what it is told. ``rng``: its only source of randomness; the same seed and the same events give the same
    effects. Feed every event to :meth:`handle` with the instant (seconds, monotonic) at which it happens, perform the
    effects in order, and send :class:`~ddhcp.core.events.Wake` when :meth:`deadline` comes.
    """

    def __init__(self, config: NodeConfig, rng: random.Random) -> None:
        self._context = Context(config, rng)
        self._leases = LeaseTable(config.pool, AddressPlan(config.pool, config.policy))
        self._peers = Peers(lambda: self._context.promise_s)
        self._server = Server(self._context, self._leases, self._peers)
        self._claims: Claims = self._server.claims
        self._forwarding: Forwarding = self._server.forwarding
        self._extensions = Extensions(self._context, self._leases, self._peers, self._server)
        self._claims.orphans.known_leases = self._server.replicas
        self._claims.heard.give_leases = self._extensions.handover.give
        self.inspect = Inspection(
            self._context, self._claims, self._leases, self._peers, self._server.replicas,
            waiting=self._server.waiting_count, place=self._forwarding.place,
        )  # fmt: skip
        self._held: dict[int, None] = {}
        self._presence = Presence(self._context, self._peers)
        self._refreshes = Refreshes(self._context, self._claims, self._peers)
        self._locates = Locates(
            self._context, self._leases, self._peers, self._extensions.replication, self._server.replicas,
            self._server.lookup,
        )  # fmt: skip
        self._quiet_until = -math.inf  # before that, taking in what tells nothing new does nothing else
        self._deadline = math.inf
        self._is_deadline_known = False
        self._has_stopped = False
        self._handlers: dict[type, Callable[..., None]] = {
            e.Start: self._on_start,
            e.Stop: self._on_stop,
            e.Wake: self._on_wake,
            e.ServerLinkUp: self._on_server_link_up,
            e.ServerLinkDown: self._on_server_link_down,
            e.SwarmReceived: self._on_swarm,
            e.ClientLinkUp: self._on_client_link_up,
            e.ClientLinkDown: self._on_client_link_down,
            e.AddressProbed: self._server.probed,
            e.SetOption: self._on_set_option,
            e.RemoveOption: self._on_remove_option,
            e.EndLease: self._on_end_lease,
            e.HoldAddress: self._on_hold_address,
            e.ResetStatistics: self._on_reset_statistics,
            e.Reconfigure: self._on_reconfigure,
            e.SendFailed: self._on_send_failed,
        }

    def handle(self, event: e.Event, now: float) -> list[Effect]:
        """Take one event and return what is to be done about it, in order."""
        if type(event) is SwarmReceived and self.takes(event, now):
            return []
        if self._has_stopped:
            return []  # its last word, which may still wait for the disk, tells of no lease that is granted now
        self._is_deadline_known = False
        self._quiet_until = -math.inf
        self._claims.catch_up(now)
        self._context.trust.catch_up(now)
        is_repeated = type(event) is SwarmReceived and event.multicast and self._may_take() and self._take(event, now)
        if is_repeated:
            self._claims.ensure_supply(now)
        else:
            self._handle(event, now)
        self._extensions.note(self._context.effects, now)
        if is_repeated and not self._context.effects and self._claims.is_supplied():
            self._quiet_until = self._next_change_at()
        return self._context.take_effects()

    def takes(self, event: SwarmReceived, now: float) -> bool:
        """Take in a datagram that tells nothing new, if it is one: it has no effects, and the deadline stays as it is.
        False, with nothing done, for any other. :meth:`handle` begins with this; who drives many nodes may spare the
        rest."""
        if now >= self._quiet_until:
            return False
        if may_be_locate(event.data):
            return self._locates.take(event, now)
        return self._refreshes.take(event, now)

    def _take(self, event: SwarmReceived, now: float) -> bool:
        """The same while something may be due."""
        if may_be_locate(event.data):
            return self._locates.take(event, now)
        return self._refreshes.take_and_note(event, now)

    def _next_change_at(self) -> float:
        """Before that, time alone changes nothing about what was said so far."""
        return min(self._claims.next_change_at(), self._extensions.replication.next_due_at)

    def _handle(self, event: e.Event, now: float) -> None:
        if isinstance(event, e.DhcpReceived):  # the most frequent of all
            self._server.receive(event, now)
        else:
            self._handlers[type(event)](event, now)

    def _may_take(self) -> bool:
        """Whether an announcement that was heard before may be taken in without being read."""
        return not self._context.stopping and not self._context.trust.has_key and self._extensions.handover.is_idle

    def deadline(self, now: float = -math.inf) -> float | None:
        """When the node next wants a Wake, in seconds on the clock of ``now``; None if nothing is pending. It may turn
        out later when that instant has come: asked with ``now``, the node looks again."""
        if not self._is_deadline_known or self._deadline <= now:
            self._claims.table.look_at_lapses(now)
            if self._quiet_until > -math.inf:
                self._quiet_until = self._next_change_at()
            self._deadline = self._next_deadline()
            self._is_deadline_known = True
        return None if self._deadline == math.inf else self._deadline

    def _next_deadline(self) -> float:
        if self._has_stopped:
            return math.inf
        if self._context.stopping:
            return min(self._extensions.deadline(), self._forwarding.deadline())
        # The least of two is compiled to a comparison, that of more to a call.
        at = min(self._claims.deadline(), self._server.deadline())
        at = min(at, self._forwarding.deadline())
        return min(at, self._extensions.deadline())

    # --- life -----------------------------------------------------------------------------------

    def _on_start(self, event: e.Start, now: float) -> None:
        self._block_out_unusable()
        # Even if the store knows of nothing: a disk gets lost.
        self._context.past_until = now + self._claims.longest_promise_s
        self._leases.begin_restoring()
        restoring = Restoring(self._context, self._leases, event.leases)
        ends = restoring.latest_ends()
        resumed = set[int]()
        for block in event.blocks:
            index, end = block.index, ends.get(block.index, -math.inf)
            promised_until = max(block.promised_until, end + PROMISE_MARGIN_S)
            if index >= self._context.pool.block_count:
                continue
            if self._claims.resume(StoredBlock(index, promised_until), now) or (
                restoring.is_kept(end, now) and self._claims.resume_lapsed(index, now)
            ):
                resumed.add(index)
        restoring.enter(resumed, now)
        for claim in event.claims:
            self._claims.heard.restore(claim, now)
        for peer in event.peers:
            self._extensions.peer_memory.restore(peer, now)
        if resumed:
            self._context.log(logging.INFO, "resumed", blocks=len(resumed), leases=len(self._leases))

    def _block_out_unusable(self) -> None:
        """Blocks in which no address can ever be leased are never claimed."""
        pool = self._context.pool
        if pool.block_size == 1:
            for index in (0, pool.block_count - 1):
                self._claims.table.block_out(index)

    def _on_stop(self, event: e.Stop, now: float) -> None:
        if self._context.stopping:
            return
        self._context.stopping = True
        self._claims.abandon(now)
        self._extensions.handover.give_all(now)
        self._finish_stop(now)

    def _finish_stop(self, now: float) -> None:
        if self._context.stopping and not self._has_stopped and self._extensions.handover.is_idle:
            self._has_stopped = True
            self._claims.announce_last(now)
            self._extensions.greeting.say_goodbye()
            self._context.effects.append(Stopped())

    def _on_wake(self, event: e.Wake, now: float) -> None:
        self._forwarding.run(now)
        self._extensions.run(now)
        if self._context.stopping:
            self._finish_stop(now)
            return
        self._server.run(now)
        self._claims.run(now)
        self._presence.run(now)
        self._server.ensure_supply(now)

    # --- links ----------------------------------------------------------------------------------

    def _on_server_link_up(self, event: e.ServerLinkUp, now: float) -> None:
        self._context.identify(event.mac, event.address)
        self._context.link_up = True
        self._extensions.greeting.greet_all(now)
        self._claims.link_up(now)

    def _on_server_link_down(self, event: e.ServerLinkDown, now: float) -> None:
        self._context.link_up = False

    def _on_send_failed(self, event: e.SendFailed, now: float) -> None:
        self._claims.send_failed(now)

    def _on_client_link_up(self, event: e.ClientLinkUp, now: float) -> None:
        self._server.link_up(event.link)
        self._claims.ensure_supply(now)
        self._server.ensure_supply(now)

    def _on_client_link_down(self, event: e.ClientLinkDown, now: float) -> None:
        self._server.link_down(event.name)

    # --- the swarm ------------------------------------------------------------------------------

    def _on_swarm(self, event: e.SwarmReceived, now: float) -> None:
        context = self._context
        if event.multicast:
            context.tally.heard += 1
            context.tally.heard_bytes += len(event.data)
        else:
            context.counters["direct.recv_pkg"] += 1
            context.counters["direct.recv_byte"] += len(event.data)
        if event.source == context.address:
            context.count("swarm.drop.own")
            return
        for data, is_multicast in context.trust.incoming(event.data, event.source, event.multicast, now):
            self._on_message(data, event.source, is_multicast, event.waited_s, now)

    def _on_message(self, data: bytes, source: bytes, is_multicast: bool, waited_s: float, now: float) -> None:
        """A message that may be believed to come from the node at ``source``."""
        context = self._context
        try:
            node_id, message = context.codec.decode(data)
        except DecodeError as error:
            context.count(f"swarm.drop.{error.reason}")
            return
        if is_multicast != isinstance(message, _BY_MULTICAST) and not isinstance(message, Extension):
            context.count("swarm.drop.wrong-channel")
            return
        is_stale = waited_s > STALE_AFTER_S
        if is_stale and isinstance(message, LeaseMessage):
            context.count("swarm.drop.stale")
            return
        peer = self._peers.hear(source, node_id, now - waited_s)
        self._presence.heard(peer)
        self._extensions.on_heard(peer, now)
        if isinstance(message, UpdateClaim):
            context.tally.claims_heard += 1
            peer.note_refresh(now - waited_s)
            claims = self._extensions.believable(_aged(message.claims, int(waited_s)), peer)
            self._claims.heard.on_update_claim(peer, claims, now)
            self._extensions.on_claims(claims, peer, now)
            if not waited_s and self._may_take() and self._extensions.is_used_to(peer):
                self._refreshes.remember(peer, data, claims, self._extensions.greeting.due_at(peer), now)
        elif isinstance(message, Inquire):
            context.counters["mcast.recv_inquire"] += 1
            self._claims.heard.on_inquire(peer, message.indices, now)
        elif isinstance(message, LeaseMessage):
            self._forwarding.on_message(message, peer, now)
            self._extensions.greeting.greet(peer, now)  # who owns nothing announces nothing
        else:
            self._extensions.on_message(message, peer, now, is_to_all=is_multicast, is_stale=is_stale)
        self._finish_stop(now)

    # --- the operator ---------------------------------------------------------------------------

    def _on_set_option(self, event: e.SetOption, now: float) -> None:
        self._server.set_option(event.code, event.value)

    def _on_remove_option(self, event: e.RemoveOption, now: float) -> None:
        self._server.remove_option(event.code)

    def _on_end_lease(self, event: e.EndLease, now: float) -> None:
        lease = self._leases.at(event.address)
        if lease is not None and lease.state is LeaseState.LEASED:
            self._server.release(event.address, now)

    def _on_reconfigure(self, event: e.Reconfigure, now: float) -> None:
        before, config = self._context.config, event.config
        if config.pool != self._context.pool:
            raise ConfigError("the pool of a running node cannot change")
        plan = self._leases.plan.digest
        self._context.reconfigure(config)
        self._server.reconfigure(before, config)
        if self._leases.plan.digest != plan:
            self._extensions.plan_changed()
        self._claims.ensure_supply(now)

    def _on_hold_address(self, event: e.HoldAddress, now: float) -> None:
        if event.held:
            if not self._leases.is_reserved(event.address) and len(self._held) < MAX_HELD:
                self._held[event.address] = None
                self._leases.reserve(event.address)
        elif event.address in self._held:
            del self._held[event.address]
            self._leases.unreserve(event.address)
            self._server.serve_waiting(now)

    def _on_reset_statistics(self, event: e.ResetStatistics, now: float) -> None:
        self._context.reset_statistics()

    # --- views ----------------------------------------------------------------------------------

    @property
    def lease_time_s(self) -> int:
        """The lease time clients get by default, in seconds."""
        return self._context.lease_time_s

    def options(self) -> dict[int, bytes]:
        """The DHCP options clients get, code to value."""
        options = self._server.effective_options()
        options[OPT_LEASE_TIME] = self._context.lease_time_s.to_bytes(4, "big")
        return options

    def view(self) -> NodeView:
        """Who the node is and what it was told."""
        config, pool = self._context.config, self._context.pool
        return NodeView(
            node_id=self._context.node_id,
            prefix=pool.prefix,
            prefix_len=pool.prefix_len,
            block_size=pool.block_size,
            block_count=pool.block_count,
            tentative_timeout_s=config.tentative_timeout_s,
            block_timeout_s=config.block_timeout_s,
            spare_leases=config.spare_leases,
            refresh_factor=REFRESH_FACTOR,
        )

    def own_blocks(self, now: float) -> set[int]:
        """The blocks of this node whose promise runs, by index."""
        return {index for index, block in self._claims.table.ours.items() if block.expires_at > now}

    def block_views(self, now: float) -> list[BlockView]:
        """Every block that is not FREE and whose time lies in the future, by index."""
        views = []
        for index, block in sorted(self._claims.table.known.items()):
            remaining_s = block.expires_at - now
            is_ours = block.state is BlockState.OURS
            if block.state is BlockState.BLOCKED or (remaining_s <= 0 and block.state is not BlockState.CLAIMING):
                continue
            offered, leased = self._leases.usage(index) if self._leases.has_block(index) else (None, None)
            views.append(
                BlockView(
                    index=index,
                    state=block.state.classic,
                    owner=block.owner_id,
                    claim_count=INQUIRIES if is_ours else block.claim_count,
                    offered=offered,
                    leased=leased,
                    timeout_s=max(0, math.ceil(remaining_s)),
                )
            )
        return views

    def held(self) -> list[int]:
        """The addresses that the operator keeps from being handed out, in the order of asking."""
        return list(self._held)

    def reservations(self) -> tuple[Reservation, ...]:
        """The hosts of the configuration."""
        return self._context.config.policy.reservations

    @property
    def decisions(self) -> Decisions:
        """What was lately decided about each client; to be read only."""
        return self._server.decisions

    def leases(self) -> list[StoredLease]:
        """Every binding of this node's blocks, whatever its state."""
        return [lease.stored() for lease in self._leases]

    def claims(self) -> list[StoredClaim]:
        """What is remembered, in case of a restart, of other nodes' claims."""
        return self._claims.memory.rows()

    def peers_of_ours(self) -> list[StoredPeer]:
        """What is remembered, in case of a restart, of which other nodes of this kind there are."""
        return self._extensions.peer_memory.rows()

    def statistics(self) -> dict[str, int]:
        """The counters and gauges by name, those of classic nodes under their classic names."""
        counts = self._claims.table.counts
        free = len(self._claims.table.free)
        return self._context.statistics() | {
            "ddhcp.blocks.free": free,
            "ddhcp.blocks.tentative": counts[BlockState.TENTATIVE],
            "ddhcp.blocks.claimed": counts[BlockState.CLAIMED],
            "ddhcp.blocks.claiming": counts[BlockState.CLAIMING],
            "ddhcp.blocks.ours": counts[BlockState.OURS],
            "ddhcp.blocks.orphan": counts[BlockState.ORPHAN],
            "ddhcp.blocks.held": self._claims.held_count,
            "ddhcp.leases.free": self._leases.free_count,
            "ddhcp.peers": len(self._peers),
            "dhcp.declined": self._leases.declined_count,
            "dhcp.waiting": self._server.waiting_count(),
            "swarm.forwards": len(self._forwarding),
            "swarm.replica_leases": len(self._extensions.replicas),
            "swarm.replication_lag": self._extensions.replication.lag(),
        }
