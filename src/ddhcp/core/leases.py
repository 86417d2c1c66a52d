"""The bindings of the addresses in this node's own blocks, and the search for a free one."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Collection, Iterator

from .pool import Pool
from .records import StoredLease


class LeaseState(enum.Enum):
    """The state of an address's latest binding. RELEASED and EXPIRED addresses are free, but remember their last
    client, who gets the same one again while nobody else needed it (DHCP-SERVER B2)."""

    OFFERED = "offered"
    LEASED = "leased"
    RELEASED = "released"
    EXPIRED = "expired"
    DECLINED = "declined"


ACTIVE = (LeaseState.OFFERED, LeaseState.LEASED)
TAKEN = (LeaseState.OFFERED, LeaseState.LEASED, LeaseState.DECLINED)


class Lease:
    """One address's binding. ``identity``: the client's key; ``chaddr``: 16 bytes as on the wire; ``expires_at``:
    end of the offer, lease or probation; ``hostname``: what the client calls itself, b"" if it does not.

    ``granted_s``, ``held_until``: what the store says about prolonging this lease (see :class:`StoredLease`); 0 if
    it says nothing, or says it of another binding.
    """

    __slots__ = (
        "address", "chaddr", "expires_at", "granted_s", "held_until", "hostname", "identity", "scheduled_at", "state",
    )  # fmt: skip

    def __init__(self, address: int, identity: bytes, chaddr: bytes, state: LeaseState, expires_at: float) -> None:
        self.address = address
        self.identity = identity
        self.chaddr = chaddr
        self.state = state
        self.expires_at = expires_at
        self.hostname = b""
        self.scheduled_at = 0.0  # instant of this lease's entry in the expiry heap, 0 if it has none
        self.granted_s = 0
        self.held_until = 0.0

    def stored(self) -> StoredLease:
        """This lease as the store keeps it."""
        return StoredLease(
            self.address, self.identity, self.chaddr, self.state.value, self.expires_at, self.hostname,
            self.granted_s, self.held_until,
        )  # fmt: skip

    def is_covered(self, granted_s: int) -> bool:
        """Whether the store already says that this lease, just prolonged by ``granted_s`` seconds, may run so long."""
        return self.state is LeaseState.LEASED and granted_s <= self.granted_s and self.expires_at <= self.held_until

    def cover(self, granted_s: int, slack_s: int) -> StoredLease:
        """The row that covers this lease of ``granted_s`` seconds, and its renewals of the next ``slack_s`` seconds."""
        self.granted_s, self.held_until = granted_s, self.expires_at + slack_s
        return self.stored()


class _BlockLeases:
    """The addresses of one own block: ``free`` in order of use (never used first, then the longest unused)."""

    __slots__ = ("free", "leased", "offered", "serving", "usable")

    def __init__(self, free: dict[int, None]) -> None:
        self.free = free
        self.serving = True
        self.usable = len(free)
        self.offered = 0
        self.leased = 0


class LeaseTable:
    """Bindings by address and by client; free addresses by block.

    Some addresses are reserved: never handed out (network, broadcast, server, router). All operations are constant
    time but for the expiry heap (logarithmic).
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._reserved: set[int] = set()
        self._by_address: dict[int, Lease] = {}
        self._by_identity: dict[bytes, int] = {}
        self._by_chaddr: dict[bytes, int] = {}
        self._blocks: dict[int, _BlockLeases] = {}
        self._with_free: dict[int, None] = {}
        self._expiries: list[tuple[float, int]] = []
        self.free_count = 0
        self.offered_count = 0
        self.leased_count = 0

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_address.values())

    # --- blocks ---------------------------------------------------------------------------------

    def add_block(self, index: int) -> None:
        """The addresses of block ``index`` may be leased from now on. Nothing happens if they may already."""
        if index in self._blocks:
            return
        first = self._pool.first_address(index)
        free = {a: None for a in range(first, first + self._pool.block_size) if a not in self._reserved}
        block = self._blocks[index] = _BlockLeases(free)
        self.free_count += block.usable
        if free:
            self._with_free[index] = None

    def drop_block(self, index: int) -> list[Lease]:
        """Forget block ``index`` and its bindings; returns the bindings it had, of any state."""
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        if block.serving:
            self.free_count -= len(block.free)
            self._with_free.pop(index, None)
        self.offered_count -= block.offered
        self.leased_count -= block.leased
        dropped = list(self.in_block(index))
        for lease in dropped:
            del self._by_address[lease.address]
            self._unindex(lease)
        return dropped

    def suspend_block(self, index: int) -> None:
        """Keep the bindings of block ``index``, but hand out nothing from it until :meth:`resume_block`."""
        block = self._blocks[index]
        if block.serving:
            block.serving = False
            self.free_count -= len(block.free)
            self._with_free.pop(index, None)

    def resume_block(self, index: int) -> None:
        """Block ``index`` may be leased from again; it is added if it is new."""
        block = self._blocks.get(index)
        if block is None:
            self.add_block(index)
        elif not block.serving:
            block.serving = True
            self.free_count += len(block.free)
            if block.free:
                self._with_free[index] = None

    @property
    def block_indices(self) -> Collection[int]:
        """The indices of the blocks whose bindings are kept here."""
        return self._blocks.keys()

    def has_block(self, index: int) -> bool:
        """Whether the bindings of block ``index`` are kept here."""
        return index in self._blocks

    def in_block(self, index: int) -> Iterator[Lease]:
        """The latest bindings of the addresses of block ``index``, of any state."""
        first = self._pool.first_address(index)
        for address in range(first, first + self._pool.block_size):
            lease = self._by_address.get(address)
            if lease is not None:
                yield lease

    def reserve(self, address: int) -> None:
        """``address`` is never handed out from now on; an unexpired lease on it runs out by itself."""
        self._reserved.add(address)
        index = self._pool.index_of(address)
        block = self._blocks.get(index)
        if block is not None and address in block.free:
            block.usable -= 1
            self._take(index, block, address)

    def is_reserved(self, address: int) -> bool:
        """Whether ``address`` is never handed out."""
        return address in self._reserved

    def usage(self, index: int) -> tuple[int, int]:
        """(offered, leased) of own block ``index``."""
        block = self._blocks[index]
        return block.offered, block.leased

    def free_in(self, index: int) -> int:
        """How many addresses of own block ``index`` are free."""
        return len(self._blocks[index].free)

    def is_unused(self, index: int) -> bool:
        """Whether own block ``index`` has no offer, no lease and no declined address."""
        block = self._blocks[index]
        return len(block.free) == block.usable

    # --- lookup ---------------------------------------------------------------------------------

    def at(self, address: int) -> Lease | None:
        """The latest binding of ``address``, of any state."""
        return self._by_address.get(address)

    def of(self, identity: bytes, chaddr: bytes) -> Lease | None:
        """This client's latest binding.

        By identity first; by hardware address when either side has no client identifier, because clients exist that
        send one only in some messages (DHCP-SERVER G2, Q10). Two different client identifiers are two clients.
        """
        address = self._by_identity.get(identity)
        if address is not None:
            return self._by_address[address]
        address = self._by_chaddr.get(chaddr)
        if address is None:
            return None
        lease = self._by_address[address]
        return lease if self.belongs(lease, identity, chaddr) else None

    @staticmethod
    def belongs(lease: Lease | StoredLease, identity: bytes, chaddr: bytes) -> bool:
        """Whether ``lease`` is this client's (the rule of :meth:`of`)."""
        if lease.identity == identity:
            return True
        both_have_client_id = lease.identity[:1] == b"\0" and identity[:1] == b"\0"
        return lease.chaddr == chaddr and not both_have_client_id

    def holds_another(self, address: int, identity: bytes, chaddr: bytes) -> bool:
        """Whether this client has an unexpired lease of ours on an address other than ``address``."""
        other = self.of(identity, chaddr)
        return other is not None and other.state is LeaseState.LEASED and other.address != address

    def is_free(self, address: int) -> bool:
        """Whether ``address`` lies in a block of ours and may be bound now."""
        block = self._blocks.get(self._pool.index_of(address)) if address in self._pool else None
        return block is not None and block.serving and address in block.free

    def is_unbound(self, address: int) -> bool:
        """Whether ``address`` lies in a block of ours, handed out from or not, and is nobody's."""
        block = self._blocks.get(self._pool.index_of(address)) if address in self._pool else None
        return block is not None and address in block.free

    def pick_free(self) -> int | None:
        """A free address: from the earliest claimed block that has one; there the one unused for longest."""
        for index in self._with_free:
            return next(iter(self._blocks[index].free))
        return None

    # --- change ---------------------------------------------------------------------------------

    def bind(
        self,
        address: int,
        identity: bytes,
        chaddr: bytes,
        state: LeaseState,
        expires_at: float,
        hostname: bytes = b"",
    ) -> Lease:
        """Bind ``address`` (in a block of ours) to a client, replacing whatever binding it had."""
        lease = self._by_address.get(address)
        if lease is None:
            lease = Lease(address, identity, chaddr, state, expires_at)
            self._by_address[address] = lease
            self._count(address, None, state)
        else:
            if lease.identity != identity or lease.chaddr != chaddr:
                self._unindex(lease)
                lease.identity, lease.chaddr, lease.hostname = identity, chaddr, b""
                lease.held_until = 0.0
            self._count(address, lease.state, state)
            lease.state, lease.expires_at = state, expires_at
        if hostname and hostname != lease.hostname:
            lease.hostname = hostname
            lease.held_until = 0.0
        self._by_identity[identity] = address
        self._by_chaddr[chaddr] = address
        self._schedule(lease)
        return lease

    def remember(
        self,
        address: int,
        identity: bytes,
        chaddr: bytes,
        state: LeaseState,
        expires_at: float,
        hostname: bytes,
    ) -> None:
        """Note the last client of a free address, from the store; ``state`` is RELEASED or EXPIRED."""
        lease = Lease(address, identity, chaddr, state, expires_at)
        lease.hostname = hostname
        self._by_address[address] = lease
        self._by_identity.setdefault(identity, address)
        self._by_chaddr.setdefault(chaddr, address)

    def end(self, lease: Lease, state: LeaseState) -> None:
        """An offer or lease is over: ``state`` is RELEASED or EXPIRED; the address is free, its client remembered."""
        self._count(lease.address, lease.state, state)
        lease.state = state

    def forget(self, lease: Lease) -> None:
        """The address is free and nobody is remembered (a withdrawn offer)."""
        self._count(lease.address, lease.state, None)
        del self._by_address[lease.address]
        self._unindex(lease)

    def pop_expired(self, now: float) -> Lease | None:
        """The next binding in a TAKEN state whose time has run out, or None. The caller ends it."""
        while self._expiries and self._expiries[0][0] <= now:
            at, address = heapq.heappop(self._expiries)
            lease = self._by_address.get(address)
            if lease is None or lease.scheduled_at != at:
                continue
            lease.scheduled_at = 0.0
            if lease.state not in TAKEN:
                continue
            if lease.expires_at <= now:
                return lease
            self._schedule(lease)
        return None

    def next_expiry_at(self) -> float | None:
        """A lower bound of the instant at which :meth:`pop_expired` may find something."""
        return self._expiries[0][0] if self._expiries else None

    def _schedule(self, lease: Lease) -> None:
        # A later end keeps the earlier entry, which is looked at again when it comes up: a renewal costs nothing here.
        if lease.scheduled_at == 0.0 or lease.expires_at < lease.scheduled_at:
            lease.scheduled_at = lease.expires_at
            heapq.heappush(self._expiries, (lease.expires_at, lease.address))

    def _unindex(self, lease: Lease) -> None:
        if self._by_identity.get(lease.identity) == lease.address:
            del self._by_identity[lease.identity]
        if self._by_chaddr.get(lease.chaddr) == lease.address:
            del self._by_chaddr[lease.chaddr]

    def _count(self, address: int, old: LeaseState | None, new: LeaseState | None) -> None:
        """Keep the per-block counters and the free set in step with a change of state."""
        if old is new:
            return
        index = self._pool.index_of(address)
        block = self._blocks[index]
        offered = (new is LeaseState.OFFERED) - (old is LeaseState.OFFERED)
        leased = (new is LeaseState.LEASED) - (old is LeaseState.LEASED)
        block.offered += offered
        block.leased += leased
        self.offered_count += offered
        self.leased_count += leased
        was_taken, is_taken = old in TAKEN, new in TAKEN
        if was_taken == is_taken or address in self._reserved:
            return
        if is_taken:
            self._take(index, block, address)
            return
        block.free[address] = None
        if block.serving:
            self.free_count += 1
            self._with_free[index] = None

    def _take(self, index: int, block: _BlockLeases, address: int) -> None:
        """A free address of a block is free no more."""
        del block.free[address]
        if block.serving:
            self.free_count -= 1
            if not block.free:
                del self._with_free[index]
