"""Which free block to claim."""

from __future__ import annotations

import hashlib

from .blocks import BlockState, BlockTable
from .context import Context

CANDIDATES = 16  # free blocks looked at for each block wanted
MAX_FORMER = 1024  # blocks remembered as once ours


def score(index: int, node_id: bytes, address: bytes) -> bytes:
    """How much block ``index`` is a node's to take: of several nodes, it is that with the highest score (rendezvous
    hashing). All nodes find the same without a word; a node more or less changes nothing among the others."""
    return hashlib.blake2b(node_id + address + index.to_bytes(4, "big"), digest_size=8).digest()


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
        node_id, address = self._context.node_id, self._context.address
        by_score = sorted(candidates, key=lambda index: score(index, node_id, address))
        return former + by_score[: wanted - len(former)]
