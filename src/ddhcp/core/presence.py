"""Which other nodes are there: told when one is first heard, and when it has been silent for long.

For people and their hooks only: nothing is decided by it. What a silent node claimed holds for as long as it promised.
"""

from __future__ import annotations

import logging

from .context import Context
from .peers import Peer, Peers, address_text

SILENT_PERIODS = 3  # block timeouts, or expected refreshes if these are further apart, without a word


class Presence:
    """Looks at the peers whenever the node wakes, once in a block timeout at most. A node that owns nothing has nothing
    to say, and counts as gone after a while."""

    def __init__(self, context: Context, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self._present: dict[bytes, None] = {}
        self._look_at = 0.0

    def heard(self, peer: Peer) -> None:
        """A peer spoke."""
        if peer.is_up:
            return
        peer.is_up = True
        if peer.address not in self._present:
            self._present[peer.address] = None
            self._tell("peer-up", peer.address, peer.node_id)

    def run(self, now: float) -> None:
        """Tell who has fallen silent."""
        if now < self._look_at:
            return
        self._look_at = now + self._context.config.block_timeout_s
        for address in list(self._present):
            peer = self._peers.get(address)
            if peer is not None and now - peer.heard_at <= self._patience_s(peer):
                continue
            del self._present[address]
            self._context.epoch += 1
            if peer is not None:  # else it was forgotten for others, who are more recent
                peer.is_up = False
                self._tell("peer-down", address, peer.node_id)

    def _patience_s(self, peer: Peer) -> float:
        return SILENT_PERIODS * max(self._context.config.block_timeout_s, peer.expected_s)

    def _tell(self, event: str, address: bytes, node_id: bytes) -> None:
        self._context.log(logging.INFO, event, address=address_text(address), node_id=node_id.hex())
