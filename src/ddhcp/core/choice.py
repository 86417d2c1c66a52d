"""Which free block to claim."""

from __future__ import annotations

import hashlib

from .blocks import BlockState, BlockTable
from .context import Context
from .leases import LeaseTable

CANDIDATES = 16  # free blocks looked at for each block wanted
MAX_FORMER = 1024  # blocks remembered as once ours


def score(index: int, node_id: bytes, address: bytes) -> bytes:
    """How much block ``index`` is a node's to take: of several nodes, it is that with the highest score (rendezvous
    hashing). All nodes find the same without a word; a node more or less changes nothing among the others."""
    return hashlib.blake2b(node_id + address + index.to_bytes(4, "big"), digest_size=8).digest()


class BlockChoice:
    """Chooses free blocks to claim: those once ours first, then by a hash of (this node, block), so that nodes that
    start together, or are cut off from each other, rarely want the same."""

    def __init__(self, context: Context, table: BlockTable, leases: LeaseTable) -> None:
        self._context = context
        self._leases = leases
        self._table = table
        self._former: dict[int, None] = {}

    def remember(self, index: int) -> None:
        """Block ``index`` is, or once was, ours."""
        self._former[index] = None
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    def choose(self, wanted: int) -> list[int]:
        """Up to ``wanted`` FREE blocks that belong to no subnet."""
        zone_of = self._leases.plan.zone_of
        former = [i for i in self._former if self._table.state(i) is BlockState.FREE and not zone_of(i)][:wanted]
        if len(former) >= wanted:
            return former
        candidates = set(self._table.free.sample(self._context.rng, CANDIDATES * wanted)).difference(former)
        home = [index for index in candidates if not zone_of(index)]
        return former + sorted(home, key=self._score)[: wanted - len(former)]

    def choose_between(self, first: int, last: int, wanted: int) -> list[int]:
        """Up to ``wanted`` FREE blocks from ``first`` to ``last``, of those that a few draws hit."""
        rng, count = self._context.rng, last - first + 1
        tries = CANDIDATES * wanted
        indices = range(first, last + 1) if count <= tries else {rng.randint(first, last) for _ in range(tries)}
        is_useful = self._leases.plan.is_useful
        free = [index for index in indices if self._table.state(index) is BlockState.FREE and is_useful(index)]
        return sorted(free, key=self._score)[:wanted]

    def _score(self, index: int) -> bytes:
        return score(index, self._context.node_id, self._context.address)
