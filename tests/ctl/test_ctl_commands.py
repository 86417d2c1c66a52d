"""The subcommands against a control socket that answers as a daemon does, a classic one included."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctl_daemon import Daemon
from ddhcp.ctl import main as ctl
from ddhcp.ctl.protocol import ERROR_PREFIX, Command, Request
from ddhcp.ctl.text import duration, safe

CAPTURES = Path(__file__).parent.parent / "captures"
CLASSIC = {
    Command.SHOW_BLOCKS: (CAPTURES / "classic-ctl-b.txt").read_bytes(),
    Command.SHOW_OPTIONS: (CAPTURES / "classic-ctl-d.txt").read_bytes(),
    Command.STATISTICS: (CAPTURES / "classic-ctl-s.txt").read_bytes(),
}
EVIL = "\x1b[2J[bold red]x[/]\u202e<img>"
ESCAPE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")  # anything a terminal might obey, a line's end aside

STATUS: dict[str, Any] = {
    "api": 1, "version": "0.1.0", "instance": "cafe", "uptime_s": 90, "node_id": "02ddc00200000000",
    "address": "fe80::1", "health": "warning", "learning": False, "stopping": False, "server_interface": "server0",
    "problems": [{"name": "no-peers", "level": "warning", "text": "No other node was heard."}],
    "server_link": "up", "client_interfaces": ["client0"], "store": "sqlite", "promise_margin_s": 61.5,
    "pool": {"network": "10.0.0.0/20", "addresses": 4096, "block_size": 32, "blocks": 128},
    "blocks": {"free": 126, "tentative": 0, "claimed": 1, "claiming": 0, "ours": 1, "blocked": 0},
    "leases": {"leased": 1, "offered": 0, "free": 31, "remembered": 1, "waiting": 0},
    "peers": {"known": 1, "ddhcp": 0, "classic": 1}, "statistics": {"dhcp.recv_pkg": 12345, "dhcp.send_nak": 0},
}  # fmt: skip
MAP = {
    "first": 0, "end": 128, "cell_size": 1, "next": None,
    "owners": [{"address": "fe80::1", "node_id": "02ddc00200000000", "self": True},
               {"address": "fe80::2", "node_id": "02ddc00200010000", "self": False}],
    "cells": [[3, [[0, 4, 1]]], [70, [[1, 2, 1]]], [71, [[1, 1, 1]]]],
}  # fmt: skip
BLOCK = {
    "index": 3, "first": "10.0.0.96", "last": "10.0.0.127", "state": 4, "state_name": "ours",
    "owner": "02ddc00200000000", "owner_address": "fe80::1", "claim_count": 3, "offered": 0, "leased": 1,
    "timeout_s": 700,
}  # fmt: skip
LEASE = {
    "address": "10.0.0.97", "mac": "02:00:00:00:00:01", "client_id": None, "hostname": EVIL, "state": "leased",
    "expires_in_s": 260, "block": 3,
}  # fmt: skip
PEER = {
    "address": "fe80::2", "node_id": "02ddc00200010000", "kind": "classic", "heard_ago_s": 3.2, "refresh_s": 15.1,
    "refreshes": 9, "loss": 0.1,
}  # fmt: skip
DECISION = {
    "mac": "02:00:00:00:00:01", "ago_s": 75.2, "times": 3, "message": "REQUEST", "outcome": "refused",
    "reason": "in-use", "why": "somebody else holds the address", "address": "10.0.0.97",
}  # fmt: skip
EVENT = {"seq": 7, "time": 1.0, "level": "info", "event": "lease-granted", "fields": {"name": EVIL, "blocks": [1, 2]}}
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "map": MAP,
    "blocks": {
        "blocks": [BLOCK, BLOCK | {"index": 70, "state": 2, "state_name": "claimed", "leased": None}],
        "next": None,
    },
    "leases": {"leases": [LEASE], "next": None},
    "peers": {"peers": [PEER], "left_out": 0},
    "statistics": {"statistics": STATUS["statistics"]},
    "events": {"instance": "cafe", "events": [EVENT], "missed": 0, "latest": 7},
    "explain": {"address": "10.0.0.97", "because": [f"It is leased to {EVIL}."], "decisions": [DECISION]},
    "options": {"lease_time_s": 300, "options": [{"code": 6, "value": "0a000035"}, {"code": 15, "value": "6d657368"}]},
    "set-option": {"lease_time_s": 300, "options": []},
    "release": {"released": "10.0.0.97", "mac": "02:00:00:00:00:01"},
    "reservations": {
        "hosts": [{"name": EVIL, "address": None, "macs": ["02:00:00:00:00:01"], "deny": False}],
        "held": [],
    },
    "reserve": {"held": ["10.0.0.5"]},
    "unreserve": {"held": []},
    "drain": {"draining": True, "blocks": 4, "takers": 0},
    "reload": {"applied": ["log.level"], "needs_restart": ["store.path"]},
}


def modern(request: Request) -> bytes:
    return json.dumps(ANSWERS[str(request.arguments["command"])]).encode()


def classic(request: Request) -> bytes:
    return CLASSIC.get(request.command, b"")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "ctl", modern)
    yield daemon
    daemon.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = ctl.main(["-C", str(daemon.path), *arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


COMMANDS = [
    ["status"], ["blocks"], ["blocks", "--map"], ["blocks", "--ours"], ["leases"], ["leases", "x"], ["peers"],
    ["stats"],
    ["events"], ["explain", "10.0.0.97"], ["top", "--once"], ["options"], ["options", "set", "6:4:1.2.3.4"],
    ["reserve"], ["reserve", "10.0.0.5"], ["reserve", "--remove", "10.0.0.5"],
    ["release", "10.0.0.97"], ["drain"], ["reload"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_shows_its_answer_in_80_plain_columns(run: Run, arguments: list[str]) -> None:
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert out.strip()
    assert not ESCAPE.search(out)
    if arguments != ["events"]:  # whose lines are left whole
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [a for a in COMMANDS if a[0] != "top"], ids=" ".join)
def test_every_command_has_json(run: Run, arguments: list[str]) -> None:
    status, out, err = run(*arguments, "--json")
    assert (status, err) == (0, "")
    assert isinstance(json.loads(out), dict)


def test_what_a_client_calls_itself_stays_text(run: Run) -> None:
    _, out, _ = run("leases")
    assert "\\x1b[2J[bold" in "".join(out.split())
    assert "<img>" in "".join(out.split())


def test_the_map_has_a_sign_for_every_owner(run: Run) -> None:
    _, out, _ = run("blocks", "--map")
    first, second = out.splitlines()[:2]
    assert first.split() == ["10.0.0.0", "···#" + "·" * 60]
    assert second.split() == ["10.0.8.0", "·" * 6 + "a?" + "·" * 56]
    assert "# fe80::1 (this node)" in out
    assert "a fe80::2" in out


def test_status_says_what_is_wrong(run: Run) -> None:
    _, out, _ = run("status")
    assert "warning: No other node was heard." in out
    assert "128 blocks of 32" in out


def test_lists_are_asked_page_by_page(run: Run, daemon: Daemon) -> None:
    pages = {None: (["10.0.0.97"], "10.0.0.98"), "10.0.0.98": ([], "10.0.1.0"), "10.0.1.0": (["10.0.1.5"], None)}

    def answer(request: Request) -> bytes:
        addresses, following = pages[request.arguments.get("after")]  # type: ignore[index]
        return json.dumps({"leases": [LEASE | {"address": a} for a in addresses], "next": following}).encode()

    daemon.answer = answer
    _, out, _ = run("leases", "--json")
    assert [row["address"] for row in json.loads(out)["leases"]] == ["10.0.0.97", "10.0.1.5"]
    status, out, err = run("leases", "--limit", "1")
    assert (status, out.count("leased")) == (0, 1)
    assert "--limit 0" in err


def test_following_events_goes_on_after_a_restart(run: Run, daemon: Daemon) -> None:
    after: list[object] = []

    def answer(request: Request) -> bytes:
        after.append(request.arguments.get("after"))
        match len(after):
            case 1:
                return modern(request)
            case 2 | 3:  # another start: it counts from 1 again
                events = [EVENT | {"seq": 1, "event": "started"}] if len(after) == 3 else []
                return json.dumps({"instance": "beef", "events": events, "missed": 0, "latest": 1}).encode()
            case _:
                raise_interrupt.set()
                return ERROR_PREFIX + b"stopping\n"

    raise_interrupt = threading.Event()
    daemon.answer = answer
    monkey = pytest.MonkeyPatch()

    def sleep(seconds: float) -> None:
        if raise_interrupt.is_set():
            raise KeyboardInterrupt

    monkey.setattr("ddhcp.ctl.commands.time.sleep", sleep)
    try:
        status, out, err = run("events", "--follow")
    finally:
        monkey.undo()
    assert status == 130
    assert [line.split()[2] for line in out.splitlines()] == ["lease-granted", "started"]
    assert "restarted" in err
    assert after[:4] == [None, 7, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status"], "8192 blocks of 4"),
        (["blocks"], "this node"),
        (["stats"], "dhcp."),
        (["peers"], "owners of blocks only"),
        (["options"], "Leases last"),
        (["explain", "10.0.255.255"], "classic daemon tells no more"),
        (["options", "set", "6:4:1.2.3.4"], "Leases last"),
    ],
)
def test_a_classic_daemon_answers_as_far_as_it_can(run: Run, daemon: Daemon, arguments: list[str], words: str) -> None:
    daemon.answer = classic
    if arguments[0] == "explain":
        _, out, _ = run("blocks", "--json")
        arguments = ["explain", next(row["last"] for row in json.loads(out)["blocks"])]
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    assert words in out


def test_explain_shows_what_was_decided_before(run: Run) -> None:
    _, out, _ = run("explain", "10.0.0.97")
    for word in ("1m 15s", "02:00:00:00:00:01", "REQUEST", "refused", "(3 times)", "somebody else holds the address"):
        assert word in " ".join(out.split()), word


def test_draining_a_node_that_is_alone_says_that_nobody_takes_its_blocks(run: Run) -> None:
    assert "No other ddhcp node is known" in run("drain")[1]


@pytest.mark.parametrize("arguments", [["leases"], ["events"], ["drain"], ["reload"], ["release", "10.0.0.5"], ["top"]])
def test_what_a_classic_daemon_cannot_tell_is_said(run: Run, daemon: Daemon, arguments: list[str]) -> None:
    daemon.answer = classic
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "classic daemon" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["leases", "--limit", "many"], "whole number"),
        (["options", "set"], "which option"),
        (["reserve", "--remove"], "which address"),
        (["options", "set", "6"], "CODE:LEN"),
        (["options", "sot", "6"], "invalid choice"),
        (["explain"], "required"),
        (["nonsense"], "invalid choice"),
        (["top", "--interval", "0"], "number of seconds"),
        (["-b", "status"], "exclude each other"),
        (["top"], "terminal"),
        (["top", "--json"], "status --json"),
    ],
)
def test_wrong_command_lines_are_one_line_and_status_2(run: Run, arguments: list[str], words: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"gibberish", b'{"blocks": 5, "pool": []}', b'"x"'])
@pytest.mark.parametrize("command", ["status", "blocks", "peers", "stats"])
def test_an_answer_of_another_shape_is_told_in_one_line(run: Run, daemon: Daemon, command: str, answer: bytes) -> None:
    daemon.answer = lambda request: answer
    status, out, err = run(command)
    assert (status, out) == (2, "")
    assert err.startswith("ddhcpctl: ")
    assert err.count("\n") == 1


def test_a_refusal_is_shown_without_what_a_terminal_would_obey(run: Run, daemon: Daemon) -> None:
    daemon.answer = lambda request: ERROR_PREFIX + EVIL.encode() + b"\n"
    status, out, err = run("release", "10.0.0.5")
    assert (status, out) == (2, "")
    assert not ESCAPE.search(err)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0, "0s"), (59.6, "1m 00s"), (260, "4m 20s"), (7500, "2h 05m"), (90000, "1d 01h"), (-61, "-1m 01s")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_nothing_unprintable_passes() -> None:
    assert safe("a\x1b\n\x9b\u202e\u200bü€") == "a\\x1b\\n\\x9b\\u202e\\u200bü€"


def test_top_fills_a_terminal_until_q(daemon: Daemon) -> None:
    main_end, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        command = [sys.executable, "-m", "ddhcp.ctl.main", "-C", str(daemon.path), "top", "--interval", "0.1"]
        environment = os.environ | {"TERM": "xterm"}
        process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
        seen = b""
        while seen.count(b"lease-granted") < 2:  # drawn, and drawn again
            seen += os.read(main_end, 65536)
        os.write(main_end, b"q")
        assert process.wait(30) == 0
    finally:
        os.close(terminal)
        os.close(main_end)
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).decode()
    assert "q quits" in text
    assert "per s" in text
    assert "no-peers" not in text
    assert "No other node was heard." in text
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", text)  # of what clients call themselves
