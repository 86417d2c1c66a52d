"""Hooks as real processes: no shell, a few at a time, none for ever, none left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddhcp.core.log_events import EVENTS as LOG_EVENTS
from ddhcp.daemon.clock import boot_time
from ddhcp.daemon.errors import StartError
from ddhcp.daemon.event_log import EventLog
from ddhcp.daemon.hooks import EVENTS, MAX_QUEUED, MAX_RUN_S, MAX_RUNNING, Hooks, parse_command
from ddhcp.daemon.logs import EventFormatter

PATIENCE_S = 30


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(EventFormatter(with_time=False))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def make_hooks(lines: Lines, tmp_path: Path) -> Iterator[Callable[[str], Hooks]]:
    """Makes hooks that run a shell script; what still runs at the end of the test is killed."""
    made: list[Hooks] = []

    def make(script: str) -> Hooks:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        made.append(Hooks([str(path)], EventLog(lines, logging.INFO)))
        return made[-1]

    yield make
    for hooks in made:
        running = list(hooks._running)
        hooks.kill_overdue(float("inf"))
        for descriptor in running:
            ended(hooks, descriptor)


def ended(hooks: Hooks, descriptor: int) -> None:
    """Wait until a hook has ended, as the loop does."""
    assert select.select([descriptor], [], [], PATIENCE_S)[0], "the hook never ended"
    hooks.reap(descriptor)


def run_all(hooks: Hooks) -> int:
    """Run everything that is queued; returns the largest number that ran at once."""
    running: list[int] = []
    most = 0
    while True:
        running += hooks.start_queued()
        most = max(most, len(running))
        if not running:
            return most
        ready, _, _ = select.select(running, [], [], PATIENCE_S)
        assert ready, "no hook ever ended"
        for descriptor in ready:
            hooks.reap(descriptor)
            running.remove(descriptor)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_arguments_reach_the_hook_as_they_are(make_hooks: Callable[[str], Hooks], tmp_path: Path) -> None:
    hooks = make_hooks(f'for argument; do printf "%s\\n" "$argument"; done > {tmp_path}/said')
    mac = f"02:00; touch {tmp_path}/harm; $(touch {tmp_path}/harm) `id` | & * 'x\""
    hooks.call(("lease", "10.0.0.5", mac, ""))
    run_all(hooks)
    assert (tmp_path / "said").read_text() == f"lease\n10.0.0.5\n{mac}\n\n"
    assert not (tmp_path / "harm").exists()


def test_a_hook_gets_none_of_the_daemons_descriptors(make_hooks: Callable[[str], Hooks], tmp_path: Path) -> None:
    hooks = make_hooks(f'for fd in 0 1 2; do ln -s "$(readlink /proc/$$/fd/$fd)" {tmp_path}/fd$fd; done')
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    hooks.call(("endlearning",))
    (descriptor,) = hooks.start_queued()
    os.close(writer)
    assert os.read(reader, 1) == b"", "the hook holds none of ours"
    os.close(reader)
    ended(hooks, descriptor)
    assert [os.readlink(tmp_path / f"fd{number}") for number in range(3)] == ["/dev/null"] * 3


def test_calls_start_in_order_and_only_so_many_run_at_once(make_hooks: Callable[[str], Hooks], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    hooks = make_hooks(f'read line < {tmp_path}/gate; echo "$1" > "{tmp_path}/$1.done"')
    for number in range(MAX_RUNNING + 3):
        hooks.call((str(number),))
    first = hooks.start_queued()
    assert len(first) == MAX_RUNNING
    assert hooks.start_queued() == []
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    os.write(gate, b"go\n" * MAX_RUNNING)
    for descriptor in first:
        ended(hooks, descriptor)
    assert {path.stem for path in tmp_path.glob("*.done")} == {str(number) for number in range(MAX_RUNNING)}
    rest = hooks.start_queued()
    assert len(rest) == 3
    os.write(gate, b"go\n" * 3)
    for descriptor in rest:
        ended(hooks, descriptor)
    os.close(gate)
    assert len(list(tmp_path.glob("*.done"))) == MAX_RUNNING + 3


def test_no_zombies_and_no_descriptors_are_left(make_hooks: Callable[[str], Hooks]) -> None:
    children_before, descriptors_before = children(), len(os.listdir("/proc/self/fd"))
    hooks = make_hooks("exit 3")
    for _ in range(3 * MAX_RUNNING):
        hooks.call(("lease",))
    assert 1 <= run_all(hooks) <= MAX_RUNNING
    assert children() == children_before
    assert len(os.listdir("/proc/self/fd")) == descriptors_before
    assert hooks.deadline() is None


def test_a_hook_that_runs_too_long_is_killed_with_its_children(
    make_hooks: Callable[[str], Hooks], lines: Lines, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    hooks = make_hooks(f"trap '' TERM HUP\nexec 3> {tmp_path}/alive\necho up >&3\nsleep 3600 &\nwait\nsleep 3600")
    before = boot_time()
    hooks.call(("lease",))
    (descriptor,) = hooks.start_queued()
    assert select.select([reader], [], [], PATIENCE_S)[0]
    assert os.read(reader, 10) == b"up\n"
    due = hooks.deadline()
    assert due is not None
    assert before + MAX_RUN_S <= due <= boot_time() + MAX_RUN_S
    hooks.kill_overdue(due - 0.001)
    assert lines.lines == []
    hooks.kill_overdue(due)
    ended(hooks, descriptor)
    with contextlib.suppress(BlockingIOError):
        assert select.select([reader], [], [], PATIENCE_S)[0]
        assert os.read(reader, 10) == b"", "whoever held the pipe is gone, the sleeping child too"
    os.close(reader)
    assert [line.split()[:2] for line in lines.lines] == [["warning", "hook-killed"]]
    assert hooks.deadline() is None


def test_a_kill_that_has_to_wait_does_not_keep_the_loop_busy(make_hooks: Callable[[str], Hooks]) -> None:
    hooks = make_hooks("sleep 3600")
    hooks.call(("lease",))
    hooks.start_queued()
    due = hooks.deadline()
    assert due is not None
    hooks.kill_overdue(due)
    later = hooks.deadline()
    assert later is not None
    assert later > due


def test_a_flood_of_calls_drops_the_oldest(make_hooks: Callable[[str], Hooks], lines: Lines, tmp_path: Path) -> None:
    hooks = make_hooks(f'echo "$1" > "{tmp_path}/$1.done"')
    for number in range(MAX_QUEUED + 2):
        hooks.call((str(number),))
    assert hooks.dropped == 2
    assert len(lines.lines) == 2
    for descriptor in hooks.start_queued():
        ended(hooks, descriptor)
    assert {int(path.stem) for path in tmp_path.glob("*.done")} == set(range(2, 2 + MAX_RUNNING))


def test_a_hook_that_vanished_is_logged_and_the_next_call_goes_on(
    make_hooks: Callable[[str], Hooks], lines: Lines, tmp_path: Path
) -> None:
    hooks = make_hooks("exit 0")
    (tmp_path / "hook").rename(tmp_path / "away")
    hooks.call(("lease",))
    assert hooks.start_queued() == []
    assert [line.split()[:2] for line in lines.lines] == [["error", "hook-failed"]]
    (tmp_path / "away").rename(tmp_path / "hook")
    hooks.call(("lease",))
    assert run_all(hooks) == 1


def test_a_command_is_split_like_a_shell_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my hook"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert parse_command("'./my hook' -x 'a b'") == [str(program), "-x", "a b"]


@pytest.mark.parametrize("text", ["", "   ", "/nowhere/hook", "'open", "/etc/passwd", "/tmp"])
def test_a_command_that_cannot_run_stops_the_start(text: str) -> None:
    with pytest.raises(StartError) as refused:
        parse_command(text)
    assert "\n" not in str(refused.value)


# -- what is told besides the classic calls --------------------------------------------------------------------


TELL = 'env | grep ^DDHCP_ | sort > "$0.env"; cat > "$0.json"; echo "$@" > "$0.arguments"'


def run_one(hooks: Hooks) -> None:
    (descriptor,) = hooks.start_queued()
    ended(hooks, descriptor)


def test_an_event_comes_with_its_values(make_hooks: Callable[[str], Hooks], tmp_path: Path) -> None:
    hooks = make_hooks(TELL)
    hooks.events = frozenset({"claim"})
    hooks.tell("blocks-claimed", {"blocks": [3, 7]})
    run_one(hooks)
    assert (tmp_path / "hook.arguments").read_text() == "claim\n"
    assert (tmp_path / "hook.env").read_text() == "DDHCP_BLOCKS=3 7\nDDHCP_EVENT=claim\nDDHCP_SEQUENCE=1\n"
    told = json.loads((tmp_path / "hook.json").read_text())
    assert (told["event"], told["log_event"], told["blocks"]) == ("claim", "blocks-claimed", [3, 7])


def test_a_classic_call_has_its_arguments_and_nothing_to_read(
    make_hooks: Callable[[str], Hooks], tmp_path: Path
) -> None:
    hooks = make_hooks(TELL)
    hooks.call(("lease", "10.0.0.5", "02:00:00:00:00:01"))
    run_one(hooks)
    assert (tmp_path / "hook.arguments").read_text() == "lease 10.0.0.5 02:00:00:00:00:01\n"
    assert (tmp_path / "hook.json").read_text() == ""
    assert "DDHCP_ADDRESS=10.0.0.5\n" in (tmp_path / "hook.env").read_text()


def test_only_what_was_asked_for_is_told(make_hooks: Callable[[str], Hooks]) -> None:
    hooks = make_hooks(TELL)
    hooks.tell("blocks-claimed", {"blocks": [3]})
    hooks.events = frozenset({"peer-up"})
    hooks.tell("blocks-claimed", {"blocks": [3]})
    hooks.tell("lease-granted", {})
    assert hooks.start_queued() == []


def test_every_event_that_a_hook_may_be_told_is_logged_under_that_name() -> None:
    assert set(EVENTS) <= {event.name for event in LOG_EVENTS}
