"""The store across restarts, over bad rows and over a file that is no database; group commit over a failing disk."""

from __future__ import annotations

import select
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from ddhcp.core.effects import (
    ForgetBlock,
    ForgetClaim,
    ForgetLease,
    ForgetPeer,
    SaveBlock,
    SaveClaim,
    SaveLease,
    SavePeer,
    SendMulticast,
    StoreEffect,
)
from ddhcp.core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.committer import MAX_WAITING, Batch, Committer
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.store import Handover, MemoryStore, Remembered, SqliteStore
from ddhcp.daemon.writer import Writer, serve

PATIENCE_S = 10


def lease(address: int, state: str = "leased", seconds: float = 300.0) -> StoredLease:
    return StoredLease(address, b"\x01client", bytes(16), state, boot_time() + seconds, b"host\x00\xff")


def committed(path: Path, *effects: StoreEffect) -> None:
    store = SqliteStore(path)
    store.commit(effects)
    store.close()


def remembered(path: Path) -> Remembered:
    store = SqliteStore(path)
    try:
        return store.load()
    finally:
        store.close()


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "leases.sqlite"
    block, kept = StoredBlock(7, boot_time() + 60), lease(0x0A000005)
    committed(path, SaveBlock(StoredBlock(8, 1.0)), SaveLease(lease(0x0A000006)), SaveBlock(block), SaveLease(kept))
    committed(path, ForgetBlock(8), ForgetLease(0x0A000006))
    found = remembered(path)
    assert [(b.index, round(b.promised_until)) for b in found.blocks] == [(7, round(block.promised_until))]
    (got,) = found.leases
    assert (got.address, got.identity, got.chaddr, got.state, got.hostname) == (
        kept.address,
        kept.identity,
        kept.chaddr,
        kept.state,
        kept.hostname,
    )
    assert got.expires_at == pytest.approx(kept.expires_at, abs=1.0)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_log_of_a_new_file_does_not_grow_with_each_commit(tmp_path: Path) -> None:
    path, crashed = tmp_path / "leases.sqlite", tmp_path / "crashed.sqlite"
    log = Path(f"{path}-wal")
    store = SqliteStore(path)
    sizes = set()
    for address in range(1, 20):
        store.commit([SaveLease(lease(address))])
        sizes.add(log.stat().st_size)
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    store.close()
    assert len(sizes) == 1
    found = [each.address for each in remembered(crashed).leases]
    assert sorted(found) == list(range(1, 20)), "the zeros are the log's end, not damage"


def test_other_nodes_claims_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    claim = StoredClaim(7, b"\x01" * 8, b"\xfe" * 16, boot_time() + 60)
    committed(path, SaveClaim(claim), SaveClaim(StoredClaim(8, bytes(8), bytes(16), boot_time() + 60)))
    committed(path, ForgetClaim(8))
    with sqlite3.connect(path) as db:
        db.execute("insert into claim values (9, 'somebody', 'else', 1.0)")
    db.close()
    found = remembered(path)
    assert [(known.index, known.owner_id, known.owner) for known in found.claims] == [(7, claim.owner_id, claim.owner)]
    assert found.claims[0].closed_until == pytest.approx(claim.closed_until, abs=1.0)
    assert found.skipped == 1


def test_nodes_that_owned_nothing_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    peer = StoredPeer(b"\xfe" * 16, b"\x01" * 8, boot_time() + 60)
    committed(path, SavePeer(peer), SavePeer(StoredPeer(b"\xfd" * 16, bytes(8), boot_time() + 60)))
    committed(path, ForgetPeer(b"\xfd" * 16))
    with sqlite3.connect(path) as db:
        db.execute("insert into peer values ('somewhere', 'somebody', 1.0)")
    db.close()
    found = remembered(path)
    assert [(known.address, known.node_id) for known in found.peers] == [(peer.address, peer.node_id)]
    assert found.peers[0].known_until == pytest.approx(peer.known_until, abs=1.0)
    assert found.skipped == 1


def test_a_row_that_makes_no_sense_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committed(path, SaveLease(lease(1)), SaveLease(lease(2)))
    with sqlite3.connect(path) as db:
        db.execute("update lease set state = 'borrowed' where address = 1")
        db.execute("insert into block values (3, 'soon')")
    db.close()
    found = remembered(path)
    assert [kept.address for kept in found.leases] == [2]
    assert found.skipped == 2


def test_a_corrupt_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committed(path, SaveLease(lease(1)))
    path.write_bytes(b"this is not a database, but it is long enough to be read as one" * 99)
    before = path.read_bytes()
    found = remembered(path)
    assert found.leases == []
    assert found.set_aside is not None
    assert found.set_aside.name.startswith("leases.sqlite.corrupt-")
    assert found.set_aside.read_bytes() == before
    committed(path, SaveLease(lease(1)))
    assert len(remembered(path).leases) == 1


