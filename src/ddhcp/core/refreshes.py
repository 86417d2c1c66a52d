"""Announcements that say what the same node announced before: nearly all that a swarm at rest hears.

In a swarm of a thousand nodes each hears every other one say, again and again, that its blocks still are its own. Such
a message moves the ends of these claims and tells that the node is there; nothing else comes of it. So the bytes are
remembered with the peer, and when the same come again only that is done.

Whatever else happens to one of the blocks ends this (:attr:`~ddhcp.core.blocks.Block.refresh`), and so does whatever
may give the same bytes another meaning (:attr:`~ddhcp.core.context.Context.epoch`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..swarm import Claim
from .blocks import Block, BlockState
from .claims import Claims
from .context import Context
from .events import SwarmReceived
from .peers import Peer, Peers, Refresh


class Refreshes:
    """Tells whether a datagram is such an announcement, and does what it takes."""

    def __init__(self, context: Context, claims: Claims, peers: Peers) -> None:
        self._context = context
        self._claims = claims
        self._peers = peers

    def remember(self, peer: Peer, data: bytes, claims: Sequence[Claim], until: float, now: float) -> None:
        """``data``, an UPDATECLAIM by multicast, has just been taken in; nothing but its ``claims`` came of it, and
        would come of it again before the instant ``until``."""
        peer.refresh = None
        if not claims:
            return
        table = self._claims.table
        blocks = [table.known.get(claim.index) for claim in claims]
        known = [block for block in blocks if block is not None and self._is_claimed_by(peer, block)]
        if len(set(map(id, known))) < len(claims):
            return  # some are not the peer's, or named twice
        timeouts_s = tuple(claim.timeout_s for claim in claims)
        refresh = Refresh(
            data, peer.node_id, tuple(known), timeouts_s, max(timeouts_s), until, 0.0, self._context.epoch
        )
        refresh.covered_until = self._covered_until(refresh)
        if min(until, refresh.covered_until) <= now:
            return
        for block in known:
            block.refresh = refresh
        peer.refresh = refresh

    @staticmethod
    def _is_claimed_by(peer: Peer, block: Block) -> bool:
        return block.state is BlockState.CLAIMED and block.owner_address == peer.address

    def _covered_until(self, refresh: Refresh) -> float:
        """Up to when hearing it again changes nothing about what is written down of these claims."""
        memory = self._claims.memory
        return min(
            memory.covered_until(block) - timeout_s
            for block, timeout_s in zip(refresh.blocks, refresh.timeouts_s, strict=True)
        )

    def take_and_note(self, event: SwarmReceived, now: float) -> bool:
        """The same as :meth:`take`, also when what is written down of these claims is to change by it."""
        peer = self._peers.get(event.source)
        refresh = peer.refresh if peer is not None else None
        if refresh is None or refresh.covered_until > now:
            return self.take(event, now)
        refresh.covered_until = math.inf
        if not self.take(event, now):
            refresh.covered_until = -math.inf
            return False
        for block in refresh.blocks:
            self._claims.memory.heard(block, now)
        refresh.covered_until = self._covered_until(refresh)
        return True

    def take(self, event: SwarmReceived, now: float) -> bool:
        """Take a datagram in if it is such an announcement; false, with nothing done, if it is not."""
        peer = self._peers.get(event.source)
        if peer is None:
            return False
        refresh = peer.refresh
        if (
            refresh is None or refresh.data != event.data or not event.multicast or event.waited_s
            or refresh.epoch != self._context.epoch or refresh.until <= now or refresh.covered_until <= now
            or peer.claimed_until <= now or refresh.node_id != peer.node_id
        ):  # fmt: skip
            return False
        blocks = refresh.blocks
        for block in blocks:
            if block.refresh is not refresh:
                return False
        tally = self._context.tally
        tally.heard += 1
        tally.heard_bytes += len(event.data)
        tally.claims_heard += 1
        self._peers.hear_again(peer, now)
        peer.note_refresh(now)
        until = now + refresh.longest_s
        if peer.claimed_until < until:
            peer.claimed_until = until
        timeouts_s = refresh.timeouts_s
        for number in range(len(blocks)):
            blocks[number].expires_at = now + timeouts_s[number]
        return True
