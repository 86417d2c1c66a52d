"""Building OFFER, ACK and NAK (RFC 2131 Table 3)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from . import constants as c
from ._message import Message, pack_option, pack_options
from ._routes import with_default_route

MIN_REPLY: Final = 300  # clients and relays exist that drop anything shorter (RFC 1542 2.1, rule C13)
_IP_UDP_HEADERS: Final = 28
_MIN_DATAGRAM: Final = 576  # what every client must take (RFC 2131 section 2)

# The fixed part with the two options that every answer has. Neighbours are packed as one number or one string, since
# each takes time; with the three options of a lease, and without sname and file, it is most answers.
_pack_head: Final = struct.Struct("!7I16s64s128s9sI").pack
_pack_usual_head: Final = struct.Struct("!7I16s192x9sI 2sI2sI2sI").pack
_XID_AT: Final = 4
_T1_AT: Final = struct.calcsize("!7I16s192x9sI 2sI2s")  # in it, T1, then option 59's code and size, then T2
_pack_xid_into: Final = struct.Struct("!I").pack_into
_pack_timers_into: Final = struct.Struct("!I2sI").pack_into
_BOOTREPLY_AT: Final = c.BOOTREPLY << 24  # in the word of op, htype, hlen and hops
# By message type: the magic cookie, the message type, and the server identifier's code and size.
_OPENINGS: Final = [
    c.MAGIC_COOKIE + bytes((c.OPT_MESSAGE_TYPE, 1, kind, c.OPT_SERVER_ID, 4)) for kind in range(c.LEASEACTIVE + 1)
]
_SNAME_AT, _FILE_AT, _COOKIE_AT = 44, 108, 236  # in it
_LEASE_TIME: Final = bytes((c.OPT_LEASE_TIME, 4))
_T1: Final = bytes((c.OPT_T1, 4))
_T2: Final = bytes((c.OPT_T2, 4))
_U32_OPTION: Final = struct.Struct("!BBI")
_OVERLOAD: Final = struct.Struct("!BBB")
_FILE, _SNAME = 1, 2  # the fields by their values in option 52
_END: Final = b"\xff"

# Given to a client that sends no parameter request list, if configured.
_UNASKED: Final = bytes(
    (c.OPT_SUBNET_MASK, c.OPT_BROADCAST, c.OPT_ROUTER, c.OPT_DNS, c.OPT_HOSTNAME, c.OPT_DOMAIN_NAME)
)

# Never taken from the configured options: what the server sets itself, and what only clients send (Table 3).
_NOT_CONFIGURED: Final = frozenset(
    (
        c.OPT_PAD, c.OPT_END, c.OPT_REQUESTED_ADDRESS, c.OPT_LEASE_TIME, c.OPT_OVERLOAD, c.OPT_MESSAGE_TYPE,
        c.OPT_SERVER_ID, c.OPT_PARAMETER_LIST, c.OPT_MESSAGE, c.OPT_MAX_SIZE, c.OPT_T1, c.OPT_T2, c.OPT_CLIENT_ID,
        c.OPT_RELAY_AGENT,
    )
)  # fmt: skip
# Sent if the client sent them, whatever it requests: RFC 4039 4, RFC 4702 4, RFC 2563 3, RFC 3011 2 (rules C17-C19).
_REACTIONS: Final = (c.OPT_RAPID_COMMIT, c.OPT_FQDN, c.OPT_AUTO_CONFIGURE, c.OPT_SUBNET_SELECTION)
# Sent only to a client that requests it (RFC 8925 3.3): it makes the client give up IPv4 (rule C16).
_ONLY_REQUESTED: Final = frozenset((c.OPT_IPV6_ONLY,))
_EXCEPTIONS: Final = _NOT_CONFIGURED.union(_REACTIONS)

# What is kept first when not everything fits (rule C11); all other options follow in the client's order.
_RANKS: Final = {c.OPT_SUBNET_MASK: 0, c.OPT_MESSAGE: 1, c.OPT_ROUTER: 1, c.OPT_DNS: 2, c.OPT_CLASSLESS_ROUTES: 3}
_OTHER_RANK: Final = 4

_MAX_REMEMBERED: Final = 256  # parameter request lists; a link has some dozens of kinds of client
_MAX_REMEMBERED_SIZE: Final = 255  # bytes of one; longer ones are not remembered

_NO_OPTIONS: Mapping[int, bytes] = MappingProxyType({})


class OptionSet(Mapping[int, bytes]):
    """Configured options, code to value, that remember what they were encoded to for which parameter request list.

    A set does not change; make a new one when the configuration does. ``forced``: codes that every client gets, whether
    it requests them or not. :func:`build_reply` takes any mapping, and is faster with this one.
    """

    __slots__ = ("_remembered", "_values", "forced", "has_reactions")

    def __init__(self, values: Mapping[int, bytes] = _NO_OPTIONS, forced: Collection[int] = ()) -> None:
        self._values = dict(_complete_routes(values))
        self._remembered: dict[bytes | None, bytes] = {}
        self.forced = tuple(forced)
        self.has_reactions = any(code in self._values for code in _REACTIONS)

    def __getitem__(self, code: int) -> bytes:
        return self._values[code]

    def __iter__(self) -> Iterator[int]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def encoded(self, request: Message) -> bytes:
        """What of these ``request`` is answered with, ready to send."""
        if self.has_reactions:
            return pack_options(_select(self._values, request, self.forced))
        parameter_list = request.options.get(c.OPT_PARAMETER_LIST)
        encoded = self._remembered.get(parameter_list)
        if encoded is None:
            encoded = pack_options(_select(self._values, request, self.forced))
            if parameter_list is None or len(parameter_list) <= _MAX_REMEMBERED_SIZE:
                if len(self._remembered) >= _MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[parameter_list] = encoded
        return encoded


def build_reply(
    request: Message,
    message_type: int,
    *,
    server_identifier: int,
    your_address: int = 0,
    lease_time_s: int | None = None,
    t1_s: int | None = None,
    t2_s: int | None = None,
    options: Mapping[int, bytes] = _NO_OPTIONS,
    forced: Collection[int] = (),
    next_server: int = 0,
    boot_file: bytes = b"",
    server_name: bytes = b"",
    echo_client_id: bool = True,
    broadcast: bool = False,
    text: bytes = b"",
    mtu: int = 1500,
    omitted: list[int] | None = None,
) -> bytes:
    """The bytes of an answer to ``request``.

    ``message_type``: OFFER, ACK or NAK. ``server_identifier``: option 54. ``your_address``: yiaddr.
    ``lease_time_s``, in seconds: None leaves out options 51, 58 and 59, as an answer to INFORM must (RFC 2131
    4.3.5); ``t1_s`` and ``t2_s``: None or 0 leaves out one of the latter.

    ``options``: what is configured, code to value. The client gets of it what it requests, in its order (RFC 2132
    9.8), the subnet mask always and first, and the codes in ``forced``. Options 80, 81, 116 and 118 are sent if the
    client sent them, 108 only if it requests it. Option 121 gets a default route from option 3 if it has none, and
    serves for 249 too.

    ``next_server``: siaddr. ``boot_file`` and ``server_name``: for the fields of that name, and for options 67 and
    66 (NUL-terminated, for firmware that reads on) where the client requests those or the field is too small.

    ``echo_client_id``: return option 61 (RFC 6842 3). ``broadcast``: set the broadcast flag, for a relay to obey; it
    is set anyway in a relayed NAK (RFC 2131 4.3.2) or answer to INFORM (rule E6). ``text``: option 56 of a NAK.
    ``mtu``: of the client's link, in bytes.

    The result is at least 300 bytes and fits the client's limit (option 57, at least 576, with headers) and the
    ``mtu``. Options that do not fit in the options field go to ``file`` and ``sname`` (RFC 2131 4.1), and past that
    the least needed are left out: their codes are added to ``omitted``, for counting (RFC 3046 2.2). Raises
    struct.error for a number out of its field's range.
    """
    flags = request.flags | c.FLAG_BROADCAST if broadcast else request.flags
    if message_type == c.NAK:
        if request.giaddr:
            flags |= c.FLAG_BROADCAST
        ciaddr = your_address = next_server = 0
        lease_time_s = None
        boot_file = server_name = b""
        options = {c.OPT_MESSAGE: text} if text else _NO_OPTIONS
        encoded = pack_options(options)
    else:
        # DISCOVER has no ciaddr to copy, even where an ACK answers it.
        ciaddr = request.ciaddr if message_type == c.ACK else 0
        if lease_time_s is None and request.giaddr:
            flags |= c.FLAG_BROADCAST
        if boot_file or server_name:
            boot_file, server_name, options, forced = _place_boot(request, boot_file, server_name, options, forced)
        if type(options) is OptionSet and not forced:
            encoded = options.encoded(request)
        else:
            encoded = pack_options(_answer(options, request, forced))
    kinds = _BOOTREPLY_AT | request.htype << 16 | request.hlen << 8
    if lease_time_s is not None and t1_s and t2_s and not server_name and not boot_file:
        head: bytes = _pack_usual_head(
            kinds, request.xid, flags, ciaddr, your_address, next_server, request.giaddr, request.chaddr,
            _OPENINGS[message_type], server_identifier, _LEASE_TIME, lease_time_s, _T1, t1_s, _T2, t2_s,
        )  # fmt: skip
    else:
        head = _pack_head(
            kinds, request.xid, flags, ciaddr, your_address, next_server, request.giaddr, request.chaddr, server_name,
            boot_file, _OPENINGS[message_type], server_identifier,
        )  # fmt: skip
        if lease_time_s is not None:
            head += _lease_options(lease_time_s, t1_s, t2_s)
    client_id = request.options.get(c.OPT_CLIENT_ID) if echo_client_id else None
    client_echo = pack_option(c.OPT_CLIENT_ID, client_id) if client_id else b""
    relay = request.options.get(c.OPT_RELAY_AGENT)
    relay_echo = pack_option(c.OPT_RELAY_AGENT, relay) if relay else b""
    packet = b"".join((head, encoded, client_echo, relay_echo, _END))
    limit = _payload_limit(request.max_size, mtu)
    if len(packet) <= limit:
        return packet if len(packet) >= MIN_REPLY else packet.ljust(MIN_REPLY, b"\0")
    if message_type == c.NAK:
        return _squeeze(head, options, (client_echo, relay_echo), limit, 0, omitted)  # no overload: Table 3
    free_fields = (0 if boot_file else _FILE) | (0 if server_name else _SNAME)
    wanted = _answer(options, request, forced)
    return _squeeze(head, wanted, (client_echo, relay_echo), limit, free_fields, omitted)


class ReplyTemplate:
    """A reply of :func:`build_reply` with T1 and T2, and without boot file and server name, from which others are made
    that differ from it in the transaction and in these two."""

    __slots__ = ("_payload",)

    def __init__(self, payload: bytes) -> None:
        self._payload = bytearray(payload)

    def fill(self, xid: int, t1_s: int, t2_s: int) -> bytes:
        """The reply of transaction ``xid``, to renew and rebind after so many seconds."""
        payload = self._payload
        _pack_xid_into(payload, _XID_AT, xid)
        _pack_timers_into(payload, _T1_AT, t1_s, _T2, t2_s)
        return bytes(payload)


def _payload_limit(max_size: int | None, mtu: int) -> int:
    """How long a reply may be without IP and UDP headers (rule C10).

    A client's limit under 576 is illegal (RFC 2132 9.10) and taken for that. Where the link's is smaller still, the
    shortest reply there is must do.
    """
    return max(min(max(max_size or _MIN_DATAGRAM, _MIN_DATAGRAM), mtu) - _IP_UDP_HEADERS, MIN_REPLY)


def _lease_options(lease_time_s: int, t1_s: int | None, t2_s: int | None) -> bytes:
    """Options 51, 58 and 59, encoded."""
    return b"".join(
        (
            _U32_OPTION.pack(c.OPT_LEASE_TIME, 4, lease_time_s),
            _U32_OPTION.pack(c.OPT_T1, 4, t1_s) if t1_s else b"",
            _U32_OPTION.pack(c.OPT_T2, 4, t2_s) if t2_s else b"",
        )
    )


def _complete_routes(values: Mapping[int, bytes]) -> Mapping[int, bytes]:
    """``values`` with a default route in 121 and 249, and the latter made from the former (rule C15)."""
    routes = values.get(c.OPT_CLASSLESS_ROUTES)
    ms_routes = values.get(c.OPT_MS_CLASSLESS_ROUTES, routes)
    if ms_routes is None:
        return values
    routers = values.get(c.OPT_ROUTER, b"")
    completed = {**values, c.OPT_MS_CLASSLESS_ROUTES: with_default_route(ms_routes, routers)}
    if routes is not None:
        completed[c.OPT_CLASSLESS_ROUTES] = with_default_route(routes, routers)
    return completed


def _answer(options: Mapping[int, bytes], request: Message, forced: Collection[int]) -> dict[int, bytes]:
    """The configured options that ``request`` is answered with, in the order to send them."""
    if isinstance(options, OptionSet):
        return _select(options, request, (*options.forced, *forced))
    return _select(_complete_routes(options), request, forced)


def _select(values: Mapping[int, bytes], request: Message, forced: Collection[int]) -> dict[int, bytes]:
    chosen: dict[int, bytes] = {}
    if c.OPT_SUBNET_MASK in values:  # must come before the routers (RFC 2132 3.3)
        chosen[c.OPT_SUBNET_MASK] = values[c.OPT_SUBNET_MASK]
    for code in request.options.get(c.OPT_PARAMETER_LIST) or _UNASKED:
        if code in values and code not in _EXCEPTIONS:
            chosen[code] = values[code]
    for code in forced:
        if code in values and code not in _EXCEPTIONS and code not in _ONLY_REQUESTED:
            chosen[code] = values[code]
    for code in _REACTIONS:
        if code in values and request.has(code):
            chosen[code] = values[code]
    return chosen


def _place_boot(
    request: Message, boot_file: bytes, server_name: bytes, options: Mapping[int, bytes], forced: Collection[int]
) -> tuple[bytes, bytes, Mapping[int, bytes], Collection[int]]:
    """The fields ``file`` and ``sname``, and the options and forced codes with what is to be said there."""
    requested = request.options.get(c.OPT_PARAMETER_LIST, b"")
    fields = []
    for value, field_size, code in (
        (boot_file, c.FILE_SIZE, c.OPT_BOOT_FILE),
        (server_name, c.SNAME_SIZE, c.OPT_TFTP_SERVER),
    ):
        fits = len(value) < field_size  # with a NUL at its end
        if value and code not in options and (code in requested or not fits):
            forced = (*(options.forced if isinstance(options, OptionSet) else ()), *forced, code)
            options = {**options, code: value + b"\0"}
        fields.append(value if fits else b"")
    return fields[0], fields[1], options, forced


class _Area:
    """Room for options while a reply is squeezed: the options field, ``file`` or ``sname``."""

    __slots__ = ("parts", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: dict[int, bytes] = {}

    def put(self, code: int, encoded: bytes) -> None:
        self.parts[code] = encoded
        self.room -= len(encoded)

    def content(self, order: Iterable[int]) -> bytes:
        return b"".join(self.parts[code] for code in order if code in self.parts)


def _squeeze(
    head: bytes,
    wanted: Mapping[int, bytes],
    echoes: tuple[bytes, ...],
    limit: int,
    free_fields: int,
    omitted: list[int] | None,
) -> bytes:
    """A reply within ``limit``: what is needed most first, into the options field, then file, then sname (rule C11).

    ``head``: the reply up to the first option that may be left out. ``echoes``: options for the end of the options
    field, the more important first; the relay agent's must not stand elsewhere (RFC 3046 2.2). ``free_fields``: which
    fields may take options, as in option 52.
    """
    left_out = []
    room = limit - len(head) - len(_END) - (_OVERLOAD.size if free_fields else 0)
    tail = b""
    for echo in echoes:
        if len(echo) <= room:
            tail += echo
            room -= len(echo)
        else:
            left_out.append(echo[0])
    in_options, in_file, in_sname = areas = (
        _Area(room),
        _Area(c.FILE_SIZE - len(_END) if free_fields & _FILE else 0),
        _Area(c.SNAME_SIZE - len(_END) if free_fields & _SNAME else 0),
    )
    for code in sorted(wanted, key=lambda code: _RANKS.get(code, _OTHER_RANK)):
        encoded = pack_option(code, wanted[code])
        area = next((area for area in areas if len(encoded) <= area.room), None)
        if area is None:
            left_out.append(code)
        else:
            area.put(code, encoded)
    if omitted is not None:
        omitted += left_out
    sname, file = head[_SNAME_AT:_FILE_AT], head[_FILE_AT:_COOKIE_AT]
    used = 0
    if in_file.parts:
        used |= _FILE
        file = (in_file.content(wanted) + _END).ljust(c.FILE_SIZE, b"\0")
    if in_sname.parts:
        used |= _SNAME
        sname = (in_sname.content(wanted) + _END).ljust(c.SNAME_SIZE, b"\0")
    overload = _OVERLOAD.pack(c.OPT_OVERLOAD, 1, used) if used else b""
    before, after = head[:_SNAME_AT], head[_COOKIE_AT:]
    packet = b"".join((before, sname, file, after, in_options.content(wanted), overload, tail, _END))
    return packet.ljust(MIN_REPLY, b"\0")
