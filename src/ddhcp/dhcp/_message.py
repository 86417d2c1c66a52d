"""DHCPv4 messages: reading them with every rule a server applies at the door, and writing them.

Options stay a map from code to raw bytes; typed accessors read them on demand, each by its RFC's rule. An option
this module has no name for survives a round trip.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from . import constants as c

_FIXED = struct.Struct("!4BIHH4I16s64s128s4s")
HEADER_SIZE = _FIXED.size  # 240: the BOOTP header and the magic cookie
_MAX_CLIENT_ID = 255  # RFC 3396 would allow longer ones; no client needs them and each is kept in memory (rule A8)
_MAX_HOSTNAME = 255


class DecodeError(ValueError):
    """A packet a server must not answer; ``reason`` is a stable name to count it under (rule A18)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Message:
    """A BOOTP/DHCP message (RFC 2131 section 2). Addresses are integers, ``chaddr``, ``sname`` and ``file`` their full
    fields, ``options`` the aggregated options (RFC 3396) in the order of first appearance."""

    op: int = c.BOOTREQUEST
    htype: int = c.HTYPE_ETHERNET
    hlen: int = 6
    hops: int = 0
    xid: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: int = 0
    yiaddr: int = 0
    siaddr: int = 0
    giaddr: int = 0
    chaddr: bytes = bytes(16)
    sname: bytes = bytes(64)
    file: bytes = bytes(128)
    options: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Read a message. Raises :class:`DecodeError` when it is no DHCP message at all (rules A1, A3-A6)."""
        if len(data) < HEADER_SIZE:
            raise DecodeError("too-short")
        fields = _FIXED.unpack_from(data)
        if fields[-1] != c.MAGIC_COOKIE:
            raise DecodeError("bad-cookie")
        message = cls(*fields[:-1])
        options = _read_area(data, HEADER_SIZE, message.options)
        overload = options.pop(c.OPT_OVERLOAD, b"")
        if overload in (b"\1", b"\2", b"\3"):
            # RFC 2131 4.1: options field, then file, then sname. Option 52 inside those is not obeyed (rule A6).
            if overload[0] & 1:
                _read_area(message.file, 0, options)
                message.file = bytes(128)
            if overload[0] & 2:
                _read_area(message.sname, 0, options)
                message.sname = bytes(64)
            options.pop(c.OPT_OVERLOAD, None)
        return message

    def encode(self) -> bytes:
        """The message as bytes, its options in order, long ones split (RFC 3396), without any size limit."""
        return self.header() + encode_options(self.options) + b"\xff"

    def header(self) -> bytes:
        """The fixed part and the magic cookie, 240 bytes."""
        return _FIXED.pack(
            self.op, self.htype, self.hlen, self.hops, self.xid, self.secs, self.flags, self.ciaddr, self.yiaddr,
            self.siaddr, self.giaddr, self.chaddr, self.sname, self.file, c.MAGIC_COOKIE,
        )  # fmt: skip

    def _address(self, code: int) -> int | None:
        value = self.options.get(code)
        return int.from_bytes(value, "big") if value is not None and len(value) == 4 else None

    @property
    def message_type(self) -> int:
        """Option 53, or 0 if it is absent or not one byte long (RFC 2132 9.6, rule A7)."""
        value = self.options.get(c.OPT_MESSAGE_TYPE, b"")
        return value[0] if len(value) == 1 else 0

    @property
    def requested_address(self) -> int | None:
        """Option 50 (RFC 2132 9.1)."""
        return self._address(c.OPT_REQUESTED_ADDRESS)

    @property
    def server_identifier(self) -> int | None:
        """Option 54 (RFC 2132 9.7)."""
        return self._address(c.OPT_SERVER_ID)

    @property
    def lease_time_s(self) -> int | None:
        """Option 51: the lease the client would like, in seconds (RFC 2132 9.2)."""
        return self._address(c.OPT_LEASE_TIME)

    @property
    def max_size(self) -> int | None:
        """Option 57: the largest datagram the client takes, in bytes with IP and UDP headers (RFC 2132 9.10)."""
        value = self.options.get(c.OPT_MAX_SIZE, b"")
        return int.from_bytes(value, "big") if len(value) == 2 else None

    @property
    def client_id(self) -> bytes | None:
        """Option 61; one byte is accepted though RFC 2132 9.14 asks for two, none counts as absent (rule A8)."""
        return self.options.get(c.OPT_CLIENT_ID) or None

    @property
    def hardware_address(self) -> bytes:
        """The used part of chaddr."""
        return self.chaddr[: self.hlen]

    @property
    def broadcast_flag(self) -> bool:
        """Whether the client cannot take unicast before it has an address (RFC 2131 section 2)."""
        return bool(self.flags & c.FLAG_BROADCAST)

    @property
    def hostname(self) -> bytes:
        """Option 12 without trailing NULs; b"" if absent (rule A11). Raw bytes: escape before showing."""
        return self.options.get(c.OPT_HOSTNAME, b"").rstrip(b"\0")[:_MAX_HOSTNAME]


def parse_request(data: bytes) -> Message:
    """Read what a client sent, applying what a server checks before it thinks (rules A1-A10, I28, I31).

    Raises :class:`DecodeError`.
    """
    message = Message.decode(data)
    if message.op != c.BOOTREQUEST:
        raise DecodeError("not-a-request")
    kind = message.message_type
    if kind not in c.REQUEST_TYPES:
        if c.OPT_MESSAGE_TYPE not in message.options:
            raise DecodeError("bootp")
        raise DecodeError("message-type" if kind else "bad-message-type")
    if message.hlen > 16:
        raise DecodeError("hlen")
    if message.htype == c.HTYPE_ETHERNET:
        if message.hlen not in (0, 6) or (message.hlen == 6 and message.chaddr[0] & 1):
            raise DecodeError("hardware-address")
    elif message.htype == 0 and message.hlen:
        raise DecodeError("hardware-address")
    client_id = message.client_id
    if client_id is not None and len(client_id) > _MAX_CLIENT_ID:
        raise DecodeError("client-id-too-long")
    if client_id is None and not any(message.hardware_address):
        raise DecodeError("no-identity")
    return message


def hardware_identity(htype: int, hardware_address: bytes) -> bytes:
    """The key of a client known by its hardware address alone."""
    return b"\x01" + bytes((htype,)) + hardware_address


def identity(message: Message) -> bytes:
    """The client's key (rules G1, G2): its client identifier if it sent one, else its hardware address.

    The two key spaces cannot collide. A client identifier that merely repeats hardware type and address is the same
    client as one that sends none.
    """
    hardware_address = message.chaddr[: message.hlen]
    client_id = message.options.get(c.OPT_CLIENT_ID)
    if client_id and not (client_id[0] == message.htype and client_id[1:] == hardware_address):
        return b"\x00" + client_id
    return b"\x01" + bytes((message.htype,)) + hardware_address


def _read_area(data: bytes, position: int, options: dict[int, bytes]) -> dict[int, bytes]:
    """Add the options of one area to ``options``. A truncated tail ends the reading and what was read is kept (A4)."""
    size = len(data)
    while position < size:
        code = data[position]
        if code == c.OPT_PAD:
            position += 1
            continue
        if code == c.OPT_END or position + 2 > size:
            break
        end = position + 2 + data[position + 1]
        if end > size:
            break
        value = data[position + 2 : end]
        if code in options:
            options[code] += value  # RFC 3396 section 7
        else:
            options[code] = value
        position = end
    return options


def encode_option(code: int, value: bytes) -> bytes:
    """One option; a value over 255 bytes in several instances (RFC 3396 section 6)."""
    if len(value) <= 255:
        return bytes((code, len(value))) + value
    return b"".join(
        bytes((code, min(255, len(value) - start))) + value[start : start + 255] for start in range(0, len(value), 255)
    )


def encode_options(options: dict[int, bytes]) -> bytes:
    """Options in the map's order, without End."""
    return b"".join(encode_option(code, value) for code, value in options.items())
