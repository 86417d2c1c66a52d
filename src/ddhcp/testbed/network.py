"""The realms: making them, finding them again, taking them away.

Nothing about the network is kept in a file that could disagree with the kernel. What is ours is told by marks
that come into being together with the thing itself: an interface by its group, a namespace by its mount
in a directory that only we write to. So whatever point a run was killed at, the next one sees exactly what is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ddhcp.ctl.protocol import RUNTIME_DIR_VARIABLE

from . import kernel, layout, processes
from .links import Link, Netlink
from .processes import Process

STATE_DIRECTORY = Path("/run/ddhcp-testbed")
NETNS_DIRECTORY = Path("/run/netns")  # where `ip netns` looks


class TestbedError(Exception):
    """Something stands in the way; the text is one line that says what, and what to do."""

    __test__ = False  # pytest would take the name for a test class


@dataclass(frozen=True, slots=True)
class Realm:
    """One realm as it is now. ``complete``: every interface and address is in its place."""

    number: int
    complete: bool
    server_address: str | None
    processes: tuple[Process, ...]


class Namespaces:
    """Named network namespaces that ``ip netns`` sees, told apart from those of others."""

    def __init__(self, state: Path) -> None:
        self._own = state / "netns"

    def path(self, name: str) -> Path:
        """The file that the namespace ``name`` is bound to."""
        return self._own / name

    def names(self) -> list[str]:
        """All namespaces that are ours, whole or begun."""
        return sorted(p.name for p in self._own.iterdir()) if self._own.is_dir() else []

    def inode(self, name: str) -> int | None:
        """What identifies the namespace in /proc, ``None`` if it does not exist."""
        return kernel.namespace_inode(self.path(name))

    def is_foreign(self, name: str) -> bool:
        """Whether somebody else has a namespace of this name."""
        public = NETNS_DIRECTORY / name
        if not self.path(name).exists():
            return public.exists()
        bound = kernel.namespace_inode(public)
        return bound is not None and bound != self.inode(name)

    def ensure(self, name: str) -> Path:
        """Make the namespace, unless it exists; its path."""
        own, public = self.path(name), NETNS_DIRECTORY / name
        self._own.mkdir(mode=0o700, exist_ok=True)
        if kernel.namespace_inode(own) is None:
            own.touch()
            kernel.bind_new_network_namespace(own)
        if not NETNS_DIRECTORY.is_dir():
            NETNS_DIRECTORY.mkdir(mode=0o755)
        kernel.share_mounts_below(NETNS_DIRECTORY)
        if kernel.namespace_inode(public) is None:
            public.touch()
            kernel.mount(str(own), str(public), "none", kernel.MS_BIND)
        return own

    def remove(self, name: str) -> None:
        """Take away the namespace and its name. Processes inside keep it alive without a name."""
        own, public = self.path(name), NETNS_DIRECTORY / name
        if not self.is_foreign(name) and public.exists():
            while kernel.namespace_inode(public) is not None:
                kernel.unmount(str(public))
            public.unlink()
        while kernel.namespace_inode(own) is not None:
            kernel.unmount(str(own))
        own.unlink(missing_ok=True)


class Network:
    """The test network of the calling process's network namespace (there is at most one)."""

    def __init__(self, state: Path = STATE_DIRECTORY) -> None:
        self.state = state
        self.namespaces = Namespaces(state)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from changing the network meanwhile; makes the state directory if need be.

        Raises :class:`TestbedError` when somebody else could write to that directory.
        """
        while True:
            with contextlib.suppress(FileExistsError):
                self.state.mkdir(mode=0o700, parents=True)
            found = self.state.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise TestbedError(f"{self.state} is not a directory that only this user can use; remove it")
            fd = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if self.state.stat().st_ino == os.fstat(fd).st_ino:  # else net-stop removed it meanwhile
                        yield
                        return
            finally:
                os.close(fd)

    def realm_numbers(self) -> list[int]:
        """The realms that exist, in ascending order."""
        realms = (layout.realm_of_namespace(name) for name in self.namespaces.names())
        return sorted(realm for realm in realms if realm is not None)

    def require_realm(self, realm: int) -> Path:
        """The path of the namespace of the realm's node. Raises :class:`TestbedError` if there is none."""
        path = self.namespaces.path(layout.node_namespace(realm))
        if kernel.namespace_inode(path) is None:
            raise TestbedError(f"there is no realm {realm}; `./network-test net-init {realm + 1}` makes it")
        return path

    def runtime_directory(self, realm: int) -> Path:
        """Where the realm's node keeps its control socket."""
        return self.state / f"node{realm}"

    def node_environment(self, realm: int) -> dict[str, str]:
        """The environment of commands for the realm's node; makes the directory that it names."""
        directory = self.runtime_directory(realm)
        directory.mkdir(mode=0o700, exist_ok=True)
        return {**os.environ, processes.MARK: layout.node_namespace(realm), RUNTIME_DIR_VARIABLE: str(directory)}

    # -- making -----------------------------------------------------------------------------------------

    def ensure(self, count: int, *, progress: Callable[[str], None] = lambda line: None) -> None:
        """Have exactly ``count`` realms, numbered from 0. Whole ones stay as they are, nodes and clients included.

        Raises :class:`TestbedError` if a name is taken by something that is not ours; then nothing was changed.
        """
        if not 1 <= count <= layout.MAX_REALMS:
            raise TestbedError(f"{count} is not a number of realms between 1 and {layout.MAX_REALMS}")
        with self.locked(), Netlink() as main:
            self._refuse_foreign(main, count)
            for realm in self.realm_numbers():
                if realm >= count:
                    self._remove_realm(main, realm)
                    progress(f"realm {realm} removed")
            self._ensure_bridge(main, layout.SWARM_BRIDGE, layout.SWARM_BRIDGE_MAC)
            for realm in range(count):
                progress(f"realm {realm} " + ("made" if self._ensure_realm(main, realm) else "was there"))

    def _refuse_foreign(self, main: Netlink, count: int) -> None:
        links = main.links()
        names = [layout.SWARM_BRIDGE]
        for realm in range(count):
            names += [layout.server_port(realm), layout.realm_bridge(realm), layout.realm_uplink(realm)]
            if self.namespaces.is_foreign(layout.node_namespace(realm)):
                raise TestbedError(
                    f"a network namespace {layout.node_namespace(realm)} exists that network-test did not make; "
                    f"`ip netns delete {layout.node_namespace(realm)}` if it is not needed"
                )
        for name in names:
            if name in links and not links[name].ours:
                raise TestbedError(
                    f"an interface {name} exists that network-test did not make; "
                    f"`ip link delete {name}` if it is not needed"
                )

    def _ensure_bridge(self, main: Netlink, name: str, mac: str) -> Link:
        if name not in main.links():
            main.add_bridge(name, mac)
        bridge = main.links()[name]
        if name == layout.SWARM_BRIDGE:
            main.disable_link_local(bridge.index)
        main.set_up(bridge.index)
        return bridge

    def _ensure_realm(self, main: Netlink, realm: int) -> bool:
        """Make the realm or what is missing of it; whether there was something to do."""
        if self._is_complete(main, realm):
            return False
        namespace = self.namespaces.ensure(layout.node_namespace(realm))
        prepare_namespace(namespace)
        bridge = self._ensure_bridge(main, layout.realm_bridge(realm), layout.realm_bridge_mac(realm))
        swarm = main.links()[layout.SWARM_BRIDGE]
        for port, peer, mac, master in (
            (layout.server_port(realm), layout.SERVER_INTERFACE, layout.server_mac(realm), swarm),
            (layout.realm_uplink(realm), layout.CLIENT_INTERFACE, layout.GATEWAY_MAC, bridge),
        ):
            connect(main, port, peer, mac, namespace, master.index)
        with Netlink(namespace) as inside:
            inside.add_address(inside.links()[layout.CLIENT_INTERFACE].index, layout.GATEWAY, layout.PREFIX_LEN)
        return True

    def _is_complete(self, main: Netlink, realm: int) -> bool:
        name = layout.node_namespace(realm)
        inode = self.namespaces.inode(name)
        if inode is None or kernel.namespace_inode(NETNS_DIRECTORY / name) != inode:
            return False
        outside = main.links()
        ports = {
            layout.server_port(realm): outside.get(layout.SWARM_BRIDGE),
            layout.realm_uplink(realm): outside.get(layout.realm_bridge(realm)),
        }
        for port, bridge in ports.items():
            if bridge is None or port not in outside or outside[port].master != bridge.index:
                return False
        with Netlink(self.namespaces.path(name)) as inside:
            links = inside.links()
            server, client = links.get(layout.SERVER_INTERFACE), links.get(layout.CLIENT_INTERFACE)
            if server is None or client is None or not (server.running and client.running):
                return False
            return layout.GATEWAY in inside.ipv4_addresses(client.index)

    # -- looking ----------------------------------------------------------------------------------------

    def realm(self, realm: int) -> Realm:
        """The realm as it is now. Raises :class:`TestbedError` if there is none."""
        namespace = self.require_realm(realm)
        with Netlink() as main, Netlink(namespace) as inside:
            server = inside.links().get(layout.SERVER_INTERFACE)
            return Realm(
                number=realm,
                complete=self._is_complete(main, realm),
                server_address=inside.ipv6_link_local(server.index) if server else None,
                processes=tuple(self.processes(layout.node_namespace(realm))),
            )

    def processes(self, *names: str) -> list[Process]:
        """The processes in these namespaces of ours (all of ours if none is named)."""
        inodes = (self.namespaces.inode(name) for name in names or self.namespaces.names())
        return processes.in_namespaces(inode for inode in inodes if inode is not None)

    # -- taking away ------------------------------------------------------------------------------------

    def stop(self) -> list[Process]:
        """Take everything away that is ours, and end what was started in it.

        Returns the processes that others run in our namespaces; they are left alone.
        """
        with self.locked():
            running = self.processes()
            processes.terminate(p for p in running if p.ours)
            with Netlink() as main:
                for name in [*main.links()]:
                    link = main.links().get(name)  # the other end of a pair may have gone with the first
                    if link is not None and link.ours:
                        main.delete(link.index)
            for name in self.namespaces.names():
                self.namespaces.remove(name)
            shutil.rmtree(self.state)
        return [p for p in running if not p.ours]

    def _remove_realm(self, main: Netlink, realm: int) -> None:
        name = layout.node_namespace(realm)
        processes.terminate(p for p in self.processes(name) if p.ours)
        for interface in (layout.server_port(realm), layout.realm_uplink(realm), layout.realm_bridge(realm)):
            link = main.links().get(interface)
            if link is not None and link.ours:
                main.delete(link.index)
        self.namespaces.remove(name)
        shutil.rmtree(self.runtime_directory(realm), ignore_errors=True)


