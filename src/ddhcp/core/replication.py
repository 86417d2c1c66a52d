"""Telling k peers of ours about every lease of this node's blocks (SAFETY, Lease replication to k peers).

For each block the k peers that come first for it (``ring.py``) keep a replica. To each of them runs one stream
of sections a block, numbered from 1, the next sent when the last is acknowledged; a section says how the leases stand
that changed, not what happened to them, so saying it again does no harm. A replica that lost the thread asks for a
reset, which tells the whole block. Nothing is sent while no lease changes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from ..swarm import (
    CAN_REPLICATE,
    LEASE_LEASED,
    MAX_EXTENSION_TARGET,
    SECTION_OVERHEAD,
    LeaseRecord,
    Replicate,
    ReplicateAck,
    Section,
    record_size,
)
from ..values import dataclass, field
from .claims import Claims
from .context import Context
from .effects import Effect, ForgetBlock, ForgetLease, ProlongLease, SaveLease
from .leases import LASTING, LEASED, LeaseTable
from .peers import MAX_PEERS, Peer, Peers
from .ring import Ring, distance
from .told_leases import given_back, gone, told

RENEWAL_DELAY_S = 1.0  # a renewal waits this long for company: until then the replicas know the lease's former end
RETRY_DELAYS_S = (0.25, 0.5, 1.0, 2.0, 2.0, 2.0)  # after these a peer is taken for gone
MAX_FLYING_MESSAGES = 16  # unacknowledged at one peer: a burst that a slow link still takes
MAX_STREAMS = 4096  # to one peer; beyond that it is not told to forget what others keep now
# A peer that did not answer is asked whether it is there after these times, until it is heard: it may keep leases that
# are out of date by now and must be told.
PROBE_DELAYS_S = (30.0, 60.0, 120.0, 240.0, 480.0, 960.0)
MAX_REFUSALS = 8  # peers that refused a block; then it does with fewer replicas
_MAX_NUMBER = 0xFFFFFFFF


@dataclass(slots=True)
class _Stream:
    """What one replica was told of one block. ``flying``: the addresses in the section that is not acknowledged yet,
    None if there is none; ``has_new``: a lease of an address that its client did not hold before is in that section.
    ``told``: the client that each address was last said to be of, and up to when it would be kept for it."""

    index: int
    number: int
    sequence: int = 0
    dirty: dict[int, None] = field(default_factory=dict)
    flying: tuple[int, ...] | None = None
    has_new: bool = False
    told: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    is_dropped: bool = False

    def holds(self, address: int, client: bytes, now: float) -> bool:
        """Whether ``address`` was said to be this client's, and is as far as the replica knows."""
        told, until = self.told.get(address, (b"", -math.inf))
        return told == client and until > now

    def has_news_of(self, address: int) -> bool:
        """Whether the replica has not acknowledged how ``address`` stands now."""
        return address in self.dirty or address in (self.flying or ())


@dataclass(slots=True)
class _Link:
    """The streams to one peer. ``ready``: blocks with something to tell and nothing flying."""

    address: bytes
    streams: dict[int, _Stream] = field(default_factory=dict)
    ready: dict[int, None] = field(default_factory=dict)
    flying: dict[int, None] = field(default_factory=dict)
    messages: int = 0
    send_at: float = math.inf
    retry_at: float = math.inf
    attempts: int = 0

    def deadline(self) -> float:
        return min(self.send_at, self.retry_at)


@dataclass(slots=True)
class _Gone:
    """A peer that did not answer. ``blocks``: what it was told of before. ``probe_at``: when it is asked next."""

    blocks: tuple[int, ...]
    probe_at: float
    probes: int = 0


