"""Finding and ending the processes that run in the test network's namespaces."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

MARK = "DDHCP_TESTBED"  # in the environment of everything that the test network starts, inherited by what that starts
MOUNT_MARK = "ddhcp-testbed"  # source of a mount in the mount namespaces that the test network makes for its programs

GRACE_S = 5.0  # a daemon may announce that it gives its blocks up; beyond that it hangs


@dataclass(frozen=True, slots=True)
class Process:
    """A running process in a namespace of the test network.

    ``ours``: started by the test network, or by something that it started (unlike what a user runs there by
    ``ip netns exec``).
    ``namespace``: the inode of its network namespace.
    """

    pid: int
    command: tuple[str, ...]
    namespace: int
    ours: bool


def _has_mark(entry: Path) -> bool:
    environment = (entry / "environ").read_bytes().split(b"\0")
    if any(variable.startswith(f"{MARK}=".encode()) for variable in environment):
        return True
    return f" - tmpfs {MOUNT_MARK} " in (entry / "mountinfo").read_text()


def in_namespaces(inodes: Iterable[int]) -> list[Process]:
    """The processes whose network namespace is one of ``inodes``, by ascending process id."""
    wanted = frozenset(inodes)
    found: list[tuple[Process, int]] = []
    marked_mounts: set[int] = set()
    for entry in sorted((p for p in Path("/proc").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's and none of ours
            inode = (entry / "ns/net").stat().st_ino
            if inode in wanted:
                mounts = (entry / "ns/mnt").stat().st_ino
                command = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                process = Process(int(entry.name), tuple(map(os.fsdecode, command)), inode, _has_mark(entry))
                found.append((process, mounts))
                if process.ours and mounts != _own_mounts():
                    marked_mounts.add(mounts)
    # dhcpcd writes its title over its environment and hides in an empty root, so it is told by its company: whoever
    # shares a mount namespace that we made is ours.
    return [replace(p, ours=p.ours or mounts in marked_mounts) for p, mounts in found]


def _own_mounts() -> int:
    return Path("/proc/self/ns/mnt").stat().st_ino


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
