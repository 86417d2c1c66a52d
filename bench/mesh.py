"""A mesh of many nodes into which clients come within seconds, at all of them: are they all bound, and what does that
cost each node? Run in a network namespace of its own; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.avalanche import OpenLoop
from bench.clients import Clients
from bench.frames import FRAME_SIZE, SLOT_SIZE, ClientFrames
from bench.link import BatchLink
from bench.loadgen import CLIENT_PORT, process_cpu_s
from bench.network import inside
from bench.peers import ADDRESS, daemon_command
from ddhcp.ctl.answers import parse_statistics
from ddhcp.ctl.connection import CtlError, ask
from ddhcp.ctl.protocol import Command, Request

READY_S = 200.0
SETTLE_S = 5.0
PATIENCE_S = 60.0
BLOCK_BITS, SPARES, TENTATIVE_S = 5, 20, 2
_GATEWAY_MAC = "02:de:00:00:00:01"  # the same at every node, as its address is
_BRIDGE = "swarm"
_SENT = ("mcast.send_pkg", "direct.send_pkg")
_SENT_BYTES = ("mcast.send_byte", "direct.send_byte")


class Realms:
    """A link to each realm as one: client n is in realm n modulo their number."""

    def __init__(self, links: Sequence[BatchLink]) -> None:
        self._links = links
        self._current = links[0]
        self._poll = select.poll()
        self._by_descriptor = {link.fileno(): link for link in links}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)

    @property
    def incoming(self) -> bytearray:
        """What was received."""
        return self._current.incoming

    @property
    def starts(self) -> Sequence[int]:
        """Where in it each message begins."""
        return self._current.starts

    def send(self, numbers: Sequence[int]) -> None:
        """Send these clients' frames, each in its realm."""
        of_realm: dict[int, list[int]] = {}
        for number in numbers:
            of_realm.setdefault(number % len(self._links), []).append(number)
        for realm, some in of_realm.items():
            self._links[realm].send(some)

    def receive(self, wait_s: float) -> int:
        """How many messages came from one realm that has some; waits up to ``wait_s`` for the first."""
        for descriptor, _ in self._poll.poll(wait_s * 1000):
            self._current = self._by_descriptor[descriptor]
            return self._current.receive(0)
        return 0

    def length(self, index: int) -> int:
        """The bytes of one of them."""
        return self._current.length(index)


class Mesh:
    """``count`` nodes in namespaces on one segment, each with a link to its clients that ends here."""

    def __init__(self, count: int, directory: Path) -> None:
        self._directory = directory
        self._names = [f"mesh{number}" for number in range(count)]
        self._nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Mesh:
        try:
            _ip(_connections(self._names))
            self._nodes += [self._start(name) for name in self._names]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self._nodes:
            node.terminate()
        for node in self._nodes:
            node.wait()
        _ip([f"netns delete {name}" for name in self._names], "-force")

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [*daemon_command(), "-L", "-t", str(TENTATIVE_S), "-b", str(BLOCK_BITS)]
        command += ["-s", str(SPARES), "-N", str(ADDRESS.network), "-i", "server0", "-c", "client0"]
        command += ["-o", "51:4:0.0.14.16", "--store", str(self._directory / f"{name}.sqlite")]
        with (self._directory / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                inside(name, [*command, "-C", str(self._socket(name))]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "DDHCP_STATE_DIR": str(self._directory)},
            )  # fmt: skip

    def _socket(self, name: str) -> Path:
        return self._directory / f"{name}.ctl"

    def links(self, frames: ClientFrames) -> Realms:
        """The clients' links."""
        return Realms([BatchLink(name, CLIENT_PORT, FRAME_SIZE, frames.buffer, SLOT_SIZE) for name in self._names])

    def wait_until_ready(self) -> None:
        """Wait until every node has heard of all others and has spares. Raises RuntimeError."""
        give_up_at = time.monotonic() + READY_S
        for name in self._names:
            while True:
                found = self._statistics(name)
                if found.get("ddhcp.peers", 0) >= len(self._names) - 1 and found.get("ddhcp.leases.free", 0) >= SPARES:
                    break
                if time.monotonic() > give_up_at:
                    text = (self._directory / f"{name}.log").read_text(errors="replace").strip().splitlines()
                    raise RuntimeError(f"{name} is not ready: {text[-1:]}")
                time.sleep(0.1)
        time.sleep(SETTLE_S)

    def _statistics(self, name: str) -> dict[str, int]:
        try:
            text = b"".join(ask(self._socket(name), Request(Command.STATISTICS))).decode()
            return {key: value for key, value in parse_statistics(text).items() if isinstance(value, int)}
        except (CtlError, ValueError, OSError):
            return {}

    def used(self) -> tuple[float, int, int]:
        """Seconds on a processor, packets and bytes sent to other nodes, of all nodes so far."""
        cpu_s = sum(process_cpu_s(node.pid) or 0.0 for node in self._nodes)
        packets = sent = 0
        for name in self._names:
            found = self._statistics(name)
            packets += sum(found.get(key, 0) for key in _SENT)
            sent += sum(found.get(key, 0) for key in _SENT_BYTES)
        return cpu_s, packets, sent


