"""Which free blocks are this node's to take first, by a hash that all nodes agree on without a word.

The pool is bent into the ring on which each node has some points (``ring.py``). A block is the share of the node whose
point is the last before it: one node more or less changes nothing between the others, and of two nodes that know each
other at most one takes a block for its own, whoever else each of them knows. A node keeps the stretches of the ring
that begin at its own points. They take as much memory, and finding a block in them takes as long, with thousands of
nodes and millions of blocks as with a few; a node more costs the same few steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from .ring import POINTS, RING, RING_BITS, points

MAX_IN_VAIN: Final = 32  # blocks of one stretch looked at in a row, none of which may be taken, before the next


class Shares:
    """The share of one node in a pool of ``block_count`` blocks, a power of two."""

    def __init__(self, block_count: int) -> None:
        self._block_count = block_count
        self._shift = RING_BITS + 1 - block_count.bit_length()
        self._starts: list[int] = [0]  # of the stretches, in order,
        self._lengths: list[int] = [RING]  # each up to where the next node's point is
        self._cursors = [0]  # by stretch: the block of it to be looked at next
        self._next = 0  # the stretch to be looked at next

    def begin(self, address: bytes) -> None:
        """We are the node at ``address``, and nobody else is there."""
        starts = list(points(address))
        if starts != self._starts:  # begin anywhere: who began with the first would meet others at the pool's beginning
            self._starts, self._cursors, self._next = starts, [0] * POINTS, sum(starts) % POINTS
        ends = [*starts[1:], starts[0] + RING]
        self._lengths = [end - start for start, end in zip(starts, ends, strict=True)]

    def add(self, address: bytes) -> None:
        """The node at ``address`` is there as well."""
        starts, lengths = self._starts, self._lengths
        for point in points(address):
            stretch = bisect_right(starts, point) - 1
            length = point - starts[stretch] if stretch >= 0 else point + RING - starts[stretch]
            if length < lengths[stretch]:
                lengths[stretch] = length

    def is_ours(self, index: int) -> bool:
        """Whether block ``index`` is of this node's share."""
        starts, point = self._starts, index << self._shift
        stretch = bisect_right(starts, point) - 1
        distance = point - starts[stretch] if stretch >= 0 else point + RING - starts[stretch]
        return distance < self._lengths[stretch]

    def take(self, wanted: int, may_take: Callable[[int], bool]) -> list[int]:
        """Up to ``wanted`` blocks of this node's share that ``may_take``. It goes on where it ended the last time. Of a
        large share it may find fewer than there are, since it looks at so many blocks at a time."""
        taken: list[int] = []
        for _ in range(len(self._starts)):
            if len(taken) >= wanted:
                break
            self._take_from(self._next, wanted, may_take, taken)
            if len(taken) < wanted:
                self._next = (self._next + 1) % len(self._starts)
        return taken

    def _take_from(self, stretch: int, wanted: int, may_take: Callable[[int], bool], taken: list[int]) -> None:
        """Take from one stretch what is still wanted."""
        first, count = self._blocks(stretch)
        at, in_vain = self._cursors[stretch], 0
        for _ in range(count):
            if at >= count:
                at = 0
            index = (first + at) % self._block_count
            at += 1
            if may_take(index):
                taken.append(index)
                in_vain = 0
                if len(taken) == wanted:
                    break
            else:
                in_vain += 1
                if in_vain == MAX_IN_VAIN:
                    break
        self._cursors[stretch] = at

    def _blocks(self, stretch: int) -> tuple[int, int]:
        """The first block of a stretch, which may be one beyond the last of the pool, and how many there are."""
        start, last = self._starts[stretch], (1 << self._shift) - 1
        first = (start + last) >> self._shift
        return first, ((start + self._lengths[stretch] + last) >> self._shift) - first

    def between(self, first: int, last: int) -> list[range]:
        """This node's share of the blocks from ``first`` to ``last``."""
        found: list[range] = []
        for stretch in range(len(self._starts)):
            begin, count = self._blocks(stretch)
            for around in (0, self._block_count):  # one stretch leads from the end of the pool to its beginning
                blocks = range(max(first, begin - around), min(last + 1, begin - around + count))
                if blocks:
                    found.append(blocks)
        return found
