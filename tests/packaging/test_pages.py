"""The pages made from the programs' definitions: real shells complete what is typed, mandoc finds nothing wrong."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[2] / "build" / "pages"
DIRECTORY = PAGES / "completions"
PATIENCE_S = 30
READY = "it-is-ready"
SHELLS = {
    "bash": (["bash", "--norc", "-i"], "for f in {0}/bash/*; do . $f; done"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({0}/zsh $fpath); autoload -Uz compinit; compinit -u -D"),
}
PROGRAMS = ("ddhcp", "ddhcpctl", "ddhcp-plan", "ddhcp-sim", "network-test")
TYPED = [
    ("ddhcpctl expl", "explain"),
    ("ddhcpctl leases --state dec", "declined"),
    ("ddhcp --check-conf", "--check-config"),
    ("ddhcp --key-mode mix", "mixed"),
    ("ddhcp -F swa", "swarm.toml"),
    ("ddhcp-plan --node", "--nodes"),
    ("ddhcp-sim --scena", "--scenario"),
    ("network-test lifec", "lifecycle"),
]


class Terminal:
    """A shell at a terminal."""

    def __init__(self, shell: str, home: Path) -> None:
        command, prepare = SHELLS[shell]
        self._ours, theirs = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "PS1": "> ", "LC_ALL": "C.UTF-8"}
        self._shell = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=home, start_new_session=True
        )
        os.close(theirs)
        # Instead of the programs, something that shows with what they are called. In two parts, so that what is shown
        # is not what was typed.
        shown = "; ".join(f'function {name} {{ echo "<""$*"">"; }}' for name in PROGRAMS)
        self.type(f"{prepare.format(DIRECTORY)}; {shown}; echo {READY[:5]}''{READY[5:]}\n")
        self.see(READY)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def see(self, text: str) -> None:
        """Read on until the terminal shows ``text``."""
        shown, until = "", time.monotonic() + PATIENCE_S
        while text not in shown:
            assert time.monotonic() < until, shown
            if select.select([self._ours], [], [], 1)[0]:
                shown += os.read(self._ours, 4096).decode(errors="replace")

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._ours)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with one file."""
    (tmp_path / "swarm.toml").touch()
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_begun_is_completed(shell: str, files: Path) -> None:
    terminal = Terminal(shell, files)
    try:
        for typed, completed in TYPED:
            terminal.type(f"{typed}\t\n")
            terminal.see(f"<{' '.join([*typed.split()[1:-1], completed])}>")
    finally:
        terminal.close()


def test_fish_offers_what_can_follow(files: Path) -> None:
    for typed, completed in TYPED:
        load = f"for f in {DIRECTORY}/fish/*; source $f; end"
        command = ["fish", "--no-config", "-c", f"{load}; complete -C '{typed}'"]
        offered = subprocess.run(
            command, cwd=files, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        )
        assert completed in {line.split("\t")[0] for line in offered.stdout.splitlines()}


def test_the_manual_pages_are_sound() -> None:
    pages = sorted((PAGES / "man").iterdir())
    assert len(pages) == 6
    checked = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")
