"""A root directory over this machine's own in which nothing that is done lasts, and which systemd can boot.

Usage: python machine.py DIRECTORY PROGRAMS SCRIPT boots one, with copies of what is in the directory PROGRAMS, and runs
the shell script there. The exit status is the script's, or 125 if systemd cannot run as init here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from ddhcp.testbed.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
BOOT_PATIENCE_S = 60
BOOT_POLL_S = 0.1
CGROUP_PATIENCE_S = 5
NO_INIT = 125
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NSPAWN = (
    "systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off",
    "--timezone=off", "--console=pipe", "--capability=CAP_NET_ADMIN,CAP_SYS_ADMIN", "--system-call-filter=@mount",
)  # fmt: skip


class NoInit(Exception):
    """systemd cannot run as init here."""


class Machine:
    """An overlay over ``/`` in a new ``directory``. Until it is booted, commands run in it as in a chroot."""

    def __init__(self, directory: Path) -> None:
        run("mount", "-t", "tmpfs", "tmpfs", str(directory))
        self.root = directory / "root"
        for name in ("upper", "work", "root"):
            (directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={directory}/upper,workdir={directory}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        for name in ("var/lib/ddhcp", "etc/ddhcp"):
            run("rm", "-rf", str(self.root / name))
        self._mounts: list[Path] = []
        self._make_chroot()
        self._log = directory / "console"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._cgroups: list[Path] = []

    def _make_chroot(self) -> None:
        for name in ("dev", "proc", "sys"):
            self._mount("--rbind", f"/{name}", name)
        for name in ("run", "tmp"):
            self._mount("-t", "tmpfs", "tmpfs", name)

    def _mount(self, *arguments: str) -> None:
        *how, name = arguments
        place = self.root / name
        place.mkdir(parents=True, exist_ok=True)
        run("mount", *how, str(place))
        self._mounts.append(place)

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in there."""
        if self._nspawn is None:
            return ["chroot", str(self.root), *command]
        return ["nsenter", f"--target={self._init()}", "--mount", "--pid", "--ipc", "--uts", *command]

    def run(self, *command: str) -> str:
        """Run a command in there; its output."""
        return run(*self.command(*command))

    def path(self, name: str) -> Path:
        """Where a file of the machine is."""
        return self.root / name.lstrip("/")

    def boot(self) -> None:
        """systemd becomes init, with no more than what is basic to a machine, in this process's own network. Raises
        :class:`NoInit` if that cannot be."""
        if self._nspawn is None:
            while self._mounts:
                run("umount", "--recursive", "--lazy", str(self._mounts.pop()))
            self.path("/etc/machine-id").write_text("")
            self._cgroups = _own_cgroups(f"ddhcp-test-{os.getpid()}-{time.monotonic_ns()}")
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [sys.executable, __file__, "--in-cgroups", *map(str, self._cgroups), "--",
                 *NSPAWN, f"--directory={self.root}", f"--bind-ro={ROOT}", "systemd.unit=multi-user.target",
                 *(f"systemd.mask={name}" for name in self._services())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "SYSTEMD_NSPAWN_LOCK": "0"},
            )  # fmt: skip
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self._is_up() or self._has_ended(), BOOT_PATIENCE_S, "the boot", BOOT_POLL_S)
            if not self._has_ended():
                return
        self.shut_down()
        self._nspawn = None
        self._make_chroot()
        raise NoInit(self._log.read_text(errors="replace"))

    def _has_ended(self) -> bool:
        return self._nspawn is None or self._nspawn.poll() is not None

    def _is_up(self) -> bool:
        try:
            self.run("systemctl", "is-active", "--quiet", "multi-user.target")
        except (AssertionError, ProcessLookupError):
            return False
        return True

    def reboot(self) -> None:
        """As ``systemctl reboot`` and the firmware would."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot")
        self._nspawn.wait(BOOT_PATIENCE_S)
        self.boot()

    def shut_down(self) -> None:
        """The power goes off."""
        if self._nspawn is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init(), signal.SIGKILL)
            self._nspawn.kill()
            self._nspawn.wait()
        for directory in self._cgroups:
            _remove_cgroup(directory)

    def close(self) -> None:
        """The machine is gone."""
        self.shut_down()
        run("umount", "--recursive", "--lazy", str(self.root))

    def _init(self) -> int:
        """The process that is init in there. Raises :class:`ProcessLookupError` if there is none (yet)."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError):
            raise ProcessLookupError from None

    def _services(self) -> list[str]:
        """What this machine's own /etc would start, which is nothing to the one that is made of it."""
        wanted = {path.name for path in self.path("/etc/systemd/system").glob("*.wants/*")}
        scripts = {f"{path.name}.service" for path in self.path("/etc/init.d").glob("*")}
        return sorted(name for name in wanted | scripts if not name.startswith("ddhcp@"))


def run(*command: str) -> str:
    """Run a command that must succeed; its output."""
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0, f"{shlex.join(command)}: {result.stdout}\n{result.stderr}"
    return result.stdout


def _own_cgroups(name: str) -> list[Path]:
    """New control groups below this process's own in the hierarchies that systemd looks after, so that two booted
    machines do not share theirs."""
    made = []
    paths = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        place = Path(mount.split()[4])
        if kind.startswith("cgroup2 "):
            path = paths.get("")
        elif kind.startswith("cgroup ") and re.search(r"\bname=systemd\b", kind):
            path = paths.get("name=systemd")
        else:
            continue
        if path is not None:
            directory = place / path.lstrip("/") / name
            with contextlib.suppress(OSError):
                directory.mkdir()
                made.append(directory)
    return made


def _remove_cgroup(directory: Path) -> None:
    """Remove a control group with those below it, as soon as the kernel has noticed that nobody is in there."""

    def is_removed() -> bool:
        for each in [*sorted(directory.rglob("*/"), reverse=True), directory]:
            with contextlib.suppress(OSError):
                each.rmdir()
        return not directory.exists()

    with contextlib.suppress(TimeoutError):
        wait_until(is_removed, CGROUP_PATIENCE_S, "the end of its processes")


def _in_cgroups(arguments: list[str]) -> None:
    """Become a command in the control groups that stand before ``--``."""
    split = arguments.index("--")
    for directory in arguments[:split]:
        Path(directory, "cgroup.procs").write_text(str(os.getpid()))
    os.execvp(arguments[split + 1], arguments[split + 1 :])


def main(directory: str, programs: str, script: str) -> int:
    machine = Machine(Path(directory))
    run("cp", "--archive", f"{programs}/.", str(machine.path("/usr/local/sbin")))
    try:
        machine.boot()
    except NoInit as problem:
        print(problem, file=sys.stderr)
        return NO_INIT
    try:
        command = machine.command("bash", "-c", script)
        environment = {"PATH": PATH, "HOME": "/root", "ROOT": str(ROOT), "COLUMNS": "80"}
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False).returncode
    finally:
        machine.close()


if __name__ == "__main__":
    if sys.argv[1] == "--in-cgroups":
        _in_cgroups(sys.argv[2:])
    sys.exit(main(*sys.argv[1:]))
