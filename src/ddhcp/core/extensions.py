"""What only our nodes speak: which part of this node answers which message, and when each wants to be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..swarm import (
    Challenge,
    Claim,
    DecodeError,
    Extension,
    Found,
    HandoverAck,
    HandoverMessage,
    Hearsay,
    Hello,
    Locate,
    LookupMessage,
    Redirect,
    Replicate,
    ReplicateAck,
    Surrender,
    SurrenderAck,
    read_extension,
)
from ..values import replace
from .ack_gate import AckGate
from .ages import LeaseAges
from .context import Context
from .effects import Effect, SendDhcp, SendUnicast
from .handover import Handover
from .hello import Greeting
from .leases import LeaseTable
from .peer_memory import PeerMemory
from .peers import Peer, Peers
from .replication import Replication
from .server import Server


class Extensions:
    """The parts that speak the extensions, as one. The parts that answer clients are the server's."""

    def __init__(self, context: Context, leases: LeaseTable, peers: Peers, server: Server) -> None:
        self._peers = peers
        self._context = context
        self.replicas = server.replicas
        self.ages = LeaseAges()
        self.greeting = Greeting(context, leases, peers, self._on_ours)
        self.replication = Replication(context, server.claims, leases, peers, self.greeting.probe)
        self.ack_gate = AckGate(context, self.replication)
        self.replication.on_acknowledged = self._on_acknowledged
        server.set_known_everywhere(self.replication.is_known_everywhere)
        self.handover = Handover(context, server.claims, leases, peers, self.replicas, self.ages, self.greeting.probe)
        self.peer_memory = PeerMemory(context, peers)
        self._settle = server.settle
        self._lookup = server.lookup
        self._surrenders = server.surrenders
        self._handlers: dict[type, Callable[..., None]] = {
            HandoverMessage: self.handover.on_handover,
            HandoverAck: self.handover.on_ack,
            LookupMessage: server.lookup.on_lookup,
            Found: server.lookup.on_found,
            Locate: server.lookup.on_locate,
            Replicate: self.replicas.on_replicate,
            ReplicateAck: self.replication.on_ack,
            Redirect: self._on_redirect,
            Surrender: server.surrenders.on_surrender,
            SurrenderAck: server.surrenders.on_ack,
            Challenge: self._on_unsealed_challenge,
            Hearsay: server.claims.heard.on_hearsay,
        }
        self._claims = server.claims
        server.claims.set_probe(lambda address, blocks, owned: self.greeting.probe(address, blocks, are_owned=owned))
        server.claims.set_say_here(self.greeting.say_here)
        self._on_forward_redirect = server.forwarding.on_redirect
        context.trust.on_trusted = self._on_trusted

    def on_message(
        self, extension: Extension, peer: Peer, now: float, *, is_to_all: bool = False, is_stale: bool = False
    ) -> None:
        """An extension arrived, told to this node alone or to all. What this version cannot read is counted and
        dropped, and what is ``is_stale``, but for what is worth something however late it is read."""
        try:
            message = read_extension(extension)
        except DecodeError as error:
            self._context.count(f"swarm.drop.{error.reason}")
            return
        if is_stale and not isinstance(message, (Hello, Hearsay)):
            self._context.count("swarm.drop.stale")
            return
        if isinstance(message, Hello):
            if is_stale:
                message = replace(message, blocks=())  # it asked, or consented, too long ago
            self._on_hello(message, peer, now, is_to_all=is_to_all)
            return
        if isinstance(message, Hearsay) and not is_stale:
            self._on_objections(self._claims.hearsay.objections(message, peer), peer, now)
        self._handlers[type(message)](message, peer, now)
        if not peer.is_ours:
            self.greeting.greet_again(peer, now)

    def _on_hello(self, message: Hello, peer: Peer, now: float, *, is_to_all: bool) -> None:
        """A peer tells who it is, and asks for consent to its claims, or agreement to what it adopted, or gives it."""
        consents: tuple[int, ...] = ()
        if message.blocks and message.wants_answer:
            if message.are_owned:
                consents = self._claims.heard.agree_to(peer, message.blocks)
            else:
                consents = self._claims.heard.consent_to(peer, message.blocks, now)
        elif message.blocks:
            self._claims.heard.on_consent(peer, message.blocks, now)
        self.greeting.on_hello(message, peer, now, consents, is_to_all=is_to_all)
        if not peer.is_ours:
            return
        if message.owns_nothing:
            self._claims.heard.note_owns_nothing(peer, now)
        self.peer_memory.heard(peer, now)

    def _on_objections(self, claims: tuple[Claim, ...], peer: Peer, now: float) -> None:
        """A peer tells that blocks of ours are its own."""
        claims = self.believable(claims, peer)
        if claims:
            self._claims.heard.on_objection(peer, claims, now)
            self.on_claims(claims, peer, now)

    def _on_unsealed_challenge(self, message: Challenge, peer: Peer, now: float) -> None:
        self._context.count("swarm.drop.unsealed-challenge")

    def _on_trusted(self, address: bytes, now: float) -> None:
        """The node at ``address`` proved that it holds the key: what it said before was not heard."""
        self.greeting.probe(address)

    def believable(self, claims: tuple[Claim, ...], peer: Peer) -> tuple[Claim, ...]:
        """Those of a peer's claims that may change what is known: in mixed mode, who does not seal takes no block from
        who does."""
        trust = self._context.trust
        if not trust.is_mixed or trust.is_trusted(peer.address):
            return claims
        believed = []
        for claim in claims:
            owner = self._claims.owner_address(claim.index)
            if owner is not None and owner != peer.address and trust.outweighs(owner, peer.address):
                self._context.count("swarm.drop.outweighed-claim")
            else:
                believed.append(claim)
        return tuple(believed)

    def on_heard(self, peer: Peer, now: float) -> None:
        """A peer spoke, whatever it said."""
        self.replication.on_heard(peer, now)

    def on_claims(self, claims: Iterable[Claim], peer: Peer, now: float) -> None:
        """A peer announced blocks; they have been entered."""
        for claim in claims:
            self.replicas.on_claimed(claim.index, peer.address, claim.timeout_s)
            if claim.timeout_s:
                self.handover.on_claimed(claim.index, peer, now)
        self.greeting.greet(peer, now)

    def is_used_to(self, peer: Peer) -> bool:
        """Whether :meth:`on_heard` and :meth:`on_claims` do nothing when the peer says again what it just said."""
        return self.greeting.has_greeted(peer) and not self.replication.minds(peer) and self.handover.is_idle

    def note(self, effects: list[Effect], now: float) -> None:
        """An event has been handled: what it changed goes to the replicas before its other effects leave."""
        if effects:
            self.ages.note(effects, now)
        if self._context.stopping:
            self.ack_gate.release_all()
            return
        if effects:
            self.replication.note(effects, now)
        count = len(effects)
        self.replication.run(now)
        if count:
            _put_first(effects, count)
            self.ack_gate.hold(now)

    def _on_acknowledged(self, addresses: tuple[int, ...], now: float) -> None:
        self.ack_gate.on_acknowledged(addresses)
        for address in addresses:
            self._settle(address, now)

    def _on_redirect(self, message: Redirect, peer: Peer, now: float) -> None:
        """Whoever asked that question asks the owner of the address instead."""
        for asker in (self._on_forward_redirect, self._lookup.on_redirect, self._surrenders.on_redirect):
            if asker(message, peer, now):
                return
        self._context.count("swarm.drop.unasked-answer")

    def plan_changed(self) -> None:
        """This node reserves other addresses now, or knows other subnets."""
        self.greeting.plan_changed(self._peers)

    def _on_ours(self, peer: Peer, is_new: bool, now: float) -> None:
        if peer.has_left:
            return
        if is_new:
            self._peers.turned_out_ours(peer)
            self.replicas.on_started_anew(peer.address)
        self.replication.on_ours(peer, is_new, now)
        self.handover.on_alive(peer, now)

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        if self._context.stopping:
            return self.handover.deadline()
        at = min(self.handover.deadline(), self.replication.deadline())
        at = min(at, self.ack_gate.deadline())
        at = min(at, self.greeting.deadline())
        at = min(at, self._lookup.deadline())
        at = min(at, self.peer_memory.deadline())
        return min(at, self._surrenders.deadline())

    def run(self, now: float) -> None:
        """Do what has fallen due."""
        self.handover.run(now)
        if not self._context.stopping:
            self.greeting.run(now)
            self._lookup.run(now)
            self._surrenders.run(now)
            self.ack_gate.run(now)
            self.peer_memory.run(now)


def _put_first(effects: list[Effect], count: int) -> None:
    """Put what was added after the first ``count`` before the answers that they promise leases with. What is to be
    stored stays first."""
    added = effects[count:]
    if added:
        for at, effect in enumerate(effects):
            if isinstance(effect, (SendDhcp, SendUnicast)) and effect.binding is not None:
                del effects[count:]
                effects[at:at] = added
                return
