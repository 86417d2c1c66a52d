"""Two namespaces and one link between them, made for one measurement and removed after it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from bench.peers import ADDRESS, INTERFACE, SWARM_INTERFACE

CLIENT_INTERFACE = "load0"
BEHIND = IPv4Address("10.77.255.253")  # outside every pool
_BEHIND_MAC = "02:de:00:00:00:02"
SWARM_PEER = "server0-peer"


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The names of the server's and of the clients' namespace."""

    server: str
    clients: str


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` in ``namespace``."""
    return ["ip", "netns", "exec", namespace, *command]


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
    _ip(*server, "link", "add", SWARM_INTERFACE, "type", "veth", "peer", SWARM_PEER)
    # A link-local address that can be used at once, without duplicate address detection.
    _ip(*server, "link", "set", SWARM_INTERFACE, "addrgenmode", "none")
    for interface in ("lo", INTERFACE, SWARM_INTERFACE, SWARM_PEER):
        _ip(*server, "link", "set", interface, "up")
    _ip(*server, "address", "add", "fe80::1/64", "dev", SWARM_INTERFACE, "nodad")
    _ip(*server, "address", "add", str(ADDRESS), "dev", INTERFACE)
    _ip(*clients, "link", "set", CLIENT_INTERFACE, "up")
    # Answers to renewing clients go to their addresses. Thousands of neighbours would exceed the kernel's table
    # (and its limit is one for all namespaces), so to the server they all stand behind one.
    _ip(*server, "neighbor", "add", str(BEHIND), "lladdr", _BEHIND_MAC, "dev", INTERFACE, "nud", "permanent")
    _ip(*server, "route", "add", f"{BEHIND}/32", "dev", INTERFACE)
    for half in ADDRESS.network.subnets():
        _ip(*server, "route", "add", str(half), "via", str(BEHIND), "dev", INTERFACE, "src", str(ADDRESS.ip))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
