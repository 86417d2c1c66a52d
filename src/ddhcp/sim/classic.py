"""A model of the classic C node, quirks included, as far as they show on the wire.

The numbers in comments are those of the quirks in docs/simulator.md. What a classic node does not do is left out as
well: it remembers no client, repeats no RENEWLEASE, stores nothing and says no farewell.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ..core.events import SwarmReceived
from ..dhcp import Message, build_reply
from ..dhcp import constants as c
from ..swarm import (
    CLASSIC_CLAIMS_PER_PACKET,
    LEASEACK,
    LEASENAK,
    RENEWLEASE,
    AddressOrder,
    Claim,
    DecodeError,
    Inquire,
    LeaseMessage,
    SwarmCodec,
    UpdateClaim,
    read_address,
    write_address,
)
from .engine import Engine, Timer
from .host import Host, Realm
from .network import Network
from .setup import Setup
from .watch import Watch

FREE, TENTATIVE, CLAIMED, CLAIMING, OURS = range(5)
OFFER_S = 12
LEASE_GRACE_S = 10
REQUEST_KEPT_S = 120
REFRESH_FACTOR = 4


@dataclass(slots=True)
class Entry:
    """One address in an allocated lease table. ``is_leased``: else it is offered."""

    chaddr: bytes
    until: int
    is_leased: bool


@dataclass(slots=True)
class ClassicBlock:
    """``leases``: by offset; None until a table was allocated. ``needless_since``: unused and not needed since."""

    index: int
    state: int = FREE
    owner: bytes = bytes(16)
    until: int = 0
    leases: dict[int, Entry] | None = None
    needless_since: int | None = None


@dataclass(slots=True)
class _Pending:
    request: Message
    owner: bytes
    address: int
    until: int


@dataclass(slots=True)
class _Memory:
    """All that a running classic node knows; nothing of it survives a restart."""

    rng: random.Random
    blocks: dict[int, ClassicBlock] = field(default_factory=dict)
    ours: list[ClassicBlock] = field(default_factory=list)  # in the order of claiming
    claiming: dict[int, int] = field(default_factory=dict)  # block to inquiries sent
    pending: dict[tuple[int, bytes], _Pending] = field(default_factory=dict)
    learning_until: int | None = None
    nothing_ends_before: int = 0  # no block and no lease: until then there is nothing to time out


class ClassicHost(Host):
    """A machine that runs the classic daemon. ``node_id``: of 8 bytes; newer builds never set it (9), so several may
    have the same."""

    is_classic = True

    def __init__(
        self,
        number: int,
        engine: Engine,
        network: Network,
        watch: Watch,
        realm: Realm,
        setup: Setup,
        *,
        node_id: bytes | None = None,
        order: AddressOrder = AddressOrder.LITTLE,
    ) -> None:
        super().__init__(number, engine, network, watch, realm, setup)
        self.node_id = self.mac + b"\0\0" if node_id is None else node_id
        self._order = order
        pool = setup.pool
        self._pool = pool
        self._codec = SwarmCodec(self.node_id, pool.prefix, pool.prefix_len, pool.block_size)
        self._timer = Timer(engine, self._on_timer)
        self._memory = _Memory(random.Random(0))
        self._reserved = {pool.prefix, pool.prefix + 1, pool.broadcast}

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        if self.is_up:
            return
        self.is_up = True
        self.is_on_link = self.link_is_up
        self.incarnation += 1
        now = self._now()
        self._memory = _Memory(random.Random(now))  # seeded with the second of the start (13)
        if self.setup.learning:
            self._memory.learning_until = now + self.setup.block_timeout_s
        self._timer = Timer(self.engine, self._on_timer)
        self.watch.trace.say(f"n{self.number} starts (classic)")
        self._on_timer()

    def after_resume(self) -> None:
        self._on_timer()

    def step_wall_clock(self, seconds: float) -> None:
        super().step_wall_clock(seconds)  # noticed at the next housekeeping (8)

    def _now(self) -> int:
        """Whole seconds of wall-clock time (8)."""
        return int(self.clock.wall_time(self.engine.now))

    def _on_timer(self) -> None:
        if not self.is_up or self.is_paused:
            return
        self._timer.set(self.engine.now + self.setup.tentative_timeout_s / 2)
        self._housekeeping()

    # --- housekeeping ---------------------------------------------------------------------------

    def _housekeeping(self) -> None:
        """By timer every t/2, and after every received multicast (2)."""
        memory, now = self._memory, self._now()
        self._time_out(now)
        for key in [key for key, pending in memory.pending.items() if pending.until < now]:
            del memory.pending[key]
        if memory.learning_until is not None:
            if now < memory.learning_until:
                return
            memory.learning_until = None
        self._advance_claims(now)
        spares = self._count_free_and_give_up(now)
        self._claim_more(spares)
        self._refresh(now)

    def _time_out(self, now: int) -> None:
        memory = self._memory
        if now <= memory.nothing_ends_before:
            return
        memory.nothing_ends_before = now + 3600
        for block in list(memory.blocks.values()):
            if block.leases:
                ended = [offset for offset, entry in block.leases.items() if entry.until < now]
                for offset in ended:
                    del block.leases[offset]
                if ended and block.state == CLAIMED:
                    block.state = FREE  # though its owner claims it still (5)
            if block.state in (TENTATIVE, CLAIMED, OURS) and block.until < now:
                if block.state == OURS:  # own blocks expire too, with their leases (7)
                    memory.ours.remove(block)
                    block.leases = None
                block.state = FREE
            if block.state in (TENTATIVE, CLAIMED, OURS):
                self._ends_at(block.until)
            for entry in (block.leases or {}).values():
                self._ends_at(entry.until)

    def _ends_at(self, until: int) -> None:
        """Something ends then: housekeeping has to look."""
        memory = self._memory
        memory.nothing_ends_before = min(memory.nothing_ends_before, until)

    def _advance_claims(self, now: int) -> None:
        memory = self._memory
        owned, inquire = [], []
        for index, count in list(memory.claiming.items()):
            block = self._block(index)
            if count == 3:  # tested before the state: an objection after the third inquiry is overridden (3)
                del memory.claiming[index]
                self._own(block, now)
                owned.append(index)
            elif block.state != CLAIMING:
                del memory.claiming[index]
            else:
                memory.claiming[index] = count + 1
                inquire.append(index)
        if inquire:
            self._multicast(self._codec.inquire(inquire))
        if owned:
            self._announce(owned)

    def _own(self, block: ClassicBlock, now: int) -> None:
        if block.state != OURS:
            block.state = OURS
            self._memory.ours.append(block)
        if block.leases is None:
            block.leases = {}
        block.until = now + self.setup.block_timeout_s
        self._ends_at(block.until)
        block.needless_since = None
        block.owner = self.address

    def _usable(self, block: ClassicBlock) -> list[int]:
        """Free offsets of a block, lowest first."""
        first = self._pool.first_address(block.index)
        taken = block.leases or {}
        return [
            offset
            for offset in range(self._pool.block_size)
            if offset not in taken and first + offset not in self._reserved
        ]

    def _count_free_and_give_up(self, now: int) -> int:
        """Free leases in own blocks; a block that is not needed for them is given up after a while, without a word."""
        spares = 0
        for block in list(self._memory.ours):
            if not block.leases and spares >= self.setup.spare_leases:
                if block.needless_since is None:
                    block.needless_since = now
                elif now - block.needless_since > self.setup.needless_timeout_s:
                    self._memory.ours.remove(block)
                    block.state, block.leases = FREE, None
                    continue
            else:
                block.needless_since = None
            spares += self._pool.block_size - self._reserved_in(block.index) - len(block.leases or {})
        return spares

    def _reserved_in(self, index: int) -> int:
        return sum(self._pool.index_of(address) == index for address in self._reserved)

    def _claim_more(self, spares: int) -> None:
        memory = self._memory
        size = self._pool.block_size
        missing = self.setup.spare_leases - spares - len(memory.claiming) * size
        while missing > 0:
            index = self._pick_free()
            if index is None:
                return
            self._block(index).state = CLAIMING
            memory.claiming[index] = 0
            missing -= size

    def _pick_free(self) -> int | None:
        memory, count = self._memory, self._pool.block_count
        for _ in range(20):
            index = memory.rng.randrange(count)
            if self._state(index) == FREE and index not in memory.claiming:
                return index
        free = [i for i in range(count) if self._state(i) == FREE and i not in memory.claiming]
        return memory.rng.choice(free) if free else None

    def _refresh(self, now: int) -> None:
        timeout_s = self.setup.block_timeout_s
        threshold = now + timeout_s - timeout_s // REFRESH_FACTOR
        if any(block.until < threshold for block in self._memory.ours):
            for block in self._memory.ours:
                block.until = now + timeout_s
            self._announce([block.index for block in self._memory.ours])

    def _announce(self, indices: list[int]) -> None:
        timeout_s = self.setup.block_timeout_s
        for start in range(0, len(indices), CLASSIC_CLAIMS_PER_PACKET):
            part = indices[start : start + CLASSIC_CLAIMS_PER_PACKET]
            self._multicast(self._codec.update_claim([(index, timeout_s) for index in part]))

    def _block(self, index: int) -> ClassicBlock:
        block = self._memory.blocks.get(index)
        if block is None:
            block = self._memory.blocks[index] = ClassicBlock(index)
        return block

    def _state(self, index: int) -> int:
        block = self._memory.blocks.get(index)
        return FREE if block is None else block.state

    def _multicast(self, data: bytes) -> None:
        if self.can_send():
            self.multicast(data)

    # --- from other nodes -----------------------------------------------------------------------

    def receive_swarm(self, event: SwarmReceived) -> None:
        if self.is_paused:
            self.later(lambda: self._on_swarm(event))
        else:
            self._on_swarm(event)

    def _on_swarm(self, event: SwarmReceived) -> None:
        try:
            node_id, message = self._codec.decode(event.data)
        except DecodeError:
            return
        if event.multicast:
            if isinstance(message, UpdateClaim):
                self._on_claims(node_id, event.source, message.claims)
            elif isinstance(message, Inquire):
                self._on_inquire(node_id, message.indices)
            self._housekeeping()
        elif isinstance(message, LeaseMessage):
            self._on_lease_message(message, event.source)

    def _on_claims(self, node_id: bytes, source: bytes, claims: tuple[Claim, ...]) -> None:
        now = self._now()
        kept = []
        for claim in claims:
            if claim.index >= self._pool.block_count:
                continue
            block = self._block(claim.index)
            if block.state == OURS:
                if node_id < self.node_id:
                    kept.append(block.index)
                    block.until = now + self.setup.block_timeout_s
                    continue
                self._memory.ours.remove(block)  # its lease table stays allocated (5)
            block.state, block.owner = CLAIMED, source
            block.until = now + claim.timeout_s  # with 0 it is free at a later housekeeping
            self._ends_at(block.until)
        if kept:
            self._announce(kept)

    def _on_inquire(self, node_id: bytes, indices: tuple[int, ...]) -> None:
        now = self._now()
        for index in indices:
            if index >= self._pool.block_count:
                continue
            block = self._block(index)
            if block.state == OURS:
                block.until = now + self.setup.block_timeout_s
                self._announce([index])
            elif block.state != CLAIMING or node_id > self.node_id:
                block.state = TENTATIVE  # a claim that was heard is forgotten (4)
                block.until = now + self.setup.tentative_timeout_s
                self._ends_at(block.until)

    def _on_lease_message(self, message: LeaseMessage, source: bytes) -> None:
        if message.command == RENEWLEASE:
            self._on_renew(message, source)
            return
        pending = self._memory.pending.pop((message.xid, message.chaddr), None)
        if pending is None:
            return
        if message.command == LEASEACK:
            self._cache(pending.address, pending.request.chaddr)
            self._answer(pending.request, c.ACK, pending.address)
        elif message.command == LEASENAK:
            self._answer(pending.request, c.NAK, 0)

    def _on_renew(self, message: LeaseMessage, source: bytes) -> None:
        """Any client is acknowledged any address of an own block; a free one stays free (6)."""
        pool = self._pool
        reading = read_address(message.address_field, pool.prefix, pool.prefix_len, None)
        if reading is None:
            return
        address = reading[0]
        block = self._block(pool.index_of(address))
        command = LEASENAK
        if block.state == OURS:
            command = LEASEACK
            entry = (block.leases or {}).get(address - pool.first_address(block.index))
            if entry is not None:
                entry.until = self._now() + self.setup.lease_s + LEASE_GRACE_S
        answer = self._codec.lease_message(command, message.address_field, message.xid, 0, message.chaddr)
        if self.can_send():
            self.unicast(answer, source)

    def _cache(self, address: int, chaddr: bytes) -> None:
        """A renewal that was merely forwarded leaves an entry in a foreign block (5)."""
        block = self._block(self._pool.index_of(address))
        if block.leases is None:
            block.leases = {}
        until = self._now() + self.setup.lease_s + LEASE_GRACE_S
        block.leases[address - self._pool.first_address(block.index)] = Entry(chaddr, until, True)
        self._ends_at(until)

    # --- from clients ---------------------------------------------------------------------------

    def owned_blocks(self) -> set[int]:
        return {block.index for block in self._memory.ours} if self.is_up else set()

    def receive_dhcp(self, data: bytes, source: int, destination: int) -> None:
        if not self.is_up:
            return
        if self.is_paused:
            self.later(lambda: self._on_dhcp(data))
        else:
            self._on_dhcp(data)

    def _on_dhcp(self, data: bytes) -> None:
        request = Message.decode(data)
        kind = request.message_type
        if kind == c.DISCOVER:
            self._on_discover(request)
        elif kind == c.REQUEST:
            self._on_request(request)
        elif kind == c.RELEASE:
            self._on_release(request)
        # DECLINE is ignored (11)

    def _on_discover(self, request: Message) -> None:
        """Always a new address, from the earliest claimed block with a free entry, lowest first (11)."""
        for block in self._memory.ours:
            free = self._usable(block)
            if not free or block.leases is None:
                continue
            block.leases[free[0]] = Entry(request.chaddr, self._now() + OFFER_S, False)
            self._ends_at(self._now() + OFFER_S)
            self._answer(request, c.OFFER, self._pool.first_address(block.index) + free[0])
            self._housekeeping()
            return

    def _on_request(self, request: Message) -> None:
        """The server identifier is not looked at (11)."""
        address = request.requested_address or request.ciaddr
        pool = self._pool
        if address not in pool:
            self._answer(request, c.NAK, 0)
            return
        block = self._block(pool.index_of(address))
        if block.state == OURS:
            entry = (block.leases or {}).get(address - pool.first_address(block.index))
            if entry is None or entry.chaddr != request.chaddr:
                self._answer(request, c.NAK, 0)
                return
            entry.is_leased = True
            entry.until = self._now() + self.setup.lease_s + LEASE_GRACE_S
            self._answer(request, c.ACK, address)
        elif block.state == CLAIMED:
            self._forward(request, block.owner, address)
        elif self._state(0) == OURS:  # "do I own a block" looks at block 0 only (4)
            self._answer(request, c.NAK, 0)

    def _forward(self, request: Message, owner: bytes, address: int) -> None:
        """One RENEWLEASE, never repeated (10)."""
        until = self._now() + REQUEST_KEPT_S
        self._memory.pending[request.xid, request.chaddr] = _Pending(request, owner, address, until)
        field_ = write_address(address, self._order)
        data = self._codec.lease_message(RENEWLEASE, field_, request.xid, 0, request.chaddr)
        if self.can_send():
            self.unicast(data, owner)

    def _on_release(self, request: Message) -> None:
        address = request.ciaddr
        if address not in self._pool:
            return
        block = self._block(self._pool.index_of(address))
        offset = address - self._pool.first_address(block.index)
        entry = (block.leases or {}).get(offset)
        if block.state == OURS and block.leases and entry is not None and entry.chaddr == request.chaddr:
            del block.leases[offset]

    def _answer(self, request: Message, kind: int, address: int) -> None:
        """A NAK carries only the message type (11), which here means: and what the codec cannot leave out."""
        lease_s = None if kind == c.NAK else self.setup.lease_s
        payload = build_reply(
            request, kind, server_identifier=self._pool.prefix + 1, your_address=address, lease_time_s=lease_s,
            options={} if kind == c.NAK else {c.OPT_SUBNET_MASK: self._pool.netmask.to_bytes(4, "big")},
        )  # fmt: skip
        self.reply(payload)
