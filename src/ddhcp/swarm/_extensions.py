"""What only our nodes say to each other: typed messages and their bytes. Classic nodes drop commands they do not know.

After the 16 bytes of the common header comes the version that a reader must know (1 byte), flags (1), the command's own
fixed part, and then as many fields as the header's count says: type (1), length (2), value. A reader skips a field of a
type it does not know and whatever follows what it knows within a value, so a later version may add to any message.
All integers are big-endian; times are durations in seconds, never instants, because no two clocks agree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from ..values import dataclass
from . import constants as c
from ._errors import DecodeError
from ._messages import Extension

REMEMBERED: Final = 64  # messages to all, of at most 1.4 kB, that are not read anew when they are heard again
VERSION = 1  # the version of the messages written here, and the highest that is understood
INCARNATION_SIZE = 8
CHADDR_SIZE = 16
ADDRESS_SIZE = 16  # of a node on the server link: IPv6 link-local
PLAN_SIZE = 8
MAX_SOFTWARE_BYTES = 64
MAX_IDENTITY_BYTES = 256  # a mark of kind and a client identifier of at most 255 bytes
MAX_HOSTNAME_BYTES = 255

# Field types.
_SOFTWARE, _LEASE, _IDENTITY, _SECTION, _PROGRESS, _CLIENT, _CLAIM, _PLAN, _BLOCKS = range(1, 10)

# Flags, by command.
_WANTS_ANSWER = 1  # HELLO
_IS_LEAVING = 2  # HELLO
_OWNS_NOTHING = 4  # HELLO
_ARE_OWNED = 8  # HELLO
_IS_GIFT = 1  # HANDOVER: the block becomes the receiver's
_IS_PROMISE = 1  # HEARSAY
_HOLDS_IT = 1  # FOUND
_DECLINED = 1  # SURRENDER
_RESET, _MORE, _DROP = 1, 2, 4  # a section of REPLICATE
_UNKNOWN, _REFUSED = 1, 2  # a block in REPLICATE-ACK

_HEAD: Final = struct.Struct("!BB")
_FIELD: Final = struct.Struct("!BH")
_HELLO: Final = struct.Struct("!BBI8s")
_HANDOVER: Final = struct.Struct("!IHBB")
_INDEX: Final = struct.Struct("!I")
_CLIENT_KEY: Final = struct.Struct("!II16s")
_FOUND: Final = struct.Struct("!II16sI")
_REDIRECT: Final = struct.Struct("!II16s16s")
_ASKED_CLIENT: Final = struct.Struct("!I16s")
_CHALLENGE: Final = struct.Struct("!16s16sQ")
_BLOCK: Final = struct.Struct("!IIIB")
_LEASE_HEAD: Final = struct.Struct("!IBIII16s")
_SIZE: Final = struct.Struct("!H")
_HEARD_CLAIM: Final = struct.Struct("!II8s16s")


@dataclass(slots=True, init=False)
class LeaseRecord:
    """A binding as one node tells it to another.

    ``state``: one of the ``LEASE_…`` numbers. ``remaining_s``: until it ends, or a declined address's probation does.
    ``age_s``: since this client got this address, 0 if unknown. ``kept_s``: for how long the address is kept for this
    client after the lease. ``chaddr``: 16 bytes. ``identity``: the client's key, at most 256 bytes. ``hostname``: at
    most 255 bytes, b"" if the client sent none.
    """

    address: int
    state: int
    remaining_s: int
    age_s: int
    kept_s: int
    chaddr: bytes
    identity: bytes
    hostname: bytes

    def __init__(
        self,
        address: int,
        state: int,
        remaining_s: int,
        age_s: int,
        kept_s: int,
        chaddr: bytes,
        identity: bytes,
        hostname: bytes = b"",
    ) -> None:
        self.address = address
        self.state = state
        self.remaining_s = remaining_s
        self.age_s = age_s
        self.kept_s = kept_s
        self.chaddr = chaddr
        self.identity = identity
        self.hostname = hostname


@dataclass(frozen=True, slots=True)
class Hello:
    """HELLO: who the sender is. ``lowest``..``highest``: the versions it understands. ``capabilities``: the ``CAN_…``
    bits. ``incarnation``: 8 random bytes drawn when it started. ``software``: its name and version, for people.
    ``plan``: 8 bytes that stand for which addresses it reserves and which subnets it knows, b"" if it does not say.
    ``blocks``: those that it inquires and that the receiver is to consent to, or ``are_owned``: that it adopted, and
    the receiver is to agree that they are its; in an answer, those that the sender consents or agrees to.
    ``is_leaving``: it stops, and this is its last word. ``owns_nothing``: there is no block that it could announce.
    """

    wants_answer: bool
    capabilities: int
    incarnation: bytes
    software: str = ""
    lowest: int = VERSION
    highest: int = VERSION
    plan: bytes = b""
    blocks: tuple[int, ...] = ()
    is_leaving: bool = False
    owns_nothing: bool = False
    are_owned: bool = False


@dataclass(frozen=True, slots=True)
class HandoverMessage:
    """HANDOVER: part ``part`` of ``parts`` of the leases of block ``index``, promised for ``promised_s`` more seconds.

    ``is_gift``: the block itself is handed over; otherwise the receiver owns it already, having won it in a dispute.
    """

    index: int
    promised_s: int
    part: int
    parts: int
    leases: tuple[LeaseRecord, ...]
    is_gift: bool = True


@dataclass(frozen=True, slots=True)
class HandoverAck:
    """HANDOVER-ACK: the receiver has the leases of block ``index``, durably."""

    index: int


@dataclass(frozen=True, slots=True)
class LookupMessage:
    """LOOKUP: does this client hold ``address``, which is yours?"""

    address: int
    xid: int
    chaddr: bytes
    identity: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """FOUND: the client of that question does or does not hold ``address``, for ``remaining_s`` more (0 if its lease
    has ended and it may have the address again)."""

    holds_it: bool
    address: int
    xid: int
    chaddr: bytes
    remaining_s: int


@dataclass(frozen=True, slots=True)
class WantedClient:
    """A client that LOCATE asks for."""

    xid: int
    chaddr: bytes
    identity: bytes


@dataclass(frozen=True, slots=True)
class Locate:
    """LOCATE, by multicast: does one of these clients have an address of yours? Only who says yes answers (FOUND)."""

    clients: tuple[WantedClient, ...]


@dataclass(slots=True, init=False)
class Section:
    """The news of one block in a REPLICATE. ``stream``: drawn anew with each reset. ``sequence``: one more than the
    last section's of the stream, from 1. ``is_reset``: forget what you have of this block first. ``has_more``: the
    sender has more to tell, so the replica is not complete yet. ``is_dropped``: forget the block, it is kept elsewhere.
    """

    index: int
    stream: int
    sequence: int
    leases: tuple[LeaseRecord, ...]
    is_reset: bool
    has_more: bool
    is_dropped: bool

    def __init__(
        self,
        index: int,
        stream: int,
        sequence: int,
        leases: tuple[LeaseRecord, ...] = (),
        is_reset: bool = False,
        has_more: bool = False,
        is_dropped: bool = False,
    ) -> None:
        self.index = index
        self.stream = stream
        self.sequence = sequence
        self.leases = leases
        self.is_reset = is_reset
        self.has_more = has_more
        self.is_dropped = is_dropped


@dataclass(slots=True, init=False)
class Replicate:
    """REPLICATE: the owner tells a replica what changed in its blocks."""

    sections: tuple[Section, ...]

    def __init__(self, sections: tuple[Section, ...]) -> None:
        self.sections = sections


@dataclass(slots=True, init=False)
class Progress:
    """How far a replica is with one block. ``is_unknown``: it has no such stream and needs a reset. ``is_refused``: it
    will not keep this block."""

    index: int
    stream: int
    sequence: int
    is_unknown: bool
    is_refused: bool

    def __init__(
        self,
        index: int,
        stream: int,
        sequence: int,
        is_unknown: bool = False,
        is_refused: bool = False,
    ) -> None:
        self.index = index
        self.stream = stream
        self.sequence = sequence
        self.is_unknown = is_unknown
        self.is_refused = is_refused


@dataclass(slots=True, init=False)
class ReplicateAck:
    """REPLICATE-ACK: the answer to one REPLICATE."""

    blocks: tuple[Progress, ...]

    def __init__(self, blocks: tuple[Progress, ...]) -> None:
        self.blocks = blocks


@dataclass(frozen=True, slots=True)
class Redirect:
    """REDIRECT: the answer to a RENEWLEASE, LOOKUP or SURRENDER about an address that the node at ``owner`` (16 bytes)
    has, not the sender."""

    address: int
    xid: int
    chaddr: bytes
    owner: bytes


@dataclass(frozen=True, slots=True)
class Surrender:
    """SURRENDER: a client of yours gave ``address`` back elsewhere, or declined it."""

    address: int
    xid: int
    chaddr: bytes
    identity: bytes
    is_declined: bool = False


@dataclass(frozen=True, slots=True)
class SurrenderAck:
    """SURRENDER-ACK: heard; ask no more."""

    address: int
    xid: int
    chaddr: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """CHALLENGE, always sealed. ``nonce``: seal this to prove that you live (zeros: nothing is to be proved).
    ``answer``: the nonce that the sender was given (zeros: none), with which it says that its messages from number
    ``floor`` on are fresh."""

    nonce: bytes
    answer: bytes
    floor: int


@dataclass(frozen=True, slots=True)
class HeardClaim:
    """A block that a node does not own itself, but knows to be another's: for how many seconds it is closed yet,
    quarantine included, and who claimed it last (node id and 16 bytes of address, zeros if that is not known)."""

    index: int
    closed_s: int
    owner_id: bytes
    owner: bytes


@dataclass(frozen=True, slots=True)
class Hearsay:
    """HEARSAY: what the sender knows of blocks whose owners have been silent, for a node that asked for them or for
    everything, and never heard of their owners. ``is_promise``: the sender heard the owners themselves promise it, and
    no quarantine is included."""

    claims: tuple[HeardClaim, ...]
    is_promise: bool = False


ExtensionMessage = (
    Hello
    | HandoverMessage
    | HandoverAck
    | LookupMessage
    | Found
    | Locate
    | Replicate
    | ReplicateAck
    | Redirect
    | Surrender
    | SurrenderAck
    | Challenge
    | Hearsay
)

Fields = Iterable[tuple[int, bytes]]


def write_extension(message: ExtensionMessage) -> tuple[int, int, bytes]:
    """``(command, count, payload)`` of a message. Raises ValueError or struct.error for what does not fit its field."""
    command, flags, fixed, fields = _WRITERS[type(message)](message)
    parts = [_HEAD.pack(VERSION, flags), fixed]
    count = 0
    for kind, value in fields:
        parts += (_FIELD.pack(kind, len(value)), value)
        count += 1
    if count > c.MAX_FIELDS:
        raise ValueError(f"{count} fields do not fit into one message ({c.MAX_FIELDS})")
    return command, count, b"".join(parts)


def read_extension(extension: Extension) -> ExtensionMessage:
    """The message in an extension's payload. Raises :class:`DecodeError` with the reason ``unknown-extension``,
    ``extension-too-new``, ``extension-too-short`` or ``extension-malformed``."""
    if extension.command == c.LOCATE or extension.command == c.HELLO:
        return _read_again(extension.command, extension.count, extension.payload)
    return _read(extension.command, extension.count, extension.payload)


@lru_cache(maxsize=REMEMBERED)
def _read_again(command: int, count: int, payload: bytes) -> ExtensionMessage:
    """The same of what is said to all: where several nodes run in one process (the simulator), it is read once for all
    of them. The messages that come of it cannot be changed."""
    return _read(command, count, payload)


def _read(command: int, count: int, payload: bytes) -> ExtensionMessage:
    reader = _READERS.get(command)
    if reader is None:
        raise DecodeError("unknown-extension")
    if len(payload) < _HEAD.size:
        raise DecodeError("extension-too-short")
    version, flags = _HEAD.unpack_from(payload)
    if version > VERSION:
        raise DecodeError("extension-too-new")
    layout, read = reader
    start = _HEAD.size + layout.size
    if len(payload) < start:
        raise DecodeError("extension-too-short")
    fields = _read_fields(payload, start, count)
    try:
        return read(flags, layout.unpack_from(payload, _HEAD.size), fields)
    except (struct.error, IndexError):
        raise DecodeError("extension-malformed") from None


def record_size(record: LeaseRecord) -> int:
    """How many bytes a lease takes in a message, its field's head included."""
    return _FIELD.size + _LEASE_HEAD.size + _SIZE.size + len(record.identity) + 1 + len(record.hostname)


