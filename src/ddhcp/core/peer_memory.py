"""What is written down of the other nodes of this kind. Whoever starts anew where it hears only some of them, or is not
heard itself, has to know of the others: one that owns nothing yet may come to own blocks beyond a parted link, and one
that does not answer is not taken for a classic node, whose consent to a claim cannot be asked for.

A row outlasts the last word of its node by two promises. All rows are written together, when other work is done, twice
in a promise; a node that is new, soon.
"""

from __future__ import annotations

import math

from .claim_memory import SAVE_AFTER_S, SAVE_PAUSE_S
from .context import Context
from .effects import ForgetPeer, SavePeer
from .peers import Peer, Peers
from .records import StoredPeer
from .remedies import Remedy

WRITTEN_FOR = 2.0  # promises, from when its node was heard
WRITTEN_EVERY = 0.5  # promises
MAX_ROWS = 1024  # nodes beyond that are not remembered


class PeerMemory:
    """Has the nodes of this kind written down."""

    def __init__(self, context: Context, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._rows: dict[bytes, float] = {}  # by address: up to when, as the store has it
        self._new: dict[bytes, None] = {}
        self._save_new_at = math.inf
        self._saved_at = -math.inf
        self._save_all_at = -math.inf

    def rows(self) -> list[StoredPeer]:
        """What the store was given."""
        known = ((self._peers.get(address), until) for address, until in self._rows.items())
        return [StoredPeer(peer.address, peer.node_id, until) for peer, until in known if peer is not None]

    def deadline(self) -> float:
        """When :meth:`run` has something to do that does not wait for other work; infinity if never."""
        return self._save_new_at

    def restore(self, row: StoredPeer, now: float) -> None:
        """The store has this row. Its node may be at work beyond a link that parted while this one was down: until it
        is heard, or for a promise from now."""
        if row.known_until <= now or len(self._rows) >= MAX_ROWS:
            self._context.effects.append(ForgetPeer(row.address))
            return
        self._rows[row.address] = row.known_until
        self._peers.await_word(row.address, row.node_id, min(row.known_until, now + self._promise_s))

    def heard(self, peer: Peer, now: float) -> None:
        """A node of ours said who it is. One that stops is remembered as well: it may come back beyond a cut."""
        if peer.address not in self._rows and peer.address not in self._new and self._context.has(Remedy.CLAIM_MEMORY):
            self._new[peer.address] = None
            self._save_new_at = min(self._save_new_at, max(now + SAVE_AFTER_S, self._saved_at + SAVE_PAUSE_S))

    def run(self, now: float) -> None:
        """Write what is due."""
        if now >= self._save_new_at:
            new, self._new, self._save_new_at = self._new, {}, math.inf
            for address in new:
                if len(self._rows) >= MAX_ROWS:
                    self._context.count("swarm.peers_not_remembered")
                else:
                    self._save(address)
            self._saved_at = now
        elif now >= self._save_all_at:
            self._save_all_at = now + WRITTEN_EVERY * self._promise_s
            for address, until in list(self._rows.items()):
                if until <= now:
                    del self._rows[address]
                    self._context.effects.append(ForgetPeer(address))
                else:
                    self._save(address)

    @property
    def _promise_s(self) -> int:
        return self._context.promise_s

    def _save(self, address: bytes) -> None:
        peer = self._peers.get(address)
        if peer is None or not peer.is_ours:
            return
        until = peer.heard_at + WRITTEN_FOR * self._promise_s
        if until > self._rows.get(address, -math.inf):
            self._rows[address] = until
            self._context.effects.append(SavePeer(StoredPeer(address, peer.node_id, until)))
