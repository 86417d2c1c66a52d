"""Nodes under the control of a test, the demonstration or the soak run: started, asked and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ddhcp.ctl.answers import parse_blocks, parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import SOCKET_NAME, Command, Request

from . import kernel
from .network import Network

MAIN = "from ddhcp.daemon.main import main; raise SystemExit(main())"
DDHCP = ("-P", "-c", MAIN)
OURS = 4  # block state, as the control socket shows it
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Node:
    """A ddhcp that runs in a realm of the test network and dies with the calling process.

    ``arguments``: its command line. ``environment``: variables added to that of the calling process. ``setup``: Python
    that is run first, for constants that no setting changes. Its log is in the file ``log``.
    """

    def __init__(
        self,
        network: Network,
        realm: int,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        setup: str = "",
    ) -> None:
        namespace = network.require_realm(realm)
        self.realm = realm
        self.log = network.state / f"node{realm}.log"
        self.socket = network.runtime_directory(realm) / SOCKET_NAME
        variables = {**network.node_environment(realm), "PYTHONPATH": _PACKAGE_ROOT, **(environment or {})}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"{setup}\n{MAIN}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                preexec_fn=_enter_realm(namespace),
            )

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def ask(self, command: Command) -> str:
        """The daemon's answer to a request without arguments. Raises :class:`ddhcp.ctl.connection.CtlError`."""
        return b"".join(ask(self.socket, Request(command))).decode()

    def _own_rows(self) -> list[dict[str, int]]:
        rows = parse_blocks(self.ask(Command.SHOW_BLOCKS))["blocks"]
        assert isinstance(rows, list)
        return [row for row in rows if row["state"] == OURS]

    def blocks(self) -> list[int]:
        """The indices of the blocks that the node owns; none while it is not up."""
        try:
            return [row["index"] for row in self._own_rows()]
        except (CtlError, ValueError):
            return []

    def leased(self) -> int:
        """How many addresses of the node's blocks are leased. Raises :class:`ddhcp.ctl.connection.CtlError`."""
        return sum(row["leased"] for row in self._own_rows())

    def statistics(self) -> dict[str, int]:
        """The node's counters. Raises :class:`ddhcp.ctl.connection.CtlError`."""
        found = parse_statistics(self.ask(Command.STATISTICS))
        return {name: value for name, value in found.items() if isinstance(value, int)}

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send the signal and wait for the end; the exit status (negative: the signal that ended it).

        Raises :class:`subprocess.TimeoutExpired` when the node is still there after ``timeout_s`` seconds.
        """
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def read_log(self) -> str:
        """What the node has logged so far (and other nodes of this realm before it)."""
        return self.log.read_text(errors="replace")


def _enter_realm(namespace: Path) -> Callable[[], None]:
    def enter() -> None:
        kernel.die_with_parent()
        kernel.join(namespace)
        os.setsid()

    return enter
