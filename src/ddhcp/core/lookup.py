"""Our own extension: a client that moved and sends DISCOVER instead of REQUEST still gets its address.

LOOKUP (command 35): version (1), flags (1; 0), address (4), xid (4), chaddr (16), identity length (1), identity.
Asks the owner of the block whether this client holds the address.

FOUND (36): version (1), flags (1; bit 0: it does), address (4), xid (4), chaddr (16).

Only owners that speak our extension are asked: a classic one acknowledges an address to anybody.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ..dhcp import Message
from ..swarm import Extension
from .claims import Claims
from .context import Context
from .leases import LeaseState, LeaseTable
from .peers import Peer, Peers

LOOKUP = 35
FOUND = 36
VERSION = 1
HOLDS_IT = 1

ANSWER_WITHIN_S = 0.25  # then the client is offered another address: it would soon ask again anyway
RETRY_AFTER_S = 0.1
MAX_LOOKUPS = 1024  # under way at once; each is a client that is waiting for its OFFER

_LOOKUP = struct.Struct("!BBII16sB")
_FOUND = struct.Struct("!BBII16s")


@dataclass(slots=True)
class _Pending:
    request: Message
    link: str
    identity: bytes
    address: int
    owner: bytes
    until: float
    retry_at: float


class Lookup:
    """Asks owners about clients that want an address of theirs, and answers such questions.

    ``resolved(request, link, identity, address, now)`` is called when the owner has confirmed ``address``, or with
    None when it has not, in time or at all.
    """

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        resolved: Callable[[Message, str, bytes, int | None, float], None],
    ) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._resolved = resolved
        self._pending: dict[tuple[int, bytes], _Pending] = {}

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return min((min(p.until, p.retry_at) for p in self._pending.values()), default=math.inf)

    def ask(self, request: Message, link: str, identity: bytes, now: float) -> bool:
        """Ask the owner of the address that a DISCOVER requests, if that is another node of ours. False if there is
        nobody to ask."""
        address = request.requested_address
        if address is None or address not in self._context.pool or len(self._pending) >= MAX_LOOKUPS:
            return False
        owner = self._claims.owner_address(self._context.pool.index_of(address))
        peer = self._peers.get(owner) if owner is not None else None
        if owner is None or peer is None or not peer.is_ours:
            return False
        key = (request.xid, request.chaddr)
        if key not in self._pending:
            pending = _Pending(request, link, identity, address, owner, now + ANSWER_WITHIN_S, now + RETRY_AFTER_S)
            self._pending[key] = pending
            self._send(pending)
        return True

    def _send(self, pending: _Pending) -> None:
        request, identity = pending.request, pending.identity
        head = _LOOKUP.pack(VERSION, 0, pending.address, request.xid, request.chaddr, len(identity) & 0xFF)
        data = self._context.codec.extension(LOOKUP, head + identity[:255])
        self._context.unicast(data, pending.owner, "lookup")

    def run(self, now: float) -> None:
        """Ask once more where an answer is overdue; give up at the deadline."""
        for key, pending in list(self._pending.items()):
            if pending.until <= now:
                del self._pending[key]
                self._resolved(pending.request, pending.link, pending.identity, None, now)
            elif pending.retry_at <= now:
                pending.retry_at = math.inf
                self._send(pending)

    def on_lookup(self, message: Extension, peer: Peer) -> None:
        """Another node asks about an address of ours. Raises struct.error when the message is too short."""
        _, _, address, xid, chaddr, size = _LOOKUP.unpack_from(message.payload)
        identity = message.payload[_LOOKUP.size : _LOOKUP.size + size]
        lease = self._leases.at(address)
        holds_it = (
            lease is not None
            and lease.state is not LeaseState.DECLINED
            and self._leases.belongs(lease, identity, chaddr)
            and (lease.state is LeaseState.LEASED or self._leases.is_free(address))
        )
        answer = _FOUND.pack(VERSION, HOLDS_IT if holds_it else 0, address, xid, chaddr)
        self._context.unicast(self._context.codec.extension(FOUND, answer), peer.address, "found")

    def on_found(self, message: Extension, peer: Peer, now: float) -> None:
        """The owner's answer. Raises struct.error when the message is too short."""
        _, flags, address, xid, chaddr = _FOUND.unpack_from(message.payload)
        pending = self._pending.get((xid, chaddr))
        if pending is None or pending.owner != peer.address or pending.address != address:
            self._context.count("swarm.drop.unasked-answer")
            return
        del self._pending[xid, chaddr]
        found = address if flags & HOLDS_IT else None
        self._resolved(pending.request, pending.link, pending.identity, found, now)
