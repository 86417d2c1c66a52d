"""Our own extension of the peer protocol: telling our nodes from classic ones, and handing blocks over when a node
stops.

Classic nodes drop these messages, as they drop every command they do not know.

HELLO (command 32): version (1), flags (1; bit 0: please answer). Multicast when the server link comes up, and
unicast to a newly heard peer; answered by unicast.

HANDOVER (33): version (1), flags (1; 0), part (1), parts (1), block index (4), promised seconds (2), leases (1),
then for each lease: address (4), remaining seconds (4), chaddr (16), identity length (1), identity, host name length
(1), host name. Sent by the owner.

HANDOVER-ACK (34): version (1), flags (1; 0), block index (4). Sent when the receiver owns the block, durably.

All integers are big-endian; bytes after those named here are ignored, so that later versions may add to them.
"""

from __future__ import annotations

import logging
import math
import struct
from dataclasses import dataclass, field

from ..swarm import Extension
from .blocks import Block, BlockState
from .claims import Claims
from .context import Context
from .effects import SaveLease
from .leases import Lease, LeaseState, LeaseTable
from .peers import Peer, Peers
from .records import StoredLease

HELLO = 32
HANDOVER = 33
HANDOVER_ACK = 34
VERSION = 1
WANTS_ANSWER = 1

HELLO_ATTEMPTS = 3  # to a peer of unknown kind; one that answers none is taken for classic
HELLO_INTERVAL_S = 30.0
HANDOVER_ATTEMPTS = 3  # to one peer, before the block is announced a last time instead
HANDOVER_INTERVAL_S = 0.3
MAX_PART_BYTES = 1200  # of leases in one message, so that it fits any link's MTU
MAX_INCOMING = 64  # half-received handovers kept at once
INCOMING_LIFETIME_S = 5.0

_HELLO = struct.Struct("!BB")
_HANDOVER = struct.Struct("!BBBBIHB")
_LEASE = struct.Struct("!II16sB")
_ACK = struct.Struct("!BBI")


@dataclass(slots=True)
class _Outgoing:
    """A block on its way to ``peer``."""

    block: Block
    peer: Peer
    parts: list[bytes]
    attempts: int = 0


@dataclass(slots=True)
class _Incoming:
    """The parts received so far of a block that is handed to us."""

    parts: int
    until: float
    leases: dict[int, list[StoredLease]] = field(default_factory=dict)


