"""Roamed renewals: clients that took their leases at one node renew at another, which asks the owner. Run in a network
namespace of its own; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.clients import Clients
from bench.closed_loop import ClosedLoop, Outcome
from bench.frames import FRAME_SIZE, SLOT_SIZE, ClientFrames
from bench.link import BatchLink
from bench.loadgen import CLIENT_PORT, process_cpu_s
from bench.network import BEHIND
from bench.peers import ADDRESS, daemon_command

READY_S = 60.0
SPARES = 300
_GATEWAY_MAC = "02:de:00:00:00:01"  # the same at both nodes: clients must not notice that they moved
_BEHIND_MAC = "02:de:00:00:00:02"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def connect() -> None:
    """Two nodes' namespaces with a cable between them, and from each one to the clients, here."""
    for node in ("roam0", "roam1"):
        _ip("netns", "add", node)
        _ip("link", "add", node, "type", "veth", "peer", "client0", "netns", node)
        _ip("link", "set", node, "up")
    _ip("-n", "roam0", "link", "add", "server0", "type", "veth", "peer", "server0", "netns", "roam1")
    for number, node in enumerate(("roam0", "roam1")):
        at = ("-n", node)
        _ip(*at, "link", "set", "server0", "addrgenmode", "none")
        _ip(*at, "link", "set", "client0", "address", _GATEWAY_MAC)
        for interface in ("lo", "client0", "server0"):
            _ip(*at, "link", "set", interface, "up")
        _ip(*at, "address", "add", f"fe80::{number + 1}/64", "dev", "server0", "nodad")
        _ip(*at, "address", "add", str(ADDRESS), "dev", "client0")
        _ip(*at, "neighbor", "add", str(BEHIND), "lladdr", _BEHIND_MAC, "dev", "client0", "nud", "permanent")
        _ip(*at, "route", "add", f"{BEHIND}/32", "dev", "client0")
        for half in ADDRESS.network.subnets():
            _ip(*at, "route", "add", str(half), "via", str(BEHIND), "dev", "client0", "src", str(ADDRESS.ip))


def start(node: str, directory: Path) -> subprocess.Popen[bytes]:
    """The daemon in one of the namespaces."""
    command = [*daemon_command(), "-L", "-t", "2", "-b", "7", "-s", str(SPARES)]
    command += ["-N", str(ADDRESS.network), "-i", "server0", "-c", "client0", "-o", "51:4:0.0.14.16"]
    command += ["--store", str(directory / f"{node}.sqlite"), "-C", str(directory / f"{node}.ctl")]
    with (directory / f"{node}.log").open("wb") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", node, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "DDHCP_STATE_DIR": str(directory)},
        )  # fmt: skip


def measure(clients: int, window: int, rounds: int) -> dict[str, object]:
    """Renewals at the owner, then at the other node. Raises RuntimeError if the nodes do not serve."""
    with tempfile.TemporaryDirectory(prefix="ddhcp-roam-") as name:
        connect()
        nodes = [start(node, Path(name)) for node in ("roam0", "roam1")]
        try:
            frames = ClientFrames(clients + 1)
            home, away = (
                BatchLink(node, CLIENT_PORT, FRAME_SIZE, frames.buffer, SLOT_SIZE) for node in ("roam0", "roam1")
            )
            held = Clients(home, frames)
            give_up_at = time.monotonic() + READY_S
            for link in (away, home):  # both must have blocks, and heard of each other's
                held.link = link
                while not held.probe(clients, 1.0):
                    if time.monotonic() > give_up_at:
                        raise RuntimeError("a node offers no address")
            time.sleep(3.0)

            def cpu_s() -> float | None:
                used = [process_cpu_s(node.pid) for node in nodes]
                return None if None in used else sum(part for part in used if part is not None)

            taken = ClosedLoop(held, window, cpu_s).acquire(range(clients))
            order = list(range(clients)) * rounds
            at_home = ClosedLoop(held, window, cpu_s).renew(order)
            held.link = away
            roamed = ClosedLoop(held, window, cpu_s).renew(order)
            alone = _alone(held, home, away, range(min(clients, 200)))
        finally:
            for node in nodes:
                node.terminate()
                node.wait()
    return {"taken": taken.summary(), "home": at_home.summary(), "roamed": roamed.summary(), **alone}


def _alone(held: Clients, home: BatchLink, away: BatchLink, order: range) -> dict[str, object]:
    """Latencies with one client at a time, at the owner and at the other node."""
    found: dict[str, object] = {}
    for name, link in (("home_alone", home), ("roamed_alone", away)):
        held.link = link
        outcome: Outcome = ClosedLoop(held, 1).renew(list(order) * 5)
        found[name] = outcome.summary()
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="roam", description=__doc__)
    parser.add_argument("--clients", type=int, default=250, metavar="N")
    parser.add_argument("--window", type=int, default=64, metavar="W")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    options = parser.parse_args()
    try:
        print(json.dumps(measure(options.clients, options.window, options.rounds)))
    finally:
        for node in ("roam0", "roam1"):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
