"""Where a reply goes (RFC 2131 4.1): one ladder, a pure function."""

from __future__ import annotations

from typing import Final

from ..values import dataclass
from . import constants as c
from ._message import Message


@dataclass(slots=True, init=False)
class Delivery:
    """Destination of a reply.

    ``address``: IPv4. ``port``: UDP. ``mac``: hardware destination of a raw frame; None lets the kernel route the
    datagram, ARP included.
    """

    address: int
    port: int
    mac: bytes | None

    def __init__(self, address: int, port: int, mac: bytes | None) -> None:
        self.address = address
        self.port = port
        self.mac = mac


_NO_MAC: Final = bytes(c.ETHERNET_ADDRESS_SIZE)
_BROADCAST: Final = Delivery(c.BROADCAST_ADDRESS, c.CLIENT_PORT, c.BROADCAST_MAC)


def delivery(
    request: Message,
    message_type: int,
    your_address: int,
    source_address: int = 0,
    *,
    always_broadcast: bool = False,
    never_broadcast: bool = False,
) -> Delivery:
    """Where the answer of ``message_type`` to ``request`` (from :func:`parse_request`) goes, by rules E1-E6 in order.

    ``your_address``: the address offered or acknowledged. ``source_address``: of the request's datagram, for INFORM
    messages that leave ciaddr empty (E6). ``always_broadcast`` and ``never_broadcast`` overrule the client's broadcast
    flag (E10); the former wins, and without a usable hardware address a client that has no IPv4 address is only reached
    by broadcast.
    """
    if request.giaddr:
        return Delivery(request.giaddr, c.SERVER_PORT, None)
    if message_type == c.NAK:
        return _BROADCAST
    kind = request.message_type
    if kind == c.INFORM:
        target = request.ciaddr or source_address
        return Delivery(target, c.CLIENT_PORT, None) if target else _BROADCAST
    # A ciaddr in DISCOVER or beside option 50 is a client's mistake: it may not own that address (rule A13).
    if request.ciaddr and kind != c.DISCOVER and request.requested_address is None:
        return Delivery(request.ciaddr, c.CLIENT_PORT, None)
    if always_broadcast or not your_address or (request.flags & c.FLAG_BROADCAST and not never_broadcast):
        return _BROADCAST
    mac = request.chaddr[: c.ETHERNET_ADDRESS_SIZE]
    if request.hlen != len(mac) or request.htype != c.HTYPE_ETHERNET or mac[0] & 1 or mac == _NO_MAC:
        return _BROADCAST  # no address to send a frame to, or one that is a group's (rule I31)
    return Delivery(your_address, c.CLIENT_PORT, mac)
