"""Bytes to messages and back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from . import constants as c
from ._messages import Claim, Extension, Inquire, LeaseMessage, UpdateClaim

_HEADER_TAIL = struct.Struct("!BB")  # command, count
_SWARM = struct.Struct("!IBB")  # prefix, prefix length, block size
_CLAIM = struct.Struct("!IHB")
_LEASE = struct.Struct("!4sII16s")
_LEASE_COMMANDS = (c.RENEWLEASE, c.LEASEACK, c.LEASENAK, c.RELEASE)

Message = UpdateClaim | Inquire | LeaseMessage | Extension


class DecodeError(ValueError):
    """A datagram that is not for us or not well formed; ``reason`` is a stable name to count it under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SwarmCodec:
    """Reads and writes the messages of one swarm on behalf of one node.

    ``node_id``: 8 bytes. ``prefix`` (integer), ``prefix_len`` and ``block_size`` (addresses, not the exponent) name the
    swarm; a packet that differs in any of them belongs to another one.
    """

    def __init__(self, node_id: bytes, prefix: int, prefix_len: int, block_size: int) -> None:
        self.node_id = node_id
        self._swarm = _SWARM.pack(prefix, prefix_len, block_size)
        self._head = node_id + self._swarm

    def update_claim(self, claims: Sequence[tuple[int, int]]) -> bytes:
        """UPDATECLAIM of (block index, timeout in s) pairs, at most ``MAX_CLAIMS_PER_PACKET``."""
        parts = [self._head, _HEADER_TAIL.pack(c.UPDATECLAIM, len(claims))]
        parts += [_CLAIM.pack(index, timeout_s, 0) for index, timeout_s in claims]
        return b"".join(parts)

    def inquire(self, indices: Sequence[int]) -> bytes:
        """INQUIRE for blocks, at most ``MAX_INQUIRIES_PER_PACKET``; with none, an empty but valid packet."""
        return self._head + _HEADER_TAIL.pack(c.INQUIRE, len(indices)) + struct.pack(f"!{len(indices)}I", *indices)

    def lease_message(self, command: int, address_field: bytes, xid: int, lease_time_s: int, chaddr: bytes) -> bytes:
        """RENEWLEASE, LEASEACK, LEASENAK or RELEASE."""
        return (
            self._head + _HEADER_TAIL.pack(command, 0) + _LEASE.pack(address_field, xid, lease_time_s & 0xFFFFFFFF, chaddr)
        )

    def extension(self, command: int, payload: bytes, count: int = 0) -> bytes:
        """A command of ours (32..47)."""
        return self._head + _HEADER_TAIL.pack(command, count) + payload

    def decode(self, data: bytes) -> tuple[bytes, Message]:
        """The sender's node id (8 bytes) and the message. Raises :class:`DecodeError`."""
        size = len(data)
        if size < c.HEADER_SIZE:
            raise DecodeError("too-short")
        if size > c.MAX_DATAGRAM:
            raise DecodeError("too-long")
        if data[8:14] != self._swarm:
            raise DecodeError("foreign-swarm")
        return data[:8], decode_body(data[14], data[15], data[c.HEADER_SIZE :])


def decode_body(command: int, count: int, body: bytes) -> Message:
    """What follows the header. Raises :class:`DecodeError` unless the length fits command and count exactly."""
    if command == c.UPDATECLAIM:
        _check_length(body, count * _CLAIM.size)
        return UpdateClaim(tuple(Claim(*fields) for fields in _claims(body)))
    if command == c.INQUIRE:
        _check_length(body, count * 4)
        return Inquire(struct.unpack(f"!{count}I", body))
    if command in _LEASE_COMMANDS:  # any count is accepted
        _check_length(body, _LEASE.size)
        return LeaseMessage(command, *_LEASE.unpack(body))
    if c.FIRST_EXTENSION <= command <= c.LAST_EXTENSION:
        return Extension(command, count, body)
    raise DecodeError("unknown-command")


def _claims(body: bytes) -> Iterable[tuple[int, int, int]]:
    return _CLAIM.iter_unpack(body)


def _check_length(body: bytes, wanted: int) -> None:
    if len(body) != wanted:
        raise DecodeError("length-mismatch")
