"""The store: what was committed is found again, whatever happens to the process, the disk, the file and the clocks."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core.effects import ForgetBlock, ForgetLease, SaveBlock, SaveLease, StoreEffect, key_of
from ddhcp.core.records import StoredBlock, StoredLease
from ddhcp.daemon import store as module
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.store import MemoryStore, SqliteStore

SOURCE = Path(__file__).resolve().parents[2] / "src"
NOW = 1000.0  # boot time when a test begins
WALL = 1_800_000_000.0  # wall-clock time then
KEPT = 0.001  # rounding when instants go through large floats, in seconds


@dataclass
class Clocks:
    """The clocks as the store sees them."""

    boot: float = NOW
    wall: float = WALL
    boot_id: str = "first boot"

    def pass_time(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds

    def reboot(self, down_s: float, wall: float | None = None) -> None:
        self.wall = self.wall + down_s if wall is None else wall
        self.boot = 5.0
        self.boot_id += "'"


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(module, "boot_time", lambda: clocks.boot)
    monkeypatch.setattr(module, "wall_minus_boot", lambda: clocks.wall - clocks.boot)
    monkeypatch.setattr(module, "boot_id", lambda: clocks.boot_id)
    return clocks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "leases.sqlite"


def lease(address: int, expires_at: float = NOW + 300, state: str = "leased", hostname: bytes = b"") -> StoredLease:
    return StoredLease(address, b"\x01" + address.to_bytes(4, "big"), bytes(16), state, expires_at, hostname)


def leave(path: Path, *effects: StoreEffect, clocks: Clocks | None = None) -> None:
    """Commit in a store of its own. With ``clocks``, the file's time of change is theirs, as on a real machine."""
    store = SqliteStore(path)
    store.commit(effects)
    store.close()
    if clocks is not None:
        os.utime(path, (clocks.wall, clocks.wall))


def remembered(path: Path) -> tuple[dict[int, StoredBlock], dict[int, StoredLease]]:
    store = SqliteStore(path)
    found = store.load()
    store.close()
    return {block.index: block for block in found.blocks}, {lease.address: lease for lease in found.leases}


# -- what is remembered ---------------------------------------------------------------------------------------


def test_what_was_committed_is_found_again(path: Path, clocks: Clocks) -> None:
    named = lease(0x0A000005, NOW + 60, "declined", b"caf\xc3\xa9 \x00")
    leave(path, SaveBlock(StoredBlock(3, NOW + 700)), SaveLease(named), SaveLease(lease(0x0A000006)), clocks=clocks)
    blocks, leases = remembered(path)
    assert blocks[3].promised_until == pytest.approx(NOW + 700, abs=KEPT)
    assert leases[0x0A000005].expires_at == pytest.approx(NOW + 60, abs=KEPT)
    assert leases[0x0A000005] == StoredLease(
        named.address, named.identity, named.chaddr, "declined", leases[0x0A000005].expires_at, named.hostname
    )
    assert sorted(leases) == [0x0A000005, 0x0A000006]


def test_a_new_store_remembers_nothing(path: Path) -> None:
    assert remembered(path) == ({}, {})


