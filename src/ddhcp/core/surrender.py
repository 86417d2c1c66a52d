"""A client that releases or declines, elsewhere, an address of this node's, and the other way round (SURRENDER)."""

from __future__ import annotations

from collections.abc import Callable

from ..swarm import CAN_SURRENDER, Redirect, Surrender, SurrenderAck
from ..values import dataclass
from .claims import Claims
from .context import Context
from .leases import ACTIVE, LeaseState, LeaseTable
from .peers import Peer, Peers
from .questions import Questions

DELAYS_S = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_SURRENDERS = 1024  # under way at once; beyond that the lease ends by itself, later


@dataclass(slots=True)
class _Question:
    message: Surrender
    owner: bytes
    was_redirected: bool = False


class Surrenders:
    """Tells owners of ours what their clients gave back here until they confirm it, and hears the same from others.

    ``released(address, now)`` and ``declined(address, now)`` end a lease of ours. ``redirect(address, xid, chaddr,
    peer)`` tells a peer who owns an address.
    """

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        *,
        released: Callable[[int, float], None],
        declined: Callable[[int, float], None],
        redirect: Callable[[int, int, bytes, Peer], None],
    ) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._released = released
        self._declined = declined
        self._redirect = redirect
        self._asked: Questions[tuple[int, int, bytes], _Question] = Questions(
            DELAYS_S, MAX_SURRENDERS, ask=self._send, give_up=self._on_silence
        )

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return self._asked.deadline()

    def run(self, now: float) -> None:
        """Tell again what was not confirmed."""
        self._asked.run(now)

    def tell(self, message: Surrender, owner: bytes, now: float) -> bool:
        """Tell the owner of an address that its client is done with it. False if it does not speak our extensions."""
        peer = self._peers.get(owner)
        if peer is None or not peer.can(CAN_SURRENDER):
            return False
        key = (message.address, message.xid, message.chaddr)
        if key not in self._asked and not self._asked.is_full:
            self._asked.put(key, _Question(message, owner), now)
        return True

    def _send(self, question: _Question, now: float) -> None:
        self._context.tell(question.owner, question.message)

    def _on_silence(self, question: _Question, now: float) -> None:
        self._context.count("swarm.surrenders_unanswered")

    def on_ack(self, message: SurrenderAck, peer: Peer, now: float) -> None:
        """The owner has heard."""
        key = (message.address, message.xid, message.chaddr)
        question = self._asked.get(key)
        if question is None or question.owner != peer.address:
            self._context.count("swarm.drop.unasked-answer")
            return
        self._asked.take(key)

    def on_redirect(self, message: Redirect, peer: Peer, now: float) -> bool:
        """Who was told names the owner. False if nothing of the kind was told."""
        key = (message.address, message.xid, message.chaddr)
        question = self._asked.get(key)
        if question is None or question.owner != peer.address:
            return False
        owner = self._peers.get(message.owner)
        if question.was_redirected or owner is None or not owner.can(CAN_SURRENDER):
            self._asked.take(key)
        else:
            question.was_redirected, question.owner = True, message.owner
            self._asked.ask_again(key, now)
        return True

    def on_surrender(self, message: Surrender, peer: Peer, now: float) -> None:
        """A client of ours gave its address back at another node. Believed only of who holds it (rule F3)."""
        if message.address not in self._context.pool:
            self._context.count("swarm.drop.outside-pool")
            return
        if not self._leases.has_block(self._context.pool.index_of(message.address)):
            self._redirect(message.address, message.xid, message.chaddr, peer)
            return
        lease = self._leases.at(message.address)
        if (
            lease is not None
            and lease.state in ACTIVE
            and self._leases.belongs(lease, message.identity, message.chaddr)
        ):
            if message.is_declined:
                self._declined(message.address, now)
            elif lease.state is LeaseState.LEASED:
                self._released(message.address, now)
        answer = SurrenderAck(message.address, message.xid, message.chaddr)
        self._context.tell(peer.address, answer, durable=True)
