"""When a held block (``holds.py``) may be leased from again: its hold has ended, and if it was adopted, everybody who
may own it as well was told so, and agreed by name."""

from __future__ import annotations

from collections.abc import Callable

from .blocks import Block
from .consents import MAX_PROBED
from .heard_claims import Parts
from .hearsay import CLAIMS_PER_MESSAGE, HearsayTeller
from .peers import Peer

LOOK_AGAIN_S = 5.0  # how often it is looked whether everybody has agreed since a block was adopted,
ANSWERED_S = 1.0  # and after this when they were asked for the first time


class Reopening:
    """Ends the holds of one node's blocks. ``announce_twice(now)``: called to announce them all, to everybody."""

    def __init__(self, parts: Parts, hearsay: HearsayTeller, announce_twice: Callable[[float], None]) -> None:
        self._table = parts.table
        self._leases = parts.leases
        self._consents = parts.consents
        self._holds = parts.holds
        self._memory = parts.memory
        self._hearsay = hearsay
        self._announce_twice = announce_twice
        self._turn = 0  # with whom to go on if there are more to ask than at once

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        return self._holds.deadline()

    def run(self, now: float, *, is_urgent: bool) -> bool:
        """End the holds that are over; whether there is a block from which may be leased again. ``is_urgent``: clients
        wait for an address, so that all are asked."""
        is_more = is_news = False
        asked: dict[bytes, tuple[Peer, list[Block]]] = {}
        for index in self._holds.pop_ended(now):
            block = self._table.ours.get(index)
            adopted_at = self._holds.adopted_at(index)
            if block is None and adopted_at is not None and self._leases.has_block(index):
                self._holds.hold_on(index, now + LOOK_AGAIN_S)  # its promise ran out, and it is inquired anew
                continue
            if block is not None and adopted_at is not None:
                doubtful = self._consents.who_may_own(block, adopted_at, now)
                if doubtful:
                    peers = doubtful if is_urgent else self._asked_at_leisure(doubtful, index, adopted_at)
                    for peer in peers:
                        asked.setdefault(peer.address, (peer, []))[1].append(block)
                    is_first = bool(peers) and self._holds.note_told(index)
                    is_news = is_news or is_first
                    self._holds.hold_on(index, now + (ANSWERED_S if is_first else LOOK_AGAIN_S))
                    continue
            if block is not None:
                self._reopen(block, now)
                is_more = True
            self._holds.forget(index)
        if is_news:
            self._announce_twice(now)
        at_once = self._consents.at_once(now) if is_urgent else MAX_PROBED
        for peer, blocks in self._next_of(list(asked.values()), at_once):
            self._ask(peer, blocks[:CLAIMS_PER_MESSAGE], now)
        return is_more

    def _asked_at_leisure(self, doubtful: list[Peer], index: int, adopted_at: float) -> list[Peer]:
        """Those who are asked though no client waits: who was heard since the adoption, and if that takes many
        questions only about a block without leases, as it could be given up."""
        if len(doubtful) > MAX_PROBED and not self._leases.is_unused(index):
            return []
        return [peer for peer in doubtful if peer.heard_at > adopted_at]

    def _next_of(self, asked: list[tuple[Peer, list[Block]]], at_once: int) -> list[tuple[Peer, list[Block]]]:
        """Those whose turn it is: who does not agree, as it knows of an earlier owner, must not keep others from being
        asked."""
        if len(asked) <= at_once:
            return asked
        start = self._turn % len(asked)
        self._turn = start + at_once
        return (asked[start:] + asked[:start])[:at_once]

    def _reopen(self, block: Block, now: float) -> None:
        if self._holds.is_believing(block.index):
            self._leases.taint_block(block.index)  # clients that nobody here knows of may still be about
        self._leases.resume_block(block.index)
        self._memory.forgotten(block.index, now)
        block.consents = None

    def _ask(self, peer: Peer, blocks: list[Block], now: float) -> None:
        """Tell a node alone that these blocks are ours, as it may hear unicasts only, and ask whether it agrees."""
        self._hearsay.object_directly(blocks, peer, now)
        self._consents.probe(peer.address, tuple(block.index for block in blocks), True)
