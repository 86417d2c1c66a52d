"""Asking for blocks: the three inquiries that come before owning one. How many are needed is in ``supply.py``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from ..swarm import MAX_INQUIRIES_PER_PACKET
from .blocks import Block, BlockEvent, BlockTable
from .choice import BlockChoice
from .consents import Consents
from .context import Context
from .leases import LeaseTable
from .remedies import Remedy
from .supply import MAX_CLAIMING, Supply

INQUIRIES = 3  # before a block is owned (PROTOCOL, Claiming)
BURST_SPACING_S = 0.001  # between inquiries that are not spread over t, as classic nodes send them
DOUBTED_ROUNDS = 2.5  # times t: for so long it is waited until everybody was heard, then a block is given up
DOUBT_STEP_S = 0.5  # how often it is looked whether everybody was
URGENT_SPACING_S = 0.15  # between inquiries for an orphan that a client waits for: it asks again after 2 s or more


class Inquirer:
    """Has blocks inquired and owned.

    ``waiting``: how many clients wait for an address. ``own``: called with the blocks that nobody objected to.
    """

    def __init__(
        self,
        context: Context,
        table: BlockTable,
        leases: LeaseTable,
        choice: BlockChoice,
        consents: Consents,
        supply: Supply,
        *,
        waiting: Callable[[], int],
        own: Callable[[list[Block], float], None],
    ) -> None:
        self._context = context
        self._table = table
        self._leases = leases
        self._choice = choice
        self._consents = consents
        self._supply = supply
        self._waiting = waiting
        self._own = own
        self._next_at = math.inf
        self._pool_full = False

    def deadline(self) -> float:
        """When :meth:`run` may have something to do; infinity if never."""
        return self._next_at if self._context.link_up else math.inf

    def ensure_supply(self, now: float) -> None:
        """Begin claiming when the free leases do not cover the spares and the waiting clients."""
        context = self._context
        waiting = self._waiting()
        if self._supply.is_settled(waiting):
            return
        wanted = self._supply.missing_blocks(waiting, now, seeks=self._consents.is_seeking(now))
        if wanted <= 0:
            return
        chosen = self._choice.choose(wanted, now)
        self._supply.note_begun(len(chosen), wanted, waiting, now, seeks=self._consents.is_seeking(now))
        if chosen:
            self.inquire(chosen, now)
        elif not self._table.claiming and self._leases.free_count == 0 and waiting and not self._pool_full:
            self._pool_full = True
            if len(self._table.free):
                advice = (
                    "a silent node may own or claim the rest; clients wait until it is back or its promise has ended"
                )
            else:
                advice = "clients wait until leases end; use a larger pool (-N), shorter leases or smaller blocks (-b)"
            context.log(logging.WARNING, "pool-full", pool=str(context.pool), waiting=waiting, advice=advice)

    def supply_between(self, first: int, last: int, missing: int, now: float) -> None:
        """Begin claiming free blocks from ``first`` to ``last`` until ``missing`` addresses are to come."""
        claiming = self._table.claiming
        under_way = sum(first <= index <= last for index in claiming)
        wanted = min(-(-missing // self._context.pool.block_size) - under_way, MAX_CLAIMING - len(claiming))
        if wanted > 0:
            self.inquire(self._choice.choose_between(first, last, wanted, now), now)

    def inquire(self, indices: list[int], now: float) -> None:
        """Begin claiming these FREE blocks."""
        for index in indices:
            block = self._table.apply(index, BlockEvent.WE_INQUIRE)
            block.inquired_at = now
            self._asked(block, 1, now)
        self.send(indices)
        if indices:
            self._pool_full = False

    def begin(self, block: Block, now: float) -> None:
        """A block that had an owner is CLAIMING now: inquire it from ``now`` on."""
        block.inquired_at = -math.inf
        self._begin(block, now)

    def _begin(self, block: Block, now: float) -> None:
        block.claim_count = 0
        block.is_vouched = False
        block.consents = None
        block.next_inquiry_at = now
        block.inquired_at = now if block.inquired_at > -math.inf else -math.inf
        self._next_at = min(self._next_at, now)

    def restart(self, now: float) -> None:
        """What was asked may not have been heard, or an answer was missed: ask for everything anew."""
        for block in self._table.claiming.values():
            self._begin(block, now)

    def put_off(self, now: float, wait_s: float) -> None:
        """The latest inquiry did not leave: all are asked anew, in ``wait_s``."""
        for block in self._table.claiming.values():
            self._begin(block, now + wait_s)
        self._next_at = now + wait_s if self._table.claiming else math.inf

    def run(self, now: float) -> None:
        """Send the inquiries that are due; own what was inquired three times and left uncontested for t."""
        if now < self._next_at or not self._context.link_up:
            return
        inquire: list[int] = []
        doubtful: list[Block] = []
        owned: list[Block] = []
        is_short = False
        is_spaced = self._context.has(Remedy.SPACED_INQUIRIES)
        for block in list(self._table.claiming.values()):
            if block.next_inquiry_at > now:
                continue
            if is_spaced and block.claim_count and now - block.next_inquiry_at > self._spacing_s(block):
                self._begin(block, now)  # this node slept: objections may wait unread
            is_inquired = block.claim_count == INQUIRIES
            is_vouched = is_inquired and self._is_vouched_for(block, now)
            if is_vouched and (block.is_vouched or self._consents.is_agreed(block, now)):
                owned.append(block)
                continue
            if not is_inquired or is_vouched:
                self._ask_on(block, now)
                inquire.append(block.index)
                if block.inquired_at == -math.inf:
                    self._consents.ask_former_owner(block)
            elif now - block.inquired_at < DOUBTED_ROUNDS * self._context.config.tentative_timeout_s:
                block.next_inquiry_at = now + DOUBT_STEP_S
            else:
                self._supply.note_doubted(now)
                self._context.count("swarm.claims_doubted")
                self._table.apply(block.index, BlockEvent.WE_GIVE_UP)
                is_short = True
                continue
            if block.claim_count > 1:
                doubtful.append(block)
        self._next_at = min((block.next_inquiry_at for block in self._table.claiming.values()), default=math.inf)
        self.send(inquire)
        self._consents.ask_about(doubtful, now)
        if owned:
            self._own(owned, now)
        if is_short:
            self.ensure_supply(now)

    def _ask_on(self, block: Block, now: float) -> None:
        """The next inquiry of a CLAIMING block. Whoever could object has to be heard between the second and the third:
        so the link was whole as two of them were sent, should it part, and as one was, should it heal. If somebody was
        heard only later, the link may have been parted, and all three are sent anew."""
        if block.claim_count == INQUIRIES:
            block.is_vouched = True
            self._asked(block, 1, now)
            return
        if block.claim_count == 1 and block.inquired_at > -math.inf:
            block.inquired_at = now
        elif block.claim_count == INQUIRIES - 1:
            block.is_vouched = block.is_vouched or self._is_vouched_for(block, now)
        self._asked(block, block.claim_count + 1, now)

    def _is_vouched_for(self, block: Block, now: float) -> bool:
        """Whether all who could object to owning a block have been heard, if it was FREE and is no orphan."""
        is_certain = block.inquired_at == -math.inf or block.is_urgent
        return is_certain or self._consents.may_own(block, now)

    def _asked(self, block: Block, times: int, now: float) -> None:
        """A CLAIMING block is inquired for the first, second or third time."""
        block.claim_count = times
        block.next_inquiry_at = now + self._spacing_s(block)
        self._next_at = min(self._next_at, block.next_inquiry_at)

    def _spacing_s(self, block: Block) -> float:
        if block.is_urgent:
            return URGENT_SPACING_S
        if not self._context.has(Remedy.SPACED_INQUIRIES):
            return BURST_SPACING_S
        return self._context.config.tentative_timeout_s / INQUIRIES

    def send(self, indices: list[int]) -> None:
        """Multicast an inquiry for these blocks, in as many packets as they need."""
        for start in range(0, len(indices), MAX_INQUIRIES_PER_PACKET):
            data = self._context.codec.inquire(indices[start : start + MAX_INQUIRIES_PER_PACKET])
            self._context.multicast(data, "inquire")
