"""Blocks of ours that are held: leases in them are renewed, and none is given to a client that has none.

A block is held while another node's leases may run in it that this node does not know of: because it was adopted from
an owner that fell silent, or because another node claimed it too. Whoever renews an address there that nobody is known
to hold is believed to hold it.
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
        self._ends: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, index: int) -> bool:
        return index in self._until

    def deadline(self) -> float:
        """A lower bound of when a hold ends; infinity if there is none."""
        return self._ends[0][0] if self._ends else math.inf

    def hold(self, index: int, until: float) -> None:
        """Hold block ``index`` (ours) up to ``until``, or longer if it is held for longer already."""
        self._leases.suspend_block(index)
        if until > self._until.get(index, -math.inf):
            self._until[index] = until
            heapq.heappush(self._ends, (until, index))

    def forget(self, index: int) -> None:
        """Block ``index`` is no longer ours."""
        self._until.pop(index, None)

    def pop_ended(self, now: float) -> list[int]:
        """The blocks whose hold has ended; whether they may be leased from again is for the caller to decide."""
        ended = []
        while self._ends and self._ends[0][0] <= now:
            until, index = heapq.heappop(self._ends)
            if self._until.get(index) == until:
                del self._until[index]
                ended.append(index)
        return ended