def client_size(client: WantedClient) -> int:
    """How many bytes a client takes in a LOCATE, its field's head included."""
    return _FIELD.size + _ASKED_CLIENT.size + len(client.identity)


HEARD_CLAIM_SIZE = _FIELD.size + _HEARD_CLAIM.size  # of one block in a HEARSAY
PROGRESS_SIZE = _FIELD.size + _BLOCK.size  # and in a REPLICATE-ACK
SECTION_OVERHEAD = _FIELD.size + _BLOCK.size + 1  # bytes of a section beside its leases


# --- fields -------------------------------------------------------------------------------------


def _read_fields(data: bytes, position: int, count: int) -> list[tuple[int, bytes]]:
    """The ``count`` fields that fill ``data`` from ``position`` exactly."""
    fields = []
    for _ in range(count):
        if position + _FIELD.size > len(data):
            raise DecodeError("extension-too-short")
        kind, size = _FIELD.unpack_from(data, position)
        position += _FIELD.size
        if position + size > len(data):
            raise DecodeError("extension-too-short")
        fields.append((kind, data[position : position + size]))
        position += size
    if position != len(data):
        raise DecodeError("extension-malformed")
    return fields


def _only(fields: Fields, kind: int) -> bytes:
    """The value of the one field of that type."""
    values = [value for found, value in fields if found == kind]
    if len(values) != 1:
        raise DecodeError("extension-malformed")
    return values[0]


