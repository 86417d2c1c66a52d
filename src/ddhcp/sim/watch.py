"""What the simulator sees: every datagram that leaves, every lease that a client holds. Feeds the checkers and the
trace.

Nothing here asks a node what it believes: the wire and the clients are the witnesses.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from ..core.pool import dotted
from ..dhcp import Message
from ..dhcp import constants as c
from ..swarm import HEADER_SIZE, INQUIRE, LEASEACK, LEASENAK, RELEASE, RENEWLEASE, UPDATECLAIM
from .engine import Engine
from .setup import Setup

_CLAIM = struct.Struct("!IHB")
_LEASE_TAIL = struct.Struct("!II16s")  # xid, seconds, chaddr, after the address
_STAMP = struct.Struct("!dH")
_HISTORY = 12  # claims remembered of each block, for the report of a violation

_COMMAND_NAMES = {
    UPDATECLAIM: "UPDATECLAIM", INQUIRE: "INQUIRE", RENEWLEASE: "RENEWLEASE", LEASEACK: "LEASEACK",
    LEASENAK: "LEASENAK", RELEASE: "RELEASE",
}  # fmt: skip
_DHCP_NAMES = {
    c.DISCOVER: "DISCOVER", c.OFFER: "OFFER", c.REQUEST: "REQUEST", c.DECLINE: "DECLINE", c.ACK: "ACK", c.NAK: "NAK",
    c.RELEASE: "RELEASE", c.INFORM: "INFORM",
}  # fmt: skip


@dataclass(slots=True)
class Violation:
    """An invariant that did not hold: which (``"I1"``), when, what happened, and what led to it."""

    invariant: str
    at: float
    text: str
    context: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"invariant": self.invariant, "at": round(self.at, 3), "text": self.text, "context": self.context}


class BlockWitness:
    """Who said what about one block. ``claims``: by node, (announced at, promised until), both in virtual time.
    ``last_until``: the end of the longest promise ever made; that it was given up later may not have been heard."""

    __slots__ = ("claims", "history", "last_until")

    def __init__(self) -> None:
        self.claims: dict[int, tuple[float, float]] = {}
        self.last_until: float | None = None
        self.history: deque[tuple[float, int, int]] = deque(maxlen=_HISTORY)

    def claimants(self, now: float) -> list[int]:
        """The nodes whose promise for the block still runs."""
        return [number for number, (_, until) in self.claims.items() if until > now]


class Trace:
    """A hash over everything that happens, and the same as text if a file is given."""

    def __init__(self, engine: Engine, file: TextIO | None) -> None:
        self._engine = engine
        self._file = file
        self._hash = hashlib.blake2b(digest_size=16)
        self.is_text = file is not None

    def bytes(self, number: int, data: bytes) -> None:
        """Take in what a node or client sent."""
        self._hash.update(_STAMP.pack(self._engine.now, number & 0xFFFF) + data)

    def say(self, text: str) -> None:
        """One line of the text."""
        if self._file is not None:
            self._file.write(f"{self._engine.now:12.3f} {text}\n")

    def digest(self) -> str:
        """The hash so far, in hexadecimal."""
        return self._hash.hexdigest()


class Watch:
    """The witness. Checkers subscribe by appending to the lists of callbacks.

    ``on_inquire(number, [block])``: an INQUIRE leaves. ``on_claims(number, [(block, timeout_s)])``: an UPDATECLAIM
    leaves. ``on_ack(number, message, granter)``: a DHCPACK leaves node ``number`` on the word of node ``granter``.
    ``on_lease_ack(number, address, lease_s)``: an owner tells another node that a client keeps its address.
    """

    def __init__(self, engine: Engine, setup: Setup, file: TextIO | None = None) -> None:
        self.engine = engine
        self.setup = setup
        self.trace = Trace(engine, file)
        self.violations: list[Violation] = []
        self.blocks: dict[int, BlockWitness] = {}
        self.sent: dict[str, int] = {}
        self.multicasts = 0  # of our swarm
        self.discovers = 0
        self.on_inquire: list[Callable[[int, list[int]], None]] = []
        self.on_claims: list[Callable[[int, list[tuple[int, int]]], None]] = []
        self.on_ack: list[Callable[[int, Message, int], None]] = []
        self.on_lease_ack: list[Callable[[int, int, int], None]] = []
        self.active_faults: dict[int, str] = {}
        self._swarm = struct.pack("!IBB", setup.pool.prefix, setup.pool.prefix_len, setup.pool.block_size)
        self._granters: dict[tuple[int, bytes], int] = {}

    def violation(self, invariant: str, text: str, context: list[str] | None = None) -> None:
        """Note a violation."""
        faults = [f"fault under way: {fault}" for fault in self.active_faults.values()]
        self.violations.append(Violation(invariant, self.engine.now, text, [*(context or []), *faults]))
        self.trace.say(f"!!! {invariant} {text}")

    def block(self, index: int) -> BlockWitness:
        """What was said of block ``index``."""
        witness = self.blocks.get(index)
        if witness is None:
            witness = self.blocks[index] = BlockWitness()
        return witness

    # --- between nodes --------------------------------------------------------------------------

    def swarm_sent(self, number: int, data: bytes, receiver: bytes | None, rate: float) -> None:
        """Node ``number`` sends to a peer, or to all (None). ``rate``: of its clock."""
        self.trace.bytes(number, data)
        command = data[14] if len(data) > 14 else 0
        name = _COMMAND_NAMES.get(command) or f"EXTENSION-{command}"
        self.sent[name] = self.sent.get(name, 0) + 1
        if self.trace.is_text:
            to = "*" if receiver is None else f"..{receiver[-2:].hex()}"
            self.trace.say(f"n{number} > {to} {name} {self._describe(command, data)}")
        if data[8:14] != self._swarm:
            return
        self.multicasts += receiver is None
        if command == UPDATECLAIM:
            self._claims(number, list(_read_claims(data)), rate)
        elif command == INQUIRE:
            for callback in self.on_inquire:
                callback(number, _read_indices(data))
        elif command == LEASEACK and len(data) == HEADER_SIZE + 28:
            self._lease_ack(number, data)

    def swarm_lost(self, number: int, data: bytes, rate: float) -> None:
        """Node ``number`` tries to send to all and cannot. Its claims count like those of a datagram that gets lost,
        but what it said before holds as long as it did: nobody heard otherwise."""
        if data[8:14] == self._swarm and data[14] == UPDATECLAIM:
            self._claims(number, list(_read_claims(data)), rate, has_left=False)

    def _claims(self, number: int, claims: list[tuple[int, int]], rate: float, *, has_left: bool = True) -> None:
        now = self.engine.now
        for index, timeout_s in claims:
            witness = self.block(index)
            witness.history.append((now, number, timeout_s))
            if timeout_s == 0:
                witness.claims.pop(number, None)
                continue
            until = now + timeout_s / rate
            if not has_left and number in witness.claims:
                until = max(until, witness.claims[number][1])
            witness.claims[number] = (now, until)  # the last word is believed
            witness.last_until = max(witness.last_until or 0.0, until)
        for callback in self.on_claims:
            callback(number, claims)

    def _lease_ack(self, number: int, data: bytes) -> None:
        xid, lease_s, chaddr = _LEASE_TAIL.unpack_from(data, HEADER_SIZE + 4)
        self._granters[xid, chaddr] = number
        field = data[HEADER_SIZE : HEADER_SIZE + 4]
        pool = self.setup.pool
        for order in ("little", "big"):
            address = int.from_bytes(field, "little" if order == "little" else "big")
            if address in pool:
                for callback in self.on_lease_ack:
                    callback(number, address, lease_s)
                return

    def _describe(self, command: int, data: bytes) -> str:
        if command == UPDATECLAIM:
            return " ".join(f"{index}:{timeout_s}" for index, timeout_s in _read_claims(data))
        if command == INQUIRE:
            return " ".join(map(str, _read_indices(data)))
        return data[HEADER_SIZE:].hex()

    # --- to clients -----------------------------------------------------------------------------

    def dhcp_sent(self, number: int, message: Message) -> int:
        """Node ``number`` answers a client. Returns the node on whose word it does so."""
        self.trace.bytes(number, message.chaddr + message.yiaddr.to_bytes(4, "big") + bytes((message.message_type,)))
        granter = number
        kind = message.message_type
        if kind == c.ACK:
            granter = self._granters.pop((message.xid, message.chaddr), number)
            for callback in self.on_ack:
                callback(number, message, granter)
        if self.trace.is_text:
            name = _DHCP_NAMES.get(kind, "?")
            by = "" if granter == number else f" by n{granter}"
            self.trace.say(f"n{number} > c{client_number(message.chaddr)} {name} {dotted(message.yiaddr)}{by}")
        return granter

    def client_sent(self, client: int, host: int, message: Message) -> None:
        """A client sends."""
        kind = message.message_type
        self.discovers += kind == c.DISCOVER
        self.trace.bytes(client, bytes((kind,)) + message.chaddr)
        if self.trace.is_text:
            asked = message.requested_address or message.ciaddr
            where = dotted(asked) if asked else ""
            self.trace.say(f"c{client} > n{host} {_DHCP_NAMES.get(kind, '?')} {where} xid {message.xid:x}")

    # --- reports --------------------------------------------------------------------------------

    def story_of(self, index: int) -> list[str]:
        """The last claims of a block, as lines."""
        witness = self.blocks.get(index)
        if witness is None:
            return [f"block {index}: never claimed"]
        return [f"block {index}: {at:.1f} n{number} claims {timeout_s} s" for at, number, timeout_s in witness.history]


def _read_claims(data: bytes) -> Iterator[tuple[int, int]]:
    body = data[HEADER_SIZE:]
    for index, timeout_s, _ in _CLAIM.iter_unpack(body[: len(body) // 7 * 7]):
        yield index, timeout_s


def _read_indices(data: bytes) -> list[int]:
    body = data[HEADER_SIZE:]
    return [index for (index,) in struct.iter_unpack("!I", body[: len(body) // 4 * 4])]


def client_number(chaddr: bytes) -> int:
    """The number of the client whose hardware address this is (see :mod:`ddhcp.sim.client`)."""
    return int.from_bytes(chaddr[3:6], "big")
