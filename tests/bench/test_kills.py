"""The daemon, killed at random moments under load, loses no lease that it acknowledged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from bench.kills import Client, Tally, check

from bench import kills
from ddhcp.core.effects import SaveLease
from ddhcp.core.records import StoredLease
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.store import SqliteStore

KILLS = 20


@pytest.mark.netns
def test_no_acknowledged_lease_is_lost_in_twenty_kills(isolated: None) -> None:
    tally = kills.run(KILLS, seed=1, tell=False)
    assert tally.failures == 0, tally.summary()
    assert tally.kills == KILLS
    assert tally.acks > kills.CLIENTS
    assert tally.checked > KILLS


def test_the_check_finds_what_is_lost(tmp_path: Path) -> None:
    now = boot_time()
    clients = [Client(b"\x02\xdd\0\0\0" + bytes((number,)), 100 + number, now + 100) for number in range(5)]
    rows = [
        StoredLease(client.address, b"i", client.mac.ljust(16, b"\0"), "leased", now + 100, b"", 120, now + 100)
        for client in clients
    ]
    rows[1] = dataclasses.replace(rows[1], expires_at=now + 50, held_until=now + 50)
    rows[2] = dataclasses.replace(rows[2], state="released")
    rows[3] = dataclasses.replace(rows[3], chaddr=bytes(16))
    clients.append(Client(b"\x02\xdd\0\0\0\x09", 109, now + 100))
    path = tmp_path / "leases.sqlite"
    store = SqliteStore(path)
    store.commit([SaveLease(row) for row in rows])
    store.close()
    tally = Tally()
    check(path, {client.mac: client for client in clients}, now, tally)
    assert (tally.checked, tally.missing, tally.short, tally.failures) == (6, 3, 1, 4)
