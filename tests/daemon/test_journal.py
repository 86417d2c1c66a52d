"""Lines in systemd's journal: with their fields, and with nothing raw from the network."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddhcp.daemon import journal
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.journal import JournalHandler, leads_to_journal
from ddhcp.daemon.logs import EventFormatter, make_handler


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        monkeypatch.setattr(journal, "SOCKET_PATH", str(path))
        yield listener


def written_to(journald: socket.socket) -> EventLog:
    handler = JournalHandler(str(journald.getsockname()))
    handler.setFormatter(EventFormatter(with_time=False))
    return EventLog(handler, logging.DEBUG)


def fields(datagram: bytes) -> dict[str, str]:
    """The fields of a datagram, by the journal's own rules."""
    found = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + size], rest[9 + size :]
        else:
            datagram = rest
        found[name.decode()] = value.decode()
    return found


def test_every_field_can_be_searched_for(journald: socket.socket) -> None:
    written_to(journald).write(logging.WARNING, "address-declined", {"address": "10.0.0.5", "seconds": 600})
    assert fields(journald.recv(4096)) == {
        "MESSAGE": "warning address-declined address=10.0.0.5 seconds=600", "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "ddhcp", "DDHCP_EVENT": "address-declined", "DDHCP_ADDRESS": "10.0.0.5",
        "DDHCP_SECONDS": "600",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["a\nPRIORITY=0", b"\x1b[2J\n", "\x00", "\u2028"])
def test_nothing_from_the_network_makes_a_field_or_a_control_character(
    value: str | bytes, journald: socket.socket
) -> None:
    written_to(journald).write(logging.INFO, "client-ignored", {"reason": value})
    found = fields(journald.recv(4096))
    assert set(found) == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "DDHCP_EVENT", "DDHCP_REASON"}
    assert found["PRIORITY"] == "6"
    assert all(" " <= char <= "~" for value in found.values() for char in value)


def test_a_traceback_is_one_field(journald: socket.socket) -> None:
    log = written_to(journald)
    try:
        raise ValueError("bad\nDDHCP_X=1")
    except ValueError:
        log.write(logging.ERROR, "internal-error", {"where": "x"}, traceback=True)
    found = fields(journald.recv(65536))
    assert "Traceback" in found["MESSAGE"]
    assert "DDHCP_X" not in found


def test_a_journal_that_is_away_costs_nothing_but_the_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = JournalHandler(str(tmp_path / "nobody"))
    handler.setFormatter(EventFormatter(with_time=False))
    EventLog(handler, logging.INFO).write(logging.INFO, "started", {"version": "1"})
    assert capsys.readouterr().err == "info started version=1\n"


def test_the_journal_is_used_where_standard_error_leads_there(
    journald: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        assert not isinstance(make_handler(file=None, syslog=False, as_json=False), JournalHandler)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not leads_to_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert leads_to_journal(stream)
        assert isinstance(make_handler(file=None, syslog=False, as_json=False), JournalHandler)
