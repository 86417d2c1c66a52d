"""Building OFFER, ACK and NAK (RFC 2131 Table 3)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from . import constants as c
from ._message import HEADER_SIZE, Message, encode_option

_HEAD = struct.Struct("!4BIHH4I16s")
_EMPTY_NAMES = bytes(64 + 128) + c.MAGIC_COOKIE
_U32_OPTION = struct.Struct("!BBI")

MIN_REPLY = 300  # clients and relays exist that drop anything shorter (RFC 1542 2.1, rule C13)
_MIN_DATAGRAM = 576  # what every client must take (RFC 2131 section 2)
_IP_UDP_HEADERS = 28
_OVERLOAD_AND_END = 3 + 1
# Given to a client that sends no parameter request list, if configured.
_UNASKED = bytes((c.OPT_SUBNET_MASK, c.OPT_BROADCAST, c.OPT_ROUTER, c.OPT_DNS, c.OPT_HOSTNAME, c.OPT_DOMAIN_NAME))
# Set by the server itself, never from configuration by way of the parameter request list.
_OWN = frozenset(
    (
        c.OPT_PAD, c.OPT_END, c.OPT_REQUESTED_ADDRESS, c.OPT_LEASE_TIME, c.OPT_OVERLOAD, c.OPT_MESSAGE_TYPE,
        c.OPT_SERVER_ID, c.OPT_PARAMETER_LIST, c.OPT_MESSAGE, c.OPT_MAX_SIZE, c.OPT_T1, c.OPT_T2, c.OPT_CLIENT_ID,
        c.OPT_RELAY_AGENT, c.OPT_SUBNET_MASK,
    )
)  # fmt: skip


def build_reply(
    request: Message,
    message_type: int,
    *,
    server_identifier: int,
    your_address: int = 0,
    lease_time_s: int | None = None,
    t1_s: int = 0,
    t2_s: int = 0,
    options: Mapping[int, bytes] | None = None,
    text: bytes = b"",
    mtu: int = 1500,
) -> bytes:
    """The bytes of an answer to ``request``.

    ``message_type``: OFFER, ACK or NAK. ``lease_time_s``: None leaves out options 51, 58 and 59, as an answer to
    INFORM must (RFC 2131 4.3.5). ``options``: what is configured, code to value; the client gets of it what it asked
    for, in the order it asked, and the subnet mask always. ``text``: option 56 of a NAK, left out if it does not
    fit. ``mtu``: of the client link, in bytes.

    The result is at least 300 bytes and fits the client's limit; options that do not fit in the options field go to
    ``file`` and ``sname`` (RFC 2131 4.1), and past that the least wanted are left out.
    """
    is_nak = message_type == c.NAK
    flags = request.flags
    if request.giaddr and not your_address:  # NAK (RFC 2131 4.3.2) or answer to INFORM: nowhere to unicast to (E1, E6)
        flags |= c.FLAG_BROADCAST
    head = _HEAD.pack(
        c.BOOTREPLY, request.htype, request.hlen, 0, request.xid, 0, flags,
        request.ciaddr if message_type == c.ACK else 0, your_address, 0, request.giaddr, request.chaddr,
    )  # fmt: skip
    required = [bytes((c.OPT_MESSAGE_TYPE, 1, message_type)), _U32_OPTION.pack(c.OPT_SERVER_ID, 4, server_identifier)]
    wanted: list[bytes] = []
    if is_nak:
        if text:
            wanted.append(encode_option(c.OPT_MESSAGE, text))
    else:
        if lease_time_s is not None:
            required.append(_U32_OPTION.pack(c.OPT_LEASE_TIME, 4, lease_time_s))
            if t1_s:
                required.append(_U32_OPTION.pack(c.OPT_T1, 4, t1_s))
            if t2_s:
                required.append(_U32_OPTION.pack(c.OPT_T2, 4, t2_s))
        if options:
            mask = options.get(c.OPT_SUBNET_MASK)
            if mask is not None:
                required.append(encode_option(c.OPT_SUBNET_MASK, mask))  # before routers: RFC 2132 3.3
            asked = request.options.get(c.OPT_PARAMETER_LIST) or _UNASKED
            wanted = [
                encode_option(code, options[code])
                for code in dict.fromkeys(asked)
                if code in options and code not in _OWN
            ]
    limit = max(_MIN_DATAGRAM, min(request.max_size or _MIN_DATAGRAM, mtu)) - _IP_UDP_HEADERS
    tail = _echoes(request, limit - HEADER_SIZE - _OVERLOAD_AND_END - sum(map(len, required)))
    area = b"".join((*required, *wanted, tail, b"\xff"))
    if HEADER_SIZE + len(area) <= limit:
        packet = b"".join((head, _EMPTY_NAMES, area))
        return packet if len(packet) >= MIN_REPLY else packet.ljust(MIN_REPLY, b"\0")
    return _squeeze(head, required, wanted, tail, limit, may_overload=not is_nak)


def _echoes(request: Message, room: int) -> bytes:
    """The client identifier (RFC 6842 section 3) and, last of all, the relay agent's option.

    The latter must not go into overloaded fields and is left out if it does not fit into ``room`` bytes (RFC 3046 2.2).
    """
    client_id = request.options.get(c.OPT_CLIENT_ID)
    relay = request.options.get(c.OPT_RELAY_AGENT)
    echo = encode_option(c.OPT_CLIENT_ID, client_id) if client_id else b""
    if relay:
        with_relay = echo + encode_option(c.OPT_RELAY_AGENT, relay)
        if len(with_relay) <= room:
            return with_relay
    return echo


def _squeeze(
    head: bytes, required: list[bytes], wanted: list[bytes], tail: bytes, limit: int, *, may_overload: bool
) -> bytes:
    """Place options first into the options field, then into file and sname, in order; drop what fits nowhere.

    The order is kept across areas (RFC 3396 section 5), so after the first option that overflows an area, later
    ones go to the next area. Single options are not split between areas.
    """
    room = [limit - HEADER_SIZE - len(tail) - _OVERLOAD_AND_END]
    if may_overload:
        room += [127, 63]  # file and sname, each with its End
    areas: list[list[bytes]] = [[] for _ in room]
    current = 0
    for option in (*required, *wanted):
        fits = next((area for area in range(current, len(room)) if len(option) <= room[area]), None)
        if fits is None:
            continue
        current = fits
        areas[fits].append(option)
        room[fits] -= len(option)
    in_file = b"".join(areas[1]) if may_overload else b""
    in_sname = b"".join(areas[2]) if may_overload else b""
    used = (1 if in_file else 0) | (2 if in_sname else 0)
    file = (in_file + b"\xff").ljust(128, b"\0") if in_file else bytes(128)
    sname = (in_sname + b"\xff").ljust(64, b"\0") if in_sname else bytes(64)
    overload = bytes((c.OPT_OVERLOAD, 1, used)) if used else b""
    packet = b"".join((head, sname, file, c.MAGIC_COOKIE, *areas[0], overload, tail, b"\xff"))
    return packet.ljust(MIN_REPLY, b"\0")
