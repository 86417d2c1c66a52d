"""This node's share of the free blocks, kept in step with who is there."""

from __future__ import annotations

from .context import Context
from .peers import Peer, Peers
from .shares import Shares


class OwnShare(Shares):
    """The share of the node at ``context.address``. A peer that is heard for the first time is counted in at once, and
    now and then who has long been silent is left out."""

    def __init__(self, context: Context, peers: Peers) -> None:
        super().__init__(context.pool.block_count)
        self._context = context
        self._peers = peers
        self._shared_by: bytes | None = None  # our address, for which that is the share
        peers.on_sharing = self._share_with

    def look(self, now: float) -> None:
        """Find out which other nodes may claim blocks; to be called before the share is asked for."""
        if self._peers.has_sharing_ended(now) or self._context.address != self._shared_by:
            self._share_anew()

    def _share_anew(self) -> None:
        self._shared_by = self._context.address
        self.begin(self._shared_by)
        for peer in self._peers:
            if peer.has_share:
                self._share_with(peer)

    def _share_with(self, peer: Peer) -> None:
        """One more peer is to be reckoned with: done as it is heard, so that no claim has to do it for many."""
        if self._context.address != self._shared_by:
            self._share_anew()
        elif peer.address != self._shared_by:
            self.add(peer.address)
