"""Questions about a node, each answered in bounded time whatever the size of the pool; nothing here changes anything.

Lists come in pages: a call looks at a bounded number of blocks or addresses and says where to go on, so that listing a
/8 never holds up the packets that arrive meanwhile. A page may therefore be short, or even empty, without being the
last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

from .blocks import Block, BlockState
from .claims import INQUIRIES, Claims
from .context import Context
from .leases import LeaseTable
from .peers import GREETINGS, Peers
from .records import StoredLease
from .replicas import Replicas
from .views import BlockView, Census, PeerView, Totals

MAX_LOOKED_AT = 16384  # block indices tried for one page: about a millisecond
MAX_LEASES_LOOKED_AT = 4096  # leases compared with a search for one page: the same


def in_order(indices: Collection[int], first: int, end: int, budget: int) -> tuple[list[int], int]:
    """Those of ``indices`` from ``first`` to below ``end``, ascending, as far as ``budget`` steps reach, and the index
    to go on with (``end`` when there are no more)."""
    if len(indices) <= budget:
        return sorted(index for index in indices if first <= index < end), end
    stop = min(end, first + budget)
    return [index for index in range(first, stop) if index in indices], stop


class Inspection:
    """What can be asked of a node. ``waiting``: how many clients wait for an address; ``place``: see :meth:`place`."""

    def __init__(
        self,
        context: Context,
        claims: Claims,
        leases: LeaseTable,
        peers: Peers,
        replicas: Replicas,
        *,
        waiting: Callable[[], int],
        place: Callable[[int], bytes],
    ) -> None:
        self._context = context
        self._claims = claims
        self._leases = leases
        self._peers = peers
        self._replicas = replicas
        self._waiting = waiting
        self._place = place

    @property
    def address(self) -> bytes:
        """The node's own address on the server link (16 bytes), zeros before that is known."""
        return self._context.address

    def totals(self) -> Totals:
        """The sums."""
        table, leases = self._claims.table, self._leases
        counts = table.counts
        tentative = counts[BlockState.TENTATIVE] + counts[BlockState.ORPHAN]
        blocks = (len(table.free), tentative, *counts[BlockState.CLAIMED : BlockState.ORPHAN])
        return Totals(
            blocks=blocks,
            orphans=counts[BlockState.ORPHAN],
            held=self._claims.held_count,
            leases_free=leases.free_count,
            leases_offered=leases.offered_count,
            leases_leased=leases.leased_count,
            bindings=len(leases),
            peers=len(self._peers),
            clients_waiting=self._waiting(),
            is_learning=self._claims.is_learning,
            is_stopping=self._context.stopping,
            link_up=self._context.link_up,
        )

    def is_cautious(self, now: float) -> bool:
        """Whether a known node is missing, so that only blocks from this node's own share are claimed."""
        return self._claims.is_cautious(now)

    @property
    def prefers_availability(self) -> bool:
        """Whether this node is told never to be cautious."""
        return self._context.config.prefer_availability

    # --- blocks ---------------------------------------------------------------------------------

    def block(self, index: int, now: float) -> BlockView | None:
        """Block ``index`` of the pool, None if it is free."""
        block = self._claims.table.get(index)
        return self._view(block, now) if block is not None else None

    def blocks(self, first: int, limit: int, now: float) -> tuple[list[BlockView], int | None]:
        """Up to ``limit`` blocks that are not free, from index ``first`` on, and where to go on (None: all seen)."""
        known, end = self._claims.table.known, self._context.pool.block_count
        indices, following = in_order(known.keys(), first, end, MAX_LOOKED_AT)
        if len(indices) > limit:
            following = indices[limit]
        views = [self._view(known[index], now) for index in indices[:limit]]
        return views, following if following < end else None

    def census(self, first: int, end: int, cell_size: int) -> Census:
        """Count owners in cells of ``cell_size`` blocks (cell 0 begins with the pool's first block), from block
        ``first`` to below ``end``."""
        known, end = self._claims.table.known, min(end, self._context.pool.block_count)
        indices, following = in_order(known.keys(), first, end, MAX_LOOKED_AT)
        cells: dict[int, dict[tuple[bytes, int], int]] = {}
        node_ids: dict[bytes, bytes] = {}
        for index in indices:
            block = known[index]
            cell = cells.setdefault(index // cell_size, {})
            key = (block.owner_address, block.state.classic)
            cell[key] = cell.get(key, 0) + 1
            node_ids[block.owner_address] = block.owner_id
        return Census(cells, node_ids, following if following < end else None)

    def promise_margin_s(self, now: float) -> float | None:
        """The shortest time that a claim of ours still holds without another refresh, in seconds; None without
        blocks. Of very many blocks, the earliest claimed are looked at."""
        soonest = math.inf
        for count, block in enumerate(self._claims.table.ours.values()):
            if count >= MAX_LEASES_LOOKED_AT:
                break
            soonest = min(soonest, block.expires_at)
        return None if soonest == math.inf else soonest - now

    def _view(self, block: Block, now: float) -> BlockView:
        is_kept = self._leases.has_block(block.index)
        offered, leased = self._leases.usage(block.index) if is_kept else (None, None)
        return BlockView(
            index=block.index,
            state=block.state.classic,
            owner=block.owner_id,
            claim_count=INQUIRIES if block.state is BlockState.OURS else block.claim_count,
            offered=offered,
            leased=leased,
            timeout_s=max(0, math.ceil(block.expires_at - now)),
            owner_address=block.owner_address,
        )

    # --- leases ---------------------------------------------------------------------------------

    def lease(self, address: int) -> StoredLease | None:
        """The latest binding of ``address`` in a block of ours."""
        lease = self._leases.at(address)
        return lease.stored() if lease is not None else None

    def lease_of(self, chaddr: bytes) -> StoredLease | None:
        """The latest binding of a client by its chaddr (16 bytes)."""
        lease = self._leases.of(b"", chaddr)
        return lease.stored() if lease is not None else None

    def place(self, address: int) -> bytes:
        """The node (16 bytes) in whose realm the client of ``address``, of ours, renewed last; b"" if that is ours."""
        return self._place(address)

    def is_reserved(self, address: int) -> bool:
        """Whether ``address`` is never handed out."""
        return self._leases.is_reserved(address)

    def leases(
        self, first: int, limit: int, wanted: Callable[[StoredLease], bool] | None = None, *, copies: bool = False
    ) -> tuple[list[StoredLease], int | None]:
        """Up to ``limit`` bindings for which ``wanted`` holds, from address ``first`` on in order, and where to go
        on (None: that was all). ``copies``: those of other nodes' blocks that are kept here in case their owner fails,
        instead of our own."""
        pool = self._context.pool
        start = 0 if first <= pool.prefix else pool.index_of(first) if first in pool else pool.block_count
        blocks = self._replicas.block_indices if copies else self._leases.block_indices
        indices, following = in_order(blocks, start, pool.block_count, MAX_LOOKED_AT)
        found: list[StoredLease] = []
        looked_at = 0
        for index in indices:
            if looked_at >= MAX_LEASES_LOOKED_AT:
                return found, pool.first_address(index)
            for row in self._copies_in(index) if copies else self._own_in(index):
                if row.address < first:
                    continue
                looked_at += 1
                if wanted is not None and not wanted(row):
                    continue
                if len(found) >= limit:
                    return found, row.address
                found.append(row)
        return found, pool.first_address(following) if following < pool.block_count else None

    def _own_in(self, index: int) -> Iterator[StoredLease]:
        return (lease.stored() for lease in self._leases.in_block(index))

    def _copies_in(self, index: int) -> list[StoredLease]:
        return sorted(self._replicas.of_block(index), key=lambda lease: lease.address)

    # --- peers ----------------------------------------------------------------------------------

    def peers(self, now: float) -> list[PeerView]:
        """Every node heard so far (:data:`~ddhcp.core.peers.MAX_PEERS` at most), the most recently heard last."""
        return [
            PeerView(
                address=peer.address,
                node_id=peer.node_id,
                heard_ago_s=max(0.0, now - peer.heard_at),
                is_ours=True if peer.is_ours else False if peer.hello_count >= GREETINGS else None,
                refresh_s=peer.refresh_s or None,
                refreshes=peer.refreshes,
                refreshes_lost=peer.refreshes_lost,
                software=peer.software,
                is_trusted=self._context.trust.is_trusted(peer.address),
                plan_differs=peer.plan_differs,
            )
            for peer in sorted(self._peers, key=lambda peer: peer.heard_at)
        ]
