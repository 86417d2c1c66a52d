"""The real daemon on disks that fill up, become read-only, are locked or damaged: nobody is acknowledged what is not on
disk, what can be served is, and when the disk is back so is everything, without a restart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.kills import Load, Tally, check, daemon
from bench.network import CLIENT_INTERFACE, namespaces

from ddhcp.ctl.answers import parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import Command, Request
from ddhcp.daemon.clock import boot_time
from ddhcp.testbed import kernel
from ddhcp.testbed.waiting import wait_until

pytestmark = pytest.mark.netns

PATIENCE_S = 20.0
KNOWN, NEW = 30, 30
FAILING_S = 1.5  # how long clients try while the disk fails
_SHARED_AT, _SHARED_SIZE = 0x40000002, 510  # the bytes of a database that SQLite's readers lock


@dataclass
class Site:
    """A daemon with its files on a small disk, and two groups of clients: one with leases, one without."""

    disk: Path
    log: Path
    known: Load
    new: Load
    tally: Tally

    def statistics(self) -> dict[str, int]:
        found = parse_statistics(b"".join(ask(self.disk / "ctl", Request(Command.STATISTICS))).decode())
        return {name: value for name, value in found.items() if isinstance(value, int)}

    def logged(self, event: str) -> bool:
        return f" {event} " in self.log.read_text()

    def serve_known(self) -> int:
        """How many acknowledgements the clients with leases get in a while."""
        before = self.tally.acks
        self.known.run(boot_time() + FAILING_S)
        return self.tally.acks - before

    def holders(self) -> int:
        """How many of the new clients have a lease."""
        return sum(client.address != 0 for client in self.new.clients.values())

    def nothing_is_missing(self) -> bool:
        """Whether the database has every lease that a client holds."""
        check(self.disk / "leases.sqlite", self.known.clients | self.new.clients, boot_time(), self.tally)
        return self.tally.failures == 0


def addresses(path: Path) -> int:
    """How many leases run, as another program reads it from the file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("select count(*) from lease where state = 'leased'").fetchone()[0])


@pytest.fixture
def disk(tmp_path: Path, isolated: None) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=768k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def site(disk: Path, tmp_path: Path) -> Iterator[Site]:
    tally = Tally()
    with namespaces() as names:
        with kernel.entered(Path("/run/netns") / names.clients):
            known = Load(CLIENT_INTERFACE, random.Random(1), tally, count=KNOWN, release_share=0)
            new = Load(CLIENT_INTERFACE, random.Random(2), tally, first=1000, count=NEW)
        (disk / "log").symlink_to(tmp_path / "log")  # whose loss is another matter
        with daemon(names.server, disk, "-L", "-s", str(KNOWN + NEW + 20)):
            assert known.serve_all(PATIENCE_S)
            yield Site(disk, tmp_path / "log", known, new, tally)


def fill(disk: Path) -> Path:
    """Leave no room on the disk."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def while_it_fails(site: Site) -> None:
    """New clients are not acknowledged, those with leases are, and the operator is told."""
    site.new.run(boot_time() + FAILING_S)
    assert site.holders() == 0
    assert site.logged("store-failed")
    statistics = site.statistics()
    assert statistics["daemon.commit_errors"] > 0
    assert statistics["daemon.answers_withheld"] > 0
    assert site.serve_known() > 0, "renewals that the file covers go on"
    assert site.nothing_is_missing()


def when_it_is_back(site: Site) -> None:
    """Everybody is served, by the same process."""
    assert site.new.serve_all(PATIENCE_S * 2)
    assert site.logged("store-recovered")
    assert not site.logged("internal-error")
    assert site.nothing_is_missing()


@pytest.fixture
def reader(site: Site) -> Iterator[None]:
    """The lock of another program that has the database open, so that its write-ahead log, which takes most of the
    disk, is not deleted when the daemon opens it anew: there would be room again."""
    with open(site.disk / "leases.sqlite", "rb") as database:
        fcntl.lockf(database, fcntl.LOCK_SH | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_AT)
        yield


@pytest.mark.usefixtures("reader")
def test_a_full_disk(site: Site) -> None:
    filler = fill(site.disk)
    while_it_fails(site)
    filler.unlink()
    when_it_is_back(site)


@pytest.mark.usefixtures("reader")
def test_a_disk_that_becomes_read_only(site: Site) -> None:
    filler = fill(site.disk)
    while_it_fails(site)
    remount = ["mount", "-o", "remount,ro", str(site.disk)]
    wait_until(lambda: subprocess.run(remount, capture_output=True).returncode == 0, PATIENCE_S, "a read-only disk")
    while_it_fails(site)
    subprocess.run(["mount", "-o", "remount,rw", str(site.disk)], check=True)
    filler.unlink()
    when_it_is_back(site)


def test_a_locked_database(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.disk / "leases.sqlite", isolation_level=None)) as intruder:
        intruder.execute("begin immediate")
        give_up_at = boot_time() + PATIENCE_S
        while not site.logged("store-failed") and boot_time() < give_up_at:
            site.new.run(boot_time() + 0.2)
        while_it_fails(site)
        intruder.execute("rollback")
    when_it_is_back(site)


def delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def replace(path: Path) -> None:
    """Put something else in the database's place, as a bad restore from a backup does."""
    delete(path)
    path.write_bytes(os.urandom(50_000))


@pytest.mark.parametrize("harm", [delete, replace])
def test_a_database_that_is_lost_while_the_daemon_runs_is_written_anew(
    site: Site, harm: Callable[[Path], None]
) -> None:
    path = site.disk / "leases.sqlite"
    harm(path)
    assert site.new.serve_all(PATIENCE_S * 2)
    assert site.logged("store-begun-anew")
    wait_until(lambda: addresses(path) >= KNOWN // 2 + NEW // 2, PATIENCE_S, "all leases in the new file")
    site.tally.set_aside = 0
    assert site.nothing_is_missing()


def test_a_database_found_damaged_at_the_start_is_set_aside(disk: Path, tmp_path: Path) -> None:
    tally = Tally()
    with namespaces() as names:
        with kernel.entered(Path("/run/netns") / names.clients):
            load = Load(CLIENT_INTERFACE, random.Random(1), tally, count=KNOWN, release_share=0)
        with daemon(names.server, disk, "-L", "-s", "40"):
            assert load.serve_all(PATIENCE_S)
        replace(disk / "leases.sqlite")
        damaged = (disk / "leases.sqlite").read_bytes()
        with daemon(names.server, disk, "-L", "-s", "40"):
            wait_until(lambda: is_up(disk / "ctl"), PATIENCE_S, "the daemon")
            assert "store-corrupt" in (disk / "log").read_text()
            (aside,) = disk.glob("leases.sqlite.corrupt-*")
            assert aside.read_bytes() == damaged, "kept as it was"
            served_before = load.answered_at
            load.run(boot_time() + PATIENCE_S, until_answered=True)
            assert load.answered_at > served_before, "clients are served from a fresh database"


def is_up(path: Path) -> bool:
    try:
        return bool(list(ask(path, Request(Command.STATISTICS))))
    except CtlError:
        return False
