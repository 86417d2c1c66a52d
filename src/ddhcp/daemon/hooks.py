"""The hook command: run without a shell, beside the daemon, bounded in number and time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from ..values import dataclass
from .clock import boot_time
from .errors import StartError
from .event_log import EventLog

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


# What a hook may be told besides the classic calls, by the event of the log that it follows from.
EVENTS = {
    "blocks-claimed": "claim",
    "block-taken-over": "claim",
    "block-adopted": "claim",
    "blocks-given-up": "unclaim",
    "block-handed-over": "unclaim",
    "block-lost": "conflict",
    "address-in-use": "conflict",
    "peer-up": "peer-up",
    "peer-down": "peer-down",
}
EVENT_NAMES = tuple(dict.fromkeys(EVENTS.values()))
_CLASSIC_NAMES = ("event", "address", "mac")  # of a classic call's arguments


@dataclass(frozen=True, slots=True)
class _Call:
    """``values``: go into the environment as ``DDHCP_NAME``. ``document``: what the hook reads on its standard input,
    None for nothing."""

    arguments: tuple[str, ...]
    values: Mapping[str, str]
    document: bytes | None


class Hooks:
    """Runs ``command``, in the order of the calls; nothing while it is None.

    ``events``: which of :data:`EVENT_NAMES` it is told besides the classic calls, which are as they always were:
    arguments only. docs/hooks.md says what a hook may rely on.
    """

    def __init__(self, command: list[str] | None, log: EventLog, events: Iterable[str] = ()) -> None:
        self.command = command
        self.events = frozenset(events)
        self._log = log
        self._number = 0
        self._queue: deque[_Call] = deque()
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self.dropped = 0

    def call(self, arguments: tuple[str, ...]) -> None:
        """Have the hook run as classic daemons do; returns at once."""
        if self.command is not None:
            self._put(arguments, dict(zip(_CLASSIC_NAMES, arguments, strict=False)), None)

    def tell(self, name: str, fields: Mapping[str, object]) -> None:
        """An event was logged: have the hook run if it wants to know of that; returns at once."""
        event = EVENTS.get(name) if self.events and self.command is not None else None
        if event is None or event not in self.events:
            return
        values = {key: _plain(value) for key, value in fields.items()}
        document = {"event": event, "log_event": name, "time": round(time.time(), 3), **fields}
        self._put((event,), {"event": event, **values}, json.dumps(document, default=str).encode())

    def _put(self, arguments: tuple[str, ...], values: dict[str, str], document: bytes | None) -> None:
        if self.command is None:
            return
        self._number += 1
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self.dropped += 1
            self._log.write(logging.WARNING, "hook-dropped", {"dropped": self.dropped})
        self._queue.append(_Call(arguments, {**values, "sequence": str(self._number)}, document))

    def start_queued(self) -> list[int]:
        """Start what may run now; returns process descriptors to poll, one for each process started."""
        started: list[int] = []
        if self.command is None:
            self._queue.clear()
            return started
        while self._queue and len(self._running) < MAX_RUNNING:
            call = self._queue.popleft()
            try:
                with _input(call.document) as document:
                    process = subprocess.Popen(
                        [*self.command, *call.arguments], stdin=document, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, start_new_session=True, close_fds=True,
                        env=os.environ | {f"DDHCP_{name.upper()}": value for name, value in call.values.items()},
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


def _plain(value: object) -> str:
    """A value as an environment variable holds it; no such variable can have a NUL in it."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("\0", "")


def _input(document: bytes | None) -> BinaryIO:
    """What a hook reads: a file in memory, since a pipe would have to be written to while the hook runs."""
    if document is None:
        return open(os.devnull, "rb")
    file = os.fdopen(os.memfd_create("ddhcp-hook"), "w+b")
    file.write(document)
    file.seek(0)
    return file
