"""The bindings of the addresses in this node's own blocks, and the search for a free one."""

from __future__ import annotations

import enum
import heapq
import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from .addresses import AddressPlan
from .pool import Pool
from .records import StoredLease

LATER_PERIOD_S: Final = 16  # a lease's end is known to this exactly until it is near
SHORTEST_GRANT_S: Final = 10  # less is not worth acknowledging: the client would do nothing but renew


class LeaseState(enum.Enum):
    """The state of an address's latest binding. RELEASED and EXPIRED addresses are free, but remember their last
    client, who gets the same one again while nobody else needed it (DHCP-SERVER B2). The lease of a KEPT one has ended
    as far as this node knows; a peer that stood in for it may have prolonged it, or may yet, so nobody else gets it."""

    OFFERED = "offered"
    LEASED = "leased"
    KEPT = "kept"
    RELEASED = "released"
    EXPIRED = "expired"
    DECLINED = "declined"


# The members by name, for what every packet passes: Python 3.11 looks a member of an enum up by a property that is
# written in Python, and a new client needs some thirty of them.
OFFERED: Final = LeaseState.OFFERED
LEASED: Final = LeaseState.LEASED
KEPT: Final = LeaseState.KEPT
DECLINED: Final = LeaseState.DECLINED

_crc32: Final = zlib.crc32  # by names of their own: in compiled code looking them up takes as long as they do
_heappush: Final = heapq.heappush

ACTIVE: Final = (OFFERED, LEASED)
HELD: Final = (LEASED, KEPT)  # by a client that was acknowledged it
LASTING: Final = (*HELD, DECLINED)  # what peers, and this node after a restart, are to know
ITS_CLIENTS: Final = (OFFERED, LEASED, KEPT)
TAKEN: Final = (OFFERED, LEASED, KEPT, DECLINED)


def _is_taken(state: LeaseState | None) -> bool:
    """Whether it is one of TAKEN, for what every packet passes: ``in`` asks each member whether it is equal."""
    return state is OFFERED or state is LEASED or state is KEPT or state is DECLINED


class Lease:
    """One address's binding. ``identity``: the client's key; ``chaddr``: 16 bytes as on the wire; ``expires_at``:
    end of the offer, lease, keeping or probation; ``hostname``: what the client calls itself, b"" if it does not.

    ``granted_s``, ``held_until``: what the store says about prolonging this lease (see :class:`StoredLease`); 0 if
    it says nothing, or says it of another binding. ``is_released``: the client of a KEPT address gave it back, and some
    replica may not have heard of that.
    """

    __slots__ = (
        "address", "chaddr", "expires_at", "granted_s", "held_until", "hostname", "identity", "is_released",
        "scheduled_at", "state",
    )  # fmt: skip

    def __init__(self, address: int, identity: bytes, chaddr: bytes, state: LeaseState, expires_at: float) -> None:
        self.address = address
        self.identity = identity
        self.chaddr = chaddr
        self.state = state
        self.expires_at = expires_at
        self.hostname = b""
        self.granted_s = 0
        self.held_until = 0.0
        self.is_released = False
        self.scheduled_at = 0.0  # instant of this lease's entry in the expiry heap, 0 if it has none

    def stored(self) -> StoredLease:
        """This lease as the store keeps it."""
        return StoredLease(
            self.address, self.identity, self.chaddr, self.state._value_, self.expires_at, self.hostname,
            self.granted_s, self.held_until,
        )  # fmt: skip

    def is_covered(self, granted_s: int) -> bool:
        """Whether the store already says that this lease, just prolonged by ``granted_s`` seconds, may run so long."""
        return self.state is LEASED and granted_s <= self.granted_s and self.expires_at <= self.held_until

    def cover(self, granted_s: int, slack_s: int) -> StoredLease:
        """The row that covers this lease of ``granted_s`` seconds, and its renewals of the next ``slack_s`` seconds."""
        self.granted_s, self.held_until = granted_s, self.expires_at + slack_s
        return self.stored()