def _all(fields: Fields, kind: int) -> Iterator[bytes]:
    return (value for found, value in fields if found == kind)


def _identity(value: bytes) -> bytes:
    if not 0 < len(value) <= MAX_IDENTITY_BYTES:
        raise DecodeError("extension-malformed")
    return value


def _write_lease(lease: LeaseRecord) -> bytes:
    head = _LEASE_HEAD.pack(lease.address, lease.state, lease.remaining_s, lease.age_s, lease.kept_s, lease.chaddr)
    identity, hostname = lease.identity, lease.hostname
    if not identity or len(identity) > MAX_IDENTITY_BYTES or len(hostname) > MAX_HOSTNAME_BYTES:
        raise ValueError("an identity or host name is too long for a message")
    return b"".join((head, _SIZE.pack(len(identity)), identity, bytes((len(hostname),)), hostname))


def _read_lease(value: bytes) -> LeaseRecord:
    address, state, remaining_s, age_s, kept_s, chaddr = _LEASE_HEAD.unpack_from(value)
    position = _LEASE_HEAD.size
    (size,) = _SIZE.unpack_from(value, position)
    position += _SIZE.size
    identity = _identity(value[position : position + size])
    position += size
    end = position + 1 + value[position]
    if end > len(value):
        raise DecodeError("extension-malformed")
    return LeaseRecord(address, state, remaining_s, age_s, kept_s, chaddr, identity, value[position + 1 : end])


