"""What a commit writes, and how it gets to the process that writes it."""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from ..core.effects import (
    ForgetBlock,
    ForgetClaim,
    ForgetLease,
    ForgetPeer,
    SaveBlock,
    SaveClaim,
    SaveLease,
    SavePeer,
    StoreEffect,
)
from ..core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer

ROWS_AT_ONCE: Final = 64  # by one statement; SQLite keeps as many forms of it prepared as it has room for
_LEASE_PLACES: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERTS: Final = [  # by the number of rows
    "insert or replace into lease values " + ",".join([_LEASE_PLACES] * rows) for rows in range(ROWS_AT_ONCE + 1)
]

_LEASE_VALUES: Final = 8  # of one row, in the order of StoredLease's fields
_MARSHAL_VERSION: Final = 2  # later ones look for objects that occur twice, which takes longer than writing them


def pack(effects: Iterable[StoreEffect]) -> bytes:
    """A batch for another process of this program: plain values, which are written and read in no time."""
    leases: list[object] = []
    others: list[tuple[object, ...]] = []
    for effect in effects:
        if isinstance(effect, SaveLease):
            row = effect.lease
            leases += (
                row.address, row.identity, row.chaddr, row.state, row.expires_at, row.hostname, row.granted_s,
                row.held_until,
            )  # fmt: skip
        elif isinstance(effect, SaveBlock):
            others.append(("block", effect.block.index, effect.block.promised_until))
        elif isinstance(effect, SaveClaim):
            claim = effect.claim
            others.append(("claim", claim.index, claim.owner_id, claim.owner, claim.closed_until))
        elif isinstance(effect, SavePeer):
            others.append(("peer", effect.peer.address, effect.peer.node_id, effect.peer.known_until))
        elif isinstance(effect, ForgetLease):
            others.append(("no-lease", effect.address))
        elif isinstance(effect, ForgetPeer):
            others.append(("no-peer", effect.address))
        elif isinstance(effect, ForgetBlock):
            others.append(("no-block", effect.index))
        else:
            others.append(("no-claim", effect.index))
    return marshal.dumps((leases, others), _MARSHAL_VERSION)


def unpack(data: bytes) -> list[StoreEffect]:
    """What was packed; leases to be saved come first."""
    leases, others = marshal.loads(data)
    effects: list[StoreEffect] = []
    for at in range(0, len(leases), _LEASE_VALUES):
        effects.append(SaveLease(StoredLease(*leases[at : at + _LEASE_VALUES])))
    for kind, *values in others:
        if kind == "block":
            effects.append(SaveBlock(StoredBlock(*values)))
        elif kind == "claim":
            effects.append(SaveClaim(StoredClaim(*values)))
        elif kind == "peer":
            effects.append(SavePeer(StoredPeer(*values)))
        elif kind == "no-peer":
            effects.append(ForgetPeer(*values))
        elif kind == "no-lease":
            effects.append(ForgetLease(*values))
        elif kind == "no-block":
            effects.append(ForgetBlock(*values))
        else:
            effects.append(ForgetClaim(*values))
    return effects


class Changes:
    """What a batch changes: of each key the latest value, None for a row to be deleted."""

    def __init__(self, effects: Iterable[StoreEffect]) -> None:
        self._blocks: dict[int, float | None] = {}
        self._leases: dict[int, StoredLease | None] = {}
        self._claims: dict[int, StoredClaim | None] = {}
        self._peers: dict[bytes, StoredPeer | None] = {}
        self._forgets = False
        for effect in effects:
            if isinstance(effect, SaveLease):
                self._leases[effect.lease.address] = effect.lease
            elif isinstance(effect, SaveBlock):
                self._blocks[effect.block.index] = effect.block.promised_until
            elif isinstance(effect, ForgetLease):
                self._leases[effect.address] = None
                self._forgets = True
            elif isinstance(effect, ForgetBlock):
                self._blocks[effect.index] = None
            elif isinstance(effect, SaveClaim):
                self._claims[effect.claim.index] = effect.claim
            elif isinstance(effect, SavePeer):
                self._peers[effect.peer.address] = effect.peer
            elif isinstance(effect, ForgetPeer):
                self._peers[effect.address] = None
            else:
                self._claims[effect.index] = None

    @property
    def are_few_leases(self) -> bool:
        """Whether all that changes are leases to be saved, so few that one statement writes them."""
        is_more = self._forgets or self._blocks or self._claims or self._peers
        return not is_more and 0 < len(self._leases) <= ROWS_AT_ONCE

    def saved_leases(self) -> list[StoredLease]:
        """The leases to be saved."""
        return [row for row in self._leases.values() if row is not None]

    def write(self, db: sqlite3.Connection, to_wall: float) -> None:
        """Bring the tables up to date, within a transaction."""
        saved = self.saved_leases()
        for start in range(0, len(saved), ROWS_AT_ONCE):
            insert_leases(db, saved[start : start + ROWS_AT_ONCE], to_wall)
        owned = [(index, until + to_wall) for index, until in self._blocks.items() if until is not None]
        ended = [(address,) for address, row in self._leases.items() if row is None]
        given_up = [(index,) for index, until in self._blocks.items() if until is None]
        claimed = [
            (claim.index, claim.owner_id, claim.owner, claim.closed_until + to_wall)
            for claim in self._claims.values()
            if claim is not None
        ]
        lapsed = [(index,) for index, claim in self._claims.items() if claim is None]
        known = [(p.address, p.node_id, p.known_until + to_wall) for p in self._peers.values() if p is not None]
        forgotten = [(address,) for address, peer in self._peers.items() if peer is None]
        changes: tuple[tuple[str, Sequence[tuple[object, ...]]], ...] = (
            ("insert or replace into block values (?, ?)", owned),
            ("insert or replace into claim values (?, ?, ?, ?)", claimed),
            ("delete from lease where address = ?", ended),
            ("delete from block where block_index = ?", given_up),
            ("delete from claim where block_index = ?", lapsed),
            ("insert or replace into peer values (?, ?, ?)", known),
            ("delete from peer where address = ?", forgotten),
        )
        for statement, rows in changes:
            if rows:
                db.executemany(statement, rows)


def insert_leases(db: sqlite3.Connection, rows: list[StoredLease], to_wall: float) -> None:
    """Write these rows, ``ROWS_AT_ONCE`` at most, with one statement."""
    values: list[object] = []
    for row in rows:
        held_until = row.held_until + to_wall if row.granted_s else 0.0
        # Python's sqlite3 looks at length for what might adapt a bytes object, and takes a bytearray as it is.
        values += (
            row.address, bytearray(row.identity), bytearray(row.chaddr), row.state, row.expires_at + to_wall,
            bytearray(row.hostname), row.granted_s, held_until,
        )  # fmt: skip
    db.execute(_INSERTS[len(rows)], values)
