"""Which free block to claim."""

from __future__ import annotations

import hashlib

from .blocks import BlockState, BlockTable
from .context import Context

CANDIDATES = 16  # free blocks looked at for each block wanted
MAX_FORMER = 1024  # blocks remembered as once ours


class BlockChoice:
    """Chooses free blocks to claim: those once ours first, then by a hash of (this node, block), so that nodes that
    start together, or are cut off from each other, rarely want the same."""

    def __init__(self, context: Context, table: BlockTable) -> None:
        self._context = context
        self._table = table
        self._former: dict[int, None] = {}

    def remember(self, index: int) -> None:
        """Block ``index`` is, or once was, ours."""
        self._former[index] = None
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    def choose(self, wanted: int) -> list[int]:
        """Up to ``wanted`` FREE blocks."""
        former = [i for i in self._former if self._table.state(i) is BlockState.FREE][:wanted]
        if len(former) >= wanted:
            return former
        candidates = set(self._table.free.sample(self._context.rng, CANDIDATES * wanted)).difference(former)
        node_id = self._context.node_id

        def preference(index: int) -> bytes:
            return hashlib.blake2b(node_id + index.to_bytes(4, "big"), digest_size=8).digest()

        return former + sorted(candidates, key=preference)[: wanted - len(former)]
