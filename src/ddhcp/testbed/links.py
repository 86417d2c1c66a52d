"""Interfaces, through rtnetlink: a typed front to the parts of pyroute2 that the test network needs."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2 import IPRoute

from . import kernel
from .layout import INTERFACE_GROUP

_ADDR_GEN_MODE_NONE = 1  # no IPv6 link-local address when the interface comes up
_OPERSTATE_WITH_CARRIER = ("UP", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. ``ours``: made by the test network. ``master``: index of its bridge, 0 if it has none.
    ``running``: up and with carrier."""

    index: int
    name: str
    mac: str
    ours: bool
    master: int
    running: bool


class Netlink:
    """rtnetlink in one network namespace: that of the calling thread, or the one bound to ``namespace``.

    Methods raise :class:`pyroute2.NetlinkError` where the kernel refuses.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        with kernel.entered(namespace) if namespace else contextlib.nullcontext():
            self._route: Any = IPRoute()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._route.close()

    def links(self) -> dict[str, Link]:
        """All interfaces by name."""
        found = {}
        for message in self._route.get_links():
            name = message.get("ifname")
            found[name] = Link(
                index=message["index"],
                name=name,
                mac=message.get("address") or "",
                ours=message.get("group") == INTERFACE_GROUP,
                master=message.get("master") or 0,
                running=message.get("state") == "up"
                and message.get("operstate") in _OPERSTATE_WITH_CARRIER
                and message.get("carrier") != 0,
            )
        return found

    def add_bridge(self, name: str, mac: str) -> None:
        """Make a bridge that forwards at once and floods multicast: a plain, dumb Ethernet."""
        self._route.link(
            "add",
            kind="bridge",
            ifname=name,
            address=mac,
            group=INTERFACE_GROUP,
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
        )

    def add_veth(self, name: str, peer: str, peer_mac: str, peer_namespace: Path) -> None:
        """Make a cable: ``name`` here and ``peer`` in another namespace."""
        fd = os.open(peer_namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._route.link(
                "add",
                kind="veth",
                ifname=name,
                group=INTERFACE_GROUP,
                peer={"ifname": peer, "address": peer_mac, "net_ns_fd": fd, "group": INTERFACE_GROUP},
            )
        finally:
            os.close(fd)

    def delete(self, index: int) -> None:
        """Delete an interface (both ends of a veth)."""
        self._route.link("del", index=index)

    def set_up(self, index: int) -> None:
        """Set the interface administratively up."""
        self._route.link("set", index=index, state="up")

    def set_down(self, index: int) -> None:
        """Set the interface administratively down; the other end of a veth loses its carrier."""
        self._route.link("set", index=index, state="down")

    def set_master(self, index: int, bridge: int) -> None:
        """Make the interface a port of ``bridge`` (an index; 0 takes it out)."""
        self._route.link("set", index=index, master=bridge)

    def set_mac(self, index: int, mac: str) -> None:
        """Give the interface another hardware address; the IPv6 link-local address that it has stays."""
        self._route.link("set", index=index, address=mac)

    def stop_learning(self, index: int) -> None:
        """Have the bridge not note which hardware addresses are behind this port of it."""
        self._route.brport("set", index=index, learning=0)

    def disable_link_local(self, index: int) -> None:
        """Give the interface no IPv6 link-local address when it comes up: a bridge port needs none, and its
        router solicitations would stand in every capture."""
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
        self._route.link("set", index=index, IFLA_AF_SPEC={"attrs": [("AF_INET6", mode)]})

    def add_address(self, index: int, address: str, prefix_len: int) -> None:
        """Give the interface an IPv4 address; nothing changes if it has it."""
        self._route.addr("replace", index=index, address=address, prefixlen=prefix_len)

    def ipv4_addresses(self, index: int) -> list[str]:
        """The IPv4 addresses of the interface, in the kernel's order."""
        return [m.get("local") for m in self._route.get_addr(family=socket.AF_INET, index=index)]

    def ipv6_link_local(self, index: int) -> str | None:
        """The interface's IPv6 link-local address, ``None`` if it has none."""
        for message in self._route.get_addr(family=socket.AF_INET6, index=index):
            address: str = message.get("address")
            if address.startswith("fe80:"):
                return address
        return None
