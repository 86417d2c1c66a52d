"""A client interface: DHCP over UDP, and raw frames to clients that have no address yet."""

from __future__ import annotations

import errno
import socket
import struct

from ..core.effects import SendDhcp
from ..core.events import ClientLink, DhcpReceived
from ..dhcp import constants, udp_frame
from .errors import StartError
from .interfaces import Interface

_RECEIVE_BUFFER_BYTES = 4 << 20
_MAX_DHCP_BYTES = 65535
_IP_PKTINFO = 8
_ETH_P_IP = 0x0800
_ANCILLARY_BYTES = socket.CMSG_SPACE(12)


class ClientSockets:
    """The sockets of one client interface. Raises OSError when they cannot be had."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self._ip_id = 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Without SO_REUSEADDR the kernel refuses a second server on this interface, and allows others on other
            # ones.
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            self.udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
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

    def link(self) -> ClientLink:
        """What the core needs to know of the interface, which must have an IPv4 address."""
        assert self.interface.ipv4 is not None
        address, prefix_len = self.interface.ipv4
        return ClientLink(self.interface.name, address, prefix_len, self.interface.mac or bytes(6), self.interface.mtu)

    def receive(self) -> DhcpReceived | None:
        """The next datagram, or None if none is pending. Raises OSError for a broken socket."""
        try:
            data, ancillary, _, sender = self.udp.recvmsg(_MAX_DHCP_BYTES, _ANCILLARY_BYTES)
        except (BlockingIOError, ConnectionRefusedError):
            return None
        destination = constants.BROADCAST_ADDRESS
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                destination = int.from_bytes(value[8:12], "big")
        source = int.from_bytes(socket.inet_aton(sender[0]), "big")
        return DhcpReceived(self.interface.name, data, source, destination)

    def send(self, effect: SendDhcp) -> None:
        """Send a reply. Raises OSError."""
        if effect.mac is not None:
            self._ip_id = (self._ip_id + 1) & 0xFFFF
            frame = udp_frame(
                self.interface.mac or bytes(6), effect.mac, effect.source, effect.address, constants.SERVER_PORT,
                effect.port, effect.payload, self._ip_id,
            )  # fmt: skip
            self.raw.send(frame)
            return
        source = struct.pack("@I4s4s", 0, effect.source.to_bytes(4, "big"), bytes(4))
        to = (socket.inet_ntoa(effect.address.to_bytes(4, "big")), effect.port)
        self.udp.sendmsg([effect.payload], [(socket.IPPROTO_IP, _IP_PKTINFO, source)], 0, to)

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
