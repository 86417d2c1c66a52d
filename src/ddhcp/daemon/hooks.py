"""The hook command: run without a shell, beside the daemon, bounded in number and time."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
from collections import deque

from .clock import boot_time
from .errors import StartError
from .logs import EventLog

MAX_RUNNING = 8  # hooks at once
MAX_QUEUED = 1024  # calls that wait their turn; beyond that the oldest is dropped
MAX_RUN_S = 30.0  # a hook that runs longer is killed


def parse_command(text: str) -> list[str]:
    """The hook command as an argument vector. Raises :class:`StartError` unless its program can be executed."""
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise StartError(f"hook command {text!r}: {error}; check its quotes") from None
    program = shutil.which(command[0]) if command else None
    if program is None:
        name = command[0] if command else text
        raise StartError(f"hook command {name!r} is not an executable file; give its full path and check its mode")
    return [os.path.abspath(program), *command[1:]]  # the daemon changes its directory


class Hooks:
    """Runs ``command`` with each call's arguments, in the order of the calls; nothing while it is None."""

    def __init__(self, command: list[str] | None, log: EventLog) -> None:
        self.command = command
        self._log = log
        self._queue: deque[tuple[str, ...]] = deque()
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self.dropped = 0

    def call(self, arguments: tuple[str, ...]) -> None:
        """Have the hook run; returns at once."""
        if self.command is None:
            return
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self.dropped += 1
            self._log.write(logging.WARNING, "hook-dropped", {"dropped": self.dropped})
        self._queue.append(arguments)

    def start_queued(self) -> list[int]:
        """Start what may run now; returns process descriptors to poll, one for each process started."""
        started: list[int] = []
        if self.command is None:
            self._queue.clear()
            return started
        while self._queue and len(self._running) < MAX_RUNNING:
            arguments = self._queue.popleft()
            try:
                process = subprocess.Popen(
                    [*self.command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, start_new_session=True, close_fds=True,
                )  # fmt: skip
            except OSError as error:
                self._log.write(logging.ERROR, "hook-failed", {"command": self.command[0], "error": error.strerror})
                continue
            try:
                descriptor = os.pidfd_open(process.pid)
            except OSError as error:  # out of descriptors: without one it could neither be watched nor reaped
                process.kill()
                process.wait()
                self._log.write(logging.ERROR, "hook-failed", {"command": self.command[0], "error": error.strerror})
                continue
            self._running[descriptor] = (process, boot_time() + MAX_RUN_S)
            started.append(descriptor)
        return started

    def reap(self, descriptor: int) -> None:
        """The process behind a descriptor has ended."""
        process, _ = self._running.pop(descriptor)
        process.wait()
        os.close(descriptor)

    def deadline(self) -> float | None:
        """When the next running hook has to be killed, on the boot clock."""
        return min((until for _, until in self._running.values()), default=None)

    def kill_overdue(self, now: float) -> None:
        """Kill hooks that ran too long; they are reaped when they end."""
        for descriptor, (process, until) in self._running.items():
            if until <= now:
                self._log.write(logging.WARNING, "hook-killed", {"pid": process.pid, "seconds": int(MAX_RUN_S)})
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                self._running[descriptor] = (process, now + MAX_RUN_S)