def _read_leases(fields: Fields) -> tuple[LeaseRecord, ...]:
    return tuple(_read_lease(value) for value in _all(fields, _LEASE))


def _write_section(section: Section) -> bytes:
    flags = _RESET * section.is_reset | _MORE * section.has_more | _DROP * section.is_dropped
    parts = [_BLOCK.pack(section.index, section.stream, section.sequence, flags), bytes((len(section.leases),))]
    for lease in section.leases:
        value = _write_lease(lease)
        parts += (_FIELD.pack(_LEASE, len(value)), value)
    return b"".join(parts)


def _read_section(value: bytes) -> Section:
    index, stream, sequence, flags = _BLOCK.unpack_from(value)
    fields = _read_fields(value, _BLOCK.size + 1, value[_BLOCK.size])
    return Section(
        index, stream, sequence, _read_leases(fields), bool(flags & _RESET), bool(flags & _MORE), bool(flags & _DROP)
    )


def _write_progress(block: Progress) -> bytes:
    flags = _UNKNOWN * block.is_unknown | _REFUSED * block.is_refused
    return _BLOCK.pack(block.index, block.stream, block.sequence, flags)


def _read_progress(value: bytes) -> Progress:
    index, stream, sequence, flags = _BLOCK.unpack_from(value)
    return Progress(index, stream, sequence, bool(flags & _UNKNOWN), bool(flags & _REFUSED))


