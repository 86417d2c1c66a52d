"""Group commit on real database files: one that is locked, one on a full disk, one whose writer is killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddhcp.core.effects import ForgetLease, SaveBlock, SaveLease, SendMulticast
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.committer import Batch, Committer
from ddhcp.daemon.store import SqliteStore

PATIENCE_S = 30
_WRITER = """
import select, sys
from pathlib import Path
from ddhcp.core.effects import SaveBlock, SaveLease, SendMulticast
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.daemon.committer import Committer
from ddhcp.daemon.store import SqliteStore

committer = Committer(SqliteStore(Path(sys.argv[1])))
number = 0
while True:
    for _ in range(3):
        number += 1
        rows = [SaveBlock(StoredBlock(number, 1e6)), SaveLease(StoredLease(number, b"id", bytes(16), "leased", 1e6))]
        committer.put(rows, [SendMulticast(b"%d" % number, durable=True)])
    select.select([committer.fileno()], [], [])
    for batch in committer.take_done():
        assert batch.error is None, batch.error
        for effect in batch.waiting:
            print(effect.data.decode(), flush=True)
"""


def lease(address: int, hostname: bytes = b"") -> StoredLease:
    return StoredLease(address, b"\x01client", bytes(16), "leased", boot_time() + 300, hostname)


def send(number: int) -> SendMulticast:
    return SendMulticast(number.to_bytes(4, "big"), durable=True)


def until(committer: Committer, is_enough: Callable[[list[Batch]], bool]) -> list[Batch]:
    """The batches that come through until there are enough."""
    batches: list[Batch] = []
    while not is_enough(batches):
        ready, _, _ = select.select([committer.fileno()], [], [], PATIENCE_S)
        assert ready, "the commit never ended"
        batches += committer.take_done()
    return batches


def addresses(path: Path) -> set[int]:
    """The leased addresses in the file, as another process would read them."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {address for (address,) in db.execute("select address from lease")}


def sent(batches: list[Batch]) -> list[object]:
    return [effect for batch in batches if batch.error is None for effect in batch.waiting]


def test_what_may_leave_is_on_disk_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committer = Committer(SqliteStore(path))
    for number in range(1, 101):
        committer.put([SaveLease(lease(number))], [send(number)])
    released: list[object] = []
    while len(released) < 100:
        released += sent(until(committer, bool))
        assert addresses(path) >= set(range(1, len(released) + 1))
    assert released == [send(number) for number in range(1, 101)]
    assert committer.is_clean
    committer.close()


def test_a_locked_database_withholds_answers_and_the_next_commit_writes_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committer = Committer(SqliteStore(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("begin immediate")
        committer.put([SaveLease(lease(1)), SaveLease(lease(2))], [send(1)])
        failed = until(committer, bool)[0]
        assert failed.error is not None
        assert "locked" in failed.error
        assert not committer.is_clean
        intruder.execute("rollback")
    assert addresses(path) == set()
    committer.put([ForgetLease(2), SaveLease(lease(3))], [send(3)])
    assert sent(until(committer, sent_any)) == [send(3)], "a withheld answer must not leave later"
    assert addresses(path) == {1, 3}, "a kept row must not overwrite a newer one of its key"
    committer.close()


def sent_any(batches: list[Batch]) -> bool:
    return bool(sent(batches))


@pytest.fixture
def small_disk(tmp_path: Path, isolated: None) -> Iterator[Path]:
    """A file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_withholds_answers_until_there_is_room(small_disk: Path) -> None:
    path = small_disk / "leases.sqlite"
    committer = Committer(SqliteStore(path))
    committer.put([SaveLease(lease(1))], [send(1)])
    assert sent(until(committer, bool)) == [send(1)]
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    committer.put([SaveLease(lease(number, bytes(255))) for number in range(2, 200)], [send(2)])
    failed = until(committer, bool)[0]
    assert failed.error is not None
    assert addresses(path) == {1}, "a batch is written whole or not at all"
    filler.unlink()
    committer.put([SaveBlock(StoredBlock(1, boot_time()))], [send(3)])
    assert sent(until(committer, sent_any)) == [send(3)]
    assert addresses(path) == set(range(1, 200))
    committer.close()


def test_a_disk_that_stays_full_does_not_keep_the_process(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    committer = Committer(SqliteStore(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("begin immediate")
        committer.put([SaveLease(lease(1))], [send(1)])
        committer.close()
    assert addresses(path) == set()
    SqliteStore(path).close()  # the lock was given back


def test_without_the_process_that_writes_nothing_is_acknowledged_any_more(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    others = children()
    committer = Committer(SqliteStore(path))
    committer.put([SaveLease(lease(1))], [send(1)])
    assert sent(until(committer, bool)) == [send(1)]
    (writer,) = children() - others
    os.kill(writer, signal.SIGKILL)
    while not committer.failure:
        committer.put([SaveLease(lease(2))], [send(2)])
        committer.take_done()  # the kill may come after another commit
    committer.put([SaveLease(lease(3))], [send(3)])
    assert committer.take_done() == []
    assert not committer.is_clean
    committer.close()
    assert writer not in children()
    assert 3 not in addresses(path)
    SqliteStore(path).close()  # the lock was given back


def test_the_process_that_writes_ends_with_the_daemon_and_holds_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, env=environment
    ) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        (writer,) = children(daemon.pid)
        held = {os.readlink(each) for each in Path(f"/proc/{writer}/fd").iterdir()}
        assert not any("lock" in name or "pipe" in name for name in held)
        ended = os.pidfd_open(writer)
        daemon.send_signal(signal.SIGKILL)
        ready, _, _ = select.select([ended], [], [], PATIENCE_S)
        assert ready
        os.close(ended)


def children(pid: int | None = None) -> set[int]:
    """The processes that one, or this one, has started and that have not been waited for."""
    tasks = Path(f"/proc/{os.getpid() if pid is None else pid}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


@pytest.mark.parametrize("acknowledged", [1, 50, 200])
def test_whatever_was_acknowledged_survives_kill_9(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "leases.sqlite"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()  # what it had said before it died
    numbers = {int(line) for line in lines if line.endswith(b"\n")}
    assert len(numbers) >= acknowledged
    store = SqliteStore(path)
    found = store.load()
    store.close()
    assert found.set_aside is None
    assert found.skipped == 0
    blocks, leases = {block.index for block in found.blocks}, {kept.address for kept in found.leases}
    assert numbers <= leases
    assert blocks == leases, "a batch is written whole or not at all"