def prepare_namespace(namespace: Path) -> None:
    """Set a new namespace up for interfaces to come: lo up, link-local addresses usable at once.

    Duplicate address detection would hold server0's address back for a second or two, although the hardware
    addresses of a test network cannot collide.
    """
    with kernel.entered(namespace):
        for scope in ("all", "default"):
            switch = Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad")
            with contextlib.suppress(OSError):  # a read-only /proc/sys: then the address takes its second
                switch.write_text("0")
    with Netlink(namespace) as inside:
        inside.set_up(inside.links()["lo"].index)


def connect(main: Netlink, port: str, peer: str, peer_mac: str, namespace: Path, bridge: int) -> None:
    """Lay a cable from ``bridge`` (its port will be called ``port``) to ``peer`` in ``namespace``.

    What is left of an earlier cable (one end, or both but not in place) is replaced.
    """
    with Netlink(namespace) as inside:
        if port in main.links() and peer not in inside.links():
            main.delete(main.links()[port].index)
        if port not in main.links():
            if peer in inside.links():
                inside.delete(inside.links()[peer].index)
            main.add_veth(port, peer, peer_mac, namespace)
        index = main.links()[port].index
        main.disable_link_local(index)
        main.set_master(index, bridge)
        main.set_up(index)
        inside.set_up(inside.links()[peer].index)
        with kernel.entered(namespace):
            kernel.disable_checksum_offload(peer)
