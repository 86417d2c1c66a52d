"""Messages that only holders of a key can write (keyed BLAKE2b, RFC 7693).

A sealed message is the extension SEALED in the header of the message inside it: version (1), flags (1; 0), key id (4),
the sender's epoch (8), its number (8), the tag (16), and the command, the count and the body of the message inside. The
tag covers all of that and, though they are not sent, the sender's and the receiver's address, so that a message cannot
be sent on to somebody else or thrown back at its sender. Telling a message from its repetition is up to the receiver,
by epoch and number.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from ..values import dataclass, field
from . import constants as c
from ._errors import DecodeError
from ._extensions import VERSION

MIN_KEY_BYTES = 16  # of key material: 128 bits, if they were drawn at random
EPOCH_SIZE = 8
NONCE_SIZE = 16
_SECRET_SIZE = 32
_TAG_SIZE = 16
_ID_SIZE = 4
_COMMAND_AT = 14  # of command and count in the header
_SEAL: Final = struct.Struct("!BB4s8sQ16s")  # version, flags, key id, epoch, number, tag
_TAG_AT = c.HEADER_SIZE + _SEAL.size - _TAG_SIZE
_INSIDE_AT = c.HEADER_SIZE + _SEAL.size
SEAL_OVERHEAD = _SEAL.size + 2


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that the nodes of a swarm share. ``key_id``: what a sealed message names it by."""

    secret: bytes = field(repr=False)
    key_id: bytes

    @classmethod
    def derive(cls, material: bytes) -> Key:
        """The key that follows from what a key file holds. Raises ValueError if that is too little."""
        if len(material) < MIN_KEY_BYTES:
            raise ValueError(f"{len(material)} bytes are too few for a key; give {MIN_KEY_BYTES} or more")
        secret = hashlib.blake2b(material, digest_size=_SECRET_SIZE, person=b"ddhcp-key").digest()
        return cls(secret, hashlib.blake2b(secret, digest_size=_ID_SIZE, person=b"ddhcp-key-id").digest())


@dataclass(frozen=True, slots=True)
class KeyRing:
    """``signing``: the key for what this node sends. ``accepted``: all keys it believes, ``signing`` among them.
    ``is_mixed``: messages that are not sealed are sent and heard as well, for the time of a migration."""

    signing: Key
    accepted: tuple[Key, ...]
    is_mixed: bool = False

    def __post_init__(self) -> None:
        if self.signing not in self.accepted:
            raise ValueError("the key that signs must be among those accepted")
        if len({key.key_id for key in self.accepted}) < len(self.accepted):
            raise ValueError("two of the keys are the same")


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed: the ``data`` of the message inside, as a datagram; its sender's ``epoch`` and ``number``."""

    data: bytes
    epoch: bytes
    number: int


class Sealer:
    """Seals and opens messages with the keys of a ring. ``epoch``: 8 bytes that no earlier run of this node used.
    ``number``: of the message sealed last."""

    def __init__(self, ring: KeyRing, epoch: bytes) -> None:
        self.ring = ring
        self.epoch = epoch
        self.number = 0
        self._by_id = {key.key_id: key for key in ring.accepted}

    def renew(self, ring: KeyRing) -> None:
        """Go on with other keys."""
        self.ring = ring
        self._by_id = {key.key_id: key for key in ring.accepted}

    def seal(self, data: bytes, sender: bytes, destination: bytes) -> bytes:
        """The datagram ``data``, sealed. The addresses have 16 bytes; that of a multicast is the group's."""
        self.number += 1
        key = self.ring.signing
        untagged = _SEAL.pack(VERSION, 0, key.key_id, self.epoch, self.number, b"")[:-_TAG_SIZE]
        head = data[:_COMMAND_AT] + bytes((c.SEALED, 0)) + untagged
        inside = data[_COMMAND_AT:]
        return head + _tag(key, sender, destination, head, inside) + inside

    def open(self, data: bytes, source: bytes, destination: bytes) -> Opened:
        """What is inside a sealed datagram. Raises :class:`DecodeError` with the reason ``unsealed``, ``bad-seal`` or
        ``unknown-key``."""
        if not is_sealed(data):
            raise DecodeError("unsealed")
        if len(data) < _INSIDE_AT + 2 or len(data) > c.MAX_DATAGRAM or data[c.HEADER_SIZE] > VERSION:
            raise DecodeError("bad-seal")
        _, _, key_id, epoch, number, tag = _SEAL.unpack_from(data, c.HEADER_SIZE)
        key = self._by_id.get(key_id)
        if key is None:
            raise DecodeError("unknown-key")
        head, inside = data[:_TAG_AT], data[_INSIDE_AT:]
        if not hmac.compare_digest(tag, _tag(key, source, destination, head, inside)):
            raise DecodeError("bad-seal")
        if inside[0] == c.SEALED:
            raise DecodeError("bad-seal")
        return Opened(data[:_COMMAND_AT] + inside, epoch, number)

    def nonce(self) -> bytes:
        """16 bytes that were never used before and that nobody without the key can foresee."""
        self.number += 1
        seed = self.epoch + self.number.to_bytes(8, "big")
        return hashlib.blake2b(
            seed, digest_size=NONCE_SIZE, key=self.ring.signing.secret, person=b"ddhcp-nonce"
        ).digest()


def command_of(data: bytes) -> int | None:
    """The command of a datagram, None if it is too short to have one."""
    return data[_COMMAND_AT] if len(data) >= c.HEADER_SIZE else None


def is_sealed(data: bytes) -> bool:
    """Whether a datagram is a sealed message, by its command."""
    return command_of(data) == c.SEALED


def _tag(key: Key, source: bytes, destination: bytes, head: bytes, inside: bytes) -> bytes:
    # The two addresses have a fixed length, and so has the head: no two messages give the same bytes here.
    mac = hashlib.blake2b(source, digest_size=_TAG_SIZE, key=key.secret, person=b"ddhcp-seal")
    mac.update(destination)
    mac.update(head)
    mac.update(inside)
    return mac.digest()
