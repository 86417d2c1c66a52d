"""What waits for the disk and what does not: an ACK for its own row, a change of owner for everything before it."""

from __future__ import annotations

import contextlib
import logging
import select
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ddhcp.core import Node
from ddhcp.core import effects as f
from ddhcp.core import events as e
from ddhcp.core.records import StoredBlock, StoredClaim, StoredLease, StoredPeer
from ddhcp.daemon import store as store_module
from ddhcp.daemon.committer import Committer
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.performer import Performer
from ddhcp.daemon.store import SqliteStore

PATIENCE_S = 30.0
COUNTERS = ("daemon.commit_errors", "daemon.answers_withheld")


class Script:
    """Stands for the node: answers each event with the effects that the test put down for it."""

    def __init__(self) -> None:
        self.effects: list[f.Effect] = []
        self.events: list[e.Event] = []

    def handle(self, event: e.Event, now: float) -> list[f.Effect]:
        self.events.append(event)
        effects, self.effects = self.effects, []
        return effects


class Teller(logging.Handler):
    """Notes after how many sent datagrams each event was logged."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def emit(self, record: logging.LogRecord) -> None:
        self._desk.told.append(f"{record.getMessage()} after {len(self._desk.sent)}")


class Desk:
    """A performer with a store, and what it has sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.script = Script()
        self.sent: list[f.Effect] = []
        store = SqliteStore(path)
        self.committer = Committer(store)
        log = EventLog(Teller(self), logging.DEBUG)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.told: list[str] = []
        self.raised: list[Exception] = []
        self.performer = Performer(
            cast(Node, self.script), store, self.committer, log, None, self.counters, self.send, self.raised.append
        )  # fmt: skip
        self.fails = False

    def send(self, effect: f.Effect, now: float) -> None:
        if self.fails and isinstance(effect, f.SendMulticast):
            self.performer.feed(e.SendFailed(), now)
        else:
            self.sent.append(effect)

    def does(self, *effects: f.Effect) -> None:
        """One turn of the loop in which the node wants this."""
        self.script.effects = list(effects)
        self.performer.feed(e.Wake(), 0.0)
        self.performer.flush()

    def settle(self) -> None:
        """Until the disk is through with what it was given."""
        while not self.committer.is_idle:
            ready, _, _ = select.select([self.committer.fileno()], [], [], PATIENCE_S)
            assert ready, "the commit never ended"
            self.performer.on_committed(0.0)
            self.performer.flush()

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Meanwhile no commit succeeds."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as intruder:
            intruder.execute("begin immediate")
            yield
            intruder.execute("rollback")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(store_module, "_BUSY_TIMEOUT_S", 0.02)
    desk = Desk(tmp_path / "leases.sqlite")
    yield desk
    desk.committer.close()


def row(address: int) -> f.SaveLease:
    return f.SaveLease(StoredLease(address, b"i%d" % address, bytes(16), "leased", 1e6))


def ack(address: int) -> f.SendDhcp:
    return f.SendDhcp("client0", b"ack", 1, address, 68, None, durable=True, binding=address)


CLAIM = f.SendMulticast(b"claim", durable=True)


def test_an_ack_leaves_after_its_row_and_at_once_when_the_row_is_there(desk: Desk) -> None:
    desk.does(row(1), ack(1))
    assert desk.sent == []
    desk.settle()
    assert desk.sent == [ack(1)]
    desk.does(ack(1))
    assert desk.sent == [ack(1), ack(1)], "a renewal that the row covers"


def test_an_ack_of_this_turn_waits_for_the_row_of_this_turn(desk: Desk) -> None:
    desk.does(row(1), ack(1), ack(1), ack(2))
    assert desk.sent == [ack(2)], "the row of 2 is on disk already"
    desk.settle()
    assert desk.sent == [ack(2), ack(1), ack(1)]


