"""Domain names in options: DNS wire format (RFC 1035 3.1), search lists (RFC 3397), the client's name (RFC 4702)."""

from __future__ import annotations

from ..values import dataclass

_MAX_LABEL = 63
_MAX_NAME = 255
_MAX_NAMES = 128  # in one option; a search list that is used holds a handful
_POINTER = 0xC0
_CONTROLS = bytes((*range(32), 127))

FQDN_SERVER_UPDATES = 1  # S: the server updates the A record
FQDN_OVERRIDE = 2  # O: the server overrode the client's wish
FQDN_ENCODED = 4  # E: the name is in DNS wire format
FQDN_NO_UPDATES = 8  # N: the server updates nothing
_FQDN_PREFIX_SIZE = 3  # flags and the two obsolete response codes
_RCODE = 255  # what a server sends as response codes (RFC 4702 2.2)


def has_controls(data: bytes) -> bool:
    """Whether ``data`` has control characters, which no name needs and which deceive logs and files (rule I12)."""
    return len(data.translate(None, _CONTROLS)) != len(data)


def encode_name(name: str) -> bytes:
    """A domain name in wire format, without compression. Raises ValueError."""
    try:
        labels = name.removesuffix(".").encode("ascii").split(b".")
    except UnicodeEncodeError:
        raise ValueError(f"domain name {name!r} is not ASCII (write the xn-- form)") from None
    if any(not 0 < len(label) <= _MAX_LABEL or has_controls(label) or b" " in label for label in labels):
        raise ValueError(f"domain name {name!r} needs labels of 1 to {_MAX_LABEL} characters")
    wire = _join(labels) + b"\0"
    if len(wire) > _MAX_NAME:
        raise ValueError(f"domain name {name!r} is longer than {_MAX_NAME} bytes")
    return wire


def decode_names(data: bytes) -> list[tuple[bytes, ...]]:
    """The labels of each name of a list in wire format, compressed or not (RFC 3397 2). Raises ValueError.

    A compression pointer must lead backwards, so there are no cycles (rule I7).
    """
    names = []
    position = 0
    while position < len(data):
        labels, position = _read_name(data, position)
        names.append(labels)
        if len(names) > _MAX_NAMES:
            raise ValueError("too many names")
    return names


def _read_name(data: bytes, position: int) -> tuple[tuple[bytes, ...], int]:
    """One complete name from ``position``, and the position after it."""
    labels: list[bytes] = []
    size = 1
    after = 0
    earliest = position
    while True:
        if position >= len(data):
            raise ValueError("name without end")
        length = data[position]
        if length >= _POINTER:
            if position + 2 > len(data):
                raise ValueError("truncated pointer")
            after = after or position + 2
            position = int.from_bytes(data[position : position + 2], "big") & 0x3FFF
            if position >= earliest:
                raise ValueError("pointer that does not lead backwards")
            earliest = position
            continue
        position += 1
        if length == 0:
            return tuple(labels), after or position
        size += length + 1
        if length > _MAX_LABEL or position + length > len(data) or size > _MAX_NAME:
            raise ValueError("bad label")
        labels.append(data[position : position + length])
        position += length


def _join(labels: list[bytes]) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels)


@dataclass(slots=True, frozen=True)
class Fqdn:
    """A client's option 81 (RFC 4702).

    ``flags``: S, O, E, N as 1, 2, 4, 8. ``labels``: the name's, raw bytes without control characters; none if the
    client leaves its name to the server. ``is_complete``: whether the client says that the name is fully qualified.
    """

    flags: int
    labels: tuple[bytes, ...]
    is_complete: bool

    @property
    def wants_server_updates(self) -> bool:
        """Flag S: the client would like the server to update its A record."""
        return bool(self.flags & FQDN_SERVER_UPDATES)

    @property
    def wants_no_updates(self) -> bool:
        """Flag N: the client wants no DNS updates at all."""
        return bool(self.flags & FQDN_NO_UPDATES)


def decode_fqdn(data: bytes) -> Fqdn | None:
    """Read option 81; None if it is malformed, which must not cost the client its address (rules A12, I7, I8)."""
    if len(data) < _FQDN_PREFIX_SIZE:
        return None
    flags = data[0] & 15
    labels: list[bytes] | None
    if flags & FQDN_ENCODED:
        labels, is_complete = _read_partial_name(data[_FQDN_PREFIX_SIZE:])
    else:  # RFC 4702 2.3.1: deprecated ASCII, which real clients still send
        text = data[_FQDN_PREFIX_SIZE:].rstrip(b"\0")
        is_complete = text.endswith(b".")
        labels = text.removesuffix(b".").split(b".") if text else []
    if labels is None or any(not 0 < len(label) <= _MAX_LABEL or has_controls(label) for label in labels):
        return None
    if sum(map(len, labels)) + len(labels) + 1 > _MAX_NAME:
        return None
    return Fqdn(flags, tuple(labels), is_complete)


def _read_partial_name(wire: bytes) -> tuple[list[bytes] | None, bool]:
    """Labels in wire format, where a name without the final empty label is a partial one (RFC 4702 2.3.1)."""
    labels: list[bytes] = []
    position = 0
    while position < len(wire):
        length = wire[position]
        position += 1
        if length == 0:
            return (labels, True) if position == len(wire) else (None, False)
        if length > _MAX_LABEL or position + length > len(wire):
            return None, False
        labels.append(wire[position : position + length])
        position += length
    return labels, False


def encode_fqdn_reply(fqdn: Fqdn, *, updates_a: bool = False, updates_ptr: bool = False, domain: str = "") -> bytes:
    """The value of option 81 in the answer to a client that sent ``fqdn`` (RFC 4702 4, rule C18).

    ``updates_a`` and ``updates_ptr``: which of the client's DNS records this server updates. ``domain``: completes a
    partial name. The name is encoded as the client did. Raises ValueError when ``domain`` is no domain name or
    makes the name too long.
    """
    flags = fqdn.flags & FQDN_ENCODED
    if updates_a:
        flags |= FQDN_SERVER_UPDATES
    elif not updates_ptr:
        flags |= FQDN_NO_UPDATES
    if updates_a != fqdn.wants_server_updates:
        flags |= FQDN_OVERRIDE
    labels, is_complete = list(fqdn.labels), fqdn.is_complete
    if labels and not is_complete and domain:
        labels += decode_names(encode_name(domain))[0]
        is_complete = True
        if len(_join(labels)) + 1 > _MAX_NAME:
            raise ValueError(f"client's name and domain {domain!r} together are longer than {_MAX_NAME} bytes")
    if flags & FQDN_ENCODED:
        name = _join(labels) + (b"\0" if is_complete else b"")
    else:
        name = b".".join(labels) + (b"." if is_complete and labels else b"")
    return bytes((flags, _RCODE, _RCODE)) + name
