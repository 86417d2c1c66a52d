"""The test network without root: in a user namespace that a small holder process keeps alive between commands.

``net-init`` starts the holder, the other commands join its namespaces, ``net-stop`` ends it. Inside, one is root over
an empty network and an empty /run, so everything else works as it does for root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from pathlib import Path

from . import kernel
from .network import TestbedError

_HOLDER_FILE = "holder"


def _directory() -> Path:
    """A directory that only this user can write to; made if need be."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime, "ddhcp-testbed") if runtime else Path(f"/tmp/ddhcp-testbed-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise TestbedError(f"{path} is not a directory that only this user can use; remove it")
    return path


def _start_time(pid: int) -> str | None:
    """Tells a process from a later one with the same id; ``None`` if there is none (proc(5), field 22 of stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _holder() -> int | None:
    """The process id of the living holder."""
    try:
        pid, started = (_directory() / _HOLDER_FILE).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def start() -> None:
    """Start the holder unless there is one. Raises :class:`TestbedError` where the system refuses user namespaces."""
    directory = _directory()
    if _holder() is not None:
        return
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold(read_end, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read()
    if answer != "ready":
        os.waitpid(pid, 0)
        raise TestbedError(f"without root a user namespace is needed, but the system refuses it ({answer})")
    (directory / _HOLDER_FILE).write_text(f"{pid} {_start_time(pid)}")


def _hold(read_end: int, write_end: int) -> None:
    """The holder: makes the namespaces, says so, and waits for its end. Does not return."""
    try:
        os.setsid()
        os.close(read_end)
        kernel.isolate()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)  # the terminal or pipe of net-init is not the holder's to keep open
        os.write(write_end, b"ready")
        os.close(write_end)
        while True:
            signal.pause()
    except OSError as error:
        os.write(write_end, str(error).encode())
    finally:
        os._exit(1)


def enter() -> None:
    """Move this process into the holder's namespaces. Raises :class:`TestbedError` if there is no holder."""
    pid = _holder()
    if pid is None:
        raise TestbedError("there is no test network; `./network-test net-init 3` makes one")
    here = Path.cwd()
    for name, kind in (("user", kernel.CLONE_NEWUSER), ("mnt", kernel.CLONE_NEWNS), ("net", kernel.CLONE_NEWNET)):
        fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(fd, kind)
        finally:
            os.close(fd)
    os.chdir(here)


class Holder:
    """Handle on the holder that works from inside its namespaces too, for the end of ``net-stop``."""

    def __init__(self) -> None:
        pid = _holder()
        self._pidfd = os.pidfd_open(pid) if pid is not None else None
        self._file = os.open(_directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def exists(self) -> bool:
        """Whether there was a living holder when this handle was made."""
        return self._pidfd is not None

    def end(self) -> None:
        """End the holder and forget it; nothing happens if there is none."""
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            os.close(self._pidfd)
            os.unlink(_HOLDER_FILE, dir_fd=self._file)
        os.close(self._file)