def test_nothing_is_readable_by_others(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([SaveLease(lease(1))])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.builds(lambda a, at: SaveLease(lease(a, at)), st.integers(0, 5), st.floats(0, 1e6)),
                st.builds(ForgetLease, st.integers(0, 5)),
                st.builds(lambda i, at: SaveBlock(StoredBlock(i, at)), st.integers(0, 5), st.floats(0, 1e6)),
                st.builds(ForgetBlock, st.integers(0, 5)),
            )
        ),
        max_size=4,
    )
)
def test_the_last_word_on_each_row_counts(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[StoreEffect]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    expected: dict[tuple[str, int], float] = {}
    for batch in batches:
        leave(path, *batch)
        for effect in batch:
            expected.pop(key_of(effect), None)
            if isinstance(effect, SaveLease):
                expected[key_of(effect)] = effect.lease.expires_at
            elif isinstance(effect, SaveBlock):
                expected[key_of(effect)] = effect.block.promised_until
    blocks, leases = remembered(path)
    found = {("block", index): block.promised_until for index, block in blocks.items()}
    found |= {("lease", address): lease.expires_at for address, lease in leases.items()}
    assert found == pytest.approx(expected, abs=KEPT)


def test_a_commit_is_all_or_nothing(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises((AttributeError, TypeError)):  # the latter from compiled code
        store.commit([SaveLease(lease(1)), object()])  # type: ignore[list-item]
    store.commit([SaveLease(lease(2))])
    store.close()
    assert list(remembered(path)[1]) == [2]


def test_rows_that_make_no_sense_are_skipped_and_counted(path: Path) -> None:
    """I9, CVE-2019-6474: what cannot be read back costs that row alone."""
    leave(path, SaveLease(lease(1)), SaveBlock(StoredBlock(1, NOW)))
    good = (2, b"i", bytes(16), "leased", WALL, b"", 300, WALL)
    bad = [
        (-1, *good[1:]),
        (1 << 32, *good[1:]),
        (10, "text", *good[2:]),
        (11, b"", *good[2:]),
        (12, b"i" * 5000, *good[2:]),
        (13, b"i", b"short", *good[3:]),
        (14, b"i", bytes(16), "odd", *good[4:]),
        (15, b"i", bytes(16), "leased", "soon", *good[5:]),
        (16, b"i", bytes(16), "leased", float("inf"), *good[5:]),
        (17, b"i", bytes(16), "leased", WALL, "text", *good[6:]),
        (18, b"i", bytes(16), "leased", WALL, b"h" * 5000, *good[6:]),
        (19, *good[1:6], "long", WALL),
        (20, *good[1:6], -1, WALL),
        (21, *good[1:6], 300, "later"),
        (22, *good[1:6], 300, 1e30),
    ]
    with sqlite3.connect(path) as db:
        db.executemany("insert into lease values (?, ?, ?, ?, ?, ?, ?, ?)", [good, *bad])
        db.executemany("insert into block values (?, ?)", [(-5, WALL), (6, "soon")])
    db.close()
    store = SqliteStore(path)
    found = store.load()
    store.close()
    assert [lease.address for lease in found.leases] == [1, 2]
    assert [block.index for block in found.blocks] == [1]
    assert found.skipped == len(bad) + 2


def test_without_a_store_nothing_is_remembered() -> None:
    store = MemoryStore()
    store.commit([SaveLease(lease(1))])
    assert store.load().leases == []
    assert not store.is_durable


# -- time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-1e9, -3600, 0, 3600, 1e9])
def test_a_step_of_the_wall_clock_does_not_matter_within_one_boot(path: Path, clocks: Clocks, step: float) -> None:
    """H3."""
    leave(path, SaveLease(lease(1, NOW + 300)), clocks=clocks)
    clocks.pass_time(10)
    clocks.wall += step
    assert remembered(path)[1][1].expires_at == pytest.approx(NOW + 300, abs=KEPT)


def test_time_passes_while_the_machine_is_off(path: Path, clocks: Clocks) -> None:
    leave(path, SaveLease(lease(1, NOW + 300)), SaveBlock(StoredBlock(0, NOW + 50)), clocks=clocks)
    clocks.reboot(down_s=100)
    blocks, leases = remembered(path)
    assert leases[1].expires_at == pytest.approx(clocks.boot + 200, abs=KEPT)
    assert blocks[0].promised_until == pytest.approx(clocks.boot - 50, abs=KEPT), "it ended meanwhile"


def test_a_clock_that_starts_in_1970_lets_no_time_pass(path: Path, clocks: Clocks) -> None:
    """M8."""
    leave(path, SaveLease(lease(1, NOW + 300)), clocks=clocks)
    clocks.reboot(down_s=0, wall=12.0)
    assert remembered(path)[1][1].expires_at == pytest.approx(clocks.boot + 300, abs=KEPT)


def test_what_was_written_before_the_clock_was_set_is_not_taken_for_ancient(path: Path, clocks: Clocks) -> None:
    clocks.wall = 60.0
    leave(path, SaveLease(lease(1, NOW + 300)), clocks=clocks)
    clocks.reboot(down_s=0, wall=WALL)
    assert remembered(path)[1][1].expires_at == pytest.approx(clocks.boot + 300, abs=KEPT)


@pytest.mark.parametrize("step", [-86400.0, 3600.0, 86400.0])
def test_the_file_follows_a_wall_clock_that_is_set(path: Path, clocks: Clocks, step: float) -> None:
    store = SqliteStore(path)
    prolonged = StoredLease(3, b"p", bytes(16), "leased", NOW + 300, b"", 300, NOW + 3900)
    store.commit([SaveLease(lease(1, NOW + 300)), SaveLease(prolonged), SaveBlock(StoredBlock(0, NOW + 700))])
    clocks.wall += step
    store.commit([SaveLease(lease(2, NOW + 400))])
    store.close()
    os.utime(path, (clocks.wall, clocks.wall))
    clocks.reboot(down_s=100)
    blocks, leases = remembered(path)
    assert leases[1].expires_at == pytest.approx(clocks.boot + 200, abs=KEPT)
    assert leases[2].expires_at == pytest.approx(clocks.boot + 300, abs=KEPT)
    assert blocks[0].promised_until == pytest.approx(clocks.boot + 600, abs=KEPT)
    assert leases[3].held_until == pytest.approx(clocks.boot + 3800, abs=KEPT)


def test_a_clock_not_yet_set_after_a_reboot_does_not_drag_the_file_back(path: Path, clocks: Clocks) -> None:
    leave(path, SaveLease(lease(1, NOW + 300)), clocks=clocks)
    clocks.reboot(down_s=0, wall=12.0)
    leave(path, SaveLease(lease(2, clocks.boot + 300)), clocks=clocks)
    with sqlite3.connect(path) as db:
        instants = [row[0] for row in db.execute("select expires_at from lease")]
    db.close()
    assert instants == pytest.approx([WALL + 300, WALL + 300], abs=KEPT)


def test_a_commit_that_fails_does_not_shift_time_twice(path: Path, clocks: Clocks) -> None:
    store = SqliteStore(path)
    store.commit([SaveLease(lease(1, NOW + 300))])
    clocks.wall += 3600
    with pytest.raises((AttributeError, TypeError)):
        store.commit([object()])  # type: ignore[list-item]
    store.commit([])
    store.close()
    clocks.boot_id = "unknown"  # so that the wall clock must be used
    assert remembered(path)[1][1].expires_at == pytest.approx(NOW + 300, abs=KEPT)


# -- files that are not what they should be -------------------------------------------------------------------


def scribble(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data"),
    [(0, b"garbage " * 512), (0, bytes(4096)), (4096, b"\xff" * 8192)],
    ids=["garbage", "zeros", "a torn page"],
)
def test_a_corrupt_file_is_set_aside_and_a_fresh_one_begun(path: Path, offset: int, data: bytes) -> None:
    leave(path, *(SaveLease(lease(n)) for n in range(500)))
    scribble(path, offset, data)
    damaged = path.read_bytes()
    store = SqliteStore(path)
    found = store.load()
    assert found.set_aside is not None
    assert found.set_aside.name.startswith("leases.sqlite.corrupt-")
    assert found.set_aside.read_bytes() == damaged, "not deleted, not changed"
    assert found.leases == []
    store.commit([SaveLease(lease(7))])
    store.close()
    assert list(remembered(path)[1]) == [7]


def test_several_corrupt_files_are_all_kept(path: Path, clocks: Clocks) -> None:
    for _ in range(3):
        leave(path, SaveLease(lease(1)))
        scribble(path, 0, b"garbage " * 512)
        SqliteStore(path).close()
    assert len(list(path.parent.glob("*.corrupt-*"))) == 3


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    with pytest.raises(StartError, match="passwd"):
        SqliteStore(path)
    assert path.read_text().startswith("root:x")
    assert not list(tmp_path.glob("*corrupt*"))


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("create table bookmarks (url text)")
    db.close()
    with pytest.raises(StartError, match="another program"):
        SqliteStore(path)
    with sqlite3.connect(path) as db:
        assert [row[0] for row in db.execute("select name from sqlite_schema")] == ["bookmarks"]
    db.close()


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    leave(path, SaveLease(lease(1)))
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {len(module.MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StartError, match="newer"):
        SqliteStore(path)


def test_an_older_file_is_brought_up_to_date_with_its_leases(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(path, SaveLease(lease(1)))
    more = (*module.MIGRATIONS, "create table tag (name text);", "insert into tag values ('migrated');")
    monkeypatch.setattr(module, "MIGRATIONS", more)
    for _ in range(2):  # the second time there is nothing left to do
        assert list(remembered(path)[1]) == [1]
    with sqlite3.connect(path) as db:
        assert db.execute("select name from tag").fetchall() == [("migrated",)]
    db.close()


def test_a_file_of_the_first_version_is_read_with_its_leases(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.executescript(module.MIGRATIONS[0])
        db.execute(f"pragma application_id = {module.APPLICATION_ID}")
        db.execute("pragma user_version = 1")
        db.execute("insert into clock values (1, ?, ?)", (module.boot_id(), module.wall_minus_boot()))
        wall = module.wall_minus_boot()
        db.execute("insert into lease values (1, ?, ?, 'leased', ?, ?)", (b"i", bytes(16), wall + NOW + 300, b"host"))
        db.execute("insert into block values (3, ?)", (wall + NOW + 700,))
    db.close()
    blocks, leases = remembered(path)
    assert blocks[3].promised_until == pytest.approx(NOW + 700, abs=KEPT)
    assert leases[1] == StoredLease(1, b"i", bytes(16), "leased", leases[1].expires_at, b"host")
    assert leases[1].latest_end(NOW) == pytest.approx(NOW + 300, abs=KEPT)
    leave(path, SaveLease(StoredLease(2, b"j", bytes(16), "leased", NOW + 300, b"", 300, NOW + 3900)))
    assert remembered(path)[1][2].latest_end(NOW + 900) == pytest.approx(NOW + 1200, abs=KEPT)


def test_a_second_daemon_on_one_store_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StartError, match="in use"):
        SqliteStore(path)
    store.close()
    SqliteStore(path).close()


def test_a_place_that_cannot_hold_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "s.sqlite", tmp_path):
        with pytest.raises(StartError, match="--store") as refusal:
            SqliteStore(path)
        assert "\n" not in str(refusal.value)


# -- disks that fail and come back ----------------------------------------------------------------------------


def test_a_full_disk_fails_the_commit_and_nothing_else(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "s.sqlite")
    store.commit([SaveLease(lease(1))])
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize))
    with pytest.raises(sqlite3.Error):
        store.commit([SaveLease(lease(n, hostname=bytes(64))) for n in range(2, 2000)])
    filler.unlink()
    assert store.commit([SaveLease(lease(3000))]) is False, "what was there is still there"
    store.close()
    assert sorted(remembered(small_disk / "s.sqlite")[1]) == [1, 3000]


def test_a_read_only_disk_is_refused_at_start_in_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StartError, match="ead-only"):
        SqliteStore(small_disk / "s.sqlite")


