"""DHCPv4 messages: reading and writing them.

Options stay a map from code to raw bytes; typed accessors read them on demand, each by its RFC's rule. An option
this package has no name for survives a round trip.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from ..values import dataclass
from . import constants as c
from ._names import Fqdn, decode_fqdn, has_controls
from ._nested import suboptions

_SIZES: Final = c.FIXED_SIZES
_FIXED: Final = struct.Struct("!4BIHH4I16s64s128s4s")
HEADER_SIZE: Final = _FIXED.size  # 240: the BOOTP header and the magic cookie
_read_fixed: Final = _FIXED.unpack_from  # by a name of its own: in compiled code looking it up takes long
_COOKIE: Final = c.MAGIC_COOKIE
_MAX_HOSTNAME: Final = 255  # the longest domain name (RFC 1035 2.3.4)
_MAX_INSTANCE: Final = 255  # bytes in one instance of an option
_END: Final = b"\xff"
_NO_CHADDR: Final = bytes(c.CHADDR_SIZE)
_NO_SNAME: Final = bytes(c.SNAME_SIZE)
_NO_FILE: Final = bytes(c.FILE_SIZE)
_OVERLOADS: Final = (b"\1", b"\2", b"\3")
_OVERLOAD_FILE: Final = 1
_OVERLOAD_SNAME: Final = 2
_TYPE_DUID: Final = 255  # first byte of a client identifier that holds an IAID and a DUID (RFC 4361 6.1)
_DUID_OFFSET: Final = 5


class DecodeError(ValueError):
    """A packet that must not be answered; ``reason`` is a stable name to count it under (rule A18)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_unicast(address: int) -> bool:
    """Whether an IPv4 address may be a host's: not 0/8, loopback, multicast, reserved or broadcast (rule I31)."""
    return 0x01000000 <= address < 0xE0000000 and address >> 24 != 127


