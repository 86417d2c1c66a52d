"""Bytes to messages and back (PROTOCOL, Messages)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from . import constants as c
from ._errors import DecodeError
from ._extensions import REMEMBERED, ExtensionMessage, write_extension
from ._messages import Claim, Extension, Header, Inquire, LeaseMessage, UpdateClaim

_HEADER: Final = struct.Struct("!8sIBBBB")
_HEADER_TAIL: Final = struct.Struct("!BB")  # command, count
_SWARM: Final = struct.Struct("!IBB")  # prefix, prefix length, block size
_CLAIM: Final = struct.Struct("!IHB")
_INDEX_SIZE = 4
_LEASE: Final = struct.Struct("!4sII16s")
_LEASE_COMMANDS = (c.RENEWLEASE, c.LEASEACK, c.LEASENAK, c.RELEASE)
_SAID_TO_ALL: Final = (c.UPDATECLAIM, c.INQUIRE, c.HELLO, c.LOCATE)

Message = UpdateClaim | Inquire | LeaseMessage | Extension


class SwarmCodec:
    """Reads and writes the messages of one swarm on behalf of one node.

    ``node_id``: 8 bytes. ``prefix`` (integer), ``prefix_len`` in bits and ``block_size`` in addresses name
    the swarm; a packet that differs in any of them belongs to another one. The writers raise
    :class:`ValueError` for more than one packet holds, :class:`struct.error` for a number outside its field.
    """

    def __init__(self, node_id: bytes, prefix: int, prefix_len: int, block_size: int) -> None:
        if len(node_id) != c.NODE_ID_SIZE:
            raise ValueError(f"a node id has {c.NODE_ID_SIZE} bytes, not {len(node_id)}")
        self.node_id = node_id
        self._swarm = _SWARM.pack(prefix, prefix_len, block_size)
        self._head = node_id + self._swarm

    def update_claim(self, claims: Sequence[tuple[int, int]]) -> bytes:
        """UPDATECLAIM of (block index, timeout in s) pairs, at most ``MAX_CLAIMS_PER_PACKET``."""
        if len(claims) > c.MAX_CLAIMS_PER_PACKET:
            raise ValueError(f"{len(claims)} claims do not fit into one packet ({c.MAX_CLAIMS_PER_PACKET})")
        parts = [self._head, _HEADER_TAIL.pack(c.UPDATECLAIM, len(claims))]
        parts += [_CLAIM.pack(index, timeout_s, 0) for index, timeout_s in claims]
        return b"".join(parts)

    def inquire(self, indices: Sequence[int]) -> bytes:
        """INQUIRE for blocks, at most ``MAX_INQUIRIES_PER_PACKET``; with none, an empty but valid packet."""
        if len(indices) > c.MAX_INQUIRIES_PER_PACKET:
            raise ValueError(f"{len(indices)} inquiries do not fit into one packet ({c.MAX_INQUIRIES_PER_PACKET})")
        return self._head + _HEADER_TAIL.pack(c.INQUIRE, len(indices)) + struct.pack(f"!{len(indices)}I", *indices)

    def lease_message(self, command: int, address_field: bytes, xid: int, lease_time_s: int, chaddr: bytes) -> bytes:
        """RENEWLEASE, LEASEACK, LEASENAK or RELEASE, with count 0 as classic nodes send it."""
        return (
            self._head
            + _HEADER_TAIL.pack(command, 0)
            + _LEASE.pack(address_field, xid, lease_time_s & 0xFFFFFFFF, chaddr)
        )

    def extension(self, command: int, payload: bytes, count: int = 0) -> bytes:
        """A command of ours (32..47); the payload is at most ``MAX_EXTENSION_PAYLOAD`` bytes."""
        if not c.FIRST_EXTENSION <= command <= c.LAST_EXTENSION:
            raise ValueError(f"command {command} is not an extension")
        if len(payload) > c.MAX_EXTENSION_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes do not fit into one packet ({c.MAX_EXTENSION_PAYLOAD})")
        return self._head + _HEADER_TAIL.pack(command, count) + payload

    def write(self, message: ExtensionMessage) -> bytes:
        """A message of ours. Raises ValueError or struct.error for what does not fit."""
        command, count, payload = write_extension(message)
        return self.extension(command, payload, count)

    def decode(self, data: bytes) -> tuple[bytes, Message]:
        """The sender's node id (8 bytes) and the message. Raises :class:`DecodeError`."""
        _check_size(data)
        if data[8:14] != self._swarm:
            raise DecodeError("foreign-swarm")
        if data[14] in _SAID_TO_ALL:
            return _read_again(data)
        return _read(data)


def decode(data: bytes) -> tuple[Header, Message]:
    """Read a message of any swarm. Raises :class:`DecodeError`. A node uses :meth:`SwarmCodec.decode`, which
    refuses other swarms."""
    _check_size(data)
    header = Header(*_HEADER.unpack_from(data))
    return header, _decode_body(header.command, header.count, data[c.HEADER_SIZE :])


def encode(header: Header, message: Message) -> bytes:
    """The inverse of :func:`decode`: the header as it stands, whatever its count says, then the body."""
    head = _HEADER.pack(
        header.node_id, header.prefix, header.prefix_len, header.block_size, header.command, header.count
    )
    match message:
        case UpdateClaim(claims):
            return head + b"".join(_CLAIM.pack(claim.index, claim.timeout_s, claim.reserved) for claim in claims)
        case Inquire(indices):
            return head + struct.pack(f"!{len(indices)}I", *indices)
        case LeaseMessage():
            body = _LEASE.pack(message.address_field, message.xid, message.lease_time_s, message.chaddr)
            return head + body
        case Extension():
            return head + message.payload


def _check_size(data: bytes) -> None:
    if len(data) < c.HEADER_SIZE:
        raise DecodeError("too-short")
    if len(data) > c.MAX_DATAGRAM:
        raise DecodeError("too-long")


def _decode_body(command: int, count: int, body: bytes) -> Message:
    """What follows the header. Raises :class:`DecodeError` unless its length fits exactly."""
    if command == c.UPDATECLAIM:
        _check_length(body, count * _CLAIM.size)
        return _update_claim(body)
    if command == c.INQUIRE:
        _check_length(body, count * _INDEX_SIZE)
        return Inquire(struct.unpack(f"!{count}I", body))
    if command in _LEASE_COMMANDS:  # any count is accepted
        _check_length(body, _LEASE.size)
        return LeaseMessage(command, *_LEASE.unpack(body))
    if c.FIRST_EXTENSION <= command <= c.LAST_EXTENSION:
        return Extension(command, count, body)
    raise DecodeError("unknown-command")


def _read(data: bytes) -> tuple[bytes, Message]:
    return data[: c.NODE_ID_SIZE], _decode_body(data[14], data[15], data[c.HEADER_SIZE :])


@lru_cache(maxsize=REMEMBERED)
def _read_again(data: bytes) -> tuple[bytes, Message]:
    """The same of what is said to all: a node says it again and again, and where several nodes run in one process (the
    simulator) each of them is given the same bytes. So the message that comes of it is not to be changed by anybody."""
    return _read(data)


def _update_claim(body: bytes) -> UpdateClaim:
    return UpdateClaim(tuple(Claim(*fields) for fields in _CLAIM.iter_unpack(body)))


def _check_length(body: bytes, wanted: int) -> None:
    if len(body) != wanted:
        raise DecodeError("length-mismatch")