def _write_heard_claim(claim: HeardClaim) -> bytes:
    return _HEARD_CLAIM.pack(claim.index, claim.closed_s, claim.owner_id, claim.owner)


def _read_client(value: bytes) -> WantedClient:
    xid, chaddr = _ASKED_CLIENT.unpack_from(value)
    return WantedClient(xid, chaddr, _identity(value[_ASKED_CLIENT.size :]))


def _read_software(fields: Fields) -> str:
    """Text from outside that people will read: what is not printable is replaced."""
    value = next(_all(fields, _SOFTWARE), b"")[:MAX_SOFTWARE_BYTES]
    return "".join(chr(x) if 32 <= x < 127 else "?" for x in value)


# --- messages -----------------------------------------------------------------------------------

_Written = tuple[int, int, bytes, Fields]


def _write_hello(m: Hello) -> _Written:
    fixed = _HELLO.pack(m.lowest, m.highest, m.capabilities, m.incarnation)
    software = m.software.encode("ascii", "replace")[:MAX_SOFTWARE_BYTES]
    plan = [(_PLAN, m.plan)] if m.plan else []
    blocks = [(_BLOCKS, struct.pack(f"!{len(m.blocks)}I", *m.blocks))] if m.blocks else []
    flags = _WANTS_ANSWER * m.wants_answer | _IS_LEAVING * m.is_leaving | _OWNS_NOTHING * m.owns_nothing
    flags |= _ARE_OWNED * m.are_owned
    return c.HELLO, flags, fixed, [(_SOFTWARE, software), *plan, *blocks]


def _write_handover(m: HandoverMessage) -> _Written:
    fixed = _HANDOVER.pack(m.index, m.promised_s, m.part, m.parts)
    return c.HANDOVER, _IS_GIFT * m.is_gift, fixed, [(_LEASE, _write_lease(lease)) for lease in m.leases]


def _write_lookup(m: LookupMessage) -> _Written:
    return c.LOOKUP, 0, _CLIENT_KEY.pack(m.address, m.xid, m.chaddr), [(_IDENTITY, m.identity)]


def _write_found(m: Found) -> _Written:
    return c.FOUND, _HOLDS_IT * m.holds_it, _FOUND.pack(m.address, m.xid, m.chaddr, m.remaining_s), ()


def _write_locate(m: Locate) -> _Written:
    clients = [(_CLIENT, _ASKED_CLIENT.pack(x.xid, x.chaddr) + x.identity) for x in m.clients]
    return c.LOCATE, 0, b"", clients


def _write_surrender(m: Surrender) -> _Written:
    fixed = _CLIENT_KEY.pack(m.address, m.xid, m.chaddr)
    return c.SURRENDER, _DECLINED * m.is_declined, fixed, [(_IDENTITY, m.identity)]


_WRITERS: dict[type, Callable[..., _Written]] = {
    Hello: _write_hello,
    HandoverMessage: _write_handover,
    HandoverAck: lambda m: (c.HANDOVER_ACK, 0, _INDEX.pack(m.index), ()),
    LookupMessage: _write_lookup,
    Found: _write_found,
    Locate: _write_locate,
    Replicate: lambda m: (c.REPLICATE, 0, b"", [(_SECTION, _write_section(section)) for section in m.sections]),
    ReplicateAck: lambda m: (c.REPLICATE_ACK, 0, b"", [(_PROGRESS, _write_progress(block)) for block in m.blocks]),
    Redirect: lambda m: (c.REDIRECT, 0, _REDIRECT.pack(m.address, m.xid, m.chaddr, m.owner), ()),
    Surrender: _write_surrender,
    Challenge: lambda m: (c.CHALLENGE, 0, _CHALLENGE.pack(m.nonce, m.answer, m.floor), ()),
    SurrenderAck: lambda m: (c.SURRENDER_ACK, 0, _CLIENT_KEY.pack(m.address, m.xid, m.chaddr), ()),
    Hearsay: lambda m: (
        c.HEARSAY,
        _IS_PROMISE * m.is_promise,
        b"",
        [(_CLAIM, _write_heard_claim(claim)) for claim in m.claims],
    ),
}