class Handover:
    """Knows which peers speak our extension; gives blocks to them and takes blocks from them."""

    def __init__(self, context: Context, claims: Claims, leases: LeaseTable, peers: Peers) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._outgoing: dict[int, _Outgoing] = {}
        self._incoming: dict[tuple[bytes, int], _Incoming] = {}
        self._retry_at = math.inf

    @property
    def is_idle(self) -> bool:
        """Whether no block is on its way to a peer."""
        return not self._outgoing

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return self._retry_at

    # --- hello ----------------------------------------------------------------------------------

    def greet_all(self) -> None:
        """Make ourselves known to whoever of ours is there."""
        data = self._context.codec.extension(HELLO, _HELLO.pack(VERSION, WANTS_ANSWER))
        self._context.multicast(data, "hello")

    def greet(self, peer: Peer, now: float) -> None:
        """Ask a peer of unknown kind whether it is one of ours, a few times at most."""
        if peer.is_ours or peer.hello_count >= HELLO_ATTEMPTS or self._context.stopping:
            return
        if peer.hello_count and now - peer.hello_at < HELLO_INTERVAL_S:
            return
        peer.hello_count += 1
        peer.hello_at = now
        self._send_hello(peer, WANTS_ANSWER)

    def _send_hello(self, peer: Peer, flags: int) -> None:
        self._context.unicast(self._context.codec.extension(HELLO, _HELLO.pack(VERSION, flags)), peer.address, "hello")

    # --- messages -------------------------------------------------------------------------------

    def on_message(self, message: Extension, peer: Peer, now: float) -> None:
        """A HELLO, HANDOVER or HANDOVER-ACK arrived. Raises struct.error when it is too short."""
        if message.command == HELLO:
            self._on_hello(message.payload, peer)
        elif message.command == HANDOVER:
            self._on_handover(message.payload, peer, now)
        else:
            self._on_ack(message.payload, peer, now)

    def _on_hello(self, payload: bytes, peer: Peer) -> None:
        _, flags = _HELLO.unpack_from(payload)
        self._context.count("swarm.recv_hello")
        peer.is_ours = True
        if flags & WANTS_ANSWER:
            self._send_hello(peer, 0)

    # --- giving ---------------------------------------------------------------------------------

    def give_all(self, now: float) -> None:
        """Begin to hand every block of ours (each has leases) to peers of ours that were heard lately."""
        peers = self._peers.ours(now - 2 * self._context.config.block_timeout_s)
        if not peers or not self._context.link_up:
            return
        for number, block in enumerate(list(self._claims.table.ours.values())):
            peer = peers[(block.index + number) % len(peers)]
            self._outgoing[block.index] = _Outgoing(block, peer, self._parts(block, now))
        self._retry_at = now
        self.run(now)

    def _parts(self, block: Block, now: float) -> list[bytes]:
        """The HANDOVER payloads for one block, its leases spread over as many as needed."""
        groups: list[list[bytes]] = [[]]
        size = 0
        for lease in self._leases.in_block(block.index):
            if lease.state is not LeaseState.LEASED or lease.expires_at <= now:
                continue
            encoded = _encode_lease(lease, now)
            if size + len(encoded) > MAX_PART_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(encoded)
            size += len(encoded)
        promised_s = max(0, min(0xFFFF, math.ceil(block.expires_at - now)))
        return [
            _HANDOVER.pack(VERSION, 0, part, len(groups), block.index, promised_s, len(group)) + b"".join(group)
            for part, group in enumerate(groups)
        ]

    def run(self, now: float) -> None:
        """Send again what was not confirmed; let go of what a peer does not take."""
        if now < self._retry_at:
            return
        for index, outgoing in list(self._outgoing.items()):
            if outgoing.attempts >= HANDOVER_ATTEMPTS:
                del self._outgoing[index]
                continue
            outgoing.attempts += 1
            for part in outgoing.parts:
                self._context.unicast(self._context.codec.extension(HANDOVER, part), outgoing.peer.address, "handover")
        self._retry_at = now + HANDOVER_INTERVAL_S if self._outgoing else math.inf

    def _on_ack(self, payload: bytes, peer: Peer, now: float) -> None:
        index = _ACK.unpack_from(payload)[2]
        outgoing = self._outgoing.get(index)
        if outgoing is None or outgoing.peer.address != peer.address:
            self._context.count("swarm.drop.unasked-answer")
            return
        del self._outgoing[index]
        self._context.log(logging.INFO, "block-handed-over", block=index)
        if self._claims.table.state(index) is BlockState.OURS:
            timeout_s = self._claims.timeout_s(outgoing.block)
            self._claims.hand_to(outgoing.block, peer.node_id, peer.address, timeout_s, now)
        if not self._outgoing:
            self._retry_at = math.inf

    # --- taking ---------------------------------------------------------------------------------

    def _on_handover(self, payload: bytes, peer: Peer, now: float) -> None:
        _, _, part, parts, index, promised_s, count = _HANDOVER.unpack_from(payload)
        context = self._context
        if index >= context.pool.block_count or not 0 <= part < parts:
            context.count("swarm.drop.bad-handover")
            return
        state = self._claims.table.state(index)
        if state is BlockState.OURS:
            self._acknowledge(index, peer)  # our first answer was lost
            return
        is_owner = self._claims.owner_address(index) == peer.address
        if context.stopping or not (is_owner or state in (BlockState.FREE, BlockState.TENTATIVE)):
            context.count("swarm.drop.handover-refused")
            return
        leases = self._read_leases(payload, index, count, now)
        if leases is None:
            context.count("swarm.drop.bad-handover")
            return
        incoming = self._collect(peer, index, parts, now)
        incoming.leases[part] = leases
        if len(incoming.leases) == parts:
            del self._incoming[peer.address, index]
            self._take(index, [lease for group in incoming.leases.values() for lease in group], peer, promised_s, now)

    def _collect(self, peer: Peer, index: int, parts: int, now: float) -> _Incoming:
        for key in [key for key, incoming in self._incoming.items() if incoming.until <= now]:
            del self._incoming[key]
        incoming = self._incoming.get((peer.address, index))
        if incoming is None or incoming.parts != parts:
            if len(self._incoming) >= MAX_INCOMING:
                del self._incoming[next(iter(self._incoming))]
            incoming = self._incoming[peer.address, index] = _Incoming(parts, now + INCOMING_LIFETIME_S)
        return incoming

    def _read_leases(self, payload: bytes, index: int, count: int, now: float) -> list[StoredLease] | None:
        leases = []
        position = _HANDOVER.size
        for _ in range(count):
            address, remaining_s, chaddr, identity_size = _LEASE.unpack_from(payload, position)
            position += _LEASE.size
            identity = payload[position : position + identity_size]
            position += identity_size
            if position >= len(payload) or not identity:
                return None
            hostname_size = payload[position]
            hostname = payload[position + 1 : position + 1 + hostname_size]
            position += 1 + hostname_size
            if (
                position > len(payload)
                or address not in self._context.pool
                or self._context.pool.index_of(address) != index
            ):
                return None
            leases.append(StoredLease(address, identity, chaddr, "leased", now + remaining_s, hostname))
        return leases

    def _take(self, index: int, leases: list[StoredLease], peer: Peer, promised_s: int, now: float) -> None:
        if not self._claims.take_over(index, now):
            return
        for lease in leases:
            if not self._leases.is_reserved(lease.address):
                self._context.cover_lease(lease.expires_at - now)
                self._leases.bind(
                    lease.address,
                    lease.identity,
                    lease.chaddr,
                    LeaseState.LEASED,
                    lease.expires_at,
                    lease.hostname,
                )
                self._context.effects.append(SaveLease(lease))
        self._context.log(
            logging.INFO, "block-taken-over", block=index, leases=len(leases), promised_seconds=promised_s
        )
        self._acknowledge(index, peer)  # first, so that the giver does not take the announcement for a dispute
        self._claims.announce_all(now)

    def _acknowledge(self, index: int, peer: Peer) -> None:
        data = self._context.codec.extension(HANDOVER_ACK, _ACK.pack(VERSION, 0, index))
        self._context.unicast(data, peer.address, "handover_ack", durable=True)


def _encode_lease(lease: Lease, now: float) -> bytes:
    remaining_s = max(0, min(0xFFFFFFFF, math.ceil(lease.expires_at - now)))
    identity, hostname = lease.identity[:255], lease.hostname[:255]
    head = _LEASE.pack(lease.address, remaining_s, lease.chaddr, len(identity))
    return head + identity + bytes((len(hostname),)) + hostname
