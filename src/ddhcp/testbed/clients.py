"""Clients: machines of their own on a realm's Ethernet, each running a DHCP client, movable between realms."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import hook, kernel, layout, processes, programs
from .links import Netlink
from .network import Network, TestbedError, connect, prepare_namespace
from .processes import Process
from .programs import Program
from .waiting import wait_until

_CARRIER_DEADLINE_S = 5.0
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])  # where the testbed's own client is imported from
_PRIVATE_DIRECTORIES = ("/var/lib/dhcpcd", "/var/lib/dhcp")  # where programs keep leases, by interface name


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """What a DHCP client told its hook. ``at``: seconds since boot. ``reason``: in dhclient's words (BOUND, RENEW,
    REBIND, REBOOT, EXPIRE, RELEASE, NAK, ...). ``lease_s``: the lease's length in seconds. ``log_bytes``: how long the
    client's log was."""

    at: float
    program: str
    reason: str
    address: str | None
    lease_s: int | None
    server: str | None
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Client:
    """A client as it is now. ``realm``: the one it is plugged into. ``address``: what its interface has.
    ``programs``: the DHCP clients that run in it."""

    number: int
    realm: int | None
    mac: str
    address: str | None
    programs: tuple[Process, ...]
    events: tuple[LeaseEvent, ...]


