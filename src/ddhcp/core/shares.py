"""Which free blocks are this node's to take first, by a hash that all nodes agree on without a word.

The pool is cut into parts of one or more neighbouring blocks. A part is the share of the node that comes first for it
by a hash over (part, node) (rendezvous hashing): one node more or less changes nothing between the others. Finding a
part of one's own takes about as many hashes as there are nodes; in a pool of millions of blocks it then serves for
hundreds of them, and it is remembered for as long as the same nodes are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

MAX_PARTS: Final = 16384  # of a pool: some for each of thousands of nodes, each with hundreds of a large pool's blocks
SORTED_PARTS: Final = 64  # in so few they are all looked at, the best first
TRIES: Final = 16  # parts looked at for one of one's own, at least,
TRIES_PER_NODE: Final = 3  # and for each known node: one in as many parts as there are nodes is this node's
REVISITED_BLOCKS: Final = 1024  # looked at again for free ones at a time, when all parts were found
MAX_TRIES: Final = 4096  # and no more than this, so that a choice costs milliseconds
# A score that is not among the lowest such part of all, divided by the number of nodes, is hardly ever the lowest of
# theirs: in 3 of 10,000 cases. The part is then nobody's share.
_HOPEFUL: Final = 8
_SCORE_BYTES: Final = 8

Key = tuple[bytes, bytes]  # a node, by its id and address


def score(part: int, node_id: bytes, address: bytes) -> bytes:
    """How far a part is from being a node's to take: of several nodes, it is the one with the lowest score."""
    data = node_id + address + part.to_bytes(4, "big")
    return hashlib.blake2b(data, digest_size=_SCORE_BYTES).digest()


class Shares:
    """The share of one node; :meth:`set_nodes` is to say among whom the pool is shared."""

    def __init__(self, block_count: int) -> None:
        self._shift = max(0, (block_count // MAX_PARTS).bit_length() - 1)
        self._part_count = block_count >> self._shift
        self._me: Key = (b"", b"")
        self._others: Sequence[Key] = ()
        self._hopeful = b"\xff" * _SCORE_BYTES
        self._known: dict[int, bool] = {}  # part -> whether it is ours
        self._own: list[int] = []  # the parts of ours that were found
        self._mine: list[int] = []  # those of them that may have free blocks
        self._untried: Iterator[int] | None = None
        self._is_complete = False  # whether all parts of ours were found

    def set_nodes(self, me: Key, others: Sequence[Key]) -> None:
        """Who we are, and who else there is."""
        if others is self._others and me == self._me:
            return
        is_same = me == self._me and others == self._others
        self._me, self._others = me, others
        if not is_same:
            self._known.clear()
            self._own.clear()
            self._mine.clear()
            self._untried, self._is_complete = None, False
            lowest = (1 << 8 * _SCORE_BYTES) * _HOPEFUL // (len(others) + 1)
            self._hopeful = min(lowest, (1 << 8 * _SCORE_BYTES) - 1).to_bytes(_SCORE_BYTES, "big")

    def is_ours(self, index: int) -> bool:
        """Whether block ``index`` is of this node's share."""
        return self._is_our_part(index >> self._shift)

    def _is_our_part(self, part: int) -> bool:
        is_ours = self._known.get(part)
        if is_ours is None:
            own = score(part, *self._me)
            is_ours = own <= self._hopeful and all(score(part, *other) > own for other in self._others)
            self._known[part] = is_ours
        return is_ours

    def take(self, wanted: int, may_take: Callable[[int], bool]) -> list[int]:
        """Up to ``wanted`` blocks of this node's share that ``may_take``, the best first. In a large pool it may find
        fewer than there are, since it looks at so many parts at a time."""
        taken: dict[int, None] = {}
        if self._is_complete:
            tries = min(len(self._own), max(1, REVISITED_BLOCKS >> self._shift)) + 1  # one to begin a round
        else:
            tries = max(TRIES, TRIES_PER_NODE * len(self._others)) * -(-wanted >> self._shift)
            tries = min(tries, MAX_TRIES, self._part_count)
        while len(taken) < wanted:
            while self._mine and len(taken) < wanted:
                if not self._take_from(self._mine[0], wanted, may_take, taken):
                    del self._mine[0]
            if len(taken) == wanted or not tries:
                break
            tries -= 1
            part = self._next_part()
            if part is not None:
                self._mine.append(part)
        return list(taken)

    def _next_part(self) -> int | None:
        """Look at one more part: if it is ours, return it. After the last come those of ours again, in which blocks may
        have become free."""
        if self._untried is None:
            self._untried = iter(tuple(self._own)) if self._is_complete else self._order()
        part = next(self._untried, None)
        if part is None:
            self._untried, self._is_complete = None, True
            return None
        if not self._is_complete:
            if not self._is_our_part(part):
                return None
            self._own.append(part)
        return part

    def _take_from(self, part: int, wanted: int, may_take: Callable[[int], bool], taken: dict[int, None]) -> bool:
        """Take from one part what is still wanted; whether there was as much."""
        first = part << self._shift
        for place in _walk(1 << self._shift, self._me):
            index = first + place
            if index not in taken and may_take(index):
                taken[index] = None
                if len(taken) == wanted:
                    return True
        return False

    def _order(self) -> Iterator[int]:
        """All parts: of a few the best first, of many as they come."""
        if self._part_count > SORTED_PARTS:
            return _walk(self._part_count, self._me)
        return iter(sorted(range(self._part_count), key=lambda part: score(part, *self._me)))


def _walk(count: int, node: Key) -> Iterator[int]:
    """All numbers below ``count``, a power of two, in an order of the node's own: nodes that do not know of each other
    yet seldom meet."""
    seed = int.from_bytes(score(count, *node), "big")
    position, step = seed % count, seed >> 31 | 1
    for _ in range(count):
        yield position
        position = (position + step) % count
