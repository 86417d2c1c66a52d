"""The loop with a node that misbehaves: an exception costs one event and one log line, and never a spinning loop."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any, cast

from ddhcp.core import Node
from ddhcp.core import events as e
from ddhcp.core.effects import Effect, ForgetLease, Log, Stopped, StoreEffect
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.committer import Committer
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.logs import make_handler
from ddhcp.daemon.loop import Loop
from ddhcp.daemon.store import MemoryStore, SqliteStore
from ddhcp.daemon.writer import Writer


class FailingNode:
    """A node whose every Wake is overdue and fails, until the last one stops it."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.woken = 0

    def deadline(self) -> float | None:
        return boot_time() - 1.0 if self.woken <= self.failures else None

    def handle(self, event: e.Event, now: float) -> list[Effect]:
        if not isinstance(event, e.Wake):
            return []
        self.woken += 1
        if self.woken <= self.failures:
            raise ValueError("a bug")
        return [Log(logging.INFO, "recovered"), ForgetLease(7), Stopped()]


class RecordingStore(MemoryStore):
    is_durable = True

    def __init__(self) -> None:
        self.rows: list[StoreEffect] = []
        self.is_closed = False

    def commit(self, effects: Any) -> bool:
        self.rows += effects
        return False

    def close(self) -> None:
        self.is_closed = True


def test_a_failing_deadline_is_told_once_and_tried_again(tmp_path: Path) -> None:
    log = EventLog(make_handler(file=str(tmp_path / "log"), syslog=False, as_json=False), logging.INFO)
    node, store = FailingNode(failures=2), RecordingStore()
    loop = Loop(
        cast(Node, node), log, store, server_interface="no-such-link", client_interfaces=["no-such-link"], hooks=None
    )
    loop.run()
    text = (tmp_path / "log").read_text()
    assert node.woken == 3
    assert text.count("internal-error") == 1
    assert text.count("Traceback") == 1
    assert "ValueError: a bug" in text
    assert "recovered" in text
    assert text.count("server-link-down") == 1
    loop.close()
    assert store.rows == [ForgetLease(7)]
    assert store.is_closed


def test_a_daemon_whose_writing_process_is_killed_ends_and_says_so(tmp_path: Path) -> None:
    log = EventLog(make_handler(file=str(tmp_path / "log"), syslog=False, as_json=False), logging.INFO)
    writer = Writer()
    loop = Loop(
        cast(Node, FailingNode(failures=0)), log, SqliteStore(tmp_path / "leases.sqlite"),
        server_interface="no-such-link", client_interfaces=["no-such-link"], hooks=None, writer=writer,
    )  # fmt: skip
    os.kill(writer.pid, signal.SIGKILL)
    assert not loop.run()
    loop.close()
    assert (tmp_path / "log").read_text().count("store-process-ended") == 1


def test_nothing_is_pending_in_a_new_committer() -> None:
    committer = Committer(MemoryStore())
    assert committer.is_idle
    assert committer.is_clean
    committer.close()
