"""What is written down of nodes that own nothing: one of them may come to own blocks beyond a parted link, out of the
hearing of a node that starts anew there. Of the others their claims are written down (``claim_memory.py``).

A row outlasts what it says by as much again, so that a swarm at rest has it written once in a few HELLOs.
"""

from __future__ import annotations

import math

from .claim_memory import SAVE_AFTER_S, SAVE_PAUSE_S
from .context import Context
from .effects import ForgetPeer, SavePeer
from .peers import Peer, Peers
from .records import StoredPeer
from .remedies import Remedy

WRITTEN_ANEW = 1.5  # promises that a row still has to run when its node is heard, else it is written anew
ROW_LASTS = 2.0  # promises, from when its node was heard
MAX_ROWS = 1024  # nodes beyond that are not remembered


class PeerMemory:
    """Has the nodes that own nothing written down."""

    def __init__(self, context: Context, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._rows: dict[bytes, float] = {}  # by address: up to when, as the store has it
        self._stale: dict[bytes, None] = {}
        self._save_at = math.inf
        self._saved_at = -math.inf

    def rows(self) -> list[StoredPeer]:
        """What the store was given."""
        known = ((self._peers.get(address), until) for address, until in self._rows.items())
        return [StoredPeer(peer.address, peer.node_id, until) for peer, until in known if peer is not None]

    def deadline(self) -> float:
        """When :meth:`run` has something to do; infinity if never."""
        return self._save_at

    def restore(self, row: StoredPeer, now: float) -> None:
        """The store has this row. The node may be at work until then, unless it is heard."""
        if row.known_until <= now or len(self._rows) >= MAX_ROWS:
            self._context.effects.append(ForgetPeer(row.address))
            return
        self._rows[row.address] = row.known_until
        self._peers.await_word(row.address, row.node_id, min(row.known_until, now + ROW_LASTS * self._promise_s))

    def heard(self, peer: Peer, now: float) -> None:
        """A node of ours said who it is. One that stops is remembered as well: it may come back beyond a cut."""
        owns_nothing = peer.has_left or peer.claimed_until <= now
        is_stale = self._rows.get(peer.address, -math.inf) < now + WRITTEN_ANEW * self._promise_s
        if owns_nothing and is_stale and self._context.has(Remedy.CLAIM_MEMORY):
            self._stale[peer.address] = None
            self._save_at = min(self._save_at, max(now + SAVE_AFTER_S, self._saved_at + SAVE_PAUSE_S))

    def run(self, now: float) -> None:
        """Write what is due."""
        if now < self._save_at:
            return
        self._saved_at, self._save_at = now, math.inf
        stale, self._stale = self._stale, {}
        for address in stale:
            if (peer := self._peers.get(address)) is None:
                continue
            if address in self._rows or self._has_room(now):
                until = self._rows[address] = peer.heard_at + ROW_LASTS * self._promise_s
                self._context.effects.append(SavePeer(StoredPeer(address, peer.node_id, until)))
            else:
                self._context.count("swarm.peers_not_remembered")

    @property
    def _promise_s(self) -> int:
        return self._context.promise_s

    def _has_room(self, now: float) -> bool:
        if len(self._rows) >= MAX_ROWS:
            for address in [address for address, until in self._rows.items() if until <= now]:
                del self._rows[address]
                self._context.effects.append(ForgetPeer(address))
        return len(self._rows) < MAX_ROWS