@dataclass(slots=True, init=False)
class Message:
    """A BOOTP/DHCP message (RFC 2131 section 2).

    Addresses are integers; ``chaddr``, ``sname`` and ``file`` are the full fields of 16, 64 and 128 bytes (the latter
    two all zero if they held options); ``options`` are the aggregated options (RFC 3396) in the order of their first
    appearance.
    """

    op: int
    htype: int
    hlen: int
    hops: int
    xid: int
    secs: int
    flags: int
    ciaddr: int
    yiaddr: int
    siaddr: int
    giaddr: int
    chaddr: bytes
    sname: bytes
    file: bytes
    options: dict[int, bytes]

    def __init__(
        self,
        op: int = c.BOOTREQUEST,
        htype: int = c.HTYPE_ETHERNET,
        hlen: int = c.ETHERNET_ADDRESS_SIZE,
        hops: int = 0,
        xid: int = 0,
        secs: int = 0,
        flags: int = 0,
        ciaddr: int = 0,
        yiaddr: int = 0,
        siaddr: int = 0,
        giaddr: int = 0,
        chaddr: bytes = _NO_CHADDR,
        sname: bytes = _NO_SNAME,
        file: bytes = _NO_FILE,
        options: dict[int, bytes] | None = None,
    ) -> None:
        self.op = op
        self.htype = htype
        self.hlen = hlen
        self.hops = hops
        self.xid = xid
        self.secs = secs
        self.flags = flags
        self.ciaddr = ciaddr
        self.yiaddr = yiaddr
        self.siaddr = siaddr
        self.giaddr = giaddr
        self.chaddr = chaddr
        self.sname = sname
        self.file = file
        self.options = {} if options is None else options

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Read a message, either direction.

        Raises :class:`DecodeError` with reason "too-short" or "bad-cookie" when it is no DHCP message at all (rule
        A1). Beyond the fixed part nothing is refused: options end with End, the data's end or a truncated option,
        whichever comes first, and what was read before is kept (rules A3, A4).
        """
        if len(data) < HEADER_SIZE:
            raise DecodeError("too-short")
        (
            op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie,
        ) = _read_fixed(data)  # fmt: skip
        if cookie != _COOKIE:
            raise DecodeError("bad-cookie")
        options: dict[int, bytes] = {}
        message = Message(
            op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, options
        )
        _read_area(data, HEADER_SIZE, options)
        if c.OPT_OVERLOAD in options:
            message._read_overloaded()
        return message

    def _read_overloaded(self) -> None:
        """Options in file, then sname (RFC 2131 4.1). Option 52 inside those is not obeyed (RFC 2132 9.3, rule A6)."""
        overload = self.options.pop(c.OPT_OVERLOAD)
        if overload not in _OVERLOADS:
            return
        if overload[0] & _OVERLOAD_FILE:
            _read_area(self.file, 0, self.options)
            self.file = bytes(c.FILE_SIZE)
        if overload[0] & _OVERLOAD_SNAME:
            _read_area(self.sname, 0, self.options)
            self.sname = bytes(c.SNAME_SIZE)
        self.options.pop(c.OPT_OVERLOAD, None)

    def repeated(self, xid: int, secs: int) -> Message:
        """The same message in another transaction. The two share their options, which nobody may change any more."""
        return Message(
            self.op, self.htype, self.hlen, self.hops, xid, secs, self.flags, self.ciaddr, self.yiaddr, self.siaddr,
            self.giaddr, self.chaddr, self.sname, self.file, self.options,
        )  # fmt: skip

    def encode(self, *, min_size: int = 0) -> bytes:
        """The message as bytes: options in the map's order, long ones split (RFC 3396), End, zeros up to ``min_size``.

        No limit on the size is applied and no field is used for options. Raises ValueError for an option code that
        cannot be one (0, 255) and struct.error for a field out of its range.
        """
        fixed = _FIXED.pack(
            self.op, self.htype, self.hlen, self.hops, self.xid, self.secs, self.flags, self.ciaddr, self.yiaddr,
            self.siaddr, self.giaddr, self.chaddr, self.sname, self.file, _COOKIE,
        )  # fmt: skip
        if c.OPT_PAD in self.options or c.OPT_END in self.options:
            raise ValueError("0 (Pad) and 255 (End) are no options")
        return (fixed + pack_options(self.options) + _END).ljust(min_size, b"\0")

    # --- the fixed part -------------------------------------------------------------------------

    @property
    def hardware_address(self) -> bytes:
        """The used part of chaddr, ``hlen`` bytes but never more than there are (rule A2)."""
        return self.chaddr[: self.hlen]

    @property
    def broadcast_flag(self) -> bool:
        """Whether the client cannot take unicast before it has an address (RFC 2131 section 2)."""
        return bool(self.flags & c.FLAG_BROADCAST)

    # --- options of one size; of another they count as absent (rule A7) ---------------------------

    def _fixed_size(self, code: int) -> bytes | None:
        value = self.options.get(code)
        return value if value is not None and len(value) == _SIZES[code] else None

    def _number(self, code: int) -> int | None:
        value = self.options.get(code)
        if value is None or len(value) != _SIZES[code]:
            return None
        if len(value) == 4:  # by hand: calling from_bytes takes longer
            return value[0] << 24 | value[1] << 16 | value[2] << 8 | value[3]
        return int.from_bytes(value, "big")

    def has(self, code: int) -> bool:
        """Whether the option is present, and of the right size if its kind has one."""
        value = self.options.get(code)
        return value is not None and len(value) == c.FIXED_SIZES.get(code, len(value))

    @property
    def message_type(self) -> int:
        """Option 53, or 0 if it is absent or not one byte long (RFC 2132 9.6)."""
        value = self.options.get(c.OPT_MESSAGE_TYPE, b"")
        return value[0] if len(value) == 1 else 0

    @property
    def requested_address(self) -> int | None:
        """Option 50 (RFC 2132 9.1); 0.0.0.0 names no address and counts as absent."""
        return self._number(c.OPT_REQUESTED_ADDRESS) or None

    @property
    def server_identifier(self) -> int | None:
        """Option 54 (RFC 2132 9.7)."""
        return self._number(c.OPT_SERVER_ID)

    @property
    def lease_time_s(self) -> int | None:
        """Option 51, in seconds: the lease the client would like, or the server grants (RFC 2132 9.2)."""
        return self._number(c.OPT_LEASE_TIME)

    @property
    def t1_s(self) -> int | None:
        """Option 58: when to renew, in seconds (RFC 2132 9.11)."""
        return self._number(c.OPT_T1)

    @property
    def t2_s(self) -> int | None:
        """Option 59: when to rebind, in seconds (RFC 2132 9.12)."""
        return self._number(c.OPT_T2)

    @property
    def max_size(self) -> int | None:
        """Option 57: the largest datagram the client takes, in bytes with IP and UDP headers (RFC 2132 9.10)."""
        return self._number(c.OPT_MAX_SIZE)

    @property
    def rapid_commit(self) -> bool:
        """Option 80: the client would take an ACK to its DISCOVER (RFC 4039)."""
        return self._fixed_size(c.OPT_RAPID_COMMIT) is not None

    @property
    def ipv6_only_wait_s(self) -> int | None:
        """Option 108: how long to do without IPv4, in seconds (RFC 8925 3.1)."""
        return self._number(c.OPT_IPV6_ONLY)

    @property
    def auto_configure(self) -> int | None:
        """Option 116: 1 if the client may configure itself a link-local address, 0 if not (RFC 2563)."""
        return self._number(c.OPT_AUTO_CONFIGURE)

    @property
    def subnet_selection(self) -> int | None:
        """Option 118: the subnet to choose an address from (RFC 3011)."""
        return self._number(c.OPT_SUBNET_SELECTION)

    # --- options of any size ----------------------------------------------------------------------

    @property
    def client_id(self) -> bytes | None:
        """Option 61; one byte is accepted though RFC 2132 9.14 asks for two, none counts as absent (rule A8)."""
        return self.options.get(c.OPT_CLIENT_ID) or None

    @property
    def duid(self) -> bytes | None:
        """The DUID in a client identifier of type 255 (RFC 4361 6.1), for reservations by it (rule G3)."""
        value = self.options.get(c.OPT_CLIENT_ID, b"")
        return value[_DUID_OFFSET:] if value[:1] == b"\xff" and len(value) > _DUID_OFFSET else None

    @property
    def parameter_list(self) -> bytes:
        """Option 55 in the client's order, each code once (RFC 2132 9.8); b"" if absent."""
        return bytes(dict.fromkeys(self.options.get(c.OPT_PARAMETER_LIST, b"")))

    @property
    def hostname(self) -> bytes:
        """Option 12 without trailing NULs (RFC 2132 section 2); b"" if absent or not a name.

        A name is at most 255 bytes without control characters (rules A11, A12, I8, I12). It may still hold anything
        else: escape it before showing.
        """
        value = self.options.get(c.OPT_HOSTNAME)
        if value is None:
            return b""
        value = value.rstrip(b"\0")
        return value if len(value) <= _MAX_HOSTNAME and not has_controls(value) else b""

    @property
    def vendor_class(self) -> bytes:
        """Option 60 without trailing NULs; b"" if absent. Raw bytes."""
        return self.options.get(c.OPT_VENDOR_CLASS, b"").rstrip(b"\0")

    @property
    def user_classes(self) -> tuple[bytes, ...]:
        """Option 77: the classes of RFC 3004's list, and the whole value, which many clients send without the list's
        lengths."""
        value = self.options.get(c.OPT_USER_CLASS, b"")
        classes = [value] if value else []
        position = 0
        while position < len(value) and 0 < value[position] < len(value) - position:
            classes.append(value[position + 1 : position + 1 + value[position]])
            position += 1 + value[position]
        return tuple(classes)

    @property
    def text(self) -> bytes:
        """Option 56 without trailing NULs: a server's words on a NAK (RFC 2132 9.9); b"" if absent. Raw bytes."""
        return self.options.get(c.OPT_MESSAGE, b"").rstrip(b"\0")

    @property
    def fqdn(self) -> Fqdn | None:
        """Option 81, None if absent or malformed (RFC 4702, rule A12)."""
        value = self.options.get(c.OPT_FQDN)
        return None if value is None else decode_fqdn(value)

    # --- the relay agent's option (RFC 3046) --------------------------------------------------------

    @property
    def relay_suboptions(self) -> dict[int, bytes]:
        """Option 82's sub-options, as far as they are well-formed."""
        return suboptions(self.options.get(c.OPT_RELAY_AGENT, b""))

    def _relay_address(self, code: int) -> int | None:
        value = self.relay_suboptions.get(code, b"")
        return int.from_bytes(value, "big") if len(value) == 4 else None

    @property
    def link_selection(self) -> int | None:
        """Option 82's sub-option 5: the client's subnet (RFC 3527)."""
        return self._relay_address(c.RELAY_LINK_SELECTION)

    @property
    def server_identifier_override(self) -> int | None:
        """Option 82's sub-option 11: what the relay wants as option 54 of the answer (RFC 5107, rule C3)."""
        return self._relay_address(c.RELAY_SERVER_ID_OVERRIDE)