def _connections(names: Sequence[str]) -> list[str]:
    """The commands of ip(8) that make the namespaces and cables."""
    lines = [f"link add {_BRIDGE} type bridge mcast_snooping 0", f"link set {_BRIDGE} addrgenmode none up"]
    for number, name in enumerate(names, 1):
        lines += [
            f"netns add {name}",
            f"link add {name} type veth peer client0 netns {name}",
            f"link add {name}-s type veth peer server0 netns {name}",
            f"link set {name} addrgenmode none up",
            f"link set {name}-s addrgenmode none master {_BRIDGE} up",
            f"-n {name} link set server0 addrgenmode none up",
            f"-n {name} link set client0 address {_GATEWAY_MAC}",
            f"-n {name} link set client0 up",
            f"-n {name} address add fe80::{number:x}/64 dev server0 nodad",
            f"-n {name} address add {ADDRESS} dev client0",
        ]
    return lines


def _ip(lines: Sequence[str], *options: str) -> None:
    """Run commands of ip(8); with options whatever comes of them. Raises subprocess.CalledProcessError."""
    for line in lines:
        subprocess.run(["ip", *options, *line.split()], check=not options, capture_output=True, text=True)


def measure(nodes: int, clients: int, within_s: float) -> dict[str, object]:
    """So many clients come within ``within_s`` seconds, evenly over all nodes. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="ddhcp-mesh-") as name, Mesh(nodes, Path(name)) as mesh:
        mesh.wait_until_ready()
        frames = ClientFrames(clients)
        arriving = Clients(mesh.links(frames), frames)
        cpu_s, packets, sent = mesh.used()
        outcome = OpenLoop(arriving, random.Random(1)).run(range(clients), within_s, PATIENCE_S)
        time.sleep(max(0.0, within_s + TENTATIVE_S + 2 - outcome.seconds))  # what the last ones lead to
        after_cpu_s, after_packets, after_sent = mesh.used()
        summary = outcome.summary()
        return {
            "nodes": nodes,
            **summary,
            "duplicates": arriving.duplicates(),
            "cpu_s": round(after_cpu_s - cpu_s, 3),
            "packets": after_packets - packets,
            "bytes": after_sent - sent,
            "node_cpu_ms": round((after_cpu_s - cpu_s) / nodes * 1000, 1),
            "node_packets": round((after_packets - packets) / nodes, 1),
        }


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="mesh", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50, metavar="N")
    parser.add_argument("--clients", type=int, default=2000, metavar="N")
    parser.add_argument("--within", type=float, default=10.0, metavar="SECONDS")
    options = parser.parse_args()
    print(json.dumps(measure(options.nodes, options.clients, options.within)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
