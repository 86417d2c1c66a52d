"""A client interface: DHCP over UDP, and raw frames to clients that have no address yet."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from typing import Final

from ..core.effects import SendDhcp
from ..core.events import ClientLink, DhcpReceived
from ..dhcp import constants, udp_frame
from .datagrams import HEADER, SO_TIMESTAMPNS, STAMP, SendQueue, Slots, waited_s
from .errors import StartError
from .interfaces import Interface

MAX_REPLY_BYTES = 9216  # with headers: the largest MTU of real Ethernets
_RECEIVE_BUFFER_BYTES = 4 << 20
_SO_RCVBUFFORCE = 33
_IP_PKTINFO: Final = 8
_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_MSG_TRUNC: Final = int(socket.MSG_TRUNC)  # a plain number: combining enums takes longer than all else here
_AF_INET = socket.htons(socket.AF_INET)  # of a socket address all but the family is in network byte order
_NAME: Final = struct.Struct("!HHI8x")  # struct sockaddr_in: family, port, address
_SOURCE: Final = struct.Struct("!4xI8x")  # of it, what matters of a datagram that came
_SENT_CONTROL_BYTES: Final = socket.CMSG_SPACE(12)
# The header and in_pktinfo: interface, source for a reply, destination of a request
_PACKET_INFO: Final = struct.Struct(f"@{HEADER.size}si4s4s")
_PACKET_INFO_HEADER: Final = HEADER.pack(_PACKET_INFO.size, _IPPROTO_IP, _IP_PKTINFO)
# What comes with a datagram, in this order: its time with header, seconds and nanoseconds, and its packet information
# with header and destination. Headers are compared as they are: each number that is read takes time.
_CONTROL_BYTES: Final = STAMP.size + _SENT_CONTROL_BYTES
_RECEIVED_INFO: Final = struct.Struct(f"@{HEADER.size}sll{HEADER.size}s8x4s{_SENT_CONTROL_BYTES - _PACKET_INFO.size}x")
_RECEIVED_BYTES: Final = _CONTROL_BYTES - (_SENT_CONTROL_BYTES - _PACKET_INFO.size)
_BROADCAST: Final = b"\xff\xff\xff\xff"
_FRESH_S: Final = 0.05  # one that waited for less makes no difference to anybody
BATCH: Final = 64  # datagrams taken from one socket before others get their turn; one commit serves them all
MAX_DHCP_BYTES: Final = 4096  # no client has so much to say; what is longer is dropped


class ClientSockets:
    """The sockets of one client interface. Raises OSError when they cannot be had.

    ``oversized`` counts the datagrams that were longer than ``MAX_DHCP_BYTES``.
    """

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.oversized = 0
        self._ip_id = 0
        self._source: int | None = None
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Without SO_REUSEADDR the kernel refuses a second server on this interface, and allows others on other
            # ones.
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._enlarge_buffer()
            self.udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self.udp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self.udp.bind(("", constants.SERVER_PORT))
            # Protocol 0: this socket only sends, so the kernel queues nothing for it.
            self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except OSError:
            self.udp.close()
            raise
        try:
            self.raw.bind((interface.name, 0))
        except OSError:
            self.close()
            raise
        self._udp_descriptor = self.udp.fileno()
        self._incoming = Slots(BATCH, MAX_DHCP_BYTES, _NAME.size, _CONTROL_BYTES)
        self._frames = SendQueue(self.raw, BATCH, MAX_REPLY_BYTES)
        self._replies = SendQueue(self.udp, BATCH, MAX_REPLY_BYTES, _NAME.size, _SENT_CONTROL_BYTES)

    def _enlarge_buffer(self) -> None:
        """Have room for a burst: a client whose message is lost asks again only after seconds. The system's limit is
        some hundred messages; with CAP_NET_ADMIN it does not hold."""
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        with contextlib.suppress(PermissionError):
            self.udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)

    def link(self) -> ClientLink:
        """What the core needs to know of the interface, which must have an IPv4 address."""
        assert self.interface.ipv4 is not None
        address, prefix_len = self.interface.ipv4
        return ClientLink(self.interface.name, address, prefix_len, self.interface.mac or bytes(6), self.interface.mtu)

    def receive(self) -> list[DhcpReceived]:
        """The datagrams that are pending, at most ``BATCH``. Raises OSError for a broken socket."""
        slots, name = self._incoming, self.interface.name
        try:
            received = slots.receive(self._udp_descriptor)
        except ConnectionRefusedError:  # an earlier reply found nobody
            return []
        payload = memoryview(slots.payload)
        sources = slots.names_of(len(received), _SOURCE)
        infos = slots.control_of(len(received), _RECEIVED_INFO)
        events = []
        start = 0
        wall_now = time.time()
        may_be_late = True  # those behind one that did not wait did not either
        destination, destination_bytes = constants.BROADCAST_ADDRESS, _BROADCAST
        for (control_size, flags, length), (source,), info in zip(received, sources, infos, strict=True):
            if flags & _MSG_TRUNC:
                self.oversized += 1
            else:
                late_s = 0.0
                stamp, seconds, nanoseconds, header, to = info
                if control_size < _RECEIVED_BYTES or header != _PACKET_INFO_HEADER:
                    to = _BROADCAST
                elif may_be_late:
                    late_s = waited_s(stamp, seconds, nanoseconds, wall_now)
                    may_be_late = late_s >= _FRESH_S
                if to != destination_bytes:  # most are for the address that the one before was for
                    destination, destination_bytes = int.from_bytes(to, "big"), to
                data = payload[start : start + length].tobytes()
                events.append(DhcpReceived(name, data, source, destination, late_s))
            start += MAX_DHCP_BYTES
        return events

    def send(self, effect: SendDhcp) -> None:
        """Have a reply sent, at the latest by :meth:`flush`. Raises OSError."""
        if effect.mac is not None:
            self._ip_id = (self._ip_id + 1) & 0xFFFF
            frame = udp_frame(
                self.interface.mac or bytes(6), effect.mac, effect.source, effect.address, constants.SERVER_PORT,
                effect.port, effect.payload, self._ip_id,
            )  # fmt: skip
            self._frames.add(frame)
            return
        if effect.source != self._source:
            self._source = effect.source
            source = effect.source.to_bytes(4, "big")
            self._replies.set_control(_PACKET_INFO.pack(_PACKET_INFO_HEADER, 0, source, bytes(4)))
        self._replies.add(effect.payload, _NAME.pack(_AF_INET, effect.port, effect.address))

    def flush(self) -> list[OSError]:
        """Send what waits; returns what went wrong, one error for each reply that was lost."""
        return self._replies.flush() + self._frames.flush()

    def close(self) -> None:
        """Give the sockets back."""
        self.udp.close()
        self.raw.close()


def open_at_start(interface: Interface) -> ClientSockets:
    """The sockets of a client interface, or a :class:`StartError` that says what keeps them from us."""
    try:
        return ClientSockets(interface)
    except OSError as error:
        raise StartError(f"client interface {interface.name}: {explain(error)}") from None


def explain(error: OSError) -> str:
    """Why a socket could not be had."""
    if error.errno == errno.EADDRINUSE:
        return f"port {constants.SERVER_PORT} is taken by another DHCP server; stop that one first"
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            f"{error.strerror}; run as root or with the capabilities CAP_NET_RAW (raw frames, binding to an "
            f"interface) and CAP_NET_BIND_SERVICE (port {constants.SERVER_PORT})"
        )
    return error.strerror or str(error)
