"""The server link: the multicast and unicast sockets over which nodes talk (PROTOCOL, Transport)."""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import Final

from ..core.effects import SendMulticast, SendUnicast
from ..core.events import SwarmReceived
from ..swarm import MAX_DATAGRAM, MULTICAST_GROUP, MULTICAST_PORT, UNICAST_PORT
from .datagrams import SO_TIMESTAMPNS, STAMP, SendQueue, Slots, waited_s
from .errors import StartError
from .interfaces import Interface

BATCH = 64  # datagrams taken from one socket before others get their turn
_RECEIVE_BUFFER_BYTES = 1 << 20
_NAME: Final = struct.Struct("@HH4x16sI")  # struct sockaddr_in6: family, port in network byte order, address, scope
_SENDER: Final = struct.Struct("@8x16s4x")


def open_socket(interface: str) -> socket.socket:
    """A UDP socket of that interface alone, which tells when each datagram came. Raises OSError."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Without SO_REUSEADDR a second node on this interface is refused instead of taking our datagrams.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    return sock


class Incoming:
    """Takes datagrams from sockets, in batches."""

    def __init__(self) -> None:
        # One byte more than anybody may send: the core sees that a longer datagram was too long.
        self._slots = Slots(BATCH, MAX_DATAGRAM + 1, _NAME.size, STAMP.size)

    def take_from(self, sock: socket.socket, *, is_multicast: bool) -> list[SwarmReceived]:
        """The datagrams that are pending at a socket, at most ``BATCH``, and how long each waited there. Raises OSError
        for a broken one."""
        slots = self._slots
        try:
            received = slots.receive(sock.fileno())
        except ConnectionRefusedError:
            return []
        payload = memoryview(slots.payload)
        sources = slots.names_of(len(received), _SENDER)
        stamps = slots.control_of(len(received), STAMP)
        events = []
        start = 0
        wall_now = time.time()
        for (control_size, _, length), (source,), stamp in zip(received, sources, stamps, strict=True):
            header, seconds, nanoseconds = stamp
            late_s = waited_s(header, seconds, nanoseconds, wall_now) if control_size >= STAMP.size else 0.0
            events.append(SwarmReceived(bytes(payload[start : start + length]), source, is_multicast, late_s))
            start += slots.size
        return events


class ServerLink:
    """Two UDP sockets bound to one interface. Raises OSError when they cannot be had.

    Datagrams to one peer leave together, at the latest with :meth:`flush`; one to the swarm leaves at once, after them.
    """

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self._group = socket.inet_ntop(socket.AF_INET6, MULTICAST_GROUP)
        self.multicast = open_socket(interface.name)
        self.unicast = open_socket(interface.name)
        index = struct.pack("@I", interface.index)
        try:
            self.multicast.bind((self._group, MULTICAST_PORT, 0, interface.index))
            self.multicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, MULTICAST_GROUP + index)
            self.unicast.bind(("::", UNICAST_PORT, 0, 0))
            self.unicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self.unicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            self.unicast.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        except OSError:
            self.close()
            raise
        self._incoming = Incoming()
        self._outgoing = SendQueue(self.unicast, BATCH, MAX_DATAGRAM, _NAME.size)

    def receive(self, sock: socket.socket) -> list[SwarmReceived]:
        """The datagrams that are pending at one of the two sockets, at most ``BATCH``. Raises OSError for a broken
        one."""
        return self._incoming.take_from(sock, is_multicast=sock is self.multicast)

    def send(self, effect: SendMulticast | SendUnicast) -> None:
        """Send a datagram from port 1235. Raises OSError."""
        index = self.interface.index
        if isinstance(effect, SendUnicast):
            name = _NAME.pack(socket.AF_INET6, socket.htons(UNICAST_PORT), effect.destination, index)
            self._outgoing.add(effect.data, name)
            return
        self._outgoing.send_waiting()  # in the order in which they were given
        self.unicast.sendto(effect.data, (self._group, MULTICAST_PORT, 0, index))

    def flush(self) -> list[OSError]:
        """Send what waits; returns what went wrong, one error for each datagram that was lost."""
        return self._outgoing.flush()

    def close(self) -> None:
        """Give the sockets back."""
        self.multicast.close()
        self.unicast.close()


def check_at_start(interface: Interface) -> None:
    """Raise :class:`StartError` if another node has the server link. A link that is not up yet is waited for later."""
    if not interface.is_up or interface.link_local is None:
        return
    try:
        ServerLink(interface).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"UDP ports {MULTICAST_PORT} and {UNICAST_PORT} are taken by another node; stop that one first"
        elif error.errno in (errno.EPERM, errno.EACCES):
            why = f"{error.strerror}; run as root or with the capability CAP_NET_RAW (binding to an interface)"
        else:
            why = error.strerror or str(error)
        raise StartError(f"server interface {interface.name}: {why}") from None