def test_a_locked_database_fails_the_commit_until_it_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 0.05)
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.commit([SaveLease(lease(1))])
    other.execute("rollback")
    other.close()
    store.commit([SaveLease(lease(2))])
    store.close()
    assert list(remembered(path)[1]) == [2]


def test_a_file_that_was_deleted_is_begun_anew_and_says_so(path: Path) -> None:
    store = SqliteStore(path)
    assert store.commit([SaveLease(lease(1))]) is False, "the file was made at start"
    for file in path.parent.glob("leases.sqlite*"):
        if not file.name.endswith(".lock"):
            file.unlink()
    assert store.commit([SaveLease(lease(2))]) is True
    assert store.commit([SaveLease(lease(3))]) is False
    store.close()
    assert list(remembered(path)[1]) == [2, 3]


def test_a_file_that_breaks_while_in_use_is_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT_S", 0.05)
    store = SqliteStore(path)
    store.commit([SaveLease(lease(1))])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(sqlite3.OperationalError):
        store.commit([])
    other.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    scribble(path, 0, b"garbage " * 512)
    with pytest.raises(OSError, match="corrupt-"):
        store.commit([SaveLease(lease(2))])
    assert store.commit([SaveLease(lease(2))]) is True
    store.close()
    assert list(remembered(path)[1]) == [2]
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1


@pytest.fixture
def small_disk(isolated: None, tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "ddhcp-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


# -- processes that are killed --------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from ddhcp.core.effects import SaveLease
from ddhcp.core.records import StoredLease
from ddhcp.daemon.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
for address in range(1, 1 << 20):
    store.commit([SaveLease(StoredLease(address, b"i", bytes(16), "leased", 1e6, b""))])
    print(address, flush=True)
"""


def test_what_was_committed_survives_a_killed_process(path: Path) -> None:
    for kills in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(10 + 7 * kills):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        leases = remembered(path)[1]
        last = acknowledged[-1] if acknowledged else 10 + 7 * kills
        assert set(range(1, last + 1)) <= set(leases), "every commit that returned"
