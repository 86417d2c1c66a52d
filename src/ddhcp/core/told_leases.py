"""Leases as one node tells them to another: durations on the wire, instants on this node's clock here (rule M8)."""

from __future__ import annotations

import math

from ..swarm import LEASE_DECLINED, LEASE_EXPIRED, LEASE_GONE, LEASE_LEASED, LEASE_RELEASED, LeaseRecord
from .leases import Lease, LeaseState
from .pool import Pool
from .records import StoredLease

_MAX_SECONDS = 0xFFFFFFFF
_NUMBERS = {
    LeaseState.LEASED: LEASE_LEASED,
    LeaseState.RELEASED: LEASE_RELEASED,
    LeaseState.EXPIRED: LEASE_EXPIRED,
    LeaseState.DECLINED: LEASE_DECLINED,
}
_STATES = {number: state.value for state, number in _NUMBERS.items()}
_NO_CLIENT = b"\0"


def told(lease: Lease, keep_s: int, now: float, since: float | None = None) -> LeaseRecord:
    """A lease of ours as others are told of it; an offer is none. ``keep_s``: for how long its address is kept for the
    client when the lease has ended. ``since``: when its client got the address, None if that is not known."""
    if lease.state is LeaseState.OFFERED:
        return gone(lease.address)
    left_s = max(0, min(_MAX_SECONDS, math.ceil(lease.expires_at - now)))
    age_s = 0 if since is None else max(1, min(_MAX_SECONDS, math.ceil(now - since)))
    match lease.state:
        case LeaseState.KEPT:
            number, remaining_s, kept_s = LEASE_LEASED, 0, left_s
        case LeaseState.LEASED:
            number, remaining_s, kept_s = LEASE_LEASED, left_s, keep_s
        case _:
            number, remaining_s, kept_s = _NUMBERS[lease.state], left_s, 0
    return LeaseRecord(
        lease.address, number, remaining_s, age_s, kept_s, lease.chaddr, lease.identity, lease.hostname[:255]
    )


def given_back(lease: Lease) -> LeaseRecord:
    """A lease of ours whose client gave the address back."""
    return LeaseRecord(lease.address, LEASE_RELEASED, 0, 0, 0, lease.chaddr, lease.identity, lease.hostname[:255])


def gone(address: int) -> LeaseRecord:
    """Nothing is known of this address any more."""
    return LeaseRecord(address, LEASE_GONE, 0, 0, 0, bytes(16), _NO_CLIENT)


def heard(record: LeaseRecord, index: int, pool: Pool, now: float) -> StoredLease | None:
    """A lease that another node told of block ``index``; None if it makes no sense there."""
    if record.address not in pool or pool.index_of(record.address) != index or record.state not in _STATES:
        return None
    return StoredLease(
        record.address, record.identity, record.chaddr, _STATES[record.state], now + record.remaining_s,
        record.hostname, kept_s=record.kept_s,
    )  # fmt: skip
