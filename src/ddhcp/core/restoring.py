"""The bindings of the run before, taken up again when the node starts: as many as a store can hold, and nobody is
served before they are there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from .context import Context
from .leases import DECLINED, HELD, KEPT, LASTING, LEASED, Lease, LeaseState, LeaseTable
from .records import StoredLease

_STATES: Final = {state.value: state for state in LeaseState}
_LEASED: Final = LeaseState.LEASED.value

_by_end = attrgetter("expires_at")


class Restoring:
    """Enters the bindings of one start into ``leases``. First :meth:`latest_ends` says what each block must have been
    promised for, then :meth:`enter` takes up the bindings of those blocks that are this node's again."""

    def __init__(self, context: Context, leases: LeaseTable, stored: Iterable[StoredLease]) -> None:
        self._context = context
        self._leases = leases
        self._leased: dict[int, list[StoredLease]] = {}  # by block
        self._others: list[StoredLease] = []
        pool = context.pool
        latest, rows = -1, []
        for row in stored:
            if row.address not in pool:
                continue
            if row.state != _LEASED:
                self._others.append(row)
                continue
            index = pool.index_of(row.address)
            if index != latest:  # a store has them in the order of their addresses
                latest, rows = index, self._leased.setdefault(index, [])
            rows.append(row)

    def latest_ends(self) -> dict[int, float]:
        """By block, the latest end of a lease as the store has it. How long an address was declined is not among them:
        it was not promised for."""
        ends: dict[int, float] = {}
        for index, rows in self._leased.items():
            latest = -math.inf
            for row in rows:
                if row.expires_at > latest:
                    latest = row.expires_at
            ends[index] = latest
        return ends

    def is_kept(self, end: float, now: float) -> bool:
        """Whether the address of a lease that ended at ``end``, as far as the store knows, is still kept for its
        client: a peer may have prolonged it meanwhile."""
        return self._context.is_replicated and end + self._context.keep_s > now

    def enter(self, resumed: set[int], now: float) -> None:
        """Take up the bindings in the blocks ``resumed``.

        Of two leases of one client the later one is its own: the end of the other need not have been written. What it
        declined is none of its leases.
        """
        self._enter_others(resumed, now)
        over: list[StoredLease] = []
        running: list[tuple[int, list[Lease]]] = []
        reserved_blocks = self._leases.reserved_blocks()
        longest_s = 0.0
        for index, rows in self._leased.items():
            if index not in resumed:
                continue
            entered: list[Lease] = []
            has_reserved = index in reserved_blocks
            for row in rows:
                if has_reserved and self._leases.is_reserved(row.address):
                    continue
                ends_at = row.latest_end(now)
                if ends_at <= now:
                    over.append(row)
                    continue
                if ends_at - now > longest_s:
                    longest_s = ends_at - now
                entered.append(_binding(row, LEASED, ends_at))
            running.append((index, entered))
        self._context.cover_lease(longest_s)
        over.sort(key=_by_end)
        kept = self._kept(over, now)
        contested = self._leases.restore(running) + self._leases.restore(kept)
        if contested:
            self._settle(contested)
        self._leases.end_restoring()
        kept_addresses = {leases[0].address for _, leases in kept}
        for row in over:
            if row.address not in kept_addresses:
                self._remember(row, LeaseState.EXPIRED)

    def _enter_others(self, resumed: set[int], now: float) -> None:
        """What is not leased. Of two of one client's the later one counts, and what lasts before what is past."""
        index_of, leases = self._context.pool.index_of, self._leases
        lasting: list[tuple[int, list[Lease]]] = []
        past: list[tuple[StoredLease, LeaseState]] = []
        self._others.sort(key=_by_end)
        for row in self._others:
            index = index_of(row.address)
            if index not in resumed or leases.is_reserved(row.address):
                continue
            state = _STATES[row.state]
            if row.expires_at > now and state in LASTING:
                lasting.append((index, [_binding(row, state, row.expires_at)]))
            elif state is DECLINED:
                leases.taint(row.address)
            else:
                past.append((row, LeaseState.EXPIRED if state in HELD else state))
        leases.restore(lasting)
        for row, state in past:
            self._remember(row, state)

    def _kept(self, over: list[StoredLease], now: float) -> list[tuple[int, list[Lease]]]:
        """Of leases that are over, those that a peer may have prolonged, because it stood in for this node while that
        was away."""
        if not self._context.is_replicated:
            return []
        index_of, keep_s = self._context.pool.index_of, self._context.keep_s
        found = []
        for row in over:
            kept_until = row.latest_end(now) + keep_s
            if kept_until > now:
                found.append((index_of(row.address), [_binding(row, KEPT, kept_until)]))
        return found

    def _settle(self, contested: list[Lease]) -> None:
        """Say which of its leases is a client's own, where it has several."""
        identities = {lease.identity for lease in contested}
        addresses = {lease.chaddr for lease in contested}
        rows = [
            row
            for of_block in self._leased.values()
            for row in of_block
            if row.identity in identities or row.chaddr in addresses
        ]
        rows.sort(key=_by_end)
        for row in rows:
            lease = self._leases.at(row.address)
            if lease is not None:
                self._leases.prefer(lease)

    def _remember(self, row: StoredLease, state: LeaseState) -> None:
        self._leases.remember(row.address, row.identity, row.chaddr, state, row.expires_at, row.hostname)


def _binding(row: StoredLease, state: LeaseState, ends_at: float) -> Lease:
    lease = Lease(row.address, row.identity, row.chaddr, state, ends_at)
    lease.hostname, lease.granted_s, lease.held_until = row.hostname, row.granted_s, row.held_until
    return lease
