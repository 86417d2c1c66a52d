"""Where a reply goes (RFC 2131 4.1): one ladder, a pure function."""

from __future__ import annotations

from dataclasses import dataclass

from . import constants as c
from ._message import Message


@dataclass(slots=True, frozen=True)
class Delivery:
    """Destination of a reply. ``mac``: hardware destination of a raw frame; None lets the kernel route the datagram."""

    address: int
    port: int
    mac: bytes | None


_BROADCAST = Delivery(c.BROADCAST_ADDRESS, c.CLIENT_PORT, c.BROADCAST_MAC)


def delivery(request: Message, message_type: int, your_address: int, source_address: int = 0) -> Delivery:
    """Where the answer of ``message_type`` to ``request`` goes.

    ``your_address``: the address offered or acknowledged. ``source_address``: of the request's datagram, for INFORM
    messages that leave ciaddr empty. Rules E1-E6 in their order: relay, NAK by broadcast, ciaddr, broadcast flag,
    frame to the hardware address.
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
    if request.broadcast_flag or not your_address:
        return _BROADCAST
    mac = request.hardware_address
    if len(mac) != 6 or mac[0] & 1 or not any(mac):
        return _BROADCAST
    return Delivery(your_address, c.CLIENT_PORT, mac)
