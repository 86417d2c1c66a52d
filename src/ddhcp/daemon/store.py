"""The durable store: an embedded SQLite database, or nothing at all.

Instants are wall-clock seconds in the file, because a restart has no other clock in common with the past, and monotonic
everywhere else (DHCP-SERVER H3).
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..core.effects import ForgetBlock, ForgetLease, SaveBlock, SaveLease, StoreEffect
from ..core.records import StoredBlock, StoredLease
from .clock import wall_minus_boot
from .errors import StartError

_SCHEMA_VERSION = 1
_SCHEMA = """
create table block (block_index integer primary key, promised_until real not null);
create table lease (
    address integer primary key, identity blob not null, chaddr blob not null, state text not null,
    expires_at real not null, hostname blob not null
);
"""
_STATES = frozenset(("leased", "released", "expired", "declined"))
_BUSY_TIMEOUT_S = 2.0
_MAX_INSTANT_S = 1e11  # further from 1970 than any clock goes


@dataclass(slots=True)
class Remembered:
    """What the store held when it was opened; ``skipped`` rows could not be read."""

    blocks: list[StoredBlock] = field(default_factory=list)
    leases: list[StoredLease] = field(default_factory=list)
    skipped: int = 0
    set_aside: Path | None = None


class Store(Protocol):
    """Where bindings survive. ``commit`` is called on a thread of its own."""

    is_durable: bool

    def load(self) -> Remembered:
        """Everything remembered."""

    def commit(self, effects: Iterable[StoreEffect]) -> None:
        """Write a batch, all or nothing; it is on disk when this returns. Raises sqlite3.Error or OSError."""

    def close(self) -> None:
        """Give the file back."""


class MemoryStore:
    """No store at all: what is forgotten at exit was never promised to survive."""

    is_durable = False

    def load(self) -> Remembered:
        """Nothing."""
        return Remembered()

    def commit(self, effects: Iterable[StoreEffect]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to give back."""


class SqliteStore:
    """A database file. Raises :class:`StartError` when it cannot be used at all."""

    is_durable = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._set_aside: Path | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = open(f"{path}.lock", "w")  # noqa: SIM115 - held as long as the store
        except OSError as error:
            raise StartError(
                f"store {path}: {error.strerror}; name another place with --store PATH, or --store memory for none"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StartError(
                f"store {path} is in use by another ddhcp; stop that one or name another --store"
            ) from None
        try:
            self._db = self._open_or_set_aside()
        except (sqlite3.Error, OSError) as error:
            self._lock.close()
            raise StartError(f"store {path}: {error}; name another place with --store PATH") from None
        except BaseException:
            self._lock.close()
            raise

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.OperationalError:  # the disk or its permissions: the file may be sound
            raise
        except sqlite3.DatabaseError:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            self._set_aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
            self.path.rename(self._set_aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        # A damaged row may hold text that is not UTF-8: it costs the row, not the start.
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            if db.execute("pragma quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("integrity check failed")
            version = db.execute("pragma user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise StartError(f"store {self.path} was written by a newer ddhcp; upgrade, or name another --store")
            if version == 0:
                db.executescript(f"begin; {_SCHEMA} pragma user_version = {_SCHEMA_VERSION}; commit;")
        except BaseException:
            db.close()
            raise
        return db

    def load(self) -> Remembered:
        """Everything remembered; rows that make no sense are skipped and counted. Raises :class:`StartError`."""
        try:
            return self._load()
        except sqlite3.Error as error:
            raise StartError(
                f"store {self.path} cannot be read ({error}); move it away, or name another place with --store PATH"
            ) from None

    def _load(self) -> Remembered:
        to_boot = -wall_minus_boot()
        found = Remembered(set_aside=self._set_aside)
        for index, promised_until in self._db.execute("select block_index, promised_until from block"):
            if index >= 0 and _is_instant(promised_until):
                found.blocks.append(StoredBlock(index, promised_until + to_boot))
            else:
                found.skipped += 1
        query = "select address, identity, chaddr, state, expires_at, hostname from lease"
        for address, identity, chaddr, state, expires_at, hostname in self._db.execute(query):
            if (
                0 <= address < 1 << 32 and isinstance(identity, bytes) and identity and isinstance(chaddr, bytes)
                and len(chaddr) == 16 and state in _STATES and _is_instant(expires_at) and isinstance(hostname, bytes)
            ):  # fmt: skip
                found.leases.append(StoredLease(address, identity, chaddr, state, expires_at + to_boot, hostname))
            else:
                found.skipped += 1
        return found

    def commit(self, effects: Iterable[StoreEffect]) -> None:
        """Write a batch in one transaction with full sync."""
        to_wall = wall_minus_boot()
        db = self._db
        db.execute("begin immediate")
        try:
            for effect in effects:
                if isinstance(effect, SaveLease):
                    lease = effect.lease
                    db.execute(
                        "insert or replace into lease values (?, ?, ?, ?, ?, ?)",
                        (
                            lease.address,
                            lease.identity,
                            lease.chaddr,
                            lease.state,
                            lease.expires_at + to_wall,
                            lease.hostname,
                        ),
                    )
                elif isinstance(effect, SaveBlock):
                    row = (effect.block.index, effect.block.promised_until + to_wall)
                    db.execute("insert or replace into block values (?, ?)", row)
                elif isinstance(effect, ForgetLease):
                    db.execute("delete from lease where address = ?", (effect.address,))
                else:
                    db.execute("delete from block where block_index = ?", (effect.index,))
            db.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("rollback")
            raise

    def close(self) -> None:
        """Give the file and its lock back."""
        self._db.close()
        self._lock.close()


def key_of(effect: StoreEffect) -> tuple[str, int]:
    """What a store effect is about; of two with one key only the later counts."""
    if isinstance(effect, SaveLease):
        return "lease", effect.lease.address
    if isinstance(effect, ForgetLease):
        return "lease", effect.address
    if isinstance(effect, SaveBlock):
        return "block", effect.block.index
    assert isinstance(effect, ForgetBlock)
    return "block", effect.index


def _is_instant(value: object) -> bool:
    return isinstance(value, float) and abs(value) <= _MAX_INSTANT_S
