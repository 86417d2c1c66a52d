"""A client that moved and sends DISCOVER instead of REQUEST still gets its address (rule M4).

Where it has one is told by the address that it asks for, by the replicas kept here, or else by a LOCATE to the swarm;
the owner then confirms it (LOOKUP, FOUND). Only owners that speak our extensions are asked: a classic one acknowledges
an address to anybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..dhcp import Message
from ..swarm import (
    CAN_LOOKUP,
    MAX_EXTENSION_TARGET,
    Found,
    Locate,
    LookupMessage,
    Redirect,
    WantedClient,
    client_size,
)
from ..values import dataclass
from .blocks import BlockState
from .claims import Claims
from .context import Context
from .leases import HELD, Lease, LeaseTable
from .peers import Peer, Peers
from .questions import Questions
from .remedies import Remedy
from .replicas import Replicas
from .ring import stand_ins

DELAYS_S = (0.1, 0.08, 0.07)  # of the askings; then the client is offered another address: it soon asks again anyway
LEAST_KNOWN_S = 16  # what a client is told of it is to hold while it asks for it, and for a shortest lease after that
MAX_LOOKUPS = 1024  # under way at once; each is a client that is waiting for its OFFER
LOCATE_DELAY_S = 0.02  # clients that come within this time share one LOCATE
LOCATE_WAIT_S = 0.2  # for an answer; with the delay and an owner's word after it, an OFFER comes within 300 ms
LOCATES_PER_S = 2.0  # how many LOCATEs a node sends for as long as it likes, since every node of the mesh carries each,
LOCATE_BURST = 5.0  # and how many at once; a client beyond that is offered an address without asking the swarm
NOT_FOUND_S = 60.0  # a client that nobody knew is not looked for again for this long
MAX_NOT_FOUND = 4096
REMOTE_CHECK_S = 5.0  # how often it is looked whether others have leases that are not known here


@dataclass(slots=True)
class _Question:
    """A DISCOVER that waits for the word of the owner of ``address``; 0 and b"" while that is still to be found."""

    request: Message
    link: str
    identity: bytes
    address: int = 0
    owner: bytes = b""
    is_asked: bool = False
    stand_ins: tuple[bytes, ...] = ()  # asked as well, once the owner has been silent for a while


class Lookup:
    """Asks about clients that want an address of another node's, and answers such questions.

    ``resolved(request, link, identity, address, now)`` is called when the owner has confirmed ``address``, or with
    None when it has not, in time or at all. ``redirect(address, xid, chaddr, peer)`` tells a peer who owns an address.
    """

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        replicas: Replicas,
        resolved: Callable[[Message, str, bytes, int | None, float], None],
        redirect: Callable[[int, int, bytes, Peer], None],
    ) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._replicas = replicas
        self._resolved = resolved
        self._redirect = redirect
        self._asked: Questions[tuple[int, bytes], _Question] = Questions(
            DELAYS_S, MAX_LOOKUPS, ask=self._send, give_up=self._on_silence
        )
        self._sought: Questions[tuple[int, bytes], _Question] = Questions(
            (LOCATE_WAIT_S,), MAX_LOOKUPS, ask=lambda question, now: None, give_up=self._on_nowhere
        )
        self._to_seek: list[WantedClient] = []
        self._seek_at = math.inf
        self._tokens, self._tokens_at = LOCATE_BURST, 0.0
        self._not_found: dict[bytes, float] = {}
        self._has_remote, self._remote_checked_at = False, -math.inf

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        at = min(self._asked.deadline(), self._sought.deadline())
        return min(at, self._seek_at)

    def run(self, now: float) -> None:
        """Ask once more where an answer is overdue; give up at the deadline."""
        if self._seek_at <= now:
            self._seek(now)
        self._asked.run(now)
        self._sought.run(now)

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, request: Message, link: str, identity: bytes, now: float) -> bool:
        """Find out whether another node has an address for the client of a DISCOVER. False if there is nobody to
        ask; else ``resolved`` is called soon."""
        key = (request.xid, request.chaddr)
        if key in self._asked or key in self._sought:
            return True
        lease = self._replicas.of_client(identity, request.chaddr)
        if (
            lease is not None
            and lease.expires_at + lease.kept_s > now
            and self._ask_owner(key, _Question(request, link, identity), lease.address, now)
        ):
            return True
        wanted = request.requested_address
        if (
            wanted is not None
            and wanted in self._context.pool
            and self._ask_owner(key, _Question(request, link, identity), wanted, now)
        ):
            return True
        if self._not_found.get(identity, 0.0) > now or not self._may_be_elsewhere(now):
            return False
        return self._ask_everybody(key, _Question(request, link, identity), now)

    def familiar_addresses(self, request: Message, identity: bytes) -> list[int]:
        """Addresses of the pool that the client of a DISCOVER may have had from another node."""
        found = []
        lease = self._replicas.of_client(identity, request.chaddr)
        if lease is not None:
            found.append(lease.address)
        wanted = request.requested_address
        if wanted is not None and wanted in self._context.pool:
            found.append(wanted)
        return found

    def look_again(self, identity: bytes) -> None:
        """A client that nobody knew may be known by the time that it is asked about again."""
        self._not_found.pop(identity, None)

    def ask_for(self, request: Message, link: str, identity: bytes, address: int, now: float) -> bool:
        """Ask the owner of ``address``, in the pool, whether the client may have it. False if there is nobody to ask;
        else ``resolved`` is called soon."""
        key = (request.xid, request.chaddr)
        return key in self._asked or self._ask_owner(key, _Question(request, link, identity), address, now)

    def _ask_owner(self, key: tuple[int, bytes], question: _Question, address: int, now: float) -> bool:
        owner = self._claims.owner_address(self._context.pool.index_of(address))
        peer = self._peers.get(owner) if owner is not None else None
        if peer is None or not peer.can(CAN_LOOKUP) or self._asked.is_full:
            return False
        question.address, question.owner = address, peer.address
        self._asked.put(key, question, now)
        return True

    def _send(self, question: _Question, now: float) -> None:
        request = question.request
        message = LookupMessage(question.address, request.xid, request.chaddr, question.identity)
        self._context.tell(question.owner, message)
        if not question.stand_ins:
            question.stand_ins = self._stand_ins(question, now)
        for address in question.stand_ins:
            self._context.tell(address, message)
        question.is_asked = True

    def _stand_ins(self, question: _Question, now: float) -> tuple[bytes, ...]:
        """Who may speak for the owner, if it is silent and this node cannot."""
        owner = self._peers.get(question.owner)
        if owner is None or not self._context.is_replicated or self._replicas.at(question.address) is not None:
            return ()
        if not question.is_asked and not self._peers.is_missing(owner, now):
            return ()
        return stand_ins(self._context.pool.index_of(question.address), owner, self._peers)

    def _on_silence(self, question: _Question, now: float) -> None:
        """The owner does not answer. A replica may speak for it, if the lease has time left."""
        known_s = self._known_s(question.address, question.identity, question.request.chaddr, now)
        address = question.address if known_s else None
        self._resolved(question.request, question.link, question.identity, address, now)

    def _known_s(self, address: int, identity: bytes, chaddr: bytes, now: float) -> int:
        """For how many seconds the silent owner of ``address`` certainly holds it for this client, as far as is known
        here; 0 if that is not long enough for the client to have it granted."""
        index = self._context.pool.index_of(address)
        lease, block = self._replicas.at(address), self._claims.table.get(index)
        if lease is None or block is None or not self._replicas.is_complete(index):
            return 0
        if not self._leases.belongs(lease, identity, chaddr):
            return 0
        known_s = self._replicas.grantable_s(lease, now)
        if block.state is BlockState.CLAIMED:
            known_s = min(known_s, int(block.certain_until - now))
        return known_s if known_s >= LEAST_KNOWN_S else 0

    def _ask_everybody(self, key: tuple[int, bytes], question: _Question, now: float) -> bool:
        """Look for a client that named no address and is not known here, but may be known elsewhere, if that does not
        flood the mesh."""
        if self._sought.is_full or not self._context.link_up:
            return False
        client = WantedClient(question.request.xid, question.request.chaddr, question.identity)
        if self._to_seek:
            if sum(map(client_size, self._to_seek)) + client_size(client) > MAX_EXTENSION_TARGET:
                return False
        elif not self._take_token(now):
            self._context.count("swarm.locates_suppressed")
            return False
        else:
            self._seek_at = now + LOCATE_DELAY_S
        self._to_seek.append(client)
        self._sought.put(key, question, now)
        return True

    def _seek(self, now: float) -> None:
        clients, self._to_seek, self._seek_at = tuple(self._to_seek), [], math.inf
        self._context.tell_all(Locate(clients))

    def _take_token(self, now: float) -> bool:
        self._tokens = min(LOCATE_BURST, self._tokens + (now - self._tokens_at) * LOCATES_PER_S)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _may_be_elsewhere(self, now: float) -> bool:
        """Whether a node of ours may have leases of which nothing is known here: it has announced a block as one with
        leases, and no replica of that is kept here. Looked at every few seconds at most."""
        if now - self._remote_checked_at >= REMOTE_CHECK_S:
            self._remote_checked_at = now
            self._has_remote = self._context.has(Remedy.REPLICATION) and any(
                block.state is BlockState.CLAIMED
                and self._claims.may_have_leases(block)
                and not self._replicas.is_complete(block.index)
                and (peer := self._peers.get(block.owner_address)) is not None
                and peer.can(CAN_LOOKUP)
                for block in self._claims.table.known.values()
            )
        return self._has_remote

    def _on_nowhere(self, question: _Question, now: float) -> None:
        if len(self._not_found) >= MAX_NOT_FOUND:
            del self._not_found[next(iter(self._not_found))]
        self._not_found[question.identity] = now + NOT_FOUND_S
        self._resolved(question.request, question.link, question.identity, None, now)

    # --- answers --------------------------------------------------------------------------------

    def on_found(self, message: Found, peer: Peer, now: float) -> None:
        """An owner's answer."""
        if message.address not in self._context.pool:
            self._context.count("swarm.drop.outside-pool")
            return
        key = (message.xid, message.chaddr)
        question = self._sought.take(key) if message.holds_it else None
        if question is None:
            question = self._asked.get(key)
            if question is None or question.address != message.address or not self._is_asked(question, message, peer):
                self._context.count("swarm.drop.unasked-answer")
                return
            self._asked.take(key)
        found = message.address if message.holds_it else None
        self._resolved(question.request, question.link, question.identity, found, now)

    @staticmethod
    def _is_asked(question: _Question, message: Found, peer: Peer) -> bool:
        """Whether a peer was asked: the owner, or one that may confirm in its stead and nothing else."""
        return peer.address == question.owner or (message.holds_it and peer.address in question.stand_ins)

    def on_redirect(self, message: Redirect, peer: Peer, now: float) -> bool:
        """Who was asked is not the owner: there is no time to ask another. False if nothing of the kind was asked."""
        key = (message.xid, message.chaddr)
        question = self._asked.get(key)
        if question is None or question.owner != peer.address or question.address != message.address:
            return False
        self._asked.take(key)
        if not self._ask_owner(key, question, message.address, now) or question.owner == peer.address:
            self._asked.take(key)
            self._resolved(question.request, question.link, question.identity, None, now)
        return True

    # --- the owner's side -----------------------------------------------------------------------

    def on_lookup(self, message: LookupMessage, peer: Peer, now: float) -> None:
        """Another node asks whether a client holds an address of ours, or of a silent owner that told us its leases."""
        if message.address not in self._context.pool:
            self._context.count("swarm.drop.outside-pool")
            return
        index = self._context.pool.index_of(message.address)
        if not self._claims.is_serving(index, now):
            known_s = self._known_s(message.address, message.identity, message.chaddr, now)
            if known_s:  # its owner did not answer, or the asker is wrong about who that is
                self._context.tell(peer.address, Found(True, message.address, message.xid, message.chaddr, known_s))
            elif not self._claims.hearsay.on_asked_about(index, peer, now):
                self._redirect(message.address, message.xid, message.chaddr, peer)
            return
        lease = self._leases.at(message.address)
        holds_it = self._holds(lease, message)
        remaining_s = math.ceil(lease.expires_at - now) if lease is not None and holds_it else 0
        self._context.tell(
            peer.address, Found(holds_it, message.address, message.xid, message.chaddr, max(0, remaining_s))
        )

    def _holds(self, lease: Lease | None, message: LookupMessage) -> bool:
        """Whether the address is leased to the client, or free and reserved for it or last used by it."""
        leases, address = self._leases, message.address
        is_its_own = lease is not None and leases.belongs(lease, message.identity, message.chaddr)
        if lease is not None and lease.state in HELD:
            return is_its_own
        if leases.plan.reservation(address) is None and (lease is None or not is_its_own):
            return False
        return leases.is_open_to(address, message.identity, message.chaddr, is_vouched_for=True)

    def on_locate(self, message: Locate, peer: Peer, now: float) -> None:
        """Another node looks for clients: say which of them have a lease here, or one whose owner is silent."""
        is_any_silent = self.is_any_silent(now)
        for client in message.clients:
            lease = self._leases.of(client.identity, client.chaddr)
            if lease is None or lease.state not in HELD:
                if is_any_silent:
                    self._tell_of_orphan(client, peer, now)
                continue
            if self._claims.is_serving(self._context.pool.index_of(lease.address), now):
                remaining_s = max(0, math.ceil(lease.expires_at - now))
                self._context.tell(peer.address, Found(True, lease.address, client.xid, client.chaddr, remaining_s))

    def is_any_silent(self, now: float) -> bool:
        """Whether there may be clients of silent owners, of whom their replicas tell."""
        return self._claims.table.counts[BlockState.ORPHAN] > 0 or self._peers.is_any_missing(now)

    def _tell_of_orphan(self, client: WantedClient, peer: Peer, now: float) -> None:
        """A client that is looked for may have an address whose owner is silent. The other node is told of the block,
        in case that it does not know it, and of the lease."""
        lease = self._replicas.of_client(client.identity, client.chaddr)
        if lease is None or lease.expires_at + lease.kept_s <= now:
            return
        if not self._claims.hearsay.on_asked_about(self._context.pool.index_of(lease.address), peer, now):
            return
        known_s = self._known_s(lease.address, client.identity, client.chaddr, now)
        if known_s:
            self._context.tell(peer.address, Found(True, lease.address, client.xid, client.chaddr, known_s))
