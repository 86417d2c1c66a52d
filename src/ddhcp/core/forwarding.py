"""Roaming: asking the owner of a block about a client that is here now, and answering such questions (PROTOCOL,
Roaming)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..dhcp import Message, hardware_identity, identity
from ..dhcp.constants import HTYPE_ETHERNET
from ..swarm import (
    CAN_REDIRECT,
    LEASEACK,
    LEASENAK,
    RELEASE,
    RENEWLEASE,
    AddressOrder,
    LeaseMessage,
    Redirect,
    read_address,
    write_address,
)
from ..values import dataclass
from .blocks import BlockState
from .claims import Claims
from .context import Context
from .decisions import Decisions
from .leases import DECLINED, LEASED, SHORTEST_GRANT_S, TAKEN, LeaseTable
from .peers import GREETINGS, Peer, Peers, address_text
from .pool import dotted
from .questions import Questions
from .records import StoredLease
from .remedies import Remedy
from .replicas import Replicas
from .ring import stand_ins

# After each of the askings; then the client's own retransmission is awaited.
RETRY_DELAYS_S = (0.25, 0.25, 0.5, 1.0, 2.0)
MAX_VAIN_ATTEMPTS = 2  # askings for an address whose owner is not known: as a rule it has none
OWN_WORD_AT_ATTEMPT = 3  # half a second has passed: a replica may speak for a silent owner (rule M2)
ASKING_S = sum(RETRY_DELAYS_S)  # within this an answer is taken
MAX_FORWARDS = 1024  # requests under way at once; each is a client that will ask again if it gets no answer
MAX_PLACES = 65536  # clients remembered to be elsewhere: some 10 MB; whoever is forgotten is shown as being here
MAX_REDIRECTS = 2  # of one question: two nodes that take each other for the owner must not play ball with it

_NAMES = {RENEWLEASE: "renewlease", LEASEACK: "leaseack", LEASENAK: "leasenak", RELEASE: "release"}
_ETHERNET_ADDRESS_SIZE = 6
_CLAIMED: Final = BlockState.CLAIMED
_NOBODYS: Final = (BlockState.FREE, BlockState.BLOCKED)


@dataclass(slots=True, init=False)
class Forward:
    """A client's request that waits for the word of its address's owner, b"" while that is not known."""

    request: Message
    link: str
    address: int
    lease_s: int
    owner: bytes
    attempts: int
    redirects: int
    stand_ins: tuple[bytes, ...]

    def __init__(self, request: Message, link: str, address: int, lease_s: int, owner: bytes) -> None:
        self.request = request
        self.link = link
        self.address = address
        self.lease_s = lease_s
        self.owner = owner
        self.attempts = 0
        self.redirects = 0
        self.stand_ins = ()


class Forwarding:
    """Both sides of RENEWLEASE.

    ``grant(request, link, address, lease_s, now)`` and ``refuse(request, link, now)`` answer the client when its
    owner has spoken. ``bind(address, identity, chaddr, lease_s, now)`` leases an address of ours to a client at another
    node and returns the seconds granted; ``released(address, now)`` ends such a lease.
    """

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        replicas: Replicas,
        *,
        grant: Callable[[Message, str, int, int, float], None],
        refuse: Callable[[Message, str, float], None],
        bind: Callable[[int, bytes, bytes, int, float], int],
        released: Callable[[int, float], None],
        decisions: Decisions,
    ) -> None:
        self._context = context
        self._decisions = decisions
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._replicas = replicas
        self._grant = grant
        self._refuse = refuse
        self._bind = bind
        self._released = released
        self._places: dict[int, bytes] = {}
        self._pending: Questions[tuple[int, bytes], Forward] = Questions(
            RETRY_DELAYS_S, MAX_FORWARDS, ask=self._send, give_up=self._on_silence
        )

    def __len__(self) -> int:
        return len(self._pending)

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return self._pending.deadline()

    # --- the asking side ------------------------------------------------------------------------

    def ask(self, request: Message, link: str, address: int, lease_s: int, owner: bytes, now: float) -> None:
        """Ask the owner whether this client may keep ``address``. A retransmission joins the request under way."""
        key = (request.xid, request.chaddr)
        forward = self._pending.get(key)
        if forward is not None:
            forward.request, forward.link, forward.owner = request, link, owner
            return
        if self._pending.is_full:
            self._context.count("dhcp.drop.too-many-forwards")
            return
        self._pending.put(key, Forward(request, link, address, lease_s, owner), now)

    def ask_around(self, request: Message, link: str, address: int, lease_s: int, now: float) -> bool:
        """Ask the peers that keep replicas of an address's block, if it has an owner: none is known here, perhaps since
        its latest announcements were not heard. False if there are none to ask."""
        if not self._context.is_replicated or not self._context.has(Remedy.GUARDIAN) or self._claims.is_learning:
            return False
        if not any(peer.is_candidate for peer in self._peers):
            return False
        self.ask(request, link, address, lease_s, b"", now)
        return True

    def tell_released(self, request: Message, address: int, owner: bytes) -> None:
        """Pass a client's RELEASE on to a classic owner. It drops it; nothing is lost by that."""
        address_field = write_address(address, self._order(address, owner))
        data = self._context.codec.lease_message(RELEASE, address_field, request.xid, 0, request.chaddr)
        self._context.unicast(data, owner, "release")

    def run(self, now: float) -> None:
        """Ask again where an answer is overdue; give up after the last attempt."""
        self._pending.run(now)

    def _send(self, forward: Forward, now: float) -> None:
        forward.attempts += 1
        request = forward.request
        if forward.attempts >= OWN_WORD_AT_ATTEMPT and self._grant_from_replica(forward, now):
            self._pending.take((request.xid, request.chaddr))
            return
        owner = self._claims.owner_address(self._context.pool.index_of(forward.address))
        if owner is not None and not forward.redirects:
            forward.owner = owner  # the block may have changed hands since, or its owner have become known
        if forward.owner:
            self._renew_at(forward.owner, forward, self._order(forward.address, forward.owner, forward.attempts - 1))
            asks_others = forward.attempts >= OWN_WORD_AT_ATTEMPT
        else:
            asks_others = forward.attempts <= MAX_VAIN_ATTEMPTS
        if asks_others:
            self._ask_stand_ins(forward)

    def _renew_at(self, destination: bytes, forward: Forward, order: AddressOrder) -> None:
        field, request = write_address(forward.address, order), forward.request
        data = self._context.codec.lease_message(RENEWLEASE, field, request.xid, forward.lease_s, request.chaddr)
        self._context.unicast(data, destination, "renewlease")

    def _ask_stand_ins(self, forward: Forward) -> None:
        """Ask those of our peers that probably keep replicas of the silent owner's leases."""
        owner = self._peers.get(forward.owner)
        is_classic = forward.owner and (owner is None or not owner.is_ours)
        if is_classic or not self._context.is_replicated:
            return
        index = self._context.pool.index_of(forward.address)
        if not forward.stand_ins:
            forward.stand_ins = stand_ins(index, owner, self._peers)
        for address in forward.stand_ins:
            self._renew_at(address, forward, self._order(forward.address, address))

    def _on_silence(self, forward: Forward, now: float) -> None:
        self._context.count("swarm.forwards_unanswered")

    def _grant_from_replica(self, forward: Forward, now: float) -> bool:
        """The owner is silent, and this node knows its leases: the client may go on for as long as the owner, wherever
        it is, certainly holds the address for it. Nothing is refused on that knowledge."""
        request = forward.request
        lease = self._replicas.at(forward.address)
        if lease is None or not self._leases.belongs(lease, identity(request), request.chaddr):
            return False
        lease_s = self._from_replica_s(lease, forward.lease_s, now)
        if lease_s:
            self._grant(request, forward.link, forward.address, lease_s, now)
        return lease_s > 0

    def _from_replica_s(self, lease: StoredLease, wanted_s: int, now: float, under_way_s: float = 0.0) -> int:
        """For how many seconds a foreign lease may be prolonged on this node's word, which reaches the client within
        ``under_way_s``; 0 if it may not."""
        index = self._context.pool.index_of(lease.address)
        block = self._claims.table.get(index)
        if block is None or block.state is not _CLAIMED or not self._replicas.is_complete(index):
            return 0  # an orphan by now: it is adopted when the client asks again
        certain_s = int(min(self._replicas.grantable_s(lease, now), block.certain_until - now) - under_way_s)
        lease_s = min(wanted_s, certain_s)
        if lease_s < min(wanted_s, SHORTEST_GRANT_S):
            return 0
        self._context.count("swarm.renewals_from_replica")
        return lease_s

    def _order(self, address: int, peer_address: bytes, attempt: int = 0) -> AddressOrder:
        """The byte order to write ``address`` in. As long as a peer's is unknown, every other attempt tries the other
        one, unless that would name a second address of the pool: a node that reads one outside it says nothing."""
        peer = self._peers.get(peer_address)
        if peer is not None and peer.order is not None:
            return peer.order
        is_misread_outside = int.from_bytes(address.to_bytes(4, "little"), "big") not in self._context.pool
        return AddressOrder.BIG if attempt % 2 and is_misread_outside else AddressOrder.LITTLE

    # --- messages -------------------------------------------------------------------------------

    def on_message(self, message: LeaseMessage, peer: Peer, now: float) -> None:
        """A RENEWLEASE, LEASEACK, LEASENAK or RELEASE arrived."""
        self._context.count(f"direct.recv_{_NAMES[message.command]}")
        if message.command in (LEASEACK, LEASENAK):
            self._on_answer(message, peer, now)
            return
        pool = self._context.pool
        reading = read_address(message.address_field, pool.prefix, pool.prefix_len, peer.order)
        if reading is None:
            self._context.count("swarm.drop.outside-pool")
            return
        address, order, is_unambiguous = reading
        if is_unambiguous:
            peer.order = order
        if message.command == RENEWLEASE:
            self._on_renew(message, address, peer, now)
        else:
            self._on_release(message, address, now)

    def _on_answer(self, message: LeaseMessage, peer: Peer, now: float) -> None:
        key = (message.xid, message.chaddr)
        forward = self._pending.get(key)
        is_stand_in = forward is not None and peer.address in forward.stand_ins and message.command == LEASEACK
        if forward is None or not (forward.owner == peer.address or is_stand_in):
            self._context.count("swarm.drop.unasked-answer")
            return
        self._pending.take(key)
        pool = self._context.pool
        reading = read_address(message.address_field, pool.prefix, pool.prefix_len, None)
        if reading is not None and reading[2]:
            peer.order = reading[1]  # the field comes back as it was sent: the peer understood it in this order
        if message.command == LEASENAK:
            self._refuse(forward.request, forward.link, now)
            return
        lease_s = forward.lease_s
        if 0 < message.lease_time_s < lease_s:
            lease_s = message.lease_time_s
        self._grant(forward.request, forward.link, forward.address, lease_s, now)

    def on_redirect(self, message: Redirect, peer: Peer, now: float) -> bool:
        """Who was asked names the owner. False if nothing of the kind was asked here."""
        key = (message.xid, message.chaddr)
        forward = self._pending.get(key)
        if forward is None or forward.address != message.address:
            return False
        if forward.owner != peer.address and (forward.owner or peer.address not in forward.stand_ins):
            return False
        is_new = message.owner not in (forward.owner, self._context.address)
        if is_new and forward.redirects < MAX_REDIRECTS and self._peers.get(message.owner) is not None:
            forward.redirects += 1
            forward.owner = message.owner
            self._pending.ask_again(key, now)
        return True

    # --- the owner's side -----------------------------------------------------------------------

    def _on_renew(self, message: LeaseMessage, address: int, peer: Peer, now: float) -> None:
        """Answer for an address. Unlike a classic owner: only its holder gets an ACK, and an ACKed address is bound
        (S5)."""
        index = self._context.pool.index_of(address)
        state = self._claims.table.state(index)
        # A node that was restarted may have forgotten a block, and does not know yet who is of its kind.
        may_be_ours = peer.is_ours or (now < self._context.past_until and peer.hello_count < GREETINGS)
        if state in _NOBODYS and not (may_be_ours or self._claims.is_asking):
            self._refuse_renewal(message, address, "no-owner", peer, now)  # as classic nodes do
            return
        if not self._claims.is_serving(index, now):
            if self._stands_in(message, address, peer, now):
                return
            # Whoever owns it can say; a NAK from us would cost the client a lease that may be good (I6).
            self._context.count("swarm.drop.not-owner")
            if not self._claims.hearsay.on_asked_about(index, peer, now):
                self.redirect(address, message.xid, message.chaddr, peer)
            return
        lease = self._leases.at(address)
        if lease is not None and lease.state in TAKEN:
            is_holder = lease.chaddr == message.chaddr or not self._context.has(Remedy.CORRECT_OWNER)
            # Who declined an address and asks for it again got it from a peer that had not heard of that.
            is_declined = lease.state is DECLINED and not (peer.is_ours and self._context.has_stand_ins)
            if not is_holder or is_declined:
                self._refuse_renewal(message, address, "in-use", peer, now)
                return
            key = lease.identity
        else:
            key = hardware_identity(HTYPE_ETHERNET, message.chaddr[:_ETHERNET_ADDRESS_SIZE])
            holds_another = self._leases.holds_another(address, key, message.chaddr)
            is_open = self._leases.is_open_to(address, key, message.chaddr, is_vouched_for=peer.is_ours)
            if not self._claims.is_renewable(address) and (holds_another or not is_open):
                self._refuse_renewal(message, address, "not-available", peer, now)
                return
        default_s = self._context.lease_time_s
        # A peer of ours has the same policy, and may have a longer lease for this client than most get.
        limit_s = max(default_s, self._context.longest_lease_s) if peer.is_ours else default_s
        wanted_s = min(message.lease_time_s, limit_s) if message.lease_time_s else default_s
        granted_s = self._bind(address, key, message.chaddr, wanted_s, now)
        if granted_s > 0:
            self._decisions.note(message.chaddr, now, "RENEWLEASE", "granted", "", address)
            self._answer(LEASEACK, message, granted_s if message.lease_time_s else 0, peer, binding=address)
            self.note_place(address, message.chaddr, peer.address)
        else:
            self._decisions.note(message.chaddr, now, "RENEWLEASE", "ignored", "not-promised", address)

    def _refuse_renewal(self, message: LeaseMessage, address: int, reason: str, peer: Peer, now: float) -> None:
        self._decisions.note(message.chaddr, now, "RENEWLEASE", "refused", reason, address)
        self._answer(LEASENAK, message, 0, peer)

    def _stands_in(self, message: LeaseMessage, address: int, peer: Peer, now: float) -> bool:
        """A peer of ours asks about a lease of another's block: its owner is silent, and this node knows its leases."""
        lease = self._replicas.at(address)
        if not peer.is_ours or not message.lease_time_s or lease is None or lease.chaddr != message.chaddr:
            return False
        lease_s = self._from_replica_s(lease, message.lease_time_s, now, ASKING_S)
        if lease_s:
            self._answer(LEASEACK, message, lease_s, peer)
        return lease_s > 0

    def note_place(self, address: int, chaddr: bytes, at: bytes = b"") -> None:
        """A client has renewed ``address``, of ours, in the realm of the node ``at``, b"" for our own. For people only:
        nothing is decided by it."""
        if self._places.get(address, b"") == at:
            return
        self._places.pop(address, None)
        if at:
            self._places[address] = at
            if len(self._places) > MAX_PLACES:
                del self._places[next(iter(self._places))]
        where = address_text(at) if at else "here"
        self._context.log(
            logging.INFO, "client-moved", address=dotted(address), mac=chaddr[:6].hex(":").upper(), to=where
        )

    def place(self, address: int) -> bytes:
        """The node in whose realm the client of ``address`` was last seen, b"" for ours."""
        return self._places.get(address, b"")

    def redirect(self, address: int, xid: int, chaddr: bytes, peer: Peer) -> None:
        """Tell a peer of ours who owns the address that it asked us about, if we know."""
        owner = self._claims.owner_address(self._context.pool.index_of(address))
        if owner is not None and owner != peer.address and peer.can(CAN_REDIRECT):
            self._context.tell(peer.address, Redirect(address, xid, chaddr, owner))

    def _on_release(self, message: LeaseMessage, address: int, now: float) -> None:
        lease = self._leases.at(address)
        if lease is None or lease.state is not LEASED or lease.chaddr != message.chaddr:
            self._context.count("swarm.drop.release-of-no-lease")
            return
        self._released(address, now)

    def _answer(
        self, command: int, message: LeaseMessage, lease_s: int, peer: Peer, binding: int | None = None
    ) -> None:
        """Answer in the byte order of the question; once ``binding`` (an address) is on disk, if it is given."""
        data = self._context.codec.lease_message(command, message.address_field, message.xid, lease_s, message.chaddr)
        self._context.unicast(data, peer.address, _NAMES[command], binding is not None, binding)
