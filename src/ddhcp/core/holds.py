"""Blocks of ours that are held: leases in them are renewed, and none is given to a client that has none.

A block is held while another node's leases may run in it that this node does not know of: because it was adopted from
an owner that fell silent, or because another node claimed it too. Whoever renews an address there that nobody is known
to hold is believed to hold it.

An adopted block is held for another reason as well, and nobody is believed for it: a link may have parted, and on its
far side the owner be at work, or another survivor have adopted the block. It lasts until everybody who may own blocks
has agreed by name that it is ours: who is only heard again may not have heard of it.
"""

from __future__ import annotations

import heapq
import math

from .leases import LeaseTable


class Holds:
    """The held blocks of one node, and when each hold ends."""

    def __init__(self, leases: LeaseTable) -> None:
        self._leases = leases
        self._until: dict[int, float] = {}
        self._adopted_at: dict[int, float] = {}  # blocks that were adopted then, of those that are held
        self._told: dict[int, None] = {}  # those of them of which others were told since
        self._believing: dict[int, None] = {}  # blocks in which there may be leases that are not known here
        self._ends: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, index: int) -> bool:
        return index in self._until

    def is_believing(self, index: int) -> bool:
        """Whether who renews an address of block ``index`` that nobody is known to hold is believed to hold it."""
        return index in self._believing

    def deadline(self) -> float:
        """A lower bound of when a hold ends; infinity if there is none."""
        return self._ends[0][0] if self._ends else math.inf

    def hold(self, index: int, until: float) -> None:
        """Hold block ``index`` (ours) up to ``until``, or longer if it is held for longer already: leases of others may
        run in it as long."""
        self._believing[index] = None
        self._hold(index, until)

    def hold_adopted(self, index: int, now: float) -> None:
        """Hold block ``index``, which this node has just adopted; :meth:`adopted_at` tells so when the hold ends."""
        self._adopted_at[index] = now
        self._told.pop(index, None)
        self._hold(index, now)

    def adopted_at(self, index: int) -> float | None:
        """When block ``index``, which is held, was adopted; None if it was not."""
        return self._adopted_at.get(index)

    def note_told(self, index: int) -> bool:
        """Everybody is told that block ``index`` is ours, and asked to agree. Whether that is the first time."""
        is_first = index not in self._told
        self._told[index] = None
        return is_first

    def hold_on(self, index: int, until: float) -> None:
        """Block ``index``, whose hold has ended, may still be another survivor's as well."""
        self._believing.pop(index, None)
        self._hold(index, until)

    def _hold(self, index: int, until: float) -> None:
        self._leases.suspend_block(index)
        if until > self._until.get(index, -math.inf):
            self._until[index] = until
            heapq.heappush(self._ends, (until, index))

    def forget(self, index: int) -> None:
        """Block ``index`` is no longer ours, or no longer to be held."""
        self._until.pop(index, None)
        self._adopted_at.pop(index, None)
        self._told.pop(index, None)
        self._believing.pop(index, None)

    def pop_ended(self, now: float) -> list[int]:
        """The blocks whose hold has ended; whether they may be leased from again is for the caller to decide, who then
        calls :meth:`hold_on` or :meth:`forget`."""
        ended = []
        while self._ends and self._ends[0][0] <= now:
            until, index = heapq.heappop(self._ends)
            if self._until.get(index) == until:
                ended.append(index)
        return ended
