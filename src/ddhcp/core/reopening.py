"""When a held block (``holds.py``) may be leased from again: its hold has ended, and if it was adopted, everybody who
may own it as well was heard since, told of it, and heard once more."""

from __future__ import annotations

from collections.abc import Callable

from .blocks import Block
from .consents import MAX_PROBED
from .context import Context
from .heard_claims import Parts
from .hearsay import CLAIMS_PER_MESSAGE, HearsayTeller

LOOK_AGAIN_S = 5.0  # how often it is looked whether everybody was heard since a block was adopted


class Reopening:
    """Ends the holds of one node's blocks. ``announce_twice(now)``: called to announce them all, to everybody."""

    def __init__(
        self, context: Context, parts: Parts, hearsay: HearsayTeller, announce_twice: Callable[[float], None]
    ) -> None:
        self._context = context
        self._table = parts.table
        self._leases = parts.leases
        self._peers = parts.peers
        self._consents = parts.consents
        self._holds = parts.holds
        self._memory = parts.memory
        self._hearsay = hearsay
        self._announce_twice = announce_twice

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return self._holds.deadline()

    def run(self, now: float, *, is_urgent: bool) -> bool:
        """End the holds that are over; whether there is a block from which may be leased again. ``is_urgent``: clients
        wait for an address, so that who was not heard is asked; else everybody speaks by itself in a while."""
        is_more = False
        told: list[Block] = []
        for index in self._holds.pop_ended(now):
            block = self._table.ours.get(index)
            adopted_at = self._holds.adopted_at(index)
            if block is None and adopted_at is not None and self._leases.has_block(index):
                self._holds.hold_on(index, now + LOOK_AGAIN_S)  # its promise ran out, and it is inquired anew
                continue
            if block is not None and adopted_at is not None:
                is_told = self._holds.is_told(index)
                seeks_few = is_urgent or is_told
                if not self._consents.is_only_owner(adopted_at, now, seeks_few=seeks_few, seeks_many=is_urgent):
                    self._holds.hold_on(index, now + LOOK_AGAIN_S)
                    continue
                if not is_told:
                    self._holds.tell(index, now, now + self._context.config.tentative_timeout_s)
                    told.append(block)
                    continue
            if block is not None:
                self._reopen(index, now)
                is_more = True
            self._holds.forget(index)
        if told:
            self._tell_adopted(told, now)
        return is_more

    def _reopen(self, index: int, now: float) -> None:
        if self._holds.is_believing(index):
            self._leases.taint_block(index)  # clients that nobody here knows of may still be about
        self._leases.resume_block(index)
        self._memory.forgotten(index, now)

    def _tell_adopted(self, blocks: list[Block], now: float) -> None:
        """Everybody who may own these blocks as well is to hear that they are ours; some only hear unicasts."""
        self._announce_twice(now)
        owners = [peer for peer in self._peers if peer.is_ours and peer.claimed_until > now]
        if len(owners) <= MAX_PROBED:
            for peer in owners:
                self._hearsay.object_directly(blocks[:CLAIMS_PER_MESSAGE], peer, now)