def test_what_is_told_of_an_answer_is_told_when_it_leaves(desk: Desk) -> None:
    granted = f.Log(logging.INFO, "lease-granted", {})
    desk.does(row(1), ack(1), granted, f.Log(logging.INFO, "peer-up", {}))
    assert [line.split()[0] for line in desk.told] == ["peer-up"]
    desk.settle()
    desk.does(ack(1), granted)
    with desk.failing():
        desk.does(row(2), ack(2), granted)
        desk.settle()
    assert [line for line in desk.told if "lease-granted" in line] == ["lease-granted after 1", "lease-granted after 2"]


def test_while_the_disk_fails_covered_renewals_are_answered_and_nothing_else(desk: Desk) -> None:
    desk.does(row(1), ack(1))
    desk.settle()
    with desk.failing():
        desk.does(row(2), ack(2))
        desk.settle()
        desk.does(ack(1), ack(2), CLAIM, f.SendMulticast(b"refresh"))
        desk.settle()
        assert desk.sent == [ack(1), ack(1), f.SendMulticast(b"refresh")]
    assert desk.counters["daemon.answers_withheld"] == 3
    desk.does(row(3), ack(3), ack(2))
    desk.settle()
    assert desk.sent[3:] == [ack(3), ack(2)], "the disk is back"


def test_a_newer_row_keeps_the_ack_waiting_after_an_older_one_is_written(desk: Desk) -> None:
    desk.does(row(1))
    newer = row(1)
    desk.does(newer, ack(1))
    while desk.sent == []:
        select.select([desk.committer.fileno()], [], [], PATIENCE_S)
        desk.performer.on_committed(0.0)
        desk.performer.flush()
    with contextlib.closing(sqlite3.connect(desk.path)) as db:
        assert db.execute("select count(*) from lease").fetchone() == (1,)
    assert desk.committer.is_clean


def test_a_claim_that_was_withheld_counts_as_not_sent(desk: Desk) -> None:
    with desk.failing():
        desk.does(f.SaveBlock(StoredBlock(1, 1e6)), CLAIM)
        desk.settle()
    assert desk.sent == []
    assert [type(event) for event in desk.script.events] == [e.Wake, e.SendFailed]


def test_an_ack_that_counts_on_a_claim_which_did_not_leave_is_withheld(desk: Desk) -> None:
    """The link went away while both waited for the disk."""
    desk.fails = True
    desk.does(row(1), CLAIM, ack(1), f.Log(logging.INFO, "lease-granted", {}))
    desk.settle()
    desk.does(CLAIM, ack(1))
    assert (desk.sent, desk.told, desk.counters["daemon.answers_withheld"]) == ([], [], 2)
    desk.fails = False
    desk.does(CLAIM, ack(1))
    assert desk.sent == [CLAIM, ack(1)]


def test_a_store_that_was_begun_anew_gets_everything_before_another_ack_leaves(desk: Desk) -> None:
    desk.does(row(1), ack(1))
    desk.settle()
    desk.path.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{desk.path}{suffix}").unlink(missing_ok=True)
    known = [StoredLease(number, b"i", bytes(16), "leased", 1e6) for number in (1, 2)]
    desk.script.leases = lambda: known  # type: ignore[attr-defined]
    desk.script.claims = lambda: [StoredClaim(4, bytes(8), bytes(16), 1e6)]  # type: ignore[attr-defined]
    desk.script.peers_of_ours = lambda: [StoredPeer(bytes(16), bytes(8), 1e6)]  # type: ignore[attr-defined]
    desk.script.block_views = lambda now: []  # type: ignore[attr-defined]
    desk.does(row(2), ack(2))
    desk.settle()
    with contextlib.closing(sqlite3.connect(desk.path)) as db:
        assert db.execute("select address from lease order by address").fetchall() == [(1,), (2,)]
        assert db.execute("select block_index from claim").fetchall() == [(4,)]
        assert db.execute("select address from peer").fetchall() == [(bytes(16),)]
