"""The durable store: an embedded SQLite database, or nothing at all.

Instants are wall-clock seconds in the file, because a restart has no other clock in common with the past, and monotonic
everywhere else (DHCP-SERVER H3). The file also says which boot wrote it and how the two clocks related then, so that a
daemon that restarts within one boot reads its instants exactly, whatever became of the wall clock meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from ..core.effects import StoreEffect
from ..core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ..values import dataclass, field
from .changes import Changes, insert_leases
from .clock import boot_id, boot_time, wall_minus_boot
from .errors import StartError
from .lease_rows import read_leases

APPLICATION_ID = 0x44444843  # "DDHC", in the file's header: tells our databases from those of others
# Each entry takes the schema one version further; its place in the list is the version that it starts from.
MIGRATIONS = (
    """
    create table block (block_index integer primary key, promised_until real not null);
    create table lease (
        address integer primary key, identity blob not null, chaddr blob not null, state text not null,
        expires_at real not null, hostname blob not null
    );
    create table clock (
        only integer primary key check (only = 1), boot_id text not null, wall_minus_boot real not null
    );
    """,
    """
    alter table lease add column granted_s integer not null default 0;
    alter table lease add column held_until real not null default 0.0;
    """,
    """
    create table claim (
        block_index integer primary key, owner_id blob not null, owner blob not null, closed_until real not null
    );
    """,
    """
    create table peer (address blob primary key, node_id blob not null, known_until real not null) without rowid;
    """,
)
EARLIEST_PLAUSIBLE_S = 1_700_000_000.0  # in 2023; before this, a wall clock has not been set since the start
MAX_CLOCK_ERROR_S = 1.0  # smaller steps of the wall clock are not followed: no lease is that exact
_BUSY_TIMEOUT_S = 2.0  # for a backup that reads the file; the lock file keeps other daemons away
_MAX_WAL_BYTES = 4 << 20
_WAL_ROOM_BYTES = 2 << 20  # made at the first commit: some hundred commits, in which thousands of clients may come
_PLENTY = 16  # times the room must be free, else none is made
_FILE_MODE = 0o600
_CORRUPTION = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SIDE_FILES = ("-wal", "-shm")
# Rows that a sound file can hold; SQLite itself would store any type anywhere. No clock goes to 1e11 seconds.
_SOUND_CLOCK = """
select boot_id, wall_minus_boot from clock
where typeof(boot_id) = 'text' and typeof(wall_minus_boot) = 'real' and abs(wall_minus_boot) < 1e11
"""
_SOUND_BLOCKS = """
select block_index, promised_until from block
where block_index between 0 and 4294967295 and typeof(promised_until) = 'real' and abs(promised_until) < 1e11
"""
_SOUND_CLAIMS = """
select block_index, owner_id, owner, closed_until from claim
where block_index between 0 and 4294967295
    and typeof(owner_id) = 'blob' and length(owner_id) = 8
    and typeof(owner) = 'blob' and length(owner) = 16
    and typeof(closed_until) = 'real' and abs(closed_until) < 1e11
"""
_SOUND_PEERS = """
select address, node_id, known_until from peer
where typeof(address) = 'blob' and length(address) = 16
    and typeof(node_id) = 'blob' and length(node_id) = 8
    and typeof(known_until) = 'real' and abs(known_until) < 1e11
"""
# What a process needs to know to write a store that another one has opened: the path, what instants in the file are
# more than boot times, and whether the file says so for this boot.
Handover = tuple[str, float, bool]
_COUNT_ROWS = """
select (select count(*) from block) + (select count(*) from lease) + (select count(*) from claim)
    + (select count(*) from peer) + (select count(*) from clock)
