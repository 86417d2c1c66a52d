"""Every record survives the file, whatever it holds, and so does the file itself, whatever was written into it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddhcp.core.effects import (
    ForgetBlock,
    ForgetClaim,
    ForgetLease,
    ForgetPeer,
    SaveBlock,
    SaveClaim,
    SaveLease,
    SavePeer,
    StoreEffect,
    key_of,
)
from ddhcp.core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ddhcp.daemon import store as store_module
from ddhcp.daemon.changes import pack, unpack
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.store import SqliteStore

_INSTANTS_S = st.floats(-1e9, 1e9)
_LEASES = st.builds(
    StoredLease,
    address=st.integers(0, 2**32 - 1),
    identity=st.binary(min_size=1, max_size=300),
    chaddr=st.binary(min_size=16, max_size=16),
    state=st.sampled_from(["leased", "released", "expired", "declined"]),
    expires_at=_INSTANTS_S,
    hostname=st.binary(max_size=255),
)
_BLOCKS = st.builds(StoredBlock, index=st.integers(0, 2**24), promised_until=_INSTANTS_S)
_CLAIMS = st.builds(
    StoredClaim,
    index=st.integers(0, 2**24),
    owner_id=st.binary(min_size=8, max_size=8),
    owner=st.binary(min_size=16, max_size=16),
    closed_until=_INSTANTS_S,
)
_PEERS = st.builds(
    StoredPeer,
    address=st.binary(min_size=16, max_size=16),
    node_id=st.binary(min_size=8, max_size=8),
    known_until=_INSTANTS_S,
)
_EFFECTS = (
    st.builds(SaveLease, _LEASES)
    | st.builds(SaveBlock, _BLOCKS)
    | st.builds(SaveClaim, _CLAIMS)
    | st.builds(SavePeer, _PEERS)
    | st.builds(ForgetLease, st.integers(0, 2**32 - 1))
    | st.builds(ForgetBlock, st.integers(0, 2**24))
    | st.builds(ForgetClaim, st.integers(0, 2**24))
    | st.builds(ForgetPeer, st.binary(min_size=16, max_size=16))
)


@given(st.lists(_EFFECTS, max_size=8, unique_by=key_of))
def test_a_batch_gets_to_the_process_that_writes_as_it_is(effects: list[StoreEffect]) -> None:
    assert sorted(unpack(pack(effects)), key=key_of) == sorted(effects, key=key_of)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(_LEASES, max_size=5, unique_by=lambda lease: lease.address),
    st.lists(_BLOCKS, max_size=5, unique_by=lambda block: block.index),
)
def test_every_record_comes_back(leases: list[StoredLease], blocks: list[StoredBlock]) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as clock:
        clock.setattr(store_module, "wall_minus_boot", lambda: 0.0)
        path = Path(directory) / "leases.sqlite"
        store = SqliteStore(path)
        store.commit([*map(SaveLease, leases), *map(SaveBlock, blocks)])
        store.close()
        store = SqliteStore(path)
        found = store.load()
        store.close()
    assert found.skipped == 0
    assert sorted(found.leases, key=lambda lease: lease.address) == sorted(leases, key=lambda lease: lease.address)
    assert sorted(found.blocks, key=lambda block: block.index) == sorted(blocks, key=lambda block: block.index)


def test_instants_are_wall_clock_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "leases.sqlite"
    monkeypatch.setattr(store_module, "wall_minus_boot", lambda: 1_700_000_000.0)  # a machine up for 500 s
    store = SqliteStore(path)
    store.commit([SaveBlock(StoredBlock(1, 560.0)), SaveLease(StoredLease(9, b"id", bytes(16), "leased", 800.0, b""))])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("select promised_until from block").fetchall() == [(1_700_000_560.0,)]
        assert db.execute("select expires_at from lease").fetchall() == [(1_700_000_800.0,)]
    os.utime(path, (1_700_000_500.0, 1_700_000_500.0))
    monkeypatch.setattr(store_module, "boot_id", lambda: "another boot")
    monkeypatch.setattr(store_module, "wall_minus_boot", lambda: 1_700_000_550.0)  # 100 s later, up for 50 s
    store = SqliteStore(path)
    found = store.load()
    store.close()
    assert found.blocks == [StoredBlock(1, 10.0)]
    assert [lease.expires_at for lease in found.leases] == [250.0]


@pytest.mark.parametrize(
    "damage",
    [
        "update lease set identity = x''",
        "update lease set identity = 'text'",
        "update lease set chaddr = x'0102'",
        "update lease set state = 'borrowed'",
        "update lease set state = 7",
        "update lease set state = cast(x'fffe' as text)",
        "update lease set hostname = 'text'",
        "update lease set hostname = cast(x'fffe' as text)",
        "update lease set expires_at = 'soon'",
        "update lease set expires_at = 9e999",
        "update lease set expires_at = -9e999",
        "update lease set address = -1",
        "update lease set address = 4294967296",
        "update block set promised_until = x'00'",
        "update block set promised_until = 9e999",
        "update block set block_index = -1",
    ],
)
def test_a_damaged_row_is_skipped_and_the_others_are_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "leases.sqlite"
    store = SqliteStore(path)
    store.commit(
        [SaveBlock(StoredBlock(index, 1.0)) for index in (1, 2)]
        + [SaveLease(StoredLease(address, b"id", bytes(16), "leased", 1.0, b"h")) for address in (1, 2)]
    )
    store.close()
    key = "address" if "lease" in damage else "block_index"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"{damage} where {key} = 1")
    store = SqliteStore(path)
    found = store.load()
    store.close()
    assert found.skipped == 1
    assert 2 in {lease.address for lease in found.leases}
    assert 2 in {block.index for block in found.blocks}
    assert len(found.leases) + len(found.blocks) == 3


@pytest.mark.parametrize("value", ["'x'", "x'00ff'", "9e999", "1e300", "-1e300"])
def test_a_damaged_clock_row_costs_no_lease(tmp_path: Path, value: str) -> None:
    """It is as after a restart of the machine, when the row is of another boot."""
    path = tmp_path / "leases.sqlite"
    until = store_module.boot_time() + 300
    store = SqliteStore(path)
    store.commit([SaveLease(StoredLease(1, b"id", bytes(16), "leased", until, b"h"))])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"update clock set wall_minus_boot = {value}")
    store = SqliteStore(path)
    found = store.load()
    assert (found.skipped, [round(lease.expires_at - until) for lease in found.leases]) == (1, [0])
    store.commit([SaveBlock(StoredBlock(1, until))])
    store.close()
    assert SqliteStore(path).load().skipped == 0, "it is written anew"


def test_a_file_with_a_torn_page_is_set_aside_whole(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    store = SqliteStore(path)
    store.commit(SaveLease(StoredLease(n, b"id", bytes(16), "leased", 1.0, bytes(200))) for n in range(500))
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\xa5" * 4096
    path.write_bytes(data)
    store = SqliteStore(path)
    found = store.load()
    store.close()
    assert found.leases == []
    assert found.set_aside is not None
    assert found.set_aside.read_bytes() == data


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("create table block (title text)")
    with pytest.raises(StartError, match="--store"):
        SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("block",)]


def test_a_refused_file_is_not_kept_locked(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    SqliteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"pragma user_version = {len(store_module.MIGRATIONS) + 1}")
    with pytest.raises(StartError, match="newer") as refused:
        SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"pragma user_version = {len(store_module.MIGRATIONS)}")
    SqliteStore(path).close()
    assert "\n" not in str(refused.value)


def test_a_store_held_by_another_process_is_refused_until_that_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "leases.sqlite"
    script = (
        "import sys, pathlib; from ddhcp.daemon.store import SqliteStore; "
        "s = SqliteStore(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    source = Path(store_module.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(source)},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StartError, match="in use"):
            SqliteStore(path)
        other.kill()
    SqliteStore(path).close()