class _BlockLeases:
    """The addresses of one own block. ``bindings``: the latest of each, by its place in the block. ``free``: in order
    of use (never used first, then the longest unused), of those that anyone may have."""

    __slots__ = ("bindings", "declined", "free", "kept", "leased", "offered", "serving", "zone")

    def __init__(self, size: int, free: dict[int, None], zone: int) -> None:
        self.bindings: list[Lease | None] = [None] * size
        self.free = free
        self.zone = zone
        self.serving = True
        self.offered = 0
        self.leased = 0
        self.kept = 0
        self.declined = 0


class LeaseTable:
    """Bindings by address and by client; free addresses by block and zone (see :class:`AddressPlan`).

    Some addresses are blocked: never handed out (network, broadcast, server, router). Some are reserved for one client
    by ``plan``: they are not among the free ones, and may still be bound. ``free_count``: free addresses of zone 0;
    ``offered_count``, ``leased_count``, ``kept_count``, ``declined_count``: of all. All operations are constant time
    but for the expiry heap (logarithmic).
    """

    def __init__(self, pool: Pool, plan: AddressPlan) -> None:
        self._pool = pool
        self.plan = plan
        self._blocked: set[int] = set()
        self._size = 0
        self._by_identity: dict[bytes, Lease] = {}
        self._by_chaddr: dict[bytes, Lease] = {}
        # How many addresses a client has taken, of those that once had several; what others have says _by_chaddr.
        self._several_taken: dict[bytes, int] = {}
        self._blocks: dict[int, _BlockLeases] = {}
        self._with_free: list[dict[int, None]] = [{} for _ in range(plan.zone_count)]
        self._free_counts = [0] * plan.zone_count
        self._offers: dict[int, None] = {}
        self._tainted: set[int] = set()
        self._expiries: list[tuple[float, int]] = []
        # Bindings from the store by the period in which they end, and the earliest end of each: they come into the heap
        # when it is time, since a start need not wait for all of them to be put in order.
        self._later: dict[int, list[Lease]] = {}
        self._later_from: list[tuple[float, int]] = []
        self._unfilled: list[int] | None = None  # blocks whose free addresses are not known before all bindings are
        self.offered_count = 0
        self.leased_count = 0
        self.kept_count = 0
        self.declined_count = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Lease]:
        for block in self._blocks.values():
            for lease in block.bindings:
                if lease is not None:
                    yield lease

    def replan(self, plan: AddressPlan) -> None:
        """Take a changed plan. No binding ends; what is free to whom is found anew, which takes time for all of it."""
        self.plan = plan
        self._with_free = [{} for _ in range(plan.zone_count)]
        self._free_counts = [0] * plan.zone_count
        for index, block in self._blocks.items():
            block.zone = plan.zone_of(index)
            block.free = {address: None for address in self._addresses(index) if self._is_for_anyone(address)}
            if block.serving:
                self._open(index, block)

    def _is_for_anyone(self, address: int) -> bool:
        lease = self.at(address)
        is_taken = lease is not None and lease.state in TAKEN
        return not is_taken and address not in self._blocked and self.plan.is_for_anyone(address)

    # --- blocks ---------------------------------------------------------------------------------

    def add_block(self, index: int) -> None:
        """The addresses of block ``index`` may be leased from now on. Nothing happens if they may already."""
        if index in self._blocks:
            return
        block = self._blocks[index] = _BlockLeases(self._pool.block_size, {}, self.plan.zone_of(index))
        if self._unfilled is not None:
            self._unfilled.append(index)
            return
        block.free = self._for_anyone(index)
        self._open(index, block)

    def _for_anyone(self, index: int) -> dict[int, None]:
        """The addresses of a block that are free when it has no bindings."""
        free = self.plan.for_anyone(index)
        for address in self._blocked.intersection(free):
            del free[address]
        return free

    def drop_block(self, index: int) -> list[Lease]:
        """Forget block ``index`` and its bindings; returns the bindings it had, of any state."""
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        if block.serving:
            self._close(index, block)
        self.offered_count -= block.offered
        self.leased_count -= block.leased
        self.kept_count -= block.kept
        self.declined_count -= block.declined
        dropped = [lease for lease in block.bindings if lease is not None]
        self._size -= len(dropped)
        for lease in dropped:
            if lease.state in TAKEN:
                self._count_client(lease.chaddr, -1)
            self._offers.pop(lease.address, None)
            self._unindex(lease)
        self._tainted.difference_update(self._addresses(index))
        return dropped

    def suspend_block(self, index: int) -> None:
        """Keep the bindings of block ``index``, but hand out nothing from it until :meth:`resume_block`."""
        block = self._blocks[index]
        if block.serving:
            block.serving = False
            self._close(index, block)

    def resume_block(self, index: int) -> None:
        """Block ``index`` may be leased from again; it is added if it is new."""
        block = self._blocks.get(index)
        if block is None:
            self.add_block(index)
        elif not block.serving:
            block.serving = True
            self._open(index, block)

    def _open(self, index: int, block: _BlockLeases) -> None:
        self._free_counts[block.zone] += len(block.free)
        if block.free:
            self._with_free[block.zone][index] = None

    def _close(self, index: int, block: _BlockLeases) -> None:
        self._free_counts[block.zone] -= len(block.free)
        self._with_free[block.zone].pop(index, None)

    def _addresses(self, index: int) -> range:
        first = self._pool.first_address(index)
        return range(first, first + self._pool.block_size)

    @property
    def block_indices(self) -> Collection[int]:
        """The indices of the blocks whose bindings are kept here."""
        return self._blocks.keys()

    def has_block(self, index: int) -> bool:
        """Whether the bindings of block ``index`` are kept here."""
        return index in self._blocks

    def in_block(self, index: int) -> Iterator[Lease]:
        """The latest bindings of the addresses of block ``index``, of any state."""
        block = self._blocks.get(index)
        for lease in block.bindings if block is not None else ():
            if lease is not None:
                yield lease

    def reserve(self, address: int) -> None:
        """``address`` is never handed out from now on; an unexpired lease on it runs out by itself."""
        self._blocked.add(address)
        index = self._pool.index_of(address)
        block = self._blocks.get(index)
        if block is not None and address in block.free:
            self._take(index, block, address)

    def unreserve(self, address: int) -> None:
        """The opposite of :meth:`reserve`."""
        self._blocked.discard(address)
        index = self._pool.index_of(address)
        block = self._blocks.get(index)
        lease = self.at(address)
        is_taken = lease is not None and lease.state in TAKEN
        if block is None or is_taken or address in block.free or not self._is_for_anyone(address):
            return
        self._give_back(index, block, address)

    def reserved_blocks(self) -> set[int]:
        """The indices of the blocks, whoever owns them, in which addresses are never handed out."""
        return {self._pool.index_of(address) for address in self._blocked if address in self._pool}

    def is_reserved(self, address: int) -> bool:
        """Whether ``address`` is never handed out."""
        return address in self._blocked

    @property
    def free_count(self) -> int:
        """How many addresses outside the subnets are free."""
        return self._free_counts[0]

    def free_in_zone(self, zone: int) -> int:
        """How many addresses of a zone are free."""
        return self._free_counts[zone]

    def free_beside(self, index: int) -> int:
        """How many addresses are free in the zone of own block ``index``, that block not counted."""
        block = self._blocks[index]
        return self._free_counts[block.zone] - (len(block.free) if block.serving else 0)

    def usage(self, index: int) -> tuple[int, int]:
        """(offered, leased) of own block ``index``."""
        block = self._blocks[index]
        return block.offered, block.leased

    def free_in(self, index: int) -> int:
        """How many addresses of own block ``index`` are free."""
        return len(self._blocks[index].free)

    def is_unused(self, index: int) -> bool:
        """Whether own block ``index`` has no offer, no lease, and no kept or declined address."""
        block = self._blocks[index]
        return not (block.offered or block.leased or block.kept or block.declined)

    # --- lookup ---------------------------------------------------------------------------------

    def at(self, address: int) -> Lease | None:
        """The latest binding of ``address``, of any state."""
        pool = self._pool
        if address not in pool:
            return None
        index = pool.index_of(address)
        block = self._blocks.get(index)
        return None if block is None else block.bindings[address - pool.first_address(index)]

    def _put(self, address: int, lease: Lease | None) -> None:
        """Make ``lease`` the latest binding of ``address``, in a block of ours; None: it has none."""
        index = self._pool.index_of(address)
        bindings, place = self._blocks[index].bindings, address - self._pool.first_address(index)
        self._size += (lease is not None) - (bindings[place] is not None)
        bindings[place] = lease

    def of(self, identity: bytes, chaddr: bytes) -> Lease | None:
        """This client's latest binding.

        By identity first; by hardware address when either side has no client identifier, because clients exist that
        send one only in some messages (DHCP-SERVER G2, Q10). Two different client identifiers are two clients.
        """
        lease = self._by_identity.get(identity)
        if lease is not None:
            return lease
        lease = self._by_chaddr.get(chaddr)
        return lease if lease is not None and self.belongs(lease, identity, chaddr) else None

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
        return other is not None and other.state is LEASED and other.address != address

    def is_free(self, address: int) -> bool:
        """Whether ``address`` lies in a block of ours and may be bound to anyone now."""
        block = self._blocks.get(self._pool.index_of(address)) if address in self._pool else None
        return block is not None and block.serving and address in block.free

    def is_unbound(self, address: int) -> bool:
        """Whether ``address`` lies in a block of ours, handed out from or not, and is nobody's."""
        block = self._blocks.get(self._pool.index_of(address)) if address in self._pool else None
        if block is None:
            return False
        lease = self.at(address)
        is_reserved = self.plan.reservation(address) is not None and (lease is None or lease.state not in TAKEN)
        return address in block.free or is_reserved

    def is_open_to(self, address: int, identity: bytes, chaddr: bytes, *, is_vouched_for: bool = False) -> bool:
        """Whether ``address``, in a block of ours, may be bound to this client now: it is free, or reserved for it and
        not taken. ``is_vouched_for``: another node of ours, which saw the whole request, has recognised the client."""
        reservation = self.plan.reservation(address)
        if reservation is None:
            return self.is_free(address)
        block = self._blocks.get(self._pool.index_of(address))
        lease = self.at(address)
        return (
            block is not None
            and block.serving
            and address not in self._blocked
            and (lease is None or lease.state not in TAKEN)
            and (is_vouched_for or reservation.recognises(identity, chaddr))
        )

    def pick_free(self, identity: bytes, zone: int = 0) -> int | None:
        """A free address: from the earliest claimed block of the zone that has one.

        There the one that a hash of the client's key names, if nobody had it before, so that a client gets the same
        address from a server that forgot everything; else the one unused for longest (DHCP-SERVER B6).
        """
        for index in self._with_free[zone]:
            free = self._blocks[index].free
            first = self._pool.first_address(index)
            wanted = first + _crc32(identity) % self._pool.block_size
            if wanted in free and self.at(wanted) is None and wanted not in self._tainted:
                return wanted
            return next(iter(free))
        return None

    def oldest_offer(self) -> Lease | None:
        """The offer that has waited longest for its REQUEST."""
        for address in self._offers:
            return self.at(address)
        return None

    def taken_by(self, chaddr: bytes) -> int:
        """How many addresses are offered to, leased to, or were declined by this hardware address."""
        count = self._several_taken.get(chaddr)
        if count is not None:
            return count
        lease = self._by_chaddr.get(chaddr)
        return 1 if lease is not None and lease.state in TAKEN else 0

    def is_tainted(self, address: int) -> bool:
        """Whether somebody unknown may use ``address``: it was declined, or came to us in a dispute."""
        return address in self._tainted

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
        lease = self.at(address)
        if lease is None:
            lease = Lease(address, identity, chaddr, state, expires_at)
            self._put(address, lease)
            self._count(lease, None, state)
        else:
            if lease.identity != identity or lease.chaddr != chaddr:
                if lease.state in TAKEN:
                    self._count_client(lease.chaddr, -1)
                self._unindex(lease)
                if lease.state in TAKEN:
                    self._count_client(chaddr, 1)
                lease.identity, lease.chaddr, lease.hostname = identity, chaddr, b""
                lease.held_until = 0.0
            if lease.state is not LEASED:
                lease.held_until = 0.0  # what is in the store covers renewals, no lease that begins after it has ended
            self._count(lease, lease.state, state)
            lease.state, lease.expires_at = state, expires_at
            lease.is_released = False
        if hostname and hostname != lease.hostname:
            lease.held_until = 0.0
            lease.hostname = hostname
        self._by_identity[identity] = lease
        self._by_chaddr[chaddr] = lease
        self._schedule(lease)
        return lease

    def begin_restoring(self) -> None:
        """Leave it to :meth:`end_restoring` to find what is free in the blocks that are added from now on: in most of
        them nothing is."""
        self._unfilled = []

    def restore(self, blocks: Iterable[tuple[int, Sequence[Lease]]]) -> list[Lease]:
        """Enter bindings in TAKEN states from the store, of addresses that have none, by the own block that they are
        in: what :meth:`bind` does, at a fraction of the cost, because a start waits for a hundred thousand of them.

        Returns those whose client had another one; which of them is its own :meth:`prefer` says, and until then it is
        the last.
        """
        contested: list[Lease] = []
        by_identity, by_chaddr = self._by_identity, self._by_chaddr
        latest = -1
        of_period: list[Lease] = []
        for index, leases in blocks:
            block, first = self._blocks[index], self._pool.first_address(index)
            bindings = block.bindings
            for lease in leases:
                bindings[lease.address - first] = lease
                self._tally(block, lease.state, 1)
                is_contested = by_identity.setdefault(lease.identity, lease) is not lease
                if by_chaddr.setdefault(lease.chaddr, lease) is not lease:
                    self._count_client(lease.chaddr, 1)
                    is_contested = True
                if is_contested:
                    contested.append(lease)
                    self.prefer(lease)
                lease.scheduled_at = lease.expires_at
                period = int(lease.expires_at) // LATER_PERIOD_S
                if period != latest or not of_period:
                    latest, of_period = period, self._later.setdefault(period, [])
                of_period.append(lease)
            self._size += len(leases)
        return contested

    def end_restoring(self) -> None:
        """All bindings from the store are there."""
        unfilled, self._unfilled = self._unfilled, None
        for index in unfilled or ():
            block, first = self._blocks[index], self._pool.first_address(index)
            bound = [at for at, lease in enumerate(block.bindings) if lease is not None and lease.state in TAKEN]
            if len(bound) < len(block.bindings):
                block.free = self._for_anyone(index)
                for at in bound:
                    block.free.pop(first + at, None)
            if block.serving:
                self._open(index, block)
        for period, leases in self._later.items():
            earliest = math.inf
            for lease in leases:
                if lease.scheduled_at < earliest:
                    earliest = lease.scheduled_at
            heapq.heappush(self._later_from, (earliest, period))

    def prefer(self, lease: Lease) -> None:
        """Of several bindings of one client this one is its own: the one that is found."""
        self._by_identity[lease.identity] = lease
        self._by_chaddr[lease.chaddr] = lease

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
        self._put(address, lease)
        self._by_identity.setdefault(identity, lease)
        self._by_chaddr.setdefault(chaddr, lease)

    def end(self, lease: Lease, state: LeaseState) -> None:
        """An offer or lease is over: ``state`` is RELEASED or EXPIRED; the address is free, its client remembered."""
        self._count(lease, lease.state, state)
        lease.state = state

    def keep(self, lease: Lease, until: float, *, is_released: bool = False) -> None:
        """A lease is over, and its address stays closed to everybody else until then."""
        self._count(lease, lease.state, KEPT)
        lease.state, lease.expires_at, lease.is_released = KEPT, until, is_released
        self._schedule(lease)

    def forget(self, lease: Lease) -> None:
        """The address is free and nobody is remembered (a withdrawn offer)."""
        self._count(lease, lease.state, None)
        self._put(lease.address, None)
        self._unindex(lease)

    def taint(self, address: int) -> None:
        """Somebody unknown may use ``address``, in a block of ours: it is to be probed before it is offered again."""
        self._tainted.add(address)

    def taint_block(self, index: int) -> None:
        """The same for every address of own block ``index`` that is not leased."""
        for address in self._addresses(index):
            lease = self.at(address)
            if lease is None or lease.state is not LEASED:
                self._tainted.add(address)

    def untaint(self, address: int) -> None:
        """Nobody answered for ``address``."""
        self._tainted.discard(address)

    def pop_expired(self, now: float) -> Lease | None:
        """The next binding in a TAKEN state whose time has run out, or None. The caller ends it."""
        while self._later_from and self._later_from[0][0] <= now:
            for each in self._later.pop(heapq.heappop(self._later_from)[1]):
                if each.scheduled_at:
                    heapq.heappush(self._expiries, (each.scheduled_at, each.address))
        while self._expiries and self._expiries[0][0] <= now:
            at, address = heapq.heappop(self._expiries)
            lease = self.at(address)
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
        at = self._expiries[0][0] if self._expiries else math.inf
        if self._later_from and self._later_from[0][0] < at:
            at = self._later_from[0][0]
        return None if at == math.inf else at

    def _schedule(self, lease: Lease) -> None:
        # A later end keeps the earlier entry, which is looked at again when it comes up: a renewal costs nothing here.
        if lease.scheduled_at == 0.0 or lease.expires_at < lease.scheduled_at:
            lease.scheduled_at = lease.expires_at
            _heappush(self._expiries, (lease.expires_at, lease.address))

    def _unindex(self, lease: Lease) -> None:
        if self._by_identity.get(lease.identity) is lease:
            del self._by_identity[lease.identity]
        if self._by_chaddr.get(lease.chaddr) is lease:
            del self._by_chaddr[lease.chaddr]

    def _count(self, lease: Lease, old: LeaseState | None, new: LeaseState | None) -> None:
        """Keep the counters and the free set in step with a change of state."""
        if old is new:
            return
        address = lease.address
        index = self._pool.index_of(address)
        block = self._blocks[index]
        self._tally(block, old, -1)
        self._tally(block, new, 1)
        if old is OFFERED:
            del self._offers[address]
        elif new is OFFERED:
            self._offers[address] = None
        was_taken, is_taken = _is_taken(old), _is_taken(new)
        if was_taken == is_taken:
            return
        self._count_client(lease.chaddr, 1 if is_taken else -1)
        if is_taken:
            if address in block.free:
                self._take(index, block, address)
        elif address not in self._blocked and self.plan.is_for_anyone(address):
            self._give_back(index, block, address)

    def _tally(self, block: _BlockLeases, state: LeaseState | None, change: int) -> None:
        if state is LEASED:
            block.leased += change
            self.leased_count += change
        elif state is OFFERED:
            block.offered += change
            self.offered_count += change
        elif state is KEPT:
            block.kept += change
            self.kept_count += change
        elif state is DECLINED:
            block.declined += change
            self.declined_count += change

    def _count_client(self, chaddr: bytes, change: int) -> None:
        """Note that a client takes or gives back an address; before the address's state and the indices say so."""
        count = self.taken_by(chaddr) + change
        if count > 1 or (count == 1 and chaddr in self._several_taken):
            self._several_taken[chaddr] = count
        else:
            self._several_taken.pop(chaddr, None)

    def _give_back(self, index: int, block: _BlockLeases, address: int) -> None:
        """An address of a block is free."""
        block.free[address] = None
        if block.serving:
            self._free_counts[block.zone] += 1
            self._with_free[block.zone][index] = None

    def _take(self, index: int, block: _BlockLeases, address: int) -> None:
        """A free address of a block is free no more."""
        del block.free[address]
        if block.serving:
            self._free_counts[block.zone] -= 1
            if not block.free:
                del self._with_free[block.zone][index]
        if not block.free:
            block.free = {}  # a dictionary keeps the memory of what was in it
