"""The other nodes of a fuzzed swarm: messages of every kind, their fields drawn from the input."""

from __future__ import annotations

from collections.abc import Callable

from fuzz_source import Source

from ddhcp import swarm
from ddhcp.core import Pool

KEYS = swarm.KeyRing(key := swarm.Key.derive(b"a key for fuzzing"), (key,))
MIXED_KEYS = swarm.KeyRing(key, (key,), is_mixed=True)
NO_NONCE = bytes(swarm.NONCE_SIZE)
LEASE_COMMANDS = (swarm.RENEWLEASE, swarm.LEASEACK, swarm.LEASENAK, swarm.RELEASE)
TIMES_S = (0, 1, 5, 60, 300, 700, 65535)
ALL_CAPABILITIES = 0xFF


class Known:
    """What an input can name: the addresses and clients of the story so far, and what the node last asked a peer."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.clients: list[tuple[bytes, bytes]] = [(bytes(16), b"\1\1")]  # chaddr, identity
        self.xids: list[int] = [0]
        self.streams: list[tuple[int, int]] = [(0, 0)]

    def address(self, source: Source) -> int:
        """Of the pool, or one of its neighbours."""
        return (self.pool.prefix + source.number(1) % (self.pool.address_count + 4) - 2) & 0xFFFFFFFF

    def index(self, source: Source) -> int:
        """Of a block, or one too many."""
        return source.below(self.pool.block_count + 1)

    def xid(self, source: Source) -> int:
        """One that was used, or any."""
        return self.xids[-1 - source.below(len(self.xids))] if source.flag() else source.number(4)


def _record(s: Source, k: Known) -> swarm.LeaseRecord:
    chaddr, identity = s.pick(k.clients)
    return swarm.LeaseRecord(
        k.address(s), s.below(6), s.pick(TIMES_S), s.pick(TIMES_S), s.pick(TIMES_S), chaddr,
        identity if s.flag() else s.some() or b"\0", s.some(),
    )  # fmt: skip


def _records(s: Source, k: Known) -> tuple[swarm.LeaseRecord, ...]:
    return tuple(_record(s, k) for _ in range(s.below(4)))


def _stream(s: Source, k: Known) -> tuple[int, int]:
    """Stream and sequence: of what the node sent, or any."""
    return s.pick(k.streams[-200:]) if s.flag() else (s.number(4), s.number(1))


def _replicate(s: Source, k: Known) -> swarm.Replicate:
    return swarm.Replicate(
        tuple(
            swarm.Section(k.index(s), *_stream(s, k), _records(s, k), s.flag(), s.flag(), s.flag())
            for _ in range(s.below(3))
        )
    )


def _handover(s: Source, k: Known) -> swarm.HandoverMessage:
    return swarm.HandoverMessage(k.index(s), s.pick(TIMES_S), s.below(2), 1 + s.below(3), _records(s, k), s.flag())


def _hearsay(s: Source, k: Known) -> swarm.Hearsay:
    return swarm.Hearsay(
        tuple(
            swarm.HeardClaim(k.index(s), s.pick(TIMES_S), s.fixed(8), s.pick((bytes(16), *PEER_ADDRESSES)))
            for _ in range(s.below(4))
        ),
        s.flag(),
    )


def _locate(s: Source, k: Known) -> swarm.Locate:
    return swarm.Locate(tuple(swarm.WantedClient(k.xid(s), *s.pick(k.clients)) for _ in range(s.below(3))))


def peer_address(number: int) -> bytes:
    """The link-local address of a peer."""
    return b"\xfe\x80" + bytes(13) + bytes((0x10 + number,))


PEER_ADDRESSES = tuple(peer_address(number) for number in range(4))

EXTENSIONS: tuple[Callable[[Source, Known], swarm.ExtensionMessage], ...] = (
    lambda s, k: swarm.Hello(
        s.flag(),
        ALL_CAPABILITIES if s.flag() else s.number(4),
        s.fixed(8),
        "fuzz",
        plan=s.fixed(8) if s.flag() else b"",
        blocks=tuple(s.number(1) for _ in range(s.number(1) % 4)),
    ),
    _handover,
    lambda s, k: swarm.HandoverAck(k.index(s)),
    lambda s, k: swarm.LookupMessage(k.address(s), k.xid(s), *s.pick(k.clients)),
    lambda s, k: swarm.Found(s.flag(), k.address(s), k.xid(s), s.pick(k.clients)[0], s.pick(TIMES_S)),
    _locate,
    _replicate,
    lambda s, k: swarm.ReplicateAck(
        tuple(swarm.Progress(k.index(s), *_stream(s, k), s.flag(), s.flag()) for _ in range(s.below(4)))
    ),
    lambda s, k: swarm.Redirect(k.address(s), k.xid(s), s.pick(k.clients)[0], s.pick(PEER_ADDRESSES)),
    lambda s, k: swarm.Surrender(k.address(s), k.xid(s), *s.pick(k.clients), s.flag()),
    lambda s, k: swarm.SurrenderAck(k.address(s), k.xid(s), s.pick(k.clients)[0]),
    lambda s, k: swarm.Challenge(s.fixed(16) if s.flag() else NO_NONCE, s.fixed(16) if s.flag() else NO_NONCE, 0),
    _hearsay,
)


class Peer:
    """One node as the fuzzed one sees it. ``sealer``: what it seals with, None if the swarm has no key."""

    def __init__(self, number: int, pool: Pool, keys: swarm.KeyRing | None) -> None:
        self.address = peer_address(number)
        # One with a higher and others with lower node ids than the node itself: both ways a dispute can go.
        node_id = bytes((0x02, 0, 0, 0, number * 2, 0, 0, 0))
        self.codec = swarm.SwarmCodec(node_id, pool.prefix, pool.prefix_len, pool.block_size)
        self.sealer = swarm.Sealer(keys, b"epoch  " + bytes((number,))) if keys is not None else None

    def message(self, source: Source, known: Known) -> bytes:
        """A message whose form is right."""
        kind = source.below(4 + 2 * len(EXTENSIONS))
        if kind == 0:
            claims = [(known.index(source), source.pick(TIMES_S)) for _ in range(source.below(5))]
            return self.codec.update_claim(claims)
        if kind == 1:
            return self.codec.inquire([known.index(source) for _ in range(source.below(5))])
        if kind in (2, 3):
            address = known.address(source).to_bytes(4, "big")
            field = address[::-1] if source.flag() else address
            command = source.pick(LEASE_COMMANDS)
            return self.codec.lease_message(
                command, field, known.xid(source), source.pick(TIMES_S), source.pick(known.clients)[0]
            )
        return self.codec.write(EXTENSIONS[(kind - 4) % len(EXTENSIONS)](source, known))

    def sealed(self, data: bytes, destination: bytes) -> bytes:
        """``data`` as the swarm wants it."""
        return data if self.sealer is None else self.sealer.seal(data, self.address, destination)

    def opened(self, data: bytes, sender: bytes, destination: bytes) -> bytes:
        """What the node sent, without its seal."""
        if self.sealer is None or not swarm.is_sealed(data):
            return data
        return self.sealer.open(data, sender, destination).data

    def answer_to(self, data: bytes, sender: bytes) -> bytes | None:
        """The proof that this peer lives, if ``data``, opened, asks for it."""
        _, message = self.codec.decode(data)
        if not isinstance(message, swarm.Extension) or message.command != swarm.CHALLENGE:
            return None
        challenge = swarm.read_extension(message)
        assert isinstance(challenge, swarm.Challenge)
        if challenge.nonce == NO_NONCE:
            return None
        return self.sealed(self.codec.write(swarm.Challenge(NO_NONCE, challenge.nonce, 0)), sender)


def learn(known: Known, data: bytes) -> None:
    """Note what the node's own message makes known to those who hear it."""
    _, message = swarm.decode(data)
    if isinstance(message, swarm.LeaseMessage):
        known.xids.append(message.xid)
        return
    if not isinstance(message, swarm.Extension):
        return
    value = swarm.read_extension(message)
    if isinstance(value, swarm.LookupMessage | swarm.Surrender):
        known.xids.append(value.xid)
    elif isinstance(value, swarm.Locate):
        known.xids += [client.xid for client in value.clients]
    elif isinstance(value, swarm.Replicate):
        known.streams += [(section.stream, section.sequence) for section in value.sections]
