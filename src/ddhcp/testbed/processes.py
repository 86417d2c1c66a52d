"""Finding and ending the processes that run in the test network's namespaces."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MARK = "DDHCP_TESTBED"  # in the environment of everything that the test network starts, inherited by what that starts

GRACE_S = 5.0  # a daemon may announce that it gives its blocks up; beyond that it hangs


@dataclass(frozen=True, slots=True)
class Process:
    """A running process in a namespace of the test network.

    ``ours``: started by the test network, or by something that it started.
    """

    pid: int
    command: tuple[str, ...]
    namespace: int
    environment: dict[str, str] = field(repr=False)

    @property
    def ours(self) -> bool:
        return MARK in self.environment


def _environment(raw: bytes) -> dict[str, str]:
    entries = (os.fsdecode(entry).partition("=") for entry in raw.split(b"\0") if entry)
    return {name: value for name, _, value in entries}


def in_namespaces(inodes: Iterable[int]) -> list[Process]:
    """The processes whose network namespace is one of ``inodes``, by ascending process id."""
    wanted = frozenset(inodes)
    found = []
    for entry in sorted((p for p in Path("/proc").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's and none of ours
            inode = (entry / "ns/net").stat().st_ino
            if inode in wanted:
                command = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                environment = _environment((entry / "environ").read_bytes())
                found.append(Process(int(entry.name), tuple(map(os.fsdecode, command)), inode, environment))
    return found


def terminate(processes: Iterable[Process], grace_s: float = GRACE_S) -> None:
    """End the processes: SIGTERM, and SIGKILL for those that are still there after ``grace_s`` seconds."""
    with contextlib.ExitStack() as stack:
        waiting: dict[int, Process] = {}
        poll = select.poll()
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
                waiting[fd] = process
                poll.register(fd, select.POLLIN)
                signal.pidfd_send_signal(fd, signal.SIGTERM)
        for last_resort in (False, True):
            if last_resort:
                for fd in waiting:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
            give_up_at = time.monotonic() + grace_s
            while waiting and (left_s := give_up_at - time.monotonic()) > 0:
                for fd, _ in poll.poll(left_s * 1000):
                    poll.unregister(fd)
                    del waiting[fd]