def _read_hello(flags: int, fixed: tuple[int, int, int, bytes], fields: Fields) -> Hello:
    lowest, highest, capabilities, incarnation = fixed
    plan = next(_all(fields, _PLAN), b"")[:PLAN_SIZE]
    if plan and len(plan) != PLAN_SIZE:
        raise DecodeError("extension-malformed")
    wants_answer, is_leaving = bool(flags & _WANTS_ANSWER), bool(flags & _IS_LEAVING)
    owns_nothing, are_owned = bool(flags & _OWNS_NOTHING), bool(flags & _ARE_OWNED)
    named = next(_all(fields, _BLOCKS), b"")
    blocks = struct.unpack(f"!{len(named) // _INDEX.size}I", named)
    software = _read_software(fields)
    return Hello(
        wants_answer, capabilities, incarnation, software, lowest, highest, plan, blocks, is_leaving, owns_nothing,
        are_owned,
    )  # fmt: skip


def _read_handover(flags: int, fixed: tuple[int, int, int, int], fields: Fields) -> HandoverMessage:
    index, promised_s, part, parts = fixed
    if not part < parts:
        raise DecodeError("extension-malformed")
    return HandoverMessage(index, promised_s, part, parts, _read_leases(fields), bool(flags & _IS_GIFT))


def _read_surrender(flags: int, fixed: tuple[int, int, bytes], fields: Fields) -> Surrender:
    address, xid, chaddr = fixed
    return Surrender(address, xid, chaddr, _identity(_only(fields, _IDENTITY)), bool(flags & _DECLINED))


_NOTHING: Final = struct.Struct("")
_READERS: dict[int, tuple[struct.Struct, Callable[..., ExtensionMessage]]] = {
    c.HELLO: (_HELLO, _read_hello),
    c.HANDOVER: (_HANDOVER, _read_handover),
    c.HANDOVER_ACK: (_INDEX, lambda flags, f, fields: HandoverAck(f[0])),
    c.LOOKUP: (
        _CLIENT_KEY,
        lambda flags, f, fields: LookupMessage(f[0], f[1], f[2], _identity(_only(fields, _IDENTITY))),
    ),
    c.FOUND: (_FOUND, lambda flags, f, fields: Found(bool(flags & _HOLDS_IT), *f)),
    c.LOCATE: (_NOTHING, lambda flags, f, fields: Locate(tuple(_read_client(v) for v in _all(fields, _CLIENT)))),
    c.REPLICATE: (
        _NOTHING,
        lambda flags, f, fields: Replicate(tuple(_read_section(v) for v in _all(fields, _SECTION))),
    ),
    c.REPLICATE_ACK: (
        _NOTHING,
        lambda flags, f, fields: ReplicateAck(tuple(_read_progress(v) for v in _all(fields, _PROGRESS))),
    ),
    c.REDIRECT: (_REDIRECT, lambda flags, f, fields: Redirect(*f)),
    c.SURRENDER: (_CLIENT_KEY, _read_surrender),
    c.CHALLENGE: (_CHALLENGE, lambda flags, f, fields: Challenge(*f)),
    c.SURRENDER_ACK: (_CLIENT_KEY, lambda flags, f, fields: SurrenderAck(*f)),
    c.HEARSAY: (
        _NOTHING,
        lambda flags, f, fields: Hearsay(
            tuple(HeardClaim(*_HEARD_CLAIM.unpack_from(v)) for v in _all(fields, _CLAIM)), bool(flags & _IS_PROMISE)
        ),
    ),
}