class Replication:
    """The owner's side. What is stored is replicated: :meth:`note` looks at the effects of each event.

    ``probe(address)`` asks a peer to say HELLO.
    """

    def __init__(
        self, context: Context, claims: Claims, leases: LeaseTable, peers: Peers, probe: Callable[[bytes], None]
    ) -> None:
        self._context = context
        self._peers = peers
        self._claims = claims
        self._leases = leases
        self._probe = probe
        self._candidates = Ring()  # peers that can keep replicas and are not taken for gone
        self._gone: dict[bytes, _Gone] = {}
        self._refusals: dict[int, dict[bytes, None]] = {}  # block -> peers that will not keep it
        self._links: dict[bytes, _Link] = {}
        self._targets: dict[int, tuple[bytes, ...]] = {}  # block -> its replicas, in their order on the ring
        self._stream_number = context.rng.getrandbits(32)
        self._due: list[tuple[float, bytes]] = []
        self.on_acknowledged: Callable[[tuple[int, ...], float], None] = lambda addresses, now: None

    def targets(self, index: int) -> tuple[bytes, ...]:
        """The addresses of the peers that are told of block ``index``."""
        return self._targets.get(index, ())

    def lag(self) -> int:
        """How many changed leases some replica has not acknowledged."""
        return sum(
            len(stream.dirty) + len(stream.flying or ())
            for link in self._links.values()
            for stream in link.streams.values()
        )

    def acknowledged(self, address: int) -> tuple[int, int]:
        """By how many replicas what there is to know of ``address`` has been acknowledged, and of how many."""
        index = self._context.pool.index_of(address)
        targets = self._targets.get(index, ())
        behind = 0
        for target in targets:
            link = self._links.get(target)
            stream = link.streams.get(index) if link is not None else None
            if stream is not None and stream.has_news_of(address):
                behind += 1
        return len(targets) - behind, len(targets)

    def is_known_everywhere(self, address: int) -> bool:
        """Whether every peer that this node ever told of ``address`` has acknowledged how it stands now."""
        index = self._context.pool.index_of(address)
        streams = (link.streams.get(index) for link in self._links.values())
        if any(stream is not None and self._is_behind(stream, address) for stream in streams):
            return False
        return not any(index in peer.blocks for peer in self._gone.values())

    @staticmethod
    def _is_behind(stream: _Stream, address: int) -> bool:
        is_reset_heard = stream.sequence > 1 or (stream.sequence == 1 and stream.flying is None)
        return stream.is_dropped or not is_reset_heard or stream.has_news_of(address)

    @property
    def next_due_at(self) -> float:
        """A lower bound of :meth:`deadline`."""
        return self._due[0][0] if self._due else math.inf

    def deadline(self) -> float:
        """When :meth:`run` wants to be called next; infinity if never."""
        while self._due:
            at, address = self._due[0]
            if self._due_at(address) == at:
                return at
            heapq.heappop(self._due)
        return math.inf

    def _due_at(self, address: bytes) -> float:
        link, gone = self._links.get(address), self._gone.get(address)
        if gone is not None:
            return gone.probe_at
        return math.inf if link is None else link.deadline()

    # --- peers ----------------------------------------------------------------------------------

    def on_ours(self, peer: Peer, is_new: bool, now: float) -> None:
        """A peer of ours told who it is."""
        if not self._context.is_replicated or not peer.can(CAN_REPLICATE):
            return
        link = self._links.get(peer.address)
        if is_new and link is not None:
            for stream in list(link.streams.values()):
                if stream.is_dropped:
                    self._end(link, stream.index)
                else:
                    self._reset(link, stream, now)
        self._enlist(peer, now)

    def minds(self, peer: Peer) -> bool:
        """Whether it matters that this peer speaks: it may be a replica, and is not counted as one."""
        return not peer.is_candidate and self._context.is_replicated and peer.can(CAN_REPLICATE)

    def on_heard(self, peer: Peer, now: float) -> None:
        """A peer spoke: one that was taken for gone is not."""
        address = peer.address
        if not self.minds(peer):
            return
        gone = self._gone.get(address)
        if gone is None or gone.probe_at <= now:
            self._enlist(peer, now)
        elif gone.probes == len(PROBE_DELAYS_S):
            gone.probes, gone.probe_at = 0, now + PROBE_DELAYS_S[0]
            self._schedule_probe(address, gone)

    def _enlist(self, peer: Peer, now: float) -> None:
        """A peer may keep replicas from now on."""
        address = peer.address
        gone = self._gone.pop(address, None)
        if address in self._candidates:
            peer.is_candidate = True  # it had been forgotten
        if peer.is_candidate or len(self._candidates) >= MAX_PEERS:
            return
        peer.is_candidate = True
        self._candidates.add(address)
        self._context.has_stand_ins = True
        for index in self._claims.table.ours:
            targets = self._targets.get(index)
            if targets is None:
                if self._leases.usage(index)[1]:
                    self._target(index, now)
            elif len(targets) < self._context.config.replicas or (
                distance(index, address) < distance(index, targets[-1])
            ):
                self._retarget(index, now)
        for index in gone.blocks if gone is not None else ():
            if index in self._targets and address not in self._targets[index]:
                self._drop(self._link(address), index, now)

    def _link(self, address: bytes) -> _Link:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = _Link(address)
        return link

    def _lose(self, address: bytes, now: float) -> None:
        """A peer does not answer: others take its place."""
        if len(self._gone) >= MAX_PEERS:
            del self._gone[next(iter(self._gone))]
        self._candidates.discard(address)
        peer = self._peers.get(address)
        if peer is not None:
            peer.is_candidate = False
        self._context.epoch += 1  # its next word, whatever it says, tells that it is there
        link = self._links.pop(address, None)
        blocks = tuple(link.streams) if link is not None else ()
        gone = self._gone[address] = _Gone(blocks, now + PROBE_DELAYS_S[0])
        self._schedule_probe(address, gone)
        for index in blocks:
            if address in self._targets.get(index, ()):
                self._retarget(index, now)

    def _schedule_probe(self, address: bytes, gone: _Gone) -> None:
        heapq.heappush(self._due, (gone.probe_at, address))

    def _probe_gone(self, address: bytes, now: float) -> None:
        gone = self._gone[address]
        gone.probes += 1
        if gone.probes == len(PROBE_DELAYS_S):
            gone.probe_at = math.inf  # from now on it is for the peer to make itself heard
            return
        gone.probe_at = now + PROBE_DELAYS_S[gone.probes]
        self._schedule_probe(address, gone)
        if self._context.link_up:
            self._probe(address)

    def _choose(self, index: int) -> tuple[bytes, ...]:
        refusals = self._refusals.get(index, {})
        if len(refusals) >= MAX_REFUSALS:
            return tuple(a for a in self._targets[index] if a in self._candidates and a not in refusals)
        return self._candidates.first(index, self._context.config.replicas, refusals)

    def _target(self, index: int, now: float) -> None:
        """Choose the replicas of a block that has none yet, and tell them everything."""
        self._targets[index] = ()
        self._retarget(index, now)

    def _retarget(self, index: int, now: float) -> None:
        """Choose the replicas of a block anew, tell new ones everything and former ones to forget."""
        before, chosen = self._targets[index], self._choose(index)
        if before == chosen:
            return
        self._targets[index] = chosen
        for address in chosen:
            if address not in before:
                link = self._link(address)
                stream = link.streams.get(index)
                if stream is None:
                    stream = link.streams[index] = _Stream(index, 0)
                self._reset(link, stream, now)
        for address in before:
            if address not in chosen and address in self._links:
                self._drop(self._links[address], index, now)

    # --- changes --------------------------------------------------------------------------------

    def note(self, effects: list[Effect], now: float) -> None:
        """Learn from what an event has this node store which leases have changed."""
        if not self._context.is_replicated:
            return
        for at in range(len(effects)):  # what is sent meanwhile is added to it
            effect = effects[at]
            if isinstance(effect, SaveLease):
                self._changed(effect.lease.address, now)
            elif isinstance(effect, (ProlongLease, ForgetLease)):
                self._changed(effect.address, now)
            elif isinstance(effect, ForgetBlock):
                self._forget(effect.index, now)

    def _changed(self, address: int, now: float) -> None:
        index = self._context.pool.index_of(address)
        targets = self._targets.get(index)
        if targets is None:
            if index not in self._claims.table.ours:
                return
            self._target(index, now)
            targets = self._targets[index]
        if not targets:
            return
        lease = self._leases.at(address)
        client = lease.identity if lease is not None and lease.state is LEASED else b""
        for target in targets:
            link = self._links[target]
            stream = link.streams[index]
            is_renewal = bool(client) and stream.holds(address, client, now)
            stream.dirty[address] = None
            may_wait = is_renewal and not self._context.config.replicas_before_ack
            self._stir(link, stream, now + RENEWAL_DELAY_S if may_wait else now)

    def _forget(self, index: int, now: float) -> None:
        """A block is ours no more. Its new owner, or the claim that gave it up, tells the replicas."""
        self._refusals.pop(index, None)
        for target in self._targets.pop(index, ()):
            link = self._links.get(target)
            if link is not None:
                self._end(link, index)

    def _end(self, link: _Link, index: int) -> None:
        link.streams.pop(index, None)
        link.ready.pop(index, None)
        link.flying.pop(index, None)

    def _drop(self, link: _Link, index: int, now: float) -> None:
        """Tell a peer to forget a block that others keep now."""
        if len(link.streams) > MAX_STREAMS:
            self._end(link, index)
            return
        stream = link.streams.setdefault(index, _Stream(index, 0))
        stream.is_dropped, stream.flying = True, None
        stream.dirty.clear()
        link.flying.pop(index, None)
        self._stir(link, stream, now)

    def _reset(self, link: _Link, stream: _Stream, now: float) -> None:
        """Tell a replica the whole block from the start."""
        self._stream_number = (self._stream_number + 1) & _MAX_NUMBER
        stream.number, stream.sequence, stream.flying, stream.is_dropped = self._stream_number, 0, None, False
        link.flying.pop(stream.index, None)
        stream.told.clear()
        stream.dirty = {lease.address: None for lease in self._leases.in_block(stream.index) if lease.state in LASTING}
        self._stir(link, stream, now)

    # --- sending --------------------------------------------------------------------------------

    def _stir(self, link: _Link, stream: _Stream, at: float) -> None:
        """A stream has something to tell by ``at``."""
        if stream.flying is None:
            link.ready[stream.index] = None
        if at < link.send_at:
            link.send_at = at
            self._schedule(link)

    def _schedule(self, link: _Link) -> None:
        at = link.deadline()
        if at < math.inf:
            heapq.heappush(self._due, (at, link.address))

    def run(self, now: float) -> None:
        """Send what is due: a new lease at once, so that it is under way to its replicas before its client knows it,
        but not before it is on disk. A replica may grant it anew in this node's place; if this node ended before its
        commit and came back, it would not know of that, and give the address to another client."""
        while self._due and self._due[0][0] <= now:
            _, address = heapq.heappop(self._due)
            link = self._links.get(address)
            if self._due_at(address) > now:
                continue
            if link is None:
                self._probe_gone(address, now)
                continue
            if link.retry_at <= now:
                self._retry(link, now)
            elif self._context.link_up:
                link.send_at = math.inf
                self._send_ready(link, now)
                self._schedule(link)
            else:
                link.send_at = now + RETRY_DELAYS_S[-1]
                self._schedule(link)

    def _send_ready(self, link: _Link, now: float) -> None:
        sections: list[Section] = []
        size = 0
        while link.ready and link.messages < MAX_FLYING_MESSAGES:
            index = next(iter(link.ready))
            del link.ready[index]
            stream = link.streams[index]
            stream.sequence = 0 if stream.is_dropped else stream.sequence + 1
            stream.flying, stream.has_new = self._fitting(stream, now), False
            for address in stream.flying:
                del stream.dirty[address]
            section, section_size = self._section(stream, now)
            if sections and size + section_size > MAX_EXTENSION_TARGET:
                self._send(link, sections)
                sections, size = [], 0
            sections.append(section)
            size += section_size
            link.flying[index] = None
        if sections:
            self._send(link, sections)
        if link.flying and link.retry_at == math.inf:
            link.attempts = 0
            link.retry_at = now + RETRY_DELAYS_S[0]

    def _send(self, link: _Link, sections: list[Section]) -> None:
        link.messages += 1
        has_new = any(link.streams[section.index].has_new for section in sections)
        self._context.tell(link.address, Replicate(tuple(sections)), durable=has_new)

    def _record(self, address: int, now: float) -> LeaseRecord:
        lease = self._leases.at(address)
        if lease is None:
            return gone(address)
        return given_back(lease) if lease.is_released else told(lease, self._context.keep_s, now)

    def _fitting(self, stream: _Stream, now: float) -> tuple[int, ...]:
        """The changed addresses that fit into one message."""
        size = SECTION_OVERHEAD
        chosen: list[int] = []
        for address in stream.dirty:
            size += record_size(self._record(address, now))
            if chosen and size > MAX_EXTENSION_TARGET:
                break
            chosen.append(address)
        return tuple(chosen)

    def _section(self, stream: _Stream, now: float) -> tuple[Section, int]:
        """The section that is flying, as the leases stand now, and its size."""
        records = tuple(self._record(address, now) for address in stream.flying or ())
        for record in records:
            if record.state == LEASE_LEASED and not stream.holds(record.address, record.identity, now):
                stream.has_new = True
            stream.told[record.address] = (record.identity, now + record.remaining_s + record.kept_s)
        section = Section(
            stream.index, stream.number, stream.sequence, records,
            is_reset=stream.sequence == 1, has_more=bool(stream.dirty), is_dropped=stream.is_dropped,
        )  # fmt: skip
        return section, SECTION_OVERHEAD + sum(record_size(record) for record in records)

    def _retry(self, link: _Link, now: float) -> None:
        """Say again what was not acknowledged; after the last attempt the peer is taken for gone."""
        if not link.flying:
            link.retry_at = math.inf
            self._schedule(link)
            return
        link.attempts += 1
        if link.attempts >= len(RETRY_DELAYS_S):
            self._context.count("swarm.replicas_lost")
            self._lose(link.address, now)
            return
        link.messages = 0
        link.retry_at = now + RETRY_DELAYS_S[link.attempts]
        sections: list[Section] = []
        size = 0
        for index in link.flying:
            section, section_size = self._section(link.streams[index], now)
            if sections and size + section_size > MAX_EXTENSION_TARGET:
                self._send(link, sections)
                sections, size = [], 0
            sections.append(section)
            size += section_size
        if sections:
            self._send(link, sections)
        self._schedule(link)

    # --- answers --------------------------------------------------------------------------------

    def on_ack(self, message: ReplicateAck, peer: Peer, now: float) -> None:
        """A replica tells how far it is."""
        link = self._links.get(peer.address)
        if link is None:
            self._context.count("swarm.drop.unasked-answer")
            return
        link.messages = max(0, link.messages - 1)
        for block in message.blocks:
            stream = link.streams.get(block.index)
            if stream is None or stream.number != block.stream or (stream.flying is None and not block.is_unknown):
                continue
            if block.is_refused:
                self._end(link, block.index)
                if block.index in self._targets:
                    self._refusals.setdefault(block.index, {})[peer.address] = None
                    self._retarget(block.index, now)
            elif block.is_unknown:
                self._reset(link, stream, now)
            elif block.sequence == stream.sequence:
                self._acknowledged(link, stream, now)
        if not link.flying:
            link.messages = 0
            link.retry_at = math.inf
        elif link.retry_at < math.inf:
            link.attempts = 0
            link.retry_at = now + RETRY_DELAYS_S[0]
        if link.ready:
            link.send_at = min(link.send_at, now)
        if link.streams:
            self._schedule(link)
        else:
            self._links.pop(link.address, None)

    def _acknowledged(self, link: _Link, stream: _Stream, now: float) -> None:
        told, stream.flying = stream.flying or (), None
        link.flying.pop(stream.index, None)
        self.on_acknowledged(told, now)
        if stream.is_dropped:
            self._end(link, stream.index)
        elif stream.dirty:
            link.ready[stream.index] = None
