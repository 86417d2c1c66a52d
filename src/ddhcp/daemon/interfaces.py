"""Network interfaces as the kernel reports them over netlink (rtnetlink(7)).

Spoken directly, because the daemon needs only two questions and one kind of notice of it: a netlink library would cost
half the daemon's memory and most of its start.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

from ..values import dataclass

_NETLINK_GET_STRICT_CHK = 12  # the kernel answers only for the interface asked for (Linux 4.20)
_SOL_NETLINK = 270
_RTMGRP_LINK = 0x1
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST = 0x1
_NLM_F_DUMP_INTERRUPTED = 0x10
_NLM_F_DUMP = 0x300
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_LINK_INFO = struct.Struct("=BxHiII")  # ifinfomsg: family, hardware type, index, flags, changed flags
_ADDRESS_INFO = struct.Struct("=BBBBi")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_TYPE = 0x3FFF  # without the bits for nesting and byte order
_UINT32 = struct.Struct("=I")
_INT32 = struct.Struct("=i")
_MAX_NAME_BYTES = 15
_DEFAULT_MTU = 1500
_NETLINK_BUFFER_BYTES = 1 << 16
_MAX_DUMPS = 5  # of the addresses, while they change under our eyes
_TIMEOUT_S = 2.0  # the kernel answers at once; nothing may ever wait for it


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
    """What ``name`` is like now; None if there is no such interface. Raises OSError."""
    encoded = name.encode(errors="replace")
    if not 0 < len(encoded) <= _MAX_NAME_BYTES:
        return None
    with contextlib.closing(_Questions()) as kernel:
        wanted = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(encoded) + 1, _IFLA_IFNAME) + encoded + b"\0"
        try:
            answer = kernel.ask(_RTM_GETLINK, 0, _LINK_INFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + wanted)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        body = next(body for kind, body in answer if kind == _RTM_NEWLINK)
        _, _, index, flags, _ = _LINK_INFO.unpack_from(body)
        attributes = dict(_attributes(body, _LINK_INFO.size))
        mac = attributes.get(_IFLA_ADDRESS, b"")
        ipv4, link_local = _addresses(kernel, index)
    return Interface(
        name=name,
        index=index,
        mac=mac if len(mac) == 6 else b"",
        mtu=_UINT32.unpack(attributes[_IFLA_MTU])[0] if _IFLA_MTU in attributes else _DEFAULT_MTU,
        is_up=bool(flags & _IFF_UP and flags & _IFF_RUNNING),
        ipv4=ipv4,
        link_local=link_local,
    )


def _addresses(kernel: _Questions, index: int) -> tuple[tuple[int, int] | None, bytes | None]:
    """The first IPv4 address with its prefix length, and the usable IPv6 link-local address of an interface."""
    ipv4: tuple[int, int] | None = None
    link_local: bytes | None = None
    question = _ADDRESS_INFO.pack(socket.AF_UNSPEC, 0, 0, 0, index)
    for kind, body in kernel.ask(_RTM_GETADDR, _NLM_F_DUMP, question):
        if kind != _RTM_NEWADDR:
            continue
        family, prefix_len, low_flags, _, its_index = _ADDRESS_INFO.unpack_from(body)
        if its_index != index:
            continue
        attributes = dict(_attributes(body, _ADDRESS_INFO.size))
        # On a point-to-point link IFA_ADDRESS is the other end's.
        address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
        flags = _UINT32.unpack(attributes[_IFA_FLAGS])[0] if _IFA_FLAGS in attributes else low_flags
        if family == socket.AF_INET and ipv4 is None and len(address) == 4:
            ipv4 = (int.from_bytes(address, "big"), prefix_len)
        elif (
            family == socket.AF_INET6
            and link_local is None
            and address[:2] == b"\xfe\x80"
            and not flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)
        ):
            link_local = address
    return ipv4, link_local


class _Questions:
    """A socket on which the kernel answers questions."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_S)
        with contextlib.suppress(OSError):  # an older kernel answers for all interfaces, which does as well
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._sequence = 0

    def ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """The messages (type, body) with which the kernel answers. Raises OSError as the kernel says."""
        answer: list[tuple[int, bytes]] = []
        for _ in range(_MAX_DUMPS):
            self._sequence += 1
            header = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, self._sequence, 0)
            self._socket.sendto(header + body, (0, 0))
            answer, is_whole = self._receive(is_dump=bool(flags & _NLM_F_DUMP))
            if is_whole:
                break
        return answer

    def _receive(self, is_dump: bool) -> tuple[list[tuple[int, bytes]], bool]:
        answer: list[tuple[int, bytes]] = []
        is_whole = True
        while True:
            for kind, flags, sequence, body in _messages(self._socket.recv(_NETLINK_BUFFER_BYTES)):
                if sequence != self._sequence:
                    continue
                is_whole = is_whole and not flags & _NLM_F_DUMP_INTERRUPTED
                if kind == _NLMSG_ERROR:
                    number = -_INT32.unpack_from(body)[0]
                    raise OSError(number, "netlink: " + errno.errorcode.get(number, str(number)))
                if kind == _NLMSG_DONE:
                    return answer, is_whole
                answer.append((kind, body))
                if not is_dump:
                    return answer, True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of a netlink datagram: type, flags, sequence number, body."""
    position = 0
    while position + _HEADER.size <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
        if size < _HEADER.size:
            return
        yield kind, flags, sequence, data[position + _HEADER.size : position + size]
        position += (size + 3) & ~3


def _attributes(body: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message's body, from ``position`` on: type, value."""
    while position + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, position)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _ATTRIBUTE_TYPE, body[position + _ATTRIBUTE.size : position + size]
        position += (size + 3) & ~3


def _deleted_links(data: bytes) -> Iterator[int]:
    """The indices in the messages of a netlink datagram that tell of deleted links."""
    for kind, _, _, body in _messages(data):
        if kind == _RTM_DELLINK:
            family, _, index, _, _ = _LINK_INFO.unpack_from(body)
            if family == socket.AF_UNSPEC:  # of family AF_BRIDGE a port only left its bridge
                yield index


class ChangeMonitor:
    """A netlink socket that becomes readable when a link or an address changes. What changed is looked up anew:
    messages may be lost under load, so they are a hint and never the truth."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))

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
