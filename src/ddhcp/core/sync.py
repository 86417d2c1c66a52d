"""Newcomer sync: a node that comes up asks who owns what, and the nodes of this kind tell it within seconds.

The question is an INQUIRE for no block at all, which classic nodes take for a valid packet that asks for nothing. The
answer is a refresh that comes early: one packet with all own blocks, or a HELLO where there are none, to everybody, in
a random slot. It serves all who asked meanwhile, so that N newcomers at once cost a few questions and N answers, not
N x N. Those newcomers have nothing to say themselves.
"""

from __future__ import annotations

import math

from .context import Context
from .peers import Peers
from .slots import slot_s, spread_s

ASKINGS = 3  # questions of a newcomer: at 10 % loss each answer arrives by one of them in 99 of 100 cases
ASK_WITHIN_S = 0.5  # the first question waits up to this, so that of many newcomers few need to ask
ASK_AGAIN_AFTER_S = 2.0  # then twice as long
ASK_PAUSE_S = 30.0  # between two rounds of questions: a flapping link, or a swarm that heals, does not make a storm
ANSWER_PAUSE_S = 2.0  # at least, between two answers of one node


class Sync:
    """Asks for everybody's claims, and knows when ours are to be told to whoever asked."""

    def __init__(self, context: Context, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._ask_at = math.inf
        self._askings_left = 0
        self._wait_s = ASK_AGAIN_AFTER_S
        self._asked_at = -math.inf
        self._answer_at = math.inf
        self._told_at = -math.inf

    def deadline(self) -> float:
        """When :meth:`is_answer_due` or :meth:`run` may have something to do; infinity if never."""
        return min(self._ask_at, self._answer_at) if self._context.link_up else math.inf

    @property
    def is_asking(self) -> bool:
        """Whether some of this node's questions are still to come: it need not know of all claims yet."""
        return self._askings_left > 0

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, now: float, askings: int = ASKINGS, pause_s: float = ASK_PAUSE_S) -> None:
        """Begin a round of so many questions, unless one is under way or ended less than ``pause_s`` ago."""
        if self._askings_left or now - self._asked_at < pause_s:
            return
        self._askings_left = askings
        self._wait_s = ASK_AGAIN_AFTER_S
        self._ask_at = now + self._context.rng.random() * (ASK_WITHIN_S + spread_s(self._peers))

    def is_heard_from(self, now: float) -> bool:
        """Whether answers to a question, of this node's or another's, are to be expected yet."""
        return self._askings_left > 0 or now - self._asked_at <= ASK_WITHIN_S + spread_s(self._peers)

    def restart(self, now: float) -> None:
        """The server link came up: whatever was asked before may not have been heard."""
        self._askings_left = 0
        self._asked_at = -math.inf
        self.ask(now)

    def run(self, now: float) -> None:
        """Ask if that is due."""
        if now >= self._ask_at and self._context.link_up:
            self._context.multicast(self._context.codec.inquire(()), "sync")
            self._asked(now)

    def _asked(self, now: float) -> None:
        """Somebody, perhaps this node, asked everybody: the answers are for us too."""
        self._asked_at = now
        if self._askings_left:
            self._askings_left -= 1
            jitter = 0.5 + self._context.rng.random()
            self._ask_at = now + self._wait_s * jitter if self._askings_left else math.inf
            self._wait_s *= 2

    # --- answering ------------------------------------------------------------------------------

    def on_asked(self, now: float, *, is_newcomer: bool) -> None:
        """Another node asked for everybody's claims, or who is there."""
        self._context.count("swarm.recv_sync")
        if now - self._asked_at > ASK_WITHIN_S:
            self._asked(now)
        if not is_newcomer and not self._context.stopping and self._answer_at == math.inf:
            self._answer_at = max(now + slot_s(self._context, self._peers), self._told_at + ANSWER_PAUSE_S)

    def is_answer_due(self, now: float) -> bool:
        """Whether all own blocks are to be announced now because somebody asked."""
        return now >= self._answer_at

    def told(self, now: float) -> None:
        """All own blocks were just announced, for whatever reason: that is an answer."""
        self._answer_at = math.inf
        self._told_at = now
