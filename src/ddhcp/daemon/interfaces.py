"""Network interfaces as the kernel reports them over netlink."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.rtnl import RTM_DELLINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK

_IFF_UP = 1
_IFF_RUNNING = 0x40
_IFA_F_TENTATIVE = 0x40
_IFA_F_DADFAILED = 0x08
_HEADER = struct.Struct("=IH10x")
_LINK_INFO = struct.Struct("=B3xi8x")
_NETLINK_BUFFER_BYTES = 1 << 16


@dataclass(slots=True, frozen=True)
class Interface:
    """An interface: kernel index, hardware address (6 bytes, or b"" if it has another kind), MTU in bytes, whether
    it can carry packets, its first IPv4 address with prefix length, and its usable IPv6 link-local address (16
    bytes)."""

    name: str
    index: int
    mac: bytes
    mtu: int
    is_up: bool
    ipv4: tuple[int, int] | None
    link_local: bytes | None


def look(name: str) -> Interface | None:
    """What ``name`` is like now; None if there is no such interface."""
    with IPRoute() as netlink:
        indices = netlink.link_lookup(ifname=name)
        if not indices:
            return None
        links = list(netlink.get_links(indices[0]))
        if not links:
            return None
        link = links[0]
        mac_text = link.get_attr("IFLA_ADDRESS") or ""
        mac = bytes.fromhex(mac_text.replace(":", ""))
        ipv4: tuple[int, int] | None = None
        link_local: bytes | None = None
        for address in netlink.get_addr(index=indices[0]):
            if address["family"] == socket.AF_INET and ipv4 is None:
                packed = socket.inet_aton(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))
                ipv4 = (int.from_bytes(packed, "big"), address["prefixlen"])
            elif address["family"] == socket.AF_INET6 and link_local is None:
                packed = socket.inet_pton(socket.AF_INET6, address.get_attr("IFA_ADDRESS"))
                flags = address.get_attr("IFA_FLAGS") or address["flags"]
                if packed[:2] == b"\xfe\x80" and not flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED):
                    link_local = packed
        flags = link["flags"]
        return Interface(
            name=name,
            index=indices[0],
            mac=mac if len(mac) == 6 else b"",
            mtu=link.get_attr("IFLA_MTU") or 1500,
            is_up=bool(flags & _IFF_UP and flags & _IFF_RUNNING),
            ipv4=ipv4,
            link_local=link_local,
        )


def _deleted_links(data: bytes) -> Iterator[int]:
    """The indices in the RTM_DELLINK messages of a netlink datagram (rtnetlink(7): nlmsghdr, then ifinfomsg)."""
    position = 0
    while position + _HEADER.size + _LINK_INFO.size <= len(data):
        size, kind = _HEADER.unpack_from(data, position)
        family, index = _LINK_INFO.unpack_from(data, position + _HEADER.size)
        if kind == RTM_DELLINK and family == socket.AF_UNSPEC:  # of family AF_BRIDGE a port only left its bridge
            yield index
        position += max(_HEADER.size, (size + 3) & ~3)


class ChangeMonitor:
    """A netlink socket that becomes readable when a link or an address changes. What changed is looked up anew:
    messages may be lost under load, so they are a hint and never the truth."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def drain(self) -> set[int] | None:
        """Read what is pending; the indices of the links that were deleted, or None if messages were lost.

        A link that is made anew may get the index of its predecessor, so looking at what there is does not tell.
        """
        deleted: set[int] | None = set()
        while True:
            try:
                data = self._socket.recv(_NETLINK_BUFFER_BYTES)
            except BlockingIOError:
                return deleted
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                deleted = None
                continue
            if deleted is not None:
                deleted.update(_deleted_links(data))

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