"""


@dataclass(slots=True)
class Remembered:
    """What the store held when it was opened. ``skipped``: rows that made no sense. ``set_aside``: where a corrupt file
    was moved to, if there was one."""

    blocks: list[StoredBlock] = field(default_factory=list)
    leases: list[StoredLease] = field(default_factory=list)
    claims: list[StoredClaim] = field(default_factory=list)
    peers: list[StoredPeer] = field(default_factory=list)
    skipped: int = 0
    set_aside: Path | None = None


class Store(Protocol):
    """Where bindings survive."""

    is_durable: bool

    def load(self) -> Remembered:
        """Everything that was remembered when the store was opened; once, before the first commit."""

    def commit(self, effects: Iterable[StoreEffect]) -> bool:
        """Write a batch, all or nothing; it is on disk when this returns. Raises sqlite3.Error or OSError.

        True means that the store had to be begun anew: what was committed earlier is lost and must be written again.
        """

    def hand_over(self) -> Handover | None:
        """Leave the file to another process, which needs to know this; None if commits are to be made here."""

    def close(self) -> None:
        """Give the file back."""


class MemoryStore:
    """No store at all: what is forgotten at exit was never promised to survive."""

    is_durable = False

    def load(self) -> Remembered:
        """Nothing."""
        return Remembered()

    def commit(self, effects: Iterable[StoreEffect]) -> bool:
        """Nothing to do."""
        return False

    def hand_over(self) -> None:
        """Nothing to leave to anybody."""

    def close(self) -> None:
        """Nothing to give back."""


class _CorruptError(Exception):
    """The file is not a sound database."""


class SqliteStore:
    """A database file that one process uses at a time. Raises :class:`StartError` when it cannot be used at all.

    A file that became corrupt is set aside under another name, never deleted, and a fresh one is begun. After a commit
    that failed the file is opened anew, so that a disk that came back is found.
    """

    is_durable = True

    def __init__(self, path: Path) -> None:
        self._lock: int | None = None
        self._set_up(path, wall_minus_boot(), is_clock_saved=False)
        self._lock, is_known = self._take_lock()
        try:
            try:
                self._open()
            except _CorruptError as error:
                if not is_known:
                    raise StartError(
                        f"store {path} is no database ({error}); name a new file with --store PATH"
                    ) from None
                self._remembered = Remembered(set_aside=self._move_aside())
                self._open()
        except (sqlite3.Error, OSError, _CorruptError) as error:
            self.close()
            raise StartError(f"store {path}: {error}; name another place with --store PATH") from None
        except StartError:
            self.close()
            raise

    def _set_up(self, path: Path, wall_minus_boot: float, *, is_clock_saved: bool) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._has_room = False
        self._remembered = Remembered()
        # Instants in the file are boot times plus this. Once the file says so for this boot, _is_clock_saved.
        self._wall_minus_boot, self._is_clock_saved = wall_minus_boot, is_clock_saved

    def hand_over(self) -> Handover:
        """Close the file and leave it to another process, which needs to know this. The lock stays here."""
        self.disconnect()
        return str(self.path), self._wall_minus_boot, self._is_clock_saved

    @classmethod
    def taken_over(cls, handover: Handover) -> SqliteStore:
        """The store that another process opened, locked and closed again. It is opened with the first commit."""
        path, wall_minus_boot, is_clock_saved = handover
        store = cls.__new__(cls)
        store._lock = None
        store._set_up(Path(path), wall_minus_boot, is_clock_saved=is_clock_saved)
        return store

    def load(self) -> Remembered:
        """What was remembered when the file was opened; rows that made no sense are counted."""
        remembered, self._remembered = self._remembered, Remembered()
        return remembered

    def commit(self, effects: Iterable[StoreEffect]) -> bool:
        """Write a batch in one transaction with full sync; True if the file had gone or was corrupt."""
        if self._db is not None and self._inode != _inode(self.path):
            self.disconnect()
        clock = self._wall_minus_boot, self._is_clock_saved
        is_new = False
        try:
            with _telling_corruption():
                if self._db is None:
                    is_new = self._connect()
                if not self._has_room:
                    self._make_room()
                self._commit(self._connection(), Changes(effects))
        except BaseException as error:
            self._wall_minus_boot, self._is_clock_saved = clock
            self.disconnect()  # rolls back
            if isinstance(error, _CorruptError):
                raise OSError(f"{error}; the file is now {self._move_aside()}") from None
            raise
        return is_new

    def close(self) -> None:
        """Give the file and its lock back."""
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)

    # --- opening --------------------------------------------------------------------------------

    def _take_lock(self) -> tuple[int, bool]:
        """The lock, and whether there was one before: then the file, whatever it holds by now, is ours."""
        path = Path(f"{self.path}.lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_known = path.exists()
            lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise StartError(
                f"store {self.path}: {error.strerror}; name another place with --store PATH, or --store memory for none"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StartError(
                f"store {self.path} is in use by another ddhcp; stop that one or name another with --store PATH"
            ) from None
        return lock, is_known

    def _open(self) -> None:
        written_at = self._written_at()
        with _telling_corruption():
            self._connect()
            db = self._connection()
            if db.execute("pragma quick_check(1)").fetchone() != ("ok",):
                raise _CorruptError("its pages contradict each other")
            self._translate_clock(db, written_at)
            self._read(db)

    def _written_at(self) -> float | None:
        """When the file was last written, by the wall clock of that moment; None if there is no file."""
        times = []
        for path in (self.path, Path(f"{self.path}-wal")):
            with contextlib.suppress(FileNotFoundError):
                times.append(path.stat().st_mtime)
        return max(times, default=None)

    def _connect(self) -> bool:
        """Open the file, with its schema brought up to date; True if it is a new one."""
        # Made here for its mode; the files that SQLite puts beside it get the same one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.execute(f"pragma journal_size_limit = {_MAX_WAL_BYTES}")
            is_new = self._migrate(db)
        except BaseException:
            db.close()
            raise
        self._db, self._inode, self._has_room = db, _inode(self.path), False
        if is_new:
            self._is_clock_saved = False
        return is_new

    def _make_room(self) -> None:
        """Lengthen the write-ahead log by zeros, which SQLite takes for its end: a sync of a file that grows waits for
        the file system's own journal as well. What is beyond grows only once: SQLite writes over what it has
        checkpointed. Not where room is scarce: a commit tells of a disk that is full."""
        self._has_room = True
        with contextlib.suppress(OSError):
            log = os.open(f"{self.path}-wal", os.O_WRONLY | os.O_CLOEXEC)
            try:
                disk, size = os.fstatvfs(log), os.fstat(log).st_size
                if disk.f_bavail * disk.f_frsize >= _PLENTY * _WAL_ROOM_BYTES and size < _WAL_ROOM_BYTES:
                    os.pwrite(log, bytes(_WAL_ROOM_BYTES - size), size)
            finally:
                os.close(log)

    def _connection(self) -> sqlite3.Connection:
        assert self._db is not None
        return self._db

    def disconnect(self) -> None:
        """Close the file, the next commit opens it again."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _move_aside(self) -> Path:
        self.disconnect()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        count = 1
        while aside.exists():
            count += 1
            aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{count}")
        self.path.rename(aside)
        for suffix in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        return aside

    def _migrate(self, db: sqlite3.Connection) -> bool:
        """Bring the schema up to date; True if there was none."""
        (version,) = db.execute("pragma user_version").fetchone()
        (application,) = db.execute("pragma application_id").fetchone()
        (objects,) = db.execute("select count(*) from sqlite_schema").fetchone()
        if application != APPLICATION_ID and (application or objects):
            raise StartError(f"store {self.path} is the database of another program; name a new file with --store PATH")
        if version > len(MIGRATIONS):
            raise StartError(
                f"store {self.path} was written by a newer ddhcp; upgrade, or name another with --store PATH"
            )
        if version == len(MIGRATIONS):
            return False
        steps = "".join(MIGRATIONS[version:])
        db.executescript(
            f"begin; {steps} pragma application_id = {APPLICATION_ID}; pragma user_version = {len(MIGRATIONS)}; commit;"
        )
        return bool(version == 0)

    # --- time -----------------------------------------------------------------------------------

    def _translate_clock(self, db: sqlite3.Connection, written_at: float | None) -> None:
        """Find out how instants in the file relate to boot time."""
        clock = db.execute(_SOUND_CLOCK).fetchone()
        this_boot = boot_id()
        if clock is not None and this_boot and clock[0] == this_boot:
            self._wall_minus_boot, self._is_clock_saved = float(clock[1]), True
            return
        self._wall_minus_boot = wall_minus_boot()
        now = boot_time() + self._wall_minus_boot
        if written_at is not None and (now < written_at or written_at < EARLIEST_PLAUSIBLE_S):
            # One of the clocks, of then or of now, was not set. Take it that no time has passed: a lease kept for too
            # long is a nuisance, one ended too early goes to two clients.
            self._wall_minus_boot += written_at - now

    def _has_clock_stepped(self) -> bool:
        """Whether the wall clock was set since the file's instants were last brought into step with it."""
        offset = wall_minus_boot()
        step = offset - self._wall_minus_boot
        return abs(step) > MAX_CLOCK_ERROR_S and boot_time() + offset >= EARLIEST_PLAUSIBLE_S

    def _follow_wall_clock(self, db: sqlite3.Connection) -> None:
        """Keep the file in step with a wall clock that was set since, and note for which boot that holds."""
        has_stepped = self._has_clock_stepped()
        if self._is_clock_saved and not has_stepped:
            return
        if has_stepped:
            step = wall_minus_boot() - self._wall_minus_boot
            db.execute("update block set promised_until = promised_until + ?", (step,))
            db.execute("update claim set closed_until = closed_until + ?", (step,))
            db.execute("update peer set known_until = known_until + ?", (step,))
            db.execute("update lease set expires_at = expires_at + ?", (step,))
            db.execute("update lease set held_until = held_until + ? where granted_s > 0", (step,))
            self._wall_minus_boot += step
        db.execute("insert or replace into clock values (1, ?, ?)", (boot_id(), self._wall_minus_boot))
        self._is_clock_saved = True

    # --- rows -----------------------------------------------------------------------------------

    def _read(self, db: sqlite3.Connection) -> None:
        to_boot = -self._wall_minus_boot
        found = Remembered(set_aside=self._remembered.set_aside)
        found.blocks = [StoredBlock(index, until + to_boot) for index, until in db.execute(_SOUND_BLOCKS)]
        found.leases = read_leases(db, to_boot)
        found.claims = [
            StoredClaim(index, owner_id, owner, until + to_boot)
            for index, owner_id, owner, until in db.execute(_SOUND_CLAIMS)
        ]
        found.peers = [
            StoredPeer(address, node_id, until + to_boot) for address, node_id, until in db.execute(_SOUND_PEERS)
        ]
        (rows,) = db.execute(_COUNT_ROWS).fetchone()
        clocks = len(db.execute(_SOUND_CLOCK).fetchall())
        sound = len(found.blocks) + len(found.leases) + len(found.claims) + len(found.peers) + clocks
        found.skipped = rows - sound
        self._remembered = found

    def _commit(self, db: sqlite3.Connection, changes: Changes) -> None:
        """Write everything in one transaction. Each statement costs this thread a wait for the interpreter; most
        batches are a few leases, and a statement by itself is a transaction."""
        if changes.are_few_leases and self._is_clock_saved and not self._has_clock_stepped():
            insert_leases(db, changes.saved_leases(), self._wall_minus_boot)
            return
        db.execute("begin immediate")
        self._follow_wall_clock(db)
        changes.write(db, self._wall_minus_boot)
        db.execute("commit")


@contextlib.contextmanager
def _telling_corruption() -> Iterator[None]:
    """Turns SQLite's two ways to say that a file is damaged into :class:`_CorruptError`."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPTION:
            raise _CorruptError(str(error)) from None
        raise


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
