"""``network-test demo``: a client keeps its address while it moves through a mesh of three realms, told as a story.

Everything happens in namespaces of its own that end with this process, beside any test network that may be there.
Each step is believed only when the client's own interface and its own DHCP program say so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ddhcp.ctl.protocol import Command

from . import hook, kernel, layout, programs
from .clients import Clients, LeaseEvent
from .links import Netlink
from .network import Network, TestbedError
from .nodes import Node
from .programs import Program
from .waiting import wait_until

REALMS = 3
LEASE_S = 20  # a renewal after 10 s, so that the story stays short
TENTATIVE_S = 2
NODE_ARGUMENTS = ("-L", "-t", str(TENTATIVE_S), "-b", "3", "-o", f"51:4:0.0.0.{LEASE_S}")

_BLOCK_PATIENCE_S = TENTATIVE_S + 8.0
_LEASE_PATIENCE_S = 10.0
_RENEW_PATIENCE_S = LEASE_S + 5.0
_SHOWN_LOG_LINES = 15


class DemoFailed(Exception):
    """A step of the story did not happen."""


def run(program: Program | None = None) -> int:
    """Tell the story with this DHCP client (None: the first that is there); the exit status, 0 only if every step truly
    happened."""
    console = Console(highlight=False)
    started_at = time.monotonic()
    try:
        kernel.isolate()
    except OSError as error:
        console.print(f"The demonstration needs root, or user namespaces, which this system refuses: {error}")
        return 1
    with Netlink() as main:
        main.set_up(main.links()["lo"].index)
    story = Story(console, program)
    try:
        story.tell()
    except (DemoFailed, TestbedError) as error:
        console.print(f"\n[bold red]It did not happen:[/] {escape(str(error))}")
        story.show_logs()
        return 1
    finally:
        story.clean_up()
    console.print(f"\n[bold green]All of it happened[/], in {time.monotonic() - started_at:.0f} seconds.")
    return 0


class Story:
    """The demonstration, step by step."""

    def __init__(self, console: Console, program: Program | None) -> None:
        self._console = console
        self._network = Network()
        self._clients = Clients(self._network)
        self._nodes: list[Node] = []
        self._client: int | None = None
        self._program = program or programs.available()
        if program is None and self._program is programs.DHCPCD and not _maps_users():
            # dhcpcd gives its privileges up to a user that a user namespace of one does not know.
            self._program = programs.BUILTIN

    def tell(self) -> None:
        """All steps. Raises :class:`DemoFailed` at the first that does not happen."""
        self._make_mesh()
        self._start_nodes()
        address = self._first_lease()
        self._move(1, address, "The client moves to realm 1.")
        self._move(2, address, "It moves on to realm 2.")
        self._show_tables(address)
        self._check_cleanup()

    def clean_up(self) -> None:
        """Take everything away, whatever was there."""
        self._network.stop()

    def show_logs(self) -> None:
        """The end of every log, for whoever wants to know why a step failed."""
        logs = [(f"node of realm {node.realm}", node.log) for node in self._nodes]
        if self._client is not None:
            logs.append((f"{self._program.name}", self._clients.directory(self._client) / hook.LOG_FILE))
        for title, path in logs:
            if path.exists():
                self._console.print(f"\n[bold]{escape(title)}[/], the end of its log:")
                for line in path.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]:
                    self._console.print(f"    {escape(line)}")

    def _say(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]")

    def _note(self, text: str) -> None:
        self._console.print(Padding(text, (0, 0, 0, 2)))

    def _wait(self, what: str, condition: Callable[[], bool], patience_s: float) -> float:
        """Wait for the condition; the seconds it took. Raises :class:`DemoFailed` when patience runs out."""
        started_at = time.monotonic()

        def check() -> bool:
            for node in self._nodes:
                if not node.running:
                    raise DemoFailed(f"the node of realm {node.realm} ended with status {node.process.returncode}")
            return condition()

        with self._console.status(f"Waiting for {what}"):
            try:
                wait_until(check, patience_s, what)
            except TimeoutError as error:
                raise DemoFailed(str(error)) from None
        return time.monotonic() - started_at

    # -- the steps --------------------------------------------------------------------------------------

    def _make_mesh(self) -> None:
        self._say(f"A mesh of {REALMS} realms, in network namespaces on this machine.")
        self._network.ensure(REALMS)
        table = Table("realm", "its node lives in", "talks to other nodes on", "serves clients on")
        for number in range(REALMS):
            realm = self._network.realm(number)
            if not realm.complete:
                raise DemoFailed(f"realm {number} is incomplete")
            table.add_row(
                str(number),
                layout.node_namespace(number),
                f"{layout.SERVER_INTERFACE} {realm.server_address or ''}",
                f"{layout.CLIENT_INTERFACE} {layout.GATEWAY}/{layout.PREFIX_LEN}",
            )
        self._console.print(Padding(table, (0, 0, 0, 2)))
        self._note(f"Every realm has the same gateway address, {layout.GATEWAY}, and no realm sees another's clients.")

    def _start_nodes(self) -> None:
        self._say("A node in each realm. Nobody is in charge; they agree who owns which block of the pool.")
        self._note(f"$ ddhcp {' '.join(NODE_ARGUMENTS)}")
        self._nodes += [Node(self._network, realm, NODE_ARGUMENTS) for realm in range(REALMS)]
        took_s = self._wait(
            "a block for every node", lambda: all(node.blocks() for node in self._nodes), _BLOCK_PATIENCE_S
        )
        owned = {node.realm: sorted(node.blocks()) for node in self._nodes}
        blocks = [block for mine in owned.values() for block in mine]
        if len(blocks) != len(set(blocks)):
            raise DemoFailed(f"two nodes claim the same block: {owned}")
        for realm, mine in owned.items():
            self._note(f"node {realm} owns block{'s' * (len(mine) > 1)} {', '.join(map(str, mine))}")
        self._note(f"That took {took_s:.1f} s.")

    def _first_lease(self) -> str:
        if self._program is programs.BUILTIN:
            self._say("A client in realm 0. (No usable DHCP client is installed, so it runs the testbed's own.)")
        else:
            self._say(f"A client in realm 0. It runs {self._program.name}, unmodified ({self._program.path()}).")
        self._client = client = self._clients.add(0)
        self._clients.start(client, self._program, tied=True)
        took_s = self._wait("lease", lambda: self._lease() is not None, _LEASE_PATIENCE_S)
        event, address = self._lease(), self._clients.address(client)
        if event is None or address is None or event.address != address:
            raise DemoFailed("the client's interface does not have the address that its DHCP program announced")
        self._note(
            f"{layout.client_mac(client)} has [bold cyan]{address}[/] for {event.lease_s} s, after {took_s:.2f} s."
        )
        return address

    def _lease(self, since: int = 0) -> LeaseEvent | None:
        """The last event after the first ``since`` in which the client got or kept its lease; its interface agrees."""
        assert self._client is not None
        granted = [event for event in self._clients.events(self._client)[since:] if event.address]
        if not granted or self._clients.address(self._client) != granted[-1].address:
            return None
        return granted[-1]

    def _move(self, realm: int, address: str, headline: str) -> None:
        client = self._client
        assert client is not None
        self._say(headline)
        before = len(self._clients.events(client))
        acknowledged = self._nodes[realm].statistics().get("dhcp.send_ack", 0)
        self._clients.roam(client, realm)
        self._note("Its cable is in the other realm now; the interface and the program on it are the same.")
        if self._program.renew_signal is not None and self._program is not programs.DHCPCD:
            self._clients.renew(client)  # its shortest lease is too long for a short story
        took_s = self._wait(
            f"renewal in realm {realm}",
            lambda: (
                self._lease(before) is not None
                and self._nodes[realm].statistics().get("dhcp.send_ack", 0) > acknowledged
            ),
            _RENEW_PATIENCE_S,
        )
        lost = [event for event in self._clients.events(client)[before:] if event.reason in ("NAK", "FAIL")]
        event = self._lease(before)
        if event is None or event.address != address or lost:
            raise DemoFailed(f"the client should have kept {address}, but its events were {lost} and {event}")
        self._note(
            f"After {took_s:.1f} s its DHCP program reports {event.reason}: it still has [bold cyan]{address}[/]. "
            f"Node {realm} asked the block's owner and acknowledged."
        )

    def _show_tables(self, address: str) -> None:
        self._say("What the nodes say about it.")
        self._note("$ ddhcpctl -b        (realm 0, where the address comes from)")
        self._console.print(Padding(escape(self._nodes[0].ask(Command.SHOW_BLOCKS).expandtabs(8)), (0, 0, 0, 4)))
        for node in self._nodes:
            counters = node.statistics()
            shown = ("dhcp.send_ack", "direct.send_renewlease", "direct.recv_renewlease", "direct.send_leaseack")
            self._note(
                f"$ ddhcpctl -s        (realm {node.realm})  "
                + "  ".join(f"{name} {counters.get(name, 0)}" for name in shown)
            )
        if not any(node.statistics().get("direct.send_leaseack", 0) for node in self._nodes):
            raise DemoFailed(f"no node vouched for {address} to another, so nothing was renewed through its owner")

    def _check_cleanup(self) -> None:
        self._say("And all is put away.")
        for node in self._nodes:
            status = node.stop()
            if status != 0:
                raise DemoFailed(f"the node of realm {node.realm} ended with status {status} when asked to stop")
        left = self._network.stop()
        with Netlink() as main:
            links = set(main.links())
        if left or links != {"lo"} or self._network.namespaces.names():
            raise DemoFailed(f"left behind: {[*links, *self._network.namespaces.names(), *left]}")
        self._note("Nodes and client stopped; namespaces and interfaces are gone.")


def _maps_users() -> bool:
    """Whether this user namespace knows more than one user."""
    with open("/proc/self/uid_map") as file:
        return sum(int(line.split()[2]) for line in file) > 1


if __name__ == "__main__":
    sys.exit(run())
