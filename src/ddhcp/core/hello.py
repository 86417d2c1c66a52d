"""Finding out which peers are of ours, what they can do, and when one has started anew (HELLO)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address

from ..swarm import (
    CAN_HANDOVER,
    CAN_HEARSAY,
    CAN_LOOKUP,
    CAN_REDIRECT,
    CAN_REPLICATE,
    CAN_SURRENDER,
    VERSION,
    Hello,
)
from .context import Context
from .leases import LeaseTable
from .peers import Peer

HELLO_ATTEMPTS = 3  # to a peer of unknown kind; one that answers none is taken for classic
HELLO_INTERVAL_S = 30.0
CAPABILITIES = CAN_HANDOVER | CAN_LOOKUP | CAN_REPLICATE | CAN_REDIRECT | CAN_SURRENDER | CAN_HEARSAY


class Greeting:
    """Says who we are and notes who the others are.

    ``on_ours(peer, is_new, now)`` is called whenever a peer of ours told who it is; ``is_new`` if it was not known to
    be of ours or has started anew since.
    """

    def __init__(self, context: Context, leases: LeaseTable, on_ours: Callable[[Peer, bool, float], None]) -> None:
        self._context = context
        self._leases = leases
        self._on_ours = on_ours

    def _hello(self, *, wants_answer: bool) -> Hello:
        context, plan = self._context, self._leases.plan.digest
        return Hello(wants_answer, CAPABILITIES, context.incarnation, context.config.software, plan=plan)

    def greet_all(self) -> None:
        """Make ourselves known to whoever of ours is there."""
        self._context.tell_all(self._hello(wants_answer=True))

    @staticmethod
    def has_greeted(peer: Peer) -> bool:
        """Whether the kind of a peer is known, or was asked for often enough."""
        return peer.is_ours or peer.hello_count >= HELLO_ATTEMPTS

    def greet(self, peer: Peer, now: float) -> None:
        """Ask a peer of unknown kind whether it is one of ours, a few times at most."""
        if self.has_greeted(peer) or self._context.stopping:
            return
        if peer.hello_count and now - peer.hello_at < HELLO_INTERVAL_S:
            return
        peer.hello_count += 1
        peer.hello_at = now
        self._context.tell(peer.address, self._hello(wants_answer=True))

    def probe(self, address: bytes) -> None:
        """Ask the peer at ``address``, which was of ours, whether it still is there."""
        self._context.tell(address, self._hello(wants_answer=True))

    def on_hello(self, message: Hello, peer: Peer, now: float) -> None:
        """A peer tells who it is."""
        peer.software = message.software
        if message.lowest > VERSION:
            # It speaks only versions that came after ours: to each other we are classic nodes.
            self._context.count("swarm.drop.incompatible-hello")
            if not peer.is_ours and peer.hello_count < HELLO_ATTEMPTS:
                peer.hello_count = HELLO_ATTEMPTS
                self._context.log(logging.WARNING, "peer-incompatible", software=message.software)
            return
        is_new = not peer.is_ours or peer.incarnation != message.incarnation
        peer.refresh = None
        peer.is_ours = True
        peer.version = min(VERSION, message.highest)
        peer.capabilities = message.capabilities
        peer.incarnation = message.incarnation
        self._compare(message.plan, peer)
        if message.wants_answer:
            self._context.tell(peer.address, self._hello(wants_answer=False))
        self._on_ours(peer, is_new, now)

    def plan_changed(self, peers: Iterable[Peer]) -> None:
        """Our address plan is another one: compare it with those of the peers, and let them do the same."""
        for peer in peers:
            self._compare(peer.plans[1], peer)
        if self._context.link_up:
            self._context.tell_all(self._hello(wants_answer=False))

    def _compare(self, plan: bytes, peer: Peer) -> None:
        """Whether the peer reserves the same addresses for the same hosts, and knows the same subnets: what one node
        keeps for somebody, another would give to anyone (DHCP-SERVER C6). Told once for each change at either side."""
        before, peer.plans = peer.plans, (self._leases.plan.digest, plan)
        if peer.plan_differs and peer.plans != before:
            self._context.count("swarm.plans_differ")
            address = str(IPv6Address(peer.address))
            self._context.log(logging.WARNING, "peer-plan-differs", address=address, node_id=peer.node_id.hex())
