"""Finding out which peers are of ours, what they can do, and when one has started anew (HELLO).

A node that comes up asks everybody, and so does one that hears several nodes of unknown kind. The answers come in
random slots, and one to all if several nodes asked meanwhile: when a whole swarm comes up at once, that is a few
packets from each node, and not one for each pair of nodes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from ..swarm import (
    CAN_CONSENT,
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
from .peers import GREETINGS, MAX_PEERS, Peer, Peers, address_text
from .slots import MAX_SPREAD_S, slot_s

HELLO_INTERVAL_S = 30.0  # between the first HELLOs to a peer of unknown kind; then it doubles with each,
MOST_DOUBLINGS = 7  # up to an hour, because a partition may have swallowed all of them
ANSWER_PAUSE_S = 5.0  # at least, between two answers to HELLOs that asked everybody
ASK_PAUSE_S = ANSWER_PAUSE_S + MAX_SPREAD_S  # between two times of asking: within it the answers come
ANSWERS = 2  # HELLOs that a node which asks everybody is told since it started; to one more it asks by itself
ALL_FROM = 3  # nodes that asked, or are to be asked, meanwhile are told by one HELLO to all, fewer each by itself
CAPABILITIES = CAN_HANDOVER | CAN_LOOKUP | CAN_REPLICATE | CAN_REDIRECT | CAN_SURRENDER | CAN_HEARSAY | CAN_CONSENT


class Greeting:
    """Says who we are and notes who the others are.

    ``on_ours(peer, is_new, now)`` is called whenever a peer of ours told who it is; ``is_new`` if it was not known to
    be of ours or has started anew since.
    """

    def __init__(
        self, context: Context, leases: LeaseTable, peers: Peers, on_ours: Callable[[Peer, bool, float], None]
    ) -> None:
        self._context = context
        self._leases = leases
        self._peers = peers
        self._on_ours = on_ours
        self._asked_by: dict[bytes, None] = {}  # addresses of those who asked everybody, and are to be answered
        self._answer_at = math.inf
        self._answered_at = -math.inf
        self._told_count = 0  # HELLOs to all so far
        self._unknown: dict[bytes, None] = {}  # addresses of peers of unknown kind that are to be asked
        self._ask_at = math.inf
        self._asked_at = -math.inf

    def _hello(
        self, *, wants_answer: bool, blocks: tuple[int, ...] = (), is_leaving: bool = False, owns_nothing: bool = False,
        are_owned: bool = False,
    ) -> Hello:  # fmt: skip
        context = self._context
        return Hello(
            wants_answer, CAPABILITIES, context.incarnation, context.config.software, plan=self._leases.plan.digest,
            blocks=blocks, is_leaving=is_leaving, owns_nothing=owns_nothing, are_owned=are_owned,
        )  # fmt: skip

    def _tell_all(self, hello: Hello) -> None:
        self._told_count += 1
        self._context.tell_all(hello)

    def greet_all(self, now: float) -> None:
        """Make ourselves known to whoever of ours is there."""
        self._asked_at = now
        self._tell_all(self._hello(wants_answer=True))

    def say_here(self) -> None:
        """Tell everybody that we are there, owning nothing that would be announced."""
        self._tell_all(self._hello(wants_answer=False, owns_nothing=True))

    def say_goodbye(self) -> None:
        """Tell everybody that we stop."""
        if self._context.link_up:
            self._context.tell_all(self._hello(wants_answer=False, is_leaving=True))

    @staticmethod
    def has_greeted(peer: Peer) -> bool:
        """Whether the kind of a peer is known, or was asked for often enough to go by its silence."""
        return peer.is_ours or peer.hello_count >= GREETINGS

    def greet(self, peer: Peer, now: float) -> None:
        """Ask a peer that did not tell whether it is one of ours, ever less often: the first time with others and by a
        HELLO to all, if there are several; then by itself, in case that it misses those, and as all others need not
        hear of that."""
        if now < self.due_at(peer) or self._context.stopping:
            return
        if peer.hello_count:
            self._ask([peer], now)
        elif len(self._unknown) < MAX_PEERS:
            self._unknown[peer.address] = None
            self._ask_at = min(self._ask_at, max(now, self._asked_at + ASK_PAUSE_S))
            self._ask_unknown(now)

    def _ask(self, peers: list[Peer], now: float) -> None:
        for peer in peers:
            peer.hello_count += 1
            peer.hello_at = now
        if len(peers) >= ALL_FROM:
            self.greet_all(now)
        else:
            for peer in peers:
                self.probe(peer.address)

    def _ask_unknown(self, now: float) -> None:
        if now < self._ask_at:
            return
        known = [peer for address in self._unknown if (peer := self._peers.get(address)) is not None]
        self._unknown.clear()
        self._ask_at, self._asked_at = math.inf, now
        self._ask([peer for peer in known if self.due_at(peer) <= now], now)

    @staticmethod
    def due_at(peer: Peer) -> float:
        """When a peer is to be asked next, if it is heard; infinity if it told what it is."""
        if peer.is_ours:
            return math.inf
        if not peer.hello_count:
            return -math.inf
        doublings = min(max(0, peer.hello_count - GREETINGS + 1), MOST_DOUBLINGS)
        return peer.hello_at + HELLO_INTERVAL_S * 2.0**doublings

    def greet_again(self, peer: Peer, now: float) -> None:
        """A peer that did not tell what it is said something that only nodes of ours say: its answers were lost."""
        peer.hello_count = min(peer.hello_count, GREETINGS - 1)
        if now >= self.due_at(peer) and not self._context.stopping:
            self._ask([peer], now)

    def probe(self, address: bytes, blocks: tuple[int, ...] = (), *, are_owned: bool = False) -> None:
        """Ask the peer at ``address`` what it is, if it still is there, and whether it consents to our claiming these
        blocks, or agrees that they are ours."""
        self._context.tell(address, self._hello(wants_answer=True, blocks=blocks, are_owned=are_owned))

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return min(self._ask_at, self._answer_at) if self._context.link_up else math.inf

    def run(self, now: float) -> None:
        """Ask peers of unknown kind, and answer those who asked everybody, when that is due."""
        if self._context.link_up:
            self._ask_unknown(now)
            self._answer(now)

    def _answer(self, now: float) -> None:
        if now < self._answer_at:
            return
        answer = self._hello(wants_answer=False)
        if len(self._asked_by) >= ALL_FROM:
            self._tell_all(answer)
        else:
            for address in self._asked_by:
                self._context.tell(address, answer)
                if (peer := self._peers.get(address)) is not None:
                    peer.told_before -= 1
        self._asked_by.clear()
        self._answer_at, self._answered_at = math.inf, now

    def _answer_later(self, peer: Peer, now: float) -> None:
        if self._told_count - peer.told_before >= ANSWERS:
            return  # it asks for others' sake
        if len(self._asked_by) < ALL_FROM:  # any more change nothing
            self._asked_by[peer.address] = None
        if self._answer_at == math.inf:
            self._answer_at = max(now + slot_s(self._context, self._peers), self._answered_at + ANSWER_PAUSE_S)

    def on_hello(
        self, message: Hello, peer: Peer, now: float, consents: tuple[int, ...] = (), *, is_to_all: bool = False
    ) -> None:
        """A peer tells who it is, this node alone or all. ``consents``: to which of the blocks that it names this node
        consents, if it asks."""
        peer.software = message.software
        if message.lowest > VERSION:
            # It speaks only versions that came after ours: to each other we are classic nodes.
            self._context.count("swarm.drop.incompatible-hello")
            if not peer.is_ours and peer.hello_count < GREETINGS:
                peer.hello_count = GREETINGS
                self._context.log(logging.WARNING, "peer-incompatible", software=message.software)
            return
        peer.has_left = message.is_leaving
        is_new = not peer.is_ours or peer.incarnation != message.incarnation
        if is_new:
            peer.told_before = self._told_count
            peer.started_anew_at = now if peer.is_ours else -math.inf
        peer.refresh = None
        peer.is_ours, peer.awaited_until = True, -math.inf
        peer.version = min(VERSION, message.highest)
        peer.capabilities = message.capabilities
        peer.incarnation = message.incarnation
        self._compare(message.plan, peer)
        if message.wants_answer and is_to_all:
            self._answer_later(peer, now)
        elif message.wants_answer:
            self._context.tell(peer.address, self._hello(wants_answer=False, blocks=consents))
        self._on_ours(peer, is_new, now)

    def plan_changed(self, peers: Iterable[Peer]) -> None:
        """Our address plan is another one: compare it with those of the peers, and let them do the same."""
        for peer in peers:
            self._compare(peer.plans[1], peer)
        if self._context.link_up:
            self._tell_all(self._hello(wants_answer=False))

    def _compare(self, plan: bytes, peer: Peer) -> None:
        """Whether the peer reserves the same addresses for the same hosts, and knows the same subnets: what one node
        keeps for somebody, another would give to anyone (DHCP-SERVER C6). Told once for each change at either side."""
        before, peer.plans = peer.plans, (self._leases.plan.digest, plan)
        if peer.plan_differs and peer.plans != before:
            self._context.count("swarm.plans_differ")
            address = address_text(peer.address)
            self._context.log(logging.WARNING, "peer-plan-differs", address=address, node_id=peer.node_id.hex())
