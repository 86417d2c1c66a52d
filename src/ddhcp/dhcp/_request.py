"""What a server checks before it thinks: the packet's shape, who sent it, and under which identity it is known."""

from __future__ import annotations

from typing import Final

from . import constants as c
from ._message import DecodeError, Message, is_unicast

# RFC 3396 would allow longer ones; no client needs them and each is kept in memory (rules A8, I3).
MAX_CLIENT_ID: Final = 255

REASONS: Final = frozenset(
    (
        "too-short", "bad-cookie", "reply", "not-a-request", "hlen", "hardware-address", "bootp", "bad-message-type",
        "message-type", "client-id-too-long", "no-identity", "bad-giaddr", "bad-ciaddr",
    )
)  # fmt: skip
"""Every reason that :func:`parse_request` can give.

"reply" is a BOOTREPLY on the server's port: another server's answer, which an operator wants to know of (rule I28).
"""

_ETHERNET_KEY: Final = b"\x01\x01"  # what the key of a client known by its Ethernet address begins with
_REQUEST_TYPES: Final = frozenset(c.REQUEST_TYPES)


def parse_request(data: bytes, *, leasequery: bool = False) -> Message:
    """Read what a client or relay sent to a server (rules A1-A13, I28, I31).

    ``leasequery``: accept DHCPLEASEQUERY too, which needs no identity (RFC 4388 6.1). A ciaddr where the client's state
    has none (in DISCOVER, or beside option 50 in REQUEST) is set to 0 (rule A13); a server identifier in DISCOVER is
    left in place, for the caller to ignore (rule A14). Raises :class:`DecodeError` with a reason of :data:`REASONS`,
    and nothing else whatever the bytes.
    """
    message = Message.decode(data)
    if message.op != c.BOOTREQUEST:
        raise DecodeError("reply" if message.op == c.BOOTREPLY else "not-a-request")
    kind = message.message_type
    if kind not in _REQUEST_TYPES and not (leasequery and kind == c.LEASEQUERY):
        raise DecodeError(_why_not(message, kind))
    htype, hlen, chaddr = message.htype, message.hlen, message.chaddr
    if hlen != c.ETHERNET_ADDRESS_SIZE or htype != c.HTYPE_ETHERNET:
        _check_hardware(message)
    elif chaddr[0] & 1:
        raise DecodeError("hardware-address")
    client_id = message.options.get(c.OPT_CLIENT_ID)
    if client_id and len(client_id) > MAX_CLIENT_ID:
        raise DecodeError("client-id-too-long")
    has_address = bool(hlen and chaddr[0]) or any(chaddr[:hlen])
    if not has_address and kind != c.LEASEQUERY and (not client_id or _repeats_hardware(message, client_id)):
        raise DecodeError("no-identity")
    if message.giaddr and not is_unicast(message.giaddr):
        raise DecodeError("bad-giaddr")
    if message.ciaddr:
        if kind == c.DISCOVER or (kind == c.REQUEST and message.requested_address is not None):
            message.ciaddr = 0
        elif not is_unicast(message.ciaddr):
            raise DecodeError("bad-ciaddr")
    return message


def _why_not(message: Message, kind: int) -> str:
    """The reason to refuse a message type (rule A10)."""
    if c.OPT_MESSAGE_TYPE not in message.options:
        return "bootp"  # RFC 1534 service is not offered
    return "message-type" if kind else "bad-message-type"


def _check_hardware(message: Message) -> None:
    """Hardware other than Ethernet with its 6 bytes (rule A2). None at all is as good as an address of zeros."""
    htype, hlen = message.htype, message.hlen
    if hlen > c.CHADDR_SIZE:
        raise DecodeError("hlen")
    if hlen and (htype == 0 or htype == c.HTYPE_ETHERNET or (htype == c.HTYPE_IEEE802 and message.chaddr[0] & 1)):
        raise DecodeError("hardware-address")


def _repeats_hardware(message: Message, client_id: bytes) -> bool:
    """Whether the client identifier says no more than hardware type and address do."""
    return client_id[0] == message.htype and client_id[1:] == message.chaddr[: message.hlen]


def hardware_identity(htype: int, hardware_address: bytes) -> bytes:
    """The key of a client known by its hardware type (one byte) and address alone (rule G1)."""
    if htype == c.HTYPE_ETHERNET:
        return _ETHERNET_KEY + hardware_address
    return b"\x01" + bytes((htype,)) + hardware_address


def identity(message: Message, *, ignore_client_id: bool = False) -> bytes:
    """The client's key: its client identifier if it sent one, else its hardware address (RFC 2131 4.2, rule G1).

    The two key spaces cannot collide. A client identifier that merely repeats hardware type and address is the same
    client as one that sends none (rule G2). ``ignore_client_id``: go by the hardware address alone, if there is one
    (rule G4).
    """
    hardware_address = message.chaddr[: message.hlen]
    client_id = message.options.get(c.OPT_CLIENT_ID)
    if (
        not client_id
        or (client_id[0] == message.htype and client_id[1:] == hardware_address)
        or (ignore_client_id and any(hardware_address))
    ):
        return hardware_identity(message.htype, hardware_address)
    return b"\x00" + client_id
