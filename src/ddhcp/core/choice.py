"""Which free block to claim.

Own former blocks first, because their clients are remembered, the latest given up before the others; then blocks that
nobody is known ever to have owned; then those free for longest. Among the never-owned, each node has a share of its
own (``shares.py``): nodes that start together, and the sides of a parted link, hardly ever want the same block.

What others may be claiming out of hearing is left alone (``consents.py``): of such blocks only those of the own share
are chosen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from .blocks import BlockState, BlockTable
from .consents import Consents
from .context import Context
from .leases import LeaseTable
from .own_share import OwnShare
from .remedies import Remedy

CANDIDATES = 16  # blocks drawn for each block wanted, of those that may be free
MAX_CANDIDATES = 4096  # and no more than this, so that a choice costs milliseconds in the largest pool
MAX_FORMER = 1024  # blocks remembered as once ours


class BlockChoice:
    """Chooses free blocks to claim."""

    def __init__(
        self, context: Context, table: BlockTable, leases: LeaseTable, share: OwnShare, consents: Consents
    ) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._share = share
        self._consents = consents
        self._former: dict[int, None] = {}  # the latest that ceased to be ours last

    def own(self, index: int) -> None:
        """Block ``index`` is ours."""
        self._former.pop(index, None)

    def let_go(self, index: int) -> None:
        """Block ``index``, ours up to now, is not, or may become free."""
        self._former.pop(index, None)
        self._former[index] = None
        if len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]

    def choose_between(self, first: int, last: int, wanted: int, now: float) -> list[int]:
        """Up to ``wanted`` FREE blocks from ``first`` to ``last``, of those that a few draws hit."""
        self._share.look(now)
        chosen = self._draw(self._share.between(first, last), wanted)
        rest = self._draw([range(first, last + 1)], wanted, without=chosen)
        consents, is_short = self._consents, len(chosen) < wanted
        if is_short and rest and not consents.is_cautious(now) and not consents.is_in_doubt(now):
            chosen += rest[: wanted - len(chosen)]
        return chosen

    def _draw(self, ranges: list[range], wanted: int, without: Sequence[int] = ()) -> list[int]:
        """Up to ``wanted`` useful FREE blocks from these ranges of blocks, in no order."""
        count, found = sum(map(len, ranges)), list[int]()
        is_useful, state = self._leases.plan.is_useful, self._table.state
        for position in self._context.rng.sample(range(count), min(count, MAX_CANDIDATES, CANDIDATES * (wanted + 3))):
            if len(found) == wanted:
                break
            index = _nth(ranges, position)
            if state(index) is BlockState.FREE and is_useful(index) and index not in without:
                found.append(index)
        return found

    def choose(self, wanted: int, now: float) -> list[int]:
        """Up to ``wanted`` FREE blocks that belong to no subnet, the best first."""
        self._share.look(now)
        is_cautious = self._consents.is_cautious(now)
        if not self._context.has(Remedy.BLOCK_CHOICE):
            return self._take(self._same_for_all(), wanted, only_share=is_cautious or self._consents.is_in_doubt(now))
        chosen = self._take(filter(self._is_home, reversed(self._former)), wanted, only_share=is_cautious)
        chosen += self._share.take(wanted - len(chosen), self._is_new)
        if len(chosen) == wanted:
            return chosen
        rest = self._rest(wanted - len(chosen), chosen)
        freed = self._freed()
        if not is_cautious and (rest or any(True for _ in self._freed())):  # else there is nothing to ask for
            is_cautious = self._consents.is_in_doubt(now)
        if not is_cautious:
            chosen += rest
        return chosen + self._take(freed, wanted - len(chosen), only_share=is_cautious)

    def _is_home(self, index: int) -> bool:
        return self._table.state(index) is BlockState.FREE and not self._leases.plan.zone_of(index)

    def _is_new(self, index: int) -> bool:
        """Whether a block is free and was, as far as is known, never owned."""
        return self._is_home(index) and index not in self._table.freed and index not in self._former

    def _rest(self, wanted: int, chosen: list[int]) -> list[int]:
        """Never-owned blocks beyond those chosen, drawn at random: nodes that draw at the same time seldom meet."""
        rng, free = self._context.rng, self._table.free
        for number in (2 * wanted, CANDIDATES * wanted):  # as a rule nearly all are new
            number = min(MAX_CANDIDATES, number + len(chosen))
            sample = free.sample(rng, number)
            if len(free) <= number:
                rng.shuffle(sample)
            rest = list(islice((i for i in sample if i not in chosen and self._is_new(i)), wanted))
            if len(rest) == wanted or len(free) <= number:
                break
        return rest

    def _freed(self) -> Iterator[int]:
        """Free blocks that others owned, the longest free first."""
        return (i for i in islice(self._table.freed, MAX_CANDIDATES) if i not in self._former and self._is_home(i))

    def _take(self, candidates: Iterable[int], wanted: int, *, only_share: bool) -> list[int]:
        taken: list[int] = []
        if wanted > 0:
            for index in candidates:
                if not only_share or self._share.is_ours(index):
                    taken.append(index)
                    if len(taken) == wanted:
                        break
        return taken

    def _same_for_all(self) -> list[int]:
        """What classic nodes do that were started within one second: all draw the same blocks."""
        return self._table.free.sample(random.Random(0), MAX_CANDIDATES)


def _nth(ranges: list[range], position: int) -> int:
    """What stands at ``position`` of these ranges, one after the other."""
    for each in ranges:
        if position < len(each):
            return each[position]
        position -= len(each)
    raise IndexError(position)
