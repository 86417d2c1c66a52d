"""The leases of other nodes' blocks that are kept here, so that an owner's death costs its clients nothing.

Kept in memory only: a node that starts anew says so in its HELLO, and the owners tell it everything again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ..swarm import LEASE_LEASED, MAX_EXTENSION_TARGET, PROGRESS_SIZE, Progress, Replicate, ReplicateAck, Section
from ..values import dataclass, field
from .blocks import DRIFT, TRANSIT_S, BlockState
from .claims import Claims
from .context import Context
from .leases import LeaseState, LeaseTable
from .peers import Peer
from .records import StoredLease
from .remedies import Remedy
from .told_leases import heard

PROGRESS_PER_MESSAGE = MAX_EXTENSION_TARGET // PROGRESS_SIZE
MAX_REPLICA_LEASES = 32768  # of all blocks together, about 500 bytes each
_LEASED: Final = LeaseState.LEASED.value
_KEPT: Final = (_LEASED, LeaseState.DECLINED.value)


@dataclass(slots=True)
class _Replica:
    """One foreign block. ``stream`` and ``sequence``: how far its owner's news have come. ``is_early``: they came
    before its owner had said who it is."""

    owner: bytes
    stream: int
    sequence: int = 0
    is_early: bool = False
    is_complete: bool = False
    leases: dict[int, StoredLease] = field(default_factory=dict)


class Replicas:
    """Leases of foreign blocks, by block and by client.

    The instants in them are on this node's clock and on the late side: counted from when the news arrived, and with
    room for a clock that runs slower than ours. So whoever keeps an address closed until then keeps it long enough;
    what may still be granted is told by :meth:`grantable_s`.
    """

    def __init__(self, context: Context, claims: Claims) -> None:
        self._context = context
        self._claims = claims
        self._blocks: dict[int, _Replica] = {}
        self._by_identity: dict[bytes, int] = {}
        self._by_chaddr: dict[bytes, int] = {}
        self._lease_count = 0

    def __len__(self) -> int:
        return self._lease_count

    # --- questions ------------------------------------------------------------------------------

    def of_block(self, index: int) -> Iterator[StoredLease]:
        """The leases known of block ``index``, ``"leased"`` or ``"declined"``; some may have ended by now."""
        replica = self._blocks.get(index)
        return iter(()) if replica is None else iter(replica.leases.values())

    @property
    def block_indices(self) -> Collection[int]:
        """The indices of the blocks of which leases are kept here."""
        return self._blocks.keys()

    def is_complete(self, index: int) -> bool:
        """Whether everything that the last known owner of block ``index`` told of it has arrived here."""
        replica = self._blocks.get(index)
        if replica is None or not replica.is_complete:
            return False
        owner = self._claims.owner_address(index)
        return owner is None or owner == replica.owner

    def of_client(self, identity: bytes, chaddr: bytes) -> StoredLease | None:
        """This client's lease in a foreign block, which may have ended by now."""
        lease = self._at_if_its(self._by_identity.get(identity), identity, chaddr)
        return lease if lease is not None else self._at_if_its(self._by_chaddr.get(chaddr), identity, chaddr)

    def _at_if_its(self, address: int | None, identity: bytes, chaddr: bytes) -> StoredLease | None:
        lease = self.at(address) if address is not None else None
        return lease if lease is not None and LeaseTable.belongs(lease, identity, chaddr) else None

    def at(self, address: int) -> StoredLease | None:
        """The lease known of ``address``, which lies in the pool."""
        replica = self._blocks.get(self._context.pool.index_of(address))
        return None if replica is None else replica.leases.get(address)

    def grantable_s(self, lease: StoredLease, now: float) -> int:
        """For how many seconds the owner of a lease certainly holds the address for its client, the time that it keeps
        it after the lease included; 0 if that is not certain."""
        if lease.state != _LEASED:
            return 0
        margin_s = TRANSIT_S + 2 * DRIFT * (self._context.longest_lease_s + lease.kept_s)
        return max(0, int(lease.expires_at + lease.kept_s - now - margin_s))

    def blocks(self) -> Iterator[tuple[int, bytes, bool, int]]:
        """``(index, owner's address, is complete, leases)`` of every block, for people."""
        for index, replica in self._blocks.items():
            yield index, replica.owner, self.is_complete(index), len(replica.leases)

    # --- change ---------------------------------------------------------------------------------

    def drop_block(self, index: int) -> None:
        """Forget what is known of block ``index``."""
        replica = self._blocks.pop(index, None)
        if replica is not None:
            for lease in replica.leases.values():
                self._unindex(lease)

    def forget(self, address: int, identity: bytes, chaddr: bytes) -> None:
        """A client gave ``address`` back here: what is known of its lease is history."""
        lease = self.at(address)
        if lease is not None and LeaseTable.belongs(lease, identity, chaddr):
            del self._blocks[self._context.pool.index_of(address)].leases[address]
            self._unindex(lease)

    def on_claimed(self, index: int, source: bytes, timeout_s: int) -> None:
        """The node at ``source`` claims block ``index`` (or gives it up, with timeout 0)."""
        replica = self._blocks.get(index)
        if replica is None:
            return
        if timeout_s == 0:
            if replica.owner == source:
                self.drop_block(index)
        elif replica.owner != source:
            replica.is_complete = False  # what its former owner told is history

    def on_started_anew(self, owner: bytes) -> None:
        """The node at ``owner`` forgot what it told us: it will tell everything again. If it only had not said before
        who it is, it is asked to."""
        early: list[Progress] = []
        for index, replica in self._blocks.items():
            if replica.owner != owner:
                continue
            if replica.is_early:
                early.append(Progress(index, replica.stream, 0, is_unknown=True))
            replica.is_early = replica.is_complete = False
            replica.stream = 0
        for start in range(0, len(early), PROGRESS_PER_MESSAGE):
            self._context.tell(owner, ReplicateAck(tuple(early[start : start + PROGRESS_PER_MESSAGE])))

    def on_replicate(self, message: Replicate, peer: Peer, now: float) -> None:
        """An owner tells of its blocks."""
        heard_of = (self._hear(section, peer, now) for section in message.sections)
        self._context.tell(peer.address, ReplicateAck(tuple(block for block in heard_of if block is not None)))

    def _hear(self, section: Section, peer: Peer, now: float) -> Progress | None:
        """Take one block's news; None if there is no answer to it yet."""
        index, stream = section.index, section.stream
        replica = self._blocks.get(index)
        is_same_stream = replica is not None and replica.owner == peer.address and replica.stream == stream
        if section.is_dropped:
            if replica is not None and replica.owner == peer.address:
                self.drop_block(index)
            return Progress(index, stream, section.sequence)
        if not self._may_keep(index):
            self._claims.heard.object_directly(index, peer, now)
            self._context.count("swarm.drop.replica-refused")
            return Progress(index, stream, section.sequence, is_refused=True)
        if self._claims.owner_address(index) not in (None, peer.address):
            return None  # a block that has just changed hands: its new owner's claim is on the way, and it asks again
        if section.is_reset and not is_same_stream:
            self.drop_block(index)
            replica = self._blocks[index] = _Replica(peer.address, stream, is_early=not peer.is_ours)
            self._context.epoch += 1
        elif replica is None or not is_same_stream:
            return Progress(index, stream, 0, is_unknown=True)
        if section.sequence == replica.sequence + 1:
            if self._lease_count + len(section.leases) > MAX_REPLICA_LEASES and not self._make_room(index, now):
                self.drop_block(index)
                self._context.count("swarm.drop.replica-refused")
                return Progress(index, stream, section.sequence, is_refused=True)
            self._apply(replica, section, now)
            ends = [record.remaining_s for record in section.leases if record.state == LEASE_LEASED]
            self._claims.heard.prolong(index, peer, max(ends, default=0), now)
        elif section.sequence > replica.sequence:
            return Progress(index, stream, replica.sequence, is_unknown=True)
        return Progress(index, stream, replica.sequence)

    def _may_keep(self, index: int) -> bool:
        if index >= self._context.pool.block_count or not self._context.has(Remedy.REPLICATION):
            return False
        return not self._context.stopping and self._claims.table.state(index) is not BlockState.OURS

    def _make_room(self, index: int, now: float) -> bool:
        """Forget blocks whose leases have all ended, other than ``index``; whether there is room now."""
        for other in [
            other
            for other, replica in self._blocks.items()
            if other != index and all(lease.expires_at + lease.kept_s <= now for lease in replica.leases.values())
        ]:
            self.drop_block(other)
        return self._lease_count + self._context.pool.block_size <= MAX_REPLICA_LEASES

    def _apply(self, replica: _Replica, section: Section, now: float) -> None:
        replica.sequence = section.sequence
        replica.is_complete = not section.has_more
        for record in section.leases:
            known = replica.leases.pop(record.address, None)
            if known is not None:
                self._unindex(known)
            lease = heard(record, section.index, self._context.pool, now + DRIFT * record.remaining_s)
            if lease is None or lease.state not in _KEPT:
                continue
            replica.leases[lease.address] = lease
            self._by_identity[lease.identity] = lease.address
            self._by_chaddr[lease.chaddr] = lease.address
            self._lease_count += 1

    def _unindex(self, lease: StoredLease) -> None:
        self._lease_count -= 1
        if self._by_identity.get(lease.identity) == lease.address:
            del self._by_identity[lease.identity]
        if self._by_chaddr.get(lease.chaddr) == lease.address:
            del self._by_chaddr[lease.chaddr]
