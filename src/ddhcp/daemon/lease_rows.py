"""The rows of leases as the store holds them, read and checked: compiled, because a start waits for all of them."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from ..core.records import StoredLease

# What a sound lease's row holds is checked here: SQLite would take as long for it as for all the rest. Most
# rows are of leases; for "leased" stands 0, which costs less to make than text.
_LEASES = """
select address, identity, chaddr, iif(state = 'leased', 0, state), expires_at, hostname, granted_s, held_until
from lease
"""
_STATES: Final = {name.encode(): name for name in ("kept", "released", "expired", "declined")}
_LEASED: Final = "leased"
_MAX_UINT32: Final = 0xFFFFFFFF
_MAX_TEXT_BYTES: Final = 4096
_CHADDR_BYTES: Final = 16
_MAX_INSTANT: Final = 1e11
_ROWS_READ_AT_ONCE = 1000


def read_leases(db: sqlite3.Connection, to_boot: float) -> list[StoredLease]:
    """The rows of leases that make sense, their instants translated. It may be a hundred thousand, and the node serves
    nobody before it has them."""
    found: list[StoredLease] = []
    same: dict[int, int] = {}  # one object for the many leases of one length
    db.text_factory = bytearray  # so that text, of whatever bytes, is told from the blob that it should be
    try:
        cursor = db.execute(_LEASES)
        while rows := cursor.fetchmany(_ROWS_READ_AT_ONCE):
            for row in rows:
                lease = _sound_lease(row, to_boot, same)
                if lease is not None:
                    found.append(lease)
    finally:
        db.text_factory = str
    return found


def _sound_lease(row: tuple[Any, ...], to_boot: float, same: dict[int, int]) -> StoredLease | None:
    """The lease of a row as it is read, None if it makes no sense: SQLite stores any type anywhere."""
    address, identity, chaddr, state, expires_at, hostname, granted_s, held_until = row
    if isinstance(state, int):
        name: str | None = _LEASED
    else:
        name = _STATES.get(bytes(state)) if isinstance(state, bytearray) else None
    if (
        name is None
        or not isinstance(identity, bytes)
        or not 0 < len(identity) <= _MAX_TEXT_BYTES
        or not isinstance(chaddr, bytes)
        or len(chaddr) != _CHADDR_BYTES
        or not isinstance(hostname, bytes)
        or len(hostname) > _MAX_TEXT_BYTES
        or not isinstance(expires_at, float)
        or not -_MAX_INSTANT < expires_at < _MAX_INSTANT
        or not isinstance(held_until, float)
        or not -_MAX_INSTANT < held_until < _MAX_INSTANT
        or not isinstance(granted_s, int)
        or not 0 <= granted_s <= _MAX_UINT32
        or not 0 <= address <= _MAX_UINT32  # the table's key is an integer whatever was written
    ):
        return None
    return StoredLease(
        address, identity, chaddr, name, expires_at + to_boot, hostname, same.setdefault(granted_s, granted_s),
        held_until + to_boot if granted_s else 0.0,
    )  # fmt: skip
