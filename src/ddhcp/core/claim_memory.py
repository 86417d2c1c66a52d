"""What is written down of other nodes' claims, so that a node which starts where it hears nobody (its peers are down,
or cut off) does not take their blocks for free.

A row says more than was announced, so that it need not be written at each refresh: as much longer as a block with
leases is announced for. When one row has to be written, those that would have to be soon are written with it. In a
swarm at rest that is one commit in half of that time, whatever the number of nodes.
"""

from __future__ import annotations

import math
from itertools import islice

from .blocks import Block, BlockState, BlockTable
from .context import Context
from .effects import ForgetClaim, SaveClaim
from .records import StoredClaim
from .remedies import Remedy

SAVE_AFTER_S = 1.0  # what is to be written waits so long for company,
SAVE_PAUSE_S = 5.0  # and so long after the commit before: flash wears out by writing
MOST_SLACK = 1.25  # of what a row is to outlast a claim by; one that outlasts it by more is written anew in time
MAX_ROWS_AT_ONCE = 4096  # in one commit; more follow in the next ones
MAX_REMEMBERED = 65536  # rows in the store, some 5 MB; claims beyond that are not remembered


class ClaimMemory:
    """Has the claims of others written down."""

    def __init__(self, context: Context, table: BlockTable) -> None:
        self._context = context
        self._table = table
        self._rows: dict[int, tuple[bytes, float]] = {}  # by block: whose it is and until when, as the store has it
        self._stale: dict[int, None] = {}
        self._save_at = math.inf
        self._saved_at = -math.inf

    def rows(self) -> list[StoredClaim]:
        """What the store was given of the claims that still hold."""
        claimed = ((self._table.get(index), until) for index, (_, until) in self._rows.items())
        return [
            StoredClaim(block.index, block.owner_id, block.owner_address, until)
            for block, until in claimed
            if block is not None and block.state is BlockState.CLAIMED
        ]

    def deadline(self) -> float:
        """When :meth:`run` has something to do; infinity if never."""
        return self._save_at

    def restored(self, claim: StoredClaim) -> None:
        """The store has this row."""
        self._rows[claim.index] = (claim.owner, claim.closed_until)

    def forgotten(self, index: int, now: float, *, is_free: bool = False) -> None:
        """Block ``index`` is no other node's any more: a row that says so goes in time. ``is_free``: its owner gave it
        up, so that a restart would keep it closed for no reason."""
        if index in self._rows:
            self._stale[index] = None
            self._save_by(now + (SAVE_AFTER_S if is_free else self._context.longest_lease_s))

    def may_be_anothers(self, claim: StoredClaim) -> None:
        """A block that is ours, or nobody's, may be that node's until then, unless :meth:`forgotten` is called before:
        a node that starts anew has to know."""
        if self._context.has(Remedy.CLAIM_MEMORY) and self._rows.get(claim.index) != (claim.owner, claim.closed_until):
            self._stale.pop(claim.index, None)
            self.restored(claim)
            self._context.effects.append(SaveClaim(claim))

    def _slack_s(self, block: Block) -> int:
        """By how much a row outlasts the claim. What was told by others is that much longer already."""
        return 0 if block.is_hearsay else self._context.promise_s

    def heard(self, block: Block, now: float) -> None:
        """Another node owns ``block`` (CLAIMED) up to its ``expires_at``."""
        owner, until = self._rows.get(block.index, (b"", -math.inf))
        slack_s = self._slack_s(block)
        is_too_long = until > block.expires_at + MOST_SLACK * slack_s and not block.is_hearsay
        if block.owner_address == owner and block.expires_at + slack_s / 2 <= until and not is_too_long:
            return
        self._stale[block.index] = None
        if block.owner_address != owner or block.expires_at > until:
            self._save_by(now + SAVE_AFTER_S)
        elif is_too_long:
            self._save_by(now + self._context.longest_lease_s)

    def covered_until(self, block: Block) -> float:
        """Up to which ``expires_at`` of ``block`` (CLAIMED) hearing of it again changes nothing here."""
        owner, until = self._rows.get(block.index, (b"", -math.inf))
        if owner != block.owner_address:
            return -math.inf
        half_s = self._slack_s(block) / 2
        # One that is to be written is not written for hearing it again, nor soon after it was written.
        return min(until, block.expires_at + half_s) if block.index in self._stale else until - half_s

    def _save_by(self, at: float) -> None:
        self._save_at = min(self._save_at, max(at, self._saved_at + SAVE_PAUSE_S))

    def run(self, now: float) -> None:
        """Write what is due, and what would be soon."""
        if now < self._save_at:
            return
        self._saved_at, self._save_at = now, math.inf
        self._save_some(MAX_ROWS_AT_ONCE)
        if self._stale:
            self._save_by(now)

    def save_all(self) -> None:
        """The node stops: write what is left to write."""
        self._save_some(len(self._stale))

    def _save_some(self, count: int) -> None:
        for index in list(islice(self._stale, count)):
            del self._stale[index]
            self._save(index)

    def _save(self, index: int) -> None:
        if not self._context.has(Remedy.CLAIM_MEMORY):
            return
        block = self._table.get(index)
        if block is not None and block.state is BlockState.ORPHAN:
            return  # the row covers that time
        if block is None or block.state is not BlockState.CLAIMED:
            if self._rows.pop(index, None) is not None:
                self._context.effects.append(ForgetClaim(index))
            return
        if index not in self._rows and len(self._rows) >= MAX_REMEMBERED:
            self._context.count("swarm.claims_not_remembered")
            return
        until = block.expires_at + self._slack_s(block)
        self._rows[index] = (block.owner_address, until)
        self._context.effects.append(SaveClaim(StoredClaim(index, block.owner_id, block.owner_address, until)))
