"""Log lines: whatever a packet carried, a line stays a line; a flood of one event stays short."""

from __future__ import annotations

import json
import logging
import socket
import time
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddhcp.daemon.event_log import MAX_LINES_PER_EVENT, WINDOW_S, EventLog
from ddhcp.daemon.logs import EventFormatter, escape, make_handler

_TEXTS = st.text(st.characters(codec=None), max_size=40) | st.text('\x1b\n\r\x7f\x85\u2028\x00"\\= a', max_size=20)
_VALUES = st.one_of(_TEXTS, st.binary(max_size=40), st.integers(), st.floats(), st.booleans(), st.none())
_FIELDS = st.dictionaries(st.sampled_from(["client", "hostname", "address"]), _VALUES)


def record(fields: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("ddhcp", level, "", 0, "event-name", None, None)
    made.fields = fields
    return made


@given(_FIELDS, st.booleans(), st.booleans())
def test_no_field_value_can_break_or_colour_a_line(fields: dict[str, object], as_json: bool, with_time: bool) -> None:
    line = EventFormatter(as_json=as_json, with_time=with_time).format(record(fields))
    assert all(" " <= char <= "~" for char in line)


@given(_TEXTS | st.binary(max_size=40))
def test_an_escaped_value_is_one_word_or_quoted_and_can_be_read_back(value: str | bytes) -> None:
    text = escape(value)
    plain = value.decode("latin-1") if isinstance(value, bytes) else value
    if text.startswith('"'):
        # Two halves of a surrogate pair come back as the one character that they stand for.
        read = json.loads(text)
        assert read.encode("utf-16", "surrogatepass") == plain.encode("utf-16", "surrogatepass")
    else:
        assert text == plain
        assert not set(text) & set(' "=\\')


@given(_FIELDS)
def test_json_lines_are_objects_with_every_field(fields: dict[str, object]) -> None:
    line = json.loads(EventFormatter(as_json=True).format(record(fields, logging.WARNING)))
    assert (line["level"], line["event"]) == ("warning", "event-name")
    assert fields.keys() <= line.keys()


def test_a_field_cannot_take_the_place_of_a_json_lines_own_keys() -> None:
    fields = {"level": "debug", "event": "e", "time": 1, "traceback": "t"}
    line = json.loads(EventFormatter(as_json=True).format(record(fields, logging.WARNING)))
    assert (line["level"], line["event"]) == ("warning", "event-name")
    assert (line["level_"], line["event_"], line["time_"], line["traceback_"]) == ("debug", "e", 1, "t")


def test_json_copes_with_what_json_cannot_express() -> None:
    line = json.loads(EventFormatter(as_json=True).format(record({"options": [b"\xff", 3]})))
    assert line["options"][1] == 3


def test_the_time_of_a_json_line_is_the_same_instant_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    made = record({})
    try:
        line = json.loads(EventFormatter(as_json=True).format(made))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert line["time"].endswith("+05:45")
    assert abs(datetime.fromisoformat(line["time"]).timestamp() - made.created) < 0.001


def test_text_lines_name_level_event_and_fields() -> None:
    line = EventFormatter(with_time=False).format(record({"address": "10.0.0.5", "hostname": b"a b\n", "free": 3}))
    assert line == 'info event-name address=10.0.0.5 hostname="a b\\n" free=3'


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_cannot_forge_a_line(as_json: bool) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EventFormatter(as_json=as_json, with_time=False))
    log = EventLog(handler, logging.INFO)
    try:
        raise ValueError("bad packet \x1b[2J\ninfo lease-granted address=10.0.0.1\x85x")
    except ValueError:
        log.write(logging.ERROR, "internal-error", {}, traceback=True)
    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert "internal-error" in first
    assert "ValueError" in stream.getvalue()
    assert all(line.startswith("    ") for line in others)
    assert all(" " <= char <= "~" for line in [first, *others] for char in line)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(clock: Clock) -> tuple[EventLog, StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EventFormatter(with_time=False))
    return EventLog(handler, logging.WARNING, clock), stream


def test_a_flood_of_one_event_is_cut_and_counted(clock: Clock, written: tuple[EventLog, StringIO]) -> None:
    log, stream = written
    for number in range(MAX_LINES_PER_EVENT + 7):
        log.write(logging.WARNING, "flood", {"number": number})
    log.write(logging.WARNING, "other")
    lines = stream.getvalue().splitlines()
    assert len(lines) == MAX_LINES_PER_EVENT + 1
    assert lines[-1] == "warning other", "a flood does not silence other events"
    clock.now += WINDOW_S
    log.write(logging.WARNING, "flood")
    told = stream.getvalue().splitlines()[len(lines) :]
    assert told == ["warning lines-suppressed of=flood lines=7", "warning flood"]


def test_the_level_is_respected_and_can_change(written: tuple[EventLog, StringIO]) -> None:
    log, stream = written
    log.write(logging.INFO, "unseen")
    log.level = logging.DEBUG
    log.write(logging.DEBUG, "seen")
    assert stream.getvalue() == "debug seen\n"


def test_a_rotated_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = make_handler(file=str(path), syslog=False, as_json=True)
    log = EventLog(handler, logging.INFO)
    log.write(logging.INFO, "before")
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.write(logging.INFO, "after")
    handler.close()
    assert json.loads((tmp_path / "log.1").read_text())["event"] == "before"
    assert json.loads(path.read_text())["event"] == "after"


def test_a_full_disk_or_a_closed_terminal_stops_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = make_handler(file="/dev/full", syslog=False, as_json=False)
    EventLog(handler, logging.INFO).write(logging.INFO, "lost")
    left, right = socket.socketpair()
    with left, left.makefile("w", buffering=1) as stream:
        right.close()
        monkeypatch.setattr("sys.stderr", stream)
        console = EventLog(make_handler(file=None, syslog=False, as_json=False), logging.INFO)
        console.write(logging.INFO, "lost")
        console.write(logging.INFO, "lost")
        monkeypatch.undo()
    assert capfd.readouterr() == ("", "")


def test_a_log_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_handler(file=str(tmp_path / "missing" / "log"), syslog=False, as_json=False)
