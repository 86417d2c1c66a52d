"""Hooks are bounded, without a shell and leave no zombies; the log is one escaped line per event and no flood."""

from __future__ import annotations

import json
import logging
import os
import select
from pathlib import Path

import pytest

from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.event_log import MAX_LINES_PER_EVENT, EventLog
from ddhcp.daemon.hooks import MAX_QUEUED, MAX_RUN_S, MAX_RUNNING, Hooks, parse_command
from ddhcp.daemon.logs import make_handler

PATIENCE_S = 10


def file_log(path: Path, level: int = logging.INFO, *, as_json: bool = False) -> EventLog:
    return EventLog(make_handler(file=str(path), syslog=False, as_json=as_json), level)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return file_log(tmp_path / "log")


def run_all(hooks: Hooks) -> int:
    """Run until the queue is empty; how many processes ran at once at most."""
    running = hooks.start_queued()
    most = len(running)
    while running:
        ready, _, _ = select.select(running, [], [], PATIENCE_S)
        assert ready, "a hook never ended"
        for descriptor in ready:
            hooks.reap(descriptor)
            running.remove(descriptor)
        running += hooks.start_queued()
        most = max(most, len(running))
    return most


def test_arguments_reach_the_program_and_no_shell(tmp_path: Path, log: EventLog) -> None:
    hook = tmp_path / "hook"
    hook.write_text('#!/bin/sh\nprintf "%s|" "$@" > "$1"\n')
    hook.chmod(0o755)
    hooks = Hooks(parse_command(f"{hook} '{tmp_path}/out put'"), log)
    hooks.call(("lease", "10.0.0.5", "$(touch pwned); `id`"))
    run_all(hooks)
    assert (tmp_path / "out put").read_text() == f"{tmp_path}/out put|lease|10.0.0.5|$(touch pwned); `id`|"


def test_few_run_at_once_and_none_is_left_behind(log: EventLog) -> None:
    hooks = Hooks(parse_command("true"), log)
    for _ in range(MAX_RUNNING * 3):
        hooks.call(("endlearning",))
    assert run_all(hooks) == MAX_RUNNING
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_oldest_calls_are_dropped_and_counted(log: EventLog) -> None:
    hooks = Hooks(parse_command("true"), log)
    for _ in range(MAX_QUEUED + 3):
        hooks.call(("endlearning",))
    assert hooks.dropped == 3


def test_a_hook_that_hangs_is_killed(log: EventLog, tmp_path: Path) -> None:
    hooks = Hooks(parse_command("sleep"), log)
    hooks.call(("1000",))
    (descriptor,) = hooks.start_queued()
    deadline = hooks.deadline()
    assert deadline is not None
    assert deadline <= boot_time() + MAX_RUN_S
    hooks.kill_overdue(deadline)
    ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    assert ready
    hooks.reap(descriptor)
    assert hooks.deadline() is None
    assert "hook-killed" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("text", ["", "/no/such/hook", "'unbalanced", "/etc/passwd", "/tmp"])
def test_a_command_that_cannot_run_is_refused(text: str) -> None:
    with pytest.raises(StartError, match="hook"):
        parse_command(text)


def test_a_relative_command_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").touch(0o755)
    monkeypatch.chdir(tmp_path)
    assert parse_command("./hook -x") == [str(tmp_path / "hook"), "-x"]


def test_a_program_that_vanished_is_logged(tmp_path: Path, log: EventLog) -> None:
    hooks = Hooks([str(tmp_path / "gone")], log)
    hooks.call(("endlearning",))
    assert hooks.start_queued() == []
    assert "hook-failed" in (tmp_path / "log").read_text()


def test_bytes_from_the_network_stay_within_their_line(tmp_path: Path) -> None:
    evil = b'a\nb\x1b[31m\xff"= '
    file_log(tmp_path / "text").write(logging.INFO, "lease", {"name": evil, "plain": "x-1", "text": "\r\u2028"})
    text = (tmp_path / "text").read_text()
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert "\x1b" not in text
    assert "plain=x-1" in text
    file_log(tmp_path / "json", as_json=True).write(logging.WARNING, "lease", {"name": evil, "count": 3})
    (line,) = (tmp_path / "json").read_text().splitlines()
    read = json.loads(line)
    assert (read["event"], read["level"], read["count"]) == ("lease", "warning", 3)


def test_a_flood_of_one_event_hides_no_other(tmp_path: Path) -> None:
    log = file_log(tmp_path / "log")
    for _ in range(MAX_LINES_PER_EVENT * 3):
        log.write(logging.INFO, "flood")
    log.write(logging.INFO, "other")
    text = (tmp_path / "log").read_text()
    assert text.count("flood") == MAX_LINES_PER_EVENT
    assert text.count("other") == 1


def test_the_level_decides_and_may_change(tmp_path: Path) -> None:
    log = file_log(tmp_path / "log")
    log.write(logging.DEBUG, "before")
    log.level = logging.DEBUG
    log.write(logging.DEBUG, "after")
    text = (tmp_path / "log").read_text()
    assert "before" not in text
    assert "after" in text


def test_a_rotated_file_is_opened_anew_and_a_lost_one_stops_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = file_log(directory / "log")
    log.write(logging.INFO, "first")
    (directory / "log").rename(directory / "log.1")
    log.reopen()
    log.write(logging.INFO, "second")
    assert "first" in (directory / "log.1").read_text()
    assert "first" not in (directory / "log").read_text()
    directory.rename(tmp_path / "away")
    log.reopen()
    log.write(logging.INFO, "lost")
    (tmp_path / "away").rename(directory)
    log.write(logging.INFO, "third")
    assert "third" in (directory / "log").read_text()
