"""Giving the leases of a block to a peer of ours: with the block when this node stops, without it when the peer has won
the block in a dispute.

Leases go in parts that fit any link. The receiver acknowledges once it has all of them; what is not acknowledged is
sent again, then offered to another peer.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

from ..swarm import (
    CAN_HANDOVER,
    LEASE_LEASED,
    MAX_EXTENSION_TARGET,
    HandoverAck,
    HandoverMessage,
    LeaseRecord,
    record_size,
)
from ..values import dataclass, field
from .ages import LeaseAges
from .blocks import Block, BlockState
from .claims import Claims
from .context import Context
from .effects import SaveLease
from .leases import HELD, TAKEN, LeaseState, LeaseTable
from .peers import Peer, Peers
from .questions import Questions
from .records import StoredLease
from .remedies import Remedy
from .replicas import Replicas
from .told_leases import heard, told

DELAYS_S = (0.2, 0.3, 0.4, 0.5, 0.6)  # between attempts at one peer
PROBE_S = 0.4  # how long peers are asked first whether they are there: only to such is a block sent
GIVE_WITHIN_S = 3.5  # a node that stops does not wait longer than this
MAX_RECEIVERS = 16  # peers that the blocks of a stopping node are spread over
MAX_UNDER_WAY = 16  # blocks sent and not yet acknowledged: a burst that a slow link still takes
MAX_WAITING = 4096  # blocks waiting for their turn
MAX_INCOMING = 64  # half-received handovers kept at once
MAX_PARTS = 64  # of one block: 128 leases of the largest size
INCOMING_LIFETIME_S = 5.0
MAX_PROMISE_S = 0xFFFF


@dataclass(slots=True)
class _Outgoing:
    """A block, or the leases of one, on the way to the first of ``peers``."""

    index: int
    peers: list[Peer]
    leases: list[LeaseRecord]
    promised_s: int
    is_gift: bool


@dataclass(slots=True)
class _Incoming:
    """The parts received so far."""

    parts: int
    until: float
    leases: dict[int, list[tuple[StoredLease, float | None]]] = field(default_factory=dict)


class Handover:
    """Gives leases to peers of ours and takes theirs."""

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        replicas: Replicas,
        ages: LeaseAges,
        probe: Callable[[bytes], None],
    ) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._replicas = replicas
        self._ages = ages
        self._probe = probe
        self._waiting: deque[_Outgoing] = deque()
        self._under_way: Questions[int, _Outgoing] = Questions(
            DELAYS_S, MAX_UNDER_WAY, ask=self._send, give_up=self._on_silence
        )
        self._incoming: dict[tuple[bytes, int], _Incoming] = {}
        self._silent: set[bytes] = set()
        self._living: set[bytes] = set()
        self._probe_until = math.inf  # when probing ends; infinity: it has, or never began
        self._give_by = math.inf

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to a peer."""
        return not self._under_way and not self._waiting

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        at = min(self._under_way.deadline(), self._give_by)
        return min(at, self._probe_until) if self._waiting else at

    def run(self, now: float) -> None:
        """Send again what was not acknowledged."""
        self._under_way.run(now)
        if self._probe_until <= now:
            self._probe_until = math.inf
            self._start(now)
        if self._give_by <= now:
            self._give_by = math.inf
            self._waiting.clear()
            for outgoing in self._under_way.take_all():
                self._on_silence(outgoing, now)

    # --- giving ---------------------------------------------------------------------------------

    def give_all(self, now: float) -> None:
        """Begin to hand every block of ours (each has leases) to peers of ours, spread over those heard last."""
        if not self._context.link_up or not self._context.has(Remedy.HANDOVER):
            return
        peers = [peer for peer in self._peers.ours(-math.inf) if peer.can(CAN_HANDOVER)]
        peers = sorted(peers, key=lambda peer: peer.heard_at, reverse=True)[:MAX_RECEIVERS]
        if not peers:
            return
        for number, block in enumerate(self._claims.table.ours.values()):
            start = number % len(peers)
            tried = peers[start:] + peers[:start]
            self._put(_Outgoing(block.index, tried, self._told(block.index, now), self._promised_s(block, now), True))
        self._give_by = now + GIVE_WITHIN_S
        self._probe_until = now + PROBE_S
        for peer in peers:
            self._probe(peer.address)

    def on_alive(self, peer: Peer, now: float) -> None:
        """A peer said HELLO, perhaps because we asked whether it is there."""
        if self._give_by < math.inf:
            self._living.add(peer.address)
            self._start(now)

    def give(self, block: Block, peer: Peer, now: float) -> bool:
        """Give the leases this node has in ``block``, which ``peer`` has won, to ``peer``. They are copied: the caller
        may forget them at once. False if the peer cannot take them."""
        if not peer.can(CAN_HANDOVER) or not self._context.has(Remedy.DISPUTES):
            return False
        leases = self._told(block.index, now)
        if leases:
            self._put(_Outgoing(block.index, [peer], leases, 0, False))
            self._start(now)
        return True

    def _put(self, outgoing: _Outgoing) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(outgoing)

    def _told(self, index: int, now: float) -> list[LeaseRecord]:
        return [
            told(lease, self._context.keep_s, now, self._ages.since(lease.address, lease.identity))
            for lease in self._leases.in_block(index)
            if lease.state in HELD and lease.expires_at > now
        ]

    @staticmethod
    def _promised_s(block: Block, now: float) -> int:
        return max(0, min(MAX_PROMISE_S, math.ceil(block.expires_at - now)))

    def _start(self, now: float) -> None:
        for _ in range(len(self._waiting)):
            if self._under_way.is_full:
                return
            outgoing = self._waiting.popleft()
            if outgoing.is_gift:
                if now < self._probe_until < math.inf and outgoing.peers[0].address not in self._living:
                    self._waiting.append(outgoing)
                    continue
                outgoing.peers = [peer for peer in outgoing.peers if peer.address in self._living]
            outgoing.peers = [peer for peer in outgoing.peers if peer.address not in self._silent]
            if outgoing.peers and outgoing.index not in self._under_way:
                self._under_way.put(outgoing.index, outgoing, now)

    def _send(self, outgoing: _Outgoing, now: float) -> None:
        parts = _in_parts(outgoing.leases)
        for number, leases in enumerate(parts):
            message = HandoverMessage(outgoing.index, outgoing.promised_s, number, len(parts), leases, outgoing.is_gift)
            self._context.tell(outgoing.peers[0].address, message)

    def _on_silence(self, outgoing: _Outgoing, now: float) -> None:
        """Whether the peer has the block is not known, so nobody else is given it and we announce it no more: the claim
        that others know of keeps it closed for as long as leases may run."""
        peer = outgoing.peers[0]
        self._context.count("swarm.handovers_unanswered")
        block = self._claims.table.ours.get(outgoing.index)
        if outgoing.is_gift:
            self._silent.add(peer.address)
        if outgoing.is_gift and block is not None:
            self._claims.hand_to(block, peer.node_id, peer.address, self._claims.timeout_s(block), now)
        self._start(now)

    def on_claimed(self, index: int, peer: Peer, now: float) -> None:
        """A peer claims a block: if that was given to it, it has it."""
        outgoing = self._under_way.get(index)
        if outgoing is not None and outgoing.is_gift and outgoing.peers[0].address == peer.address:
            self.on_ack(HandoverAck(index), peer, now)

    def on_ack(self, message: HandoverAck, peer: Peer, now: float) -> None:
        """A peer has the leases of a block."""
        outgoing = self._under_way.get(message.index)
        if outgoing is None or outgoing.peers[0].address != peer.address:
            self._context.count("swarm.drop.unasked-answer")
            return
        self._under_way.take(message.index)
        block = self._claims.table.ours.get(message.index)
        if outgoing.is_gift and block is not None:
            self._context.log(logging.INFO, "block-handed-over", block=message.index, leases=len(outgoing.leases))
            self._claims.hand_to(block, peer.node_id, peer.address, self._claims.timeout_s(block), now)
        self._start(now)

    # --- taking ---------------------------------------------------------------------------------

    def on_handover(self, message: HandoverMessage, peer: Peer, now: float) -> None:
        """Part of a block's leases arrived."""
        context, index = self._context, message.index
        if index >= context.pool.block_count or message.parts > MAX_PARTS:
            context.count("swarm.drop.bad-handover")
            return
        state = self._claims.table.state(index)
        if message.is_gift and state is BlockState.OURS:
            self._acknowledge(index, peer)  # our first answer was lost
            return
        if not self._may_take(message, peer, state):
            context.count("swarm.drop.handover-refused")
            return
        leases = [heard(record, index, context.pool, now) for record in message.leases]
        if None in leases or any(record.state != LEASE_LEASED for record in message.leases):
            context.count("swarm.drop.bad-handover")
            return
        incoming = self._collect(peer, index, message.parts, now)
        incoming.leases[message.part] = [
            (lease, now - record.age_s if record.age_s else None)
            for lease, record in zip(leases, message.leases, strict=True)
            if lease is not None
        ]
        if len(incoming.leases) < message.parts:
            return
        del self._incoming[peer.address, index]
        together = [lease for group in incoming.leases.values() for lease in group]
        if message.is_gift:
            self._take(index, together, peer, message.promised_s, now)
        else:
            self._merge_all(index, together, now)
            self._acknowledge(index, peer)

    def _may_take(self, message: HandoverMessage, peer: Peer, state: BlockState) -> bool:
        if self._context.stopping or not self._context.has(Remedy.HANDOVER):
            return False
        if not message.is_gift:
            return state is BlockState.OURS and self._context.has(Remedy.DISPUTES)
        is_owner = self._claims.owner_address(message.index) == peer.address
        return is_owner or state in (BlockState.FREE, BlockState.TENTATIVE)

    def _collect(self, peer: Peer, index: int, parts: int, now: float) -> _Incoming:
        for key in [key for key, incoming in self._incoming.items() if incoming.until <= now]:
            del self._incoming[key]
        incoming = self._incoming.get((peer.address, index))
        if incoming is None or incoming.parts != parts:
            if len(self._incoming) >= MAX_INCOMING:
                del self._incoming[next(iter(self._incoming))]
            incoming = self._incoming[peer.address, index] = _Incoming(parts, now + INCOMING_LIFETIME_S)
        return incoming

    def _take(
        self, index: int, leases: list[tuple[StoredLease, float | None]], peer: Peer, promised_s: int, now: float
    ) -> None:
        if not self._claims.take_over(index, now):
            return
        self._replicas.drop_block(index)
        self._merge_all(index, leases, now)
        self._context.log(
            logging.INFO, "block-taken-over", block=index, leases=len(leases), promised_seconds=promised_s
        )
        self._acknowledge(index, peer)  # first, so that the giver does not take the announcement for a dispute
        self._claims.announce_twice(now)

    def _merge_all(self, index: int, leases: list[tuple[StoredLease, float | None]], now: float) -> None:
        contested = sum(not self.merge(lease, since, now) for lease, since in leases)
        if contested:
            self._context.log(logging.WARNING, "addresses-contested", block=index, addresses=contested)

    def merge(self, lease: StoredLease, since: float | None, now: float) -> bool:
        """Enter another node's lease of an address in a block of ours, which its client has had ``since`` then.

        False if a client of ours holds the address too. The older binding stays, ours if that cannot be told, and the
        other client is refused at its next renewal, so that exactly one goes on (rule M7). A lease that has ended,
        whose address is only kept for its client, gives way to one that runs.
        """
        leases = self._leases
        if leases.is_reserved(lease.address):
            return True
        ours = leases.at(lease.address)
        expires_at, kept_until, is_uncontested = lease.expires_at, lease.expires_at + lease.kept_s, True
        if ours is not None and ours.state in TAKEN:
            if ours.state is LeaseState.DECLINED:
                return True
            if not leases.belongs(ours, lease.identity, lease.chaddr):
                if ours.state in HELD:
                    is_running, is_ours_running = expires_at > now, ours.state is LeaseState.LEASED
                    if is_ours_running and not is_running:
                        return True
                    is_uncontested = is_running and not is_ours_running
                    our_since = self._ages.since(ours.address, ours.identity)
                    is_older = since is not None and our_since is not None and since < our_since
                    if not is_uncontested and not is_older:
                        return False
                else:
                    leases.forget(ours)  # an offer, which a lease outweighs
            elif ours.state is LeaseState.LEASED:
                expires_at = max(expires_at, ours.expires_at)
            elif ours.state is LeaseState.KEPT:
                kept_until = max(kept_until, ours.expires_at)
        state = LeaseState.LEASED
        if expires_at <= now:
            state, expires_at = LeaseState.KEPT, kept_until
        else:
            self._context.cover_lease(expires_at - now)
        bound = leases.bind(lease.address, lease.identity, lease.chaddr, state, expires_at, lease.hostname)
        if since is not None:
            self._ages.put(lease.address, lease.identity, since)
        self._context.effects.append(SaveLease(bound.stored()))
        return is_uncontested

    def _acknowledge(self, index: int, peer: Peer) -> None:
        self._context.tell(peer.address, HandoverAck(index), durable=True)


def _in_parts(leases: list[LeaseRecord]) -> list[tuple[LeaseRecord, ...]]:
    """The leases spread over as many messages as they need, at least one."""
    parts: list[list[LeaseRecord]] = [[]]
    size = 0
    for lease in leases:
        needed = record_size(lease)
        if parts[-1] and size + needed > MAX_EXTENSION_TARGET:
            parts.append([])
            size = 0
        parts[-1].append(lease)
        size += needed
    return [tuple(part) for part in parts]
