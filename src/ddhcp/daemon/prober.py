"""Asking by ARP who uses an address (RFC 5227), on the segment of a client interface."""

from __future__ import annotations

import socket
import struct

from ..core.effects import ProbeAddress
from ..core.events import AddressProbed
from .interfaces import Interface

_ETH_P_ARP = 0x0806
_ARP = struct.Struct("!HHBBH6sI6sI")
_ETHERNET = struct.Struct("!6s6sH")
_FRAME_SIZE = _ETHERNET.size + _ARP.size
_REQUEST, _REPLY = 1, 2
_IPV4 = 0x0800
_BROADCAST = b"\xff" * 6


class Prober:
    """ARP on one client interface. The socket is there only while an answer is awaited, so that the segment's ARP
    traffic does not wake the daemon. Raises OSError where it cannot be had."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._asked: dict[int, float] = {}  # until when an answer counts
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.bind((interface.name, _ETH_P_ARP))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def probe(self, effect: ProbeAddress, now: float) -> None:
        """Ask for an address. Raises OSError."""
        self._asked[effect.address] = now + effect.timeout_s
        self._socket.send(probe_frame(self._interface.mac or bytes(6), effect.address))

    def receive(self, now: float) -> AddressProbed | None:
        """The next answer to a question of ours, None if there is none yet. Raises OSError."""
        while True:
            try:
                frame = self._socket.recv(_FRAME_SIZE)
            except BlockingIOError:
                return None
            user = user_of(frame, self._interface.mac or b"")
            if user is not None and self._asked.get(user[0], 0.0) >= now:
                del self._asked[user[0]]
                return AddressProbed(self._interface.name, user[0], True, user[1])

    def is_done(self, now: float) -> bool:
        """Whether no answer is awaited any more."""
        self._asked = {address: until for address, until in self._asked.items() if until >= now}
        return not self._asked

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def probe_frame(mac: bytes, address: int) -> bytes:
    """An ARP probe (RFC 5227 2.1.1): a request for ``address`` from nobody's address, so that no cache learns from
    it."""
    arp = _ARP.pack(1, _IPV4, 6, 4, _REQUEST, mac, 0, bytes(6), address)
    return _ETHERNET.pack(_BROADCAST, mac, _ETH_P_ARP) + arp


def user_of(frame: bytes, own_mac: bytes) -> tuple[int, bytes] | None:
    """The IPv4 address that the sender of an ARP frame uses and its hardware address, or who else is probing for one
    (RFC 5227 2.1.1); None for our own frames and what is no ARP over Ethernet."""
    if len(frame) < _FRAME_SIZE:
        return None
    _, _, ethertype = _ETHERNET.unpack_from(frame)
    hardware, protocol, hardware_size, protocol_size, operation, sender_mac, sender, _, target = _ARP.unpack_from(
        frame, _ETHERNET.size
    )
    is_arp = (ethertype, hardware, protocol, hardware_size, protocol_size) == (_ETH_P_ARP, 1, _IPV4, 6, 4)
    if not is_arp or sender_mac == own_mac or operation not in (_REQUEST, _REPLY):
        return None
    if sender:
        return sender, sender_mac
    return (target, sender_mac) if operation == _REQUEST else None