class Clients:
    """The clients of a test network."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def numbers(self) -> list[int]:
        """The clients that exist, in ascending order."""
        clients = (layout.client_of_namespace(name) for name in self._network.namespaces.names())
        return sorted(client for client in clients if client is not None)

    def on_realm(self, realm: int) -> list[int]:
        """The clients that are plugged into the realm."""
        with Netlink() as main:
            links = main.links()
        bridge = links.get(layout.realm_bridge(realm))
        ports = ((number, links.get(layout.client_namespace(number))) for number in self.numbers())
        return [number for number, port in ports if bridge and port and port.master == bridge.index]

    def directory(self, client: int) -> Path:
        """Where the client's programs keep their files: events.jsonl, log, leases."""
        return self._network.state / "clients" / str(client)

    def namespace(self, client: int) -> Path:
        """The path of the client's network namespace. Raises :class:`TestbedError` if there is no such client."""
        path = self._network.namespaces.path(layout.client_namespace(client))
        if kernel.namespace_inode(path) is None:
            raise TestbedError(f"there is no client {client}; `./network-test status` lists those there are")
        return path

    def get(self, client: int) -> Client:
        """The client as it is now. Raises :class:`TestbedError` if there is none of that number."""
        with Netlink() as main:
            links = main.links()
        port = links.get(layout.client_namespace(client))
        realms = {links[b].index: r for r in self._network.realm_numbers() if (b := layout.realm_bridge(r)) in links}
        return Client(
            number=client,
            realm=realms.get(port.master) if port else None,
            mac=layout.client_mac(client),
            address=self.address(client),
            programs=tuple(self._network.processes(layout.client_namespace(client))),
            events=tuple(self.events(client)),
        )

    def address(self, client: int) -> str | None:
        """The IPv4 address on the client's interface now, ``None`` if there is none."""
        with Netlink(self.namespace(client)) as inside:
            interface = inside.links().get(layout.HOST_INTERFACE)
            addresses = inside.ipv4_addresses(interface.index) if interface else []
        return addresses[0] if addresses else None

    def events(self, client: int) -> list[LeaseEvent]:
        """What the client's programs told their hook so far, oldest first."""
        try:
            lines = (self.directory(client) / hook.EVENTS_FILE).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [LeaseEvent(**json.loads(line)) for line in lines]

    def leased(self, client: int, since: int = 0) -> str | None:
        """The address that the client's programs were granted last, after their first ``since`` events, once they are
        done with it (:meth:`is_settled`)."""
        granted = [event for event in self.events(client)[since:] if event.address]
        return granted[-1].address if granted and self.is_settled(client, granted[-1]) else None

    def is_settled(self, client: int, granted: LeaseEvent) -> bool:
        """Whether the interface has the address that was granted, and the program keeps the lease: one that is ended
        between its hook and that moment has forgotten it."""
        if granted.address != self.address(client):
            return False
        line = programs.PROGRAMS[granted.program].bound_line
        return line is None or line in (self.directory(client) / hook.LOG_FILE).read_bytes()[granted.log_bytes :]

    # -- making and taking away -------------------------------------------------------------------------

    def add(self, realm: int) -> int:
        """Plug a new client into the realm (no program runs yet); its number."""
        self._network.require_realm(realm)
        with self._network.locked(), Netlink() as main:
            taken = set(self.numbers())
            number = next(n for n in range(layout.MAX_CLIENTS) if n not in taken)
            name = layout.client_namespace(number)
            if self._network.namespaces.is_foreign(name) or name in main.links():
                raise TestbedError(f"something called {name} exists that network-test did not make")
            namespace = self._network.namespaces.ensure(name)
            prepare_namespace(namespace)
            self.directory(number).mkdir(mode=0o700, parents=True, exist_ok=True)
            bridge = main.links()[layout.realm_bridge(realm)].index
            connect(main, name, layout.HOST_INTERFACE, layout.client_mac(number), namespace, bridge)
        return number

    def remove(self, client: int) -> None:
        """Switch the client off, without a word to the server, and take it away."""
        name = layout.client_namespace(client)
        self.stop(client)
        with self._network.locked(), Netlink() as main:
            port = main.links().get(name)
            if port is not None and port.ours:
                main.delete(port.index)
            self._network.namespaces.remove(name)
            shutil.rmtree(self.directory(client), ignore_errors=True)

    # -- running ----------------------------------------------------------------------------------------

    def start(
        self, client: int, program: Program, *, tied: bool = False, previous_address: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the DHCP client program in the client. ``tied``: it dies with the calling process.

        ``previous_address``: what the client had before, for programs that do not remember it by themselves.

        Raises :class:`TestbedError` if the program is not on this machine.
        """
        path = program.path()
        if path is None:
            raise TestbedError(f"{program.name} is not installed (Debian: apt-get install {program.package})")
        directory = self.directory(client)
        programs.write_files(program, directory)
        return self._spawn(client, program.command_line(path, directory, previous_address), tied=tied)

    def _spawn(self, client: int, command: Sequence[str], *, tied: bool) -> subprocess.Popen[bytes]:
        namespace, directory = self.namespace(client), self.directory(client)
        with (directory / hook.LOG_FILE).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, processes.MARK: layout.client_namespace(client), "PYTHONPATH": _PACKAGE_ROOT},
                start_new_session=True,
                preexec_fn=_enter_client(namespace, self._network.state, directory, tied),
            )

    def renew(self, client: int) -> None:
        """Have the client's program renew its lease at once. Raises :class:`TestbedError` if it cannot be told to."""
        for program, process in self._running(client):
            if program.renew_signal is None:
                raise TestbedError(f"{program.name} renews by its own clock only")
            os.kill(process.pid, program.renew_signal)

    def notice_move(self, client: int) -> None:
        """Have the client's programs check their lease after a move, as each would by what it knows of its link: dhcpcd
        has seen the carrier come back; udhcpc is told to renew; dhclient, which can do neither, is started anew, as
        a machine's link monitor does, and remembers its lease."""
        for program, process in self._running(client):
            if program.follows_carrier:
                continue
            if program.renew_signal is not None:
                os.kill(process.pid, program.renew_signal)
            else:
                processes.terminate([process])
                self.start(client, program)

    def release(self, client: int) -> None:
        """Have the client's program give its lease back; udhcpc then rests, the others end."""
        for program, process in self._running(client):
            if isinstance(program.release, signal.Signals):
                os.kill(process.pid, program.release)
            else:
                path, *options = program.command(process.command[0], self.directory(client))
                self._spawn(client, [path, program.release, *options], tied=True).wait()

    def _running(self, client: int) -> list[tuple[Program, Process]]:
        """The programs that run in the client, by the first process of each."""
        found: dict[str, tuple[Program, Process]] = {}
        for process in self._network.processes(layout.client_namespace(client)):
            for program in programs.PROGRAMS.values():
                wanted = program.executable or "ddhcp.testbed.dhcpclient"
                # dhcpcd's processes call themselves "dhcpcd: eth0 [ip4]" and the like
                if any(Path(word).name.partition(":")[0] == wanted for word in process.command[:3]):
                    found.setdefault(program.name, (program, process))
        return list(found.values())

    def stop(self, client: int) -> None:
        """End the client's programs without giving the lease back, as when a machine is switched off."""
        processes.terminate(p for p in self._network.processes(layout.client_namespace(client)) if p.ours)

    def _carrier_losses(self, client: int) -> int:
        """How often the client's programs told their hook that the carrier was gone."""
        return sum(event.reason == "NOCARRIER" for event in self.events(client))

    def _followers(self, client: int) -> int:
        """How many of the client's programs follow its carrier. One that was told to end may still be there for a
        moment, and tell nothing."""
        return sum(program.follows_carrier for program, _ in self._running(client))

    def roam(self, client: int, realm: int) -> None:
        """Pull the client's cable and plug it into another realm.

        The carrier is down until the client's kernel and every program that follows it have noticed, and up when this
        returns: an instant is no move to a program that looks only after it.
        """
        namespace = self.namespace(client)
        losses = self._carrier_losses(client)
        self._network.require_realm(realm)
        with self._network.locked(), Netlink() as main, Netlink(namespace) as inside:
            links = main.links()
            port, bridge = links.get(layout.client_namespace(client)), links.get(layout.realm_bridge(realm))
            if port is None or bridge is None:
                raise TestbedError(f"the cable of client {client} or the Ethernet of realm {realm} is gone")

            def carrier() -> bool:
                return inside.links()[layout.HOST_INTERFACE].running

            main.set_down(port.index)
            wait_until(lambda: not carrier(), _CARRIER_DEADLINE_S, "the carrier's going")
            wait_until(
                lambda: self._carrier_losses(client) >= losses + self._followers(client),
                _CARRIER_DEADLINE_S,
                "the client's notice that its carrier is gone",
            )
            main.set_master(port.index, bridge.index)
            main.set_up(port.index)
            wait_until(carrier, _CARRIER_DEADLINE_S, "the carrier's coming back")


def _enter_client(namespace: Path, state: Path, directory: Path, tied: bool) -> Callable[[], None]:
    """What a child does between fork and exec to find itself on the client.

    The programs keep leases and process ids in fixed places, by interface name; on machines of their own these are
    not shared, so each client gets its own /run and its own lease directories.
    """
    private = {}
    for place in filter(os.path.isdir, _PRIVATE_DIRECTORIES):
        private[place] = directory / Path(place).name
        private[place].mkdir(mode=0o755, exist_ok=True)

    def enter() -> None:
        if tied:
            kernel.die_with_parent()
        kernel.join(namespace)
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.keep_mounts_private()
        for place, own in private.items():
            kernel.mount(str(own), place, "none", kernel.MS_BIND)
        fd = os.open(state, os.O_PATH | os.O_DIRECTORY)
        kernel.mount(processes.MOUNT_MARK, "/run", "tmpfs", 0, "mode=0755")
        with contextlib.suppress(FileExistsError):  # a state directory elsewhere is still in sight
            state.mkdir(mode=0o700, parents=True)
            kernel.mount(f"/proc/self/fd/{fd}", str(state), "none", kernel.MS_BIND)
        os.close(fd)

    return enter