def test_a_second_daemon_is_kept_off(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "leases.sqlite")
    with pytest.raises(StartError, match="in use"):
        SqliteStore(tmp_path / "leases.sqlite")
    first.close()
    SqliteStore(tmp_path / "leases.sqlite").close()


def test_a_newer_schema_and_an_unusable_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committed(path)
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(StartError, match="newer"):
        SqliteStore(path)
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="--store"):
        SqliteStore(tmp_path / "file" / "leases.sqlite")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StartError, match="--store"):
        SqliteStore(tmp_path / "directory")


class ThreadedWriter(Writer):
    """Writes to an object of this process, in a thread."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        super().__init__()

    def _start(self, theirs: socket.socket, memory: int) -> None:
        self._thread = threading.Thread(target=serve, args=(theirs, memory, lambda handover: self._disk))
        self._thread.start()

    def end(self, within_s: float) -> bool:
        self._socket.close()
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()


def committing_to(disk: FakeDisk) -> Committer:
    return Committer(disk, ThreadedWriter(disk))


class FakeDisk(MemoryStore):
    """A store that blocks and fails when told to, and otherwise keeps what it is given."""

    def __init__(self) -> None:
        self.is_full = False
        self.is_new = False
        self.may_write = threading.Event()
        self.may_write.set()
        self.entered = threading.Event()
        self.commits: list[list[StoreEffect]] = []
        self.written = threading.Event()

    def hand_over(self) -> Handover:
        return "", 0.0, False

    def disconnect(self) -> None:
        """There is no file."""

    def commit(self, effects: Iterable[StoreEffect]) -> bool:
        self.entered.set()
        assert self.may_write.wait(PATIENCE_S)
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        self.commits.append(list(effects))
        self.written.set()
        return self.is_new


def finished(committer: Committer, count: int = 1) -> list[Batch]:
    """The next ``count`` batches that are through."""
    batches: list[Batch] = []
    while len(batches) < count:
        ready, _, _ = select.select([committer.fileno()], [], [], PATIENCE_S)
        assert ready, "the commit never ended"
        batches += committer.take_done()
    return batches


def send(number: int) -> SendMulticast:
    return SendMulticast(number.to_bytes(4, "big"), durable=True)


def test_what_comes_during_a_commit_shares_the_next_one() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    disk.may_write.clear()
    committer.put([ForgetBlock(0)], [send(0)])
    assert disk.entered.wait(PATIENCE_S)
    later = [SaveLease(lease(1)), ForgetLease(1), ForgetLease(2)]
    for number, row in enumerate(later, 1):
        committer.put([row], [send(number)])
    assert not committer.is_clean
    assert committer.take_done() == [], "nothing may leave before its rows are on disk"
    disk.may_write.set()
    assert [batch.waiting for batch in finished(committer, 2)] == [[send(0)], [send(1), send(2), send(3)]]
    assert disk.commits == [[ForgetBlock(0)], later[1:]], "of two rows with one key the later counts"
    committer.close()


def test_answers_are_withheld_while_the_disk_is_full_and_rows_are_kept() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    disk.is_full = True
    committer.put([ForgetLease(1)], [send(1)])
    (failed,) = finished(committer)
    assert failed.error is not None
    assert "full" in failed.error
    assert committer.is_idle
    assert not committer.is_clean, "a later answer must wait for these rows too"
    disk.is_full = False
    committer.put([], [send(2)])
    recovered = [batch for batch in finished(committer) if batch.waiting]
    while not recovered:  # the thread may have tried again by itself in between
        recovered = [batch for batch in finished(committer) if batch.waiting]
    assert [(batch.waiting, batch.error) for batch in recovered] == [([send(2)], None)]
    assert disk.commits[0] == [ForgetLease(1)]
    assert committer.is_clean
    committer.close()


def test_rows_of_a_failed_commit_are_tried_again_without_new_ones() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    disk.is_full = True
    committer.put([ForgetLease(1)], [])
    assert finished(committer)[0].error is not None
    disk.is_full = False
    assert disk.written.wait(PATIENCE_S)
    assert disk.commits == [[ForgetLease(1)]]
    committer.close()


def test_a_stalled_disk_does_not_make_the_tail_grow() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    disk.may_write.clear()
    committer.put([ForgetBlock(0)], [])
    assert disk.entered.wait(PATIENCE_S)
    for number in range(MAX_WAITING + 5):
        committer.put([ForgetLease(number % 10)], [send(number)])
    assert committer.dropped == 5
    disk.may_write.set()
    assert [len(batch.waiting) for batch in finished(committer, 2)] == [0, MAX_WAITING]
    committer.close()


def test_a_store_that_was_begun_anew_is_told() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    for is_new in (False, True, False):
        disk.is_new = is_new
        committer.put([ForgetLease(1)], [])
        assert [batch.is_first for batch in finished(committer)] == [is_new]
    committer.close()


def test_closing_writes_what_is_left() -> None:
    disk = FakeDisk()
    committer = committing_to(disk)
    committer.put([ForgetLease(1)], [])
    committer.close()
    assert disk.commits == [[ForgetLease(1)]]
