"""Two namespaces and one link between them, made for one measurement and removed after it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from bench.servers import ADDRESS, INTERFACE, SWARM_INTERFACE

CLIENT_INTERFACE = "load0"
GATEWAY = IPv4Address("10.77.255.253")  # outside every pool


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The names of the server's and of the clients' namespace."""

    server: str
    clients: str

    def run(self, namespace: str, command: Sequence[str]) -> list[str]:
        """The command line that runs ``command`` in ``namespace``."""
        return ["ip", "netns", "exec", namespace, *command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Namespaces of this process's own, gone again at the end. Raises :class:`subprocess.CalledProcessError`."""
    names = Namespaces(f"ddhcp-bench-{os.getpid()}-s", f"ddhcp-bench-{os.getpid()}-c")
    made: list[str] = []
    try:
        for name in (names.server, names.clients):
            _ip("netns", "add", name)
            made.append(name)
        _connect(names)
        yield names
    finally:
        for name in made:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)


def _connect(names: Namespaces) -> None:
    server, clients = ("-n", names.server), ("-n", names.clients)
    _ip(*server, "link", "add", INTERFACE, "type", "veth", "peer", CLIENT_INTERFACE, "netns", names.clients)
    _ip(*server, "link", "add", SWARM_INTERFACE, "type", "veth", "peer", "server0-peer")
    for interface in ("lo", INTERFACE, SWARM_INTERFACE, "server0-peer"):
        _ip(*server, "link", "set", interface, "up")
    _ip(*server, "address", "add", str(ADDRESS), "dev", INTERFACE)
    _ip(*clients, "address", "add", f"{GATEWAY}/{ADDRESS.network.prefixlen}", "dev", CLIENT_INTERFACE)
    for interface in ("lo", CLIENT_INTERFACE):
        _ip(*clients, "link", "set", interface, "up")
    # Answers to renewing clients go to their addresses. Thousands of neighbours would exceed the kernel's table
    # (and its limit is one for all namespaces), so to the server they all stand behind one.
    _ip(*server, "route", "add", f"{GATEWAY}/32", "dev", INTERFACE)
    for half in ADDRESS.network.subnets():
        _ip(*server, "route", "add", str(half), "via", str(GATEWAY), "dev", INTERFACE, "src", str(ADDRESS.ip))
