"""A mesh at work: realms, nodes and clients together, for tests and the soak run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from . import kernel, layout
from .clients import Clients, LeaseEvent
from .network import Network, TestbedError
from .nodes import Node
from .programs import Program
from .waiting import wait_until

GRANTED = ("BOUND", "RENEW", "REBIND", "REBOOT")

_FRAME_SIZE = 65536
_ETH_P_ALL = 3
_CAPTURE_BUFFER = 8 << 20


class Mesh:
    """Realms with nodes and clients, in the calling process's network namespace (see :func:`kernel.isolate`).

    Used as a context manager it takes everything away at the end.
    """

    def __init__(self, realms: int) -> None:
        self.network = Network()
        self.network.ensure(realms)
        self.clients = Clients(self.network)
        self.nodes: dict[int, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away."""
        self.network.stop()
        for node in self.nodes.values():
            node.process.wait()

    def start(self, realm: int, *arguments: str, environment: Mapping[str, str] | None = None, setup: str = "") -> Node:
        """Start a node in the realm with these arguments (see :class:`Node`)."""
        self.nodes[realm] = Node(self.network, realm, arguments, environment, setup)
        return self.nodes[realm]

    def wait_for_blocks(self, timeout_s: float) -> None:
        """Wait until every running node owns a block. Raises :class:`TestbedError` if one ends meanwhile."""
        nodes = [node for node in self.nodes.values() if node.running]

        def all_own_one() -> bool:
            for node in nodes:
                if not node.running:
                    raise TestbedError(f"the node of realm {node.realm} ended with status {node.process.returncode}")
            return all(node.blocks() for node in nodes)

        wait_until(all_own_one, timeout_s, "a block for every node")

    def join(self, realm: int, program: Program) -> int:
        """Plug a new client into the realm and start the program on it; the client's number."""
        client = self.clients.add(realm)
        self.clients.start(client, program, tied=True)
        return client

    def event(self, client: int, reasons: Collection[str] = GRANTED, since: int = 0) -> LeaseEvent | None:
        """The first of the client's events, from number ``since`` on, with one of the reasons."""
        return next((e for e in self.clients.events(client)[since:] if e.reason in reasons), None)

    def wait_for_lease(self, client: int, timeout_s: float, since: int = 0) -> str:
        """Wait until the client's program reports a lease, its interface has that address and the program keeps the
        lease; the address."""

        def leased() -> str | None:
            event = self.event(client, since=since)
            return event.address if event and self.clients.is_settled(client, event) else None

        return wait_until(leased, timeout_s, f"a lease for client {client}") or ""

    def wait_for_event(self, client: int, reasons: Collection[str], timeout_s: float, since: int = 0) -> LeaseEvent:
        """Wait for the first of the client's events, from number ``since`` on, with one of the reasons."""
        found = wait_until(
            lambda: self.event(client, reasons, since), timeout_s, f"{' or '.join(reasons)} at client {client}"
        )
        assert found is not None
        return found

    def capture_at_client(self, client: int) -> Capture:
        """Record what the client's interface sends and receives from now on."""
        return Capture(self.clients.namespace(client), layout.HOST_INTERFACE)

    def capture_at_node(self, realm: int, interface: str) -> Capture:
        """Record what ``server0`` or ``client0`` of the realm's node sends and receives from now on."""
        return Capture(self.network.require_realm(realm), interface)


class Capture:
    """The Ethernet frames of an interface, from the moment it is made."""

    def __init__(self, namespace: Path, interface: str) -> None:
        with kernel.entered(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CAPTURE_BUFFER)
            self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._frames: list[bytes] = []

    def frames(self) -> list[bytes]:
        """All frames so far, in both directions."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._frames.append(self._socket.recv(_FRAME_SIZE))
        return self._frames

    def close(self) -> None:
        """Stop recording."""
        self._socket.close()