def _read_area(data: bytes, position: int, options: dict[int, bytes]) -> None:
    """Add the options of one area to ``options``. A truncated tail ends the reading and what was read is kept (A4)."""
    size = len(data)
    repeated: dict[int, list[bytes]] | None = None
    try:
        while (code := data[position]) != c.OPT_END:
            if not code:  # Pad
                position += 1
                continue
            start = position + 2
            position = start + data[position + 1]
            if position > size:
                break
            if code not in options:
                options[code] = data[start:position]
                continue
            # RFC 3396 section 7. Joined at the end: a packet full of fragments must cost no more than another.
            if repeated is None:
                repeated = {}
            repeated.setdefault(code, [options[code]]).append(data[start:position])
    except IndexError:
        pass  # no End (tolerated), or a code without its length
    if repeated is not None:
        for code, parts in repeated.items():
            options[code] = b"".join(parts)


def pack_option(code: int, value: bytes) -> bytes:
    """One option; a value over 255 bytes in several instances (RFC 3396 section 6)."""
    size = len(value)
    if size <= _MAX_INSTANCE:
        return bytes((code, size)) + value
    return b"".join(
        bytes((code, min(_MAX_INSTANCE, size - start))) + value[start : start + _MAX_INSTANCE]
        for start in range(0, size, _MAX_INSTANCE)
    )


def pack_options(options: Mapping[int, bytes]) -> bytes:
    """Options in the map's order, without End."""
    return b"".join([pack_option(code, value) for code, value in options.items()])
