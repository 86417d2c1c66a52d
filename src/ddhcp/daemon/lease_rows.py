"""The rows of leases as the store holds them, read and checked: compiled, because a start waits for all of them."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from ..core.records import StoredLease

# What a sound lease's row holds is checked here: SQLite would take as long for it as for all the rest.
_LEASES = "select address, identity, chaddr, state, expires_at, hostname, granted_s, held_until from lease"
_STATES: Final = {name.encode(): name for name in ("leased", "kept", "released", "expired", "declined")}
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
    if (
        type(state) is not bytearray
        or (state_name := _STATES.get(bytes(state))) is None
        or type(identity) is not bytes
        or not 0 < len(identity) <= _MAX_TEXT_BYTES
        or type(chaddr) is not bytes
        or len(chaddr) != _CHADDR_BYTES
        or type(hostname) is not bytes
        or len(hostname) > _MAX_TEXT_BYTES
        or type(expires_at) is not float
        or not -_MAX_INSTANT < expires_at < _MAX_INSTANT
        or type(held_until) is not float
        or not -_MAX_INSTANT < held_until < _MAX_INSTANT
        or type(granted_s) is not int
        or not 0 <= granted_s <= _MAX_UINT32
        or not 0 <= address <= _MAX_UINT32  # the table's key is an integer whatever was written
    ):
        return None
    return StoredLease(
        address, identity, chaddr, state_name, expires_at + to_boot, hostname, same.setdefault(granted_s, granted_s),
        held_until + to_boot if granted_s else 0.0,
    )  # fmt: skip
